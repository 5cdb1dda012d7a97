"""Degradations: exact at strength 0, worse with strength, right in µm, each checked against another way to do it."""

import io
import itertools
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from counterstain.errors import InputError
from counterstain.phantom.tiles import Phantom, draw_tile
from counterstain.robustness.degrade import (
    SYMMETRIES,
    blur,
    brighten,
    compress,
    lab_sums,
    mean_and_spread,
    misjudge_scale,
    raise_contrast,
    shift_stain,
    transfer_colour,
    turn,
)

Tiles = NDArray[np.uint8]
HAEMATOXYLIN, EOSIN = np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11])


@pytest.fixture(scope="module")
def tissue() -> Tiles:
    """Four phantom tiles of 96 px from two sites."""
    phantom = Phantom(patients=4, tiles_per_patient=1, tile_px=96, seed=3)
    return np.stack([draw_tile(phantom, patient, 0).pixels for patient in range(4)])


def site_moments(tiles: Tiles) -> NDArray[np.float64]:
    """(B, 2, 3), the same for every tile: the moments of all of them together."""
    return np.broadcast_to(mean_and_spread(lab_sums(tiles).sum(axis=0)), (len(tiles), 2, 3))


def to_other_colours(tiles: Tiles, strength: float) -> Tiles:
    target = site_moments(tiles) + np.array([[-8.0, 6.0, -5.0], [0.0, 0.0, 0.0]])
    return transfer_colour(tiles, strength, source=site_moments(tiles), target=target)


