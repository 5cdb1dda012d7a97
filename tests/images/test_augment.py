"""Augmentation: exact where it can be, reproducible everywhere, and never a black corner."""

import dataclasses
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as few
from hypothesis import strategies as st
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.images.augment import (
    _matrices,
    _Plan,
    _plan_all,
    augment_batch,
    equalise,
    expand_batch,
    expanded_count,
    image_keys,
)
from counterstain.images.augmentation import TRANSFORMATIONS, Augmentation

Tiles = NDArray[np.uint8]
ALL = Augmentation(quarter_turns=True, equalise_probability=0.5)
EVERY = Augmentation(mode="expand", quarter_turns=True, contrast=0.2)  # switch a new transformation on here
OFF: dict[str, Any] = {"flip": "none", "equalise": "none", "rotation_deg": 0.0, "translation": 0.0, "shear_deg": 0.0}


@pytest.fixture(scope="module")
def tiles() -> Tiles:
    """(12, 33, 33, 3), smooth and with no symmetry."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (12, 33, 33, 3), dtype=np.uint8)
    return np.stack([cv2.GaussianBlur(tile, (5, 5), 1.5) for tile in noise])


@pytest.fixture(scope="module")
def keys(tiles: Tiles) -> NDArray[np.uint64]:
    return image_keys([f"{number}.png" for number in range(len(tiles))])


def eight(tile: Tiles) -> list[Tiles]:
    """The tile in its eight positions."""
    return [np.rot90(side, turns) for side in (tile, tile[:, ::-1]) for turns in range(4)]


# ---- a pure function of (seed, epoch, image)


@given(order=st.permutations(range(12)), cut=st.integers(0, 12), threads=st.integers(1, 4), epoch=st.integers(0, 99))
@few(max_examples=25)
def test_batch_order_and_threads_change_nothing(
    tiles: Tiles, keys: NDArray[np.uint64], order: list[int], cut: int, threads: int, epoch: int
) -> None:
    whole = augment_batch(tiles, keys, settings=ALL, seed=7, epoch=epoch)
    for part in (order[:cut], order[cut:]):
        again = augment_batch(tiles[part], keys[part], settings=ALL, seed=7, epoch=epoch, threads=threads)
        assert np.array_equal(again, whole[part])


def test_epoch_seed_and_image_change_the_draw(tiles: Tiles, keys: NDArray[np.uint64]) -> None:
    first = augment_batch(tiles, keys, settings=ALL, seed=0, epoch=0)
    same = np.repeat(tiles[:1], 12, axis=0)
    assert not np.array_equal(augment_batch(tiles, keys, settings=ALL, seed=0, epoch=1), first)
    assert not np.array_equal(augment_batch(tiles, keys, settings=ALL, seed=1, epoch=0), first)
    assert len({tile.tobytes() for tile in augment_batch(same, keys, settings=ALL, seed=0, epoch=0)}) == 12


@pytest.mark.parametrize("off", ["equalise", "translation", "shear_deg", "rotation_deg"])
def test_switching_one_off_leaves_the_draws_of_the_others(tiles: Tiles, keys: NDArray[np.uint64], off: str) -> None:
    """With only the flip left over, it is the same flip, whichever other was switched off before."""
    some = {**OFF, "flip": "both"}
    flips = augment_batch(tiles, keys, settings=Augmentation(**some), seed=0, epoch=0)
    with_zero = {
        **some,
        off: Augmentation.__dataclass_fields__[off].default,
        f"{off.removesuffix('_deg')}_probability": 0.0,
    }
    assert np.array_equal(augment_batch(tiles, keys, settings=Augmentation(**with_zero), seed=0, epoch=0), flips)


def test_input_is_not_changed_and_out_is_filled(tiles: Tiles, keys: NDArray[np.uint64]) -> None:
    before, out = tiles.copy(), np.empty_like(tiles)
    result = augment_batch(tiles, keys, settings=ALL, seed=0, epoch=0, out=out)
    assert result is out and np.array_equal(tiles, before)
    assert np.array_equal(out, augment_batch(tiles, keys, settings=ALL, seed=0, epoch=0))
    none = augment_batch(tiles, keys, settings=Augmentation(mode="none"), seed=0, epoch=0, out=np.empty_like(tiles))
    assert np.array_equal(none, tiles) and not np.shares_memory(none, tiles)


# ---- exactness


# 257 px beside 33: OpenCV warps in blocks, and a smaller result has others.
@pytest.mark.parametrize("mode", ["on_the_fly", "expand", "none"])
@pytest.mark.parametrize(("size", "side"), [((33, 33), 20), ((33, 33), 33), ((20, 41), 19), ((257, 257), 220)])
def test_a_part_of_the_result_has_its_bits(mode: str, size: tuple[int, int], side: int) -> None:
    tiles = np.random.default_rng(1).integers(0, 256, (8, *size, 3), dtype=np.uint8)
    keys = image_keys([f"{number}.png" for number in range(8)])
    settings = dataclasses.replace(
        ALL,
        mode=mode,
        quarter_turns=size[0] == size[1],
        brightness=0.2,
        rotation_probability=0.7,
        shear_probability=0.5,
    )
    for number in range(3):
        which = (np.arange(8) + number) % expanded_count(settings) if mode == "expand" else None
        made = [
            augment_batch(tiles, keys, settings=settings, seed=3, epoch=number, side=part)
            if which is None
            else expand_batch(tiles, keys, which, settings=settings, seed=3, side=part)
            for part in (None, side)
        ]
        assert made[0].shape == tiles.shape and made[1].shape == (8, side, side, 3)
        assert np.array_equal(made[1], made[0][:, :side, :side])
    out = np.empty((8, side, side, 3), dtype=np.uint8)
    assert augment_batch(tiles, keys, settings=settings, seed=3, epoch=0, side=side, out=out) is out


def test_flips_and_quarter_turns_are_exact(tiles: Tiles, keys: NDArray[np.uint64]) -> None:
    settings = Augmentation(**{**OFF, "flip": "both"}, quarter_turns=True)
    seen = set()
    for epoch in range(20):
        for tile, result in zip(tiles, augment_batch(tiles, keys, settings=settings, seed=0, epoch=epoch), strict=True):
            matches = [place for place, side in enumerate(eight(tile)) if np.array_equal(side, result)]
            assert len(matches) == 1
            seen.add(matches[0])
    assert seen == set(range(8))


@pytest.mark.parametrize("flip", ["horizontal", "vertical"])
def test_one_direction_of_flip(tiles: Tiles, keys: NDArray[np.uint64], flip: str) -> None:
    settings = Augmentation(**{**OFF, "flip": flip}, flip_probability=1.0)
    wanted = tiles[:, :, ::-1] if flip == "horizontal" else tiles[:, ::-1]
    assert np.array_equal(augment_batch(tiles, keys, settings=settings, seed=0, epoch=0), wanted)
    assert np.array_equal(expand_batch(tiles, keys, np.ones(12, np.int64), settings=settings, seed=0), wanted)


@pytest.mark.parametrize("flip_x", [False, True])
@pytest.mark.parametrize("flip_y", [False, True])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("size", [32, 33])
def test_fused_warp_of_whole_steps_is_the_indexed_tile(flip_x: bool, flip_y: bool, turns: int, size: int) -> None:
    """Flip, then turn, then shift by (3, -5) with the edge mirrored, through the matrix as through indices."""
    tile = np.random.default_rng(size).integers(0, 256, (size, size, 3), dtype=np.uint8)
    zero = np.zeros(1)
    plan = _Plan(
        zero > 1, np.array([flip_x]), np.array([flip_y]), np.array([turns]), zero, zero, np.array([[3.0, -5.0]])
    )
    warped = cv2.warpAffine(
        tile, _matrices(plan, size, size)[0], (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )  # fmt: skip
    side = tile[:, ::-1] if flip_x else tile
    side = np.rot90(side[::-1] if flip_y else side, turns)
    padded = np.pad(side, ((5, 5), (5, 5), (0, 0)), mode="reflect")
    assert np.array_equal(warped, padded[10 : 10 + size, 2 : 2 + size])


@pytest.mark.parametrize("size", [(33, 33), (20, 41)])
def test_four_channels_change_no_bit_of_three(size: tuple[int, int]) -> None:
    """Tiles are warped as RGBA for speed; OpenCV's own three-channel warp gives the same bytes."""
    height, width = size
    tiles = np.random.default_rng(height).integers(0, 256, (8, height, width, 3), dtype=np.uint8)
    keys = image_keys(list("abcdefgh"))
    settings = Augmentation(equalise="none", rotation_deg=180, translation=0.5, shear_deg=45)
    matrices = _matrices(_plan_all(tiles, keys, settings, 5, 6), height, width)
    result = augment_batch(tiles, keys, settings=settings, seed=5, epoch=6)
    for tile, matrix, made in zip(tiles, matrices, result, strict=True):
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        three = cv2.warpAffine(tile, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
        assert np.array_equal(made, three)


@pytest.mark.parametrize("angle_deg", [90, -90, 180, 17.0])
def test_angle_is_counter_clockwise_about_the_centre(tiles: Tiles, angle_deg: float) -> None:
    zero = np.zeros(1)
    plan = _Plan(zero > 1, zero > 1, zero > 1, np.zeros(1, int), np.deg2rad([angle_deg]), zero, np.zeros((1, 2)))
    forward = cv2.getRotationMatrix2D((16, 16), angle_deg, 1)  # OpenCV's: counter-clockwise, from tile to result
    assert np.allclose(_matrices(plan, 33, 33)[0], cv2.invertAffineTransform(forward), atol=1e-9)


def test_shear_moves_rows_sideways() -> None:
    zero = np.zeros(1)
    plan = _Plan(zero > 1, zero > 1, zero > 1, np.zeros(1, int), zero, np.array([0.5]), np.zeros((1, 2)))
    matrix = _matrices(plan, 33, 33)[0]
    # Row 20 is 4 below the centre: its pixels come from 2 further left; the centre stays.
    assert np.allclose(matrix @ [10, 20, 1], [8, 20]) and np.allclose(matrix @ [16, 16, 1], [16, 16])


def test_composition_is_flip_then_turn_then_shear_then_rotation_then_shift() -> None:
    plan = _Plan(
        np.zeros(1, bool), np.ones(1, bool), np.zeros(1, bool), np.array([1]), np.deg2rad([30.0]), np.array([0.2]),
        np.array([[4.0, 7.0]]),
    )  # fmt: skip
    centre = np.array([20.0, 16.0])  # of a tile 41 wide and 33 high
    flip = np.diag([-1.0, 1.0])
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])  # counter-clockwise as seen, with y down
    shear = np.array([[1.0, 0.2], [0.0, 1.0]])
    cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
    rotation = np.array([[cos, sin], [-sin, cos]])
    point = np.array([3.0, 29.0])
    result = rotation @ shear @ turn @ flip @ (point - centre) + centre + [4, 7]
    assert np.allclose(_matrices(plan, 33, 41)[0] @ [*result, 1], point)


