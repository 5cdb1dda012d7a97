"""Colour jitter of a tile: brightness, contrast and saturation as one matrix and one offset, in one pass."""

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["apply_colour", "colour_matrices"]

LUMA = (0.299, 0.587, 0.114)  # Y of ITU-R BT.601


def colour_matrices(
    brightness: NDArray[np.float64], contrast: NDArray[np.float64], saturation: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(B, 3, 3) matrices, and (B,) multiples of a tile's mean grey that are added to every channel.

    In this order: all values times brightness; each moved from the tile's mean grey to contrast times its distance;
    each moved from its pixel's own grey to saturation times its distance. Factors of 1 change nothing. Each step is
    linear, so the three are one matrix; the result is clipped once, where a chain of three would clip three times.

    Args:
        brightness, contrast, saturation: (B,) factors, 0 or more.

    Source:
        The definitions of torchvision's adjust_brightness, adjust_contrast and adjust_saturation.
    """
    grey = np.broadcast_to(np.array(LUMA), (3, 3))  # each channel becomes the pixel's grey
    kept = saturation[:, None, None] * np.eye(3) + (1 - saturation)[:, None, None] * grey
    return (contrast * brightness)[:, None, None] * kept, (1 - contrast) * brightness


def apply_colour(
    tile: NDArray[np.uint8], matrix: NDArray[np.float64], grey_share: float, out: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """The (H, W, 3) tile times the 3×3 matrix, plus grey_share times its mean grey; rounded and clipped, in `out`."""
    offset = grey_share * float(np.dot(cv2.mean(tile)[:3], LUMA)) if grey_share else 0.0
    cv2.transform(tile, np.column_stack([matrix, np.full(3, offset)]), dst=out)
    return out
