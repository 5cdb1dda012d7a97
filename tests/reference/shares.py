"""Published methods for shares of independent rows, which no verb uses: oracles, and checks of golden.json."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from counterstain.evaluation.proportions import wilson


def _z(confidence: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(0.5 + confidence / 2))


def newcombe(hits_a: int, n_a: int, hits_b: int, n_b: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of share a - share b of two separate groups of patients, from both Wilson intervals.

    Source: Newcombe 1998, Stat. Med. 17:873 (method 10).
    """
    a, b = hits_a / n_a, hits_b / n_b
    low_a, high_a = wilson(hits_a, n_a, confidence=confidence)
    low_b, high_b = wilson(hits_b, n_b, confidence=confidence)
    below = float(np.hypot(a - low_a, high_b - b))
    above = float(np.hypot(high_a - a, b - low_b))
    return a - b - below, a - b + above


def wald_difference(hits_a: int, n_a: int, hits_b: int, n_b: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """The textbook interval of share a - share b; too narrow near 0 and 1, here to be compared with."""
    a, b = hits_a / n_a, hits_b / n_b
    half = _z(confidence) * float(np.sqrt(a * (1 - a) / n_a + b * (1 - b) / n_b))
    return a - b - half, a - b + half


def agresti_caffo(hits_a: int, n_a: int, hits_b: int, n_b: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wald's interval of share a - share b after one hit and one miss are added to each group.

    Source: Agresti & Caffo 2000, Am. Stat. 54:280, doi:10.1080/00031305.2000.10474560.
    """
    return wald_difference(hits_a + 1, n_a + 2, hits_b + 1, n_b + 2, confidence=confidence)


def miettinen_nurminen(
    hits_a: int, n_a: int, hits_b: int, n_b: int, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Score interval of share a - share b: all differences that a score test does not reject.

    Source: Miettinen & Nurminen 1985, Stat. Med. 4:213, doi:10.1002/sim.4780040211.
    """
    from scipy.optimize import brentq

    limit = _z(confidence)
    seen = hits_a / n_a - hits_b / n_b

    def score(delta: float) -> float:
        a, b = _restricted(hits_a, n_a, hits_b, n_b, delta)
        variance = (a * (1 - a) / n_a + b * (1 - b) / n_b) * (n_a + n_b) / (n_a + n_b - 1)
        return (seen - delta) / float(np.sqrt(max(variance, 1e-300)))

    edge = 1 - 1e-10
    low = -1.0 if score(-edge) < limit else float(brentq(lambda d: score(d) - limit, -edge, seen, xtol=1e-12))
    high = 1.0 if score(edge) > -limit else float(brentq(lambda d: score(d) + limit, seen, edge, xtol=1e-12))
    return low, high


def _restricted(hits_a: int, n_a: int, hits_b: int, n_b: int, delta: float) -> tuple[float, float]:
    """Most likely pair of shares that differ by delta: the root of a cubic, in its trigonometric form."""
    n = n_a + n_b
    theta = -delta
    c3, c1, c0 = n, (n_a * theta - n - 2 * hits_a) * theta + hits_a + hits_b, hits_a * theta * (1 - theta)
    c2 = (n_b + 2 * n_a) * theta - n - hits_a - hits_b
    v = c2**3 / (27 * c3**3) - c1 * c2 / (6 * c3**2) + c0 / (2 * c3)
    u = np.copysign(np.sqrt(max(c2**2 / (9 * c3**2) - c1 / (3 * c3), 0.0)), v if v != 0 else 1.0)
    turn = (np.pi + np.arccos(np.clip(v / u**3, -1, 1))) / 3 if u != 0 else np.pi / 2
    a = float(np.clip(2 * u * np.cos(turn) - c2 / (3 * c3), 0, 1))
    return a, float(np.clip(a + theta, 0, 1))


@dataclass(frozen=True)
class Kappa:
    """Cohen's kappa, its large-sample standard error, and the 95 % interval made from it."""

    kappa: float
    se: float
    low: float
    high: float


def cohen_kappa(table: NDArray[np.float64], *, weights: str = "none") -> Kappa:
    """Agreement of two readers beyond chance, from their (C, C) table of counts.

    Args:
        table: rows are the first reader's classes, columns the second's.
        weights: "none", "linear" or "quadratic": how much a near miss counts.

    Returns:
        NaN where chance alone would agree always (both readers use one class).

    Source: Fleiss, Cohen & Everitt 1969, Psychol. Bull. 72:323, doi:10.1037/h0028106.
    """
    share = np.asarray(table, dtype=np.float64)
    n = float(share.sum())
    share = share / n
    places = np.arange(len(share))
    apart = np.abs(places[:, None] - places[None, :])
    power = {"none": 0, "linear": 1, "quadratic": 2}[weights]
    agreement = (apart == 0).astype(float) if power == 0 else 1 - (apart / (len(share) - 1)) ** power
    rows, columns = share.sum(axis=1), share.sum(axis=0)
    seen, chance = float((agreement * share).sum()), float((agreement * np.outer(rows, columns)).sum())
    if chance >= 1:
        return Kappa(*(float("nan"),) * 4)
    kappa = (seen - chance) / (1 - chance)
    expected = (agreement @ columns)[:, None] + (agreement.T @ rows)[None, :]
    spread = (share * (agreement - expected * (1 - kappa)) ** 2).sum() - (kappa - chance * (1 - kappa)) ** 2
    se = float(np.sqrt(max(spread, 0) / n)) / (1 - chance)
    half = _z(0.95) * se
    return Kappa(kappa, se, kappa - half, kappa + half)


def permutation_p(
    first: NDArray[np.float64], second: NDArray[np.float64], *, draws: int = 100_000, seed: int = 0
) -> float:
    """Two-sided p that two separate groups of patients have the same mean, by exchanging patients between them.

    All exchanges are enumerated up to 200,000 of them, which is exact; else `draws` random ones are taken.

    Source: Pitman 1937, Suppl. JRSS 4:119, doi:10.2307/2984124.
    """
    from itertools import combinations
    from math import comb

    pooled = np.concatenate([first, second]).astype(np.float64)
    k, n = len(first), len(pooled)
    middle = pooled.sum() * k / n
    seen = abs(float(np.sum(first)) - middle) * (1 - 1e-12)
    if comb(n, k) <= 200_000:
        chosen = np.array(list(combinations(range(n), k)))
        return float((np.abs(pooled[chosen].sum(axis=1) - middle) >= seen).mean())
    rng = np.random.default_rng(seed)
    hits = sum(bool(abs(float(rng.permutation(pooled)[:k].sum()) - middle) >= seen) for _ in range(draws))
    return (hits + 1) / (draws + 1)
