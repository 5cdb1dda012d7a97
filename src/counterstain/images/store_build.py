"""Build a tile store: read, hash, decode and resize on threads, write in order, rename when complete.

What was stopped or killed is resumed: a line in a journal says which images are done and what their tiles are.
"""

import io
import os
import secrets
import shutil
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from counterstain.cohort.cohort import container
from counterstain.errors import InputError
from counterstain.files import refusal
from counterstain.images import store_journal
from counterstain.images.decode import decode_content, hash_content, read_content
from counterstain.images.opencv_threads import one_opencv_thread
from counterstain.images.source import BadImage
from counterstain.images.store_check import block_sums, check_blocks
from counterstain.images.store_files import (
    BUILDING,
    ImageRow,
    Recipe,
    StoreRecord,
    data_hash_of,
    key_of,
    read_record,
    stat_file,
    steady,
    sweep,
    write_record,
)
from counterstain.images.tile import fit_tile

__all__ = ["Recipe", "build", "is_whole"]

_CHUNK_BYTES = 1 << 20  # of tiles that one thread makes at a time: few, so that all threads end at about the same time
_CHUNK_IMAGES = 32

Chunk = tuple[list[ImageRow], NDArray[np.uint8]]


def build(
    folder: Path,
    recipe: Recipe,
    *,
    threads: int,
    progress: Callable[[int, int], None] | None,
    alone: bool,
) -> StoreRecord:
    """Decode all images into a new store under `folder`, and give its record.

    Args:
        folder: of all stores.
        recipe: what to hold.
        threads: that decode.
        progress: called with (images done, images in all).
        alone: whether the folder's lock is held, so that whatever lies half-built was left by a killed build.
    """
    digest = recipe.digest()
    # Only who holds the lock may go on with what a killed build left, which has a name that can be found again.
    building = folder / f"{BUILDING}{digest[:16] if alone else secrets.token_hex(8)}"
    if alone:
        sweep(folder, keep=building)
    building.mkdir(exist_ok=alone)
    stopped = False
    try:
        # Pillow warns of odd metadata on stderr, once per process and without the file's name: of no use to anyone.
        with warnings.catch_warnings(), one_opencv_thread():  # images are what is shared among threads
            warnings.filterwarnings("ignore", module=r"PIL\.")
            rows = _write_tiles(building, recipe, threads, progress)
        part = building / store_journal.TILES
        sums = tuple(block_sums(part, threads))
        record = StoreRecord(building, key_of(digest, rows), digest, recipe.tile_px, rows, data_hash_of(rows), sums)
        write_record(building, record)
        part.rename(building / "tiles.npy")
        store_journal.forget(building)
        return _put_in_place(record, folder / record.key)
    except KeyboardInterrupt:
        stopped = alone
        raise
    except OSError as error:
        raise InputError(refusal(error, building / "tiles.npy")) from error
    finally:
        if not stopped:
            shutil.rmtree(building, ignore_errors=True)


def _put_in_place(record: StoreRecord, place: Path) -> StoreRecord:
    """Rename the finished folder; where another builder was faster, take what it made, unless that is damaged."""
    try:
        record.folder.rename(place)
    except OSError:
        if not place.is_dir():
            raise
        if is_whole(place):
            return read_record(place)
        shutil.rmtree(place)
        record.folder.rename(place)
    return replace(record, folder=place)


def is_whole(folder: Path) -> bool:
    """Whether a finished store lies in the folder, with every block of its tiles as it was written."""
    try:
        check_blocks(folder / "tiles.npy", read_record(folder).blocks)
    except InputError:
        return False
    return True


def _write_tiles(
    building: Path, recipe: Recipe, threads: int, progress: Callable[[int, int], None] | None
) -> tuple[ImageRow, ...]:
    """Fill the part with the tiles of all usable images, in order, and give the rows of all images."""
    opening = _npy_header(len(recipe.images), recipe.tile_px)
    rows, count = store_journal.resume(building, recipe, len(opening))
    part = building / store_journal.TILES
    with part.open("rb+" if rows else "wb") as stream:
        stream.write(opening)
        stream.seek(0, io.SEEK_END)
        for chunk_rows, tiles in _chunks(recipe, threads, len(rows)):
            rows.extend(chunk_rows)
            count += len(tiles)
            stream.write(tiles.data)
            stream.flush()
            store_journal.append(building, chunk_rows, tiles)
            if progress is not None:
                progress(len(rows), len(recipe.images))
        header = _npy_header(count, recipe.tile_px)
        if len(header) != len(opening):  # NumPy leaves room for 21 digits, so that the count may change in place
            raise RuntimeError(f"a .npy header of {len(header)} bytes does not fit in {len(opening)}")
        stream.seek(0)
        stream.write(header)
        stream.flush()
        os.fsync(stream.fileno())
    return tuple(rows)


def _npy_header(count: int, tile_px: int) -> bytes:
    stream = io.BytesIO()
    layout = {"descr": "|u1", "fortran_order": False, "shape": (count, tile_px, tile_px, 3)}
    np.lib.format.write_array_header_1_0(stream, layout)
    return stream.getvalue()


def _chunks(recipe: Recipe, threads: int, first: int) -> Iterator[Chunk]:
    """Rows and tiles of the images from `first` on, a chunk at a time; no more than a few are ever in memory."""
    size = max(1, min(_CHUNK_IMAGES, _CHUNK_BYTES // (recipe.tile_px**2 * 3)))
    waiting: deque[Future[Chunk]] = deque()
    with ThreadPoolExecutor(threads, "decode") as pool:
        try:
            for start in range(first, len(recipe.images), size):
                waiting.append(pool.submit(_make_chunk, recipe, recipe.images[start : start + size]))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for chunk in waiting:  # stopped half-way: by Ctrl-C, or by an error in another chunk
                chunk.cancel()


def _make_chunk(recipe: Recipe, images: tuple[str, ...]) -> Chunk:
    tiles = np.empty((len(images), recipe.tile_px, recipe.tile_px, 3), dtype=np.uint8)
    rows, good = [], 0
    for image in images:
        row, tile = _make_tile(recipe, image)
        rows.append(row)
        if tile is not None:
            tiles[good] = tile
            good += 1
    return rows, tiles[:good]


def _make_tile(recipe: Recipe, image: str) -> tuple[ImageRow, NDArray[np.uint8] | None]:
    size, mtime_ns, ctime_ns = stat_file(
        recipe.root, container(image)[0]
    )  # before reading, so that a change while reading shows later
    row = ImageRow(image, "", size, steady(mtime_ns), ctime_ns=steady(ctime_ns))
    try:
        content = read_content(image, root=recipe.root)
        row = replace(row, sha256=hash_content(content))
        decoded = decode_content(content, image)
        tile = fit_tile(decoded.pixels, image, tile_px=recipe.tile_px, fit=recipe.fit)
    except BadImage as error:
        return replace(row, reason=error.reason), None
    height, width = decoded.pixels.shape[:2]
    mpp = float("nan") if decoded.mpp is None else decoded.mpp
    notes = "; ".join(decoded.notes)
    return replace(row, height=height, width=width, colour=decoded.colour, mpp=mpp, notes=notes), tile
