"""The reader of OpenSlide's formats; tiles of a TIFF's own JPEG grid are decoded directly, to the same pixels."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.slides.guarded import reader_errors
from counterstain.slides.info import SlideInfo, level_of, level_px, reading
from counterstain.slides.openslide_grids import find_grids, paint
from counterstain.slides.scale import choose_scale
from counterstain.slides.tiff_grid import PageGrid, check_colours
from counterstain.slides.tiff_pages import check_upright

__all__ = ["OpenSlideSlide", "suits"]

Table = Mapping[str, tuple[float, float]]

_PLAIN_TIFF = ("generic-tiff", "generic-tiled-tiff")
_COMMON_COLOURS = (0, 1, 2, 6)  # TIFF's grey (two ways), RGB and YCbCr; the other reader names the rest


def suits(path: Path) -> bool:
    """Whether OpenSlide knows the format, and no other reader sees more of the file.

    It takes an OME-TIFF for a plain one, without its µm/px and its smaller levels, cuts 16 bits to 8, and of several
    pictures of one size it shows the first.
    """
    try:
        import openslide
    except ModuleNotFoundError:
        return False
    vendor = openslide.OpenSlide.detect_format(path)
    if vendor not in _PLAIN_TIFF:
        return vendor is not None
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            first: Any = tiff.pages[0]
            if tiff.is_ome or tiff.is_imagej or first.pages or first.bitspersample != 8:
                return False
            others: list[Any] = list(tiff.pages[1:])
            if any((page.imagewidth, page.imagelength) == (first.imagewidth, first.imagelength) for page in others):
                return False  # of a stack, or of channels, it would show the first picture alone without a word
            if first.samplesperpixel not in (1, 3, 4) or first.photometric not in _COMMON_COLOURS:
                return False
        openslide.OpenSlide(path).close()
    except openslide.OpenSlideError:  # a packing that it has no decoder for
        return False
    except reader_errors():
        return True
    return True


class OpenSlideSlide:
    """A slide read through OpenSlide; see `Slide`. It is pickled as its path, and reopened where it arrives.

    Args:
        direct: whether tiles of the file's own JPEG grid may be decoded without OpenSlide.

    Raises:
        InputError: If OpenSlide cannot read it.
    """

    _handle: int
    _process: int
    _grids: tuple[PageGrid | None, ...]

    def __init__(
        self,
        path: Path,
        *,
        assume_mpp: float | None = None,
        mpp_table: Table | None = None,
        direct: bool = True,
    ) -> None:
        self._arguments = (path, assume_mpp, mpp_table, direct)
        self._open()
        self._info = self._describe()

    @property
    def info(self) -> SlideInfo:
        return self._info

    def read_region(self, x0: int, y0: int, *, level: int, width_px: int, height_px: int) -> NDArray[np.uint8]:
        if os.getpid() != self._process:  # forked: the file's position would be shared with the parent
            self._open()
        frame, grid = self._info.levels[level], self._grids[level]
        x, y = level_px(x0, frame.downsample_x), level_px(y0, frame.downsample_y)
        if grid is not None:
            return grid.read(self._handle, x, y, width_px, height_px)
        import openslide

        with reading(self._info.path, openslide.OpenSlideError, OSError):
            return paint(self._slide, x, y, level=level, width_px=width_px, height_px=height_px)

    def close(self) -> None:
        self._slide.close()
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _open(self) -> None:
        try:
            import openslide
        except ModuleNotFoundError:
            raise InputError("slides need more packages: pip install 'counterstain[slides]'") from None
        path, _, _, direct = self._arguments
        try:
            self._slide = openslide.OpenSlide(path)
        except openslide.OpenSlideUnsupportedFormatError:
            raise InputError(
                f"{path} is no format that OpenSlide reads; let the reader be chosen automatically"
            ) from None
        except openslide.OpenSlideError as error:
            raise InputError(
                f"{path} cannot be opened ({error}); the file is damaged, or parts of it are missing"
            ) from None
        if self._slide.properties.get("openslide.vendor") in ("aperio", *_PLAIN_TIFF):
            _check_first_page(path)
        self._process = os.getpid()
        none: tuple[PageGrid | None, ...] = (None,) * int(self._slide.level_count)
        self._grids = find_grids(path, self._slide) if direct else none
        self._handle = -1
        if any(self._grids):
            self._handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))

    def _describe(self) -> SlideInfo:
        path, assume_mpp, table, _ = self._arguments
        properties = dict(self._slide.properties)
        vendor = str(properties.get("openslide.vendor", ""))
        pair = _numbers(properties, "openslide.mpp-x", "openslide.mpp-y")
        stated = None if pair is None else (pair[0], pair[1])
        lens = _numbers(properties, "openslide.objective-power")
        objective = lens[0] if lens else None
        plain = vendor in _PLAIN_TIFF  # where OpenSlide's µm/px are TIFF's resolution
        scale = choose_scale(
            path, file=None if plain else stated, tiff=stated if plain else None, objective=objective,
            assume_mpp=assume_mpp, mpp_table=table,
        )  # fmt: skip
        width, height = self._slide.dimensions
        return SlideInfo(
            path=path,
            reader=_version(direct=any(self._grids)),
            levels=tuple(level_of(width, height, *size) for size in self._slide.level_dimensions),
            mpp_x=scale.mpp_x,
            mpp_y=scale.mpp_y,
            mpp_source=scale.source,
            objective=objective,
            bounds=_bounds(properties),
            vendor=vendor,
            tile_grid=tuple(_tile_size(properties, level) for level in range(self._slide.level_count)),
            notes=scale.notes,
            scanner=_scanner(properties),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, self._arguments


def _check_first_page(path: Path) -> None:
    """Refuse a turned page and colours that OpenSlide would show as if they were RGB; of other formats it knows more.

    Raises:
        InputError: With what the page is.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            first: Any = tiff.pages[0]
            check_upright(first, path)
            check_colours(first, path, samples=int(first.samplesperpixel))
    except InputError:
        raise
    except reader_errors():  # what tifffile cannot look through OpenSlide may
        return


