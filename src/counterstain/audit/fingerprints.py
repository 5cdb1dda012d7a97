"""What is kept of each tile to find its copies: hashes, small pictures, and waves around rings that only turn."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from counterstain.audit.alignment import CLOSER
from counterstain.images.store import Store, read_batch
from counterstain.system import usable_cores

__all__ = [
    "ANGLES",
    "FREQUENCIES",
    "SIDE",
    "ZOOMS",
    "Fingerprints",
    "fingerprint",
    "ring_spectrum",
    "symmetries",
    "turned_hash",
]

Floats = NDArray[np.float32]

SIDE = 64  # px of the small grey picture
ANGLES = 64
RINGS = 16
FREQUENCIES = 20
# Turned by 25° and cut to the largest upright picture within, a square is enlarged by 1.33, one of 3:2 by 1.54.
ZOOMS = (1.0, 1.1, 1.21, 1.33, 1.46, 1.6)
BLANK = 1.0  # grey levels: a tile with less fine structure than this shows nothing that could be known again
FAINT = 4.0  # the same once it was turned and enlarged
PLAIN = 40.0  # waves: a tile that fewer make up, such as a smooth blot, is like others by chance
BLOCK = 256


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """What is kept of N tiles.

    store, fit: where the tiles are, and how they were made of the images
    digest: N SHA-256 of the tile's pixels
    hash:   (N,) uint64 perceptual hash of the tile as it lies (64 signs of its cosine transform)
    small:  (N, SIDE, SIDE) uint8 grey
    detail: (N,) float32 fine structure: SD of the small picture less its own blur, grey levels
    middle: (N, SIDE, SIDE) uint8 grey, the middle square of the image before it was stretched
    carried: (N,) float32 how many waves the tile's structure is spread over: (Σ|w|²)² / Σ|w|⁴
    waves:  (N, RINGS, FREQUENCIES) complex64, `ring_spectrum` of the middle; empty where turns were not asked for
    """

    store: Store
    fit: str
    digest: tuple[str, ...]
    hash: NDArray[np.uint64]
    small: NDArray[np.uint8]
    detail: Floats
    middle: NDArray[np.uint8]
    carried: Floats
    waves: NDArray[np.complex64]

    def closer(self, row: int) -> NDArray[np.uint8]:
        """(CLOSER, CLOSER) grey, the middle square of one tile's image, read again."""
        tile = read_batch(self.store, np.array([row]))[0]
        height, width = self.store.size_px[row].tolist()
        return _middle(tile, (height, width), self.fit, CLOSER)

    @property
    def blank(self) -> NDArray[np.bool_]:
        """(N,) tiles without structure, of which copies cannot be told from other blank ones."""
        return np.asarray(self.detail < BLANK)

    @property
    def plain(self) -> NDArray[np.bool_]:
        """(N,) tiles of so little variety that two of them may agree by chance."""
        return np.asarray(self.carried < PLAIN)

    @property
    def faint(self) -> NDArray[np.bool_]:
        """(N,) tiles with too little structure to be known after a turn by any angle."""
        return np.asarray((self.detail < FAINT) | self.plain)


