"""Images as bytes, good and forged, and what the decoder says in refusing one: for the tests beside this file."""

import io
import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from counterstain.images.decode import BadImage, decode_content


def saved(pixels: NDArray[np.generic] | Image.Image, kind: str, **options: object) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png_of(width: int, height: int, *, depth: int = 8, colour: int = 2, data: bytes = b"", extra: bytes = b"") -> bytes:
    """A PNG by hand, whose header may promise what its data does not hold."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    )


def refusal(content: bytes, name: str = "x.png") -> str:
    with pytest.raises(BadImage) as caught:
        decode_content(content, name)
    message = str(caught.value)
    assert message == f"{name}: {caught.value.reason}" and "\n" not in message and len(message) < 400
    return message
