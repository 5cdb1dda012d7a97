"""Tiles turned by any angle and cropped: candidates by waves around rings, the doubtful ones aligned and compared."""

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from counterstain.audit.alignment import aligned_agreement
from counterstain.audit.connected_components import link
from counterstain.audit.fingerprints import ANGLES, FREQUENCIES, ZOOMS, Fingerprints, ring_spectrum
from counterstain.audit.nearest import Nearest
from counterstain.system import usable_cores

__all__ = ["RotatedCrop", "rotated_crops"]

Floats = NDArray[np.float32]

# Correlation of rings: of 23,000 strangers none reaches SURE, of turned crops 99 in 100 reach LIKELY (copies.md).
LIKELY, SURE = 0.72, 0.92
ALIGNED = 0.8  # correlation of fine structure once aligned, for what lies between
NEAREST = 6  # candidates per tile and zoom that are looked at
ROWS = 512  # tiles compared with all others at once
PART = 16_384  # tiles whose descriptions are worked on at once


@dataclass(frozen=True)
class RotatedCrop:
    """Rows a and b that show the same at another angle.

    similarity: of their rings, or of their aligned structure where that was needed; turn: what makes b of a, in words
    """

    a: int
    b: int
    similarity: float
    turn: str


@dataclass(frozen=True)
class _Candidate:
    """Row a, enlarged by `zoom`, is likely row b turned by `degrees` clockwise."""

    a: int
    b: int
    value: float
    degrees: float
    zoom: float
    mirrored: bool

    @property
    def words(self) -> str:
        """What makes b of a."""
        turned = f"{'flipped, ' if self.mirrored else ''}rotated by about {self.degrees:.0f}°"
        return f"{turned}, enlarged {self.zoom:g} times"


def rotated_crops(
    prints: Fingerprints,
    known: Collection[tuple[int, int]],
    *,
    step: Callable[[str, int, int], None] | None = None,
) -> list[RotatedCrop]:
    """Pairs whose rings carry waves of the same sizes and agree when turned back.

    Either tile may be the enlarged one: all tiles at each zoom are compared with all others at zoom 1, both ways. What
    the rings leave in doubt is aligned and looked at closely, unless surer pairs link both tiles already.

    Args:
        prints: of the tiles.
        known: pairs (a, b), a < b, that are copies of another kind and are not looked at again.
        step: called with what is being done, and how much of how much is.
    """
    best: dict[tuple[int, int], _Candidate] = {}
    for candidate in _candidates(prints, step=step):
        key = (min(candidate.a, candidate.b), max(candidate.a, candidate.b))
        if key not in known and (key not in best or candidate.value > best[key].value):
            best[key] = candidate
    sure = [candidate for candidate in best.values() if candidate.value >= SURE]
    cluster = link(len(prints.hash), [*((candidate.a, candidate.b) for candidate in sure), *known])
    doubtful = [candidate for candidate in best.values() if candidate.value < SURE]
    linked = [candidate for candidate in doubtful if cluster[candidate.a] == cluster[candidate.b]]
    apart = [candidate for candidate in doubtful if cluster[candidate.a] != cluster[candidate.b]]
    crops = [RotatedCrop(candidate.a, candidate.b, candidate.value, candidate.words) for candidate in (*sure, *linked)]
    with ThreadPoolExecutor(usable_cores()) as pool:
        agreements = pool.map(lambda candidate: _agreement(prints, candidate), apart)
        for done, (candidate, agreement) in enumerate(zip(apart, agreements, strict=True), start=1):
            if agreement >= ALIGNED:
                crops.append(RotatedCrop(candidate.a, candidate.b, agreement, candidate.words))
            if step is not None:
                step("aligning doubtful pairs", done, len(apart))
    return crops


def _agreement(prints: Fingerprints, candidate: _Candidate) -> float:
    """Of the fine structure of both tiles, the enlarged one turned back."""
    a, b = prints.closer(candidate.a), prints.closer(candidate.b)
    return aligned_agreement(a, b, degrees=-candidate.degrees, zoom=candidate.zoom, mirrored=candidate.mirrored)


