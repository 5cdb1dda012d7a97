"""Many looks at once: p-values adjusted so that the chance of any false claim stays where it was stated."""

from collections.abc import Sequence

import numpy as np

__all__ = ["benjamini_hochberg", "bonferroni", "holm", "hommel"]


def bonferroni(p: Sequence[float]) -> list[float]:
    """p times the number of tests, at most 1."""
    return [min(1.0, value * len(p)) for value in p]


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p, in the order given; never larger than Bonferroni's. NaN counts as a test and stays.

    Source: Holm 1979, Scand. J. Stat. 6:65.
    """
    value = np.asarray(p, dtype=np.float64)
    order = np.argsort(value, kind="stable")  # NaN sorts last
    adjusted = np.minimum(np.maximum.accumulate(value[order] * (len(value) - np.arange(len(value)))), 1.0)
    out = np.empty(len(value))
    out[order] = adjusted
    return [float(v) for v in out]


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
