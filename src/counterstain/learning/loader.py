"""Batches of augmented training tiles, made by all cores between two steps; for a GPU augmented where they lie."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterstain.files import hash_bytes
from counterstain.images.augment import augment_batch, expand_batch, expanded_count
from counterstain.images.augment_gpu import augment_on_device, send
from counterstain.images.augmentation import Augmentation
from counterstain.images.store import Store, read_batch
from counterstain.learning.config import TrainingConfig
from counterstain.learning.device import Device
from counterstain.learning.distributed import World, share
from counterstain.learning.mixing import mix, plan_mixing
from counterstain.learning.objective import Mixed
from counterstain.learning.stain_pipeline import UNSTAINED, StainPipeline

__all__ = [
    "Batch",
    "Examples",
    "TileLoader",
    "batches",
    "draw_order",
    "feed",
    "keep_on_device",
    "make_inputs",
    "room_on",
]

_STRIDE = np.uint64(0x9E3779B97F4A7C15)  # between the keys of an image's copies: odd, so that all differ
_CHUNK = 256  # tiles that are on their way at a time


@dataclass(frozen=True)
class Examples:
    """Images of one part of a split.

    row: (N,) int64, rows of the tile store.
    label: (N,) int64, index into the classes.
    key: (N,) uint64, of each image's name: what its random draws depend on beside seed and epoch.
    """

    row: NDArray[np.int64]
    label: NDArray[np.int64]
    key: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.row)

    def digest(self) -> str:
        """SHA-256 of which images these are, and with which labels."""
        return hash_bytes(self.key.tobytes() + self.label.tobytes())


@dataclass(frozen=True)
class TileLoader:
    """All that the batches of a training are made from, but the epoch.

    device: where inputs are wanted; kept: the tiles on it where they fitted, see keep_on_device.
    threads: of the processor, for augmentation.
    side: what the network sees of a tile, see networks.seen_side.
    """

    store: Store
    examples: Examples
    settings: TrainingConfig
    augmentation: Augmentation
    staining: StainPipeline
    world: World
    device: torch.device
    on_device: Tensor | None
    seed: int
    threads: int
    side: int | None = None

    @property
    def images(self) -> int:
        """How many images an epoch has."""
        return len(self.examples) * (expanded_count(self.augmentation) if self.augmentation.mode == "expand" else 1)


def feed(
    store: Store,
    examples: Examples,
    settings: TrainingConfig,
    augmentation: Augmentation,
    machine: Device,
    world: World,
    *,
    staining: StainPipeline = UNSTAINED,
    seed: int,
    side: int | None = None,
) -> TileLoader:
    """The feed of one training; on a GPU the tiles are moved there now, if they fit."""
    device = _numbered_device(machine)  # asked here, because a thread of its own would begin with the first GPU
    on_device = None
    if device.type != "cpu" and not staining.changes_training:
        on_device = keep_on_device(store, examples.row, device, room=room_on(device))
    return TileLoader(
        store, examples, settings, augmentation, staining, world, device, on_device, seed, machine.threads, side
    )


def _numbered_device(machine: Device) -> torch.device:
    """The device with its number, which a launcher's process has chosen."""
    return torch.device("cpu") if machine.device == "cpu" else torch.device("cuda", torch.cuda.current_device())


@dataclass(frozen=True)
class Batch:
    """What one process is given of one batch.

    tiles: (B, H, W, 3) uint8; for a GPU the inputs themselves, (B, 3, H, W) floats, which lie there already.
    label: (B,) class index; size: of the whole batch.
    mixed: how tiles were mixed with others; None where they were not.
    """

    tiles: NDArray[np.uint8] | Tensor
    label: NDArray[np.int64]
    size: int
    mixed: Mixed | None = None


def batches(source: TileLoader, *, epoch: int) -> Iterator[Batch]:
    """This process's rows of each augmented batch of one epoch.

    A thread beside a step on the processor would hold up one of its cores, and the others wait for that one: there,
    batches are made between the steps, by all cores. For a GPU, and where the stain is changed, which takes one core
    only, they are made while the step before runs.
    """
    order = draw_order(source, epoch)
    copy = _copies(order)
    size = source.settings.batch

    def vary(drawn: NDArray[np.int64]) -> tuple[NDArray[np.uint8] | Tensor, NDArray[np.int64]]:
        which, chosen = np.divmod(order[drawn], len(source.examples))
        return _vary(source, chosen, which, copy[drawn], epoch), source.examples.label[chosen]

    def make(start: int) -> Batch:
        batch = np.arange(start, min(start + size, len(order)))
        rows = share(len(batch), source.world)
        tiles, label = vary(batch[rows])
        plan = plan_mixing(source.settings, (source.seed, epoch, start), len(batch))
        if plan is None:
            return Batch(tiles, label, len(batch))
        if source.world.size == 1:
            other_tiles, partner = tiles[plan.partner], label[plan.partner]
        else:
            other_tiles, partner = vary(batch[plan.partner[rows]])
        mixed, first = mix(tiles, other_tiles, plan.rows(rows), side=source.side)
        return Batch(mixed, label, len(batch), Mixed(partner, first))

    starts = range(0, len(order), size)
    if source.device.type == "cpu" and not source.staining.changes_training:
        yield from map(make, starts)
        return
    with ThreadPoolExecutor(1, "augment") as thread:
        ahead = thread.submit(make, 0)
        for start in starts[1:]:
            ready, ahead = ahead, thread.submit(make, start)
            yield ready.result()
        yield ahead.result()


