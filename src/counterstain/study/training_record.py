"""What one training did, as training.json keeps it: the report makes its sentences from this and from nothing else."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from counterstain.learning.backbones import Backbone
from counterstain.learning.config import TrainingConfig
from counterstain.learning.findings_network import FindingsNetwork
from counterstain.learning.loop import Trained
from counterstain.learning.mil_networks import BagNetwork
from counterstain.learning.networks import count_parameters
from counterstain.learning.own_network import OwnNetwork, receptive_field

__all__ = ["training_record"]


def training_record(
    trained: Trained,
    settings: TrainingConfig,
    *,
    seed: int,
    processes: int,
    stamp: str,
    tiles: Mapping[str, object],
    training_images: int,
    validation_images: int,
) -> dict[str, object]:
    """The record training.json.

    `settings` are what was asked for, whether it had an effect or not (a frozen probe has a learning rate there);
    `done` is what happened. A part of it that is null or missing did not happen.

    Args:
        trained: the model with what its training says that it did.
        settings: of the training.
        seed: of weights, order, augmentation and dropout.
        processes: that trained together.
        stamp: of the study.
        tiles: tile_px, fit, images, and how many of them had to be resized; {} of bags of features.
        training_images, validation_images: how many.
    """
    return {
        "schema": "counterstain.training/1",
        "settings": asdict(settings),
        "done": _done(trained, settings, tiles),
        "seed": seed,
        "machine": asdict(trained.machine) | {"processes": processes},
        "parameters": count_parameters(trained.network),
        "weights": trained.weights,
        "stain": trained.staining.record(),
        "training_images": training_images,
        "validation_images": validation_images,
        "best_epoch": trained.best_epoch,
        "last_epoch": trained.last_epoch,
        "stopped_early": "stopping" in trained.done and trained.last_epoch < settings.epochs,
        "stamp": stamp,
    }


def _done(trained: Trained, settings: TrainingConfig, tiles: Mapping[str, Any]) -> dict[str, Any]:
    """kind: "network", "backbone", "probe" or "bags"; and what such a one has."""
    network, done = trained.network, trained.done
    if isinstance(network, FindingsNetwork):
        done = {**done, "findings": list(network.findings)}
        network = network.body
    recipe = trained.staining.recipe
    record = {
        "kind": "probe" if "probe" in done else "network",
        "network": settings.network,
        "tiles": dict(tiles) or None,
        "normalisation": None if recipe is None else settings.normalisation,
        **done,
    }
    if isinstance(network, OwnNetwork):
        record["own"] = {
            "reference": network.reference,
            "sha256": network.sha256,
            "settings": network.settings,
            "receptive_field_px": receptive_field(network.cpu(), tiles["tile_px"]),
        }
    if isinstance(network, BagNetwork):
        return record | {"kind": "bags"}
    if not isinstance(network, Backbone):
        return record
    facts: dict[str, Any] = {"input_px": network.input_px, "views": network.views, "levels": network.pooled == "levels"}
    if "probe" not in done:
        facts |= {"head_epochs": settings.head_epochs if settings.tune == "head_first" else 0,
                 "rate": settings.backbone_rate}  # fmt: skip
    source = {"source": _named(settings, trained.weights), **_hash(trained.weights)} if trained.weights else None
    kind = "probe" if "probe" in done else "backbone"
    return record | {"kind": kind, "backbone": facts, "weights": source}


def _named(settings: TrainingConfig, weights: Mapping[str, str]) -> str:
    """Where trained weights came from; of a file of the user's only its name, since places are nobody's business."""
    if settings.weights == "auto" or settings.weights.startswith("pretrained"):
        return weights["source"]
    return "the file " + weights["source"].replace("\\", "/").rsplit("/", 1)[-1]


def _hash(weights: Mapping[str, str]) -> dict[str, str]:
    return {name: weights[name] for name in ("sha256", "licence") if weights.get(name)}
