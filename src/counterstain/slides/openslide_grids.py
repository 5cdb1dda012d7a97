"""OpenSlide's own pixels, and which levels can be decoded without it, to the very same pixels."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.slides.tiff_grid import PageGrid, open_grid
from counterstain.slides.tiff_pages import open_pages

if TYPE_CHECKING:
    import openslide

__all__ = ["find_grids", "paint"]

_JPEG = 7
_EXACT = (1, _JPEG, 5, 8, 32946, 32773)  # JPEG, and what loses nothing: none, LZW, deflate (two numbers), PackBits

# Formats whose levels are plain TIFF pages of tiles side by side; other scanners shift or overlap theirs.
_SIMPLE = ("aperio", "generic-tiff", "generic-tiled-tiff")


def find_grids(path: Path, slide: "openslide.OpenSlide") -> tuple[PageGrid | None, ...]:
    """A grid for each level of an open openslide.OpenSlide, None where OpenSlide must read.

    A grid is only given for a page whose tiles are all there, in a packing on which decoders agree, and after one of
    them came out as OpenSlide's.
    """
    none: tuple[PageGrid | None, ...] = (None,) * slide.level_count
    if slide.properties.get("openslide.vendor") not in _SIMPLE:
        return none
    try:
        pages = open_pages(path).levels
    except InputError:
        return none
    by_size = {(page[0].imagewidth, page[0].imagelength): page for page in pages if _is_simple(page)}
    grids = []
    with path.open("rb") as stream:
        for level, (width, height) in enumerate(slide.level_dimensions):
            page = by_size.get((width, height))
            grid = open_grid(path, list(page)) if page is not None else None
            usable = grid is not None and grid.complete and _same_tile(grid, slide, level, stream.fileno())
            grids.append(grid if usable else None)
    return tuple(grids)


def _is_simple(page: tuple[Any, ...]) -> bool:
    return len(page) == 1 and bool(page[0].is_tiled) and page[0].compression in _EXACT and page[0].samplesperpixel == 3


def _same_tile(grid: PageGrid, slide: Any, level: int, handle: int) -> bool:
    """Whether the tile in the middle (of the first column and row, where OpenSlide would interpolate) is the same."""
    integral = float(slide.level_downsamples[level]).is_integer()
    wide, high = grid.block_px
    x, y = (grid.columns // 2 * wide, grid.rows // 2 * high) if integral else (0, 0)
    ours = grid.read(handle, x, y, wide, high)
    theirs = paint(slide, x, y, level=level, width_px=wide, height_px=high)
    return bool(np.array_equal(ours, theirs))


def paint(
    slide: "openslide.OpenSlide", x: int, y: int, *, level: int, width_px: int, height_px: int
) -> NDArray[np.uint8]:
    """OpenSlide's own pixels at (x, y) of a level, on white, (height_px, width_px, 3) uint8 RGB.

    OpenSlide is asked in level-0 px. Where its factor is no whole number it meets the level's px only roughly, and
    interpolates between them.
    """
    factor = slide.level_downsamples[level]
    rgba = np.asarray(slide.read_region((round(x * factor), round(y * factor)), level, (width_px, height_px)))
    alpha = rgba[:, :, 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(rgba[:, :, :3])
    opaque = rgba[:, :, :3].astype(np.uint32) * alpha + 255 * (255 - alpha.astype(np.uint32))
    composited: NDArray[np.uint8] = ((opaque + 127) // 255).astype(np.uint8)
    return composited
