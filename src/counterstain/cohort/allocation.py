"""Deal indivisible units (patients) to parts of given shares, each class coming out in those shares in each part."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["deal"]

# Units beyond this many are dealt in bulk: with thousands the law of large numbers does what care does for tens.
_CAREFUL_UNITS = 2000


def deal(
    counts: NDArray[np.int64],
    shares: Sequence[float],
    rng: np.random.Generator,
    *,
    most_units: NDArray[np.int64] | None = None,
    known: Sequence[NDArray[np.int64]] = (),
    vary: bool = False,
) -> NDArray[np.int64] | None:
    """The part of each unit, such that every class is in every part; None where no such dealing was found.

    Up to 256 greedy dealings in random order are made at once; the one is taken whose shares of images and of units,
    per class and part, come nearest to `shares`.

    Args:
        counts: (U, K) images of each unit in each class.
        shares: (G,) the share of each part; they sum to 1.
        rng: The source of all randomness.
        most_units: (K,) at most so many units of a class in any one part.
        known: (U,) dealings that are not to come again (where another one is possible).
        vary: Take one of the best quarter by chance instead of the best, so that repeats differ in more than detail.
    """
    units, classes = counts.shape
    share = np.asarray(shares, dtype=np.float64)
    draws = int(np.clip(64_000 // units, 16, 256))
    present = (counts > 0).astype(np.float64)
    image_share = counts / np.maximum(counts.sum(axis=0), 1)
    unit_share = present / np.maximum(present.sum(axis=0), 1)
    # (U, 2K + 1): what a unit adds to each class in images and in units, and to all images together.
    weight = np.concatenate([image_share, unit_share, counts.sum(axis=1, keepdims=True) / counts.sum()], axis=1)
    order = _orders(present, counts.sum(axis=1), draws, rng)
    part, load = _greedy(weight, present, share, order[:, :_CAREFUL_UNITS], rng, most_units)
    if units > _CAREFUL_UNITS:
        _bulk(part, order[:, _CAREFUL_UNITS:], np.argmax(unit_share, axis=1), share, rng)
        load = np.stack([(part == group) @ weight for group in range(len(share))], axis=1)
    has_class = load[:, :, classes : 2 * classes]
    possible = (has_class > 0).all(axis=(1, 2))
    if most_units is not None:
        tolerance = 1e-9
        possible &= (has_class * present.sum(axis=0) <= most_units + tolerance).all(axis=(1, 2))
    if not possible.any():
        return None
    distance = np.where(possible, ((load - share[:, None]) ** 2 / share[:, None]).sum(axis=(1, 2)), np.inf)
    best = np.argsort(distance, kind="stable")[: np.count_nonzero(possible)]
    if vary:
        quarter = len(best) // 4 + 1
        best[:quarter] = rng.permutation(best[:quarter])
    fresh = [int(draw) for draw in best if not any(_same(part[draw], earlier) for earlier in known)]
    chosen: NDArray[np.int64] = part[fresh[0] if fresh else int(best[0])]
    return chosen


def _same(first: NDArray[np.int64], second: NDArray[np.int64]) -> bool:
    """Whether two dealings make the same groups, whatever the groups' numbers."""
    pairs = np.unique(np.stack([first, second]), axis=1).shape[1]
    return bool(pairs == len(np.unique(first)) == len(np.unique(second)))


def _orders(
    present: NDArray[np.float64], size: NDArray[np.int64], draws: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """(draws, U) orders: units of the rarest class first, then by chance; in half of the draws large ones first."""
    rarity = np.where(present > 0, present.sum(axis=0), np.inf).min(axis=1)
    chance = rng.random((draws, len(size)))
    large_first = np.arange(draws)[:, None] % 2 == 0
    key = np.where(large_first, chance / size, chance)
    return np.lexsort((key, np.broadcast_to(rarity, key.shape)), axis=1)


def _greedy(
    weight: NDArray[np.float64],
    present: NDArray[np.float64],
    share: NDArray[np.float64],
    order: NDArray[np.int64],
    rng: np.random.Generator,
    most_units: NDArray[np.int64] | None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(draws, U) parts and (draws, G, 2K + 1) what each holds: each unit goes where the squared error grows least."""
    draws, steps = order.shape
    units, classes = present.shape
    groups = len(share)
    part = np.full((draws, units), -1, dtype=np.int64)
    load = np.zeros((draws, groups, weight.shape[1]))
    lacking = np.ones((draws, groups, classes))
    total = present.sum(axis=0)
    remaining = np.repeat(total[None], draws, axis=0)
    row = np.arange(draws)
    noise = rng.random((draws, groups)) * 1e-9
    for step in range(steps):
        unit = order[:, step]
        adds = weight[unit][:, None, :]
        cost = (adds * (2 * (load - share[:, None]) + adds)).sum(axis=2) / share + noise
        # The last units of a class must go to the parts that still lack it.
        has = present[unit]
        last = has * (remaining <= lacking.sum(axis=1))
        cost -= 1e6 * np.einsum("dgk,dk->dg", lacking, last)
        if most_units is not None:
            full = load[:, :, classes : 2 * classes] * total >= most_units - 1e-9
            cost += 1e6 * np.einsum("dgk,dk->dg", full, has)
        choice = np.argmin(cost, axis=1)
        part[row, unit] = choice
        load[row, choice] += weight[unit]
        lacking[row, choice] *= 1 - has
        remaining -= has
    return part, load


def _bulk(
    part: NDArray[np.int64],
    order: NDArray[np.int64],
    stratum: NDArray[np.int64],
    share: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    """Deal the units of `order` stratum by stratum in the given shares, in place."""
    for draw, units in enumerate(order):
        for value in np.unique(stratum[units]):
            members = rng.permutation(units[stratum[units] == value])
            ends = np.round(np.cumsum(share) * len(members)).astype(np.int64)
            part[draw, members] = np.searchsorted(ends, np.arange(len(members)), side="right")
