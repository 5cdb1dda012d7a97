"""Stain augmentation: the formula in double precision, a function of (seed, epoch, image) alone, blank tiles left."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as few
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from stain_tensors import augment_stain_tensor

from counterstain.errors import InputError
from counterstain.images.augment import _DRAWS
from counterstain.images.counter_rng import image_keys, uniforms
from counterstain.images.stain_augment import _USE, StainAugmentation, augment_stain
from counterstain.images.stain_separation import find_stains, sample_pixels
from counterstain.images.stain_statistics import StainStatistics, colour_moments, fit_statistics

Tiles = NDArray[np.uint8]
COUNT = 6
KEYS = image_keys([f"{number}.png" for number in range(COUNT)])
WAYS = {
    "hed_light": StainAugmentation(),
    "randstainna": StainAugmentation(method="randstainna", spaces=("lab", "hsv", "hed")),
    "mixing": StainAugmentation(method="mixing"),
}


@pytest.fixture(scope="module")
def tiles(made: Any) -> Tiles:
    return made.phantoms(COUNT, 64)


@pytest.fixture(scope="module")
def statistics(tiles: Tiles) -> StainStatistics:
    return fit_statistics(tiles)


def grey_levels(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    apart: NDArray[np.float64] = np.abs(one.astype(np.float64) - other)
    return apart


@pytest.mark.parametrize(("scale", "shift"), [(0.05, 0.05), (0.5, 0.4), (0.0, 0.0)])
def test_hed_is_the_formula_in_double_precision(scale: float, shift: float, tiles: Tiles) -> None:
    """Density into Ruifrok's three stains, each times 1 ± scale plus ± shift, and back; draws 33 to 38."""
    matrix = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    spread = 2 * uniforms(KEYS, 48, seed=3, epoch=2) - 1
    amounts = -np.log((tiles + 1.0) / 240) @ np.linalg.inv(matrix)
    amounts = amounts * (1 + scale * spread[:, None, None, 33:36]) + shift * spread[:, None, None, 36:39]
    wanted = np.clip(240 * np.exp(-amounts @ matrix) - 1, 0, 255)
    settings = StainAugmentation(hed_scale=scale, hed_shift=shift)
    ours = augment_stain(tiles, KEYS, settings=settings, seed=3, epoch=2)
    assert grey_levels(ours, wanted).max() < 0.6  # 0.5 is the rounding to whole grey levels
    assert (grey_levels(ours, tiles).mean(axis=(1, 2, 3)) > 0.5).all() == (scale > 0)


@pytest.mark.parametrize("name", WAYS)
def test_torch_gives_the_same_to_one_grey_level(name: str, tiles: Tiles, statistics: StainStatistics) -> None:
    more: dict[str, Any] = {"settings": WAYS[name], "seed": 1, "epoch": 4, "statistics": statistics}
    ours = augment_stain(tiles, KEYS, **more)
    by_torch = augment_stain_tensor(torch.from_numpy(tiles), KEYS, **more)
    assert by_torch.dtype == torch.uint8 and grey_levels(by_torch.numpy(), ours).max() <= 1
    assert grey_levels(ours, tiles).mean() > 1


@pytest.mark.parametrize("name", WAYS)
def test_what_becomes_of_a_tile_is_its_own_affair(name: str, tiles: Tiles, statistics: StainStatistics) -> None:
    more: dict[str, Any] = {"settings": WAYS[name], "seed": 1, "statistics": statistics}
    before = tiles.copy()
    together = augment_stain(tiles, KEYS, epoch=4, **more)
    order = np.array([3, 0, 5, 1])
    assert np.array_equal(augment_stain(tiles[order], KEYS[order], epoch=4, **more), together[order])
    alone = [augment_stain(tiles[i : i + 1], KEYS[i : i + 1], epoch=4, **more) for i in range(COUNT)]
    assert np.array_equal(np.concatenate(alone), together)
    assert np.array_equal(augment_stain(tiles, KEYS, epoch=4, threads=4, **more), together)
    assert np.array_equal(tiles, before)
    for changed in ({"epoch": 5}, {"epoch": 4, "seed": 2}):
        other = augment_stain(tiles, KEYS, **(more | changed))
        assert (grey_levels(other, together).mean(axis=(1, 2, 3)) > 0.2).all()
    assert not np.array_equal(augment_stain(tiles, KEYS[::-1].copy(), epoch=4, **more), together)


@pytest.mark.parametrize("name", WAYS)
def test_blank_tiles_stay_as_they_are(name: str, made: Any, statistics: StainStatistics) -> None:
    awkward = made.awkward_tiles()
    if name == "hed_light":  # it needs tissue, not two stains: black and one colour are changed like any tile
        awkward = {word: tile for word, tile in awkward.items() if word not in ("black", "one colour")}
    tiles = np.stack(list(awkward.values()))
    more: dict[str, Any] = {"settings": WAYS[name], "seed": 0, "epoch": 1, "statistics": statistics}
    keys = image_keys(list(awkward))
    assert np.array_equal(augment_stain(tiles, keys, **more), tiles)
    assert np.array_equal(augment_stain_tensor(torch.from_numpy(tiles), keys, **more).numpy(), tiles)