GROWING: dict[str, tuple[Callable[[Tiles, float], Tiles], tuple[float, ...]]] = {
    "more haematoxylin": (shift_stain, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "more eosin": (shift_stain, (-0.1, -0.2, -0.3, -0.4, -0.5)),
    "brighter": (brighten, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "darker": (brighten, (-0.1, -0.2, -0.3, -0.4, -0.5)),
    "more contrast": (raise_contrast, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "less contrast": (raise_contrast, (-0.1, -0.2, -0.3, -0.4, -0.5)),
    "blur": (partial(blur, mpp=0.5), (0.25, 0.5, 1.0, 2.0, 4.0)),
    "jpeg": (compress, (10, 30, 50, 70, 90)),
    "colour transfer": (to_other_colours, (0.2, 0.4, 0.6, 0.8, 1.0)),
    "too large": (misjudge_scale, (-0.05, -0.1, -0.2)),
    "too small": (misjudge_scale, (0.05, 0.1, 0.2)),
}


@pytest.mark.parametrize("name", GROWING)
def test_strength_0_is_exactly_the_tile(name: str, tissue: Tiles) -> None:
    np.testing.assert_array_equal(GROWING[name][0](tissue, 0), tissue)


@pytest.mark.parametrize("name", GROWING)
def test_damage_grows_with_strength_and_comes_out_the_same_again(name: str, tissue: Tiles) -> None:
    degrade, strengths = GROWING[name]
    before = tissue.copy()
    made = [degrade(tissue, strength) for strength in strengths]
    error = [float(((one.astype(float) - tissue) ** 2).mean()) for one in made]
    assert error[0] > 0
    assert error == sorted(error)
    for one, strength in zip(made, strengths, strict=True):
        assert one.shape == tissue.shape
        assert one.dtype == np.uint8
        np.testing.assert_array_equal(degrade(tissue, strength), one)
    np.testing.assert_array_equal(tissue, before)  # the input is left alone


@pytest.mark.parametrize("name", GROWING)
def test_a_tile_does_not_depend_on_its_batch(name: str, tissue: Tiles) -> None:
    degrade, strengths = GROWING[name]
    if name == "colour transfer":
        degrade = partial(transfer_colour, source=site_moments(tissue)[:1], target=site_moments(tissue)[:1] + 3)
        together = transfer_colour(tissue, 1, source=site_moments(tissue), target=site_moments(tissue) + 3)
    else:
        together = degrade(tissue, strengths[1])
    alone = degrade(tissue[2:3], 1 if name == "colour transfer" else strengths[1])
    np.testing.assert_array_equal(alone[0], together[2])


# -------------------------------------------------------------------------------------------------------------- colour


@settings(max_examples=60)
@given(
    haematoxylin=st.floats(0.05, 0.9),
    eosin=st.floats(0.05, 0.5),
    strength=st.floats(-0.5, 0.5).filter(lambda s: abs(s) > 0.01),
)
def test_concentrations_are_multiplied_in_optical_density(haematoxylin: float, eosin: float, strength: float) -> None:
    vectors = np.stack([HAEMATOXYLIN, EOSIN])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    growth = 1 + abs(strength)
    factor = np.array([growth, 1 / growth] if strength > 0 else [1 / growth, growth])
    stained = np.rint(255 * np.exp(-np.array([haematoxylin, eosin]) @ vectors))
    tile = np.broadcast_to(stained.astype(np.uint8), (1, 4, 4, 3))
    expected = 255 * np.exp(-(np.array([haematoxylin, eosin]) * factor) @ vectors)
    # The input was rounded to whole levels; a growth of 1.5 makes at most a few of half a one.
    np.testing.assert_allclose(shift_stain(tile, strength)[0, 0, 0], expected, atol=2.5)


def test_stain_shift_leaves_white_white_and_takes_black() -> None:
    tile = np.zeros((1, 2, 2, 3), np.uint8)
    tile[0, 0] = 255
    for strength in (-0.5, 0.5):
        shifted = shift_stain(tile, strength)
        np.testing.assert_array_equal(shifted[0, 0], 255)
        assert shifted[0, 1].max() <= 30


def test_more_haematoxylin_is_bluer_and_more_eosin_is_pinker(tissue: Tiles) -> None:
    red, green, blue = (shift_stain(tissue, 0.3)[..., c].mean() - tissue[..., c].mean() for c in range(3))
    assert red < 0
    assert red < blue
    red, green, _ = (shift_stain(tissue, -0.3)[..., c].mean() - tissue[..., c].mean() for c in range(3))
    assert red > 0
    assert red > green


def test_brightness_multiplies_and_contrast_moves_from_the_mean_grey(tissue: Tiles) -> None:
    np.testing.assert_allclose(brighten(tissue, 0.3), np.minimum(tissue * 1.3, 255), atol=0.51)
    grey = (tissue @ np.array([0.299, 0.587, 0.114])).mean(axis=(1, 2))[:, None, None, None]
    np.testing.assert_allclose(raise_contrast(tissue, -0.4), grey + 0.6 * (tissue - grey), atol=0.52)
    with pytest.raises(InputError, match="0 or more"):
        brighten(tissue, -1.5)


def test_a_full_transfer_gives_the_other_site_s_mean_and_spread(tissue: Tiles) -> None:
    own, other = tissue[:2], tissue[2:]
    source, target = site_moments(own), site_moments(other)
    moved = transfer_colour(own, 1.0, source=source, target=target)
    reached = mean_and_spread(lab_sums(moved).sum(axis=0))
    before = np.abs(source[0] - target[0]).max()
    assert before > 2
    np.testing.assert_allclose(reached, target[0], atol=0.25 * before)  # what leaves the gamut is clipped
    back = transfer_colour(moved, 1.0, source=target, target=source)
    assert np.abs(back.astype(int) - own).mean() < 3


def test_a_transfer_keeps_what_tells_tiles_of_one_site_apart(tissue: Tiles) -> None:
    dark, bright = tissue[:1] // 2, tissue[:1]
    both = np.concatenate([dark, bright])
    moved = to_other_colours(both, 1.0)
    assert moved[1].mean() - moved[0].mean() > 0.7 * (bright.mean() - dark.mean())


def test_a_site_without_spread_is_moved_and_not_stretched() -> None:
    flat = np.full((1, 8, 8, 3), 200, np.uint8)
    target = np.array([[[60.0, 20.0, -10.0], [15.0, 5.0, 5.0]]])
    moved = transfer_colour(flat, 1.0, source=site_moments(flat), target=target)
    assert np.isfinite(moved).all()
    np.testing.assert_allclose(mean_and_spread(lab_sums(moved))[0, 0], target[0, 0], atol=0.5)


def test_lab_is_that_of_the_standard() -> None:
    # White, mid grey and pure red of sRGB under D65; from CIE 1976 by hand: L* of grey 119 is 50.03.
    # OpenCV looks the curves up in tables.
    tiles = np.array([[[[255, 255, 255]]], [[[119, 119, 119]]], [[[255, 0, 0]]]], np.uint8)
    expected = [(100.0, 0.0, 0.0), (50.03, 0.0, 0.0), (53.24, 80.09, 67.20)]
    np.testing.assert_allclose(mean_and_spread(lab_sums(tiles))[:, 0], expected, atol=0.2)


# ----------------------------------------------------------------------------------------------------- focus and files


def test_blur_in_px_halves_when_the_pixel_doubles(tissue: Tiles) -> None:
    np.testing.assert_array_equal(blur(tissue, 2.0, mpp=0.5), blur(tissue, 4.0))
    np.testing.assert_array_equal(blur(tissue, 2.0, mpp=1.0), blur(tissue, 2.0))
    each = blur(tissue, 2.0, mpp=np.array([[0.5, 0.5], [1.0, 1.0], [0.5, 0.5], [1.0, 1.0]]))
    np.testing.assert_array_equal(each[::2], blur(tissue[::2], 4.0))
    np.testing.assert_array_equal(each[1::2], blur(tissue[1::2], 2.0))


def test_blur_is_a_gaussian(tissue: Tiles) -> None:
    expected = ndimage.gaussian_filter(tissue.astype(float), (0, 3, 1.5, 0), mode="mirror", truncate=3)
    found = blur(tissue, 1.5, mpp=np.array([[0.5, 1.0]]))
    assert np.abs(found - expected).mean() < 0.6
    assert np.abs(found - expected).max() < 3


def test_jpeg_is_that_of_another_encoder(tissue: Tiles) -> None:
    for strength in (10, 50, 90):
        for tile, own in zip(tissue, compress(tissue, strength), strict=True):
            file = io.BytesIO()
            Image.fromarray(tile).save(file, "JPEG", quality=100 - strength, subsampling="4:2:0")
            with Image.open(file) as image:
                theirs = np.asarray(image.convert("RGB")).astype(int)
            assert np.abs(own.astype(int) - theirs).mean() < 1.0
    with pytest.raises(InputError, match="whole number"):
        compress(tissue, 100)
    with pytest.raises(InputError, match="whole number"):
        compress(tissue, 10.5)


# ------------------------------------------------------------------------------------------------------------ geometry


@pytest.mark.parametrize("strength", [-0.5, -0.35, -0.2, -0.1, -0.05, 0.05, 0.1, 0.2, 0.35, 0.5])
def test_a_disc_changes_its_size_as_the_scale_is_misjudged(strength: float) -> None:
    side = 257
    rows, columns = np.mgrid[:side, :side]
    disc = (rows - 128) ** 2 + (columns - 128) ** 2 < 40**2
    tile = np.where(disc[..., None], 0, 255).astype(np.uint8).repeat(3, axis=2)[None]
    seen = misjudge_scale(tile, strength)[0, ..., 0] < 128
    radius = np.sqrt(seen[64:193, 64:193].sum() / np.pi) if strength > 0 else np.sqrt(seen.sum() / np.pi)
    assert radius == pytest.approx(40 / (1 + strength), rel=0.02)


def test_what_lies_outside_a_shrunk_tile_is_its_mirror(tissue: Tiles) -> None:
    shrunk = misjudge_scale(tissue, 0.5)  # 96 px become 64, with 16 on each side
    np.testing.assert_array_equal(shrunk[:, :16], shrunk[:, 16:32][:, ::-1])
    with pytest.raises(InputError, match="µm/px off"):
        misjudge_scale(tissue, 1.5)


def test_the_symmetries_are_eight_and_of_the_square() -> None:
    tile = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
    turned = [turn(tile, symmetry) for symmetry in range(8)]
    assert len(SYMMETRIES) == 8
    for a, b in itertools.combinations(turned, 2):
        assert not np.array_equal(a, b)
    np.testing.assert_array_equal(turned[0], tile)
    np.testing.assert_array_equal(turned[1][0], np.rot90(tile[0]))
    np.testing.assert_array_equal(turned[4][0], tile[0][:, ::-1])
    for a, b in itertools.product(range(8), repeat=2):  # a group: two in turn are one of the eight
        both = turn(turn(tile, a), b)
        assert sum(np.array_equal(both, one) for one in turned) == 1
