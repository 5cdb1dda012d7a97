"""From stored tiles to what a network takes: the one place where pixels are scaled."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterstain.errors import InputError, suggest

__all__ = ["SCALES", "to_tensor"]

# What 0…255 becomes: (factor, offset). Stained tissue is bright, so 0..1 puts a large constant on every input; centred
# inputs let a network without normalisation layers start to learn many epochs earlier (docs/log.md).
SCALES = {"0..1": (1 / 255, 0.0), "-1..1": (1 / 127.5, -1.0)}


def to_tensor(tiles: NDArray[np.uint8], *, scale: str, device: torch.device | str = "cpu") -> Tensor:
    """Tiles (B, H, W, 3) uint8 as (B, 3, H, W) float32.

    The memory stays in the order of the tiles (channels last), which is also what convolutions are fastest on.

    Args:
        tiles: the batch.
        scale: a name of SCALES.
        device: where the tensor goes.

    Raises:
        InputError: If the scale is unknown.
    """
    if scale not in SCALES:
        raise InputError(f"scale is '{scale}'{suggest(scale, SCALES)}")
    factor, offset = SCALES[scale]
    batch = torch.from_numpy(tiles).permute(0, 3, 1, 2).to(device)
    scaled = batch.to(torch.float32).mul_(factor)
    return scaled.add_(offset) if offset else scaled
