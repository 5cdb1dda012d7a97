"""Copies among tiles, in tiers: the same bytes, pixels, a flip or quarter-turn, a near-duplicate, a turned crop."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from counterstain.audit.findings import TIERS, Duplicate
from counterstain.audit.fingerprints import Fingerprints, fingerprint, symmetries, turned_hash
from counterstain.audit.rotated_crops import rotated_crops
from counterstain.images.store import Store
from counterstain.system import usable_cores

__all__ = ["TIERS", "Duplicate", "find_duplicates"]

Floats = NDArray[np.float32]

HAMMING = 12  # of 64 bits, between hashes of a candidate
SAME = 0.9  # correlation of fine structure from which on two tiles are one
SAME_PLAIN = 0.99  # the same where a tile has too little variety for that
ROWS = 512  # tiles compared with all others at once


TURNS = (
    "as it is", "rotated by 90°", "rotated by 180°", "rotated by 270°",
    "flipped", "flipped and rotated by 90°", "flipped and rotated by 180°", "flipped and rotated by 270°",
)  # fmt: skip


def find_duplicates(
    store: Store,
    *,
    fit: str = "stretch",
    rotated: bool = True,
    threads: int | None = None,
    step: Callable[[str, int, int], None] | None = None,
) -> tuple[Duplicate, ...]:
    """All pairs of tiles of a store that show the same, each in its first tier of TIERS.

    Tiles without structure are only compared by bytes and pixels: one blank tile is like another.

    Args:
        store: the tiles; its time is that of one reading, and of comparing all pairs of short descriptions.
        fit: how its tiles were made of the images.
        rotated: also look for turns by any angle with crops (LC25000-style), which takes the longest.
        threads: that work; None takes one per core.
        step: called with what is being done, and how much of how much is.
    """
    described = None if step is None else partial(step, "describing tiles")
    prints = fingerprint(store, fit=fit, rotated=rotated, threads=threads, progress=described)
    duplicates: dict[tuple[int, int], Duplicate] = {}

    def keep(copy: Duplicate) -> None:
        key = (min(copy.a, copy.b), max(copy.a, copy.b))
        if key not in duplicates:
            duplicates[key] = Duplicate(*key, copy.tier, copy.similarity, copy.turn)

    for tier, content in (("bytes", store.content), ("pixels", prints.digest)):
        for a, b in _equal(content):
            keep(Duplicate(a, b, tier, 1.0, TURNS[0]))
    for copy in _near(prints, step=step):
        keep(copy)
    if len(prints.waves):
        for crop in rotated_crops(prints, duplicates.keys(), step=step):
            keep(Duplicate(crop.a, crop.b, "rotated", crop.similarity, crop.turn))
    return tuple(duplicates[key] for key in sorted(duplicates))


def _equal(content: Iterable[str]) -> Iterable[tuple[int, int]]:
    """Pairs with the same text; of a group of many each is paired with the first, by which the group is known."""
    first: dict[str, int] = {}
    for row, digest in enumerate(content):
        if digest in first:
            yield first[digest], row
        else:
            first[digest] = row


# ---------------------------------------------------------------------------------------- flips, turns, small changes


def _near(prints: Fingerprints, *, step: Callable[[str, int, int], None] | None = None) -> Iterable[Duplicate]:
    """Pairs whose perceptual hashes are close under a symmetry, and whose fine structure then agrees."""
    from counterstain.audit.close_hashes import close_hashes  # Numba, 70 MB that whoever only reads pairs does without

    turned, plain, count = turned_hash(prints.hash), prints.plain, len(prints.hash)
    columns = np.flatnonzero(~prints.blank)
    known = np.ascontiguousarray(prints.hash[columns])

    def work(start: int) -> dict[tuple[int, int], tuple[float, int]]:
        rows = np.arange(start, min(start + ROWS, count))
        rows = rows[~prints.blank[rows]]
        begin = np.searchsorted(columns, rows, side="right")  # a pair is met from its first tile only
        best: dict[tuple[int, int], tuple[float, int]] = {}
        for index in range(8):
            at, column = close_hashes(turned[index, rows], known, begin, radius=HAMMING)
            for a, b in zip(rows[at].tolist(), columns[column].tolist(), strict=True):
                value = _agreement(prints.small[a], prints.small[b], index)
                enough = SAME_PLAIN if plain[a] or plain[b] else SAME
                if value >= enough and value > best.get((a, b), (0.0, 0))[0]:
                    best[a, b] = value, index
        return best

    starts = range(0, count, ROWS)
    with ThreadPoolExecutor(usable_cores()) as pool:
        for start, best in zip(starts, pool.map(work, starts), strict=True):
            for (a, b), (value, index) in best.items():
                exact = _alike(prints.small[a], prints.small[b], index)
                yield Duplicate(a, b, "turned" if exact and index else "near", value, TURNS[index])
            if step is not None:
                step("comparing tiles", min(start + ROWS, count), count)


def _fine_unit(grey: NDArray[np.uint8]) -> Floats:
    values = grey.astype(np.float32)
    fine = values - cv2.GaussianBlur(values, (0, 0), 6)
    fine -= fine.mean()
    size = float(np.linalg.norm(fine))
    unit: Floats = fine / size if size > 0 else fine
    return unit


def _agreement(a: NDArray[np.uint8], b: NDArray[np.uint8], index: int) -> float:
    """Correlation of the fine structure of a, turned, with that of b."""
    return float((_fine_unit(np.ascontiguousarray(symmetries(a)[index])) * _fine_unit(b)).sum())


def _alike(a: NDArray[np.uint8], b: NDArray[np.uint8], index: int) -> bool:
    """Whether the small pictures are the same but for the rounding of their making."""
    return bool(np.abs(symmetries(a)[index].astype(np.int16) - b).mean() < 1.0)
