"""How large a packed block says that it is, before it is unpacked: a damaged header may ask for any memory."""

import struct

__all__ = ["declared_size"]

_NOT_FRAMES = (0xC4, 0xC8, 0xCC)  # Huffman tables, extensions and arithmetic conditioning lie among the frame markers
_JP2 = b"\0\0\0\x0cjP  "


def declared_size(packed: bytes) -> tuple[int, int] | None:
    """(width, height) px that a JPEG or JPEG 2000 block states; None for any other packing, or where it states none.

    >>> declared_size(bytes.fromhex("ffd8 ffc0 000b 08 0010 0020 01 011100"))
    (32, 16)

    Source:
        ITU-T T.81 B.2.2 (frame header), ITU-T T.800 A.5.1 (image and tile size).
    """
    if packed[:2] == b"\xff\xd8":
        return _jpeg(packed)
    if packed[:4] == b"\xff\x4f\xff\x51":
        return _jpeg2000(packed, 0)
    if packed[:8] == _JP2:
        start = packed.find(b"\xff\x4f\xff\x51", 0, 4096)
        return _jpeg2000(packed, start) if start >= 0 else None
    return None


def _jpeg(packed: bytes) -> tuple[int, int] | None:
    place = 2
    while place + 9 <= len(packed) and packed[place] == 0xFF:
        marker = packed[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in _NOT_FRAMES:
            height, width = struct.unpack(">HH", packed[place + 5 : place + 9])
            return width, height
        place += 2 + struct.unpack(">H", packed[place + 2 : place + 4])[0]
    return None


def _jpeg2000(packed: bytes, start: int) -> tuple[int, int] | None:
    if len(packed) < start + 24:
        return None
    right, bottom, left, top = struct.unpack(">IIII", packed[start + 8 : start + 24])
    return right - left, bottom - top
