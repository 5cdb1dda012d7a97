"""Equalising tissue: glass keeps its bytes, tissue is spread evenly, and the tensor form has the same bytes."""

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as few
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from counterstain.images.augment import augment_batch, equalise, image_keys
from counterstain.images.augment_gpu import augment_on_device, equalise_luminance
from counterstain.images.augmentation import Augmentation
from counterstain.images.stain_equalisation import equalise_tissue
from counterstain.images.tensor import to_tensor

Tiles = NDArray[np.uint8]


def luma(tile: Tiles) -> Tiles:
    return np.asarray(cv2.cvtColor(tile, cv2.COLOR_RGB2YCrCb)[:, :, 0], dtype=np.uint8)


@pytest.fixture
def half_glass(made: Any) -> tuple[Tiles, NDArray[np.bool_]]:
    """A tile whose left half is empty glass with noise, and which pixels those are."""
    tile = made.mixed_tile(np.stack([made.VIOLET, made.PINK]), side=128)
    tile[:, :64] = made.awkward_tiles(128)["glass with noise"][:, :64]
    return tile, np.broadcast_to(np.arange(128) < 64, (128, 128))


def test_glass_keeps_its_bytes(half_glass: tuple[Tiles, NDArray[np.bool_]]) -> None:
    tile, glass = half_glass
    made = equalise_tissue(tile)
    assert np.array_equal(made[glass], tile[glass])
    assert equalise(tile)[glass].std() > 3 * tile[glass].std()  # what happens to it otherwise


def test_tissue_is_spread_evenly_up_to_its_brightest(half_glass: tuple[Tiles, NDArray[np.bool_]]) -> None:
    tile, glass = half_glass
    before, after = luma(tile)[~glass].astype(float), luma(equalise_tissue(tile))[~glass].astype(float)
    assert abs(after.max() - before.max()) <= 3 and after.min() <= 10  # dark colours are clipped
    levels = np.sort(after) / before.max()
    assert np.abs(levels - np.linspace(0, 1, len(levels))).max() < 0.06  # an even cumulative distribution
    assert np.abs(np.sort(before) / before.max() - np.linspace(0, 1, len(levels))).max() > 0.2


def test_the_table_is_a_sum_by_hand() -> None:
    """Six grey pixels of luminance 10, 10, 20, 30, 30, 50 become 0, 0, 1/4, 3/4, 3/4, 4/4 of 50, rounded half up."""
    values = np.array([[10, 10, 20], [30, 30, 50]], np.uint8)
    made = equalise_tissue(np.repeat(values[:, :, None], 3, axis=2))
    assert made[:, :, 1].tolist() == [[0, 0, 13], [38, 38, 50]]


@pytest.mark.parametrize("name", ["white", "glass with noise", "one tissue pixel", "one colour", "black"])
def test_blank_tiles_and_flat_ones_stay_as_they_are(name: str, made: Any) -> None:
    tile = made.awkward_tiles()[name]
    assert np.array_equal(equalise_tissue(tile), tile)


@given(tile=arrays(np.uint8, (16, 17, 3)))
@few(max_examples=60)
def test_the_tensor_form_has_the_same_bytes(tile: Tiles) -> None:
    made = equalise_tissue(tile)
    assert made.shape == tile.shape and made.dtype == np.uint8
    assert np.array_equal(equalise_luminance(torch.from_numpy(tile[None]), of_tissue=True)[0].numpy(), made)


def test_both_augmentations_offer_it(made: Any) -> None:
    tiles = np.concatenate([made.phantoms(3, 64), made.awkward_tiles(64)["glass with noise"][None]])
    keys = image_keys(list("abcd"))
    settings = Augmentation(
        flip="none", equalise="tissue", equalise_probability=1.0, rotation_deg=0.0, translation=0.0, shear_deg=0.0
    )
    ours = augment_batch(tiles, keys, settings=settings, seed=0, epoch=1)
    assert np.array_equal(ours, np.stack([equalise_tissue(tile) for tile in tiles]))
    made_there = augment_on_device(torch.from_numpy(tiles), keys, settings=settings, seed=0, epoch=1, scale="-1..1")
    assert torch.equal(made_there, to_tensor(ours, scale="-1..1"))
    assert not np.array_equal(ours[0], tiles[0]) and np.array_equal(ours[3], tiles[3])
