"""The pixels of a plain, whole PNG by a faster way than Pillow's; whatever is not plain or not whole is left to it."""

import struct
import threading
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile

__all__ = ["plain_pixels"]

_CODECS: Any = imagecodecs  # it takes and gives arrays where its annotations speak of bytes
_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
_COLOUR_TYPE = {"L": 0, "RGB": 2, "RGBA": 6}
_UNKNOWN_FILTER = 5  # 0 to 4 are known
_MAGIC = b"\x89PNG\r\n\x1a\n"
_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_BLOCK = 0xFFFF  # the most bytes that deflate stores in one block
_KEPT_BYTES = 8 << 20
_SCRATCH = threading.local()


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
    if deflated is None or not _window_holds(int(deflated[0]), row_bytes * image.height):
        return None
    try:
        rows = _CODECS.deflate_decode(deflated, out=_scratch("rows", row_bytes * image.height))
    except imagecodecs.DeflateError:
        return None
    if len(rows) != row_bytes * image.height or int(rows[::row_bytes].max()) >= _UNKNOWN_FILTER:
        return None
    head = struct.pack(">IIBBBBB", image.width, image.height, 8, _COLOUR_TYPE[image.mode], 0, 0, 0)
    pixels: NDArray[np.uint8] = _CODECS.png_decode(_stored(head, rows))
    return pixels


def _data(content: bytes, start: int) -> NDArray[np.uint8] | None:
    """The compressed data of the IDAT chunks from `start` on; None unless they are whole and end the file."""
    whole, parts, at = np.frombuffer(content, np.uint8), [], start
    while content[at + 4 : at + 8] == b"IDAT":
        end = at + 8 + int.from_bytes(content[at : at + 4], "big")
        if end + 4 > len(content) or _crc(whole[at + 4 : end]) != int.from_bytes(content[end : end + 4], "big"):
            return None
        parts.append(whole[at + 8 : end])
        at = end + 4
    if content[at:] != _END or not any(map(len, parts)):
        return None
    return np.concatenate(parts, out=_scratch("deflated", sum(map(len, parts))))


def _stored(head: bytes, rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A PNG with this header and these rows, which are stored in blocks rather than compressed."""
    blocks = -(-len(rows) // _BLOCK)
    start = len(_MAGIC) + 12 + len(head)  # where the data chunk begins
    body = 2 + 5 * blocks + len(rows) + 4
    file = _scratch("stored", start + 12 + body + len(_END))

    def put(at: int, data: bytes) -> int:
        file[at : at + len(data)] = np.frombuffer(data, np.uint8)
        return at + len(data)

    at = put(0, _MAGIC + struct.pack(">I", len(head)) + b"IHDR" + head)
    at = put(at, struct.pack(">II", _crc(file[len(_MAGIC) + 4 : at]), body) + b"IDAT" + b"\x78\x01")
    for place in range(0, len(rows), _BLOCK):
        block = rows[place : place + _BLOCK]
        is_last = place + _BLOCK >= len(rows)
        at = put(at, struct.pack("<BHH", is_last, len(block), len(block) ^ 0xFFFF))
        file[at : at + len(block)] = block
        at += len(block)
    at = put(at, struct.pack(">I", _CODECS.deflate_adler32(rows)))
    put(at, struct.pack(">I", _crc(file[start + 4 : at])) + _END)
    return file


def _crc(data: NDArray[np.uint8]) -> int:
    """As zlib.crc32, in a tenth of its time."""
    return int(_CODECS.deflate_crc32(data))


def _scratch(name: str, size: int) -> NDArray[np.uint8]:
    """(size,) bytes of any content, this thread's own and used again for the next image.

    A fresh megabyte costs as much to map and zero as it does to fill. What only a large image needs is not kept.
    """
    if size > _KEPT_BYTES:
        return np.empty(size, dtype=np.uint8)
    kept: NDArray[np.uint8] | None = getattr(_SCRATCH, name, None)
    if kept is None or len(kept) < size:
        kept = np.empty(size, dtype=np.uint8)
        setattr(_SCRATCH, name, kept)
    return kept[:size]


def _window_holds(first: int, length: int) -> bool:
    """Whether the window that the stream's first byte declares reaches back over all its data, up to deflate's 32 kB.

    zlib refuses references further back than declared; libdeflate does not look.
    """
    return first & 15 == 8 and 1 << (first >> 4) + 8 >= min(length, 1 << 15)
