"""Colour jitter as one matrix and one offset: by hand, and against torchvision."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from counterstain.images.colour import apply_colour, colour_matrices


def jitter(tile: np.ndarray, brightness: float, contrast: float, saturation: float) -> np.ndarray:
    matrices, shares = colour_matrices(*(np.array([factor]) for factor in (brightness, contrast, saturation)))
    return apply_colour(tile, matrices[0], shares[0], np.empty_like(tile))


def test_by_hand() -> None:
    """Two pixels of grey 100 and 200, mean 150. Contrast 0.5: 125 and 175; brightness 1.2 before it: 150 and 210."""
    tile = np.array([[[100] * 3, [200] * 3]], np.uint8)
    assert jitter(tile, 1.0, 0.5, 1.0)[0, :, 0].tolist() == [125, 175]
    assert jitter(tile, 1.2, 0.5, 1.0)[0, :, 0].tolist() == [150, 210]
    assert jitter(tile, 1.5, 1.0, 1.0)[0, :, 0].tolist() == [150, 255]  # clipped


def test_no_saturation_is_the_grey_of_bt601() -> None:
    """0.299 · 200 + 0.587 · 100 + 0.114 · 50 = 124.2."""
    tile = np.array([[[200, 100, 50]]], np.uint8)
    assert jitter(tile, 1.0, 1.0, 0.0).tolist() == [[[124, 124, 124]]]


def test_factors_of_one_change_nothing() -> None:
    tile = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    assert np.array_equal(jitter(tile, 1.0, 1.0, 1.0), tile)


@pytest.mark.parametrize("factors", [(0.8, 1.0, 1.0), (1.0, 1.3, 1.0), (1.0, 1.0, 0.6), (1.1, 0.8, 1.2)])
def test_as_torchvision_one_after_the_other(factors: tuple[float, float, float]) -> None:
    """torchvision clips after each step and weighs grey by 0.2989, 0.5870, 0.1140; mid tones show neither."""
    tile = np.random.default_rng(1).integers(90, 150, (16, 16, 3), dtype=np.uint8)
    planes = torch.from_numpy(tile.transpose(2, 0, 1).copy()).float() / 255
    planes = functional.adjust_brightness(planes, factors[0])
    planes = functional.adjust_contrast(planes, factors[1])
    planes = functional.adjust_saturation(planes, factors[2])
    expected = planes.numpy().transpose(1, 2, 0) * 255
    assert np.abs(jitter(tile, *factors) - expected).max() < 0.9  # rounding, and OpenCV counts in 1/1024
