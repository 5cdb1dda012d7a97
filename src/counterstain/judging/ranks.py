"""Several procedures on several data sets: mean ranks, Friedman's test, Nemenyi's distance, Wilcoxon's signed ranks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Friedman", "friedman", "wilcoxon_statistic"]


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