def _candidates(prints: Fingerprints, *, step: Callable[[str, int, int], None] | None = None) -> Iterator[_Candidate]:
    columns = np.flatnonzero(~prints.faint)
    if not len(columns):
        return
    mean = _mean_sizes(prints.waves, columns)
    nearest = Nearest.of(_all_sizes(prints.waves, columns, mean))  # once: the same for each zoom
    for done, zoom in enumerate(ZOOMS, start=1):
        yield from _enlarged(prints, zoom, columns, mean, nearest)
        if step is not None:
            step("searching for rotated crops", done, len(ZOOMS))


def _mean_sizes(waves: NDArray[np.complex64], columns: NDArray[np.int64]) -> Floats:
    """(RINGS x FREQUENCIES) what all tiles have in common; a part at a time, since there may be a million."""
    total = np.zeros(waves[0].size, np.float64)
    for start in range(0, len(columns), PART):
        total += np.sqrt(np.abs(waves[columns[start : start + PART]])).reshape(-1, total.size).sum(axis=0, dtype=float)
    return (total / len(columns)).astype(np.float32)


def _all_sizes(waves: NDArray[np.complex64], columns: NDArray[np.int64], mean: Floats) -> Floats:
    """`_sizes` of the tiles in `columns`, a part at a time."""
    units = np.empty((len(columns), mean.size), np.float32)
    for start in range(0, len(columns), PART):
        units[start : start + PART] = _sizes(waves[columns[start : start + PART]], mean)
    return units


def _sizes(waves: NDArray[np.complex64], mean: Floats) -> Floats:
    """(N, RINGS x FREQUENCIES) unit vectors of the waves' sizes, less what all tiles have in common."""
    size = np.sqrt(np.abs(waves)).reshape(len(waves), -1) - mean
    unit: Floats = (size / np.maximum(np.linalg.norm(size, axis=1, keepdims=True), 1e-6)).astype(np.float32)
    return unit


def _enlarged(
    prints: Fingerprints, zoom: float, columns: NDArray[np.int64], mean: Floats, nearest: Nearest
) -> Iterator[_Candidate]:
    """Likely pairs of an enlarged tile and another one, which is among `columns`."""
    faint = prints.faint
    take = min(NEAREST + 1, len(columns))  # the nearest may be the tile itself
    starts = range(0, len(prints.waves), ROWS)

    def work(start: int) -> list[_Candidate]:
        rows = np.arange(start, min(start + ROWS, len(prints.waves)))
        rows = rows[~faint[rows]]
        if not len(rows):
            return []
        waves = prints.waves[rows] if zoom == 1 else np.stack([ring_spectrum(prints.middle[row], zoom) for row in rows])
        top = nearest.rows(_sizes(waves, mean), take).ravel()
        a, b = np.repeat(np.arange(len(rows)), take), columns[top]
        distinct = np.flatnonzero((top >= 0) & (rows[a] != b))
        a, b = a[distinct], b[distinct]
        value, shift, mirrored = _turn_back(waves[a], prints.waves[b])
        candidates = []
        for k in np.flatnonzero(value >= LIKELY):
            pair = (int(rows[a[k]]), int(b[k]))
            candidates.append(_Candidate(*pair, float(value[k]), _degrees(shift[k]), zoom, bool(mirrored[k])))
        return candidates

    with ThreadPoolExecutor(usable_cores()) as pool:
        for candidates in pool.map(work, starts):
            yield from candidates


def _turn_back(
    a: NDArray[np.complex64], b: NDArray[np.complex64]
) -> tuple[Floats, NDArray[np.int64], NDArray[np.bool_]]:
    """For each pair the best correlation of their rings over all angles, the angle's number, and whether mirrored."""
    best = np.full(len(a), -1.0, np.float32)
    shift = np.zeros(len(a), np.int64)
    mirrored = np.zeros(len(a), np.bool_)
    for mirror in (False, True):
        summed = np.zeros((len(a), ANGLES // 2 + 1), np.complex64)
        summed[:, 1 : 1 + FREQUENCIES] = ((a if mirror else np.conj(a)) * b).sum(axis=1)
        fit = np.fft.irfft(summed, ANGLES, axis=1) * (ANGLES / 2)
        place = fit.argmax(axis=1)
        value = fit[np.arange(len(a)), place]
        better = value > best
        best[better], shift[better], mirrored[better] = value[better], place[better], mirror
    return best, shift, mirrored


def _degrees(shift: np.int64) -> float:
    """Clockwise as seen, in [-180, 180)."""
    return (int(shift) * 360 / ANGLES + 180) % 360 - 180
