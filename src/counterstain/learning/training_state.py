"""What changes in a training from epoch to epoch: made, kept in a checkpoint, restored, and written as history."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from counterstain.errors import InputError
from counterstain.files import hash_json, write_bytes, write_csv
from counterstain.learning.build import start_network
from counterstain.learning.checkpoint import Checkpoint
from counterstain.learning.config import TrainingConfig
from counterstain.learning.device import Device
from counterstain.learning.optimiser import build_optimiser

__all__ = ["HISTORY", "TrainingState", "restore", "snapshot", "start_state", "write_history"]

HISTORY = ("loss", "accuracy", "val_loss", "val_accuracy")


@dataclass
class TrainingState:
    """What changes from epoch to epoch. Everything here goes into the checkpoint; nothing else is needed to resume."""

    network: nn.Module
    optimiser: torch.optim.Adam
    best: dict[str, Tensor]
    history: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in HISTORY})
    best_epoch: int = 0
    weights: dict[str, str] = field(default_factory=dict)


def start_state(settings: TrainingConfig, machine: Device, *, classes: int, tile_px: int, seed: int) -> TrainingState:
    """The network with its first weights on its device, and its optimiser; nothing is trained yet."""
    network, weights = start_network(settings, classes=classes, tile_px=tile_px, seed=seed)
    network = network.to(machine.device).to(memory_format=torch.channels_last)
    return TrainingState(network, build_optimiser(network, settings), best={}, weights=weights)


def snapshot(state: TrainingState, inputs: Mapping[str, object]) -> Checkpoint:
    """All that a training needs to resume, with the inputs that it is of."""
    tensors = {f"network.{name}": tensor for name, tensor in state.network.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in state.best.items()}
    for index, moments in state.optimiser.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{name}": tensor for name, tensor in moments.items()}
    return Checkpoint(tensors, {"inputs": inputs, "history": state.history, "best_epoch": state.best_epoch})


def restore(state: TrainingState, checkpoint: Checkpoint, inputs: Mapping[str, object], folder: Path) -> None:
    """Set a new state to that of a checkpoint.

    Raises:
        InputError: If the checkpoint is of other inputs.
    """
    before = checkpoint.record["inputs"]
    differing = [name for name in inputs if hash_json({"": inputs[name]}) != hash_json({"": before.get(name)})]
    if differing:
        raise InputError(
            f"{folder} holds a checkpoint of another training (its {', '.join(differing)} differ); "
            "name another folder, or remove this one"
        )
    groups: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}}
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in checkpoint.tensors.items():
        group, _, key = name.partition(".")
        if group == "adam":
            index, _, moment = key.partition(".")
            moments.setdefault(int(index), {})[moment] = tensor
        else:
            groups[group][key] = tensor
    state.network.load_state_dict(groups["network"])
    state.best = groups["best"]
    # The fused optimiser reads memory as it lies: moments must lie as their weights do (channels last), not as saved.
    learned = (parameter for group in state.optimiser.param_groups for parameter in group["params"])
    for number, parameter in enumerate(learned):
        of_parameter = moments.get(number, {})  # none of what has not learned yet
        for moment in of_parameter.keys() - {"step"}:
            of_parameter[moment] = torch.empty_like(parameter).copy_(of_parameter[moment])
    groups_of_optimiser = state.optimiser.state_dict()["param_groups"]
    state.optimiser.load_state_dict({"state": moments, "param_groups": groups_of_optimiser})
    state.history = checkpoint.record["history"]
    state.best_epoch = checkpoint.record["best_epoch"]


def write_history(folder: Path, history: dict[str, list[float]]) -> None:
    """Write history.csv, and history.pickle with Keras's keys for old scripts; nothing here reads pickles."""
    epochs = range(1, len(history["loss"]) + 1)
    write_csv(folder / "history.csv", ("epoch", *HISTORY), zip(epochs, *(history[n] for n in HISTORY), strict=True))
    plain = {name: [float(value) for value in history[name]] for name in HISTORY}
    write_bytes(folder / "history.pickle", pickle.dumps(plain, protocol=4))
