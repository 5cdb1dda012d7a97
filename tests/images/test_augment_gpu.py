"""Augmentation by torch gives what augmentation by OpenCV gives: the same bytes where nothing is interpolated."""

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from counterstain.images.augment import augment_batch, equalise, expand_batch, expanded_count, image_keys
from counterstain.images.augment_gpu import _equalised, augment_on_device, equalise_channels, equalise_luminance
from counterstain.images.augmentation import Augmentation
from counterstain.images.tensor import to_tensor

Tiles = NDArray[np.uint8]
OFF: dict[str, Any] = {"flip": "none", "equalise": "none", "rotation_deg": 0.0, "translation": 0.0, "shear_deg": 0.0}
COUNT = 24
KEYS = image_keys([str(number) for number in range(COUNT)])


@pytest.fixture(scope="module")
def tiles() -> Tiles:
    """Smooth coloured blobs, as wide as nuclei; the first is of one value, the last is noise."""
    random = np.random.default_rng(0)
    made = random.integers(0, 256, (COUNT, 65, 65, 3)).astype(np.uint8)
    for number in range(COUNT - 1):
        blurred = cv2.GaussianBlur(made[number], (0, 0), 2.0).astype(np.float32)
        made[number] = np.clip((blurred - 128) * 5 + 140, 0, 255)
    made[0] = 77
    return made


def grey_levels(tiles: Tiles, **more: Any) -> NDArray[np.float32]:
    """(B, H, W, 3) what comes from the device path, in grey levels."""
    scaled = augment_on_device(torch.from_numpy(tiles), KEYS[: len(tiles)], seed=3, scale="0..1", **more)
    return (scaled * 255).permute(0, 2, 3, 1).numpy()


def test_no_augmentation_is_to_tensor(tiles: Tiles) -> None:
    settings = Augmentation(mode="none")
    made = augment_on_device(torch.from_numpy(tiles), KEYS, settings=settings, seed=0, epoch=1, scale="-1..1")
    assert torch.equal(made, to_tensor(tiles, scale="-1..1"))
    assert made.is_contiguous(memory_format=torch.channels_last)


def test_flips_turns_and_equalisation_have_the_same_bytes(tiles: Tiles) -> None:
    settings = Augmentation(**(OFF | {"flip": "both", "equalise": "luminance"}), quarter_turns=True)
    settings_often = Augmentation(
        **(OFF | {"flip": "both", "equalise": "channels", "equalise_probability": 0.5}), quarter_turns=True
    )
    for one in (settings, settings_often):
        wanted = augment_batch(tiles, KEYS, settings=one, seed=3, epoch=2)
        made = augment_on_device(torch.from_numpy(tiles), KEYS, settings=one, seed=3, epoch=2, scale="-1..1")
        assert torch.equal(made, to_tensor(wanted, scale="-1..1"))
        assert made.is_contiguous(memory_format=torch.channels_last)
        assert not np.array_equal(wanted, tiles)


@pytest.mark.parametrize("epoch", [1, 2])
@pytest.mark.parametrize("size", [(65, 65), (33, 60)])
def test_a_warp_differs_by_less_than_a_grey_level(tiles: Tiles, epoch: int, size: tuple[int, int]) -> None:
    tiles = np.ascontiguousarray(tiles[:-1, : size[0], : size[1]])
    settings = Augmentation(rotation_deg=180, translation=0.4, shear_deg=30)
    wanted = augment_batch(tiles, KEYS[:-1], settings=settings, seed=3, epoch=epoch)
    apart = np.abs(grey_levels(tiles, settings=settings, epoch=epoch) - wanted).mean(axis=(1, 2, 3))
    assert apart.max() < 1
    # It is the same draw, not a likeness of two blurred tiles: another epoch's is far off.
    assert np.abs(grey_levels(tiles, settings=settings, epoch=epoch + 1) - wanted).mean() > 10


def test_every_expansion_is_that_of_the_other_path(tiles: Tiles) -> None:
    settings = Augmentation(mode="expand", quarter_turns=True, brightness=0.2, contrast=0.3, saturation=0.4)
    which = np.arange(COUNT) % expanded_count(settings)
    wanted = expand_batch(tiles, KEYS, which, settings=settings, seed=3)
    apart = np.abs(grey_levels(tiles, settings=settings, epoch=7, which=which) - wanted)
    assert apart[:-1].mean(axis=(1, 2, 3)).max() < 1
    assert apart[which == 0].max() < 1e-3


def test_tables_are_those_of_opencv(tiles: Tiles) -> None:
    """Bytes of cv2.equalizeHist on each plane, of one value, of two, of a few and of all."""
    random = np.random.default_rng(1)
    planes = [random.integers(0, high, (40, 31)).astype(np.uint8) for high in (2, 5, 100, 256)]
    # 7 of 14 pixels above the lowest value: the entry is 127.5 but for the last bit of 255 / 14, which decides it.
    tie = np.full((40, 31), 3, np.uint8)
    tie.flat[:7], tie.flat[7:14] = 220, 230
    planes += [tie, np.full((40, 31), 200, np.uint8), np.clip(random.normal(200, 9, (40, 31)), 0, 255).astype(np.uint8)]
    wanted = np.stack([cv2.equalizeHist(plane) for plane in planes])
    assert np.array_equal(_equalised(torch.from_numpy(np.stack(planes))).numpy(), wanted)


def test_equalised_tiles_have_the_same_bytes(tiles: Tiles) -> None:
    given = torch.from_numpy(tiles)
    assert np.array_equal(equalise_luminance(given).numpy(), np.stack([equalise(tile) for tile in tiles]))
    wanted = np.stack([equalise(tile, luminance=False) for tile in tiles])
    assert np.array_equal(equalise_channels(given).numpy(), wanted)


def test_colour_jitter_is_within_one_grey_level(tiles: Tiles) -> None:
    settings = Augmentation(**OFF, brightness=0.5, contrast=0.5, saturation=0.5)
    wanted = augment_batch(tiles, KEYS, settings=settings, seed=3, epoch=1)
    apart = np.abs(grey_levels(tiles, settings=settings, epoch=1) - wanted)
    # OpenCV multiplies by coefficients in whole numbers of a small fraction, so some values are rounded the other way.
    assert apart.max() < 1.01 and (apart > 0.5).mean() < 0.1


def test_no_image_is_an_empty_batch(tiles: Tiles) -> None:
    """What is left for a process where a last batch has fewer images than there are processes."""
    none = torch.from_numpy(tiles[:0])
    made = augment_on_device(none, KEYS[:0], settings=Augmentation(), seed=0, epoch=1, scale="-1..1")
    assert made.shape == (0, 3, 65, 65)


@pytest.mark.parametrize("name", ["seed", "epoch"])
def test_seed_and_epoch_matter(tiles: Tiles, name: str) -> None:
    draw = {"seed": 3, "epoch": 1}
    given = torch.from_numpy(tiles[1:5])
    first, other = (
        augment_on_device(given, KEYS[1:5], settings=Augmentation(), scale="0..1", **changed)
        for changed in (draw, draw | {name: 9})
    )
    assert not torch.equal(first, other)
