"""Where a class activation map is read: one layer for each network, found by itself in a dry run on an empty tile."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from counterstain.errors import InputError
from counterstain.learning.networks import TileNetwork

__all__ = ["FEWEST_CELLS", "Layer", "as_map", "find_layer", "run_to"]

# A map of fewer cells a side has no middle, and points at nothing.
FEWEST_CELLS = 3


@dataclass(frozen=True)
class Layer:
    """A layer whose output is a map of the tile.

    name:   of the module; for the two own networks, of the convolution whose pooled map it is
    side:   cells a side of its map
    kind:   "channels first" (B, C, side, side), "channels last" (B, side, side, C) or "tokens" (B, prefix + side², C)
    prefix: tokens before those of the tile's patches, such as the class token and registers
    number: for the two own networks, which of their maps it is, from 0
    """

    name: str
    side: int
    kind: str = "channels first"
    prefix: int = 0
    number: int | None = None


def find_layer(network: nn.Module, tile_px: int) -> Layer:
    """The last layer that still knows places: what stands between it and the answer no longer does.

    Of a vision transformer it is the first norm of the last block: behind that block's attention only the class token
    may count, and patch tokens would have no gradient. Of the two own networks it is the map that the last convolution
    is given: that one's own stride and pooling leave 1 × 1 cells of a tile of 257 px. Of everything else it is the last
    map of at least FEWEST_CELLS cells a side, after its activation and before the pooling.

    Args:
        network: an own network, a Backbone, or any module that takes (B, 3, tile_px, tile_px).
        tile_px: side of its tiles in px.

    Raises:
        InputError: If the network has no such layer.
    """
    body = getattr(network, "body", network)
    if isinstance(network, TileNetwork):
        with torch.no_grad(), _whole_maps(network) as maps:
            network(_empty(network, tile_px))
        number = len(maps) - 2
        layers = [Layer(f"convolutions.{number}", maps[number].shape[-1], number=number)]
    elif isinstance(body, nn.Module) and hasattr(body, "num_prefix_tokens") and hasattr(body, "blocks"):
        layers = _token_layers(network, body, tile_px)
    else:
        outputs = _outputs(network, tile_px)
        layers = [layer for name, shape in outputs if (layer := _map_layer(name, shape)) is not None]
    if not layers:
        raise InputError(
            f"no layer of this {type(body).__name__} keeps a map of {FEWEST_CELLS} × {FEWEST_CELLS} cells for tiles of "
            f"{tile_px} px; use the method integrated-gradients, which needs no layer"
        )
    return layers[-1]


def _token_layers(network: nn.Module, body: nn.Module, tile_px: int) -> list[Layer]:
    """The first norm of the last block of a vision transformer, where its tokens are those of a square grid."""
    norm = getattr(list(body.blocks)[-1], "norm1", None)  # type: ignore[arg-type]
    prefix = int(body.num_prefix_tokens)  # type: ignore[arg-type]
    name = next((name for name, module in network.named_modules() if module is norm), "")
    shape = dict(_outputs(network, tile_px)).get(name, ())
    side = round(max(shape[1] - prefix, 0) ** 0.5) if len(shape) == 3 else 0
    square = len(shape) == 3 and side**2 + prefix == shape[1] and side >= FEWEST_CELLS
    return [Layer(name, side, "tokens", prefix)] if square else []


def _map_layer(name: str, shape: tuple[int, ...]) -> Layer | None:
    """The layer of an output's shape, or None where that is no map. Tiles are square, and so are their maps."""
    if len(shape) != 4:
        return None
    if shape[2] == shape[3] >= FEWEST_CELLS:
        return Layer(name, shape[3])
    if shape[1] == shape[2] >= FEWEST_CELLS:
        return Layer(name, shape[1], "channels last")
    return None


def _empty(network: nn.Module, tile_px: int) -> Tensor:
    like = next(network.parameters(), torch.zeros(1))
    return torch.zeros(1, 3, tile_px, tile_px, device=like.device, dtype=like.dtype)


def _outputs(network: nn.Module, tile_px: int) -> list[tuple[str, tuple[int, ...]]]:
    """Name and output shape of every module that gives a tensor, in the order in which they end."""
    outputs: list[tuple[str, tuple[int, ...]]] = []

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                outputs.append((name, tuple(output.shape)))

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in network.named_modules() if name]
    try:
        with torch.no_grad():
            network(_empty(network, tile_px))
    finally:
        for handle in handles:
            handle.remove()
    return outputs


class _Relus(TorchFunctionMode):
    """Hands every map that passes through functional.relu to `receive`.

    The own networks mostly call their convolutions as functions, where no hook on a module sees them.
    """

    def __init__(self, receive: Callable[[Tensor], None]) -> None:
        super().__init__()
        self.receive = receive

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func is functional.relu and output.ndim == 4:
            self.receive(output)
        return output


@contextmanager
def _whole_maps(network: TileNetwork) -> Iterator[list[Tensor]]:
    """The maps that an own network makes meanwhile, of all of the tile and not only of what its answer depends on.

    Their cells then divide the tile evenly; those that the answer does not depend on have no gradient.
    """
    maps: list[Tensor] = []
    before, network.whole = network.whole, True
    try:
        with _Relus(maps.append):
            yield maps
    finally:
        network.whole = before


def run_to(network: nn.Module, tiles: Tensor, layer: Layer) -> tuple[Tensor, Tensor]:
    """(B, classes) logits, and the layer's output as the network made it, joined by autograd's graph."""
    if isinstance(network, TileNetwork) and layer.number is not None:
        with _whole_maps(network) as maps:
            logits: Tensor = network(tiles)
        return logits, maps[layer.number]
    outputs: list[Tensor] = []
    module = network.get_submodule(layer.name)
    handle = module.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    try:
        logits = network(tiles)
    finally:
        handle.remove()
    return logits, outputs[-1]


def as_map(output: Tensor, layer: Layer) -> Tensor:
    """The layer's output (or a gradient of its shape) as (B, C, side, side), row by row from the tile's top left."""
    if layer.kind == "tokens":
        patches = output[:, layer.prefix :]
        return patches.transpose(1, 2).reshape(len(output), -1, layer.side, layer.side)
    return output.permute(0, 3, 1, 2) if layer.kind == "channels last" else output
