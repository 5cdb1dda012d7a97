"""Tests for learning procedures over folds and seeds, equivalence by TOST, and what a claim still needs in numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CorrelatedT",
    "Tost",
    "bayesian_correlated_t",
    "corrected_resampled_t",
    "five_by_two_f",
    "five_by_two_t",
    "mcnemar_sample_size",
    "probability_of_false_claim",
    "tost_paired",
]

Floats = NDArray[np.float64]


# ------------------------------------------------------------------------------------------------- folds and seeds


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
    found = corrected_resampled_t(delta, n_train=n_train, n_test=n_test)
    if found.se == 0:
        place = (found.mean < -rope, -rope <= found.mean <= rope, found.mean > rope)
        return float(place[0]), float(place[1]), float(place[2])
    low = float(stdtr(found.df, (-rope - found.mean) / found.se))
    high = float(stdtr(found.df, (found.mean - rope) / found.se))
    return low, max(1 - low - high, 0.0), high


def five_by_two_t(delta: Sequence[Sequence[float]]) -> tuple[float, float]:
    """t and two-sided p (5 df) of five repeats of two-fold cross-validation, from (5, 2) differences.

    Source: Dietterich 1998, Neural Computation 10:1895, doi:10.1162/089976698300017197.
    """
    value = np.asarray(delta, dtype=np.float64)
    return _t_test(float(value[0, 0]), float(np.sqrt(_pair_variance(value).mean())), 5)


def five_by_two_f(delta: Sequence[Sequence[float]]) -> tuple[float, float]:
    """F and p (10 and 5 df) of five repeats of two-fold cross-validation, from (5, 2) differences.

    Source: Alpaydin 1999, Neural Computation 11:1885, doi:10.1162/089976699300016007.
    """
    from scipy.special import fdtrc

    value = np.asarray(delta, dtype=np.float64)
    below = 2 * float(_pair_variance(value).sum())
    above = float((value**2).sum())
    if below == 0:
        return (0.0, 1.0) if above == 0 else (float("inf"), 0.0)
    return above / below, float(fdtrc(10, 5, above / below))


def _pair_variance(value: Floats) -> Floats:
    """(5,) variance of the two folds of each repeat."""
    if value.shape != (5, 2):
        raise ValueError(f"differences have shape {value.shape}; (5, 2) is needed: five repeats of two folds")
    centred: Floats = ((value - value.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    return centred


# ---------------------------------------------------------------------------------------------------- equivalence


@dataclass(frozen=True)
class Tost:
    """Two one-sided tests of a mean difference against a margin; p is the larger of the two.

    low, high: the interval of confidence 1 - 2 alpha, which lies within the margin exactly where p < alpha
    """

    mean: float
    se: float
    df: float
    p_low: float
    p_high: float
    p: float
    low: float
    high: float


def tost_paired(delta: Sequence[float], *, margin: float, alpha: float = 0.05) -> Tost:
    """Equivalence of paired values: is the mean difference inside ±margin?

    Source: Schuirmann 1987, J. Pharmacokinet. Biopharm. 15:657, doi:10.1007/BF01068419.
    """
    from scipy.special import stdtr, stdtrit

    if margin <= 0:
        raise ValueError(f"margin is {margin}; a difference above 0 that would not matter is needed")
    value, df, variance = _spread(delta)
    mean, se = float(value.mean()), float(np.sqrt(variance / len(value)))
    if se == 0:
        p_low, p_high = float(mean <= -margin), float(mean >= margin)
        return Tost(mean, se, df, p_low, p_high, max(p_low, p_high), mean, mean)
    p_low = float(stdtr(df, -(mean + margin) / se))
    p_high = float(stdtr(df, (mean - margin) / se))
    half = float(stdtrit(df, 1 - alpha)) * se
    return Tost(mean, se, df, p_low, p_high, max(p_low, p_high), mean - half, mean + half)


# ------------------------------------------------------------------------------------- what a published claim is worth


def probability_of_false_claim(accuracy_a: float, accuracy_b: float, n: int, both_right: float) -> float:
    """Chance that the model with the higher accuracy on n independent images is not the better one.

    Needs only what a paper prints, and the share that both have right (or a guess at it). It takes images as
    independent, so with several images a patient n is to be the number of patients.

    Args:
        accuracy_a, accuracy_b: in [0, 1]; a is the one claimed to be better.
        n: images, or patients.
        both_right: share of images that both models have right, at most the smaller accuracy.

    Source: Christodoulou et al. 2025, arXiv:2505.04720.
    """
    from scipy.special import betainc

    if both_right > min(accuracy_a, accuracy_b) + 1e-12 or accuracy_a + accuracy_b - both_right > 1 + 1e-12:
        raise ValueError(
            f"both_right is {both_right}; with accuracies {accuracy_a} and {accuracy_b} it lies between "
            f"{max(accuracy_a + accuracy_b - 1, 0):g} and {min(accuracy_a, accuracy_b):g}"
        )
    only_a, only_b = max(accuracy_a - both_right, 0.0), max(accuracy_b - both_right, 0.0)
    return float(betainc(n * only_a + 1, n * only_b + 1, 0.5))


def mcnemar_sample_size(only_a: float, only_b: float, *, power: float = 0.8, alpha: float = 0.05) -> int:
    """Independent images needed for McNemar's test to find a difference between two shares of discordant pairs.

    Args:
        only_a, only_b: share of images that only the first, only the second model has right.

    Returns:
        The number, rounded to the nearest image as in the published tables.

    Raises:
        ValueError: If the shares are equal, for then no number is enough.

    Source: Connor 1987, Biometrics 43:207, doi:10.2307/2531961.
    """
    from scipy.special import ndtri

    both, delta = only_a + only_b, abs(only_a - only_b)
    if delta == 0:
        raise ValueError(f"both shares are {only_a}; no number of images settles a difference of 0")
    reach = float(ndtri(1 - alpha / 2)) * np.sqrt(both) + float(ndtri(power)) * np.sqrt(both - delta**2)
    return int(np.rint(reach**2 / delta**2))
