"""Bootstrap over patients (and seeds): its intervals, and those of measures that the jackknife cannot handle."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from counterstain.evaluation.degrees_of_freedom import Key, combined_df, score_df
from counterstain.evaluation.intervals import Estimate, limits, sample
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.resampling import (
    CHUNK_CELLS,
    bootstrap_draws,
    bootstrap_weights,
    tally,
    unit_codes,
    unit_confusion,
    unit_places,
    weighted_scores,
)

__all__ = ["OPERATING_POINT", "bootstrap_estimates", "operating_point", "sensitivity_at_specificity"]

Floats = NDArray[np.float64]

OPERATING_POINT = "sensitivity_at_95_specificity"
RESAMPLES = 10_000
STEP = 1000  # resamples held at once
BLOCKS = 128  # into which a ROC curve is cut at most
BLOCK_CELLS = 4_000_000  # blocks x units


def bootstrap_estimates(
    tables: Sequence[Predictions],
    names: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[Key, Estimate]:
    """The interval of every score of one arm, by resampling patients and seeds (BCa).

    It covers a little less than it says with few patients (docs/measures/intervals.md), which is why it is not the
    default.

    Args:
        tables: S tables of the same patients, one per seed.
        names: the units, sorted; see `units_of`.
        resamples: of patients; each draws S of the S seeds, too.
        confidence: of the intervals.
        seed: of the drawing.

    Source: Efron 1987, doi:10.1080/01621459.1987.10478410 (BCa); Owen 2007, doi:10.1214/07-AOAS122 (two ways at once).
    """
    observed = sample(tables, names, level="image")
    tallies = [tally(table, unit_places(table, names), len(names)) for table in tables]
    resampled: dict[Key, list[Floats]] = {key: [] for key in observed.values}
    rng = np.random.default_rng([seed, 1])
    for start in range(0, resamples, STEP):
        weights = bootstrap_weights(len(names), min(STEP, resamples - start), seed=seed + start)
        scored = [weighted_scores(tallied, weights) for tallied in tallies]
        chosen = rng.integers(len(tables), size=(len(weights), len(tables)))
        for key in resampled:
            by_seed = np.stack([scores[key] for scores in scored], axis=1)
            resampled[key].append(np.take_along_axis(by_seed, chosen, axis=1).mean(axis=1))
    return {
        key: _bca(
            observed.values[key], observed.left_out[key], np.concatenate(resampled[key]), observed.df[key], confidence
        )
        for key in observed.values
    }


def _bca(values: Floats, left_out: Floats, resampled: Floats, df: float, confidence: float) -> Estimate:
    """The bias-corrected and accelerated interval; none where a resample leaves the score undefined too often."""
    from scipy.special import ndtr, ndtri

    value, per_seed, nan = float(values.mean()), tuple(map(float, values)), float("nan")
    finite = resampled[np.isfinite(resampled)]
    if not np.isfinite(left_out).all() or len(finite) < 0.9 * len(resampled):
        return Estimate(value, nan, nan, per_seed, nan, nan, nan)
    without = left_out.mean(axis=0)
    away = without.mean() - without
    cubed, squared = float((away**3).sum()), float((away**2).sum())
    bend = cubed / (6 * squared**1.5) if squared > 0 else 0.0
    below = np.clip(((finite < value).sum() + 0.5 * (finite == value).sum()) / len(finite), 1e-6, 1 - 1e-6)
    shift = float(ndtri(below))
    at = []
    for tail in ((1 - confidence) / 2, (1 + confidence) / 2):
        z = shift + float(ndtri(tail))
        at.append(float(ndtr(shift + z / (1 - bend * z))))
    low, high = np.quantile(finite, at)
    groups = left_out.shape[1]
    se_seed = float(values.std(ddof=1)) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return Estimate(
        value, float(low), float(high), per_seed, float(np.sqrt((groups - 1) / groups * squared)), float(se_seed), df
    )


# --------------------------------------------------------------------------------------- a point of the ROC curve


@dataclass(frozen=True, eq=False)
class Roc:
    """Images of a table from high to low score, in blocks that are first looked at as a whole.

    unit, positive: (N,) of each image in that order
    last: (U,) last place with each distinct score
    block: (U,) block of each distinct score; a block begins with a score and holds it whole
    true, false: (B, K) positives and negatives of each unit in each block
    """

    unit: NDArray[np.int64]
    positive: NDArray[np.bool_]
    last: NDArray[np.int64]
    block: NDArray[np.int64]
    true: Floats
    false: Floats


def roc_of(table: Predictions, code: NDArray[np.int64], units: int) -> Roc:
    """The ROC curve of a table of two classes, to be read under many weightings; `code` (N,) holds the rows' units."""
    order = np.argsort(-table.prob[:, 1], kind="stable")
    score, positive, unit = table.prob[order, 1], table.label[order] == 1, code[order]
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
    first = np.append(0, last[:-1] + 1)
    blocks = int(np.clip(BLOCK_CELLS // units, 1, BLOCKS))
    # By its first place: only the last score of a block can reach far beyond it, and that one is never looked into.
    _, block = np.unique(first // -(-len(order) // blocks), return_inverse=True)
    of_row = np.repeat(block, last - first + 1)
    count = int(block[-1]) + 1
    true, false = (
        np.bincount(of_row[which] * units + unit[which], minlength=count * units).reshape(count, units)
        for which in (positive, ~positive)
    )
    return Roc(unit, positive, last, block, true.astype(np.float64), false.astype(np.float64))


def sensitivity_at_specificity(roc: Roc, weights: Floats, at: float) -> Floats:
    """(R,) the largest sensitivity that some threshold reaches with at least this specificity, under each weighting.

    Args:
        roc: of a table of two classes and K units.
        weights: (R, K) of the units, not negative whole numbers.
        at: the specificity, in (0, 1].

    Returns:
        NaN where a weighting leaves a class without images.
    """
    true, false = (np.cumsum(weights @ counts.T, axis=1) for counts in (roc.true, roc.false))
    allowed = (1 - at) * false[:, -1] + 1e-9
    whole_blocks = (false <= allowed[:, None]).sum(axis=1)  # so many blocks lie wholly above the threshold
    padded = [np.column_stack([np.zeros(len(weights)), counted]) for counted in (true, false)]
    reached, above = (counted[np.arange(len(weights)), whole_blocks] for counted in padded)
    for block in np.unique(whole_blocks[whole_blocks < len(roc.true)]):
        rows = np.flatnonzero(whole_blocks == block)
        reached[rows] += _within(roc, int(block), weights[rows], allowed[rows] - above[rows])
    both_present = (true[:, -1] > 0) & (false[:, -1] > 0)
    sensitivity: Floats = np.divide(reached, true[:, -1], out=np.full(len(weights), np.nan), where=both_present)
    return sensitivity


def _within(roc: Roc, block: int, weights: Floats, allowed: Floats) -> Floats:
    """(R,) positives of one block that are found before more negatives than allowed."""
    first, stop = np.searchsorted(roc.block, [block, block + 1])
    begin = 0 if first == 0 else int(roc.last[first - 1]) + 1
    ends = roc.last[first : stop - 1] - begin  # with its last score the whole block is too much
    if len(ends) == 0:
        return np.zeros(len(weights))
    unit, positive = (v[begin : begin + int(ends[-1]) + 1] for v in (roc.unit, roc.positive))
    most = np.empty(len(weights))
    step = max(1, 4 * CHUNK_CELLS // len(unit))
    for start in range(0, len(weights), step):
        image = weights[start : start + step, unit]
        true, false = (np.cumsum(image * which, axis=1)[:, ends] for which in (positive, ~positive))
        within = false <= allowed[start : start + step, None]
        most[start : start + step] = np.where(within, true, 0.0).max(axis=1)
    return most


def operating_point(
    tables: Sequence[Predictions], *, at: float = 0.95, resamples: int = 500, confidence: float = 0.95, seed: int = 0
) -> Estimate:
    """Sensitivity at a fixed specificity, read off the test part's own ROC curve, with its interval.

    It hangs on one quantile, which the jackknife cannot judge: its error over patients is that of the bootstrap. The
    spread over seeds is added, and the t-interval on the logit scale is as for every other share.

    Args:
        tables: S tables of two classes and the same patients, one per seed.
    """
    from scipy.special import stdtrit

    names, codes = unit_codes(tables)
    units = len(names)
    curves = [roc_of(table, code, units) for table, code in zip(tables, codes, strict=True)]
    weightings = itertools.chain([np.ones((1, units))], bootstrap_draws(units, resamples, seed=seed))
    scored = np.concatenate(
        [np.stack([sensitivity_at_specificity(curve, weights, at) for curve in curves]) for weights in weightings],
        axis=1,
    )
    values, resampled = scored[:, 0], scored[:, 1:].mean(axis=0)
    value, per_seed, nan = float(values.mean()), tuple(map(float, values)), float("nan")
    finite = resampled[np.isfinite(resampled)]
    if not np.isfinite(value) or len(finite) < 0.9 * len(resampled) or not 0 < value < 1:
        return Estimate(value, nan, nan, per_seed, nan, nan, nan)
    patient = float(finite.var(ddof=1))
    spread = float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0
    counts = unit_confusion(tables[0], codes[0], units)
    df = combined_df(patient, spread, score_df(counts, [None])["recall", None], len(values) - 1)
    half = float(stdtrit(df, 0.5 + confidence / 2)) * np.sqrt(patient + spread)
    low, high = limits(value, half, "recall")
    return Estimate(value, float(low), float(high), per_seed, float(np.sqrt(patient)), float(np.sqrt(spread)), df)
