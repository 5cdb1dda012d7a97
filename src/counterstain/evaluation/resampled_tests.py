"""Tests for ways of training over folds and repeats, whose training sets overlap."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["CorrelatedT", "bayesian_correlated_t", "corrected_resampled_t"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CorrelatedT:
    """The corrected t-test of J differences between two procedures.

    mean, se: of the differences, the error corrected for training sets that overlap
    t, df, p: two-sided against no difference
    naive_t, naive_p: the plain paired t, which is not valid here; shown so that it can be recognised
    low, high: interval of the mean difference
    """

    mean: float
    se: float
    df: int
    t: float
    p: float
    naive_t: float
    naive_p: float
    low: float
    high: float


def corrected_resampled_t(
    delta: Sequence[float], *, n_train: float, n_test: float, confidence: float = 0.95
) -> CorrelatedT:
    """The t-test of differences over folds or repeats with the variance 1/J + n_test / n_train instead of 1/J.

    Args:
        delta: J >= 2 differences of a score, one for each fold of each repeat (or split).
        n_train, n_test: patients (or images) in the training and in the test part of a fold; only their ratio counts.

    Returns:
        With differences all alike and 0, t = 0 and p = 1; all alike and not 0, t is infinite and p = 0.

    Raises:
        ValueError: If there are fewer than two differences.

    Source: Nadeau & Bengio 2003, Machine Learning 52:239, doi:10.1023/A:1024068626366.
    """
    from scipy.special import stdtrit

    value, df, variance = _spread(delta)
    mean = float(value.mean())
    se = float(np.sqrt(variance * (1 / len(value) + n_test / n_train)))
    naive = float(np.sqrt(variance / len(value)))
    t, p = _t_test(mean, se, df)
    naive_t, naive_p = _t_test(mean, naive, df)
    half = float(stdtrit(df, 0.5 + confidence / 2)) * se
    return CorrelatedT(mean, se, df, t, p, naive_t, naive_p, mean - half, mean + half)


def _spread(delta: Sequence[float]) -> tuple[Floats, int, float]:
    value = np.asarray(delta, dtype=np.float64)
    if len(value) < 2:
        raise ValueError(f"{len(value)} difference was given; at least 2 are needed for a spread")
    return value, len(value) - 1, float(value.var(ddof=1))


def _t_test(mean: float, se: float, df: float) -> tuple[float, float]:
    from scipy.special import stdtr

    if se == 0:
        return (0.0, 1.0) if mean == 0 else (float(np.copysign(np.inf, mean)), 0.0)
    t = mean / se
    return t, float(2 * stdtr(df, -abs(t)))


def bayesian_correlated_t(
    delta: Sequence[float], *, n_train: float, n_test: float, rope: float = 0.0
) -> tuple[float, float, float]:
    """Posterior chances that the mean difference lies below -rope, within it, and above it; they sum to 1.

    The posterior is Student's t with the mean and the corrected error of `corrected_resampled_t` (flat prior).

    Source: Corani & Benavoli 2015, Machine Learning 100:285, doi:10.1007/s10994-015-5486-z.
    """
    from scipy.special import stdtr

    if rope < 0:
        raise ValueError(f"rope is {rope}; a half-width of at least 0 is needed")
    test = corrected_resampled_t(delta, n_train=n_train, n_test=n_test)
    if test.se == 0:
        place = (test.mean < -rope, -rope <= test.mean <= rope, test.mean > rope)
        return float(place[0]), float(place[1]), float(place[2])
    low = float(stdtr(test.df, (-rope - test.mean) / test.se))
    high = float(stdtr(test.df, (test.mean - rope) / test.se))
    return low, max(1 - low - high, 0.0), high
