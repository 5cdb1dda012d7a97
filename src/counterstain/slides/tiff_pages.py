"""Which pages of a TIFF are the levels of its pyramid, and what its metadata say of the scale."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from counterstain.errors import InputError, first_line
from counterstain.slides.guarded import reader_errors

if TYPE_CHECKING:
    import tifffile

__all__ = ["TiffPages", "check_upright", "open_pages"]

Pair = tuple[float, float]

_UM_PER_RESOLUTION_UNIT = {2: 25_400.0, 3: 10_000.0}  # inch, cm; 1 means no unit
_UM_PER_OME_UNIT = {
    "µm": 1.0,
    "μm": 1.0,
    "um": 1.0,
    "nm": 1e-3,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
    "pm": 1e-6,
    "Å": 1e-4,
    "in": 25_400.0,
}
_UM_PER_IMAGEJ_UNIT = {
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "um": 1.0,
    "µm": 1.0,
    "μm": 1.0,
    "nm": 1e-3,
    "mm": 1e3,
    "cm": 1e4,
    "inch": 25_400.0,
}
_IMAGEJ_UNIT = re.compile(r"^unit=(.{1,20})$", re.MULTILINE)
_ORIENTATION, _MAX_SAMPLE = 274, 281
_TURNED = {
    2: "mirrored", 3: "upside down", 4: "mirrored upside down", 5: "turned and mirrored", 6: "turned by 90°",
    7: "turned and mirrored", 8: "turned by 270°",
}  # fmt: skip
_APERIO_MPP = re.compile(r"\bMPP\s*=\s*([0-9.]{1,12})")
_APERIO_OBJECTIVE = re.compile(r"\bAppMag\s*=\s*([0-9.]{1,12})")
_NOT_THE_SLIDE = re.compile(r"\b(label|macro|thumbnail)\b", re.IGNORECASE)
_REDUCED = 1
_SAME_SHAPE = 0.01


@dataclass(frozen=True)
class TiffPages:
    """The levels, finest first, each the pages that make it up (one, or one a colour), and what the file states.

    kind: "ome-tiff", "imagej", "aperio" or "tiff"
    file_mpp: µm/px by the format's own words; tiff_mpp: by TIFF's resolution
    bits: of a channel as stored, where the file states it (SignificantBits, MaxSampleValue), else 0
    notes: what a reader should know
    """

    kind: str
    levels: tuple[tuple[Any, ...], ...]
    file_mpp: Pair | None
    tiff_mpp: Pair | None
    objective: float | None
    bits: int = 0
    notes: tuple[str, ...] = ()


def open_pages(path: Path) -> TiffPages:
    """The levels of a TIFF; label, macro and thumbnail are passed over. The file is closed again.

    Raises:
        InputError: If it is no TIFF, its first image is not one flat picture, or tifffile is not installed.
    """
    try:
        import tifffile
    except ModuleNotFoundError:
        raise InputError("slides need more packages: pip install 'counterstain[slides]'") from None
    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what it finds odd is told here, in one line
    try:
        with tifffile.TiffFile(path) as tiff:
            slide_pages = _look_through(tiff, path)
            for pages in slide_pages.levels:
                pages[0].decode  # noqa: B018 (made at first use, from the open file)
            return slide_pages
    except InputError:
        raise
    except reader_errors() as error:
        with path.open("rb") as stream:
            if stream.read(23) == b"version https://git-lfs":
                raise InputError(f"{path} is a pointer of Git LFS, not the slide; fetch it: git lfs pull") from None
        reason = first_line(error)[:150]
        raise InputError(
            f"{path} is not a slide that OpenSlide or tifffile can read ({reason}); give SVS, NDPI, MRXS, SCN, DICOM, "
            "OME-TIFF or tiled TIFF; plain images go to the verbs for tiles"
        ) from None


def _look_through(tiff: Any, path: Path) -> TiffPages:
    first = tiff.pages[0]
    check_upright(first, path)
    tiff_mpp = _resolution(first)
    stated = _stated_bits(first.tags.valueof(_MAX_SAMPLE))
    if tiff.is_ome:
        ome = _ome_scale(tiff.ome_metadata or "")
        levels = _ome_levels(tiff, path)
        return TiffPages("ome-tiff", levels, ome.mpp, tiff_mpp, ome.objective, ome.bits or stated, ome.notes)
    description = str(first.description)
    notes = _other_planes(tiff, path, description if tiff.is_imagej else "")
    if tiff.is_imagej:
        scale = _imagej_scale(first, description)
        return TiffPages("imagej", _plain_levels(tiff), scale, tiff_mpp, None, stated, notes)
    mpp, objective = _number(_APERIO_MPP, description), _number(_APERIO_OBJECTIVE, description)
    kind = "aperio" if description.startswith("Aperio") else "tiff"
    return TiffPages(kind, _plain_levels(tiff), (mpp, mpp) if mpp else None, tiff_mpp, objective, stated, notes)


def _other_planes(tiff: Any, path: Path, imagej: str) -> tuple[str, ...]:
    """A note on further pages of the first one's size; grey ones are channels or a stack, and refused.

    Raises:
        InputError: If the file is one of channels or a stack.
    """
    first = tiff.pages[0]
    planes = 1
    for name in ("channels", "slices", "frames"):  # ImageJ keeps planes behind one page, too
        count = re.search(rf"^{name}=(\d{{1,6}})$", imagej, re.MULTILINE)
        planes *= int(count[1]) if count else 1
    same = [
        page
        for page in (tiff.pages[1:] if len(tiff.pages) > 1 else ())
        if (page.imagewidth, page.imagelength) == (first.imagewidth, first.imagelength)
    ]
    planes = max(planes, 1 + len(same))
    if planes == 1:
        return ()
    if first.samplesperpixel == 1:
        raise InputError(
            f"{path} has {planes} grey pictures of one size, channels of fluorescence or a stack; a slide here is one "
            "RGB picture: save the plane that is meant"
        )
    return (f"{planes - 1} more pictures of the same size are not read",)


def check_upright(page: "tifffile.TiffPage", path: Path) -> None:
    """Refuse a page that is to be turned or mirrored to be looked at.

    To turn it here would move every coordinate: OpenSlide, QuPath and annotations go by the px as they are stored.

    Raises:
        InputError: If its orientation is 2 to 8.
    """
    try:
        orientation = int(page.tags.valueof(_ORIENTATION, 1))
    except (TypeError, ValueError):
        return
    if 2 <= orientation <= 8:
        raise InputError(
            f"{path} is stored {_TURNED[orientation]} (TIFF orientation {orientation}), and other programs would place "
            "tiles elsewhere; save it upright (orientation 1)"
        )


def _stated_bits(greatest: Any) -> int:
    """Bits of the greatest value that TIFF's MaxSampleValue states, 0 where it states none."""
    values = greatest if isinstance(greatest, tuple) else (greatest,)
    return max((int(value).bit_length() for value in values if isinstance(value, int) and value > 1), default=0)


