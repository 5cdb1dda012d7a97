"""The public network scales pixels itself: whatever a user may give, it is right or refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from counterstain.errors import InputError
from counterstain.learning.bundle import Bundle, write_bundle
from counterstain.learning.networks import build_network
from counterstain.learning.predictor import load_predictor
from counterstain.learning.scaled_network import ScaledNetwork, load_network

SIDE = 127
TILES = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), dtype=np.uint8)
TENSOR = torch.from_numpy(TILES.transpose(0, 3, 1, 2).copy())


@pytest.fixture(scope="module", params=["-1..1", "0..1", "imagenet"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    bundle = Bundle("given", ("a", "b"), SIDE, "exact", request.param)
    write_bundle(folder, bundle, build_network("given", classes=2, tile_px=SIDE, seed=1))
    return folder


@pytest.fixture(scope="module")
def network(folder: Path) -> ScaledNetwork:
    return load_network(folder)


def test_uint8_and_unit_floats_give_what_prediction_gives(folder: Path, network: ScaledNetwork) -> None:
    expected = load_predictor(folder).logits(TILES)
    with torch.inference_mode():
        assert np.allclose(network(TENSOR).numpy(), expected, atol=1e-5)
        assert np.allclose(network(TENSOR / 255).numpy(), expected, atol=1e-5)
    assert network.classes == ("a", "b") and not network.training


@pytest.mark.parametrize(
    ("tiles", "words"),
    [
        (TENSOR / 127.5 - 1, r"floats from -1 to 1; from 0 to 1 are needed, since the network scales them itself"),
        (TENSOR.float(), r"floats from 0 to 255; from 0 to 1"),
        (TENSOR.long(), r"tiles are torch.int64"),
        (torch.from_numpy(TILES), r"\(B, 3, 127, 127\) is needed"),
        (TENSOR[0], r"\(B, 3, 127, 127\) is needed"),
        (torch.full((1, 3, SIDE, SIDE), float("nan")), r"floats from nan to nan"),
    ],
)
def test_what_is_scaled_or_laid_out_otherwise_is_refused(
    network: ScaledNetwork, tiles: torch.Tensor, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        network(tiles)


def test_what_is_given_stays_as_it_was_and_gradients_flow(network: ScaledNetwork) -> None:
    given = (TENSOR / 255).requires_grad_()
    before = given.detach().clone()
    network(given)[:, 1].sum().backward()
    assert torch.equal(given.detach(), before)
    assert given.grad is not None and given.grad.abs().sum() > 0
    kept = TENSOR.clone()
    network(kept)
    assert torch.equal(kept, TENSOR)


def test_networks_of_bags_are_refused(tmp_path: Path) -> None:
    from counterstain.learning.mil_networks import build_bag_network

    sizes = {"width": 8, "hidden": 8, "attention": 4}
    bags = build_bag_network("mil/mean", classes=2, seed=0, **sizes)
    write_bundle(tmp_path, Bundle("mil/mean", ("a", "b"), 0, "features", "0..1", layout=sizes | {"encoder": ""}), bags)
    with pytest.raises(InputError, match="model of bags of features"):
        load_network(tmp_path)
