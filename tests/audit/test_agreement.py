"""The second stage of the search for copies: the correlation of two tiles' fine structure under each symmetry."""

import numpy as np
import pytest

from counterstain.audit.duplicates import _agreement, _alike
from counterstain.audit.fingerprints import symmetries


@pytest.fixture
def tile() -> np.ndarray:
    return np.random.default_rng(0).integers(60, 190, (64, 64)).astype(np.uint8)


@pytest.mark.parametrize("index", range(8))
def test_a_turned_tile_agrees_with_itself_under_its_own_symmetry_alone(tile: np.ndarray, index: int) -> None:
    turned = np.ascontiguousarray(symmetries(tile)[index])
    found = [_agreement(tile, turned, other) for other in range(8)]
    assert found[index] == pytest.approx(1, abs=1e-5)
    assert np.abs(np.delete(found, index)).max() < 0.1
    assert [_alike(tile, turned, other) for other in range(8)] == [other == index for other in range(8)]


def test_brightness_contrast_and_slow_shading_are_no_structure(tile: np.ndarray) -> None:
    shade = np.linspace(-15, 15, 64)[None, :]
    for other in (tile + 40, tile / 2 + 60, tile + shade):
        changed = np.round(other).astype(np.uint8)
        assert _agreement(tile, changed, 0) > 0.99
        assert not _alike(tile, changed, 0)


def test_agreement_is_a_correlation(tile: np.ndarray) -> None:
    """It falls to 1/√2 with noise of the same size, to 0 with another tile, and to -1 with the negative."""
    rng = np.random.default_rng(1)
    noise = rng.integers(60, 190, (64, 64))
    assert _agreement(tile, noise.astype(np.uint8), 0) == pytest.approx(0, abs=0.1)
    half = np.round((tile.astype(float) + noise) / 2).astype(np.uint8)
    assert _agreement(tile, half, 0) == pytest.approx(np.sqrt(0.5), abs=0.05)
    assert _agreement(tile, 255 - tile, 0) == pytest.approx(-1, abs=1e-5)


def test_a_blank_tile_agrees_with_nothing(tile: np.ndarray) -> None:
    blank = np.full((64, 64), 240, dtype=np.uint8)
    assert _agreement(tile, blank, 0) == pytest.approx(0, abs=1e-5)
    assert _agreement(blank, blank, 0) == pytest.approx(0, abs=1e-5)
