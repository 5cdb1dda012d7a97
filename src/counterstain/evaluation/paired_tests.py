"""Tests for two models on the same images: by patient where one has several images, by image where one has one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ClusteredMcNemar",
    "DeLong",
    "McNemar",
    "clustered_auroc_difference",
    "clustered_mcnemar",
    "delong",
    "mcnemar",
    "sign_flip",
]

Floats = NDArray[np.float64]

SIGNS = 50_000  # held at once
EXACT_UP_TO = 16  # units that differ: 2^16 sign patterns are enumerated, more are drawn


# ------------------------------------------------------------------------------------------------ one image per patient


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of b against c discordant pairs: p-values of its forms, and the one to use.

    p: mid-p where b + c < 25, else asymptotic (Fagerland et al. 2013, doi:10.1186/1471-2288-13-91)
    note: "" or what a reader must know
    """

    b: int
    c: int
    exact: float
    mid_p: float
    chi2: float
    asymptotic: float
    chi2_corrected: float
    corrected: float
    p: float
    note: str


def mcnemar(b: int, c: int) -> McNemar:
    """McNemar's test; right only where every pair is independent, so for one image per patient.

    Args:
        b: pairs that only the first model has right.
        c: pairs that only the second model has right.

    Returns:
        With b + c = 0 every p is 1, with a note: the models never differ, which is no evidence that they are equal.

    Source: McNemar 1947, Psychometrika 12:153, doi:10.1007/BF02295996; mid-p: Fagerland et al. 2013.
    """
    from scipy.special import bdtr, chdtrc, gammaln

    if b < 0 or c < 0:
        raise ValueError(f"discordant counts are {b} and {c}; counts of at least 0 are needed")
    n = b + c
    if n == 0:
        return McNemar(b, c, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0, "no image on which the models differ")
    low = min(b, c)
    tail = float(bdtr(low, n, 0.5))
    mass = float(np.exp(gammaln(n + 1) - gammaln(low + 1) - gammaln(n - low + 1) - n * np.log(2)))
    chi2 = (b - c) ** 2 / n
    chi2_corrected = max(abs(b - c) - 1, 0) ** 2 / n
    exact = min(1.0, 2 * tail)
    mid_p = 1 - mass / 2 if b == c else 2 * tail - mass  # at b = c doubling would count the middle twice
    asymptotic = float(chdtrc(1, chi2))
    corrected = float(chdtrc(1, chi2_corrected))
    p = mid_p if n < 25 else asymptotic
    return McNemar(b, c, exact, mid_p, chi2, asymptotic, chi2_corrected, corrected, p, "")


@dataclass(frozen=True)
class DeLong:
    """Two AUROCs on the same images, their variances and covariance, and the test of no difference (a - b)."""

    auc_a: float
    auc_b: float
    var_a: float
    var_b: float
    cov: float
    z: float
    p: float


def delong(positive: NDArray[np.bool_], score_a: Floats, score_b: Floats) -> DeLong:
    """DeLong's test of two correlated AUROCs; right only for one image per patient.

    Equal curves give z = 0 and p = 1. With fewer than two positives or negatives the variances are NaN.

    Source: DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44:837, doi:10.2307/2531595; ranks as in Sun & Xu 2014.
    """
    (auc_a, positives_a, negatives_a), (auc_b, positives_b, negatives_b) = (
        _placements(positive, s) for s in (score_a, score_b)
    )
    m, n = len(positives_a), len(negatives_a)
    if m < 2 or n < 2:
        nan = float("nan")
        return DeLong(auc_a, auc_b, nan, nan, nan, nan, nan)
    cov = np.cov(positives_a, positives_b) / m + np.cov(negatives_a, negatives_b) / n
    z, p = _z_test(auc_a - auc_b, float(cov[0, 0] + cov[1, 1] - 2 * cov[0, 1]))
    return DeLong(auc_a, auc_b, float(cov[0, 0]), float(cov[1, 1]), float(cov[0, 1]), z, p)


def _placements(positive: NDArray[np.bool_], score: Floats) -> tuple[float, Floats, Floats]:
    """AUROC; for each positive the share of negatives below it; for each negative the share of positives above it."""
    if positive.all() or not positive.any():  # without both classes nothing is ranked above anything
        undefined = np.full(len(score), np.nan)
        return float("nan"), undefined[positive], undefined[~positive]
    order = np.argsort(score)
    ranked, hit = score[order], positive[order]
    tie = np.append(0, np.cumsum(ranked[1:] != ranked[:-1]))
    positives, negatives = (np.bincount(tie, weights=which, minlength=tie[-1] + 1) for which in (hit, ~hit))
    place = np.empty(len(score), dtype=np.int64)
    place[order] = tie
    of_positives = (np.cumsum(negatives) - negatives / 2)[place[positive]] / negatives.sum()  # ties half
    of_negatives = 1 - (np.cumsum(positives) - positives / 2)[place[~positive]] / positives.sum()
    return float(of_positives.mean()), of_positives, of_negatives


def _z_test(delta: float, variance: float) -> tuple[float, float]:
    """z and two-sided p; no difference without variance is z = 0, p = 1; a difference without variance is unknown."""
    from scipy.special import ndtr

    if variance <= 1e-18:
        return (0.0, 1.0) if abs(delta) < 1e-12 else (float("nan"), float("nan"))
    z = delta / float(np.sqrt(variance))
    return z, float(2 * ndtr(-abs(z)))


# ------------------------------------------------------------------------------------------- several images per patient


