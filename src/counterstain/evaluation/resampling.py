"""Every score of a table under many weightings of its patients at once; what jackknife and bootstrap are made of."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from counterstain.evaluation.degrees_of_freedom import Key, score_df
from counterstain.evaluation.leave_one_out import left_out_sums
from counterstain.evaluation.metrics import (
    from_confusion,
    image_brier,
    image_loss,
    mean_present,
    predicted_class,
    ratio,
)
from counterstain.evaluation.predictions import Predictions

__all__ = [
    "Key",
    "Tally",
    "bootstrap_draws",
    "bootstrap_weights",
    "jackknife_groups",
    "jackknife_scores",
    "jackknife_weights",
    "left_out_totals",
    "tally",
    "unit_codes",
    "unit_confusion",
    "unit_places",
    "weighted_scores",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

GROUPS = 500  # above so many units the jackknife leaves out random groups of them: same error, less work
# Images x units: up to here, and up to GROUPS units, weighting is a product with counts by unit.
TABLE_CELLS = 16_000_000
CHUNK_CELLS = 500_000  # cells held at once while many weightings are worked through


@dataclass(frozen=True, eq=False)
class UnitCounts:
    """What stands above each positive in the ranking, by unit: weightings of the units become matrix products.

    unit:  (P,) unit of each positive, from high to low score
    true:  (P, K) positives of each unit with at least that score
    false: (P, K) negatives of each unit with at least that score
    pairs: (K, K) how many (positive of unit i, negative of unit j) are ranked right, ties half
    """

    unit: Integers
    true: NDArray[np.float32]
    false: NDArray[np.float32]
    pairs: Floats


@dataclass(frozen=True, eq=False)
class Ranking:
    """Images from high to low score for one class against the rest, ready to be scanned under weights.

    code:   (N,) unit of each image in that order
    tie:    (N,) place of its score among the distinct ones
    at:     (P,) places of the positives
    last:   (P,) last place with the same score as each positive
    before: (P,) number of places with a higher score
    own_last, own_before: the same counted among positives only
    by_unit: the same in counts by unit; None where there are too many of them, and the images are scanned
    positives, negatives: (K,) of each unit
    """

    code: Integers
    tie: Integers
    at: Integers
    last: Integers
    before: Integers
    own_last: Integers
    own_before: Integers
    by_unit: UnitCounts | None
    positives: Floats
    negatives: Floats


@dataclass(frozen=True, eq=False)
class Tally:
    """A prediction table summed up by unit (patient, or image where patients are unknown), for K units.

    counts:  (K, C, C) true class by predicted class
    loss:    (K,) summed negative log-likelihood, nats
    brier:   (K,) summed squared error of the probabilities
    images:  (K,) rows
    ranking: one for each class against the rest; of two classes only for the positive one
    df: (metric, class) -> degrees of freedom of that score's variance over units
    """

    counts: Floats
    loss: Floats
    brier: Floats
    images: Floats
    ranking: tuple[Ranking, ...]
    df: Mapping[Key, float]


def unit_codes(tables: Sequence[Predictions]) -> tuple[tuple[str, ...], list[NDArray[np.int64]]]:
    """The units of all tables in sorted order, and for each table the (N,) index of each image's unit."""
    coded = [table.patient_codes for table in tables]
    if all(names == coded[0][0] for names, _ in coded[1:]):
        return coded[0][0], [code for _, code in coded]
    names = tuple(sorted({name for table_names, _ in coded for name in table_names}))
    return names, [unit_places(table, names) for table in tables]


def unit_places(table: Predictions, names: Sequence[str]) -> NDArray[np.int64]:
    """(N,) place of each image's unit in `names`, which may hold more units than the table."""
    table_names, code = table.patient_codes
    if table_names == tuple(names):
        return code
    place = {name: k for k, name in enumerate(names)}
    return np.array([place[name] for name in table_names], dtype=np.int64)[code]


def tally(table: Predictions, code: NDArray[np.int64], units: int) -> Tally:
    """Sum a table up by unit; `code` (N,) holds each row's unit, an index below `units`."""
    n_classes = len(table.classes)
    counts = unit_confusion(table, code, units)
    columns = [1] if n_classes == 2 else list(range(n_classes))
    ranking = tuple(_ranking(table.label == c, table.prob[:, c], code, units) for c in columns)
    return Tally(
        counts=counts,
        loss=np.bincount(code, weights=image_loss(table.label, table.prob), minlength=units).astype(np.float64),
        brier=np.bincount(code, weights=image_brier(table.label, table.prob), minlength=units).astype(np.float64),
        images=np.bincount(code, minlength=units).astype(np.float64),
        ranking=ranking,
        df=score_df(counts, [None if ranked.by_unit is None else ranked.by_unit.pairs for ranked in ranking]),
    )


