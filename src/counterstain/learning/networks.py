"""The two networks of the study: the given one, and the modified one with a second dense layer."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from counterstain.errors import InputError, suggest
from counterstain.learning.pooling import convolve_and_pool

__all__ = [
    "NETWORKS",
    "Layout",
    "TileNetwork",
    "build_network",
    "check_tile_px",
    "count_parameters",
    "dropout_masks",
    "final_px",
    "seen_px",
    "seen_side",
    "smallest_tile_px",
    "unseen",
]

FILTERS = 48
STRIDES = (2, 1, 1, 1, 3)
DENSE = 1000
DROPOUT = 0.5


@dataclass(frozen=True)
class Layout:
    """What tells one network from another: how many dense layers stand between the convolutions and the output."""

    name: str
    dense_layers: int


NETWORKS = {layout.name: layout for layout in (Layout("given", 1), Layout("modified", 2))}


def same_padding(size: int, stride: int) -> tuple[int, int]:
    """Pixels to pad before and after one axis so that a kernel of 3 gives ceil(size / stride) of them.

    TensorFlow's rule for "same": where the total is odd, the extra pixel goes after. At stride 1 it is (1, 1); at
    strides 2 and 3 it depends on the size, and PyTorch's own padding argument cannot say it.
    """
    total = max((math.ceil(size / stride) - 1) * stride + 3 - size, 0)
    return total // 2, total - total // 2


def map_sides(tile_px: int) -> list[int]:
    """Sides in px of the tile and of the maps after each pooling."""
    sides = [tile_px]
    for stride in STRIDES:
        sides.append(math.ceil(sides[-1] / stride) // 2)
    return sides


def final_px(tile_px: int) -> int:
    """Side in px of the map after the last pooling; 0 where the tile is too small."""
    return map_sides(tile_px)[-1]


def check_tile_px(name: str, tile_px: int) -> None:
    """Refuse tiles that are too small for a network's five poolings.

    Raises:
        InputError: With the smallest side that is large enough.
    """
    if final_px(tile_px) < 1:
        raise InputError(
            f"tile_px is {tile_px}: after five poolings nothing is left of such a tile. "
            f"The {name} network needs {smallest_tile_px()} px or more; set tiles.tile_px, and tiles are resized to it"
        )


def seen_px(tile_px: int) -> int:
    """Side in px of the upper left square of a tile that the answer depends on: 220 of 257.

    Pooling leaves out the last row and column of a map with an odd side, and with them all that only they look at.
    """
    *sides, seen = map_sides(tile_px)
    for side, stride in zip(reversed(sides), reversed(STRIDES), strict=True):
        seen = min(side, (2 * seen - 1) * stride + 3 - same_padding(side, stride)[0])
    return seen


def smallest_tile_px() -> int:
    """The smallest tile side in px for which the last pooling has something left: 127."""
    return next(side for side in range(1, 1024) if final_px(side) > 0)


def unseen(name: str, tile_px: int) -> str:
    """A line that tells how much of each tile the network's answer depends on; "" where it is all but a row or two."""
    if name not in NETWORKS or final_px(tile_px) < 1 or (seen := seen_px(tile_px)) >= tile_px - 2:
        return ""
    return (
        f"note: of a tile of {tile_px} px the {name} network sees the upper left {seen} × {seen} px, "
        f"{100 * seen**2 / tile_px**2:.0f} % of it, as it is defined; at {_next_all_seen(tile_px)} px it sees all"
    )


def _next_all_seen(tile_px: int) -> int:
    """The next smaller side in px at which all of a tile is seen."""
    return next(side for side in range(tile_px, 0, -1) if final_px(side) > 0 and seen_px(side) == side)


