"""Histogram equalisation of the tissue of a tile: glass stays as it is, so that its noise does not become texture."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["equalise_tissue", "equalised_tissue_luma", "tissue_mask"]

Tiles = NDArray[np.uint8]

# Glass is bright and has no colour: every channel is at least so bright, and they differ by less than so much.
_GLASS_FROM, _GLASS_COLOUR = 180, 20
_LEAST_SHARE = 0.05  # a tile with less tissue stays as it is


def equalise_tissue(tile: Tiles) -> Tiles:
    """The tile with the luminance of its tissue equalised, a new (H, W, 3) uint8 array.

    Y of YCrCb (ITU-R BT.601) of the tissue is spread evenly from 0 up to where its brightest was, so that there is no
    step to the glass around it; colour differences are kept, and glass (every channel 180 or more, less than 20 apart)
    has the bytes that it had. A tile with under 5 % of tissue, or tissue of one luminance, stays as it is.

    Source:
        Gonzalez and Woods, Digital Image Processing, 3.3.1, on a part of the pixels.
    """
    red, green, blue = cv2.split(tile)
    lowest, highest = cv2.min(cv2.min(red, green), blue), cv2.max(cv2.max(red, green), blue)
    tissue = (lowest < _GLASS_FROM) | (highest - lowest >= _GLASS_COLOUR)
    planes = cv2.cvtColor(tile, cv2.COLOR_RGB2YCrCb)
    luma = cv2.extractChannel(planes, 0)
    counts = np.bincount(luma[tissue], minlength=256)
    if counts.sum() < _LEAST_SHARE * tissue.size:
        return tile.copy()
    cv2.insertChannel(cv2.LUT(luma, _table(counts)), planes, 0)
    changed = cv2.cvtColor(planes, cv2.COLOR_YCrCb2RGB, dst=planes)
    return np.where(tissue[:, :, None], changed, tile)


def _table(counts: NDArray[np.int64]) -> Tiles:
    """(256,) the new luminance of each, from how many pixels of tissue have it; in whole numbers, as on a GPU."""
    below = counts.cumsum()
    used = np.flatnonzero(counts)
    above_lowest = below[-1] - counts[used[0]]
    if above_lowest == 0:
        return np.arange(256).astype(np.uint8)
    raised = (2 * (below - counts[used[0]]) * used[-1] + above_lowest) // (2 * above_lowest)
    table: Tiles = np.clip(raised, 0, 255).astype(np.uint8)
    return table


def tissue_mask(tiles: Tensor) -> Tensor:
    """(B, H, W) bool of (B, H, W, 3) uint8: what equalise_tissue changes; nothing of a tile with too little tissue."""
    lowest, highest = tiles.amin(3), tiles.amax(3)
    tissue = (lowest < _GLASS_FROM) | (highest - lowest >= _GLASS_COLOUR)
    enough = tissue.sum((1, 2)) >= _LEAST_SHARE * tissue[0].numel()
    return tissue & enough[:, None, None]


def equalised_tissue_luma(luma: Tensor, tissue: Tensor) -> Tensor:
    """(B, H, W) uint8 of the same: each tile through the table of its tissue's histogram, as in equalise_tissue."""
    batch = len(luma)
    value = luma.reshape(batch, -1).to(torch.int64)
    counts = torch.zeros(batch, 256, dtype=torch.int64, device=luma.device)
    counts.scatter_add_(1, value, tissue.reshape(batch, -1).to(torch.int64))
    below = counts.cumsum(1)
    lowest = (counts > 0).to(torch.int8).argmax(1, keepdim=True)
    highest = 255 - (counts > 0).flip(1).to(torch.int8).argmax(1, keepdim=True)
    of_lowest = counts.gather(1, lowest)
    above_lowest = below[:, -1:] - of_lowest
    raised = (2 * (below - of_lowest) * highest + above_lowest).div(
        2 * above_lowest.clamp(min=1), rounding_mode="floor"
    )
    table = torch.where(above_lowest == 0, torch.arange(256, device=luma.device), raised.clamp(0, 255))
    return table.gather(1, value).to(torch.uint8).reshape(luma.shape)
