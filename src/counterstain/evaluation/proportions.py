"""Intervals of a share of independent rows: Wilson's, and the exact one of Clopper and Pearson."""

import numpy as np

__all__ = ["clopper_pearson", "wilson"]


def wilson(hits: float, n: float, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a share of n independent rows; NaN for n = 0.

    Source: Wilson 1927, JASA 22:209, doi:10.1080/01621459.1927.10502953.
    """
    from scipy.special import ndtri

    if n <= 0:
        return float("nan"), float("nan")
    z = float(ndtri(0.5 + confidence / 2))
    p = hits / n
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return (0.0 if hits == 0 else float(middle - half)), (1.0 if hits == n else float(middle + half))


def clopper_pearson(hits: float, n: float, *, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval for a share of n independent rows, never narrower than stated; n need not be whole.

    Source: Clopper & Pearson 1934, Biometrika 26:404, doi:10.1093/biomet/26.4.404.
    """
    from scipy.special import betaincinv

    if n <= 0:
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low = 0.0 if hits <= 0 else float(betaincinv(hits, n - hits + 1, tail))
    high = 1.0 if hits >= n else float(betaincinv(hits + 1, n - hits, 1 - tail))
    return low, high
