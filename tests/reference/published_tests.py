"""Published tests of two or more models, which no verb uses: oracles, and checks of golden.json."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from counterstain.evaluation.paired_tests import _over, sign_flip
from counterstain.evaluation.resampled_tests import _spread, _t_test

Floats = NDArray[np.float64]


def eliasziw_donner(
    both: Sequence[int], b: Sequence[int], c: Sequence[int], neither: Sequence[int]
) -> tuple[float, float]:
    """Chi-square (1 df) and p of McNemar's test divided by what clustering inflates it by.

    The correlation within clusters is estimated from all four outcomes of an image: concordant counts are needed.

    Args:
        both, b, c, neither: for each cluster the images that both models have right, only the first, only the second,
            and neither.

    Returns:
        Statistic 0 and p 1 where the models never differ. A negative correlation deflates nothing: it counts as 0.

    Source: Eliasziw & Donner 1991, Stat. Med. 10:1981, doi:10.1002/sim.4780101211.
    """
    from scipy.special import chdtrc

    cells = np.array([both, b, c, neither], dtype=np.float64).T
    first, second = cells[:, 1], cells[:, 2]
    differ = first + second
    discordant = float(differ.sum())
    if discordant == 0:
        return 0.0, 1.0
    with_any = int((differ > 0).sum())
    mean = discordant / with_any
    reached = mean
    if with_any > 1:
        spread = float(((differ - mean) ** 2).sum()) - (len(differ) - with_any) * mean**2
        reached = mean - spread / (with_any * (with_any - 1) * mean)
    size = reached + with_any * (mean - reached)
    correction = max(1 + (size - 1) * _discordant_correlation(cells), 1.0)
    chi2 = float((first - second).sum()) ** 2 / discordant / correction
    return chi2, float(chdtrc(1, chi2))


def _discordant_correlation(cells: Floats) -> float:
    """Correlation within clusters of the outcomes, given that they are discordant; cells (K, 4) are counts."""
    n = cells.sum(axis=1)
    k, mean = len(n), float(n.mean())
    if k < 2 or mean <= 1:
        return 0.0
    share = cells.sum(axis=0) / n.sum()
    usual = mean - float(((n - mean) ** 2).sum()) / (k * (k - 1) * mean)
    between = float(((cells - n[:, None] * share) ** 2 / n[:, None]).sum()) / k
    within = float((cells * (n[:, None] - cells) / n[:, None]).sum()) / (k * (mean - 1))
    rho = _over(between - within, between + (usual - 1) * within)
    if rho <= 0:
        return 0.0
    return 1 / (1 + float(share[1] + share[2]) * (1 - rho) / rho)


def sign_flip_means(a: Floats, b: Floats, *, draws: int = 100_000, seed: int = 0) -> float:
    """`sign_flip` of paired values, one pair a patient."""
    return sign_flip(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64), draws=draws, seed=seed)


def cochran_q(right: NDArray[np.int64]) -> tuple[float, int, float]:
    """Q, degrees of freedom and p that several models are right equally often; for one image a patient.

    Args:
        right: (N, M) 1 where the model has the image right, else 0.

    Returns:
        Q = 0 and p = 1 where no image tells the models apart.

    Source: Cochran 1950, Biometrika 37:256, doi:10.1093/biomet/37.3-4.256.
    """
    from scipy.special import chdtrc

    models = right.shape[1]
    by_model, by_image = right.sum(axis=0).astype(float), right.sum(axis=1).astype(float)
    below = models * by_image.sum() - (by_image**2).sum()
    if below == 0:
        return 0.0, models - 1, 1.0
    q = float((models - 1) * (models * (by_model**2).sum() - by_model.sum() ** 2) / below)
    return q, models - 1, float(chdtrc(models - 1, q))


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


def bonferroni(p: Sequence[float]) -> list[float]:
    """p times the number of tests, at most 1."""
    return [min(1.0, value * len(p)) for value in p]


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Adjusted p that bound the share of false ones among all claims, in the order given.

    Source: Benjamini & Hochberg 1995, JRSS B 57:289.
    """
    value = np.asarray(p, dtype=np.float64)
    order = np.argsort(-value, kind="stable")
    rank = len(value) - np.arange(len(value))
    adjusted = np.minimum(np.minimum.accumulate(value[order] * len(value) / rank), 1.0)
    out = np.empty(len(value))
    out[order] = adjusted
    return [float(v) for v in out]


