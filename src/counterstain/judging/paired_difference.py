"""The paired difference of one score between two arms: its interval and its tests, by patient and seed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from counterstain.judging.freedom import combined_df
from counterstain.judging.intervals import Sample, variance_parts

__all__ = ["LOWER_IS_BETTER", "Difference", "difference"]

Floats = NDArray[np.float64]

LOWER_IS_BETTER = ("loss", "brier")


@dataclass(frozen=True)
class Difference:
    """The paired difference a - b of one score, each the mean over its arm's seeds.

    low, high: interval of the difference; p: two-sided, against no difference
    low_margin, high_margin: the interval of twice the error, which TOST holds against the margin
    se_patient, se_seed: standard errors from patients and from seeds; df: of the t-quantile
    margin, p_equivalence, p_noninferior, p_inferior: against the margin; NaN without one
    """

    value_a: float
    value_b: float
    difference: float
    low: float
    high: float
    p: float
    low_margin: float
    high_margin: float
    se_patient: float
    se_seed: float
    df: float
    near_wall: bool = False
    method: str = ""
    margin: float | None = None
    p_equivalence: float = float("nan")
    p_noninferior: float = float("nan")
    p_inferior: float = float("nan")


def difference(
    a: Sample, b: Sample, key: tuple[str, int | None], *, alpha: float = 0.05, margin: float | None = None
) -> Difference:
    """The paired difference of one score between two arms on the same patients.

    Each patient is left out of both arms at once, so what is hard about a patient for both cancels. Seeds of the two
    arms are independent trainings; their spread is added for each arm.
    """
    from scipy.special import stdtr, stdtrit

    value_a, value_b = float(a.values[key].mean()), float(b.values[key].mean())
    delta = value_a - value_b
    patient, seed, df = _difference_variance(a, b, key)
    se = float(np.sqrt(patient + seed))
    nan = float("nan")
    if not np.isfinite(se):
        return Difference(value_a, value_b, delta, nan, nan, nan, nan, nan, nan, nan, nan)
    if se == 0:  # the same predictions (or nothing that any patient changes): no evidence either way
        p = 1.0
        half = half_margin = 0.0
    else:
        p = float(2 * stdtr(df, -abs(delta) / se))
        half, half_margin = (float(stdtrit(df, 1 - tail)) * se for tail in (alpha / 2, alpha))
    return Difference(
        value_a=value_a,
        value_b=value_b,
        difference=delta,
        low=delta - half,
        high=delta + half,
        p=p,
        low_margin=delta - half_margin,
        high_margin=delta + half_margin,
        se_patient=float(np.sqrt(patient)),
        se_seed=float(np.sqrt(seed)),
        df=df,
        method=f"jackknife over patients, t with {df:.1f} df",
        margin=margin,
        **_margin_p(delta, se, df, margin, -1 if key[0] in LOWER_IS_BETTER else 1),
    )


def _margin_p(delta: float, se: float, df: float, margin: float | None, sign: int) -> dict[str, float]:
    """One-sided p-values against the margin; {} without one."""
    from scipy.special import stdtr

    if margin is None:
        return {}

    def one_sided(distance: float) -> float:
        return float(stdtr(df, -distance / se)) if se > 0 else float(distance <= 0)

    gain = sign * delta
    above, below = one_sided(gain + margin), one_sided(margin - gain)
    return {"p_equivalence": max(above, below), "p_noninferior": above, "p_inferior": one_sided(-gain - margin)}


def _difference_variance(a: Sample, b: Sample, key: tuple[str, int | None]) -> tuple[float, float, float]:
    """Variance of the difference from patients and from seeds, and its degrees of freedom; NaN where undefined."""
    out_a, out_b = a.left_out[key], b.left_out[key]
    if not (np.isfinite(out_a).all() and np.isfinite(out_b).all()):
        return float("nan"), float("nan"), float("nan")
    paired = (out_a.mean(axis=0) - out_b.mean(axis=0))[None, :]
    patient, _ = variance_parts(paired[:, 0], paired)
    if len(a.values[key]) == len(b.values[key]) == 1:
        # No seeds' spread is added, which elsewhere makes the test cautious: without the jackknife's (G - 1) / G equal
        # models of 15 patients of uneven size are told apart in 4.9 % of studies, with it in 5.3 %.
        patient *= out_a.shape[1] / (out_a.shape[1] - 1)
    df_patient = min(a.df[key], b.df[key])
    parts = [(variance_parts(s.values[key], s.left_out[key])[1], len(s.values[key]) - 1) for s in (a, b)]
    seed = sum(variance for variance, _ in parts)
    below = sum(variance**2 / df for variance, df in parts if df > 0)
    df_seed = seed**2 / below if below > 0 else 0.0
    return patient, seed, combined_df(patient, seed, df_patient, df_seed)
