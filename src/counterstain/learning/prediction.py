"""From a network and stored tiles to probabilities; always in fp32, whatever it was trained in."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from counterstain.pixels.store import Store, read_batch
from counterstain.pixels.tensor import to_tensor

__all__ = ["predict_logits", "predict_probabilities"]

BATCH = 64


def predict_logits(
    network: nn.Module, store: Store, rows: NDArray[np.int64], *, scale: str, device: str = "cpu"
) -> NDArray[np.float32]:
    """(N, C) float32 logits of the store's rows, in their order, with dropout off."""
    network.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(rows), BATCH):
            inputs = to_tensor(read_batch(store, rows[start : start + BATCH]), scale=scale, device=device)
            parts.append(network(inputs).float().cpu().numpy())
    return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)


def predict_probabilities(
    network: nn.Module, store: Store, rows: NDArray[np.int64], *, scale: str, device: str = "cpu"
) -> NDArray[np.float64]:
    """(N, C) float64 probabilities of the store's rows: the softmax of the logits, each row summing to 1."""
    logits = predict_logits(network, store, rows, scale=scale, device=device).astype(np.float64)
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = exponents / exponents.sum(axis=1, keepdims=True)
    return probabilities
