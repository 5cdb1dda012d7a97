"""The one decoder: any image file or container row -> RGB uint8, or one line that says why not."""

import hashlib
import io
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import BmpImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, features

from counterstain.images.array_rows import read_row
from counterstain.images.png import plain_pixels
from counterstain.images.rgb import is_colour, rgb_of_array, rgb_of_image
from counterstain.images.source import BadImage, locate, open_source
from counterstain.images.tile import mpp_of

__all__ = [
    "MAX_PIXELS",
    "BadImage",
    "Content",
    "Decoded",
    "decode",
    "decode_content",
    "decoder_version",
    "hash_content",
    "read_content",
]

MAX_PIXELS = 50_000_000
MIN_SIDE_PX = 16
MAX_ASPECT = 20

_PEEK_BYTES = 16 << 20  # a file larger than this has its header judged before the rest is read
_BYTES_PER_PIXEL = 8  # the most that an image within the limit may take: 16-bit RGBA, uncompressed
_SPARE_BYTES = 1 << 20  # for headers and metadata

# A file's content, unread by any decoder: a file's bytes, or the numbers of a container's row.
Content = bytes | NDArray[Any]


@dataclass(frozen=True)
class Decoded:
    """An image as the rest of the program sees it.

    pixels: (H, W, 3) uint8 RGB, C-contiguous, the right way up; may be read-only
    notes:  what was not plain about the file and what was done, one short phrase each
    colour: whether any pixel's channels differ by more than a few levels
    mpp:    µm per pixel where the file says so credibly, else None
    """

    pixels: NDArray[np.uint8]
    notes: tuple[str, ...]
    colour: bool
    mpp: float | None


@dataclass(frozen=True)
class _Format:
    """One row of the allow-list. A faster reader of a format is put in as its `open`."""

    name: str
    magic: tuple[bytes, ...]
    suffixes: tuple[str, ...]
    open: Callable[[BinaryIO], ImageFile.ImageFile]  # reads the header only


# Pillow's own readers, called directly: the type goes by content, no other of its forty formats is ever tried, and
# its global size limit with its warning gives way to ours. (A JPEG with further pictures gives its first.)
_FORMATS = (
    _Format("JPEG", (b"\xff\xd8\xff",), (".jpg", ".jpeg", ".jpe", ".jfif"), JpegImagePlugin.JpegImageFile),
    _Format("PNG", (b"\x89PNG\r\n\x1a\n",), (".png", ".apng"), PngImagePlugin.PngImageFile),
    _Format(
        "TIFF",
        (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"),
        (".tif", ".tiff", ".svs", ".btf"),
        TiffImagePlugin.TiffImageFile,
    ),
    _Format("BMP", (b"BM",), (".bmp", ".dib"), BmpImagePlugin.BmpImageFile),
)
_READ = "PNG, JPEG, TIFF and BMP are read"

# Named in the message only, so that the user knows what the file is.
_OTHERS = {
    b"GIF8": "a GIF",
    b"RIFF": "a WebP",
    b"\x00\x00\x00\x0cjP": "a JPEG 2000",
    b"\xffO\xffQ": "a JPEG 2000",
    b"8BPS": "a Photoshop file",
    b"SIMPLE": "a FITS file",
    b"version https:": "a pointer of Git LFS, not the file itself (git lfs pull fetches it)",
    b"%PDF": "a PDF",
    b"%!PS": "an EPS",
    b"icns": "an icon",
    b"PK\x03\x04": "a ZIP archive",
    b"\x89HDF": "an HDF5 container: name a row of it, as in 'file.h5#x/12'",
    b"<": "a web page or other text",
}

# What Pillow's readers raise for damaged files (300,000 damaged ones tried); MemoryError is not among them.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    ZeroDivisionError,
    struct.error,
    zlib.error,
    Warning,  # where the caller has made warnings errors
)


