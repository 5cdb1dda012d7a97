"""Augmentation of a batch that lies on a GPU: the draws of images.augment, carried out by torch where the tiles are."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from counterstain.images.augment import _matrices, _Plan, _plan_all, _plan_single
from counterstain.images.augmentation import Augmentation
from counterstain.images.colour import LUMA, colour_matrices
from counterstain.images.stain_equalisation import equalised_tissue_luma, tissue_mask
from counterstain.images.tensor import apply_scale

__all__ = ["augment_on_device", "send"]

# OpenCV's RGB ↔ YCrCb in whole numbers of 2^-14, so that the equalised tile has the bytes of images.augment.
_SHIFT, _HALF, _MIDDLE = 14, 1 << 13, 128
_TO_Y = (4899, 9617, 1868)
_TO_CR, _TO_CB, _FROM_CR, _FROM_CB = 11682, 9241, (22987, -11698), (-5636, 29049)


def augment_on_device(
    tiles: Tensor,
    keys: NDArray[np.uint64],
    *,
    settings: Augmentation,
    seed: int,
    epoch: int,
    scale: str,
    which: NDArray[np.int64] | None = None,
) -> Tensor:
    """(B, 3, H, W) float32, channels last, scaled: what augment_batch or expand_batch and then to_tensor give.

    Flips, quarter turns and equalisation alone have the same bytes; a warp differs by less than a grey level on
    average, for OpenCV interpolates in steps of a fraction of a pixel. What is drawn is computed on the processor
    from (seed, epoch, key), and only a few numbers per image are sent: nothing here waits for the device.

    Args:
        tiles: (B, H, W, 3) uint8 RGB on the device; not changed.
        keys: (B,) uint64, see image_keys.
        settings, seed, epoch: as in augment_batch.
        scale: see images.tensor.scale_of.
        which: (B,) of expand_batch, for mode "expand".
    """
    height, width = tiles.shape[1:3]
    if settings.mode == "none" or not len(keys):
        return apply_scale(tiles.permute(0, 3, 1, 2).to(torch.float32), scale)
    shape = np.empty((len(keys), height, width, 0), np.uint8)  # a plan asks for the shape alone
    if which is None:
        plan = _plan_all(shape, keys, settings, seed, epoch)
    else:
        names = np.array(("original", *settings.transformations()))[which]
        plan = _plan_single(shape, keys, settings, seed, names)
    chosen = np.flatnonzero(plan.equalise)
    if len(chosen):
        rows = send(chosen, tiles.device)
        some = tiles.index_select(0, rows)
        if settings.equalise == "channels":
            even = equalise_channels(some)
        else:
            even = equalise_luminance(some, of_tissue=settings.equalise == "tissue")
        tiles = tiles.index_copy(0, rows, even)
    pixels = tiles.permute(0, 3, 1, 2).to(torch.float32)
    if plan.colour is not None:
        pixels = _recoloured(pixels, plan.colour)
    return apply_scale(_warped(pixels, plan), scale)


def send(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """The array on the device; from pinned memory, so that the processor does not wait until it has arrived."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _warped(pixels: Tensor, plan: _Plan) -> Tensor:
    """One bilinear interpolation of all that moves, borders mirrored, rounded to whole grey levels as uint8 is."""
    height, width = pixels.shape[2:]
    # From pixels to the sampler's −1…1 between the centres of the outermost pixels, on both sides of the matrix.
    half = np.array([(width - 1) / 2, (height - 1) / 2])
    matrices = _matrices(plan, height, width)
    linear = matrices[:, :, :2] * half[None, None, :] / half[None, :, None]
    moved = (np.einsum("bij,j->bi", matrices[:, :, :2], half) + matrices[:, :, 2]) / half - 1
    theta = send(np.concatenate([linear, moved[:, :, None]], axis=2).astype(np.float32), pixels.device)
    grid = functional.affine_grid(theta, list(pixels.shape), align_corners=True)
    made = functional.grid_sample(pixels, grid, "bilinear", "reflection", align_corners=True)
    return made.round_().contiguous(memory_format=torch.channels_last)


