"""From an image of any size and scale to a square tile: one rule for training, prediction and slides."""

import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from counterstain.images.resize import resize
from counterstain.images.source import BadImage

__all__ = ["CREDIBLE_MPP", "FITS", "fit_tile", "mpp_of"]

FITS = ("stretch", "crop", "exact")


def fit_tile(pixels: NDArray[np.uint8], name: str, *, tile_px: int, fit: str) -> NDArray[np.uint8]:
    """The image as a (tile_px, tile_px, 3) uint8 tile.

    fit "stretch": both sides are resized to tile_px, whatever the shape; "crop": the shorter side is resized to tile_px
    and the middle kept; "exact": the image must already have that size. Where neither side grows each new pixel is the
    mean of what it covers, else it is interpolated linearly (images.resize); a side that fits is not touched.

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
        # One quotient of whole numbers, so that a half is a half, as it is in an exported graph.
        high, wide = (max(tile_px, round(side * tile_px / min(height, width))) for side in (height, width))
        pixels = resize(pixels, width_px=wide, height_px=high)
        top, left = (pixels.shape[0] - tile_px) // 2, (pixels.shape[1] - tile_px) // 2
        return np.ascontiguousarray(pixels[top : top + tile_px, left : left + tile_px])
    return resize(pixels, width_px=tile_px, height_px=tile_px)


CREDIBLE_MPP = (0.05, 20.0)  # from oil immersion to a flat-bed scan; the 72 dpi of most files is 353 µm/px

_UM_PER_UNIT = {2: 25_400.0, 3: 10_000.0}  # TIFF ResolutionUnit: inch, cm
_APERIO = re.compile(r"\bMPP\s*=\s*([0-9.]{1,12})")


def mpp_of(image: Image.Image) -> float | None:
    """µm per pixel, or None where the file does not say, says it twice differently, or says what no microscope does.

    Source:
        TIFF 6.0 tags 282, 283, 296; Aperio's "MPP = …" in the description; PNG pHYs and JFIF density through Pillow.
    """
    found: tuple[float, float] | None = None
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tags = image.tag_v2
        aperio = _APERIO.search(str(tags.get(270, "")))
        if aperio is not None:
            found = (_number(aperio[1]), _number(aperio[1]))
        elif 282 in tags and 283 in tags and tags.get(296, 2) in _UM_PER_UNIT:
            unit_um = _UM_PER_UNIT[tags.get(296, 2)]
            found = (_per(unit_um, tags[282]), _per(unit_um, tags[283]))
    elif "dpi" in image.info:
        found = (_per(25_400.0, image.info["dpi"][0]), _per(25_400.0, image.info["dpi"][1]))
    if found is None or abs(found[0] - found[1]) > 0.01 * found[0]:
        return None
    return found[0] if CREDIBLE_MPP[0] <= found[0] <= CREDIBLE_MPP[1] else None


def _per(unit_um: float, resolution: object) -> float:
    value = _number(resolution)
    return unit_um / value if value > 0 else 0.0


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0
