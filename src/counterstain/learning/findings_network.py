"""A network of several findings as a model of two classes: none of them, or any."""

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["FindingsNetwork", "any_logits"]


def any_logits(logits: Tensor) -> Tensor:
    """(B, 2) logarithms of the probabilities of no and of any finding, from (B, K) logits of single findings.

    The findings of an image are taken as independent given the image; what is wrong with that, calibration on the
    validation part corrects.
    """
    none = -functional.softplus(logits).sum(1)
    none = none.clamp(min=-50, max=-1e-6)  # both logarithms stay finite in fp32
    return torch.stack([none, torch.log(1 - torch.exp(none))], 1)


class FindingsNetwork(nn.Module):
    """What is trained on K findings, answering (B, 2) logits of "none" and "any finding"; `body` gives the K logits.

    So every verb that takes a model of two classes takes this one.
    """

    def __init__(self, body: nn.Module, findings: tuple[str, ...]) -> None:
        super().__init__()
        self.body = body
        self.findings = findings

    def forward(self, tiles: Tensor, masks: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) floats to (B, 2) logits."""
        return any_logits(self.body(tiles))
