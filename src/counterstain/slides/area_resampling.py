"""A part of an image, fractions of px included, averaged over areas: what a coarser scanner would have seen."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["area_resample"]


def area_resample(
    image: NDArray[np.uint8], box: tuple[float, float, float, float], *, width_px: int, height_px: int
) -> NDArray[np.uint8]:
    """(height_px, width_px, C) uint8: each px the mean of the image over its area, halves rounded up.

    Args:
        image: (H, W, C) uint8.
        box: (x, y, width, height) of the part that is shown, px of the image, fractions allowed; within the image.
        width_px, height_px: size of the result.
    """
    x, y, wide, high = box
    whole_image = (x, y, wide, high) == (0, 0, image.shape[1], image.shape[0])
    if whole_image and wide % width_px == 0 and high % height_px == 0:
        # The common case (every n-th px a border), ten times as fast and the same sums.
        return np.asarray(cv2.resize(image, (width_px, height_px), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    rows = _shrunk(image.astype(np.float32), y, high, height_px)
    shrunk = _shrunk(np.ascontiguousarray(rows.swapaxes(0, 1)), x, wide, width_px).swapaxes(0, 1)
    return np.ascontiguousarray(np.floor(shrunk + np.float32(0.5)).astype(np.uint8))


def _shrunk(image: NDArray[np.float32], start: float, length: float, count: int) -> NDArray[np.float32]:
    """Means along the first axis over `count` equal parts of [start, start + length)."""
    part = length / count
    low = start + part * np.arange(count)
    high = low + part
    first = np.floor(low).astype(np.int64)
    total = np.zeros((count, *image.shape[1:]), np.float32)
    for tap in range(math.ceil(part) + 1):
        index = first + tap
        weight = np.clip(np.minimum(index + 1, high) - np.maximum(index, low), 0, None) / part
        rows = image[np.minimum(index, len(image) - 1)]
        total += rows * weight.astype(np.float32).reshape(-1, *[1] * (image.ndim - 1))
    return total
