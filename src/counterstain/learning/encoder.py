"""Encoders: a backbone, or a trained bundle without its head: tiles in, features out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from counterstain.errors import InputError
from counterstain.files import hash_file
from counterstain.learning.backbones import is_backbone
from counterstain.learning.build import last_layer, start_network
from counterstain.learning.bundle import SUMS, load_network
from counterstain.learning.config import TrainingConfig, check_network
from counterstain.learning.mil_networks import is_bag_network
from counterstain.learning.networks import TileNetwork
from counterstain.learning.own_network import OwnNetwork
from counterstain.learning.runtimes import FEATURES, TRIAL_TILES, WARM_TILES, choose_runtime, noise_tiles, torch_runtime
from counterstain.learning.stain_pipeline import UNSTAINED, StainPipeline

__all__ = ["Encoder", "choose_encoder_runtime", "load_encoder"]


@dataclass(frozen=True)
class Encoder:
    """What turns tiles into features.

    name:     tells it from all others: the network and the first digits of its weights' SHA-256
    features: (B, tile_px, tile_px, 3) uint8 RGB to (B, D) float32
    tile_px:  side of its tiles, px
    fit:      how images became its tiles when it was trained; "" where it does not say
    mpp:      µm/px that it was trained at, where known
    record:   all that its features depend on, but the tiles
    network:  what runs, without its head; staining: what a tile gets before
    again:    what load_encoder is called with for the same one in another process; paths are absolute
    """

    name: str
    features: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    tile_px: int
    fit: str
    mpp: float | None
    record: Mapping[str, Any]
    network: nn.Module
    staining: StainPipeline = UNSTAINED
    again: tuple[tuple[str, str | int | None], ...] = ()

    @property
    def runtime(self) -> str:
        """What runs the network: its bytes depend on it."""
        return str(self.record.get("runtime", "torch"))


def load_encoder(
    model: str,
    *,
    tile_px: int | None = None,
    weights: str = "pretrained",
    device: str = "cpu",
    precision: str = "fp32",
    runtime: str = "torch",
) -> Encoder:
    """The encoder of a bundle's folder, or of a backbone's name.

    Args:
        model: folder of a bundle (its last features, with its own stain recipe), "timm/…" or a foundation model.
        tile_px: side of the tiles, px; a bundle has its own.
        weights: of a backbone: "pretrained", a file's path, or "random" (seed 0).
        device: of torch, settled; precision: "fp32" or "bf16".
        runtime: of runtimes.RUNTIMES, settled; see choose_encoder_runtime.

    Raises:
        InputError: If it is neither, has no tiles, the side of its tiles is not said, or the runtime cannot run it.
    """
    path = Path(weights)
    again = {
        "model": str(Path(model).absolute()) if Path(model).is_dir() else model, "tile_px": tile_px,
        "weights": str(path.absolute()) if path.is_file() else weights, "device": device, "precision": precision,
    }  # fmt: skip
    if Path(model).is_dir():
        encoder = _of_bundle(Path(model), tile_px, device, precision)
    else:
        encoder = _of_backbone(model, tile_px, weights, device, precision)
    encoder = replace(encoder, again=tuple(again.items()))
    return encoder if runtime == "torch" else choose_encoder_runtime(encoder, runtime, images=0)[0]


def choose_encoder_runtime(
    encoder: Encoder, runtime: str, *, images: int, tiles: NDArray[np.uint8] | None = None
) -> tuple[Encoder, tuple[str, ...]]:
    """The same encoder on the processor, run by the runtime asked for, or by the fastest that agrees with PyTorch.

    Args:
        encoder: as load_encoder gives it with torch.
        runtime: "auto" or a name of runtimes.RUNTIMES.
        images: number of tiles it is to encode, which decides whether a faster runtime's start pays.
        tiles: (N, tile_px, tile_px, 3) uint8, some of them; noise where None.

    Returns:
        The encoder, and what to say of the trial.

    Raises:
        InputError: If the runtime asked for cannot run the network, or its features differ from PyTorch's.
    """
    if tiles is None:
        tiles = noise_tiles(TRIAL_TILES if runtime == "auto" else WARM_TILES, encoder.tile_px)
    chosen = choose_runtime(
        encoder.network, encoder.staining.for_all(tiles), scale=str(encoder.record["scale"]), images=images,
        runtime=runtime, precision=str(encoder.record["precision"]), output=FEATURES,
    )  # fmt: skip
    if chosen.name == "torch":
        return encoder, chosen.lines
    prepare, infer = encoder.staining.for_all, chosen.infer
    other = replace(
        encoder, features=lambda tiles: infer(prepare(tiles)), record={**encoder.record, "runtime": chosen.name},
        again=(*encoder.again, ("runtime", chosen.name)),
    )  # fmt: skip
    return other, chosen.lines


def _of_backbone(model: str, tile_px: int | None, weights: str, device: str, precision: str) -> Encoder:
    check_network(model, "the model")
    if not is_backbone(model):
        raise InputError(
            f"{model} has no weights of its own; name the folder of a trained model, or a backbone (timm/…)"
        )
    if tile_px is None:
        raise InputError(f"give the side of the tiles for {model}: --tile-px 256")
    settings = TrainingConfig(network=model, weights=weights)
    network, source = start_network(settings, classes=2, tile_px=tile_px, seed=0)
    sha256 = source.get("sha256", "")
    record = {
        "network": model, "weights": sha256 or "random, seed 0", "tile_px": tile_px, "scale": settings.scale,
        "stain": {}, "precision": precision,
    }  # fmt: skip
    body = _headless(network).to(device)
    run = torch_runtime(body, scale=settings.scale, device=device, precision=precision)
    return Encoder(f"{model}@{sha256[:8] or 'random'}", run, tile_px, "", None, record, body)


def _of_bundle(folder: Path, tile_px: int | None, device: str, precision: str) -> Encoder:
    bundle, network = load_network(folder)
    if is_bag_network(bundle.network):
        raise InputError(f"{folder} is a model of whole slides ({bundle.network}), which has no features of tiles")
    if tile_px not in (None, bundle.tile_px):
        raise InputError(f"{folder} takes tiles of {bundle.tile_px} px; leave --tile-px out")
    sha256 = hash_file(folder / SUMS)
    record = {
        "network": bundle.network, "bundle": sha256, "tile_px": bundle.tile_px, "scale": bundle.scale,
        "stain": bundle.staining.record(), "precision": precision,
    }  # fmt: skip
    body = _headless(network).to(device)
    run = torch_runtime(body, scale=bundle.scale, device=device, precision=precision)
    prepare = bundle.staining.for_all
    return Encoder(
        f"{bundle.network}@{sha256[:8]}", lambda tiles: run(prepare(tiles)), bundle.tile_px, bundle.fit, bundle.mpp,
        record, body, bundle.staining,
    )  # fmt: skip


def _headless(network: nn.Module) -> nn.Module:
    """The network with what its last layer takes as its answer."""
    if isinstance(network, OwnNetwork):
        return _headless_own(network)
    cast(TileNetwork, network).output = cast(nn.Linear, nn.Identity())  # every network calls its last layer so
    return network


def _headless_own(network: OwnNetwork) -> nn.Module:
    """A user's network whose last linear layer gives what it is given."""
    last = last_layer(network)
    name = next(name for name, module in network.named_modules() if module is last)
    parent, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(parent), attribute, nn.Identity())
    network.log_prior = torch.zeros(1, device=network.log_prior.device)  # of logits, which there are none any more
    return network
