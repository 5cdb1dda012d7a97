"""Whether two tiles are rotated crops of each other: one is turned back, and their fine structure compared."""

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["CLOSER", "aligned_agreement"]

Floats = NDArray[np.float32]

CLOSER = 128  # px of the square pictures that are compared
SEARCHED = 20  # px cut off all round the one that is searched in
SOUGHT = 28  # px cut off all round the one that is looked for: up to 8 px of shift are found
# Around the angle and zoom that the rings tell, which are known to 3° and 5 %.
ANGLES = (-4.0, -1.3, 1.3, 4.0)
ZOOMS = (0.96, 1.0, 1.05)


def aligned_agreement(
    a: NDArray[np.uint8], b: NDArray[np.uint8], *, degrees: float, zoom: float, mirrored: bool
) -> float:
    """Best correlation of the fine structure of a, turned and enlarged, with that of b, in [-1, 1].

    Every place weighs the same, however dark its nuclei are: the structure is divided by its own spread around.
    Otherwise one dark nucleus on empty ground, turned upon another, makes two strangers agree.

    Args:
        a, b: (CLOSER, CLOSER) grey pictures.
        degrees: counter-clockwise as seen, by which a is to be turned about its middle.
        zoom: by which it is to be enlarged.
        mirrored: whether it is first turned upside down.
    """
    start = a[::-1] if mirrored else a
    field = np.ascontiguousarray(_levelled(b)[SEARCHED:-SEARCHED, SEARCHED:-SEARCHED])
    middle = ((CLOSER - 1) / 2, (CLOSER - 1) / 2)
    best = -1.0
    for turn in ANGLES:
        for enlarge in ZOOMS:
            matrix = cv2.getRotationMatrix2D(middle, degrees + turn, zoom * enlarge)
            turned = cv2.warpAffine(
                np.ascontiguousarray(start), matrix, (CLOSER, CLOSER), borderMode=cv2.BORDER_REFLECT_101
            )
            sought = np.ascontiguousarray(_levelled(np.asarray(turned))[SOUGHT:-SOUGHT, SOUGHT:-SOUGHT])
            best = max(best, float(cv2.matchTemplate(field, sought, cv2.TM_CCOEFF_NORMED).max()))
    return best


def _levelled(grey: NDArray[np.uint8]) -> Floats:
    """The structure of 2 to 8 px, divided by its own spread in the surroundings (and 2 grey levels, against noise)."""
    values = grey.astype(np.float32)
    fine = cv2.GaussianBlur(values, (0, 0), 1) - cv2.GaussianBlur(values, (0, 0), 4)
    return np.asarray(fine / (np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 8)) + 2), dtype=np.float32)
