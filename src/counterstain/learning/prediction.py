"""From a network and stored tiles to probabilities; in fp32 unless a runtime that was asked for does otherwise."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from torch import nn

from counterstain.learning.runtimes import Infer, softmax, torch_runtime
from counterstain.pixels.store import Store, read_batch

__all__ = ["predict_logits", "predict_probabilities"]

BATCH = 64


def predict_logits(
    network: nn.Module,
    store: Store,
    rows: NDArray[np.int64],
    *,
    scale: str,
    device: str = "cpu",
    infer: Infer | None = None,
) -> NDArray[np.float32]:
    """(N, C) float32 logits of the store's rows, in their order, with dropout off.

    Args:
        network: in whatever mode; it is left ready to predict, with its weights channels last.
        store: of the tiles.
        rows: (N,) rows of the store.
        scale: a name of SCALES.
        device: of torch; another runtime is on the processor.
        infer: what runs the network, see runtimes.choose_runtime. None is torch in fp32: the same bytes for the same
            network and rows on one machine, as a study needs it.
    """
    run = infer or torch_runtime(network, scale=scale, device=device)
    parts = [run(tiles) for tiles in _read_ahead(store, rows)]
    return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)


def predict_probabilities(
    network: nn.Module,
    store: Store,
    rows: NDArray[np.int64],
    *,
    scale: str,
    device: str = "cpu",
    infer: Infer | None = None,
) -> NDArray[np.float64]:
    """(N, C) float64 probabilities of the store's rows: the softmax of `predict_logits`, each row summing to 1."""
    return softmax(predict_logits(network, store, rows, scale=scale, device=device, infer=infer))


def _read_ahead(store: Store, rows: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    """Batches of tiles, the next one read while one is worked on."""
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    with ThreadPoolExecutor(1, "read") as reader:
        coming = reader.submit(read_batch, store, batches[0]) if batches else None
        for following in [*batches[1:], None]:
            if coming is None:
                return
            tiles = coming.result()
            coming = None if following is None else reader.submit(read_batch, store, following)
            yield tiles
