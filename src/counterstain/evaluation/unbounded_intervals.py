"""Jackknife intervals of measures without two walls: ratios on the log scale, slopes and intercepts as they are."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from counterstain.evaluation.degrees_of_freedom import combined_df
from counterstain.evaluation.intervals import Estimate, variance_parts
from counterstain.evaluation.near_ceiling import NOISE

__all__ = ["Scale", "open_interval"]

Floats = NDArray[np.float64]
Scale = Literal["plain", "log"]


def open_interval(values: Floats, left_out: Floats, df: float, *, scale: Scale, confidence: float = 0.95) -> Estimate:
    """Mean over seeds with a t-interval over units and seeds, made on the stated scale.

    Args:
        values: (S,) the measure for each seed.
        left_out: (S, G) the same with one unit (or group of units) left out.
        df: degrees of freedom of the variance over units.
        scale: "log" for ratios above 0, whose interval then never reaches below 0; "plain" for any number.
        confidence: of the interval.

    Returns:
        NaN limits where a value is undefined without some unit, or where no unit moves the measure.
    """
    from scipy.special import stdtrit

    value, per_seed, nan = float(np.mean(values)), tuple(float(v) for v in values), float("nan")
    complete = np.isfinite(values).all() and np.isfinite(left_out).all() and left_out.shape[1] > 1
    if not complete or (scale == "log" and value <= 0):
        return Estimate(value, nan, nan, per_seed, nan, nan, nan)
    patient, seed = variance_parts(values, left_out)
    if patient + seed <= NOISE**2:  # rounding is no variance
        return Estimate(value, nan, nan, per_seed, 0.0, 0.0, nan)
    df = combined_df(patient, seed, df, len(values) - 1)
    half = float(stdtrit(df, 0.5 + confidence / 2)) * float(np.sqrt(patient + seed))
    if scale == "log":
        low, high = value * float(np.exp(-half / value)), value * float(np.exp(half / value))
    else:
        low, high = value - half, value + half
    return Estimate(value, low, high, per_seed, float(np.sqrt(patient)), float(np.sqrt(seed)), df)
