"""The given network as one would type it in plain PyTorch, for the loops that are measured against."""

from typing import Any

from torch import nn

__all__ = ["AUGMENTATION", "given_network"]

# What both loops are told: the ranges of this project's defaults. fastai has no equalisation, and none is added.
AUGMENTATION: dict[str, Any] = {"rotation_deg": 20, "translation": 0.1, "shear_deg": 10, "equalise": 0.1}


def given_network() -> nn.Sequential:
    """135,482 parameters at 257 px; logits of two classes."""
    layers: list[nn.Module] = []
    channels = 3
    for stride in (2, 1, 1, 1, 3):
        layers += [nn.Conv2d(channels, 48, 3, stride=stride, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        channels = 48
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(48, 1000), nn.ReLU(), nn.Dropout(0.5), nn.Linear(1000, 2))
