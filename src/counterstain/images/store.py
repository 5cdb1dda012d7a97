"""The tile store: every image of a cohort decoded once into one memory-mapped uint8 array, keyed by what went in."""

import os
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from counterstain.errors import InputError, suggest
from counterstain.images.store_build import build
from counterstain.images.store_check import check_blocks
from counterstain.images.store_files import Recipe, StoreRecord, find_store, locked, read_record
from counterstain.images.tile import FITS
from counterstain.system import usable_cores

__all__ = ["Store", "build_store", "open_store", "read_batch"]


@dataclass(frozen=True, eq=False)
class Store:
    """The tiles of a cohort's images, in the cohort's order without those that were skipped.

    folder:    where it lies; a cache that may be deleted, never part of a run's output
    key:       hash of all that decides the tiles: every image's name and content, tile_px, fit, decoder
    tiles:     (N, tile_px, tile_px, 3) uint8 RGB, memory-mapped, read-only
    image:     (N,) image names, as in the cohort
    set_aside: (image, reason) of the images that cannot be used
    colour:    (N,) bool, whether the image is in colour
    data_hash: SHA-256 over (image name, content) of the N images, in whatever order
    content:   (N,) SHA-256 of each image's file or container row
    size_px:   (N, 2) int64 height and width as decoded, before the fit
    mpp:       (N,) float64 µm per pixel as decoded where the file says it, else NaN
    notes:     (N,) what was done to the image while decoding, "" for nothing
    rebuilt:   "", or why a store that was there had to be made again
    """

    folder: Path
    key: str
    tiles: NDArray[np.uint8]
    image: tuple[str, ...]
    set_aside: tuple[tuple[str, str], ...]
    colour: NDArray[np.bool_]
    data_hash: str
    content: tuple[str, ...]
    size_px: NDArray[np.int64]
    mpp: NDArray[np.float64]
    notes: tuple[str, ...]
    rebuilt: str = ""

    def rows(self, images: Sequence[str]) -> NDArray[np.int64]:
        """Row of each named image in `tiles`, (len(images),) int64.

        Raises:
            InputError: If an image is not in the store.
        """
        try:
            return np.array([self._row[name] for name in images], dtype=np.int64)
        except KeyError as error:
            name = str(error.args[0])
            reason = dict(self.set_aside).get(name)
            why = f"it was skipped: {reason}" if reason else "build the store from a cohort that holds it"
            raise InputError(f"image '{name}' is not in the tile store; {why}") from None

    @cached_property
    def _row(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.image)}

    @cached_property
    def _handle(self) -> int:
        """The tiles' file, open for reading as long as this object lives."""
        handle = os.open(self.folder / "tiles.npy", os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        weakref.finalize(self, os.close, handle)
        return handle


class Images(Protocol):
    """What a store is made of: a table with a column image_path, and the folder that these count from."""

    @property
    def table(self) -> pd.DataFrame: ...

    @property
    def root(self) -> Path: ...


def build_store(
    cohort: Images,
    folder: Path,
    *,
    tile_px: int,
    fit: str = "stretch",
    max_bad: float = 0.05,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Store:
    """The store of the cohort's images under `folder`, opened where it is there already, else built.

    An image whose size and times of change are as recorded is taken as unchanged; the others are hashed again (all of
    them after `forget_times`). The tiles are held against the checksums taken when they were written: a store damaged
    on disk is made again. A build fills a folder under a temporary name and renames it when complete, so that what was
    killed is never taken for finished; a second builder waits for the first and opens what it made. Memory does not
    grow with the cohort.

    Args:
        cohort: what to decode, a Cohort or NewImages; only image_path and root are read.
        folder: of all stores; this one is `folder/<key>`.
        tile_px: side of the tiles, pixels.
        fit: "stretch", "crop" or "exact", see `fit_tile`.
        max_bad: largest share of the images that may be skipped, in [0, 1].
        threads: that decode; None takes one per core.
        progress: called with (images done, images in all).

    Raises:
        InputError: If more images than allowed cannot be used, or a setting is wrong.
    """
    if fit not in FITS:
        raise InputError(f"fit is '{fit}'{suggest(fit, FITS)}")
    if not 16 <= tile_px <= 4096:
        raise InputError(f"tile_px is {tile_px}; it must be from 16 to 4096")
    if not 0 <= max_bad <= 1:
        raise InputError(f"max_bad is {max_bad}; it is a share and must be from 0 to 1")
    images = tuple(str(name) for name in cohort.table["image_path"])
    recipe = Recipe(images=images, root=Path(cohort.root), tile_px=tile_px, fit=fit)
    folder.mkdir(parents=True, exist_ok=True)
    record, damage = _find_whole(folder, recipe)
    if record is None:
        with locked(folder) as alone:
            record, _ = _find_whole(folder, recipe)  # another process may have built it while this one waited
            if record is None:
                record = build(folder, recipe, threads=threads or usable_cores(), progress=progress, alone=alone)
    _check_share(record, len(images), max_bad)
    return replace(_open(record), rebuilt=damage)


def _find_whole(folder: Path, recipe: Recipe) -> tuple[StoreRecord | None, str]:
    """The finished store of these images, or None with what is wrong with the one that is there."""
    record = find_store(folder, recipe)
    if record is None:
        return None, ""
    try:
        check_blocks(record.folder / "tiles.npy", record.blocks)
    except InputError as error:
        return None, str(error).partition(";")[0]
    return record, ""


def open_store(folder: Path) -> Store:
    """The finished store in `folder` (…/<key>), whether or not the images it was made from are still there.

    Raises:
        InputError: If there is no finished store, or its tiles are not as they were written.
    """
    record = read_record(folder)
    check_blocks(folder / "tiles.npy", record.blocks)
    return _open(record)


def read_batch(store: Store, rows: NDArray[np.int64], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """A copy of the tiles in `rows`, (B, tile_px, tile_px, 3) uint8, a new array or `out`.

    Read from the file rather than through the memory map where the system can, so that the process stays small
    however many tiles an epoch touches.

    Args:
        rows: (B,) int in [0, N).
        out: (B, tile_px, tile_px, 3) uint8, C-contiguous.

    Raises:
        IndexError: If a row is out of range.
        ValueError: If `out` has another shape or type.
    """
    rows = np.asarray(rows, dtype=np.int64)
    if rows.size and not 0 <= rows.min() <= rows.max() < len(store.tiles):
        raise IndexError(f"rows must be in [0, {len(store.tiles)})")
    shape = (len(rows), *store.tiles.shape[1:])
    if out is None:
        out = np.empty(shape, dtype=np.uint8)
    elif out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous:
        raise ValueError(f"out must be a C-contiguous uint8 array of shape {shape}")
    if not hasattr(os, "preadv"):
        np.take(store.tiles, rows, axis=0, out=out, mode="clip")
        return out
    tile_bytes = int(np.prod(shape[1:]))
    data_start = (store.folder / "tiles.npy").stat().st_size - len(store.tiles) * tile_bytes
    for tile, row in zip(out, rows.tolist(), strict=True):
        if os.preadv(store._handle, [tile.data], data_start + row * tile_bytes) != tile_bytes:
            raise OSError(f"{store.folder}: the tile store was cut off while in use; delete it and build it again")
    return out


def _open(record: StoreRecord) -> Store:
    tiles = np.load(record.folder / "tiles.npy", mmap_mode="r", allow_pickle=False)
    good = [row for row in record.rows if not row.reason]
    if tiles.shape != (len(good), record.tile_px, record.tile_px, 3) or tiles.dtype != np.uint8:
        raise InputError(f"{record.folder} holds tiles of shape {tiles.shape}; delete that folder; it is rebuilt")
    return Store(
        folder=record.folder,
        key=record.key,
        tiles=tiles,
        image=tuple(row.image_path for row in good),
        set_aside=tuple((row.image_path, row.reason) for row in record.rows if row.reason),
        colour=np.array([row.colour for row in good], dtype=np.bool_),
        data_hash=record.data_hash,
        content=tuple(row.sha256 for row in good),
        size_px=np.array([(row.height, row.width) for row in good], dtype=np.int64).reshape(-1, 2),
        mpp=np.array([row.mpp for row in good], dtype=np.float64),
        notes=tuple(row.notes for row in good),
    )


def _check_share(record: StoreRecord, images: int, max_bad: float) -> None:
    bad = [row for row in record.rows if row.reason]
    if len(bad) > max_bad * images or len(bad) == images:
        most = f"; at most {100 * max_bad:.3g} % may be skipped" if max_bad < 1 else ""
        first = f"first {bad[0].image_path}: {bad[0].reason}" if bad else "the cohort is empty"
        raise InputError(
            f"{len(bad)} of {images} images cannot be read ({100 * len(bad) / max(images, 1):.3g} %{most}): {first}"
        )