def decode(source: str | Path, *, root: Path | None = None, max_pixels: int = MAX_PIXELS) -> Decoded:
    """The pixels of an image file, or of a container's row such as "file.h5#x/12", as 8-bit RGB.

    Accepted are PNG, JPEG, TIFF and BMP, told by content. Deep grey is scaled by its depth, floats from 0 to 1 by 255,
    transparency is laid on white, EXIF orientation is carried out, colour profiles are ignored; each is noted. What
    would need a guess is refused: several pages, more than four channels, floats of another range, sides under 16 px
    or longer than 20 times each other, damage, and more than `max_pixels`, which is judged before anything is decoded.

    Args:
        source: a path; relative to `root` where that is given.
        root: the folder that must hold the file, links followed; None trusts the path.
        max_pixels: the most pixels an image may have.

    Raises:
        BadImage: With the image's name and the reason, in one line.
    """
    return decode_content(read_content(source, root=root, max_pixels=max_pixels), str(source), max_pixels=max_pixels)


def read_content(source: str | Path, *, root: Path | None = None, max_pixels: int = MAX_PIXELS) -> Content:
    """What a file or a container's row holds, undecoded: what is hashed, and what `decode_content` takes.

    Raises:
        BadImage: If it cannot be read, or is larger than an image of `max_pixels` can be.
    """
    place = locate(source, root)
    if place.address:
        return read_row(place, max_pixels=max_pixels)
    with open_source(place) as stream:
        try:
            size = stream.seek(0, io.SEEK_END)
            stream.seek(0)
            if size > _PEEK_BYTES:
                _open_header(stream, place.name, max_pixels)
                stream.seek(0)
            if size > max_pixels * _BYTES_PER_PIXEL + _SPARE_BYTES:
                raise BadImage(place.name, f"is a file of {size:,} bytes, more than {max_pixels:,} pixels can take")
            return stream.read()
        except OSError as error:
            raise BadImage(place.name, f"cannot be read ({_plainly(error)})") from None


def hash_content(content: Content) -> str:
    """SHA-256 of a file's bytes, or of an array's type, shape and numbers: 64 hex digits."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    digest = hashlib.sha256(f"{content.dtype.str} {content.shape} ".encode())
    digest.update(np.ascontiguousarray(content).data)
    return digest.hexdigest()


def decode_content(content: Content, name: str, *, max_pixels: int = MAX_PIXELS) -> Decoded:
    """As `decode`, of content already read; `name` stands in the message, and its suffix is compared with the type."""
    if not isinstance(content, bytes):
        _check_size(name, content.shape[1], content.shape[0], max_pixels)
        pixels, notes = rgb_of_array(content, name)
        return Decoded(pixels, tuple(notes), is_colour(pixels), None)
    image, kind = _open_header(io.BytesIO(content), name, max_pixels)
    notes = _notes_of_header(image, kind, name)
    try:
        bits, inverted = _depth(image, kind)
        mpp = mpp_of(image)
        turned = _orientation(image) if kind.name == "TIFF" else 1  # this reader turns the image itself, while loading
        if kind.name == "PNG" and not any(key in image.info for key in _METADATA):
            plain = plain_pixels(image, content)
            if plain is not None:
                pixels, more = rgb_of_array(plain, name)
                return Decoded(pixels, tuple(notes + more), is_colour(pixels), mpp)
        image.load()
        upright: Image.Image = image
        if kind.name != "TIFF" and (turned := _orientation(image)) in _UPRIGHT:
            upright = image.transpose(_UPRIGHT[turned])
        if turned in _UPRIGHT:
            notes.append(f"EXIF orientation {turned} applied")
    except _DAMAGE as error:
        raise BadImage(name, f"damaged or cut off {kind.name} ({_plainly(error)}); copy it again") from None
    pixels, more = rgb_of_image(upright, name, bits=bits, inverted=inverted)
    return Decoded(np.ascontiguousarray(pixels), tuple(notes + more), is_colour(pixels), mpp)


def decoder_version() -> str:
    """What the pixels depend on besides the file: our rules and the libraries that decode. Part of a store's key."""
    parts = [f"{name} {features.version(name) or '-'}" for name in ("libjpeg_turbo", "libtiff")]
    return f"counterstain 1, pillow {PIL.__version__}, {', '.join(parts)}"


_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 274
_METADATA = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")


