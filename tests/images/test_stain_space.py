"""Tables and small matrices give what the formulas in double precision give."""

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from stain_tensors import change_tensor
from torchstain.numpy.utils.rgb2lab import rgb2lab

from counterstain.images import stain_space
from counterstain.images.stain_space import (
    RUIFROK,
    change_tiles,
    optical_density,
    to_hed,
    to_hsv,
    to_lab,
)

Tiles = NDArray[np.uint8]
Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def tiles() -> Tiles:
    """Every kind of colour: noise, greys, and the corners of the cube."""
    made = np.random.default_rng(0).integers(0, 256, (3, 60, 60, 3), dtype=np.uint8)
    made[1] = made[1, :, :, :1]
    made[2, 0, :8] = [[r, g, b] for r in (0, 255) for g in (0, 255) for b in (0, 255)]
    return made


def change(tiles: Tiles, space: str, first: Floats, second: Floats) -> Tiles:
    out = np.empty_like(tiles)
    nothing = np.zeros(len(tiles), dtype=np.bool_)
    change_tiles(tiles, space, first, second, rows=np.arange(len(tiles)), skip=nothing, out=out)
    return out


def planes(tiles: Tiles) -> torch.Tensor:
    return torch.from_numpy(tiles.transpose(0, 3, 1, 2).copy()).reshape(len(tiles), 3, -1)


