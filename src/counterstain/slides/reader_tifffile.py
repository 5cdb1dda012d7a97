"""The reader of OME-TIFF and plain TIFF: tifffile finds the pages, only the blocks under a region are unpacked."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.slides.info import SlideInfo, level_of, level_px
from counterstain.slides.scale import choose_scale
from counterstain.slides.tiff_grid import PageGrid, open_grid
from counterstain.slides.tiff_pages import TiffPages, open_pages

__all__ = ["TiffSlide"]

Table = Mapping[str, tuple[float, float]]

_SAMPLED_BLOCKS = 64  # unpacked to find the depth of 16-bit files that do not state it


class TiffSlide:
    """A slide read through tifffile; see `Slide`. It is pickled as its path, and reopened where it arrives.

    Raises:
        InputError: If the file is no TIFF, or none of a slide.
    """

    _handle: int
    _process: int
    _grids: tuple[PageGrid, ...]
    _depth_notes: tuple[str, ...]

    def __init__(self, path: Path, *, assume_mpp: float | None = None, mpp_table: Table | None = None) -> None:
        self._arguments = (path, assume_mpp, mpp_table)
        pages = self._open()
        scale = choose_scale(
            path, file=pages.file_mpp, tiff=pages.tiff_mpp, objective=pages.objective,
            assume_mpp=assume_mpp, mpp_table=mpp_table,
        )  # fmt: skip
        width, height = self._grids[0].width_px, self._grids[0].height_px
        self._info = SlideInfo(
            path=path,
            reader=_version(),
            levels=tuple(level_of(width, height, grid.width_px, grid.height_px) for grid in self._grids),
            mpp_x=scale.mpp_x,
            mpp_y=scale.mpp_y,
            mpp_source=scale.source,
            objective=pages.objective,
            bounds=None,
            vendor=pages.kind,
            tile_grid=tuple(grid.block_px for grid in self._grids),
            notes=(*scale.notes, *pages.notes, *self._depth_notes),
        )

    @property
    def info(self) -> SlideInfo:
        return self._info

    def read_region(self, x0: int, y0: int, *, level: int, width_px: int, height_px: int) -> NDArray[np.uint8]:
        if os.getpid() != self._process:  # forked: threads of the parent may have held the locks of its grids
            self._open()
        frame, grid = self._info.levels[level], self._grids[level]
        x, y = level_px(x0, frame.downsample_x), level_px(y0, frame.downsample_y)
        return grid.read(self._handle, x, y, width_px, height_px)

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _open(self) -> TiffPages:
        path = self._arguments[0]
        tiff = open_pages(path)
        self._grids = tuple(open_grid(path, list(pages)) for pages in tiff.levels)
        self._handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._process = os.getpid()
        bits, self._depth_notes = _depth(tiff, self._grids[-1], self._handle)
        if bits:
            self._grids = tuple(open_grid(path, list(pages), bits=bits) for pages in tiff.levels)
        return tiff

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", -1) >= 0 and os.getpid() == self._process:
            self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, self._arguments


def _depth(tiff: TiffPages, coarsest: PageGrid, handle: int) -> tuple[int, tuple[str, ...]]:
    """Bits of a channel where 16 hold fewer, with a note; 0 where all 16 are used, or there are 8.

    What the file states counts; else the brightest value of a coarse level, since glass is nearly white.
    """
    page = tiff.levels[0][0]
    if page.dtype != np.uint16:
        return 0, ()
    for stated in (int(page.bitspersample), tiff.bits):
        if 8 < stated < 16:
            return stated, (f"{stated} bits in 16, as the file says: scaled so that {(1 << stated) - 1:,} is white",)
    brightest = 0
    blocks = coarsest.columns * coarsest.rows
    for index in sorted({round(place) for place in np.linspace(0, blocks - 1, min(blocks, _SAMPLED_BLOCKS))}):
        try:
            block = coarsest.block(handle, index)
        except InputError:  # it is named when a tile needs it
            continue
        brightest = max(brightest, int(block.max()))
    for bits in (8, 10, 12, 14):
        if 0 < brightest <= round(((1 << bits) - 1) * 255 / 65535):
            return bits, (f"its values use {bits} of 16 bits: scaled so that {(1 << bits) - 1:,} is white",)
    return 0, ()


def _reopen(path: Path, assume_mpp: float | None, mpp_table: Table | None) -> TiffSlide:
    return TiffSlide(path, assume_mpp=assume_mpp, mpp_table=mpp_table)


def _version() -> str:
    import imagecodecs
    import tifffile

    return f"tifffile {tifffile.__version__}, imagecodecs {imagecodecs.__version__}"
