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
TINY = 1e-17  # terms below this share of the sum are left away
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
    """Images of one group with one score, in order of group and then from high to low score.

    group: (L,) their group
    tie: (L,) place of their score among the distinct ones
    hits, misses: (L,) positives and negatives in the run
    true, rows: (L,) positives and images of the group with at least this score
    last: (L,) whether the group has no lower score
    """

    group: Integers
    tie: Integers
    hits: Floats
    misses: Floats
    true: Floats
    rows: Floats
    last: NDArray[np.bool_]


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
    hits = np.bincount(tie, weights=positive)
    rows = np.bincount(tie).astype(np.float64)
    runs = _runs(group, positive, tie)
    precision = np.empty(groups + 1)
    kept = hits > 0
    levels = Levels(hits[kept], np.cumsum(hits)[kept], np.cumsum(rows)[kept])
    precision[0] = float((levels.hits * levels.true / levels.rows).sum())
    precision[1:] = _precision_without(levels, runs, np.cumsum(kept) - kept, hits, rows, groups)
    return precision, _pairs_without(runs, hits, rows - hits, groups)


def _runs(group: Integers, positive: NDArray[np.bool_], tie: Integers) -> Runs:
    """Sort by group, keeping the order of scores, and join what has the same score."""
    small = group.astype(np.int16) if group.max() < 2**15 else group  # two bytes are sorted by counting
    order = np.argsort(small, kind="stable")
    group, tie = group[order], tie[order]
    new_group = group[1:] != group[:-1]
    end = np.flatnonzero(np.append(new_group | (tie[1:] != tie[:-1]), True))
    true, rows = np.cumsum(positive[order], dtype=np.int64)[end], end + 1
    group = group[end]
    last = np.append(group[1:] != group[:-1], True)
    begun = np.concatenate([[-1], np.flatnonzero(last)[:-1]])  # the run before the group's first, -1 before all
    length = np.diff(np.append(begun, len(group) - 1))
    hits, size = np.diff(true, prepend=0), np.diff(rows, prepend=0)
    before_true, before_rows = (np.where(begun < 0, 0, counted[begun]) for counted in (true, rows))
    return Runs(
        group=group,
        tie=tie[end],
        hits=hits.astype(np.float64),
        misses=(size - hits).astype(np.float64),
        true=(true - np.repeat(before_true, length)).astype(np.float64),
        rows=(rows - np.repeat(before_rows, length)).astype(np.float64),
        last=last,
    )


def _pairs_without(runs: Runs, hits: Floats, misses: Floats, groups: int) -> Floats:
    """(1 + G,) pairs ranked right: all, less those with a positive or a negative of the group, plus those with both."""
    below = misses.sum() - np.cumsum(misses) + misses / 2  # by score: negatives ranked below, ties half
    above = np.cumsum(hits) - hits / 2
    whole = float((hits * below).sum())
    negatives = np.bincount(runs.group, weights=runs.misses, minlength=groups)
    both = runs.hits * (negatives[runs.group] - (runs.rows - runs.true) + runs.misses / 2)
    with_own = runs.hits * below[runs.tie] + runs.misses * above[runs.tie] - both
    return np.append(whole, whole - np.bincount(runs.group, weights=with_own, minlength=groups))


def _precision_without(
    levels: Levels, runs: Runs, level_of: Integers, hits: Floats, rows: Floats, groups: int
) -> Floats:
    """(G,) sum of the precision at the other groups' positives, counted among the other groups' images.

    Args:
        level_of: by distinct score: how many levels stand above it.
        hits, rows: by distinct score: positives, images.
    """
    start = level_of[runs.tie]
    stop = np.append(start[1:], 0)
    stop[runs.last] = len(levels.hits)
    # From a run of the group on down to its next one, so many positives and images are missing above each level.
    lowered = _lowered(levels, start, stop, runs.true, runs.rows)
    unchanged = np.append(0.0, np.cumsum(levels.hits * levels.true / levels.rows))
    first = np.append(True, runs.last[:-1])
    above = np.full(groups, unchanged[-1])  # a group without images changes nothing
    above[runs.group[first]] = unchanged[start[first]]
    true, seen = np.cumsum(hits)[runs.tie], np.cumsum(rows)[runs.tie]
    own = runs.hits * (true - runs.true) / np.maximum(seen - runs.rows, 1)
    return above + np.bincount(runs.group, weights=lowered - own, minlength=groups)


def _lowered(levels: Levels, start: Integers, stop: Integers, true: Floats, rows: Floats) -> Floats:
    """(L,) sum over levels start..stop-1 of hits x (levels.true - true) / (levels.rows - rows)."""
    out = np.zeros(len(start))
    split = np.clip(np.searchsorted(levels.rows, RATIO * rows), start, stop)
    near = np.flatnonzero(start < split)
    far = np.flatnonzero(split < stop)
    out[near] += _divided(levels, start[near], split[near], true[near], rows[near])
    out[far] += _by_series(levels, split[far], stop[far], true[far], rows[far])
    return out


def _divided(levels: Levels, start: Integers, stop: Integers, true: Floats, rows: Floats) -> Floats:
    """`_lowered`, level by level."""
    length = stop - start
    until = np.cumsum(length)
    out = np.empty(len(start))
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
        out[part] = np.add.reduceat(value, first)
        begin = end
    return out


def _by_series(levels: Levels, start: Integers, stop: Integers, true: Floats, rows: Floats) -> Floats:
    """`_lowered` by 1 / (n - m) = 1/n + m/n^2 + m^2/n^3 + ...: each term is a difference of two running sums."""
    out = np.zeros(len(start))
    active = np.arange(len(start))
    most = rows / levels.rows[start]
    left, factor = most.copy(), np.ones(len(start))
    scaled = levels.hits.copy()
    while len(active):
        scaled = scaled / levels.rows
        # Summed from below: these terms are largest at the top, and would drown what is small there.
        of_true, of_one = (np.append(np.cumsum(v[::-1])[::-1], 0.0) for v in (scaled * levels.true, scaled))
        i, j = start[active], stop[active]
        out[active] += factor * (of_true[i] - of_true[j] - true[active] * (of_one[i] - of_one[j]))
        going = left > TINY
        active, left, factor = active[going], left[going], factor[going]
        left, factor = left * most[active], factor * rows[active]
    return out
