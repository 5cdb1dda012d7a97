"""From stored tiles to what a network takes: the one place where pixels are scaled."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["SCALE", "to_tensor"]

SCALE = 1 / 255


def to_tensor(tiles: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """Tiles (B, H, W, 3) uint8 as (B, 3, H, W) float32 in [0, 1].

    The memory stays in the order of the tiles (channels last), which is also what convolutions are fastest on.
    """
    batch = torch.from_numpy(tiles).permute(0, 3, 1, 2).to(device)
    return batch.to(torch.float32).mul_(SCALE)
