"""Small files that would unpack to huge images are refused by what they say of themselves, without being unpacked."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from decode_images import png_of, refusal, saved
from numpy.typing import NDArray

from counterstain.images.decode import BadImage, decode, decode_content

Picture = NDArray[np.uint8]
Tiff = Callable[..., bytes]


@pytest.mark.parametrize(
    ("width", "height", "depth", "colour"),
    [(30_000, 30_000, 8, 2), (2**31 - 1, 2**31 - 1, 8, 2), (10_000, 10_000, 1, 0), (100_000, 80_000, 8, 6)],
)
def test_png_bomb_is_refused_by_its_header(width: int, height: int, depth: int, colour: int) -> None:
    content = png_of(width, height, depth=depth, colour=colour, data=bytes(1000))
    before = peak_rss_kb(reset=True)
    message = refusal(content)
    assert peak_rss_kb() - before < 50_000
    assert "50 million" in message and f"{width:,} × {height:,}" in message


def peak_rss_kb(reset: bool = False) -> int:
    """Peak memory of this process, kB; 0 where the system does not say."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return int(status.split("VmHWM:")[1].split()[0])


def test_bomb_in_jpeg_tiff_and_bmp_headers_is_refused(picture: Picture, tiff: Tiff) -> None:
    jpeg = bytearray(saved(picture, "JPEG"))
    start = jpeg.index(b"\xff\xc0")
    jpeg[start + 5 : start + 9] = struct.pack(">HH", 60_000, 60_000)
    bmp = bytearray(saved(picture, "BMP"))
    bmp[18:26] = struct.pack("<ii", 30_000, 30_000)
    large = bytearray(tiff(picture))
    for tag, value in ((256, 100_000), (257, 80_000)):
        at = large.index(struct.pack("<HHI", tag, 4, 1)) + 8
        large[at : at + 4] = struct.pack("<I", value)
    for content in (jpeg, bmp, large):
        assert "50 million" in refusal(bytes(content))


def test_limit_is_an_argument(picture: Picture) -> None:
    content = saved(picture, "PNG")
    assert decode_content(content, "x.png", max_pixels=48 * 64).pixels.shape == (48, 64, 3)
    with pytest.raises(BadImage, match="is 64 × 48 px, more than"):
        decode_content(content, "x.png", max_pixels=48 * 64 - 1)


def test_huge_sparse_bigtiff_is_refused_without_being_read(tmp_path: Path, tiff: Tiff) -> None:
    content = bytearray(tiff(np.zeros((16, 16, 3), np.uint8), big=True))
    for tag, value in ((256, 100_000), (257, 80_000)):
        at = content.index(struct.pack("<HHQ", tag, 4, 1)) + 12
        content[at : at + 4] = struct.pack("<I", value)
    with (tmp_path / "slide.tif").open("wb") as stream:
        stream.write(content)
        stream.truncate(24_000_000_000)
    with pytest.raises(BadImage, match=r"100,000 × 80,000 px, more than .* cut a slide into tiles"):
        decode("slide.tif", root=tmp_path)


def test_file_larger_than_its_pixels_can_take_is_refused_without_being_read(tmp_path: Path, picture: Picture) -> None:
    with (tmp_path / "x.png").open("wb") as stream:
        stream.write(saved(picture, "PNG"))
        stream.truncate(500_000_000)
    with pytest.raises(BadImage, match="is a file of 500,000,000 bytes"):
        decode("x.png", root=tmp_path)


def test_text_bomb_in_png_is_refused(picture: Picture) -> None:
    text = b"c\0\0" + zlib.compress(bytes(50_000_000), 9)
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    rows = b"".join(b"\0" + row.tobytes() for row in picture)
    content = png_of(64, 48, data=rows, extra=chunk)
    try:  # refused, or read with the text passed over: never unpacked
        pixels = decode_content(content, "x.png").pixels
    except BadImage:
        return
    assert np.array_equal(pixels, picture)
