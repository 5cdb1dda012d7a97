"""Maps lie where the evidence was planted, and agree with an independent library and with the formulas."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from torch import Tensor

from counterstain.errors import InputError
from counterstain.explanation.layers import Layer
from counterstain.explanation.saliency import (
    CAMS,
    METHODS,
    STEPS,
    Explainer,
    _cells,
    attributions,
    blur,
    cell_edges,
    log_odds,
    make_explainer,
    sensitivity,
)
from counterstain.learning.backbones import build_backbone
from counterstain.learning.networks import build_network


@pytest.mark.parametrize("method", METHODS)
def test_every_method_marks_the_quarter_that_alone_is_let_in(planted: SimpleNamespace, method: str) -> None:
    explainer = make_explainer(planted.predictor("masked"), method)
    tiles = planted.tiles(6, malignant=True, seed=0)
    maps = sensitivity(explainer, tiles, np.ones(6, dtype=np.int64))
    half = explainer.side // 2
    inside = maps[:, :half, :half].sum(axis=(1, 2)) / maps.sum(axis=(1, 2))
    assert inside.min() > 0.97
    assert maps.min() >= 0


@pytest.mark.parametrize(
    ("method", "marks_it"), [("hirescam", True), ("integrated-gradients", True), ("gradcam", False)]
)
def test_grad_cam_errs_where_a_dense_layer_tells_places_apart(
    planted: SimpleNamespace, method: str, marks_it: bool
) -> None:
    """Why it is not the default: its weights are means over places, and both own networks end in dense layers."""
    explainer = make_explainer(planted.predictor("flatten"), method)
    maps = sensitivity(explainer, planted.tiles(6, malignant=True, seed=0), np.ones(6, dtype=np.int64))
    half = explainer.side // 2
    inside = maps[:, :half, :half].sum(axis=(1, 2)) / maps.sum(axis=(1, 2))
    assert bool(inside.min() > 0.97) is marks_it


def test_grad_cam_agrees_with_captum() -> None:
    network = build_backbone("timm/resnet18", classes=3, tile_px=128, seed=0).eval()
    tiles = np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3), dtype=np.uint8)
    target = np.array([0, 2, 1])
    predictor = _predictor(network, 128)
    found = sensitivity(make_explainer(predictor, "gradcam"), tiles, target)

    def score(batch: Tensor) -> Tensor:
        return log_odds(network(batch), torch.from_numpy(target))

    reference = LayerGradCam(score, network.get_submodule("body.layer4"))
    expected = reference.attribute(predictor.to_tensor(tiles), relu_attributions=True)[:, 0].detach().numpy()
    assert found.max() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_hirescam_is_grad_cam_before_a_mean_and_a_linear_layer() -> None:
    network = build_backbone("timm/resnet18", classes=2, tile_px=128, seed=1).eval()
    tiles = np.random.default_rng(1).integers(0, 256, (3, 128, 128, 3), dtype=np.uint8)
    target = np.array([1, 0, 1])
    maps = [
        sensitivity(make_explainer(_predictor(network, 128), name), tiles, target) for name in ("hirescam", "gradcam")
    ]
    assert maps[0].max() > 0
    np.testing.assert_allclose(*maps, rtol=1e-3, atol=1e-6)


def _predictor(network: torch.nn.Module, tile_px: int) -> SimpleNamespace:
    from counterstain.images.tensor import to_tensor

    return SimpleNamespace(
        network=network,
        bundle=SimpleNamespace(tile_px=tile_px),
        to_tensor=lambda tiles: to_tensor(tiles, scale="imagenet"),
    )


def test_grad_cam_plus_plus_is_its_formula_place_by_place() -> None:
    rng = np.random.default_rng(3)
    map_, gradient = rng.normal(size=(2, 3, 4, 4)), rng.normal(size=(2, 3, 4, 4))
    expected = np.zeros((2, 4, 4))
    for b in range(2):
        for k in range(3):
            weight = 0.0
            for i in range(4):
                for j in range(4):
                    g = gradient[b, k, i, j]
                    alpha = g**2 / (2 * g**2 + map_[b, k].sum() * g**3)
                    weight += alpha * max(g, 0)
            expected[b] += weight * map_[b, k]
    found = CAMS["gradcam++"](torch.from_numpy(map_), torch.from_numpy(gradient))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


def test_integrated_gradients_sum_to_the_difference_that_they_explain() -> None:
    network = build_network("given", classes=2, tile_px=127, seed=0).eval()
    with torch.no_grad():
        network.output.weight.mul_(20)
    predictor = _predictor(network, 127)
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (4, 127, 127, 3), dtype=np.uint8)
    target = torch.tensor([0, 1, 1, 0])
    made = attributions(predictor, tiles, target)  # type: ignore[arg-type]
    with torch.no_grad():
        ends = [log_odds(network(predictor.to_tensor(one)), target) for one in (tiles, blur(tiles))]
    difference = (ends[0] - ends[1]).numpy()
    assert np.abs(difference).min() > 0.01
    np.testing.assert_allclose(made.sum((1, 2, 3)).numpy(), difference, rtol=0.1)
    np.testing.assert_allclose(_cells(made).sum(axis=(1, 2)), made.double().sum((1, 2, 3)).numpy(), rtol=1e-6)
    assert STEPS >= 16


@pytest.mark.parametrize("method", METHODS)
def test_a_tile_has_the_same_map_whatever_stands_beside_it(planted: SimpleNamespace, method: str) -> None:
    explainer = make_explainer(planted.predictor("flatten"), method)
    tiles = np.concatenate([planted.tiles(18, malignant=True, seed=1), planted.tiles(3, malignant=False, seed=2)])
    target = np.ones(21, dtype=np.int64)
    maps = sensitivity(explainer, tiles, target)
    # A cell is a sum of terms as large as the map's largest, and rounding in fp32 is a share of those.
    alone = sensitivity(explainer, tiles[17:18], target[:1])
    np.testing.assert_allclose(maps[17:18], alone, rtol=0, atol=1e-4 * np.abs(maps[17]).max())


def test_log_odds_are_of_one_class_against_all_others() -> None:
    logits = torch.tensor([[1.0, 2.0, -0.5], [0.3, 0.0, 4.0]], dtype=torch.float64)
    prob = torch.softmax(logits, 1)[torch.arange(2), torch.tensor([1, 0])]
    torch.testing.assert_close(log_odds(logits, torch.tensor([1, 0])), torch.log(prob / (1 - prob)))
    # What raises every logit alike explains nothing.
    torch.testing.assert_close(log_odds(logits + 7, torch.tensor([1, 0])), log_odds(logits, torch.tensor([1, 0])))


def test_cells_share_a_tile_out_without_a_gap() -> None:
    for tile_px, side in ((257, 8), (64, 8), (127, 4), (100, 7)):
        edges = cell_edges(tile_px, side)
        assert edges[0] == 0 and edges[-1] == tile_px and set(np.diff(edges)) <= {tile_px // side, tile_px // side + 1}


def test_an_unknown_method_is_refused_with_the_nearest(planted: SimpleNamespace) -> None:
    with pytest.raises(InputError, match="did you mean 'gradcam'"):
        make_explainer(planted.predictor("whole"), "grad-cam")


def test_a_frozen_body_has_a_map() -> None:
    network = build_backbone("timm/resnet18", classes=2, tile_px=128, seed=0).eval()
    network.freeze(True)
    tiles = np.random.default_rng(0).integers(0, 256, (1, 128, 128, 3), dtype=np.uint8)
    explainer = Explainer(_predictor(network, 128), "gradcam", Layer("body.layer4", 4))  # type: ignore[arg-type]
    maps = [sensitivity(explainer, tiles, np.array([index])) for index in (0, 1)]
    assert max(one.max() for one in maps) > 0
