"""Images and cohorts that the tests of this room share."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import stain_tiles
from numpy.typing import NDArray
from PIL import Image

from counterstain.images import store_build

TYPES = {"u2": (16, 1), "u1": (8, 1), "f4": (32, 3), "i2": (16, 2), "u4": (32, 1), "f2": (16, 3)}


@dataclass(frozen=True)
class Images:
    """All that a store asks of a cohort."""

    table: pd.DataFrame
    root: Path


@pytest.fixture(scope="session")
def picture() -> NDArray[np.uint8]:
    """A tile-like picture (48, 64, 3) with a different look from every side: pink and violet blobs on a ramp."""
    y, x = np.mgrid[0:48, 0:64]
    red = 150 + 80 * np.sin(x / 7) * np.cos(y / 11)
    green = 60 + 2 * x + y
    blue = 120 + 2 * y + 30 * np.sin((x + 2 * y) / 9)
    return np.clip(np.stack([red, green, blue], axis=2), 0, 255).astype(np.uint8)


@pytest.fixture
def images(tmp_path: Path, picture: NDArray[np.uint8]) -> Callable[[int], Images]:
    """A folder of so many different PNG images, as a cohort."""

    def make(count: int) -> Images:
        root = tmp_path / "images"
        root.mkdir(exist_ok=True)
        names = [f"{number:03d}.png" for number in range(count)]
        for number, name in enumerate(names):
            Image.fromarray(np.roll(picture, number, axis=1)).save(root / name)
        return Images(pd.DataFrame({"image_path": names}), root)

    return make


@pytest.fixture(scope="session")
def tiff() -> Callable[..., bytes]:
    """Bytes of an uncompressed one-strip TIFF of any type and channel count, for what Pillow cannot write."""
    return _tiff


def _tiff(array: NDArray[np.generic], *, photometric: int | None = None, big: bool = False) -> bytes:
    pixels = np.ascontiguousarray(array[:, :, None] if array.ndim == 2 else array)
    height, width, channels = pixels.shape
    bits, sample = TYPES[pixels.dtype.str[1:]]
    if photometric is None:
        photometric = 2 if channels in (3, 4) else 1
    tags: list[tuple[int, int, Sequence[int]]] = [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [bits] * channels),
        (259, 3, [1]),
        (262, 3, [photometric]),
        (273, 4, [0]),
        (277, 3, [channels]),
        (278, 4, [height]),
        (279, 4, [pixels.nbytes]),
        (339, 3, [sample] * channels),
    ]
    if channels > 3:
        tags.insert(9, (338, 3, [0] * (channels - 3)))
    return _tiff_file(tags, pixels.astype(pixels.dtype.newbyteorder("<")).tobytes(), big)


def _tiff_file(tags: list[tuple[int, int, Sequence[int]]], data: bytes, big: bool) -> bytes:
    head, room = (16, 8) if big else (8, 4)
    entry = 20 if big else 12
    extra_at = head + (8 if big else 2) + entry * len(tags) + room
    packed = {tag: struct.pack(f"<{len(values)}{'H' if kind == 3 else 'I'}", *values) for tag, kind, values in tags}
    data_at = extra_at + sum(len(value) for value in packed.values() if len(value) > room)
    packed[273] = struct.pack("<I", data_at)
    directory, extra = b"", b""
    for tag, kind, values in tags:
        value = packed[tag]
        if len(value) > room:
            value, extra = struct.pack("<Q" if big else "<I", extra_at + len(extra)), extra + value
        directory += struct.pack("<HHQ" if big else "<HHI", tag, kind, len(values)) + value.ljust(room, b"\0")
    if big:
        start = struct.pack("<2sHHHQ", b"II", 43, 8, 0, head) + struct.pack("<Q", len(tags))
    else:
        start = struct.pack("<2sHI", b"II", 42, head) + struct.pack("<H", len(tags))
    return start + directory + bytes(room) + extra + data


@pytest.fixture(scope="session")
def made() -> Any:
    """The maker of stained tiles (stain_tiles.py): mixed_tile(…), awkward_tiles(), phantoms(count), degrees(…)."""
    return stain_tiles


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every image that is decoded."""
    seen: list[int] = []
    make_tile = store_build._make_tile

    def counted(*arguments: Any) -> Any:
        seen.append(1)
        return make_tile(*arguments)

    monkeypatch.setattr(store_build, "_make_tile", counted)
    return seen
