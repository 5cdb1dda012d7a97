"""Intervals that include the variance between patients and between training seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from counterstain.evaluation.degrees_of_freedom import Key, carrying_units, class_shares, combined_df, whole_patients
from counterstain.evaluation.metric_names import RANGES
from counterstain.evaluation.metrics import quadratic_kappa, ratio
from counterstain.evaluation.near_ceiling import NOISE
from counterstain.evaluation.pooled_predictions import pool_patients, pool_slides
from counterstain.evaluation.predictions import PROBABILITY_MEASURES, Predictions
from counterstain.evaluation.proportions import clopper_pearson, wilson
from counterstain.evaluation.resampling import jackknife_scores, left_out_totals, tally, unit_codes, unit_places
from counterstain.evaluation.size_and_difficulty import SizeAndDifficulty, tables_by_size

__all__ = ["Estimate", "Sample", "estimate", "estimate_of", "estimates", "limits", "sample", "units_of"]

Floats = NDArray[np.float64]

FEW_PATIENTS = 20
KAPPA: Key = ("quadratic_kappa", None)


# ------------------------------------------------------------------------------- both sources of variance


@dataclass(frozen=True, eq=False)
class Sample:
    """All scores of one arm's seeds at one level, on all patients and with each patient (or group) left out.

    values: (metric, class) -> (S,) score of each seed
    left_out: (metric, class) -> (S, G) the same without patient (or group of patients) g
    df: (metric, class) -> degrees of freedom of the variance over units
    units: number of independent units
    rows: number of images (or patients, at patient level)
    shares: the scores that are one count over another
    whole: (metric, class) -> number of whole patients that a score of several classes consists of
    carried: (metric, class) -> (G,) share of its class that each left-out patient carries; scores of several classes
    by_size: whether the share right goes with a patient's number of images; None at other levels than
        "image" and where patients are unknown
    """

    values: Mapping[Key, Floats]
    left_out: Mapping[Key, Floats]
    df: Mapping[Key, float]
    units: int
    rows: int
    shares: frozenset[Key]
    whole: Mapping[Key, float] = field(default_factory=dict)
    carried: Mapping[Key, Floats] = field(default_factory=dict)
    by_size: SizeAndDifficulty | None = None


@dataclass(frozen=True)
class Estimate:
    """One score of one arm: mean over its seeds, interval, and what the interval is made of.

    se_patient, se_seed: standard errors from the patients and from the seeds, on the score's own scale
    df: degrees of freedom of the interval's t-quantile
    """

    value: float
    low: float
    high: float
    per_seed: tuple[float, ...]
    se_patient: float
    se_seed: float
    df: float

    def as_record(self) -> dict[str, float]:
        """The value and its limits, as records hold them."""
        return {"value": self.value, "low": self.low, "high": self.high}


def sample(tables: Sequence[Predictions], names: Sequence[str], *, level: str) -> Sample:
    """Score the tables of one arm (one per seed) on all units in `names` and without each of them.

    Args:
        tables: S tables, one per seed.
        names: the units of all arms, in the order in which they are left out.
        level: "image", or "slide" or "patient": the mean probability over its images, one row per slide or patient.
    """
    pool = {"patient": pool_patients, "slide": pool_slides}.get(level)
    pooled = [table if pool is None else pool(table) for table in tables]
    values: dict[Key, list[Floats]] = {}
    df: dict[Key, list[float]] = {}
    for table, unpooled in zip(pooled, tables, strict=True):
        summed = tally(table, unit_places(table, names), len(names))
        scores = jackknife_scores(summed)
        made_of = whole_patients(summed.counts)
        carried = class_shares(left_out_totals(summed.counts.sum(axis=2)))
        freedom = dict(summed.df)
        if table.hard:  # calls stand as probabilities 0 and 1, of which these say nothing
            scores |= {key: np.full_like(scores[key], np.nan) for key in scores if key[0] in PROBABILITY_MEASURES}
        if table.ordered:
            totals = left_out_totals(summed.counts.reshape(len(summed.counts), -1))
            scores[KAPPA] = quadratic_kappa(totals.reshape(-1, *summed.counts.shape[1:]))
            freedom[KAPPA], carried[KAPPA] = freedom["mcc", None], carried["mcc", None]
        if level == "patient":
            scores["patient_recognition", None] = _recognition(unpooled, names)
            freedom["patient_recognition", None] = max(len(unpooled.patient_codes[0]) - 1.0, 1.0)
        for key, value in scores.items():
            values.setdefault(key, []).append(value)
            df.setdefault(key, []).append(freedom[key])
    stacked = {key: np.stack(value) for key, value in values.items()}
    return Sample(
        values={key: value[:, 0] for key, value in stacked.items()},
        left_out={key: value[:, 1:] for key, value in stacked.items()},
        df={key: float(np.mean(value)) for key, value in df.items()},
        units=len(names),
        rows=len(pooled[0]),
        shares=_shares(len(tables[0].classes)),
        whole=made_of,
        carried=carried,
        by_size=tables_by_size(tables, names) if level == "image" else None,
    )


def _shares(n_classes: int) -> frozenset[Key]:
    """Scores that count hits among independent rows; macro means of several classes do not."""
    single: tuple[int | None, ...] = (None,) if n_classes == 2 else tuple(range(n_classes))
    return frozenset(
        {("accuracy", None), ("npv", None)}
        | {(name, c) for name in ("precision", "recall", "specificity") for c in single}
    )


def _recognition(table: Predictions, names: Sequence[str]) -> Floats:
    """(1 + G,) mean over patients of the share of the patient's images predicted right (BreakHis's own measure).

    Source: Spanhol et al. 2016, IEEE TBME 63:1455, doi:10.1109/TBME.2015.2496264.
    """
    code = unit_places(table, names)
    images = np.bincount(code, minlength=len(names))
    right = np.bincount(code, weights=table.prob.argmax(axis=1) == table.label, minlength=len(names))
    rate = np.divide(right, images, out=np.zeros(len(names)), where=images > 0)
    patients = left_out_totals((images > 0).astype(np.float64))
    return ratio(left_out_totals(rate), patients)  # without the only patient there is no patient left


def variance_parts(values: Floats, left_out: Floats) -> tuple[float, float]:
    """Variance of the mean over seeds from patients, and from seeds.

    Both parts hold the noise of how one training suits one patient, so their sum errs on the side of caution; taking
    the double part off again let the false-claim rate rise to 7 % with 3 seeds (docs/measures/comparison.md).

    Args:
        values: (S,) score of each seed.
        left_out: (S, G) the same with one unit (or group) left out.

    Returns:
        Jackknife variance over units of the mean over seeds; variance over seeds / S, 0 for one seed.

    Source: Efron & Stein 1981, Ann. Stat. 9:586, doi:10.1214/aos/1176345462 (jackknife); Owen 2007, Ann. Appl. Stat.
        1:386, doi:10.1214/07-AOAS122 (the sum of both is never too small).
    """
    seeds, groups = left_out.shape
    mean = left_out.mean(axis=0)
    patient = float((groups - 1) / groups * ((mean - mean.mean()) ** 2).sum())
    return patient, float(values.var(ddof=1)) / seeds if seeds > 1 else 0.0


def estimate(
    values: Floats,
    left_out: Floats,
    df: float,
    *,
    metric: str,
    whole: float = float("inf"),
    confidence: float = 0.95,
) -> Estimate:
    """Mean over seeds and its interval for one score; NaN limits where the score hangs on too few patients.

    The interval is a t-interval on the scale on which the score has no walls (logit for shares, Fisher's z for the
    MCC, log for the loss), so that it never leaves the score's range. At the wall itself (all right, none right) the
    exact binomial limit for as many units as move the score is used.

    Args:
        values: (S,) score of each seed.
        left_out: (S, G) the same with one unit (or group) left out.
        df: degrees of freedom of the variance over units.
        metric: name of the measure.
        whole: number of whole patients that a score of several classes consists of (`whole_patients`).
        confidence: of the interval.
    """
    from scipy.special import stdtrit

    value = float(values.mean())
    per_seed = tuple(float(v) for v in values)
    nan = float("nan")
    if not (np.isfinite(values).all() and np.isfinite(left_out).all()):
        return Estimate(value, nan, nan, per_seed, nan, nan, nan)
    patient, seed = variance_parts(values, left_out)
    df = combined_df(patient, seed, df, len(values) - 1)
    half = float(stdtrit(df, 0.5 + confidence / 2)) * np.sqrt(patient + seed)
    low, high = limits(value, half, metric)
    if patient + seed <= NOISE**2:  # rounding is no variance, and no variance no knowledge
        low, high = _at_the_wall(value, min(df + 1, whole), metric, confidence)
    return Estimate(value, low, high, per_seed, float(np.sqrt(patient)), float(np.sqrt(seed)), df)


def estimate_of(drawn: Sample, key: Key, *, confidence: float = 0.95) -> Estimate:
    """The interval of one score of a sample.

    Where difficulty goes with the number of images, few patients make most of the variance, and its degrees of freedom
    are the number of those (`carrying_units`) instead of all that carry the score.
    """
    df, left_out = drawn.df[key], drawn.left_out[key]
    if drawn.by_size is not None and drawn.by_size.detected:
        df = max(min(df, carrying_units(left_out.mean(axis=0))), 1.0)
    whole = drawn.whole.get(key, float("inf"))
    return estimate(drawn.values[key], left_out, df, metric=key[0], whole=whole, confidence=confidence)


def limits(value: float, half: float, metric: str) -> tuple[float, float]:
    """value +- half, made on the score's open scale by the delta method."""
    if metric == "loss" or (metric == "brier" and value >= 1):  # more than two classes reach up to 2
        most = RANGES[metric][1]
        return (value * np.exp(-half / value), min(value * np.exp(half / value), most)) if value > 0 else (value, value)
    if RANGES.get(metric, (0.0, 1.0))[0] < 0:
        if abs(value) >= 1:
            return value, value
        z, step = np.arctanh(value), half / (1 - value**2)
        return float(np.tanh(z - step)), float(np.tanh(z + step))
    if not 0 < value < 1:
        return value, value
    z, step = np.log(value / (1 - value)), half / (value * (1 - value))
    return float(1 / (1 + np.exp(step - z))), float(1 / (1 + np.exp(-step - z)))


