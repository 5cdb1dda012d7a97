"""What lies around the network in a graph: fitting as images.tile does it, calibration as judging does it."""

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from counterstain.evaluation.calibration import Calibration, apply_calibration
from counterstain.evaluation.metrics import PROB_CLIP
from counterstain.evaluation.predictions import Predictions
from counterstain.export.graphs import (
    Calibrated,
    SlideGraph,
    TileGraph,
    open_torchscript,
    white_margin,
    write_onnx,
    write_torchscript,
)
from counterstain.export.parity import fixed_tiles
from counterstain.images.tensor import SCALES, to_tensor
from counterstain.images.tile import fit_tile
from counterstain.learning.bundle import Bundle
from counterstain.slides.area_resampling import area_resample


class Means(nn.Module):
    """A network that a hand can follow: the mean of each channel, as three logits."""

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        return tiles.mean((2, 3))


def graph(tile_px: int, *, fit: str = "stretch", scale: str = "0..1") -> TileGraph:
    bundle = Bundle("given", ("a", "b", "c"), tile_px, fit, scale)
    return TileGraph(Means(), bundle, Calibrated("none", {}, PROB_CLIP)).eval()


# -------------------------------------------------------------------------------------------------------------- fitting


@settings(max_examples=60)
@given(
    tile_px=st.integers(2, 40),
    height=st.integers(2, 90),
    width=st.integers(2, 90),
    fit=st.sampled_from(["stretch", "crop"]),
    levels=st.sampled_from([3, 256]),
    seed=st.integers(0, 99),
)
@example(tile_px=25, height=85, width=34, fit="crop", levels=256, seed=66)  # 62.5 rows, 62.50000000000001 once
@example(tile_px=34, height=75, width=78, fit="stretch", levels=256, seed=1)
def test_any_size_is_fitted_to_the_very_px(
    tile_px: int, height: int, width: int, fit: str, levels: int, seed: int
) -> None:
    # Few levels make many halves of a level.
    tile = np.random.default_rng(seed).integers(0, levels, (height, width, 3), dtype=np.uint8)
    expected = fit_tile(tile, "tile", tile_px=tile_px, fit=fit).astype(int)
    found = graph(tile_px, fit=fit).fit(torch.from_numpy(tile).permute(2, 0, 1)[None].float())[0].permute(1, 2, 0)
    differ = np.abs(found.numpy() - expected)
    # Of noise, one value in some 200,000 lies within the sixth decimal of where a level ends.
    assert differ.max() <= 1 and (differ > 0).sum() <= (2 if levels == 256 else 0)


@pytest.mark.parametrize("scale", [0.25, 0.5, 0.8, 1.2, 1.5, 2.7, 4.0])
@pytest.mark.parametrize("tile_px", [127, 224])
def test_the_windows_of_slides_are_fitted_alike(tile_px: int, scale: float) -> None:
    side = round(tile_px * scale)
    tile = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    found = graph(tile_px).fit(torch.from_numpy(tile).permute(2, 0, 1)[None].float())[0].permute(1, 2, 0).numpy()
    differ = found != fit_tile(tile, "tile", tile_px=tile_px, fit="stretch")
    # Between noise, some of 150,000 values lie within the sixth decimal of where a level ends.
    assert differ.mean() <= (2e-5 if scale in (0.8, 1.2) else 0), differ.sum()


def test_a_tile_of_the_right_size_is_not_touched() -> None:
    tiles = fixed_tiles(33)
    pixels = torch.from_numpy(tiles).permute(0, 3, 1, 2).float()
    assert torch.equal(graph(33).fit(pixels), pixels)
    assert torch.equal(graph(33, fit="crop").fit(pixels), pixels)