def _recoloured(pixels: Tensor, factors: NDArray[np.float64]) -> Tensor:
    """images.colour for a batch: one matrix and one offset per tile, rounded and clipped."""
    matrix, grey_share = colour_matrices(*factors.T)
    luma = send(np.array(LUMA, np.float32), pixels.device)
    grey = torch.einsum("bc,c->b", pixels.mean((2, 3)), luma) * send(grey_share.astype(np.float32), pixels.device)
    turned = torch.einsum("bij,bjhw->bihw", send(matrix.astype(np.float32), pixels.device), pixels)
    return (turned + grey[:, None, None, None]).round_().clamp_(0, 255)


def equalise_channels(tiles: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 with each channel equalised by itself."""
    batch, height, width, channels = tiles.shape
    planes = tiles.permute(0, 3, 1, 2).reshape(batch * channels, height, width)
    return _equalised(planes).reshape(batch, channels, height, width).permute(0, 2, 3, 1)


def equalise_luminance(tiles: Tensor, *, of_tissue: bool = False) -> Tensor:
    """(B, H, W, 3) uint8 with Y of YCrCb (ITU-R BT.601) equalised and the colour differences kept.

    Of the tissue alone it is what equalise_tissue makes, in the same bytes.
    """
    red, green, blue = tiles.to(torch.int32).unbind(3)
    luma = (red * _TO_Y[0] + green * _TO_Y[1] + blue * _TO_Y[2] + _HALF) >> _SHIFT
    middle = (_MIDDLE << _SHIFT) + _HALF
    of_red = (((red - luma) * _TO_CR + middle) >> _SHIFT).clamp_(0, 255) - _MIDDLE
    of_blue = (((blue - luma) * _TO_CB + middle) >> _SHIFT).clamp_(0, 255) - _MIDDLE
    narrow = luma.to(torch.uint8)
    tissue = tissue_mask(tiles) if of_tissue else None
    even = (_equalised(narrow) if tissue is None else equalised_tissue_luma(narrow, tissue)).to(torch.int32)
    channels = (
        even + ((of_red * _FROM_CR[0] + _HALF) >> _SHIFT),
        even + ((of_red * _FROM_CR[1] + of_blue * _FROM_CB[0] + _HALF) >> _SHIFT),
        even + ((of_blue * _FROM_CB[1] + _HALF) >> _SHIFT),
    )
    changed = torch.stack(channels, dim=3).clamp_(0, 255).to(torch.uint8)
    return changed if tissue is None else torch.where(tissue[..., None], changed, tiles)


def _equalised(planes: Tensor) -> Tensor:
    """(N, H, W) uint8, each plane through the table of its own histogram, as cv2.equalizeHist makes it."""
    count, pixels = len(planes), planes[0].numel()
    value = planes.reshape(count, pixels).to(torch.int64)
    histogram = torch.zeros(count, 256, dtype=torch.int64, device=planes.device)
    histogram.scatter_add_(1, value, torch.ones_like(value))
    below = histogram.cumsum(1)
    lowest = (histogram > 0).to(torch.int8).argmax(1, keepdim=True)
    above_lowest = pixels - histogram.gather(1, lowest)
    pixels_above = above_lowest.clamp(min=1).to(torch.float32)  # a plane of one value keeps it, below
    # Divided by a tensor: torch makes 255 / tensor a reciprocal and a product, whose last bit decides ties.
    ratio = torch.full_like(pixels_above, 255) / pixels_above
    table = ((below - histogram.gather(1, lowest)).to(torch.float32) * ratio).round_().clamp_(0, 255)
    table = torch.where(above_lowest == 0, lowest.to(torch.float32), table)
    return table.gather(1, value).to(torch.uint8).reshape(planes.shape)
