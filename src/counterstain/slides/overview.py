"""A small picture of a whole slide, read without holding more than a few megapixels."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from counterstain.files import write_bytes
from counterstain.slides.area_resampling import area_resample
from counterstain.slides.info import Level, Slide

__all__ = ["LARGEST_PX", "Overview", "read_overview", "write_png"]

LARGEST_PX = 4_000_000  # read at once; a pyramid has a level of at most this, a flat slide is read band by band


@dataclass(frozen=True, eq=False)
class Overview:
    """The scanned area, small.

    pixels:         (H, W, 3) uint8 RGB
    downsample:     (x, y) level-0 px for a px of it
    origin_level0_px: (x, y) of its top left corner
    level:          what was read
    """

    pixels: NDArray[np.uint8]
    downsample: tuple[float, float]
    origin_level0_px: tuple[int, int]
    level: int


def read_overview(slide: Slide, *, finest_downsample: float = 1.0, largest_px: int = LARGEST_PX) -> Overview:
    """A picture of at most `largest_px` px, no finer than `finest_downsample` level-0 px for a px of it.

    Of the levels that are small enough the coarsest that is fine enough is read (or else the finest), and averaged over
    a whole number of its px. A slide whose smallest level is still too large is read from end to end, part by part.

    Raises:
        InputError: If the file is damaged.
    """
    info = slide.info
    x0, y0, wide, high = info.area
    sizes = [(wide / candidate.downsample_x) * (high / candidate.downsample_y) for candidate in info.levels]
    small = [number for number, size in enumerate(sizes) if size <= largest_px]
    fine = [number for number in small if info.levels[number].downsample_x <= 1.001 * finest_downsample]
    level = fine[-1] if fine else small[0] if small else len(sizes) - 1
    frame = info.levels[level]
    shrink = max(1, round(finest_downsample / frame.downsample_x), math.ceil(math.sqrt(sizes[level] / largest_px)))
    width_px = max(1, math.ceil(wide / frame.downsample_x / shrink))
    height_px = max(1, math.ceil(high / frame.downsample_y / shrink))
    pixels = _bands(slide, frame, level, (x0, y0), width_px, height_px, shrink, largest_px)
    return Overview(pixels, (shrink * frame.downsample_x, shrink * frame.downsample_y), (x0, y0), level)


def _bands(
    slide: Slide,
    frame: Level,
    level: int,
    origin: tuple[int, int],
    width_px: int,
    height_px: int,
    shrink: int,
    largest_px: int,
) -> NDArray[np.uint8]:
    pixels = np.empty((height_px, width_px, 3), np.uint8)
    # Blocks as wide and high as a few of the file's own tiles: each of those is then unpacked about once.
    side = max(1, min(max(width_px, height_px), math.isqrt(largest_px) // shrink))
    for top in range(0, height_px, side):
        for left in range(0, width_px, side):
            wide, high = min(side, width_px - left), min(side, height_px - top)
            region = slide.read_region(
                origin[0] + round(left * shrink * frame.downsample_x),
                origin[1] + round(top * shrink * frame.downsample_y),
                level=level, width_px=wide * shrink, height_px=high * shrink,
            )  # fmt: skip
            box = (0.0, 0.0, wide * shrink, high * shrink)
            pixels[top : top + high, left : left + wide] = area_resample(region, box, width_px=wide, height_px=high)
    return pixels


def write_png(picture: NDArray[np.uint8] | NDArray[np.bool_], path: Path) -> None:
    """Write (H, W) or (H, W, 3) uint8 as a PNG, whole or not at all; a mask (H, W) of bool becomes 0 and 255."""
    import imagecodecs

    pixels = picture.astype(np.uint8) * 255 if picture.dtype == np.bool_ else picture
    write_bytes(path, bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels), level=6)))