@pytest.mark.parametrize("factor", [2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("side", [16, 33])
def test_whole_factors_are_resized_to_the_very_px(factor: int, side: int) -> None:
    """What slides finer than the model by a whole factor are: every px as OpenCV has it, halves of a level included."""
    tile = np.random.default_rng(factor).integers(0, 256, (side * factor, side * factor, 3), dtype=np.uint8)
    expected = fit_tile(tile, "tile", tile_px=side, fit="stretch")
    assert np.array_equal(
        area_resample(tile, (0, 0, side * factor, side * factor), width_px=side, height_px=side), expected
    )
    found = graph(side).fit(torch.from_numpy(tile).permute(2, 0, 1)[None].float())[0].permute(1, 2, 0).numpy()
    assert np.array_equal(found, expected)


def test_halving_by_hand() -> None:
    # (0 + 0 + 1 + 1) / 4 is a half and goes up, which OpenCV does where it halves.
    half = torch.tensor([[0.0, 0, 2, 2], [1, 1, 3, 3]] * 2).expand(1, 3, 4, 4)
    assert graph(2).fit(half)[0, 0].tolist() == [[1, 3], [1, 3]]
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
    given = torch.from_numpy(tiles).permute(0, 3, 1, 2) / 255  # what ToTensor makes of them
    assert torch.allclose(SlideGraph(graph(16, scale=scale))(given), torch.log_softmax(logits, 1), atol=1e-5)


# -------------------------------------------------------------------------------------------------------- black margins


def test_black_margin_by_hand() -> None:
    tile = torch.full((3, 5, 6), 40.0)
    tile[:, 3:, :] = 0  # the slide ends after three rows and four columns
    tile[:, :, 4:] = 0
    tile[:, 1, :2] = 0  # black within the tissue stays black
    dark = torch.zeros((3, 5, 6))  # nothing but black: pen or a hole, not an edge
    left = torch.full((3, 5, 6), 9.0)
    left[:, :, :2] = 0  # a slide never begins late: black at the left and at the top stays
    left[:, :1, :] = 0
    found = white_margin(torch.stack([tile, dark, left]))
    assert (found[0, :, 3:, :] == 255).all() and (found[0, :, :, 4:] == 255).all()
    assert torch.equal(found[0, :, :3, :4], tile[:, :3, :4])
    assert torch.equal(found[1], dark)
    assert torch.equal(found[2], left)


def test_a_margin_needs_black_in_every_channel() -> None:
    tile = torch.full((1, 3, 4, 4), 80.0)
    tile[:, :2, :, 3] = 0  # blue remains
    assert torch.equal(white_margin(tile), tile)


@given(rows=st.integers(1, 12), columns=st.integers(1, 12), seed=st.integers(0, 99))
def test_a_tile_that_is_cut_anywhere_reads_as_on_white(rows: int, columns: int, seed: int) -> None:
    pixels = torch.from_numpy(np.random.default_rng(seed).integers(1, 256, (1, 3, 12, 12))).float()
    black, white = torch.zeros_like(pixels), torch.full_like(pixels, 255)
    for canvas in (black, white):
        canvas[:, :, :rows, :columns] = pixels[:, :, :rows, :columns]
    assert torch.equal(white_margin(black), white)


# ---------------------------------------------------------------------------------------------------------- the archive


def test_torchscript_is_the_same_bytes_and_tells_no_path(tmp_path: Path) -> None:
    """Twice in one process, where torch would number the classes of the second on from the first."""
    contents = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        write_torchscript(SlideGraph(graph(16)), folder / "torchscript_model.pt", tile_px=16)
        contents.append((folder / "torchscript_model.pt").read_bytes())
        assert [path.name for path in folder.iterdir()] == ["torchscript_model.pt"]
    assert contents[0] == contents[1]
    with zipfile.ZipFile(tmp_path / "one" / "torchscript_model.pt") as archive:
        for entry in archive.infolist():
            assert not re.search(rb"/[\w./-]+\.py\(\d+\)|debug_pkl", archive.read(entry))
            assert str(Path(__file__).parents[2]).encode() not in archive.read(entry)
            start = entry.header_offset + 30 + len(entry.filename) + len(entry.extra)
            assert start % 64 == 0  # as torch writes them


def test_torchscript_runs_as_the_graph_for_tiles_of_any_size(tmp_path: Path) -> None:
    own = graph(16, fit="crop", scale="imagenet")
    path = tmp_path / "torchscript_model.pt"
    write_torchscript(SlideGraph(own), path, tile_px=16)
    run = open_torchscript(path)
    for height, width in ((16, 16), (64, 64), (17, 40), (5, 9)):
        tiles = np.random.default_rng(height).integers(1, 256, (3, height, width, 3), dtype=np.uint8)
        assert np.abs(run(tiles) - own(torch.from_numpy(tiles)).numpy()).max() < 1e-6


@pytest.mark.slow
def test_onnx_names_its_axes_and_says_what_it_is(tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    facts = {"classes": '["a", "b", "c"]', "mpp": "0.5"}
    for name in ("one.onnx", "two.onnx"):
        write_onnx(graph(16), tmp_path / name, facts)
    content = (tmp_path / "one.onnx").read_bytes()
    assert content == (tmp_path / "two.onnx").read_bytes()
    assert not re.search(rb"/[\w./-]*(site-packages|counterstain)/", content)
    session = onnxruntime.InferenceSession(str(tmp_path / "one.onnx"))
    assert [(one.name, one.shape) for one in session.get_inputs()] == [("tiles", ["batch", "height", "width", 3])]
    assert [(one.name, one.shape) for one in session.get_outputs()] == [("probabilities", ["batch", 3])]
    assert session.get_modelmeta().custom_metadata_map == facts
    onnx.checker.check_model(str(tmp_path / "one.onnx"), full_check=True)


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
