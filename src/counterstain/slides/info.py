"""What is known about a slide before a pixel is read, and what every reader offers."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError, first_line

__all__ = ["Level", "Slide", "SlideInfo", "level_of", "level_px", "reading"]


@dataclass(frozen=True)
class Level:
    """One level of the pyramid: its size, and how many level-0 px one of its px spans."""

    downsample_x: float
    downsample_y: float
    width_px: int
    height_px: int


@dataclass(frozen=True)
class SlideInfo:
    """A slide's frame of reference.

    path:       the file
    reader:     name and version of what decodes it: two readers never mix in one model's life
    levels:     finest first; level 0 is the frame of all coordinates
    mpp_x/y:    µm per level-0 px, None where nothing credible is known
    mpp_source: "file", "tiff resolution", "objective", "--assume-mpp", "table", or "" where unknown
    objective:  nominal magnification, None where unknown
    bounds:     (x, y, width, height) of the scanned area, level-0 px; None where it is all of level 0
    vendor:     the format's name
    tile_grid:  (width, height) of the file's own tiles, a level each; None where it has none
    notes:      what a reader should know
    scanner:    its model or number, "" where the file does not say
    """

    path: Path
    reader: str
    levels: tuple[Level, ...]
    mpp_x: float | None
    mpp_y: float | None
    mpp_source: str
    objective: float | None
    bounds: tuple[int, int, int, int] | None
    vendor: str
    tile_grid: tuple[tuple[int, int] | None, ...]
    notes: tuple[str, ...] = ()
    scanner: str = ""

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of level 0."""
        return self.levels[0].width_px, self.levels[0].height_px

    @property
    def area(self) -> tuple[int, int, int, int]:
        """(x, y, width, height) of what was scanned: the bounds, or all of level 0; level-0 px."""
        return self.bounds or (0, 0, *self.size_px)


class Slide(Protocol):
    """An open slide. Threads may share one; a worker process opens its own, so it travels as its path."""

    @property
    def info(self) -> SlideInfo: ...

    def read_region(self, x0: int, y0: int, *, level: int, width_px: int, height_px: int) -> NDArray[np.uint8]:
        """A region of a level as (height_px, width_px, 3) uint8 RGB.

        Args:
            x0, y0: its top left corner, level-0 px; the level's nearest px is taken, nothing is interpolated.
            level: which level is read.
            width_px, height_px: its size, px of that level. Outside of the slide it is white.

        Raises:
            InputError: If the file turns out to be damaged there.
        """
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: Any) -> None: ...


def level_of(width0_px: int, height0_px: int, width_px: int, height_px: int) -> Level:
    """A level by its size. Sizes are rounded to whole px, so a factor that a whole number explains is that number."""
    return Level(_factor(width0_px, width_px), _factor(height0_px, height_px), width_px, height_px)


def _factor(whole_px: int, level_px: int) -> float:
    """The whole number that explains the size, a power of two before others; where there is none, the quotient."""
    ratio = whole_px / level_px
    power = 2 ** round(math.log2(ratio)) if ratio >= 1 else 1
    for number in (power, max(1, round(ratio))):
        if abs(whole_px / number - level_px) < 1:
            return float(number)
    return ratio


def level_px(x0: float, downsample: float) -> int:
    """The level's px nearest to a level-0 coordinate; halves go up, also below 0."""
    return math.floor(x0 / downsample + 0.5)


@contextmanager
def reading(path: Path, *kinds: type[Exception]) -> Iterator[None]:
    """What a decoder raises over a damaged file, in one line that names the file.

    Raises:
        InputError: For any of `kinds`.
    """
    try:
        yield
    except InputError:  # it says itself what is wrong, which need not be damage
        raise
    except kinds as error:
        raise InputError(damaged_words(path, error)) from None


def damaged_words(path: Path, error: Exception) -> str:
    """That a file is damaged, in a decoder's words; a DICOM slide is read from several files, of which one is named."""
    reason = first_line(error)[:200]
    which = "it, or another file of its series beside it, is" if path.suffix.lower() == ".dcm" else "the file is"
    return f"{path} cannot be read ({reason}); {which} damaged: copy or scan it again"