def _ome_levels(tiff: Any, path: Path) -> tuple[tuple[Any, ...], ...]:
    series = tiff.series[0]
    axes, shape = series.axes, series.shape
    planes = [length for axis, length in zip(axes, shape, strict=True) if axis not in "YXS"]
    colours = axes in ("CYX", "SYX", "YXS", "YX")
    if any(length > 1 for length in planes) and not (colours and planes == [3]):
        if axes in ("CYX", "YXC") and "S" not in axes:
            raise InputError(
                f"{path} has {planes[0]} channels, as fluorescence is stored; a slide here is one RGB picture: save "
                "the stain that is meant as RGB"
            )
        raise InputError(
            f"{path} is a stack of shape {shape} along {axes}; a slide is one RGB picture: save the plane that is meant"
        )
    return tuple(tuple(page for page in level.pages if page is not None) for level in series.levels)


def _plain_levels(tiff: Any) -> tuple[tuple[Any, ...], ...]:
    first = tiff.pages[0]
    others = [*(first.pages or ()), *tiff.pages[1:]] if len(tiff.pages) > 1 or first.pages else []
    levels = [first, *(page for page in others if _is_level(page, first))]
    levels.sort(key=lambda page: -page.imagewidth)
    return tuple((page,) for page in levels)


def _is_level(page: Any, first: Any) -> bool:
    """Whether a page shows the whole of the first one, smaller."""
    if page.imagewidth >= first.imagewidth or page.samplesperpixel != first.samplesperpixel:
        return False
    if _NOT_THE_SLIDE.search(str(page.description).partition("\n")[2] or str(page.description)):
        return False
    expected_px = first.imagewidth * page.imagelength / first.imagelength
    same_shape = abs(expected_px - page.imagewidth) <= max(2.0, _SAME_SHAPE * page.imagewidth)
    # Scanners tile the levels and store label and thumbnail in strips; a flat file marks its smaller copies.
    return same_shape and bool(page.is_tiled if first.is_tiled else page.subfiletype & _REDUCED)