@dataclass(frozen=True)
class ClusteredMcNemar:
    """Chi-square (1 df) and p of clustered forms of McNemar's test, with the unclustered one to show the difference."""

    unclustered: float
    obuchowski: float
    durkalski: float
    yang: float
    p_unclustered: float
    p_obuchowski: float
    p_durkalski: float
    p_yang: float


def clustered_mcnemar(b: Sequence[int], c: Sequence[int], n: Sequence[int]) -> ClusteredMcNemar:
    """McNemar's test where a patient has several images.

    Args:
        b: for each patient the images that only the first model has right.
        c: for each patient the images that only the second has right.
        n: for each patient all images, >= 1.

    Returns:
        All statistics 0 and p 1 where the models never differ.

    Source: Obuchowski 1998, Stat. Med. 17:1495; Durkalski et al. 2003, Stat. Med. 22:2417, doi:10.1002/sim.1438;
        Yang, Sun & Hardin 2010, Stat. Med. 29:2888.
    """
    from scipy.special import chdtrc

    first, second, size = (np.asarray(v, dtype=np.float64) for v in (b, c, n))
    delta = first - second
    discordant = float((first + second).sum())
    k = len(size)
    if discordant == 0:
        return ClusteredMcNemar(0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0)
    # Obuchowski: cluster variance of the two rates under a common rate, with k / (k - 1).
    obuchowski = _over(delta.sum() ** 2, k / (k - 1) * (delta**2).sum()) if k > 1 else float("nan")
    share = delta / size
    durkalski = _over(share.sum() ** 2, (share**2).sum())
    centred = delta - size * (delta.sum() / size.sum())  # Yang: the mean of the variances under and off the null
    yang = _over(delta.sum() ** 2, k / (k - 1) * ((centred**2).sum() + (delta**2).sum()) / 2) if k > 1 else float("nan")
    unclustered = float(delta.sum()) ** 2 / discordant
    statistics = (unclustered, obuchowski, durkalski, yang)
    return ClusteredMcNemar(*statistics, *(float(chdtrc(1, x)) if x == x else float("nan") for x in statistics))


def _over(above: float, below: float) -> float:
    return float(above / below) if below > 0 else 0.0


def sign_flip(delta: Floats, *, draws: int = 100_000, seed: int = 0) -> float:
    """Two-sided p that the patients' differences are as likely to be turned round: permutation test by patient.

    Args:
        delta: (K,) sum (or mean) difference of each patient; zeros never matter.
        draws: random sign patterns where more than 16 patients differ; fewer are enumerated, which is exact.
        seed: of the draws.

    Returns:
        Share of sign patterns whose |sum| is at least the one seen, in (0, 1]; 1 where no patient differs.

    Source: Fisher 1935, The Design of Experiments, ch. 3; with the seen pattern counted among the draws (Phipson &
        Smyth 2010, doi:10.2202/1544-6115.1585).
    """
    moved = np.asarray(delta, dtype=np.float64)
    moved = moved[moved != 0]
    k = len(moved)
    if k == 0:
        return 1.0
    observed = abs(moved.sum()) * (1 - 1e-12) - 1e-300
    if k <= EXACT_UP_TO:
        signs = 1.0 - 2.0 * ((np.arange(2**k)[:, None] >> np.arange(k)) & 1)
        return float((np.abs(signs @ moved) >= observed).mean())
    rng = np.random.default_rng(seed)
    hits = 0
    step = max(4, SIGNS // k // 4 * 4)  # the generator gives four signs at a time, so fours keep them whatever the step
    for start in range(0, draws, step):
        signs = rng.integers(0, 2, size=(min(step, draws - start), k), dtype=np.int8) * 2.0 - 1.0
        hits += int((np.abs(signs @ moved) >= observed).sum())
    return (hits + 1) / (draws + 1)


def clustered_auroc_difference(
    positive: NDArray[np.bool_], score_a: Floats, score_b: Floats, patient: NDArray[np.int64]
) -> DeLong:
    """Two AUROCs on the same images of clustered patients, with Obuchowski's variances; p from the normal.

    Args:
        positive: (N,) true class.
        score_a, score_b: (N,) scores of the two models.
        patient: (N,) index of each image's patient; a patient may have images of both classes.

    Source: Obuchowski 1997, Biometrics 53:567, doi:10.2307/2533958.
    """
    placements = [_placements(positive, score) for score in (score_a, score_b)]
    units = int(patient.max()) + 1
    positive_code, negative_code = patient[positive], patient[~positive]
    m, n = len(positive_code), len(negative_code)
    with_positive, with_negative = len(np.unique(positive_code)), len(np.unique(negative_code))
    if min(with_positive, with_negative) < 2:
        nan = float("nan")
        return DeLong(placements[0][0], placements[1][0], nan, nan, nan, nan, nan)
    of_positives = [np.bincount(positive_code, weights=v - area, minlength=units) for area, v, _ in placements]
    of_negatives = [np.bincount(negative_code, weights=v - area, minlength=units) for area, _, v in placements]

    def cov(i: int, j: int) -> float:
        s10 = with_positive / (with_positive - 1) * float(of_positives[i] @ of_positives[j]) / m**2
        s01 = with_negative / (with_negative - 1) * float(of_negatives[i] @ of_negatives[j]) / n**2
        s11 = (
            units / (units - 1) * float(of_positives[i] @ of_negatives[j] + of_negatives[i] @ of_positives[j]) / (m * n)
        )
        return s10 + s01 + s11

    var_a, var_b, covariance = cov(0, 0), cov(1, 1), cov(0, 1)
    z, p = _z_test(placements[0][0] - placements[1][0], var_a + var_b - 2 * covariance)
    return DeLong(placements[0][0], placements[1][0], var_a, var_b, covariance, z, p)