def fingerprint(
    store: Store,
    *,
    fit: str = "stretch",
    rotated: bool = True,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Fingerprints:
    """Read every tile once; 7 kB are kept of each, 11 kB where images were stretched.

    Args:
        store: the tiles.
        fit: how they were made of the images.
        rotated: also describe each tile so that it can be known again after a turn by any angle.
        threads: that work; None takes one per core.
        progress: called with (tiles done, tiles in all).
    """
    count = len(store.image)
    digest: list[str] = [""] * count
    hashes = np.zeros(count, np.uint64)
    small = np.zeros((count, SIDE, SIDE), np.uint8)
    detail = np.zeros(count, np.float32)
    # Of images that were not stretched the middle square is the whole: one picture then serves as both.
    stretched = fit == "stretch" and bool((store.size_px[:, 0] != store.size_px[:, 1]).any())
    middle = np.zeros((count, SIDE, SIDE), np.uint8) if stretched else small
    carried = np.zeros(count, np.float32)
    waves = np.zeros((count if rotated else 0, RINGS, FREQUENCIES), np.complex64)
    done = [0]

    def work(start: int) -> None:
        rows = np.arange(start, min(start + BLOCK, count))
        for row, tile in zip(rows, read_batch(store, rows), strict=True):
            digest[row] = hashlib.sha256(tile).hexdigest()
            grey = cv2.resize(cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            small[row], hashes[row], detail[row] = grey, _hash(grey), _fine(grey).std()
            if stretched:
                height, width = store.size_px[row].tolist()
                middle[row] = _middle(tile, (height, width), fit, SIDE)
            spectrum = ring_spectrum(middle[row], 1.0)
            power = np.abs(spectrum) ** 2
            carried[row] = float(power.sum()) ** 2 / max(float((power**2).sum()), 1e-12)
            if rotated:
                waves[row] = spectrum
        done[0] += len(rows)
        if progress is not None:
            progress(done[0], count)

    with ThreadPoolExecutor(threads or usable_cores()) as pool:
        list(pool.map(work, range(0, count, BLOCK)))
    return Fingerprints(store, fit, tuple(digest), hashes, small, detail, middle, carried, waves)


def _fine(grey: NDArray[np.uint8]) -> Floats:
    """The picture less its own blur, float32: what is left when light and stain are taken away."""
    values = grey.astype(np.float32)
    return np.asarray(values - cv2.GaussianBlur(values, (0, 0), 6))


# ----------------------------------------------------------------------------------------- flips and quarter-turns


def _cosines(grey: NDArray[np.uint8]) -> Floats:
    """(8, 8) of the lowest cosine coefficients, without the mean's row and column."""
    low = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray(cv2.dct(low)[1:9, 1:9])


def _hash(grey: NDArray[np.uint8]) -> int:
    return int(np.packbits((_cosines(grey) > 0).ravel()).view(np.uint64)[0])


def symmetries(tile: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The 8 flips and quarter-turns of a square picture: turns of 0 to 270°, then the same of its mirror image."""
    return [np.rot90(picture, k) for picture in (tile, tile[:, ::-1]) for k in range(4)]


def turned_hash(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """(8, N) the perceptual hashes that the same tiles have after each of `symmetries`, without their pixels.

    A flip changes the sign of every second coefficient, a quarter-turn also swaps rows and columns.
    """
    signs = np.unpackbits(hashes.view(np.uint8).reshape(-1, 8), axis=1).reshape(-1, 8, 8).astype(bool)
    odd = np.arange(1, 9) % 2 == 1

    def flip_columns(coefficients: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.asarray(coefficients ^ odd[None, None, :])

    def turn(coefficients: NDArray[np.bool_]) -> NDArray[np.bool_]:
        # np.rot90: the transpose of the picture flipped from left to right.
        return np.asarray(np.swapaxes(flip_columns(coefficients), 1, 2))

    turned = []
    for start in (signs, flip_columns(signs)):
        for _ in range(4):
            turned.append(np.packbits(start.reshape(-1, 64), axis=1).view(np.uint64)[:, 0])
            start = turn(start)
    return np.stack(turned)


# ----------------------------------------------------------------------------------------------------- any angle


def _middle(tile: NDArray[np.uint8], size_px: tuple[int, int], fit: str, px: int) -> NDArray[np.uint8]:
    """The grey middle square of the image as it was before it was stretched: in it, a turn is a turn."""
    side = len(tile)
    cut = tile
    height, width = size_px
    if fit == "stretch" and height != width and min(height, width) > 0:
        length = max(1, round(side * min(height, width) / max(height, width)))
        start = (side - length) // 2
        cut = tile[:, start : start + length] if width > height else tile[start : start + length]
    grey = cv2.cvtColor(np.ascontiguousarray(cut), cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, (px, px), interpolation=cv2.INTER_AREA))


def _grid(zoom: float) -> tuple[Floats, Floats]:
    """x and y of the points of RINGS circles in the middle disc that is enlarged by `zoom`."""
    radius = np.linspace(4 / zoom, SIDE / 2 / zoom - 0.5, RINGS, dtype=np.float32)[:, None]
    angle = np.arange(ANGLES, dtype=np.float32) * np.float32(2 * np.pi / ANGLES)
    centre = np.float32((SIDE - 1) / 2)
    return centre + radius * np.cos(angle), centre + radius * np.sin(angle)


_GRIDS = {zoom: _grid(zoom) for zoom in ZOOMS}
_WEIGHT = np.sqrt(np.arange(1, RINGS + 1, dtype=np.float32))[:, None]


def ring_spectrum(middle: NDArray[np.uint8], zoom: float) -> NDArray[np.complex64]:
    """(RINGS, FREQUENCIES) the fine structure around each ring as waves; a turn shifts them and changes no size.

    Fine structure, since the shape of light and stain alone is alike in unrelated tiles; the finest is blurred, since a
    turn and an enlargement blur it.
    """
    values = middle.astype(np.float32)
    band = cv2.GaussianBlur(values, (0, 0), 1 / zoom) - cv2.GaussianBlur(values, (0, 0), 6 / zoom)
    x, y = _GRIDS[zoom]
    rings = cv2.remap(band, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101) * _WEIGHT
    waves = np.fft.rfft(rings, axis=1)[:, 1 : 1 + FREQUENCIES]
    size = float(np.sqrt((np.abs(waves) ** 2).sum()))
    return (waves / max(size, 1e-6)).astype(np.complex64)