def unit_confusion(table: Predictions, code: NDArray[np.int64], units: int) -> Floats:
    """(K, C, C) true class by predicted class, counted in each unit."""
    n_classes = len(table.classes)
    cell = (code * n_classes + table.label) * n_classes + predicted_class(table.prob)
    cells = np.bincount(cell, minlength=units * n_classes**2)
    return cells.reshape(units, n_classes, n_classes).astype(np.float64)


def _ranking(positive: NDArray[np.bool_], score: Floats, code: NDArray[np.int64], units: int) -> Ranking:
    """Sort once; find for each positive where its group of equal scores begins and ends."""
    order = np.argsort(-score, kind="stable")
    ranked, hit = score[order], positive[order]
    at = np.flatnonzero(hit)
    changes = ranked[1:] != ranked[:-1]
    tie = np.append(0, np.cumsum(changes))
    first = np.append(0, np.flatnonzero(changes) + 1)  # place at which each distinct score begins
    before = first[tie[at]]
    last = np.append(first[1:], len(ranked))[tie[at]] - 1
    positives_above = np.append(0, np.cumsum(hit))
    small = units <= GROUPS and len(code) * units <= TABLE_CELLS
    return Ranking(
        code=code[order],
        tie=tie,
        at=at,
        last=last,
        before=before,
        own_last=positives_above[last + 1] - 1,
        own_before=positives_above[before],
        by_unit=_unit_counts(code[order], hit, before, last, units) if small else None,
        positives=np.bincount(code[positive], minlength=units).astype(np.float64),
        negatives=np.bincount(code[~positive], minlength=units).astype(np.float64),
    )


def _unit_counts(code: Integers, hit: NDArray[np.bool_], before: Integers, last: Integers, units: int) -> UnitCounts:
    """Count by unit down the ranking; `before` and `last` say where each positive's group of equal scores stands."""
    cell = np.zeros((len(code) + 1, units), dtype=np.float32)
    at, miss = np.flatnonzero(hit), np.flatnonzero(~hit)
    cell[at + 1, code[at]] = 1
    true = np.cumsum(cell, axis=0)[last + 1]
    cell[at + 1, code[at]] = 0
    cell[miss + 1, code[miss]] = 1
    above = np.cumsum(cell, axis=0)
    false = above[last + 1]
    right = above[-1] - 0.5 * (above[before] + false)
    owner = code[at]
    pairs = np.zeros((units, units))
    order = np.argsort(owner, kind="stable")
    present, starts = np.unique(owner[order], return_index=True)
    if len(owner):
        pairs[present] = np.add.reduceat(right[order].astype(np.float64), starts, axis=0)
    return UnitCounts(unit=owner, true=true, false=false, pairs=pairs)


# --------------------------------------------------------------------------------------------------------- weights


def jackknife_groups(units: int, *, groups: int = GROUPS, seed: int = 0) -> Integers:
    """(K,) group with which each unit is left out: its own, or above `groups` units one of so many random ones."""
    if units <= groups:
        return np.arange(units)
    return np.asarray(np.random.default_rng(seed).permutation(units) % groups, dtype=np.int64)


def jackknife_weights(units: int, *, groups: int = GROUPS, seed: int = 0) -> Floats:
    """(G, K) weights that leave one unit out each; above `groups` units, one of `groups` random groups of units."""
    group = jackknife_groups(units, groups=groups, seed=seed)
    return np.asarray(group[None, :] != np.arange(min(units, groups))[:, None], dtype=np.float64)


