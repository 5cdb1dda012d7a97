"""AUROC and average precision without each group of patients in turn, in one pass over the ranking.

Scanning a million images once for each of 500 groups takes half a minute. Here each image is looked at once: leaving a
group out lowers the counts above a score by steps, and between two steps every image is treated alike.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["left_out_sums"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

RATIO = 32  # a series stands for the division where at most this part of the images above a score is left out
TINY = 1e-15  # terms below this share of a sum are left away
PAIRS = 1_000_000  # (group, score) pairs divided one by one, held at once


@dataclass(frozen=True, eq=False)
class Levels:
    """The distinct scores that positives have, from high to low.

    hits: (V,) positives with this score
    true: (V,) positives with at least this score
    rows: (V,) images with at least this score
    """

    hits: Floats
    true: Floats
    rows: Floats


@dataclass(frozen=True, eq=False)
class Runs:
    """Images of one group with one score, from high to low score.

    group: (L,) their group
    tie: (L,) place of their score among the distinct ones
    next_tie: (L,) the same of the group's next lower score; the number of distinct scores where it has none
    hits, misses: (L,) positives and negatives in the run
    true, rows: (L,) positives and images of the group with at least this score
    """

    group: Integers
    tie: Integers
    next_tie: Integers
    hits: Floats
    misses: Floats
    true: Floats
    rows: Floats


def left_out_sums(
    group: NDArray[np.int64], positive: NDArray[np.bool_], tie: NDArray[np.int64], groups: int
) -> tuple[Floats, Floats]:
    """What AUROC and average precision are divided out of: for all images, and without each group of them.

    Args:
        group: (N,) group of each image, from high to low score, N >= 1.
        positive: (N,) its true class, in the same order.
        tie: (N,) place of its score among the distinct scores, 0 for the highest.
        groups: G, number of groups.

    Returns:
        (1 + G,) sum over the positives of the precision at their score, good to 1e-13 of the number of positives; and
        (1 + G,) pairs of a positive and a negative that are ranked right, ties half, exact.
    """
    hits = np.bincount(tie, weights=positive).astype(np.float64)
    rows = np.bincount(tie).astype(np.float64)
    runs = _runs(group, positive, tie)
    return _precisions(runs, hits, rows, groups), _pairs(runs, hits, rows - hits, groups)


def _runs(group: Integers, positive: NDArray[np.bool_], tie: Integers) -> Runs:
    """Sort by group, join what has the same score, count within the group, and put back into the order of scores."""
    small = group.astype(np.int16) if group.max() < 2**15 else group  # two bytes are sorted by counting
    order = np.argsort(small, kind="stable")
    unit, score = group[order], tie[order]
    end = np.flatnonzero(np.append((unit[1:] != unit[:-1]) | (score[1:] != score[:-1]), True))
    true, rows = np.cumsum(positive[order], dtype=np.int64)[end], end + 1
    unit, score = unit[end], score[end]
    last = np.append(unit[1:] != unit[:-1], True)
    begun = np.append(-1, np.flatnonzero(last)[:-1])  # the run before the group's first, -1 before all
    length = np.diff(np.append(begun, len(unit) - 1))
    before_true, before_rows = (np.repeat(np.where(begun < 0, 0, sums[begun]), length) for sums in (true, rows))
    hits, size = np.diff(true, prepend=0), np.diff(rows, prepend=0)
    place = np.full(len(group), -1)
    place[order[end]] = np.arange(len(end))
    place = place[place >= 0]
    columns = (hits, size - hits, true - before_true, rows - before_rows)
    return Runs(
        unit[place], score[place], np.where(last, tie[-1] + 1, np.append(score[1:], 0))[place],
        *(counted[place].astype(np.float64) for counted in columns),
    )  # fmt: skip


def _pairs(runs: Runs, hits: Floats, misses: Floats, groups: int) -> Floats:
    """(1 + G,) pairs ranked right: all, less those with a positive or a negative of the group, plus those with both."""
    below = misses.sum() - np.cumsum(misses) + misses / 2  # by score: negatives ranked below, ties half
    above = np.cumsum(hits) - hits / 2
    total = float((hits * below).sum())
    negatives = np.bincount(runs.group, weights=runs.misses, minlength=groups)
    both = runs.hits * (negatives[runs.group] - (runs.rows - runs.true) + runs.misses / 2)
    with_group = runs.hits * below[runs.tie] + runs.misses * above[runs.tie] - both
    return np.append(total, total - np.bincount(runs.group, weights=with_group, minlength=groups))


def _precisions(runs: Runs, hits: Floats, rows: Floats, groups: int) -> Floats:
    """(1 + G,) sum of the precision at all positives, and at the other groups' among the other groups' images.

    Args:
        hits, rows: by distinct score: positives, images.
    """
    with_hits = hits > 0
    above_true, above = np.cumsum(hits), np.cumsum(rows)
    levels = Levels(hits[with_hits], above_true[with_hits], above[with_hits])
    unchanged = np.append(0.0, np.cumsum(levels.hits * levels.true / levels.rows))
    level = np.append(0, np.cumsum(with_hits))  # by distinct score: levels that stand above it; all of them at the end
    start, stop = level[runs.tie], level[runs.next_tie]
    # From a run of the group on down to its next one, so many positives and images are missing above each level.
    lowered = _lowered(levels, start, stop, runs.true, runs.rows)
    of_group = runs.hits * (above_true[runs.tie] - runs.true) / np.maximum(above[runs.tie] - runs.rows, 1)
    base = np.full(groups, unchanged[-1])  # a group without images changes nothing
    first = runs.rows == runs.hits + runs.misses
    base[runs.group[first]] = unchanged[start[first]]
    return np.append(unchanged[-1], base + np.bincount(runs.group, weights=lowered - of_group, minlength=groups))


def _lowered(levels: Levels, start: Integers, stop: Integers, true: Floats, rows: Floats) -> Floats:
    """(L,) sum over levels start..stop-1 of hits x (levels.true - true) / (levels.rows - rows)."""
    sums = np.zeros(len(start))
    split = start.copy()
    top = np.flatnonzero(np.append(levels.rows, np.inf)[start] < RATIO * rows)
    split[top] = np.clip(np.searchsorted(levels.rows, RATIO * rows[top]), start[top], stop[top])
    near = np.flatnonzero(start < split)
    far = np.flatnonzero(split < stop)
    sums[near] += _divided(levels, start[near], split[near], true[near], rows[near])
    sums[far] += _by_series(levels, split[far], stop[far], true[far], rows[far])
    return sums


def _divided(levels: Levels, start: Integers, stop: Integers, true: Floats, rows: Floats) -> Floats:
    """`_lowered`, level by level."""
    length = stop - start
    until = np.cumsum(length)
    sums = np.empty(len(start))
    begin = 0
    while begin < len(start):
        done = until[begin] - length[begin]
        end = max(begin + 1, int(np.searchsorted(until, done + PAIRS, side="right")))
        part = slice(begin, end)
        first = until[part] - length[part] - done  # where each stretch begins among the pairs of this part
        level = np.repeat(start[part] - first, length[part]) + np.arange(until[end - 1] - done)
        missing_true, missing = np.repeat(true[part], length[part]), np.repeat(rows[part], length[part])
        # Where nothing is left above a level, its positives are the group's own: 0 / 1.
        value = levels.hits[level] * (levels.true[level] - missing_true) / np.maximum(levels.rows[level] - missing, 1)
        sums[part] = np.add.reduceat(value, first)
        begin = end
    return sums


def _by_series(levels: Levels, start: Integers, stop: Integers, true: Floats, rows: Floats) -> Floats:
    """`_lowered` by 1 / (n - m) = 1/n + m/n^2 + m^2/n^3 + ...: each term is a difference of two running sums."""
    sums, active = np.empty(len(start)), np.arange(len(start))
    most = rows / levels.rows[start]
    summed, remaining, factor = np.zeros(len(start)), most.copy(), np.ones(len(start))
    scaled = levels.hits
    while len(active):
        scaled = scaled / levels.rows
        # Summed from below: these terms are largest at the top, and would drown what is small there.
        of_true, of_one = (np.append(np.cumsum(v[::-1])[::-1], 0.0) for v in (scaled * levels.true, scaled))
        summed += factor * (of_true[start] - of_true[stop] - true * (of_one[start] - of_one[stop]))
        going = remaining > TINY
        if np.count_nonzero(going) < 0.9 * len(active):
            sums[active[~going]] = summed[~going]
            active, start, stop = active[going], start[going], stop[going]
            true, rows, most = true[going], rows[going], most[going]
            summed, remaining, factor = summed[going], remaining[going], factor[going]
        remaining, factor = remaining * most, factor * rows
    return sums
