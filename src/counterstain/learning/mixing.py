"""MixUp and CutMix: pairs of training tiles made into one, with the share of each."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterstain.learning.config import TrainingConfig

__all__ = ["Plan", "mix", "plan_mixing"]


@dataclass(frozen=True)
class Plan:
    """How a batch is mixed.

    partner: (B,) place in the batch of the tile that each is mixed with.
    share: (B,) float64 of the first tile.
    centre: (B, 2) float64 in [0, 1), middle of the part that is cut out, down and across; None for MixUp.
    """

    partner: NDArray[np.int64]
    share: NDArray[np.float64]
    centre: NDArray[np.float64] | None

    def rows(self, rows: slice) -> "Plan":
        """The plan of these rows of the batch."""
        return Plan(self.partner[rows], self.share[rows], None if self.centre is None else self.centre[rows])


def plan_mixing(settings: TrainingConfig, seed: tuple[int, int, int], size: int) -> Plan | None:
    """The plan of one batch, a pure function of its seed; None where nothing is mixed.

    Source: Zhang et al. 2018, ICLR, arXiv:1710.09412; Yun et al. 2019, ICCV, arXiv:1905.04899.
    """
    if not settings.mixup and not settings.cutmix:
        return None
    random = np.random.default_rng((*seed, 0x4D4958))
    cuts = bool(settings.cutmix) and (not settings.mixup or random.random() < 0.5)
    alpha = settings.cutmix if cuts else settings.mixup
    partner = random.permutation(size)
    share = random.beta(alpha, alpha, size)
    return Plan(partner, share, random.random((size, 2)) if cuts else None)


def mix(
    tiles: NDArray[np.uint8] | Tensor, others: NDArray[np.uint8] | Tensor, plan: Plan, *, side: int | None = None
) -> tuple[NDArray[np.uint8] | Tensor, NDArray[np.float32]]:
    """The mixed tiles, and the share of each first tile in them.

    Args:
        tiles, others: (B, H, W, 3) uint8, or (B, 3, H, W) tensors of inputs.
        plan: of these rows.
        side: of the upper left square that the network sees, px; what is cut out is cut out there.
    """
    if plan.centre is None:
        return _blend(tiles, others, plan.share), plan.share.astype(np.float32)
    axes = (2, 3) if isinstance(tiles, Tensor) else (1, 2)
    high, wide = (min(side or tiles.shape[axis], tiles.shape[axis]) for axis in axes)
    mixed = tiles.clone() if isinstance(tiles, Tensor) else tiles.copy()
    share = np.empty(len(plan.share), np.float32)
    for row, (first, (down, across)) in enumerate(zip(plan.share, plan.centre, strict=True)):
        half = float(np.sqrt(1 - first)) / 2
        top, bottom = (round(min(max(edge, 0), 1) * high) for edge in (down - half, down + half))
        left, right = (round(min(max(edge, 0), 1) * wide) for edge in (across - half, across + half))
        box = (slice(top, bottom), slice(left, right))
        if isinstance(mixed, Tensor):
            mixed[(row, slice(None), *box)] = others[(row, slice(None), *box)]  # type: ignore[assignment]
        else:
            mixed[(row, *box)] = others[(row, *box)]
        share[row] = 1 - (bottom - top) * (right - left) / (high * wide)
    return mixed, share


def _blend(
    tiles: NDArray[np.uint8] | Tensor, others: NDArray[np.uint8] | Tensor, share: NDArray[np.float64]
) -> NDArray[np.uint8] | Tensor:
    if isinstance(tiles, Tensor):
        weight = torch.from_numpy(share).to(tiles.device, tiles.dtype)[:, None, None, None]
        return weight * tiles + (1 - weight) * torch.as_tensor(others)
    weights = share[:, None, None, None].astype(np.float32)
    blended: NDArray[np.uint8] = np.rint(weights * tiles + (1 - weights) * np.asarray(others)).astype(np.uint8)
    return blended
