"""Batches for a GPU: tiles that are moved there once where they fit, and augmented there."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterstain.pixels.augment import Augmentation
from counterstain.pixels.augment_device import augment_on_device, send
from counterstain.pixels.store import Store, read_batch

__all__ = ["keep_on_device", "make_inputs", "room_on"]

_CHUNK = 256  # tiles that are on their way at a time


def room_on(device: torch.device) -> int:
    """Bytes of the device that tiles may take: half of what is free, the rest is the network's."""
    return int(torch.cuda.mem_get_info(device)[0]) // 2


def keep_on_device(store: Store, rows: NDArray[np.int64], device: torch.device, *, room: int) -> Tensor | None:
    """(N, H, W, 3) uint8, the store's rows on the device; None where they take more than `room` bytes."""
    shape = (len(rows), *store.tiles.shape[1:])
    if int(np.prod(shape)) > room:
        return None
    kept = torch.empty(shape, dtype=torch.uint8, device=device)
    for start in range(0, len(rows), _CHUNK):
        kept[start : start + _CHUNK].copy_(torch.from_numpy(read_batch(store, rows[start : start + _CHUNK])))
    return kept


def make_inputs(
    store: Store,
    rows: NDArray[np.int64],
    keys: NDArray[np.uint64],
    *,
    chosen: NDArray[np.int64],
    which: NDArray[np.int64] | None,
    kept: Tensor | None,
    device: torch.device,
    augmentation: Augmentation,
    seed: int,
    epoch: int,
    scale: str,
) -> Tensor:
    """(B, 3, H, W) augmented and scaled inputs on the device, without waiting for it.

    Args:
        store: of the tiles.
        rows, keys: (N,) of all training images.
        chosen: (B,) which of them.
        which: (B,) of expand_batch, for mode "expand".
        kept: what keep_on_device gave for `rows`; None where they did not fit, then they are read from the store.
        device, augmentation, seed, epoch, scale: as in augment_on_device.
    """
    if kept is None:
        tiles = send(read_batch(store, rows[chosen]), device)
    else:
        tiles = kept.index_select(0, send(chosen, device))
    return augment_on_device(
        tiles, keys[chosen], settings=augmentation, seed=seed, epoch=epoch, scale=scale, which=which
    )
