"""What a build of a tile store has done so far, so that the next one resumes there after a kill."""

import json
import zlib
from dataclasses import astuple, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from counterstain.images.store_files import ImageRow, Recipe, row_as_now

__all__ = ["TILES", "append", "forget", "resume"]

TILES = "tiles.part"
_DONE = "done.jsonl"


def append(building: Path, rows: list[ImageRow], tiles: NDArray[np.uint8]) -> None:
    """Say that these images' tiles have been written; called after them."""
    line = {"rows": [astuple(row) for row in rows], "tiles": len(tiles), "crc": zlib.crc32(tiles.data)}
    with (building / _DONE).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


def resume(building: Path, recipe: Recipe, header_bytes: int) -> tuple[list[ImageRow], int]:
    """Rows of the images that are done, and how many tiles they have; the files are cut off behind them.

    A piece counts if its images are as they were (by size and times of change, else by content) and its tiles are as
    they were written. The first that doesn't ends it.

    Args:
        building: the folder of the build, empty for a new one.
        recipe: what the store is to hold.
        header_bytes: length of what precedes the tiles.
    """
    rows: list[ImageRow] = []
    count = sound = 0
    stats: dict[str, tuple[int, int, int]] = {}  # by file: a container's thousands of rows are one
    tile_bytes = 3 * recipe.tile_px**2
    journal, tiles = building / _DONE, building / TILES
    if not (journal.is_file() and tiles.is_file()):
        forget(building)
        return rows, count
    with journal.open("rb") as lines, tiles.open("rb") as stream:
        stream.seek(header_bytes)
        for line in lines:
            found = _piece(line, recipe, len(rows), stats)
            if found is None:
                break
            own, many, crc = found
            content = stream.read(many * tile_bytes)
            if len(content) != many * tile_bytes or zlib.crc32(content) != crc:
                break
            rows += own
            count += many
            sound += len(line)
    with journal.open("rb+") as stream:
        stream.truncate(sound)
    with tiles.open("rb+") as stream:
        stream.truncate(header_bytes + count * tile_bytes)
    return rows, count


def forget(building: Path) -> None:
    """Remove the journal of a build that is complete."""
    (building / _DONE).unlink(missing_ok=True)


def _piece(
    line: bytes, recipe: Recipe, first: int, stats: dict[str, tuple[int, int, int]]
) -> tuple[list[ImageRow], int, int] | None:
    """The rows, number of tiles and checksum in a line, if it is whole and its images are as they were."""
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
        rows = [ImageRow(**dict(zip(_FIELDS, values, strict=True))) for values in record["rows"]]
        many, crc = int(record["tiles"]), int(record["crc"])
    except (ValueError, KeyError, TypeError):
        return None
    now = [row_as_now(recipe, row, stats) for row in rows]
    names = list(recipe.images[first : first + len(rows)])
    same = [row.image_path for row in rows] == names and [row.sha256 for row in now] == [row.sha256 for row in rows]
    return (now, many, crc) if same and rows and many == sum(not row.reason for row in rows) else None


_FIELDS = [field.name for field in fields(ImageRow)]
