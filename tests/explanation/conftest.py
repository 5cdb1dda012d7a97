"""Networks whose evidence was planted: what they look at is known, so that maps can be held against it."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from counterstain.images.tensor import to_tensor
from counterstain.learning.bundle import Bundle
from counterstain.learning.predictor import Predictor

PX, CELL, SIDE = 64, 8, 8
CLASSES = ("benign", "malignant")
CHECKERS = np.indices((CELL, CELL)).sum(axis=0) % 2 * 2.0 - 1  # what the planted networks answer to


class Detail(nn.Module):
    """How much fine checkering there is: in the top left quarter alone, or in the whole tile.

    masked:  only the top left quarter of the input is let in
    flatten: places are told apart by a last layer, whose weights outside the top left quarter are 0
    whole:   the mean over the whole tile counts
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.checks = nn.Conv2d(3, 2, CELL, stride=CELL)
        self.relu = nn.ReLU()
        self.output = nn.Linear(2 * SIDE * SIDE if kind == "flatten" else 2, 2)
        kernel = torch.from_numpy(CHECKERS / CELL**2).float()
        inside = torch.zeros(2, SIDE, SIDE)
        inside[:, : SIDE // 2, : SIDE // 2] = 1 / (SIDE // 2) ** 2
        with torch.no_grad():
            self.checks.weight.copy_(torch.stack([kernel, -kernel])[:, None].expand(2, 3, CELL, CELL) / 3)
            self.checks.bias.zero_()
            rising = {"flatten": inside.flatten(), "masked": torch.full((2,), 4.0), "whole": torch.ones(2)}[kind]
            self.output.weight.copy_(200 * torch.stack([-rising, rising]))
            self.output.bias.copy_(torch.tensor([6.0, -6.0]))

    def forward(self, tiles: Tensor) -> Tensor:
        if self.kind == "masked":
            mask = torch.zeros(PX, PX)
            mask[: PX // 2, : PX // 2] = 1
            tiles = tiles * mask
        maps = self.relu(self.checks(tiles))
        logits: Tensor = self.output(maps.flatten(1) if self.kind == "flatten" else maps.mean((2, 3)))
        return logits


def predictor_of(network: nn.Module, tile_px: int = PX, classes: tuple[str, ...] = CLASSES) -> Predictor:
    bundle = Bundle(network="planted", classes=classes, tile_px=tile_px, fit="exact", scale="0..1")

    def logits(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.no_grad():
            found: NDArray[np.float32] = network.eval()(to_tensor(tiles, scale="0..1")).numpy()
        return found

    return Predictor(bundle, network, logits, "cpu")


def checkered(strength: NDArray[np.float64], seed: int) -> NDArray[np.uint8]:
    """(N, PX, PX, 3) tiles with checkering of this strength (N, SIDE, SIDE) in 0…1 in each cell, sign at random."""
    rng = np.random.default_rng(seed)
    signed = strength * rng.choice([-1.0, 1.0], strength.shape)
    field = np.kron(signed, CHECKERS) * 60 + 128 + rng.normal(0, 3, (len(strength), PX, PX))
    return np.clip(np.repeat(field[..., None], 3, axis=3), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def planted() -> SimpleNamespace:
    """predictor(kind), predictor_of(network, tile_px), tiles(count, malignant, seed), PX, SIDE, CLASSES."""

    def predictor(kind: str) -> Predictor:
        return predictor_of(Detail(kind))

    def tiles(count: int, *, malignant: bool, seed: int, where: str = "top left") -> NDArray[np.uint8]:
        strength = np.random.default_rng([seed, 9]).uniform(0.05, 0.15, (count, SIDE, SIDE))
        if where == "top left":  # elsewhere there is as much of it in every tile
            strength[:, SIDE // 2 :] += 0.5
            strength[:, :, SIDE // 2 :] += 0.3
        if malignant:
            half = SIDE // 2 if where == "top left" else SIDE
            strength[:, :half, :half] += np.random.default_rng([seed, 8]).uniform(0.4, 0.8, (count, half, half))
        return checkered(strength, seed)

    makers: dict[str, Callable[..., Any]] = {"predictor": predictor, "predictor_of": predictor_of, "tiles": tiles}
    return SimpleNamespace(**makers, PX=PX, SIDE=SIDE, CLASSES=CLASSES)
