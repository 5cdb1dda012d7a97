"""What learns at which rate: the body and the head, and how the rate falls. Pure functions of the epoch."""

import inspect
import math
from collections.abc import Callable
from typing import TypeVar, cast

import torch
from torch import nn

from counterstain.learning.backbones import Backbone
from counterstain.learning.config import TrainingConfig

__all__ = ["build_optimiser", "loop_record", "set_phase", "set_rates"]

Kind = TypeVar("Kind", bound=torch.optim.Adam)


def _light(kind: type[Kind]) -> type[Kind]:
    """An optimiser of torch's, started without what keeps it out of torch.compile, where nothing of ours is compiled.

    That imports torch._dynamo at the first use, and with it sympy and scikit-learn: two thirds of what torch itself
    takes. What the methods compute is the same.
    """
    members = {name: _inner(getattr(kind, name)) for name in _GUARDED}
    return cast("type[Kind]", type(kind.__name__, (kind,), {**members, "step": torch.no_grad()(_inner(kind.step))}))


def _inner(member: Callable[..., object]) -> Callable[..., object]:
    inner = inspect.unwrap(member)
    return lambda *arguments, **named: inner(*arguments, **named)  # torch marks the function that it finds here


_GUARDED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
Adam, AdamW = _light(torch.optim.Adam), _light(torch.optim.AdamW)


def build_optimiser(network: nn.Module, settings: TrainingConfig) -> torch.optim.Adam:
    """Adam (AdamW where there is weight decay), its groups in the order of the network's parameters."""
    groups = [
        {
            "params": [parameter for parameter in network.parameters() if parameter.requires_grad],
            "lr": settings.learning_rate,
        }
    ]
    if isinstance(network, Backbone):
        groups = [
            {"params": list(network.body.parameters()), "lr": settings.learning_rate * settings.backbone_rate},
            {"params": list(network.output.parameters()), "lr": settings.learning_rate},
        ]
    if settings.weight_decay:
        return AdamW(groups, eps=settings.epsilon, weight_decay=settings.weight_decay, fused=True)
    return Adam(groups, eps=settings.epsilon, fused=True)


def loop_record(optimiser: torch.optim.Optimizer, settings: TrainingConfig) -> dict[str, object]:
    """What a training loop did with these settings, for training.json: the optimiser, and when it stopped."""
    return {
        "optimiser": {
            "name": type(optimiser).__name__,
            "learning_rate": settings.learning_rate,
            "weight_decay": settings.weight_decay,
            "schedule": settings.schedule,
            "batch": settings.batch,
        },
        "stopping": {"epochs": settings.epochs, "patience": settings.patience},
    }


def set_phase(network: nn.Module, settings: TrainingConfig, epoch: int) -> None:
    """Let the body learn or keep it, as this epoch (from 1) wants it."""
    if isinstance(network, Backbone):
        network.freeze(settings.tune == "head_first" and epoch <= settings.head_epochs)


def set_rates(optimiser: torch.optim.Optimizer, settings: TrainingConfig, *, epoch: int, share: float) -> None:
    """The learning rates of a step, `share` of the epoch (0 to 1) having been seen."""
    if settings.schedule == "constant":
        return
    fall = (1 + math.cos(math.pi * (epoch - 1 + share) / settings.epochs)) / 2
    rates = [settings.learning_rate]
    if len(optimiser.param_groups) == 2:
        rates = [settings.learning_rate * settings.backbone_rate, settings.learning_rate]
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        group["lr"] = rate * fall
