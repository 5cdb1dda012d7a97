"""What turns a backbone's features into logits: a linear layer, a small network, or the nearest neighbours."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from counterstain.errors import InputError, suggest

__all__ = ["HEADS", "Neighbours", "build_head"]

HEADS = ("linear", "mlp", "knn")
HIDDEN, DROPOUT = 256, 0.25
NEIGHBOURS, SHARPNESS = 20, 0.07


class Neighbours(nn.Module):
    """The classes of the most similar training tiles, weighted by similarity; their logarithm stands for logits.

    Similarity is the cosine of centred features, its weight exp(similarity / 0.07), as is usual for frozen features
    (Wu et al. 2018, CVPR). Tiles of one patient are as alike as neighbours get: train and val must not share one.
    """

    def __init__(self, width: int, classes: int, *, tiles: int, neighbours: int) -> None:
        super().__init__()
        self.out_features = classes
        self.neighbours = min(neighbours, tiles)
        self.known: Tensor
        self.centre: Tensor
        self.label: Tensor
        self.register_buffer("known", torch.zeros(tiles, width))
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("label", torch.zeros(tiles, dtype=torch.int64))

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) features to (B, classes) logarithms of shares."""
        rows = functional.normalize(features.float() - self.centre, dim=1)
        nearest = (rows @ self.known.T).topk(self.neighbours, dim=1)
        weights = torch.exp((nearest.values - 1) / SHARPNESS)
        of_class = functional.one_hot(self.label[nearest.indices], self.out_features).to(weights.dtype)
        votes = (weights[:, :, None] * of_class).sum(1)
        # One neighbour's worth of doubt, spread over the classes: no probability is ever 0.
        votes = votes + weights.mean(1, keepdim=True) / self.out_features + 1e-12
        return torch.log(votes)


def build_head(head: dict[str, Any], *, width: int, classes: int) -> nn.Module:
    """A head for (B, width) features.

    Args:
        head: {"kind": "linear"}, {"kind": "mlp", "hidden": 256}, or {"kind": "knn", "tiles": N, "neighbours": k}.
        width: of the features.
        classes: how many.

    Raises:
        InputError: If the kind is unknown.
    """
    kind = head["kind"]
    if kind == "linear":
        return nn.Linear(width, classes)
    if kind == "mlp":
        return Small(width, int(head.get("hidden", HIDDEN)), classes)
    if kind == "knn":
        return Neighbours(width, classes, tiles=int(head["tiles"]), neighbours=int(head.get("neighbours", NEIGHBOURS)))
    raise InputError(f"probe is '{kind}'{suggest(str(kind), HEADS)}")


class Small(nn.Module):
    """Features, one hidden layer with dropout, logits."""

    def __init__(self, width: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.out_features = classes
        self.layers = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(hidden, classes)
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) features to (B, classes) logits."""
        logits: Tensor = self.layers(features)
        return logits