# ---- ranges and borders


@given(
    rotation=st.floats(0, 180), translation=st.floats(0, 0.5), shear=st.floats(0, 45), epoch=st.integers(0, 1000),
    size=st.integers(16, 40),
)  # fmt: skip
@few(max_examples=30)
def test_no_value_appears_that_was_not_between_the_tile_s_own(
    rotation: float, translation: float, shear: float, epoch: int, size: int
) -> None:
    """No black corners: the result of a warp lies between the least and the greatest value of the tile."""
    tiles = np.random.default_rng(size).integers(90, 180, (4, size, size + 3, 3), dtype=np.uint8)
    settings = Augmentation(rotation_deg=rotation, translation=translation, shear_deg=shear, equalise="none")
    result = augment_batch(tiles, image_keys(list("abcd")), settings=settings, seed=0, epoch=epoch)
    assert result.min() >= tiles.min() and result.max() <= tiles.max()


def test_drawn_parameters_fill_their_ranges_evenly() -> None:
    keys = image_keys([str(number) for number in range(4000)])
    tiles = np.zeros((1, 100, 100, 3), np.uint8)
    settings = Augmentation(rotation_probability=0.5, shear_probability=0.25, equalise_probability=0.3)
    plan = _plan_all(tiles, keys, settings, 0, 0)
    angle, shear = np.rad2deg(plan.angle_rad), np.rad2deg(np.arctan(plan.shear))
    assert np.abs(angle).max() <= 20 and np.abs(angle).max() > 19.8 and abs(angle.mean()) < 0.6
    assert np.abs(shear).max() <= 10 and np.abs(shear).max() > 9.8
    assert np.abs(plan.shift_px).max() == 10 and (plan.shift_px == np.rint(plan.shift_px)).all()
    shares = ((angle != 0).mean(), (shear != 0).mean(), plan.equalise.mean(), plan.flip_x.mean(), plan.flip_y.mean())
    assert np.allclose(shares, (0.5, 0.25, 0.3, 0.5, 0.5), atol=0.035)


