"""The fast way through a plain PNG: Pillow's pixels to the bit, and Pillow's judgement of everything else."""

import io
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from counterstain.images import decode as decoding
from counterstain.images.decode import BadImage, decode_content
from counterstain.images.png import plain_pixels

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
Picture = NDArray[np.uint8]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    rows: bytes, width: int, height: int, *, colour: int = 2, depth: int = 8, interlace: int = 0,
    before: bytes = b"", after: bytes = b"", level: int = 6, wbits: int = 15, piece: int = 1000, tail: bytes = b"",
) -> bytes:  # fmt: skip
    """A PNG of these filtered rows, its data cut into chunks of `piece` bytes."""
    packer = zlib.compressobj(level, zlib.DEFLATED, wbits)
    data = packer.compress(rows) + packer.flush() + tail
    pieces = b"".join(chunk(b"IDAT", data[at : at + piece]) for at in range(0, len(data), piece))
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + before + pieces + after + chunk(b"IEND", b"")


def rows_of(rng: np.random.Generator, width: int, height: int, colour: int, filters: int = 5) -> bytes:
    """Any bytes behind any of the known filters are the rows of some picture; a few levels make them compress."""
    rows = rng.integers(0, rng.choice([3, 17, 256]), (height, 1 + width * CHANNELS[colour]), dtype=np.uint8)
    rows[:, 0] = rng.integers(0, filters, height)
    return rows.tobytes()


def judged(content: bytes) -> tuple[object, ...]:
    """All that the decoder says of a file: its pixels and notes, or why it was refused."""
    try:
        decoded = decode_content(content, "x.png")
    except BadImage as error:
        return (error.reason,)
    return decoded.pixels.tobytes(), decoded.pixels.shape, decoded.notes, decoded.colour, decoded.mpp


def by_pillow(content: bytes) -> tuple[object, ...]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "plain_pixels", lambda image, content: None)
        return judged(content)


def is_fast(content: bytes) -> bool:
    return plain_pixels(PngImagePlugin.PngImageFile(io.BytesIO(content)), content) is not None


@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**32), width=st.integers(16, 80), height=st.integers(16, 80),
    colour=st.sampled_from([0, 2, 6]), level=st.integers(0, 9), wbits=st.sampled_from([9, 12, 15]),
    piece=st.sampled_from([1, 7, 1000, 1 << 20]), scene=st.sampled_from([b"", b"gAMA", b"pHYs", b"sRGB"]),
)  # fmt: skip
def test_plain_files_come_out_as_by_pillow(
    seed: int, width: int, height: int, colour: int, level: int, wbits: int, piece: int, scene: bytes
) -> None:
    bodies = {b"gAMA": struct.pack(">I", 45455), b"pHYs": struct.pack(">IIB", 2_000_000, 2_000_000, 1), b"sRGB": b"\0"}
    before = chunk(scene, bodies[scene]) if scene else b""
    rows = rows_of(np.random.default_rng(seed), width, height, colour)
    content = png(rows, width, height, colour=colour, level=level, wbits=wbits, piece=piece, before=before)
    # A small window is told from one that reaches over all of the data.
    assert is_fast(content) == (1 << wbits >= min(len(rows), 1 << 15))
    found = judged(content)
    assert found == by_pillow(content) and len(found) == 5


@pytest.mark.parametrize(
    ("width", "height", "colour"),
    [(64, 255, 6), (64, 256, 6), (64, 510, 6), (300, 200, 2), (2000, 1500, 2), (16, 16, 0)],
)
def test_rows_of_several_blocks_come_out_as_by_pillow(width: int, height: int, colour: int) -> None:
    """A stored block holds 65,535 bytes: exactly one, one and a bit, exactly two, and more than is kept in memory."""
    content = png(rows_of(np.random.default_rng(0), width, height, colour), width, height, colour=colour, level=1)
    found = judged(content)
    assert is_fast(content) and found == by_pillow(content) and len(found) == 5


def test_threads_do_not_share_their_memory() -> None:
    contents = [png(rows_of(np.random.default_rng(seed), 120, 90, 2), 120, 90) for seed in range(40)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(judged, contents)) == [by_pillow(content) for content in contents]