class TileNetwork(nn.Module):
    """Five 3×3 convolutions with 2×2 max-pooling, one or two dense layers with dropout, and one output per class.

    Takes (B, 3, tile_px, tile_px) floats on the scale that it is trained with (see images.tensor.scale_of: the bundle
    records it, -1 to 1 by default); gives (B, classes) logits, whose softmax are the probabilities.
    What cannot change them is not computed (see `seen_px`), unless `whole` is set.
    """

    whole = False

    def __init__(self, layout: Layout, *, classes: int, tile_px: int) -> None:
        super().__init__()
        self.tile_px, side = tile_px, final_px(tile_px)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(3 if index == 0 else FILTERS, FILTERS, 3, stride=stride) for index, stride in enumerate(STRIDES)
        )
        widths = [FILTERS * side * side] + [DENSE] * layout.dense_layers
        self.dense = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))
        self.dropout = nn.Dropout(DROPOUT)
        self.output = nn.Linear(DENSE, classes)

    def forward(self, tiles: Tensor, masks: Tensor | None = None) -> Tensor:
        """(B, 3, tile_px, tile_px) scaled floats, or only the part that is seen, to (B, classes) logits.

        Args:
            tiles: the batch.
            masks: (dense layers, B, DENSE) to multiply with instead of dropout's own draws; see `dropout_masks`.
        """
        seen = seen_px(self.tile_px)
        if tuple(tiles.shape[2:]) not in ((self.tile_px, self.tile_px), (seen, seen)):
            raise ValueError(f"tiles of {tuple(tiles.shape[2:])} px for a network of {self.tile_px} px")
        maps = tiles if self.whole else tiles[:, :, :seen, :seen]
        for layer, side in zip(self.convolutions, map_sides(self.tile_px)[:-1], strict=True):
            convolution = cast(nn.Conv2d, layer)
            # A convolution of the part that is seen may reach one pixel beyond it; pooling leaves that one out.
            before, after = same_padding(side, convolution.stride[0])
            maps = convolve_and_pool(maps, convolution, (before, after, before, after), learns=self.training)
        # Keras flattens (H, W, C); the same order lets weights be carried over at any tile size.
        features = maps.permute(0, 2, 3, 1).flatten(1)
        for number, dense in enumerate(self.dense):
            features = functional.relu(dense(features))
            features = self.dropout(features) if masks is None else features * masks[number].to(features.dtype)
        logits: Tensor = self.output(features)
        return logits


def build_network(name: str, *, classes: int, tile_px: int, seed: int) -> TileNetwork:
    """A network with fresh weights: Glorot-uniform kernels and zero biases, the same for the same seed.

    Args:
        name: "given" or "modified".
        classes: how many classes, 2 or more.
        tile_px: side of the square tiles in px, 127 or more.
        seed: of the weights.

    Raises:
        InputError: If the name is unknown, or the tiles are too small for five poolings.

    Source:
        Glorot & Bengio 2010, AISTATS: uniform in ±sqrt(6 / (fan in + fan out)).
    """
    if name not in NETWORKS:
        raise InputError(f"no network is called '{name}'{suggest(name, NETWORKS)}")
    if classes < 2:
        raise InputError(f"a network needs 2 classes or more, got {classes}")
    check_tile_px(name, tile_px)
    # The seed is the network's alone: torch's own generator is neither read nor moved.
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        network = TileNetwork(NETWORKS[name], classes=classes, tile_px=tile_px)
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(cast(Tensor, layer.bias))
    return network


def dropout_masks(network: nn.Module, size: int, piece: int, device: str) -> Tensor | None:
    """(dense layers, size, DENSE): what dropout multiplies a batch with, drawn as one process would draw it.

    None for a backbone: what is random inside one is drawn by each process for itself.

    One process draws for every piece of at most `piece` rows, layer after layer. Each of several processes draws them
    all and takes its rows, so that together they train with the masks of one.
    """
    if not isinstance(network, TileNetwork):
        return None
    layers = len(network.dense)
    rows = [min(piece, size - start) for start in range(0, size, piece)]
    masks_of_pieces = [
        [functional.dropout(torch.ones(count, DENSE, device=device), DROPOUT) for _ in range(layers)] for count in rows
    ]
    return torch.stack([torch.cat([masks[layer] for masks in masks_of_pieces]) for layer in range(layers)])


def seen_side(network: nn.Module) -> int | None:
    """Side in px of the upper left square of a tile that is enough for the network; None where that is all of it.

    Nothing beyond it need be augmented, scaled or moved: tiles[:, :side, :side] gives the same answers.
    """
    return seen_px(network.tile_px) if isinstance(network, TileNetwork) and not network.whole else None


def count_parameters(network: nn.Module) -> int:
    """How many numbers training can change."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