# ---- equalisation


def test_equalise_by_hand() -> None:
    """Values 100 (2 pixels), 101 (1) and 103 (1): (cumulated - 2) / (4 - 2) * 255 = 0, 127.5, 255."""
    grey = np.array([[100, 100], [101, 103]], np.uint8)
    result = equalise(np.repeat(grey[:, :, None], 3, axis=2), luminance=False)
    assert result[:, :, 0].tolist() in ([[0, 0], [127, 255]], [[0, 0], [128, 255]])


def test_equalise_is_that_of_the_channel(tiles: Tiles) -> None:
    tile = tiles[0]
    channels = equalise(tile, luminance=False)
    assert all(np.array_equal(channels[..., c], cv2.equalizeHist(tile[..., c])) for c in range(3))
    luminance = cv2.cvtColor(tile, cv2.COLOR_RGB2YCrCb)
    luminance[..., 0] = cv2.equalizeHist(np.ascontiguousarray(luminance[..., 0]))
    assert np.array_equal(equalise(tile), cv2.cvtColor(luminance, cv2.COLOR_YCrCb2RGB))


def test_equalise_spreads_and_keeps_the_order() -> None:
    ramp = np.repeat(np.tile(np.arange(100, 132, dtype=np.uint8), (32, 1))[:, :, None], 3, axis=2)
    result = equalise(ramp)[..., 0].astype(int)
    assert result.min() == 0 and result.max() == 255 and (np.diff(result, axis=1) > 0).all()