def _open_header(stream: BinaryIO, name: str, max_pixels: int) -> tuple[ImageFile.ImageFile, _Format]:
    """The image with its header read and judged, nothing decoded."""
    start = stream.read(16)
    kind = next((row for row in _FORMATS if start.startswith(row.magic)), None)
    if kind is None:
        other = next((words for magic, words in _OTHERS.items() if start.lstrip().startswith(magic)), "not an image")
        raise BadImage(name, f"is {other}; {_READ}")
    stream.seek(0)
    try:
        image = kind.open(stream)
        pages = _pages(image)
    except _DAMAGE as error:
        stream.seek(0)
        shape = _tiff_shape(stream) if kind.name == "TIFF" else ""
        raise BadImage(name, f"{shape or f'damaged or cut off {kind.name}'} ({_plainly(error)})") from None
    _check_size(name, image.width, image.height, max_pixels)
    if pages > 1:
        count = pages if pages < _MAX_COUNTED_PAGES else f"at least {pages}"
        raise BadImage(
            name,
            f"holds {count} pages, the first of {image.height} × {image.width} px: a stack, an animation or more than "
            "four channels; save the intended RGB image",
        )
    return image, kind


_MAX_COUNTED_PAGES = 100


def _pages(image: ImageFile.ImageFile) -> int:
    """How many images the file holds, counted up to 100."""
    if isinstance(image, PngImagePlugin.PngImageFile):
        return int(getattr(image, "n_frames", 1))
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or not image.tag_v2.next:
        return 1
    page = 0
    try:
        while page < _MAX_COUNTED_PAGES - 1:
            image.seek(page + 1)
            page += 1
    except _DAMAGE:  # the end of the list, or a damaged one: more than one page either way
        pass
    image.seek(0)
    return max(page + 1, 2)


def _check_size(name: str, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise BadImage(
            name,
            f"is {width:,} × {height:,} px, more than the {max_pixels / 1e6:g} million an image may have; "
            "cut a slide into tiles first",
        )
    if min(width, height) < MIN_SIDE_PX:
        raise BadImage(name, f"is {width} × {height} px; each side needs {MIN_SIDE_PX} px at least")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise BadImage(name, f"is {width} × {height} px; one side may be {MAX_ASPECT} times the other at most")


def _tiff_shape(stream: BinaryIO) -> str:
    """For a TIFF that Pillow cannot map to a colour mode: its shape and type in words, or "" if that is unreadable."""
    try:
        start = stream.read(8)
        tags = TiffImagePlugin.ImageFileDirectory_v2(
            start if start[2:4] in (b"*\x00", b"\x00*") else start + stream.read(8)
        )
        stream.seek(tags.next)
        tags.load(stream)
        width, height, channels = (int(tags[tag]) for tag in (256, 257, 277))
        bits, sample = int(tags.get(258, (1,))[0]), int(tags.get(339, (1,))[0])
    except _DAMAGE:
        return ""
    kind = {1: "whole numbers", 2: "signed numbers", 3: "floats"}.get(sample, "numbers of unknown kind")
    return f"is a TIFF of shape ({height}, {width}, {channels}), {kind} of {bits} bits; save it as 8-bit RGB"


def _depth(image: ImageFile.ImageFile, kind: _Format) -> tuple[int, bool]:
    """Bits per channel as the file says, and whether 0 means white and Pillow's reader leaves that as it is."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = max(int(value) for value in image.tag_v2.get(258, (1,)))
        return bits, image.tag_v2.get(262) == 0 and image.mode in ("I;16", "I;16B", "F")
    if isinstance(image, PngImagePlugin.PngImageFile) and image.tile:
        return 16 if "16" in str(image.tile[0].args) else 8, False
    return 8, False


def _orientation(image: Image.Image) -> int:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        value = image.tag_v2.get(_ORIENTATION, 1)
    elif any(key in image.info for key in _METADATA):
        try:
            value = image.getexif().get(_ORIENTATION, 1)
        except _DAMAGE:  # metadata in disorder is no reason to lose the image; without orientation it is as stored
            value = 1
    else:
        value = 1
    return value if isinstance(value, int) else 1


def _notes_of_header(image: ImageFile.ImageFile, kind: _Format, name: str) -> list[str]:
    notes = []
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 (a fifth of the time of pathlib, for every image)
    if suffix not in kind.suffixes:
        notes.append(f"{kind.name} by content, named {suffix or 'without a suffix'}")
    if image.info.get("icc_profile"):
        notes.append("colour profile ignored")
    if kind.name == "JPEG" and "mp" in image.info:
        notes.append("holds further images; the first was read")
    return notes


def _plainly(error: BaseException) -> str:
    """The first line of an error, without its type."""
    text = (str(error).splitlines() or [""])[0][:200]
    return text or type(error).__name__
