"""Which pages of a TIFF are the levels of its pyramid, and what its metadata say of the scale."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from counterstain.errors import InputError

__all__ = ["TiffPages", "open_pages"]

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
_APERIO_MPP = re.compile(r"\bMPP\s*=\s*([0-9.]{1,12})")
_APERIO_OBJECTIVE = re.compile(r"\bAppMag\s*=\s*([0-9.]{1,12})")
_NOT_THE_SLIDE = re.compile(r"\b(label|macro|thumbnail)\b", re.IGNORECASE)
_REDUCED = 1
_SAME_SHAPE = 0.01


@dataclass(frozen=True)
class TiffPages:
    """The levels, finest first, each the pages that make it up (one, or one a colour), and what the file states.

    kind: "ome-tiff", "aperio" or "tiff"; file_mpp: µm/px by the format's own words; tiff_mpp: by TIFF's resolution.
    """

    kind: str
    levels: tuple[tuple[Any, ...], ...]
    file_mpp: Pair | None
    tiff_mpp: Pair | None
    objective: float | None


def open_pages(path: Path) -> TiffPages:
    """The levels of a TIFF; label, macro and thumbnail are passed over. The file is closed again.

    Raises:
        InputError: If it is no TIFF, its first image is not one flat picture, or tifffile is not installed.
    """
    try:
        import tifffile
    except ModuleNotFoundError:
        raise InputError("slides need more packages: pip install 'counterstain[slides]'") from None
    try:
        with tifffile.TiffFile(path) as tiff:
            found = _look_through(tiff, path)
            for pages in found.levels:
                pages[0].decode  # noqa: B018 (made at first use, from the open file)
            return found
    except (tifffile.TiffFileError, OSError, ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        words = (str(error).splitlines() or [type(error).__name__])[0][:150]
        raise InputError(
            f"{path} is not a slide that OpenSlide or tifffile can read ({words}); give SVS, NDPI, MRXS, SCN, DICOM, "
            "OME-TIFF or tiled TIFF; plain images go to the verbs for tiles"
        ) from None


def _look_through(tiff: Any, path: Path) -> TiffPages:
    first = tiff.pages[0]
    tiff_mpp = _resolution(first)
    if tiff.is_ome:
        file_mpp, objective = _ome_scale(tiff.ome_metadata or "")
        return TiffPages("ome-tiff", _ome_levels(tiff, path), file_mpp, tiff_mpp, objective)
    words = str(first.description)
    mpp, objective = _number(_APERIO_MPP, words), _number(_APERIO_OBJECTIVE, words)
    kind = "aperio" if words.startswith("Aperio") else "tiff"
    return TiffPages(kind, _plain_levels(tiff), (mpp, mpp) if mpp else None, tiff_mpp, objective)


def _ome_levels(tiff: Any, path: Path) -> tuple[tuple[Any, ...], ...]:
    series = tiff.series[0]
    axes, shape = series.axes, series.shape
    planes = [length for axis, length in zip(axes, shape, strict=True) if axis not in "YXS"]
    colours = axes in ("CYX", "SYX", "YXS", "YX")
    if any(length > 1 for length in planes) and not (colours and planes == [3]):
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


def _ome_scale(xml: str) -> tuple[Pair | None, float | None]:
    """µm/px of the first image and the nominal magnification, as OME-XML states them."""
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return None, None
    pixels = next((one for one in root.iter() if one.tag.endswith("}Pixels")), None)
    lens = next((one for one in root.iter() if one.tag.endswith("}Objective")), None)
    objective = _float(lens.get("NominalMagnification") if lens is not None else None)
    if pixels is None:
        return None, objective
    sizes = []
    for axis in "XY":
        unit = _UM_PER_OME_UNIT.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        size = _float(pixels.get(f"PhysicalSize{axis}"))
        if unit is None or size is None:
            return None, objective
        sizes.append(unit * size)
    return (sizes[0], sizes[1]), objective


def _number(pattern: re.Pattern[str], words: str) -> float | None:
    found = pattern.search(words)
    return _float(found[1]) if found else None


def _float(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