@pytest.mark.parametrize("luminance", [True, False])
def test_a_tile_of_one_value_stays_as_it_is(luminance: bool) -> None:
    tile = np.full((16, 16, 3), 240, np.uint8)
    assert np.array_equal(equalise(tile, luminance=luminance), tile)


# ---- colour


def test_colour_is_off_by_default_and_leaves_the_other_draws(tiles: Tiles, keys: NDArray[np.uint64]) -> None:
    plain = augment_batch(tiles, keys, settings=ALL, seed=0, epoch=3)
    never = dataclasses.replace(ALL, brightness=0.5, contrast=0.5, saturation=0.5, colour_probability=0.0)
    assert np.array_equal(augment_batch(tiles, keys, settings=never, seed=0, epoch=3), plain)
    often = dataclasses.replace(never, colour_probability=1.0)
    assert not np.array_equal(augment_batch(tiles, keys, settings=often, seed=0, epoch=3), plain)


def test_colour_is_an_equal_part_of_every_pixel_as_drawn(tiles: Tiles, keys: NDArray[np.uint64]) -> None:
    """Against the three formulas one after the other in floats, with the plan's own factors."""
    settings = Augmentation(**OFF, brightness=0.3, contrast=0.4, saturation=0.5)
    plan = _plan_all(tiles, keys, settings, 0, 0)
    assert plan.colour is not None and (np.abs(plan.colour - 1) <= [0.3, 0.4, 0.5]).all()
    result = augment_batch(tiles, keys, settings=settings, seed=0, epoch=0)
    for tile, made, (brightness, contrast, saturation) in zip(tiles, result, plan.colour, strict=True):
        luma = np.array([0.299, 0.587, 0.114])
        pixels = tile * brightness
        pixels = contrast * pixels + (1 - contrast) * (pixels @ luma).mean()
        pixels = saturation * pixels + (1 - saturation) * (pixels @ luma)[..., None]
        assert np.abs(made - np.clip(pixels, 0, 255)).max() < 0.9  # rounding, and OpenCV counts in 1/1024


