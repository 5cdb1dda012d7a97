"""The contact sheet's layout."""

import numpy as np
import pytest

from counterstain.images.augment import expand_batch, image_keys
from counterstain.images.augmentation import Augmentation
from counterstain.images.contact_sheet import contact_sheet


@pytest.mark.parametrize(("settings", "columns"), [(Augmentation(), 8), (Augmentation(mode="none"), 1)])
def test_a_row_a_tile_and_a_column_a_transformation(settings: Augmentation, columns: int) -> None:
    tiles = np.random.default_rng(0).integers(0, 200, (3, 64, 64, 3), dtype=np.uint8)
    sheet = contact_sheet(tiles, settings, tile_px=64)
    assert sheet.shape == (23 + 3 * 70, 6 + columns * 70, 3) and sheet.dtype == np.uint8
    assert all(np.array_equal(sheet[23 + 70 * row : 87 + 70 * row, 6:70], tile) for row, tile in enumerate(tiles))
    captions = sheet[:23]
    assert all((captions[:, 6 + 70 * column : 70 + 70 * column] < 128).any() for column in range(columns))


def test_it_shows_what_training_makes_of_these_images() -> None:
    tiles = np.random.default_rng(0).integers(0, 200, (2, 64, 64, 3), dtype=np.uint8)
    keys, settings = image_keys(["a.png", "b.png"]), Augmentation(mode="expand")
    sheet = contact_sheet(tiles, settings, keys=keys, seed=5, tile_px=64)
    rotated = expand_batch(tiles, keys, np.full(2, 3), settings=settings, seed=5)
    assert np.array_equal(sheet[23:87, 6 + 3 * 70 : 70 + 3 * 70], rotated[0])


def test_it_is_smaller_or_larger_than_the_tiles() -> None:
    tiles = np.zeros((1, 30, 60, 3), np.uint8)
    assert contact_sheet(tiles, Augmentation(), tile_px=20).shape == (23 + 16, 6 + 8 * 26, 3)
    assert contact_sheet(tiles, Augmentation(), tile_px=120, draws=1).shape == (24 + 66, 6 + 7 * 126, 3)