def _at_the_wall(value: float, units: float, metric: str, confidence: float) -> tuple[float, float]:
    """Limits where leaving out any unit changes nothing: exact for 0 or all of `units`, else unknown.

    A score at its end is that of `units` whole patients who are all right (or all wrong). One that reaches down to -1,
    such as the MCC, is at 1 - 2x where a share x of them fails. What the kappa of grades falls to depends on how far
    off the failing ones are: unknown.
    """
    signed = RANGES.get(metric, (0.0, 1.0))[0] < 0
    share = (value + 1) / 2 if signed else value
    end = min((0.0, 1.0), key=lambda wall: abs(wall - share))
    if metric in ("loss", "brier", KAPPA[0]) or abs(share - end) > NOISE:
        return float("nan"), float("nan")
    low, high = clopper_pearson(units * end, units, confidence=confidence)
    return (2 * low - 1, 2 * high - 1) if signed else (low, high)


def estimates(drawn: Sample, *, confidence: float = 0.95) -> dict[Key, Estimate]:
    """The interval of every score of one arm at one level.

    Shares of a single table with one row a unit have Wilson's interval; everything else that of `estimate`.
    """
    by_key = {}
    for key, value in drawn.values.items():
        interval = estimate_of(drawn, key, confidence=confidence)
        if drawn.rows == drawn.units and len(value) == 1 and key in drawn.shares and np.isfinite(interval.low):
            n = drawn.df[key] + 1  # units that carry the share's denominator
            low, high = wilson(interval.value * n, n, confidence=confidence)
            interval = replace(interval, low=low, high=high)
        by_key[key] = interval
    return by_key


def units_of(tables: Sequence[Predictions]) -> tuple[str, ...]:
    """The independent units of all tables, sorted."""
    return unit_codes(tables)[0]
