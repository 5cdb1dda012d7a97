"""How training tiles are stained: means and spreads by hand, and a record that survives JSON."""

import json
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from counterstain.errors import InputError
from counterstain.images.stain_separation import find_stains, sample_pixels
from counterstain.images.stain_statistics import SPACES, StainStatistics, colour_moments, fit_statistics


def test_moments_are_those_of_opencvs_lab(made: Any) -> None:
    """Mean and spread of L*, a*, b* over all pixels of small tiles; OpenCV's constants have more digits."""
    tiles = made.phantoms(3, 64)
    lab = np.stack([cv2.cvtColor(tile / np.float32(255), cv2.COLOR_RGB2Lab) for tile in tiles]).reshape(3, -1, 3)
    mean, spread, blank = colour_moments(sample_pixels(tiles), "lab")
    assert not blank.any()
    assert np.abs(mean.numpy() - lab.mean(axis=1)).max() < 0.1
    assert np.abs(spread.numpy() - lab.std(axis=1)).max() < 0.1


def test_statistics_are_over_the_tiles(made: Any) -> None:
    tiles = np.concatenate([made.phantoms(4, 64), np.stack(list(made.awkward_tiles(64).values()))])
    statistics = fit_statistics(tiles)
    assert (statistics.tiles, statistics.blank) == (10, 6)
    for space in SPACES:
        mean, spread, _ = colour_moments(sample_pixels(tiles[:4]), space)
        wanted = [mean.mean(0), mean.std(0, correction=0), spread.mean(0), spread.std(0, correction=0)]
        assert np.allclose(statistics.moments[space], torch.stack(wanted).numpy(), rtol=1e-4, atol=1e-5)
    stains = find_stains(sample_pixels(tiles[:4]), "macenko")
    assert np.allclose(np.array(statistics.stains)[:, :6].reshape(4, 2, 3), stains.vectors.numpy())
    assert np.allclose(np.array(statistics.stains)[:, 6:], stains.strength.numpy())


def test_a_record_survives_json(made: Any) -> None:
    statistics = fit_statistics(made.phantoms(3, 64))
    assert StainStatistics.from_record(json.loads(json.dumps(statistics.record()))) == statistics


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": "other"}, "have schema"),
        ({"moments": {}}, "fit them anew"),
        ({"moments": {"lab": {"mean": [1, 2, 3]}}}, "damaged"),
        ({"stains": [[1.0] * 7]}, "damaged"),
        ({"stains": [[float("inf")] * 8]}, "damaged"),
        ({"stains": 3}, "damaged"),
        ({"tiles": None}, "damaged"),
    ],
)
def test_a_damaged_record_is_refused(change: dict[str, Any], words: str, made: Any) -> None:
    with pytest.raises(InputError, match=words):
        StainStatistics.from_record(fit_statistics(made.phantoms(2, 64)).record() | change)


def test_blank_tiles_have_no_statistics(made: Any) -> None:
    awkward = np.stack(list(made.awkward_tiles(64).values()))
    with pytest.raises(InputError, match="0 of 6 tiles"):
        fit_statistics(awkward)
    with pytest.raises(InputError, match="1 of 7 tiles"):
        fit_statistics(np.concatenate([awkward, made.phantoms(1, 64)]))