def test_drawn_colour_factors_fill_their_ranges_evenly() -> None:
    keys = image_keys([str(number) for number in range(4000)])
    settings = Augmentation(brightness=0.1, contrast=0.2, saturation=0.3, colour_probability=0.5)
    plan = _plan_all(np.zeros((1, 8, 8, 3), np.uint8), keys, settings, 0, 0)
    assert plan.colour is not None
    changed = plan.colour[(plan.colour != 1).any(axis=1)] - 1
    assert abs(len(changed) / 4000 - 0.5) < 0.035
    ranges = np.array([0.1, 0.2, 0.3])
    assert (np.abs(changed).max(axis=0) <= ranges).all() and (np.abs(changed).max(axis=0) > 0.98 * ranges).all()
    assert (np.abs(changed.mean(axis=0)) < 0.06 * ranges).all()
    assert (np.abs(np.corrcoef(changed.T) - np.eye(3)) < 0.1).all()


def test_a_range_of_zero_leaves_that_factor_at_one(tiles: Tiles, keys: NDArray[np.uint64]) -> None:
    plan = _plan_all(tiles, keys, Augmentation(saturation=0.5), 0, 0)
    assert plan.colour is not None and (plan.colour[:, :2] == 1).all() and (plan.colour[:, 2] != 1).all()


# ---- the "expand" way


def test_expansions_are_the_original_and_each_transformation_alone(tiles: Tiles, keys: NDArray[np.uint64]) -> None:
    settings = Augmentation(mode="expand")
    assert settings.transformations() == ("flip", "equalise", "rotation", "translation", "shear")
    assert expanded_count(settings) == 6
    made = [expand_batch(tiles, keys, np.full(12, which), settings=settings, seed=0) for which in range(6)]
    assert np.array_equal(made[0], tiles)
    for tile, result in zip(tiles, made[1], strict=True):
        assert any(np.array_equal(side, result) for side in (tile[:, ::-1], tile[::-1], tile[::-1, ::-1]))
    assert all(np.array_equal(equalise(tile), result) for tile, result in zip(tiles, made[2], strict=True))
    assert all(not np.array_equal(tiles[i], made[which][i]) for which in (3, 5) for i in range(12))
    assert len({tile.tobytes() for batch in made for tile in batch}) >= 71  # a shift by (0, 0) may be drawn
    mixed = np.arange(12) % 6
    together = expand_batch(tiles, keys, mixed, settings=settings, seed=0, threads=2)
    assert all(np.array_equal(together[i], made[mixed[i]][i]) for i in range(12))
    assert not np.array_equal(expand_batch(tiles, keys, np.full(12, 3), settings=settings, seed=1), made[3])


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_each_transformation_changes_tiles_by_itself(tiles: Tiles, keys: NDArray[np.uint64], name: str) -> None:
    which = np.full(12, 1 + EVERY.transformations().index(name))
    made = expand_batch(tiles, keys, which, settings=EVERY, seed=0)
    changed = [not np.array_equal(*pair) for pair in zip(made, tiles, strict=True)]
    assert sum(changed) >= 11  # a shift by (0, 0) may be drawn


def test_expansion_has_the_draws_of_the_first_epoch(tiles: Tiles, keys: NDArray[np.uint64]) -> None:
    only = Augmentation(**{**OFF, "rotation_deg": 20.0})
    first = augment_batch(tiles, keys, settings=only, seed=3, epoch=0)
    assert np.array_equal(expand_batch(tiles, keys, np.ones(12, int), settings=only, seed=3), first)