def draw_order(source: TileLoader, epoch: int) -> NDArray[np.int64]:
    """(images,) which image is seen when in an epoch: each once; or as many of every class, none twice before all are.

    A pure function of seed and epoch, and of which images there are.
    """
    random = np.random.default_rng((source.seed, epoch))
    if source.settings.sampler == "shuffled":
        return random.permutation(source.images)
    label = np.tile(source.examples.label, source.images // len(source.examples))
    classes = np.unique(label)
    by_class = []
    for place, name in enumerate(classes):
        members = np.flatnonzero(label == name)
        count = source.images // len(classes) + (place < source.images % len(classes))
        rounds = [random.permutation(members) for _ in range(-(-count // len(members)))]
        by_class.append(np.concatenate(rounds)[:count])
    return random.permutation(np.concatenate(by_class))


def _copies(order: NDArray[np.int64]) -> NDArray[np.uint64]:
    """(N,) how often each entry stood in the order before: a repeated image is augmented differently."""
    place = np.argsort(order, kind="stable")
    ordered = order[place]
    new = np.r_[True, ordered[1:] != ordered[:-1]]
    first = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
    copy = np.empty(len(order), np.uint64)
    copy[place] = np.arange(len(order)) - first
    return copy


def _vary(
    source: TileLoader, chosen: NDArray[np.int64], which: NDArray[np.int64], copy: NDArray[np.uint64], epoch: int
) -> NDArray[np.uint8] | Tensor:
    """The chosen tiles with their draws of this epoch."""
    examples, augmentation, seed = source.examples, source.augmentation, source.seed
    expand = which if augmentation.mode == "expand" else None
    keys = examples.key[chosen] + copy * _STRIDE  # wraps round, as it may
    stained = None
    if source.staining.changes_training:
        stained = source.staining.for_training(read_batch(source.store, examples.row[chosen]), keys, seed, epoch)
    if source.device.type != "cpu":
        return make_inputs(
            source.store, examples.row, keys, chosen=chosen, which=expand, on_device=source.on_device,
            device=source.device, augmentation=augmentation, seed=seed, epoch=epoch, scale=source.settings.scale,
            stained=stained,
        )  # fmt: skip
    tiles = read_batch(source.store, examples.row[chosen]) if stained is None else stained
    if expand is not None:
        return expand_batch(
            tiles, keys, expand, settings=augmentation, seed=seed, threads=source.threads, side=source.side
        )
    if augmentation.mode == "on_the_fly":
        return augment_batch(
            tiles, keys, settings=augmentation, seed=seed, epoch=epoch, threads=source.threads, side=source.side
        )
    return tiles


def room_on(device: torch.device) -> int:
    """Bytes of the device that tiles may take: half of what is free, the rest is the network's."""
    return int(torch.cuda.mem_get_info(device)[0]) // 2


def keep_on_device(store: Store, rows: NDArray[np.int64], device: torch.device, *, room: int) -> Tensor | None:
    """(N, H, W, 3) uint8, the store's rows on the device; None where they take more than `room` bytes."""
    shape = (len(rows), *store.tiles.shape[1:])
    if int(np.prod(shape)) > room:
        return None
    tiles = torch.empty(shape, dtype=torch.uint8, device=device)
    for start in range(0, len(rows), _CHUNK):
        tiles[start : start + _CHUNK].copy_(torch.from_numpy(read_batch(store, rows[start : start + _CHUNK])))
    return tiles


def make_inputs(
    store: Store,
    rows: NDArray[np.int64],
    keys: NDArray[np.uint64],
    *,
    chosen: NDArray[np.int64],
    which: NDArray[np.int64] | None,
    on_device: Tensor | None,
    device: torch.device,
    augmentation: Augmentation,
    seed: int,
    epoch: int,
    scale: str,
    stained: NDArray[np.uint8] | None = None,
) -> Tensor:
    """(B, 3, H, W) augmented and scaled inputs on the device, without waiting for it.

    Args:
        store: of the tiles.
        rows: (N,) of all training images.
        chosen: (B,) which of them; keys: (B,) theirs.
        which: (B,) of expand_batch, for mode "expand".
        on_device: what keep_on_device gave for `rows`; None where they did not fit, then they are read from the store.
        device, augmentation, seed, epoch, scale: as in augment_on_device.
        stained: the chosen tiles where their stain was changed already, else None.
    """
    if stained is not None:
        tiles = send(stained, device)
    elif on_device is None:
        tiles = send(read_batch(store, rows[chosen]), device)
    else:
        tiles = on_device.index_select(0, send(chosen, device))
    return augment_on_device(tiles, keys, settings=augmentation, seed=seed, epoch=epoch, scale=scale, which=which)
