"""What lies around the network in a graph: fitting as pixels.fit does it, calibration as judging does it."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from counterstain.judging.calibration import Calibration, apply_calibration
from counterstain.judging.predictions import Predictions
from counterstain.judging.scores import PROB_CLIP
from counterstain.learning.bundle import Bundle
from counterstain.learning.export_graphs import Calibrated, TileGraph, mean_and_std
from counterstain.learning.export_parity import fixed_tiles
from counterstain.pixels.fit import fit_tile
from counterstain.pixels.tensor import SCALES, to_tensor


class Means(nn.Module):
    """A network that a hand can follow: the mean of each channel, as three logits."""

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        return tiles.mean((2, 3))


def graph(tile_px: int, *, fit: str = "stretch", scale: str = "0..1") -> TileGraph:
    bundle = Bundle("given", ("a", "b", "c"), tile_px, fit, scale)
    return TileGraph(Means(), bundle, Calibrated("none", {}, PROB_CLIP)).eval()


# -------------------------------------------------------------------------------------------------------------- fitting


@settings(max_examples=60, deadline=None)
@given(
    tile_px=st.integers(2, 40),
    height=st.integers(2, 90),
    width=st.integers(2, 90),
    fit=st.sampled_from(["stretch", "crop"]),
    seed=st.integers(0, 99),
)
def test_any_size_is_fitted_as_pixels_fit_does(tile_px: int, height: int, width: int, fit: str, seed: int) -> None:
    tile = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = fit_tile(tile, "tile", tile_px=tile_px, fit=fit).astype(int)
    found = graph(tile_px, fit=fit).fit(torch.from_numpy(tile).permute(2, 0, 1)[None].float())[0].permute(1, 2, 0)
    # OpenCV interpolates in whole numbers of 11 bits: what lies near the half of a grey level may fall the other way.
    assert np.abs(found.numpy() - expected).max() <= 1


def test_a_tile_of_the_right_size_is_not_touched() -> None:
    tiles = fixed_tiles(33)
    pixels = torch.from_numpy(tiles).permute(0, 3, 1, 2).float()
    assert torch.equal(graph(33).fit(pixels), pixels)
    assert torch.equal(graph(33, fit="crop").fit(pixels), pixels)


def test_halving_by_hand() -> None:
    # Each new pixel is the mean of four: (0 + 10 + 20 + 30) / 4 = 15, (40 + 50 + 60 + 70) / 4 = 55.
    pixels = torch.tensor([[0.0, 10, 40, 50], [20, 30, 60, 70]] * 2).expand(1, 3, 4, 4)
    assert graph(2).fit(pixels)[0, 0].tolist() == [[15, 55], [15, 55]]


@pytest.mark.parametrize("scale", [*SCALES, "mean 0.7 0.5 0.6 spread 0.2 0.25 0.15"])
def test_scaling_is_that_of_training_and_of_the_config(scale: str) -> None:
    tiles = fixed_tiles(16)
    scaled = to_tensor(tiles, scale=scale)
    logits = scaled.mean((2, 3))
    found = torch.log(graph(16, scale=scale)(torch.from_numpy(tiles)))
    assert torch.allclose(found, torch.log_softmax(logits, 1), atol=1e-5)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in mean_and_std(scale))
    by_config = (torch.from_numpy(tiles).permute(0, 3, 1, 2) / 255 - mean) / std
    assert torch.allclose(by_config, scaled, atol=1e-5)


# ---------------------------------------------------------------------------------------------------------- calibration


def judged(method: str, parameters: dict[str, Any], prob: np.ndarray) -> np.ndarray:
    """What judging makes of these probabilities."""
    names = tuple(str(row) for row in range(len(prob)))
    classes = tuple("abc"[: prob.shape[1]])
    table = Predictions(
        image=names, patient=names, slide=names, site=names, label=np.zeros(len(prob), np.int64), prob=prob,
        classes=classes,
    )  # fmt: skip
    fitted = Calibration(method, parameters, None, "", 0.1, 1.0, classes, 1, 1, "image")
    return apply_calibration(fitted, table).prob


@pytest.mark.parametrize(
    ("method", "parameters", "classes"),
    [
        ("none", {}, 3),
        ("temperature", {"temperature": 3.7}, 3),
        ("temperature", {"temperature": 0.4}, 2),
        ("platt", {"slope": 0.6, "intercept": -0.8}, 2),
        ("isotonic", {"x": [0.05, 0.2, 0.21, 0.9], "y": [0.01, 0.01, 0.6, 0.95]}, 2),
        ("isotonic", {"x": [0.4], "y": [0.3]}, 2),
    ],
)
def test_calibration_is_that_of_judging(method: str, parameters: dict[str, Any], classes: int) -> None:
    # From even to so sure that probabilities are clipped before their logarithm.
    logits = np.random.default_rng(0).normal(0, 1, (400, classes)) * np.geomspace(0.1, 40, 400)[:, None]
    above = np.exp(logits - logits.max(1, keepdims=True))
    prob = above / above.sum(1, keepdims=True)
    assert prob.min() < PROB_CLIP  # the clip is part of what is compared
    found = torch.exp(Calibrated(method, parameters, PROB_CLIP)(torch.from_numpy(logits).float())).double().numpy()
    assert np.abs(found - judged(method, parameters, prob)).max() < 1e-5
    assert np.abs(found.sum(1) - 1).max() < 1e-6


def test_calibration_goes_with_the_graph() -> None:
    names = {name for name, _ in Calibrated("temperature", {"temperature": 2.0}, PROB_CLIP).named_buffers()}
    assert names == {"temperature", "slope", "intercept", "x", "y"}  # a constant would stay on the processor