def levels_apart(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    apart: NDArray[np.float64] = np.abs(one.astype(np.float64) - other)
    return apart


MATRICES = np.array([np.eye(3), [[1.1, 0.1, -0.05], [0.02, 0.9, 0.1], [-0.1, 0.05, 1.2]], np.diag([0.5, 2.0, 1.0])])
OFFSETS = np.array([[0, 0, 0], [0.05, -0.1, 0.02], [-0.3, 0.0, 0.4]])


def test_density_is_changed_as_the_formula_says(tiles: Tiles) -> None:
    """240 · exp(−(matrix · d + offset)) − 1 for d = −ln((I + 1) / 240): within a rounding, 0.5, and a little."""
    density = -np.log((tiles + 1.0) / 240)
    wanted = 240 * np.exp(-(np.einsum("bij,bhwj->bhwi", MATRICES, density) + OFFSETS[:, None, None])) - 1
    assert levels_apart(change(tiles, "density", MATRICES, OFFSETS), np.clip(wanted, 0, 255)).max() < 0.55
    made = change_tensor(
        torch.from_numpy(tiles), "density", *(torch.tensor(one).float() for one in (MATRICES, OFFSETS))
    )
    assert levels_apart(made.numpy(), np.clip(wanted, 0, 255)).max() < 0.51


@pytest.mark.parametrize("space", ["density", "lab", "hsv"])
def test_no_change_keeps_every_byte(tiles: Tiles, space: str) -> None:
    ones = np.stack([np.eye(3)] * 3) if space == "density" else np.ones((3, 3))
    apart = levels_apart(change(tiles, space, ones, np.zeros((3, 3))), tiles)
    # Of L*a*b* in 16 bits one value in 10,000 comes out a level off: a channel that is 0 beside two that are not.
    assert apart.max() <= (1 if space == "lab" else 0) and (apart > 0).mean() < 2e-4
    made = change_tensor(torch.from_numpy(tiles), space, torch.from_numpy(ones).float(), torch.zeros(3, 3))
    assert np.array_equal(made.numpy(), tiles)


def test_lab_is_that_of_torchstain(tiles: Tiles) -> None:
    wanted = rgb2lab(tiles / np.float32(255)) / (2.55, 1, 1) - (0, 128, 128)
    found = to_lab(planes(tiles)).transpose(1, 2).reshape(tiles.shape).numpy()
    assert np.abs(found - wanted).max() < 2e-3


def test_lab_is_changed_as_the_formula_says(tiles: Tiles) -> None:
    """Through L*a*b* in double precision, clipped in sRGB."""
    shift = np.array([[3.0, -5, 4], [20, 3, 0], [0, 9, 0]])
    scale = np.array([[1.2, 0.8, 1.3], [0.7, 1.5, 1.0], [1, 1, 1.3]])
    lab = to_lab(planes(tiles)).transpose(1, 2).reshape(tiles.shape).double().numpy() * scale[:, None, None]
    lab += shift[:, None, None]
    y = (lab[..., 0] + 16) / 116
    f = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=3)
    xyz = np.where(f > 0.2068966, f**3, (f - 16 / 116) / 7.787) * (0.95047, 1, 1.08883)
    to_xyz = [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
    light = np.clip(xyz @ np.linalg.inv(to_xyz).T, 0, 1)
    wanted = 255 * np.where(light > 0.0031308, 1.055 * light ** (1 / 2.4) - 0.055, 12.92 * light)
    apart = levels_apart(change(tiles, "lab", scale, shift), wanted)
    assert apart.max() < 1.2 and (apart > 0.6).mean() < 1e-2
    made = change_tensor(torch.from_numpy(tiles), "lab", *(torch.from_numpy(one).float() for one in (scale, shift)))
    assert levels_apart(made.numpy(), wanted).max() < 0.52


def test_hsv_is_that_of_opencv_from_green(tiles: Tiles) -> None:
    wanted = np.stack([cv2.cvtColor(tile / np.float32(255), cv2.COLOR_RGB2HSV) for tile in tiles])
    found = to_hsv(planes(tiles)).transpose(1, 2).reshape(tiles.shape).numpy()
    turn = np.abs(found[..., 0] - (wanted[..., 0] / 360 - 1 / 3) % 1)
    assert np.minimum(turn, 1 - turn).max() < 1e-5
    assert np.abs(found[..., 1:] - wanted[..., 1:]).max() < 1e-5


def test_hsv_is_changed_the_same_by_torch(tiles: Tiles) -> None:
    scale, shift = np.array([[0.9, 1.2, 1.1]] * 3), np.array([[0.05, -0.1, 0.02]] * 3)
    made = change_tensor(torch.from_numpy(tiles), "hsv", *(torch.from_numpy(one).float() for one in (scale, shift)))
    apart = levels_apart(made.numpy(), change(tiles, "hsv", scale, shift))
    assert apart.max() <= 1 and (apart > 0).mean() < 1e-2


def test_hed_takes_ruifroks_stains_apart() -> None:
    """Pixels made of known amounts, without rounding: by the inverse of the matrix in double precision."""
    tiles = np.random.default_rng(3).integers(1, 256, (1, 9, 9, 3), dtype=np.uint8)
    wanted = -np.log((tiles.reshape(-1, 3) + 1.0) / 240) @ np.linalg.inv(RUIFROK)
    assert np.abs(to_hed(planes(tiles))[0].T.numpy() - wanted).max() < 1e-4
    assert np.allclose(np.linalg.norm(RUIFROK, axis=1), 1)


def test_density_is_macenkos(tiles: Tiles) -> None:
    found = optical_density(planes(tiles)).transpose(1, 2).reshape(tiles.shape).numpy()
    assert np.abs(found + np.log((tiles + 1.0) / 240)).max() < 1e-6


def test_skipped_tiles_and_those_not_named_are_left(tiles: Tiles) -> None:
    out = np.full_like(tiles, 7)
    skip = np.array([True, False])
    change_tiles(tiles, "density", MATRICES[1:], OFFSETS[1:], rows=np.array([2, 1]), skip=skip, out=out)
    assert (out[0] == 7).all() and np.array_equal(out[2], tiles[2]) and not np.array_equal(out[1], tiles[1])


@pytest.mark.parametrize("space", ["density", "lab"])
def test_older_opencv_gives_the_same_bytes(tiles: Tiles, space: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = MATRICES if space == "density" else np.array([[1.2, 0.8, 1.3]] * 3)
    wanted = change(tiles, space, first, OFFSETS)
    monkeypatch.setattr(stain_space, "_WIDE_TABLES", not stain_space._WIDE_TABLES)
    if int(cv2.__version__.split(".")[0]) >= 5:
        assert np.array_equal(change(tiles, space, first, OFFSETS), wanted)
