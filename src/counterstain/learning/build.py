"""The one place that knows every kind of network: own or backbone, fresh or trained, from settings or from a bundle."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from counterstain.errors import InputError
from counterstain.learning.backbones import Backbone, build_backbone, is_backbone
from counterstain.learning.config import TrainingConfig
from counterstain.learning.findings_network import FindingsNetwork
from counterstain.learning.mil_networks import BagNetwork, build_bag_network, is_bag_network
from counterstain.learning.networks import build_network
from counterstain.learning.own_network import OwnNetwork, build_own, is_own, own_layout
from counterstain.learning.weights import load_pretrained

__all__ = ["build_model", "given_to", "last_layer", "layout_of", "penultimate", "start_network"]


def start_network(
    settings: TrainingConfig, *, classes: int, tile_px: int, seed: int
) -> tuple[nn.Module, dict[str, str]]:
    """A network as training begins with it, and where its weights came from ({} for fresh ones)."""
    if is_own(settings.network):
        return build_own(
            settings.network, settings.network_sha256, settings.network_settings, classes=classes, tile_px=tile_px,
            seed=seed,
        ), {}  # fmt: skip
    if not is_backbone(settings.network):
        return build_network(settings.network, classes=classes, tile_px=tile_px, seed=seed), {}
    network = build_backbone(
        settings.network, classes=classes, tile_px=tile_px, seed=seed, input_px=settings.input_px,
        levels=settings.features == "levels", views=settings.views,
    )  # fmt: skip
    if settings.weights == "random":
        return network, {}
    return network, load_pretrained(network, settings.network, settings.weights)


def layout_of(network: nn.Module, head: Mapping[str, object] | None = None) -> dict[str, object]:
    """What a bundle must say beside the network's name to build it again: {} for the own networks."""
    if isinstance(network, FindingsNetwork):
        return layout_of(network.body, head) | {"findings": list(network.findings)}
    if isinstance(network, BagNetwork):
        return network.layout() | {"encoder": str((head or {}).get("encoder", ""))}
    if isinstance(network, OwnNetwork):
        return own_layout(network)
    if not isinstance(network, Backbone):
        return {}
    return {
        "input_px": network.input_px,
        "head": dict(head or {"kind": "linear"}),
        "levels": network.pooled == "levels",
        "views": network.views,
    }


def build_model(name: str, *, classes: int, tile_px: int, layout: Mapping[str, Any]) -> nn.Module:
    """A network without its weights, as a bundle describes it."""
    if "findings" in layout:
        findings = tuple(str(finding) for finding in layout["findings"])
        body = {key: value for key, value in layout.items() if key != "findings"}
        return FindingsNetwork(build_model(name, classes=len(findings), tile_px=tile_px, layout=body), findings)
    if is_bag_network(name):
        sizes = {key: int(layout[key]) for key in ("width", "hidden", "attention")}
        return build_bag_network(name, classes=classes, seed=0, **sizes)
    if is_own(name):
        source = layout["own"]
        return build_own(name, source["sha256"], source["settings"], classes=classes, tile_px=tile_px, seed=0)
    if not is_backbone(name):
        return build_network(name, classes=classes, tile_px=tile_px, seed=0)
    return build_backbone(
        name, classes=classes, tile_px=tile_px, seed=0, input_px=layout["input_px"], head=dict(layout["head"]),
        levels=bool(layout["levels"]), views=int(layout["views"]),
    )  # fmt: skip


def given_to(layer: nn.Module, network: nn.Module, tiles: Tensor) -> Tensor:
    """What one of a network's layers is given when the network sees these tiles."""
    given: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]))
    try:
        network(tiles)
    finally:
        handle.remove()
    return given[-1]


def last_layer(network: nn.Module) -> nn.Module:
    """The layer whose input is the network's features: `network.output`, or else the last linear layer.

    Raises:
        InputError: If there is no such layer.
    """
    if isinstance(network, FindingsNetwork):
        return last_layer(network.body)
    if isinstance(network, OwnNetwork) and network.is_keras:
        raise InputError("a Keras model does not show its features here; write the network in torch to have them")
    last = getattr(network, "output", None)
    if not isinstance(last, nn.Module):
        last = next((module for module in reversed(list(network.modules())) if isinstance(module, nn.Linear)), None)
    if last is None:
        raise InputError(f"this {type(network).__name__} has no last layer whose input could be shown")
    return last


def penultimate(network: nn.Module, tiles: Tensor) -> Tensor:
    """(B, D) what the last layer is given, see last_layer.

    Raises:
        InputError: If there is no such layer.
    """
    return given_to(last_layer(network), network, tiles).flatten(1)
