"""Stored tiles go through a network in the rows' order, whatever runs it."""

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from counterstain.images.store import Store, build_store
from counterstain.images.tensor import to_tensor
from counterstain.learning import predictor
from counterstain.learning.networks import build_network
from counterstain.learning.predictor import predict_logits, predict_probabilities

PX = 127


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    names = [f"{number}.png" for number in range(9)]
    for name in names:
        Image.fromarray(rng.integers(0, 256, (PX, PX, 3), dtype=np.uint8)).save(root / name)
    cohort: Any = SimpleNamespace(table=pd.DataFrame({"image_path": names}), root=root)
    return build_store(cohort, root / "store", tile_px=PX)


@pytest.fixture
def network() -> nn.Module:
    return build_network("modified", classes=2, tile_px=PX, seed=0)


def one_by_one(network: nn.Module, store: Store, rows: NDArray[np.int64], scale: str) -> NDArray[np.float32]:
    with torch.no_grad():
        parts = [network.eval()(to_tensor(store.tiles[row : row + 1].copy(), scale=scale)) for row in rows.tolist()]
    return torch.cat(parts).numpy()


@pytest.mark.parametrize("scale", ["0..1", "-1..1"])
def test_logits_come_in_the_order_of_the_rows(
    network: nn.Module, store: Store, scale: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "BATCH", 4)
    rows = np.array([8, 0, 3, 3, 1, 7, 2, 6, 5, 0, 4])
    network.train()  # dropout is switched off by predicting, not by the caller
    found = predict_logits(network, store, rows, scale=scale)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, one_by_one(network, store, rows, scale), rtol=0, atol=1e-5)


def test_the_same_call_gives_the_same_bytes(network: nn.Module, store: Store) -> None:
    rows = np.arange(9)
    first, second = (predict_probabilities(network, store, rows, scale="0..1") for _ in range(2))
    assert first.tobytes() == second.tobytes()
    np.testing.assert_allclose(first.sum(axis=1), 1, atol=1e-12)


def test_what_is_given_to_run_it_runs_it(network: nn.Module, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "BATCH", 4)
    seen: list[NDArray[np.uint8]] = []

    def infer(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(tiles)
        return np.full((len(tiles), 2), len(seen), np.float32)

    rows = np.array([5, 4, 3, 2, 1])
    logits = predict_logits(network, store, rows, scale="0..1", infer=infer)
    assert logits[:, 0].tolist() == [1, 1, 1, 1, 2]
    assert np.array_equal(np.concatenate(seen), store.tiles[rows])


def test_the_next_batch_is_read_while_one_is_worked_on(
    network: nn.Module, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "BATCH", 4)
    read = [threading.Event() for _ in range(2)]
    read_batch = predictor.read_batch

    def noted(store: Store, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        tiles = read_batch(store, rows)
        read[int(rows[0] == 4)].set()
        return tiles

    monkeypatch.setattr(predictor, "read_batch", noted)

    def infer(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert read[1].wait(60)  # without reading ahead the second batch is never read before the first is done
        return np.zeros((len(tiles), 2), np.float32)

    assert len(predict_logits(network, store, np.arange(8), scale="0..1", infer=infer)) == 8


def test_a_row_that_is_not_there_is_an_error_and_no_row_is_no_image(network: nn.Module, store: Store) -> None:
    with pytest.raises(IndexError, match=r"rows must be in \[0, 9\)"):
        predict_logits(network, store, np.array([0, 9]), scale="0..1")
    assert len(predict_logits(network, store, np.array([], np.int64), scale="0..1")) == 0
