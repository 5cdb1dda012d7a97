"""The one place where whatever a reader raises over a damaged file becomes that slide's line."""

import ctypes
import dataclasses
import lzma
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.slides.info import Slide, SlideInfo, damaged_words

__all__ = ["GREATEST_BLOCK_PX", "GuardedSlide", "guarded", "reader_errors", "require_readers"]

GREATEST_BLOCK_PX = 64_000_000  # a block is unpacked whole: 200 MB of RGB
_GREATEST_SIDE_PX = 4_000_000  # 1 m at 0.25 µm/px; headers that claim more are damaged

# Every family that parsers and decoders were seen to raise over damaged headers and blocks. imagecodecs' errors are
# RuntimeErrors, tifffile's ValueErrors, struct's and zlib's their own; a codec that is not built in is an ImportError.
# A missing package is told apart before any slide is opened, by `require_readers`.
_FAMILIES: tuple[type[Exception], ...] = (
    OSError, EOFError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError, MemoryError,
    BufferError, AssertionError, ImportError, struct.error, zlib.error, lzma.LZMAError, ctypes.ArgumentError,
    ElementTree.ParseError,
)  # fmt: skip


def reader_errors() -> tuple[type[Exception], ...]:
    """The families of errors that say something of the file, OpenSlide's own included where it is installed."""
    try:
        from openslide import OpenSlideError
    except (ImportError, OSError):
        return _FAMILIES
    return (*_FAMILIES, OpenSlideError)


def require_readers() -> None:
    """Refuse to begin where no slide can be read at all.

    Raises:
        InputError: If the packages of the extra `slides` are missing.
    """
    missing = []
    for name in ("tifffile", "imagecodecs", "openslide", "shapely"):
        try:
            __import__(name)
        except (ImportError, OSError):  # OSError: OpenSlide's Python half without its library
            missing.append(name)
    if missing:
        raise InputError(
            f"slides need more packages ({', '.join(missing)} cannot be imported): pip install 'counterstain[slides]'"
        )


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """What a reader raises over a file, in one line that names the file.

    Raises:
        InputError: For any of `reader_errors`.
    """
    try:
        yield
    except InputError:
        raise
    except MemoryError:
        raise InputError(
            f"{path} cannot be read: it asks for more memory than there is; its header may be damaged"
        ) from None
    except reader_errors() as error:
        raise InputError(damaged_words(path, error)) from None


class GuardedSlide:
    """A slide whose answers are checked: its frame is one that a scanner can make, its pixels are as many as asked.

    Raises:
        InputError: If the frame is impossible.
    """

    def __init__(self, slide: Slide) -> None:
        self._slide = slide
        self._info = _checked(slide.info)

    @property
    def info(self) -> SlideInfo:
        return self._info

    def read_region(self, x0: int, y0: int, *, level: int, width_px: int, height_px: int) -> NDArray[np.uint8]:
        path = self._info.path
        with guarded(path):
            region = self._slide.read_region(x0, y0, level=level, width_px=width_px, height_px=height_px)
        if region.shape != (height_px, width_px, 3) or region.dtype != np.uint8:
            raise InputError(
                f"{path} cannot be read (a block at x {x0}, y {y0} unpacks to {region.shape}, not to "
                f"{(height_px, width_px, 3)}); the file is damaged: copy or scan it again"
            )
        return region

    def close(self) -> None:
        self._slide.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self._slide,)


def _reopened(slide: Slide) -> GuardedSlide:
    return GuardedSlide(slide)


def _checked(info: SlideInfo) -> SlideInfo:
    """The frame, its bounds clipped to the slide; refused where no slide can have it."""
    for number, level in enumerate(info.levels):
        sides = (level.width_px, level.height_px)
        if not all(1 <= side <= _GREATEST_SIDE_PX for side in sides):
            raise InputError(
                f"{info.path} says that its level {number} has {sides[0]:,} × {sides[1]:,} px; needed: 1 to "
                f"{_GREATEST_SIDE_PX:,} a side. The header is damaged: copy or scan it again"
            )
    for number, tile in enumerate(info.tile_grid):
        if tile is not None and not 0 < tile[0] * tile[1] <= GREATEST_BLOCK_PX:
            raise InputError(
                f"{info.path} is packed in blocks of {tile[0]:,} × {tile[1]:,} px at level {number}, each of which "
                "would have to be unpacked whole; save it as a tiled TIFF"
            )
    if info.bounds is None:
        return info
    x, y, wide, high = info.bounds
    right, bottom = min(x + wide, info.size_px[0]), min(y + high, info.size_px[1])
    x, y = max(x, 0), max(y, 0)
    clipped = (x, y, right - x, bottom - y) if right > x and bottom > y else None
    return info if clipped == info.bounds else dataclasses.replace(info, bounds=clipped)