@pytest.mark.parametrize("name", WAYS)
@given(
    tiles=arrays(np.uint8, st.tuples(st.integers(0, 3), st.just(16), st.integers(1, 17), st.just(3))),
    seed=st.integers(0, 2**63),
)
@few(max_examples=30)
def test_no_tile_breaks_it(name: str, tiles: Tiles, seed: int, statistics: StainStatistics) -> None:
    more: dict[str, Any] = {"settings": WAYS[name], "seed": seed, "epoch": 1, "statistics": statistics}
    keys = KEYS[: len(tiles)]
    ours = augment_stain(tiles, keys, **more)
    assert ours.shape == tiles.shape and ours.dtype == np.uint8
    assert augment_stain_tensor(torch.from_numpy(tiles), keys, **more).shape == tiles.shape


def test_probability_is_the_share_that_changes(tiles: Tiles) -> None:
    few_tiles = np.repeat(tiles[:1, :32, :32], 400, axis=0)
    keys = image_keys([str(number) for number in range(400)])
    settings = StainAugmentation(probability=0.3)
    changed = (augment_stain(few_tiles, keys, settings=settings, seed=0, epoch=1) != few_tiles).any(axis=(1, 2, 3))
    assert 0.2 < changed.mean() < 0.4
    always = augment_stain(few_tiles, keys, settings=replace(settings, probability=1.0), seed=0, epoch=1)
    part = augment_stain(few_tiles, keys, settings=settings, seed=0, epoch=1)
    assert np.array_equal(part[changed], always[changed])  # the other draws are the same whether or not it is used
    for never in (replace(settings, probability=0.0), StainAugmentation(method="none")):
        assert np.array_equal(augment_stain(few_tiles, keys, settings=never, seed=0, epoch=1), few_tiles)


def test_drawn_colours_are_spread_as_the_training_tiles_are(tiles: Tiles, statistics: StainStatistics) -> None:
    """Of one tile in 300 draws: the channel means are normal around the statistics', 0.7 times as wide."""
    same = np.repeat(tiles[:1], 300, axis=0)
    keys = image_keys([str(number) for number in range(300)])
    settings = StainAugmentation(method="randstainna")
    made = augment_stain(same, keys, settings=settings, seed=0, epoch=1, statistics=statistics)
    mean, spread, _ = colour_moments(sample_pixels(made), "lab")
    middle, around, wanted_spread, _ = np.asarray(statistics.moments["lab"])
    # Bright glass is cut off at white, which takes a little off both.
    assert np.abs(mean.numpy().mean(axis=0) - middle).max() < 0.35 * around.max() + 1
    assert np.abs(mean.numpy().std(axis=0) / (0.7 * around) - 1).max() < 0.3
    assert np.abs(spread.numpy().mean(axis=0) / wanted_spread - 1).max() < 0.25


def test_mixing_goes_towards_a_training_tile(tiles: Tiles, statistics: StainStatistics) -> None:
    """With one other tile in the bank: new vectors lie between the two, and a share of 0 changes nothing."""
    only = replace(statistics, stains=statistics.stains[3:4])
    settings = StainAugmentation(method="mixing", mixing=1.0)
    made = augment_stain(tiles[:3], KEYS[:3], settings=settings, seed=0, epoch=1, statistics=only)
    own, found = (find_stains(sample_pixels(some), "macenko").vectors.numpy() for some in (tiles[:3], made))
    other = np.asarray(only.stains)[0, :6].reshape(2, 3)
    share = uniforms(KEYS[:3], 48, seed=0, epoch=1)[:, 47, None, None]
    wanted = own + share * (other - own)
    wanted /= np.linalg.norm(wanted, axis=2, keepdims=True)
    assert np.degrees(np.arccos(np.clip((wanted * found).sum(axis=2), -1, 1))).max() < 2.5
    still = replace(settings, mixing=0.0)
    assert np.array_equal(augment_stain(tiles, KEYS, settings=still, seed=0, epoch=1, statistics=only), tiles)


def test_draws_are_beside_those_of_geometry() -> None:
    """images.augment may grow: what it draws and what is drawn here must not be the same numbers."""
    assert _DRAWS <= _USE


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "hed-light"}, "did you mean 'hed_light'"),
        ({"probability": 1.5}, "from 0 to 1"),
        ({"hed_scale": "a"}, "must be a number"),
        ({"hed_shift": True}, "must be a number"),
        ({"variation": -1}, "from 0 to 2"),
        ({"spaces": ()}, "must be a list"),
        ({"spaces": "lab"}, "must be a list"),
        ({"spaces": ("luv",)}, "must be a list"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        StainAugmentation(**settings)


def test_wrong_input_is_refused(tiles: Tiles) -> None:
    with pytest.raises(InputError, match="needs statistics"):
        augment_stain(tiles, KEYS, settings=WAYS["mixing"], seed=0, epoch=1)
    with pytest.raises(ValueError, match="keys must be"):
        augment_stain(tiles, KEYS[:2], settings=WAYS["hed_light"], seed=0, epoch=1)
    with pytest.raises(ValueError, match="tiles must be"):
        augment_stain(tiles.astype(np.float32), KEYS, settings=WAYS["hed_light"], seed=0, epoch=1)  # type: ignore[arg-type]
