"""A pyramid of JPEG tiles in one TIFF, written strip by strip: memory does not grow with the slide's height."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["FILE_TILE_PX", "level_sizes", "write_pyramid"]

Pixels = NDArray[np.uint8]

FILE_TILE_PX = 256
_LAST_LEVEL_PX = 512  # no further level below this
_BIG_PIXELS = 1 << 31  # beyond this the file may not fit into 4 GB


def level_sizes(size_px: tuple[int, int], step: int) -> tuple[tuple[int, int], ...]:
    """(width, height) of each level: a level's pixel is the mean of step x step pixels of the finer level.

    What is left over at the right and the bottom is left out, as scanners do.
    """
    sizes = [size_px]
    while max(sizes[-1]) > _LAST_LEVEL_PX and min(sizes[-1]) >= step:
        width, height = sizes[-1]
        sizes.append((width // step, height // step))
    return tuple(sizes)


@dataclass(frozen=True)
class _Level:
    """A level that is not written yet: rows that wait for a whole row of tiles, and the coded tiles, on the disk."""

    coded: IO[bytes]
    lengths: list[int] = field(default_factory=list)
    waiting: list[Pixels] = field(default_factory=list)


def write_pyramid(
    path: Path,
    strips: Iterable[Pixels],
    size_px: tuple[int, int],
    *,
    step: int,
    quality: int,
    description: str | None,
    resolution_mpp: float | None,
    as_svs: bool = False,
) -> None:
    """Write a tiled, pyramidal TIFF of JPEG tiles that OpenSlide and tifffile read.

    Args:
        path: Where to.
        strips: (h, W, 3) uint8 RGB from top to bottom; every h but the last is a multiple of 256.
        size_px: Width and height.
        step: From one level to the next, 2 or 4.
        quality: Of the JPEG tiles, 1..100; colour is stored at half the resolution.
        description: The first level's text, by which readers tell one vendor's files from another's.
        resolution_mpp: µm per px at level 0, for TIFF's resolution tags; None for a file without.
        as_svs: Lay the file out as an .svs: a thumbnail behind the first level, no level marked as a reduced one.
    """
    import tifffile

    sizes = level_sizes(size_px, step)
    with (
        ExitStack() as stack,
        tifffile.TiffWriter(path, bigtiff=size_px[0] * size_px[1] > _BIG_PIXELS) as file,
    ):
        levels = [_Level(stack.enter_context(tempfile.TemporaryFile())) for _ in sizes[1:]]
        for number, (width, height) in enumerate(sizes):
            tiles = _first_level(strips, levels, step, quality) if number == 0 else _stored(levels[number - 1])
            tags: dict[str, Any] = {"resolutionunit": "NONE"}
            if resolution_mpp is not None:
                per_cm = 1e4 / resolution_mpp * width / size_px[0]
                tags = {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}
            file.write(
                tiles, shape=(height, width, 3), dtype="uint8", tile=(FILE_TILE_PX, FILE_TILE_PX), compression="jpeg",
                photometric="ycbcr", subsampling=(2, 2), subfiletype=int(number > 0 and not as_svs), metadata=None,
                software="Counterstain phantom", description=description if number == 0 else None, **tags,
            )  # fmt: skip
            if number == 0:
                _finish(levels, step, quality)
                if as_svs and levels:
                    _write_thumbnail(file, levels[-1], sizes[-1], description)


def _write_thumbnail(file: Any, level: _Level, size_px: tuple[int, int], description: str | None) -> None:
    """The smallest level once more, as one strip: readers tell a thumbnail by its not being tiled."""
    (width, height), across = size_px, -(-size_px[0] // FILE_TILE_PX)
    tiles = [np.asarray(cv2.imdecode(np.frombuffer(code, np.uint8), cv2.IMREAD_COLOR)) for code in _stored(level)]
    rows = [np.concatenate(tiles[first : first + across], axis=1) for first in range(0, len(tiles), across)]
    picture = np.ascontiguousarray(np.concatenate(rows)[:height, :width])
    _, code = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
    file.write(
        iter([code.tobytes()]), shape=(height, width, 3), dtype="uint8", rowsperstrip=height, compression="jpeg",
        photometric="ycbcr", subsampling=(2, 2), metadata=None, software=False, description=description,
    )  # fmt: skip


def _first_level(strips: Iterable[Pixels], levels: list[_Level], step: int, quality: int) -> Iterator[bytes]:
    """The coded tiles of level 0, one after the other; those of the other levels are stored on the way."""
    for strip in strips:
        for top in range(0, len(strip), FILE_TILE_PX):
            row = strip[top : top + FILE_TILE_PX]
            # First of all: what reads the tiles stops at the last one, and does not come back.
            _reduce(row, levels, step, quality)
            yield from _code(row, quality)


def _finish(levels: list[_Level], step: int, quality: int) -> None:
    """Store the rows that fill no whole row of tiles."""
    for number, level in enumerate(levels):
        if level.waiting:
            _store(np.concatenate(level.waiting), level, levels[number + 1 :], step, quality)


def _reduce(row: Pixels, levels: list[_Level], step: int, quality: int) -> None:
    """Hand the means of a row of tiles to the next level, which is stored as soon as it has a row of tiles."""
    height, width = row.shape[0] // step, row.shape[1] // step
    if not levels or height == 0:
        return
    level = levels[0]
    smaller = cv2.resize(row[: height * step, : width * step], (width, height), interpolation=cv2.INTER_AREA)
    level.waiting.append(np.asarray(smaller, dtype=np.uint8))
    if sum(len(part) for part in level.waiting) == FILE_TILE_PX:
        merged = np.concatenate(level.waiting)
        level.waiting.clear()
        _store(merged, level, levels[1:], step, quality)


def _store(row: Pixels, level: _Level, below: list[_Level], step: int, quality: int) -> None:
    for code in _code(row, quality):
        level.coded.write(code)
        level.lengths.append(len(code))
    _reduce(row, below, step, quality)


def _stored(level: _Level) -> Iterator[bytes]:
    level.coded.seek(0)
    for length in level.lengths:
        yield level.coded.read(length)


def _code(row: Pixels, quality: int) -> Iterator[bytes]:
    """JPEG bytes of each tile of a row; a tile that hangs over the edge is filled up with its last pixels."""
    for left in range(0, row.shape[1], FILE_TILE_PX):
        tile = row[:, left : left + FILE_TILE_PX]
        missing = [(0, FILE_TILE_PX - tile.shape[0]), (0, FILE_TILE_PX - tile.shape[1]), (0, 0)]
        padded = np.pad(tile, missing, mode="edge") if any(after for _, after in missing) else tile
        bgr = cv2.cvtColor(np.ascontiguousarray(padded), cv2.COLOR_RGB2BGR)
        _, code = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
        yield code.tobytes()
