"""From any size to a tile."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from counterstain.images.source import BadImage
from counterstain.images.tile import fit_tile

Picture = NDArray[np.uint8]


@pytest.mark.parametrize("fit", ["stretch", "crop", "exact"])
def test_a_tile_that_fits_is_not_touched(picture: Picture, fit: str) -> None:
    square = picture[:48, :48]
    assert np.array_equal(fit_tile(square, "x", tile_px=48, fit=fit), square)


def test_shrinking_by_a_whole_factor_is_the_mean_of_what_is_covered(picture: Picture) -> None:
    blocks = picture[:48, :48].reshape(16, 3, 16, 3, 3).mean(axis=(1, 3))
    assert np.abs(fit_tile(picture[:48, :48], "x", tile_px=16, fit="stretch") - blocks).max() <= 0.5 + 1e-9


@pytest.mark.parametrize(("tile_px", "rule"), [(40, cv2.INTER_AREA), (50, cv2.INTER_LINEAR), (80, cv2.INTER_LINEAR)])
def test_stretch_is_area_unless_a_side_grows(picture: Picture, tile_px: int, rule: int) -> None:
    wanted = cv2.resize(picture, (tile_px, tile_px), interpolation=rule)
    found = fit_tile(picture, "x", tile_px=tile_px, fit="stretch")
    # OpenCV interpolates in whole numbers of 11 bits; test_resampling has the rule in exact arithmetic.
    assert np.abs(found.astype(int) - wanted).max() <= 1


def test_crop_keeps_the_shape_and_the_middle(picture: Picture) -> None:
    assert np.array_equal(fit_tile(picture, "x", tile_px=48, fit="crop"), picture[:, 8:56])
    half = cv2.resize(picture, (32, 24), interpolation=cv2.INTER_AREA)
    assert np.array_equal(fit_tile(picture, "x", tile_px=24, fit="crop"), half[:, 4:28])


@pytest.mark.parametrize("fit", ["stretch", "crop"])
@pytest.mark.parametrize("shape", [(16, 320), (320, 16), (31, 33), (257, 257), (17, 16)])
@pytest.mark.parametrize("tile_px", [16, 33, 257])
def test_the_result_has_its_size(shape: tuple[int, int], tile_px: int, fit: str) -> None:
    tile = fit_tile(np.zeros((*shape, 3), np.uint8), "x", tile_px=tile_px, fit=fit)
    assert tile.shape == (tile_px, tile_px, 3) and tile.dtype == np.uint8 and tile.flags.c_contiguous


def test_exact_refuses_another_size(picture: Picture) -> None:
    with pytest.raises(BadImage, match=r"a/x\.png: is 64 × 48 px, not 48 × 48; choose fit"):
        fit_tile(picture, "a/x.png", tile_px=48, fit="exact")
