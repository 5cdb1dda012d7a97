"""How far tiles lie from those a network was trained on, by its features before the last layer and by appearance."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from counterstain.learning.appearance import looks_of
from counterstain.learning.build import last_layer
from counterstain.learning.ood_statistics import OodStatistics, distances
from counterstain.learning.predictor import Predictor
from counterstain.learning.runtimes import Infer

__all__ = ["listening", "measure_distances", "with_distances"]


@contextmanager
def listening(network: nn.Module) -> Iterator[list[NDArray[np.float32]]]:
    """(B, D + 11) of every batch that the network sees in the meantime, in order: features and appearance.

    Nothing is heard of features that only its last layer sees: a probe answers from kept ones, without tiles.
    """
    heard: list[NDArray[np.float32]] = []
    looks: list[Tensor] = []

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        looks[:] = [looks_of(inputs[0])]

    def hear(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if looks:
            heard.append(torch.cat([inputs[0].detach().flatten(1).float(), looks[0]], 1).cpu().numpy())

    def forget(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        looks.clear()

    handles = [
        last_layer(network).register_forward_pre_hook(hear),
        network.register_forward_pre_hook(look),
        network.register_forward_hook(forget),
    ]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def measure_distances(features: Sequence[NDArray[np.float32]], familiar: OodStatistics) -> NDArray[np.float64]:
    """(N,) Mahalanobis distances of the batches' features; a tile beyond `familiar.limit` is unfamiliar."""
    if not features:
        return np.empty(0)
    return np.concatenate([distances(batch.astype(np.float64), familiar) for batch in features])


def with_distances(predictor: Predictor, familiar: OodStatistics) -> Infer:
    """What gives (B, classes + 1) float32 for tiles: the predictor's logits, and the distance as the last column.

    By torch one pass gives both; by another runtime torch makes a second one for the features.
    """

    def infer(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        if predictor.runtime == "torch":
            with listening(predictor.network) as heard:
                logits = predictor.logits(tiles)
        else:
            logits = predictor.logits(tiles)
            with listening(predictor.network) as heard, torch.inference_mode():
                predictor.network(predictor.to_tensor(tiles))
        away = measure_distances(heard, familiar).astype(np.float32)
        return np.concatenate([logits, away[:, None]], axis=1)

    return infer