def _reopen(path: Path, assume_mpp: float | None, mpp_table: Table | None, direct: bool) -> OpenSlideSlide:
    return OpenSlideSlide(path, assume_mpp=assume_mpp, mpp_table=mpp_table, direct=direct)


def _numbers(properties: Mapping[str, str], *names: str) -> list[float] | None:
    try:
        return [float(properties[name]) for name in names]
    except (KeyError, ValueError):
        return None


def _bounds(properties: Mapping[str, str]) -> tuple[int, int, int, int] | None:
    values = _numbers(properties, *(f"openslide.bounds-{name}" for name in ("x", "y", "width", "height")))
    if values is None:
        return None
    x, y, width, height = (int(value) for value in values)
    return (x, y, width, height) if width > 0 and height > 0 else None


def _scanner(properties: Mapping[str, str]) -> str:
    """The scanner's model or number, where the format keeps one."""
    for name in ("hamamatsu.Product", "aperio.ScanScope ID", "leica.device-model", "ventana.ScannerModel",
                 "dicom.ManufacturerModelName", "mirax.GENERAL.SLIDE_VERSION", "tiff.Model"):  # fmt: skip
        if properties.get(name, "").strip():
            return properties[name].strip()[:60]
    return ""


def _tile_size(properties: Mapping[str, str], level: int) -> tuple[int, int] | None:
    size = _numbers(properties, *(f"openslide.level[{level}].tile-{name}" for name in ("width", "height")))
    return (int(size[0]), int(size[1])) if size else None


def _version(*, direct: bool) -> str:
    import imagecodecs
    import openslide

    codec = f", imagecodecs {imagecodecs.__version__}" if direct else ""
    return f"openslide {openslide.__library_version__}{codec}"
