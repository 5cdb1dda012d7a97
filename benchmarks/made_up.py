"""Tiles and files for measuring: what is in them plays no part, only how many and how large they are."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from counterstain.images.store import Store, open_store
from counterstain.images.store_check import block_sums
from counterstain.images.store_files import ImageRow, StoreRecord, data_hash_of, key_of, write_record

__all__ = ["make_tiles", "write_pngs", "write_store"]


def make_tiles(count: int, tile_px: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """(count, tile_px, tile_px, 3) blurred noise."""
    rng = np.random.default_rng(seed)
    out = np.empty((count, tile_px, tile_px, 3), np.uint8)
    for tile in out:
        cv2.GaussianBlur(rng.integers(0, 256, tile.shape, dtype=np.uint8), (0, 0), 2, dst=tile)
    return out


def write_store(folder: Path, count: int, tile_px: int) -> Store:
    """A finished tile store of `count` tiles in the project's own format, written straight away; 64 tiles, repeated."""
    folder.mkdir(parents=True)
    some = make_tiles(64, tile_px)
    tiles = np.lib.format.open_memmap(
        folder / "tiles.npy", mode="w+", dtype=np.uint8, shape=(count, tile_px, tile_px, 3)
    )
    for start in range(0, count, len(some)):
        tiles[start : start + len(some)] = some[: count - start]
    tiles.flush()
    del tiles
    rows = tuple(
        ImageRow(f"{number:06d}.png", f"{number:064x}", 0, 0, tile_px, tile_px, True) for number in range(count)
    )
    sums = tuple(block_sums(folder / "tiles.npy"))
    write_record(
        folder, StoreRecord(folder, key_of("made up", rows), "made up", tile_px, rows, data_hash_of(rows), sums)
    )
    return open_store(folder)


def write_pngs(folder: Path, count: int, tile_px: int, *, patients: int = 20) -> None:
    """`count` PNG files in two class folders, their patient in their name; every patient has one class."""
    for number, tile in enumerate(make_tiles(count, tile_px)):
        patient = number % patients
        place = folder / ("benign", "malignant")[patient % 2]
        place.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / f"P{patient:02d}_{number:05d}.png"), tile)
