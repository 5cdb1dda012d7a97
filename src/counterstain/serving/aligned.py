"""Two tiles that an audit found alike, the first drawn as it lies on the second."""

import re
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["align"]

SIDE_PX = 256
NUMBERS = re.compile(r"(?:rotated|turned) by (?:about )?(-?\d+)°(?:, enlarged ([\d.]+) times)?")
Picture = NDArray[np.uint8]


def align(a: Picture, b: Picture, turn: str) -> tuple[Picture, float]:
    """`a` turned, flipped and enlarged so that it lies on `b`, and how well they then agree.

    The words say what turns one into the other, not always which: both ways are tried, and of a turn by any angle a few
    degrees to either side.

    Args:
        a, b: (H, W, 3) uint8 RGB.
        turn: of audit.decisions.Pair: "as it is", "flipped and rotated by 90°", "flipped, rotated by about 34°, …".

    Returns:
        (256, 256, 3) uint8 RGB, white where `a` ends, and the correlation of the grey pictures where both are, -1 to 1.
    """
    first, second = (_square(picture) for picture in (a, b))
    grey = cv2.cvtColor(second, cv2.COLOR_RGB2GRAY).astype(np.float32)
    best, best_value = first, -2.0
    for matrix in _matrices(turn):
        warped = cv2.warpAffine(
            first, matrix, (SIDE_PX, SIDE_PX), borderMode=cv2.BORDER_CONSTANT, borderValue=(255, 255, 255)
        )
        inside = cv2.warpAffine(np.ones(grey.shape, np.uint8), matrix, (SIDE_PX, SIDE_PX)) > 0
        value = _correlation(cv2.cvtColor(warped, cv2.COLOR_RGB2GRAY).astype(np.float32)[inside], grey[inside])
        if value > best_value:
            best, best_value = np.asarray(warped, np.uint8), value
    return best, best_value


def _matrices(turn: str) -> Iterator[NDArray[np.float64]]:
    """(2, 3) maps of a's pixels to b's, about the middle."""
    match = NUMBERS.search(turn)
    degrees, zoom = (float(match[1]), float(match[2] or 1)) if match else (0.0, 1.0)
    flipped = "flipped" in turn
    steps = (0.0,) if match is None or match[2] is None else (-4.0, -2.0, 0.0, 2.0, 4.0)
    sizes = (zoom,) if zoom == 1 else (zoom * 0.96, zoom, zoom * 1.05)
    middle = (SIDE_PX - 1) / 2
    signs = (1,) if match is None or match[2] is None else (1, -1)  # quarter-turns are counter-clockwise
    for sign in signs:
        for step in steps:
            for size in sizes:
                matrix = np.vstack([cv2.getRotationMatrix2D((middle, middle), sign * degrees + step, size), [0, 0, 1]])
                if flipped:
                    matrix = matrix @ np.array([[-1, 0, 2 * middle], [0, 1, 0], [0, 0, 1]])
                yield matrix[:2]
                yield np.linalg.inv(matrix)[:2]
                if flipped and len(signs) > 1:  # rings count mirrored tiles upside down
                    upside = matrix @ np.array([[-1, 0, 2 * middle], [0, -1, 2 * middle], [0, 0, 1]])
                    yield upside[:2]
                    yield np.linalg.inv(upside)[:2]


def _square(picture: Picture) -> Picture:
    return np.asarray(cv2.resize(picture, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    if len(a) < SIDE_PX:
        return -1.0
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / size) if size > 0 else (1.0 if np.array_equal(a, b) else 0.0)