def hommel(p: Sequence[float]) -> list[float]:
    """Hommel's adjusted p, in the order given: a little more power than Holm; tests may not depend negatively.

    Source: Hommel 1988, Biometrika 75:383, doi:10.1093/biomet/75.2.383; algorithm of Wright 1992, Biometrics 48:1005.
    """
    value = np.asarray(p, dtype=np.float64)
    n = len(value)
    order = np.argsort(value, kind="stable")
    ranked = value[order]
    adjusted = ranked.copy()
    for m in range(n, 1, -1):
        simes = (m * ranked[n - m + 1 :] / np.arange(2, m + 1)).min()
        adjusted[n - m + 1 :] = np.maximum(adjusted[n - m + 1 :], simes)
        adjusted[: n - m + 1] = np.maximum(adjusted[: n - m + 1], np.minimum(simes, m * ranked[: n - m + 1]))
    out = np.empty(n)
    out[order] = adjusted
    return [float(v) for v in out]


@dataclass(frozen=True)
class Friedman:
    """Are mean ranks over data sets further apart than chance would have them?

    chi2, f: Friedman's chi-square and Iman & Davenport's F; p is that of F
    f_critical: F that chance exceeds with probability alpha
    critical_difference: Nemenyi's distance between mean ranks that is beyond chance for any pair
    """

    chi2: float
    f: float
    p: float
    f_critical: float
    critical_difference: float


def friedman(mean_ranks: Sequence[float], data_sets: int, *, alpha: float = 0.05) -> Friedman:
    """Friedman's test from the mean ranks of k procedures over N data sets (not folds: those are not independent).

    Source: Demsar 2006, JMLR 7:1; Iman & Davenport 1980, Commun. Stat. 9:571.
    """
    from scipy.special import fdtrc, fdtri
    from scipy.stats import studentized_range

    ranks, k = np.asarray(mean_ranks, dtype=np.float64), len(mean_ranks)
    if k < 2 or data_sets < 2:
        raise ValueError(f"{k} procedures on {data_sets} data sets; at least 2 of each are needed")
    chi2 = float(12 * data_sets / (k * (k + 1)) * ((ranks**2).sum() - k * (k + 1) ** 2 / 4))
    below = data_sets * (k - 1) - chi2
    f = (data_sets - 1) * chi2 / below if below > 0 else float("inf")
    df = (k - 1, (k - 1) * (data_sets - 1))
    q = float(studentized_range.ppf(1 - alpha, k, np.inf)) / np.sqrt(2)
    return Friedman(
        chi2=chi2,
        f=f,
        p=float(fdtrc(*df, f)),
        f_critical=float(fdtri(*df, 1 - alpha)),
        critical_difference=float(q * np.sqrt(k * (k + 1) / (6 * data_sets))),
    )


def wilcoxon_statistic(a: Sequence[float], b: Sequence[float]) -> float:
    """The smaller sum of signed ranks of paired values, the ranks of no difference being shared between both signs.

    Source: Demsar 2006, JMLR 7:1, section 3.1.3; for p-values use `scipy.stats.wilcoxon(zero_method="zsplit")`.
    """
    from scipy.stats import rankdata

    delta = np.round(np.subtract(a, b), 12)
    rank = rankdata(np.abs(delta))
    zero = float(rank[delta == 0].sum()) / 2
    return min(float(rank[delta > 0].sum()), float(rank[delta < 0].sum())) + zero
