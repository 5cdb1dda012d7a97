"""The contact sheet of a study: what each transformation does to its own images."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from counterstain.cohort.cohort import Cohort
from counterstain.files import write_with
from counterstain.images.augment import image_keys
from counterstain.images.augmentation import Augmentation
from counterstain.images.contact_sheet import contact_sheet
from counterstain.images.decode import decode
from counterstain.images.tile import fit_tile
from counterstain.learning.dataset import TileDataset

__all__ = ["save_sheet", "sheet_of", "write_sheet"]

ROWS = 6


def _choose(cohort: Cohort, rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Up to `count` of these rows, the classes in turn: the same ones whenever it is asked."""
    label = cohort.label_index[rows]
    per_class = -(-count // len(cohort.classes))
    turns = [rows[label == index][:per_class] for index in range(len(cohort.classes))]
    return np.concatenate(turns)[:count].astype(np.int64)


def sheet_of(material: TileDataset, rows: NDArray[np.int64], path: Path, *, settings: Augmentation) -> None:
    """Draw the contact sheet of a study's training images from its store."""
    names = [material.cohort.image[row] for row in _choose(material.cohort, rows, ROWS)]
    tiles = np.asarray(material.tiles.tiles[material.tiles.rows(names)])
    save_sheet(path, contact_sheet(tiles, settings, keys=image_keys(names)))


def write_sheet(cohort: Cohort, path: Path, *, tile_px: int, count: int = ROWS, seed: int = 0) -> None:
    """Draw the contact sheet of a cohort's images with the default augmentation, decoding only those shown."""
    names = [cohort.image[row] for row in _choose(cohort, np.arange(len(cohort)), count)]
    tiles = np.stack(
        [fit_tile(decode(name, root=cohort.root).pixels, name, tile_px=tile_px, fit="stretch") for name in names]
    )
    save_sheet(path, contact_sheet(tiles, Augmentation(), keys=image_keys(names), seed=seed))


def save_sheet(path: Path, sheet: NDArray[np.uint8]) -> None:
    """Write a sheet as PNG."""
    write_with(path, lambda temporary: Image.fromarray(sheet).save(temporary, format="PNG"))
