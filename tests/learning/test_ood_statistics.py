"""Unfamiliar tiles are flagged, familiar ones mostly not; the statistics survive their file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from counterstain.errors import InputError
from counterstain.files import write_bytes
from counterstain.images.tensor import to_tensor
from counterstain.learning.appearance import LOOKS, looks_of
from counterstain.learning.backbones import build_backbone
from counterstain.learning.networks import build_network
from counterstain.learning.ood_statistics import (
    OodStatistics,
    distances,
    features_of,
    fit_ood_statistics,
    read_ood_statistics,
    write_ood_statistics,
)


def drawn(count: int, seed: int, width: int = 8) -> np.ndarray:
    """Correlated features with one that never fires, as behind a ReLU."""
    random = np.random.default_rng(seed)
    found = random.normal(0, 1, (count, width)) @ np.random.default_rng(1).normal(0, 1, (width, width)) + 3
    found[:, -1] = 0
    return found


def test_distance_by_hand() -> None:
    # Precision diag(1, 1/4): (3, 4) from (0, 0) is sqrt(9 + 16 / 4) = sqrt(13).
    familiar = OodStatistics(np.zeros(2), np.diag([1.0, 0.25]), 3.0, 0.99, 50, 50)
    assert distances(np.array([[3.0, 4.0], [0.0, 0.0]]), familiar) == pytest.approx([np.sqrt(13), 0])


def test_distance_is_that_of_scipy() -> None:
    from scipy.spatial.distance import mahalanobis

    familiar = fit_ood_statistics(drawn(400, 0), drawn(200, 2))
    rows = drawn(20, 3)
    expected = [mahalanobis(row, familiar.mean, familiar.precision) for row in rows]
    assert distances(rows, familiar) == pytest.approx(expected)


def test_the_stated_share_of_other_familiar_tiles_lies_within() -> None:
    familiar = fit_ood_statistics(drawn(2000, 0), drawn(2000, 2))
    assert np.mean(distances(drawn(2000, 2), familiar) <= familiar.limit) >= 0.99
    fresh = np.mean(distances(drawn(4000, 4), familiar) <= familiar.limit)
    assert 0.98 < fresh < 0.998
    assert np.all(distances(drawn(500, 5) + 60, familiar) > familiar.limit)


@settings(max_examples=20)
@given(order=st.permutations(list(range(60))))
def test_order_does_not_matter(order: list[int]) -> None:
    one, other = (
        fit_ood_statistics(drawn(60, 0), drawn(60, 1)),
        fit_ood_statistics(drawn(60, 0)[order], drawn(60, 1)[order]),
    )
    assert other.limit == pytest.approx(one.limit)


def test_few_tiles_are_refused() -> None:
    with pytest.raises(InputError, match="there are 49 and 60"):
        fit_ood_statistics(drawn(49, 0), drawn(60, 1))


def test_many_features_are_kept_by_their_main_axes() -> None:
    """64 axes and one precision for the rest are those of the covariance whose small eigenvalues are their mean."""
    from sklearn.covariance import ledoit_wolf

    rows = drawn(300, 0, width=100)
    familiar = fit_ood_statistics(rows, drawn(100, 2, width=100))
    values, vectors = np.linalg.eigh(ledoit_wolf(rows)[0])
    values[:36] = values[:36].mean()
    expected = np.linalg.inv((vectors * values) @ vectors.T)
    np.testing.assert_allclose(familiar.precision, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("width", [8, 100])
def test_file_and_back(tmp_path: Path, width: int) -> None:
    familiar = fit_ood_statistics(drawn(100, 0, width), drawn(100, 1, width))
    write_ood_statistics(familiar, tmp_path / "statistics.safetensors")
    back = read_ood_statistics(tmp_path / "statistics.safetensors")
    assert np.array_equal(back.precision, familiar.precision)
    assert back.record() == familiar.record()
    write_bytes(tmp_path / "other.safetensors", b"not one")
    with pytest.raises(InputError, match="does not hold feature statistics"):
        read_ood_statistics(tmp_path / "other.safetensors")


@pytest.mark.parametrize("name", ["given", "timm/resnet18"])
def test_features_are_what_the_last_layer_is_given(name: str) -> None:
    px = 127 if name == "given" else 64
    make = build_network if name == "given" else build_backbone
    network = make(name, classes=2, tile_px=px, seed=0).eval()
    tiles = np.random.default_rng(0).integers(0, 256, (3, px, px, 3), dtype=np.uint8)
    found = features_of(network, lambda given: to_tensor(given, scale="-1..1"), tiles)
    with torch.inference_mode():
        expected = network(to_tensor(tiles, scale="-1..1"))
        again = network.get_submodule("output")(torch.from_numpy(found).float())
    assert found.shape == (3, 1000 if name == "given" else 512)
    assert torch.allclose(again, expected, atol=1e-5)
    assert not network.get_submodule("output")._forward_pre_hooks


def test_appearance_by_hand() -> None:
    # Channels 0 1 0 1, constant 2, and 1 0 1 0 in each of four rows: means 1/2, 2, 1/2; deviations 1/2, 0, 1/2.
    row = torch.tensor([[0.0, 1, 0, 1], [2.0, 2, 2, 2], [1.0, 0, 1, 0]])
    found = looks_of(row[None, :, None, :].expand(1, 3, 4, 4))[0]
    assert found.shape == (LOOKS,)
    assert found[:3].tolist() == pytest.approx([0.5, 2, 0.5])
    assert found[3:6].exp().tolist() == pytest.approx([0.501, 0.001, 0.501])
    assert found[6:9].tolist() == pytest.approx([0, -1, 0], abs=1e-4)
    # The mean of the channels is constant: no difference of neighbours, at either resolution.
    assert found[9:].exp().tolist() == pytest.approx([0.001, 0.001])
    assert torch.isfinite(looks_of(torch.zeros(2, 3, 9, 9))).all()


def test_a_tile_is_unfamiliar_by_either_of_its_distances(tmp_path: Path) -> None:
    """The share holds of both together; a change that the features are blind to is flagged by appearance."""

    def seen(count: int, seed: int) -> np.ndarray:
        looks = np.random.default_rng(seed + 50).normal(0, 1, (count, 3))
        return np.concatenate([drawn(count, seed), looks], 1)

    familiar = fit_ood_statistics(seen(2000, 0), seen(2000, 2), looks=3)
    assert np.mean(distances(seen(2000, 2), familiar) <= familiar.limit) == pytest.approx(0.99, abs=1e-3)
    assert 0.98 < np.mean(distances(seen(4000, 4), familiar) <= familiar.limit) < 0.998
    strange = seen(100, 5)
    strange[:, -1] += 30
    assert np.all(distances(strange, familiar) > familiar.limit)
    assert np.mean(distances(strange[:, :-3], familiar) > familiar.limit) < 0.1
    write_ood_statistics(familiar, tmp_path / "both.safetensors")
    back = read_ood_statistics(tmp_path / "both.safetensors")
    assert np.array_equal(distances(strange, back), distances(strange, familiar))
    assert back.record()["appearance"] == 3