def _resolution(page: Any) -> Pair | None:
    tags = page.tags
    unit = _UM_PER_RESOLUTION_UNIT.get(int(tags.valueof(296, 2)))
    x, y = (_rational(tags.valueof(code)) for code in (282, 283))
    return (unit / x, unit / y) if unit and x and y else None


def _rational(value: Any) -> float:
    try:
        above, below = value
        return float(above) / float(below)
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0


@dataclass(frozen=True)
class _Ome:
    """What OME-XML states of its first image."""

    mpp: Pair | None = None
    objective: float | None = None
    bits: int = 0
    notes: tuple[str, ...] = ()


def _ome_scale(xml: str) -> _Ome:
    """µm/px, magnification and significant bits of the first image; where one axis has µm/px, they are the other's."""
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return _Ome()
    pixels = next((element for element in root.iter() if element.tag.endswith("}Pixels")), None)
    lens = next((element for element in root.iter() if element.tag.endswith("}Objective")), None)
    objective = _float(lens.get("NominalMagnification") if lens is not None else None)
    if pixels is None:
        return _Ome(objective=objective)
    sizes = {}
    for axis in "XY":
        unit = _UM_PER_OME_UNIT.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        size = _float(pixels.get(f"PhysicalSize{axis}"))
        if unit is not None and size:
            sizes[axis] = unit * size
    stated = pixels.get("SignificantBits", "")
    bits = int(stated) if stated.isascii() and stated.isdigit() and len(stated) < 4 else 0
    if not sizes:
        return _Ome(None, objective, bits)
    axis_stated = next(iter(sizes))
    notes = () if len(sizes) == 2 else (f"OME states µm/px along {axis_stated} alone: pixels are assumed to be square",)
    return _Ome((sizes.get("X", sizes[axis_stated]), sizes.get("Y", sizes[axis_stated])), objective, bits, notes)


def _imagej_scale(page: Any, description: str) -> Pair | None:
    """ImageJ keeps px per unit in TIFF's resolution and the unit in its own words, with ResolutionUnit "none"."""
    match = _IMAGEJ_UNIT.search(description)
    if match is None:
        return None
    unit = match[1].strip().replace("\\u00B5", "µ").replace("\\u00b5", "µ")
    um = _UM_PER_IMAGEJ_UNIT.get(unit.lower())
    x, y = (_rational(page.tags.valueof(code)) for code in (282, 283))
    return (um / x, um / y) if um and x and y else None


def _number(pattern: re.Pattern[str], description: str) -> float | None:
    match = pattern.search(description)
    return _float(match[1]) if match else None


def _float(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