def test_pixels_stay_when_the_next_image_is_read() -> None:
    first, second = (png(rows_of(np.random.default_rng(seed), 40, 30, 2), 40, 30) for seed in range(2))
    pixels = decode_content(first, "x.png").pixels
    before = pixels.copy()
    decode_content(second, "x.png")
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("odd", ["", "exif", "icc", "transparent", "text"])
def test_files_as_pillow_writes_them(picture: Picture, mode: str, odd: str) -> None:
    exif = Image.Exif()
    exif[274] = 6
    options = {
        "": {},
        "exif": {"exif": exif},
        "icc": {"icc_profile": b"a profile that nobody reads"},
        "transparent": {"transparency": (1, 2, 3) if mode == "RGB" else 1 if mode in ("1", "L", "P", "I;16") else None},
        "text": {"dpi": (25_400, 25_400), "compress_level": 1},
    }[odd]
    image = Image.fromarray(picture).convert("L" if mode == "I;16" else mode)
    stream = io.BytesIO()
    (image.convert("I;16") if mode == "I;16" else image).save(
        stream, "PNG", **{key: value for key, value in options.items() if value is not None}
    )
    content = stream.getvalue()
    found = judged(content)
    assert found == by_pillow(content) and len(found) == 5
    plain = mode in ("L", "RGB", "RGBA") and not (odd == "transparent" and mode != "RGBA")
    assert is_fast(content) == plain
    assert odd != "exif" or found[1] == (64, 48, 3)


def whole(**options: object) -> bytes:
    return png(rows_of(np.random.default_rng(0), 40, 30, 2), 40, 30, **options)  # type: ignore[arg-type]


def with_filter_of_nine() -> bytes:
    rows = bytearray(rows_of(np.random.default_rng(0), 40, 30, 2))
    rows[121 * 7] = 9
    return png(bytes(rows), 40, 30)


def with_wrong_sum(at: int, *, crc: bool) -> bytes:
    """The last bytes of the data hold its Adler-32, those behind them the chunk's CRC; either is off by one bit."""
    content = bytearray(whole(piece=1 << 20))
    end = content.index(b"IEND") - 8  # where the CRC of the one data chunk begins
    content[end + at] ^= 1
    if crc:
        start = content.index(b"IDAT")
        content[end : end + 4] = struct.pack(">I", zlib.crc32(content[start:end]))
    return bytes(content)


ODD: dict[str, Callable[[], bytes]] = {
    "a filter that is not known": with_filter_of_nine,
    "a CRC that is wrong": lambda: with_wrong_sum(0, crc=False),
    "a sum of the data that is wrong": lambda: with_wrong_sum(-1, crc=True),
    "a byte of the data that is wrong": lambda: with_wrong_sum(-90, crc=True),
    "a row too few": lambda: png(rows_of(np.random.default_rng(0), 40, 29, 2), 40, 30),
    "a row too many": lambda: png(rows_of(np.random.default_rng(0), 40, 31, 2), 40, 30),
    "bytes behind the end": lambda: whole() + b"more",
    "no end": lambda: whole()[:-12],
    "text behind the data": lambda: whole(after=chunk(b"tEXt", b"a\0b")),
    "an orientation behind the data": lambda: whole(
        after=chunk(b"eXIf", b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0")
    ),
    "data in two places": lambda: whole(after=chunk(b"tEXt", b"a\0b") + chunk(b"IDAT", b"")),
    "no data": lambda: png(b"", 40, 30),
    "16 bits": lambda: png(rows_of(np.random.default_rng(0), 80, 30, 2), 40, 30, depth=16),
    "interlaced rows": lambda: png(rows_of(np.random.default_rng(0), 40, 60, 2, filters=1), 40, 30, interlace=1),
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_is_left_to_pillow(name: str) -> None:
    content = ODD[name]()
    assert not is_fast(content)
    assert judged(content) == by_pillow(content)


def test_an_orientation_behind_the_data_is_carried_out() -> None:
    assert "EXIF orientation 6 applied" in decode_content(ODD["an orientation behind the data"](), "x.png").notes


@settings(max_examples=200)
@given(
    seed=st.integers(0, 2**32), cut=st.booleans(), mend=st.booleans(), where=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7), piece=st.sampled_from([100, 1 << 20]),
)  # fmt: skip
def test_damaged_files_are_judged_as_by_pillow(
    seed: int, cut: bool, mend: bool, where: float, bit: int, piece: int
) -> None:
    """Cut off, or one bit turned; with `mend`, the chunk's CRC says that all is well."""
    content = bytearray(png(rows_of(np.random.default_rng(seed), 24, 20, 2), 24, 20, piece=piece))
    at = int(where * len(content))
    if cut:
        del content[at:]
    else:
        content[at] ^= 1 << bit
        if mend:
            place = 8
            while place < len(content):
                end = place + 8 + struct.unpack(">I", content[place : place + 4])[0]
                content[end : end + 4] = struct.pack(">I", zlib.crc32(content[place + 4 : end]))
                place = end + 4
    assert judged(bytes(content)) == by_pillow(bytes(content))