def test_expansion_counts_what_is_switched_on() -> None:
    assert expanded_count(Augmentation(mode="none")) == 1
    assert expanded_count(Augmentation(mode="expand", equalise="none", shear_deg=0)) == 4
    assert EVERY.transformations() == TRANSFORMATIONS and expanded_count(EVERY) == 1 + len(TRANSFORMATIONS)
    assert expanded_count(Augmentation(mode="expand", rotation_probability=0)) == 5


def test_low_probability_still_expands(tiles: Tiles, keys: NDArray[np.uint64]) -> None:
    rare = Augmentation(mode="expand", equalise_probability=0.001, flip_probability=0.001)
    often = Augmentation(mode="expand", equalise_probability=1, flip_probability=1)
    for which in (1, 2):
        pair = [expand_batch(tiles, keys, np.full(12, which), settings=s, seed=0) for s in (rare, often)]
        assert np.array_equal(*pair)


# ---- what is refused


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mode": "onthefly"}, "did you mean 'on_the_fly'"),
        ({"flip": "left"}, "augmentation flip is 'left'; known"),
        ({"equalise": "luma"}, "equalise is 'luma'"),
        ({"rotation_deg": -1}, "rotation_deg is -1; it must be a number from 0 to 180"),
        ({"rotation_deg": 181}, "from 0 to 180"),
        ({"translation": 10}, "translation is 10; it must be a number from 0 to 0.5"),
        ({"shear_deg": float("nan")}, "shear_deg is nan"),
        ({"flip_probability": 1.1}, "flip_probability"),
        ({"shear_probability": "often"}, "shear_probability"),
        ({"contrast": 1.5}, "contrast is 1.5; it must be a number from 0 to 1"),
        ({"colour_probability": -0.1}, "colour_probability"),
        ({"quarter_turns": 1}, "quarter_turns is 1; it must be true or false"),
        ({**OFF, "mode": "expand"}, "no transformation switched on"),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Augmentation(**values)


def test_quarter_turns_need_square_tiles() -> None:
    tiles, keys = np.zeros((8, 20, 30, 3), np.uint8), image_keys(list("abcdefgh"))
    with pytest.raises(InputError, match="30×20 px; quarter turns need square ones"):
        augment_batch(tiles, keys, settings=ALL, seed=0, epoch=0)
    assert augment_batch(tiles, keys, settings=Augmentation(), seed=0, epoch=0).shape == tiles.shape


def test_wrong_arrays_are_refused(tiles: Tiles, keys: NDArray[np.uint64]) -> None:
    call: dict[str, Any] = {"settings": ALL, "seed": 0, "epoch": 0}
    for bad in (tiles.astype(np.float32), tiles[..., :2], tiles[0]):
        with pytest.raises(ValueError, match="tiles must be"):
            augment_batch(bad, keys, **call)
    with pytest.raises(ValueError, match="keys must be"):
        augment_batch(tiles, keys[:3], **call)
    with pytest.raises(ValueError, match="out must be"):
        augment_batch(tiles, keys, **call, out=tiles)
    for which in (np.full(12, 7), np.full(12, -1), np.zeros(3, int)):
        with pytest.raises(ValueError, match="which must be"):
            expand_batch(tiles, keys, which, settings=ALL, seed=0)


def test_an_empty_batch_is_empty(keys: NDArray[np.uint64]) -> None:
    none = np.zeros((0, 20, 20, 3), np.uint8)
    assert augment_batch(none, keys[:0], settings=ALL, seed=0, epoch=0, threads=4).shape == none.shape
    assert expand_batch(none, keys[:0], np.zeros(0, int), settings=ALL, seed=0).shape == none.shape


def test_settings_are_frozen_and_plain() -> None:
    assert all(isinstance(value, (str, float, bool)) for value in dataclasses.asdict(Augmentation()).values())
    with pytest.raises(dataclasses.FrozenInstanceError):
        Augmentation().mode = "none"  # type: ignore[misc]
