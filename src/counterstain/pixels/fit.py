"""From an image of any size to a square tile: one rule for training, prediction, slides and serving."""

import cv2
import numpy as np
from numpy.typing import NDArray

from counterstain.pixels.source import BadImage

__all__ = ["FITS", "fit_tile"]

FITS = ("stretch", "crop", "exact")


def fit_tile(pixels: NDArray[np.uint8], name: str, *, tile_px: int, fit: str) -> NDArray[np.uint8]:
    """The image as a (tile_px, tile_px, 3) uint8 tile.

    fit "stretch": both sides are resized to tile_px, whatever the shape; "crop": the shorter side is resized to tile_px
    and the middle kept; "exact": the image must already have that size. Where neither side grows each new pixel is the
    mean of what it covers (cv2.INTER_AREA), else it is interpolated linearly; a side that fits is not touched.

    Args:
        pixels: (H, W, 3) uint8.
        name: for the message.
        tile_px: side of the tile, pixels.
        fit: one of FITS.

    Raises:
        BadImage: For "exact" and an image of another size.
    """
    height, width = pixels.shape[:2]
    if (height, width) == (tile_px, tile_px):
        return pixels
    if fit == "exact":
        raise BadImage(
            name, f"is {width} × {height} px, not {tile_px} × {tile_px}; choose fit 'stretch' or 'crop' to resize"
        )
    if fit == "crop":
        scale = tile_px / min(height, width)
        pixels = _resized(pixels, max(tile_px, round(width * scale)), max(tile_px, round(height * scale)))
        top, left = (pixels.shape[0] - tile_px) // 2, (pixels.shape[1] - tile_px) // 2
        return np.ascontiguousarray(pixels[top : top + tile_px, left : left + tile_px])
    return _resized(pixels, tile_px, tile_px)


def _resized(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    if pixels.shape[:2] == (height, width):
        return pixels
    shrinks = width <= pixels.shape[1] and height <= pixels.shape[0]
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.uint8)
