"""The few elements of a DICOM header that tell which files are one slide, and why one cannot be read."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from counterstain.errors import InputError

__all__ = ["DicomHeader", "check_dicom", "is_dicom", "read_dicom_header"]

_SLIDE_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.6"  # VL Whole Slide Microscopy Image Storage
_PACKINGS = {
    "1.2.840.10008.1.2.2": "big-endian bytes",
    "1.2.840.10008.1.2.1.99": "deflate",
    "1.2.840.10008.1.2.4.57": "lossless JPEG",
    "1.2.840.10008.1.2.4.70": "lossless JPEG",
    "1.2.840.10008.1.2.4.80": "JPEG-LS",
    "1.2.840.10008.1.2.4.81": "JPEG-LS",
    "1.2.840.10008.1.2.4.110": "JPEG XL",
    "1.2.840.10008.1.2.4.111": "JPEG XL",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.4.201": "high-throughput JPEG 2000",
    "1.2.840.10008.1.2.4.202": "high-throughput JPEG 2000",
    "1.2.840.10008.1.2.4.203": "high-throughput JPEG 2000",
    "1.2.840.10008.1.2.5": "run lengths (RLE)",
}
_IMPLICIT = "1.2.840.10008.1.2"
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_UNDEFINED, _LAST = 0xFFFFFFFF, (0x0048, 0x0007)
_LONGEST_VALUE, _MOST_ELEMENTS, _DEEPEST = 1024, 20_000, 20


@dataclass(frozen=True)
class DicomHeader:
    """What a file says of itself; "" and 0 where it does not say.

    series: SeriesInstanceUID; patient: PatientID; storage: SOPClassUID; packing: TransferSyntaxUID
    image_type: its words
    modality, colours (PhotometricInterpretation); bits and samples of a px; width_px, height_px of the level
    """

    series: str
    patient: str
    storage: str
    packing: str
    image_type: tuple[str, ...]
    modality: str
    colours: str
    bits: int
    samples: int
    width_px: int
    height_px: int


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its first bytes, whatever its name: archives name files by their UIDs alone."""
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_dicom_header(path: Path) -> DicomHeader | None:
    """The header of a DICOM file; None where it is none, or too damaged to be walked through.

    Source:
        DICOM PS3.10 7 (file meta information), PS3.5 7 (data elements), PS3.3 A.32.8 (whole-slide images).
    """
    try:
        with path.open("rb") as stream:
            if stream.read(132)[128:] != b"DICM":
                return None
            values = _top_level_values(stream)
    except (OSError, struct.error, OverflowError, ValueError):
        return None

    def text(group: int, element: int) -> str:
        return values.get((group, element), b"").decode("latin-1").strip(" \0")

    def number(group: int, element: int) -> int:
        return int.from_bytes(values.get((group, element), b"")[:4], "little")

    return DicomHeader(
        series=text(0x20, 0xE), patient=text(0x10, 0x20), storage=text(8, 0x16), packing=text(2, 0x10),
        image_type=tuple(word.strip().upper() for word in text(8, 8).split("\\") if word.strip()),
        modality=text(8, 0x60), colours=text(0x28, 4), bits=number(0x28, 0x100), samples=number(0x28, 2),
        width_px=number(0x48, 6), height_px=number(0x48, 7),
    )  # fmt: skip


def _top_level_values(stream: IO[bytes]) -> dict[tuple[int, int], bytes]:
    """The short top-level values up to the size of the level; sequences are passed over."""
    values: dict[tuple[int, int], bytes] = {}
    for _ in range(_MOST_ELEMENTS):
        implicit = values.get((2, 0x10), b"").strip(b" \0") == _IMPLICIT.encode()
        head = _element(stream, implicit)
        if head is None or head[0] > _LAST or (head[0][0] > 2 and _packing(values) in ("deflate", "big-endian bytes")):
            break
        tag, length = head
        if length == _UNDEFINED:
            _skip_items(stream, implicit, 0)
        elif length <= _LONGEST_VALUE:
            values[tag] = stream.read(length)
        else:
            stream.seek(length, 1)
    return values


def _packing(values: dict[tuple[int, int], bytes]) -> str:
    return _PACKINGS.get(values.get((2, 0x10), b"").decode("latin-1").strip(" \0"), "")


def _element(stream: IO[bytes], implicit: bool) -> tuple[tuple[int, int], int] | None:
    """Tag and length of the element here; None at the end. File meta information is always explicit."""
    head = stream.read(8)
    if len(head) < 8:
        return None
    group, element = struct.unpack("<HH", head[:4])
    if group == 0xFFFE or (implicit and group != 2):
        return (group, element), struct.unpack("<I", head[4:])[0]
    if head[4:6] in _LONG:
        return (group, element), struct.unpack("<I", stream.read(4))[0]
    return (group, element), struct.unpack("<H", head[6:])[0]


def _skip_items(stream: IO[bytes], implicit: bool, depth: int) -> None:
    """Go behind a sequence, or an item, whose length is not stated."""
    if depth > _DEEPEST:
        raise ValueError("sequences within sequences")
    for _ in range(_MOST_ELEMENTS):
        head = _element(stream, implicit)
        if head is None or head[0] in ((0xFFFE, 0xE0DD), (0xFFFE, 0xE00D)):
            return
        if head[1] == _UNDEFINED:
            _skip_items(stream, implicit, depth + 1)
        else:
            stream.seek(head[1], 1)
    raise ValueError("a sequence without end")


def check_dicom(path: Path, header: DicomHeader) -> None:
    """Refuse by name what no reader here can decode.

    Raises:
        InputError: With what the file is, and what to do.
    """
    if header.storage and header.storage != _SLIDE_CLASS:
        kind = header.modality or header.storage
        raise InputError(f"{path} is DICOM of another kind ({kind}); a slide is a VL Whole Slide Microscopy Image (SM)")
    if header.packing in _PACKINGS:
        raise InputError(
            f"{path} is DICOM packed as {_PACKINGS[header.packing]}, which OpenSlide does not decode; convert it to "
            "JPEG, JPEG 2000 or no compression (dcmtk's dcmconv and dcmdjpls, or wsidicomizer)"
        )
    if header.bits > 8:
        raise InputError(f"{path} is DICOM with {header.bits} bits for each channel; slides here have 8: convert it")
    if header.samples and header.samples != 3:
        raise InputError(
            f"{path} is DICOM with {header.samples} channel per px ({header.colours or 'no colour space'}), as "
            "fluorescence is stored; a slide here is RGB: save it as RGB"
        )
    if not header.image_type:
        raise InputError(
            f"{path} is DICOM without ImageType (0008,0008), which tells levels from label and overview; add it "
            "(ORIGINAL\\PRIMARY\\VOLUME\\NONE for level 0), or export the slide again"
        )