def bootstrap_draws(units: int, resamples: int, *, seed: int = 0) -> Iterator[Floats]:
    """The rows of `bootstrap_weights`, some at a time."""
    rng = np.random.default_rng(seed)
    step = max(1, CHUNK_CELLS // units)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(units, size=(rows, units)) + units * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units).astype(np.float64)


def bootstrap_weights(units: int, resamples: int, *, seed: int = 0) -> Floats:
    """(R, K) how often each unit is drawn when K are drawn with replacement; rows sum to K."""
    return np.concatenate(list(bootstrap_draws(units, resamples, seed=seed)))


# ------------------------------------------------------------------------------------------------- weighted scores


def weighted_scores(table: Tally, weights: Floats) -> dict[Key, Floats]:
    """Every score under each weighting of the units.

    Args:
        table: K units.
        weights: (R, K) not negative; a unit of weight 2 counts as if its images were there twice.

    Returns:
        (metric, class) -> (R,); NaN where a weighting leaves the score undefined.
    """
    ranked = [_weighted_ranking(ranking, weights) for ranking in table.ranking]
    return _scores(table, lambda values: weights @ values, ranked)


def jackknife_scores(table: Tally) -> dict[Key, Floats]:
    """Every score of all units and without each unit, or group of units: (metric, class) -> (1 + G,).

    As `weighted_scores` of a row of ones and then `jackknife_weights`; in one pass over the images where the counts by
    unit are too many to hold.
    """
    units = len(table.images)
    if all(ranking.by_unit is not None for ranking in table.ranking):
        return weighted_scores(table, np.concatenate([np.ones((1, units)), jackknife_weights(units)]))
    group = jackknife_groups(units)
    groups = min(units, GROUPS)
    ranked = []
    for ranking in table.ranking:
        precision, right = left_out_sums(group[ranking.code], _positive(ranking), ranking.tie, groups)
        positives, negatives = left_out_totals(ranking.positives), left_out_totals(ranking.negatives)
        ranked.append((ratio(right, positives * negatives), ratio(precision, positives)))
    return _scores(table, left_out_totals, ranked)


def left_out_totals(values: Floats) -> Floats:
    """(1 + G, ...) sums of values (K,) or (K, M) over all units, and without each unit or group of the jackknife."""
    units = len(values)
    if units <= GROUPS:
        weighted: Floats = np.concatenate([np.ones((1, units)), jackknife_weights(units)]) @ values
        return weighted
    group, flat = jackknife_groups(units), values.reshape(units, -1)
    grouped = np.column_stack([np.bincount(group, weights=column, minlength=GROUPS) for column in flat.T])
    total = flat.sum(axis=0)
    return np.concatenate([total[None], total - grouped]).reshape(-1, *values.shape[1:])


def _positive(ranking: Ranking) -> NDArray[np.bool_]:
    """(N,) whether an image is a positive, from high to low score."""
    positive = np.zeros(len(ranking.code), dtype=np.bool_)
    positive[ranking.at] = True
    return positive


def _scores(
    table: Tally, summed: Callable[[Floats], Floats], ranked: Sequence[tuple[Floats, Floats]]
) -> dict[Key, Floats]:
    """All scores from sums over the units (`summed`: (K, M) -> (R, M)), and AUROC and AUPRC of each ranking."""
    n_classes = table.counts.shape[-1]
    counts = summed(table.counts.reshape(len(table.counts), -1)).reshape(-1, n_classes, n_classes)
    total = summed(table.images)
    scores: dict[Key, Floats] = {
        ("loss", None): ratio(summed(table.loss), total),
        ("brier", None): ratio(summed(table.brier), total),
    }
    scores |= from_confusion(counts)
    if n_classes == 2:
        scores["auroc", None], scores["auprc", None] = ranked[0]
        return scores
    present = counts.sum(axis=-1) > 0
    for name, values in zip(("auroc", "auprc"), zip(*ranked, strict=True), strict=True):
        per_class = np.stack(values, axis=-1)
        scores[name, None] = mean_present(per_class, present)
        scores |= {(name, c): per_class[:, c] for c in range(n_classes)}
    return scores


def _weighted_ranking(ranking: Ranking, weights: Floats) -> tuple[Floats, Floats]:
    """AUROC and average precision under each weighting, (R,) each."""
    positives, negatives = weights @ ranking.positives, weights @ ranking.negatives
    if len(ranking.at) == 0:
        return np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    counted = ranking.by_unit
    wide = len(ranking.code) if counted is None else len(ranking.at)
    precision, right = np.empty(len(weights)), np.empty(len(weights))
    step = max(16, CHUNK_CELLS // wide)
    for start in range(0, len(weights), step):
        rows = slice(start, start + step)
        chunk = weights[rows]
        if counted is None:
            precision[rows], right[rows] = _scan(ranking, chunk)
        else:
            precision[rows] = _counted_precision(counted, chunk)
            right[rows] = ((chunk @ counted.pairs) * chunk).sum(axis=1)
    return ratio(right, positives * negatives), ratio(precision, positives)


def _counted_precision(counted: UnitCounts, weights: Floats) -> Floats:
    """Sum over the positives of weight x precision at their score, (R,)."""
    turned = np.ascontiguousarray(weights.T, dtype=np.float32)  # whole weights stay exact to 16.7 million images
    true = counted.true @ turned
    total = counted.false @ turned
    total += true
    np.maximum(total, np.float32(1e-30), out=total)
    true /= total
    true *= turned[counted.unit]
    summed: Floats = true.sum(axis=0, dtype=np.float64)
    return summed


def _scan(ranking: Ranking, weights: Floats) -> tuple[Floats, Floats]:
    """Sums over the positives of weight x precision, and of weight x negatives ranked below; (R,) each."""
    image = weights.T.astype(np.float32)[ranking.code]  # (N, r)
    above = np.zeros((len(image) + 1, image.shape[1]), dtype=np.float32)
    np.cumsum(image, axis=0, out=above[1:])
    positives = image[ranking.at]
    positives_above = np.zeros((len(positives) + 1, image.shape[1]), dtype=np.float32)
    np.cumsum(positives, axis=0, out=positives_above[1:])
    upto, positives_upto = above[ranking.last + 1], positives_above[ranking.own_last + 1]
    precision = positives * positives_upto / np.maximum(upto, np.float32(1e-30))
    higher = above[ranking.before] - positives_above[ranking.own_before]
    below = (above[-1] - positives_above[-1]) - 0.5 * (higher + upto - positives_upto)
    return precision.sum(axis=0, dtype=np.float64), (positives * below).sum(axis=0, dtype=np.float64)
