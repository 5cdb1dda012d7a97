"""The pixels of a plain, whole PNG by a faster way than Pillow's; whatever is not plain or not whole is left to it."""

import struct
import zlib

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile

__all__ = ["plain_pixels"]

_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
_COLOUR_TYPE = {"L": 0, "RGB": 2, "RGBA": 6}
_UNKNOWN_FILTER = 5  # 0 to 4 are known
_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"


def plain_pixels(image: ImageFile.ImageFile, content: bytes) -> NDArray[np.uint8] | None:
    """The pixels of a PNG whose header Pillow has read: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA, uint8; else None.

    None is no refusal: it says that Pillow has to read the pixels, and to judge the file. It comes for what is not
    8-bit L, RGB or RGBA, is interlaced, has a transparent colour, an orientation or anything behind its pixels, and
    for all that is damaged. What is given has passed every check that the format has: each data chunk's CRC, the
    stream's Adler-32 and length, each row's filter, and nothing but the end behind the data. Such a stream has one
    meaning only, so that these are Pillow's pixels to the bit.

    Inflating takes most of a PNG's time. libdeflate does it in half the time of zlib; libpng then undoes the filters
    of the same rows, handed to it uncompressed.

    Args:
        image: with its header read, and not loaded.
        content: the whole file.

    Source:
        PNG, third edition (W3C), sections 5 (chunks), 9 (filters) and 10 (compression).
    """
    tile = image.tile[0] if len(image.tile) == 1 else None
    if tile is None or image.mode not in _CHANNELS or tile.args != image.mode:
        return None
    if any(key in image.info for key in ("interlace", "transparency", "default_image", "bbox")):
        return None
    row_bytes = 1 + image.width * _CHANNELS[image.mode]  # each row begins with the number of its filter
    deflated = _data(content, tile.offset - 8)
    if not deflated or not _window_holds(deflated[0], row_bytes * image.height):
        return None
    try:
        rows = imagecodecs.deflate_decode(deflated, out=row_bytes * image.height)
    except imagecodecs.DeflateError:
        return None
    if len(rows) != row_bytes * image.height or max(rows[::row_bytes]) >= _UNKNOWN_FILTER:
        return None
    head = struct.pack(">IIBBBBB", image.width, image.height, 8, _COLOUR_TYPE[image.mode], 0, 0, 0)
    stored = (b"\x89PNG\r\n\x1a\n", *_chunk(b"IHDR", head), *_chunk(b"IDAT", zlib.compress(rows, 0)), _END)
    pixels: NDArray[np.uint8] = imagecodecs.png_decode(b"".join(stored))
    return pixels


def _data(content: bytes, start: int) -> bytes:
    """The compressed data of the IDAT chunks from `start` on, b"" unless they are whole and the file ends with them."""
    view, parts, at = memoryview(content), [], start
    while content[at + 4 : at + 8] == b"IDAT":
        end = at + 8 + int.from_bytes(content[at : at + 4], "big")
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(content[end : end + 4], "big") or end + 4 > len(content):
            return b""
        parts.append(view[at + 8 : end])
        at = end + 4
    return b"".join(parts) if content[at:] == _END else b""


def _window_holds(first: int, length: int) -> bool:
    """Whether the window that the stream's first byte declares reaches back over all its data, up to deflate's 32 kB.

    zlib refuses references further back than declared; libdeflate does not look.
    """
    return first & 15 == 8 and 1 << (first >> 4) + 8 >= min(length, 1 << 15)


def _chunk(kind: bytes, body: bytes) -> tuple[bytes, ...]:
    return struct.pack(">I", len(body)), kind, body, struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
