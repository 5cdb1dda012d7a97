"""The training loop: early stopping on the validation loss, best weights restored, one checkpoint per epoch."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from counterstain.errors import InputError
from counterstain.images.augmentation import Augmentation
from counterstain.images.store import Store
from counterstain.learning.checkpoint import load_checkpoint, save_checkpoint
from counterstain.learning.config import TrainingConfig
from counterstain.learning.device import Device, prepare_device
from counterstain.learning.distributed import ALONE, World, share, sum_over
from counterstain.learning.loader import Examples, TileLoader, batches, feed
from counterstain.learning.networks import TileNetwork, seen_side
from counterstain.learning.objective import PLAIN, Objective, exactly_right, remove_shift, uneven_record
from counterstain.learning.optimiser import loop_record, set_phase, set_rates
from counterstain.learning.own_network import OwnNetwork
from counterstain.learning.predictor import predict_logits
from counterstain.learning.stain_pipeline import UNSTAINED, StainPipeline
from counterstain.learning.training_state import HISTORY, TrainingState, restore, snapshot, start_state, write_history
from counterstain.learning.training_step import take_step
from counterstain.progress import TrainingProgress
from counterstain.system import usable_cores

__all__ = ["Trained", "check_finite", "train"]


@dataclass(frozen=True)
class Trained:
    """A trained network with its best weights, and what happened on the way. Epochs count from 1.

    done: what was done to get it, as the report's sentences are made from it; see study.training_record.
    """

    network: nn.Module
    history: dict[str, list[float]]
    best_epoch: int
    machine: Device
    epoch_seconds: tuple[float, ...]
    weights: dict[str, str] = field(default_factory=dict)
    staining: StainPipeline = UNSTAINED
    head: dict[str, Any] = field(default_factory=lambda: {"kind": "linear"})
    done: dict[str, Any] = field(default_factory=dict)

    @property
    def last_epoch(self) -> int:
        """The last epoch that was trained."""
        return len(self.history["loss"])


def train(
    store: Store,
    training: Examples,
    validation: Examples,
    *,
    classes: int,
    settings: TrainingConfig,
    augmentation: Augmentation,
    seed: int,
    folder: Path,
    progress: Callable[[TrainingProgress], None] | None = None,
    world: World = ALONE,
    staining: StainPipeline = UNSTAINED,
    objective: Objective = PLAIN,
) -> Trained:
    """Train one network, or resume one that was stopped; the same bytes come out either way.

    Weights, the order of images, augmentation and dropout are pure functions of the seed and the epoch. A checkpoint
    in `folder` after every epoch lets the same call resume from the last whole one.

    Args:
        store: tiles of the whole cohort.
        training: images to fit.
        validation: images that say when to stop, of other patients than the training ones.
        classes: how many.
        settings: network, batch, rate, patience and the rest.
        augmentation: of the training images only.
        seed: of everything random here.
        folder: where the checkpoints are kept until training ends.
        progress: called after each step and each epoch.
        world: the processes that train this network together: the same batches as one process has, each takes its
            rows of every batch. Only the leading one writes checkpoints; all end with the same network.
        staining: what is done to the stain of tiles, see learning.stain_pipeline.
        objective: what is minimised, of these settings and training images; see objective_of.

    Raises:
        InputError: If a part is empty, the loss is no longer finite, the checkpoint is of another training, or another
            process is gone.
    """
    if not len(training) or not len(validation):
        raise InputError(f"nothing to train with: {len(training)} training and {len(validation)} validation images")
    threads = settings.threads
    if threads is None and world.size > 1:
        threads = max(1, usable_cores() // world.local_size)
    machine = prepare_device(
        device=settings.device, precision=settings.precision, threads=threads, network=settings.network
    )
    tile_px = int(store.tiles.shape[1])
    state = start_state(settings, machine, classes=classes, tile_px=tile_px, seed=seed)
    inputs = _inputs(settings, machine, augmentation, staining, objective) | {
        "data": {"tiles": store.key, "training": training.digest(), "validation": validation.digest()},
        "seed": seed,
        "classes": classes,
        "weights": state.weights,
    }
    checkpoint = load_checkpoint(folder)
    if checkpoint is not None:
        restore(state, checkpoint, inputs, folder)
    _check_same_epoch(state, folder, machine, world)
    side = seen_side(state.network)
    source = feed(store, training, settings, augmentation, machine, world, staining=staining, seed=seed, side=side)
    seconds: list[float] = []
    while len(state.history["loss"]) < settings.epochs and not _patience_is_over(state, settings):
        began = time.perf_counter()
        last_progress = _one_epoch(state, source, validation, machine, objective, progress)
        if world.leads:
            save_checkpoint(folder, snapshot(state, inputs))
            write_history(folder, state.history)  # for whoever watches
        seconds.append(time.perf_counter() - began)
        if progress is not None:
            progress(last_progress)
    state.network.load_state_dict(state.best)
    remove_shift(state.network, objective.shift)
    state.network.eval()
    done = loop_record(state.optimiser, settings) | {
        "augmentation": {"mode": augmentation.mode, "transformations": list(augmentation.transformations())},
        "stain_augmentation": settings.stain_augmentation,
        **uneven_record(settings, objective),
    }
    return Trained(
        state.network, state.history, state.best_epoch, machine, tuple(seconds), state.weights, staining, done=done
    )


def _one_epoch(
    state: TrainingState,
    source: TileLoader,
    validation: Examples,
    machine: Device,
    objective: Objective,
    progress: Callable[[TrainingProgress], None] | None,
) -> TrainingProgress:
    """Fit and validate once: the history gets a row, the best weights are replaced where the loss is the lowest yet."""
    settings, epoch = source.settings, len(state.history["loss"]) + 1
    loss, accuracy, rate = _fit_epoch(state, source, machine, objective, epoch=epoch, progress=progress)
    _share_buffers(state.network, source.world)
    val_loss, val_accuracy = _validate(
        state.network, source.store, validation, settings, machine, source.world, source.staining, objective.shift
    )
    check_finite(val_loss, epoch, settings)
    for name, value in zip(HISTORY, (loss, accuracy, val_loss, val_accuracy), strict=True):
        state.history[name].append(value)
    if val_loss == min(state.history["val_loss"]) and state.history["val_loss"].count(val_loss) == 1:
        state.best_epoch = epoch
        state.best = {name: tensor.detach().clone() for name, tensor in state.network.state_dict().items()}
    images = source.images
    return TrainingProgress(epoch, settings.epochs, images, images, loss, accuracy, rate, val_loss, val_accuracy)


def check_finite(val_loss: float, epoch: int, settings: TrainingConfig) -> None:
    """Refuse to continue with weights that ran away in the last steps of an epoch.

    Raises:
        InputError: If the validation loss is no finite number.
    """
    if not math.isfinite(val_loss):
        raise InputError(
            f"the validation loss is {val_loss} after epoch {epoch}; the last completed epoch is kept. "
            f"Try a learning rate below {settings.learning_rate:g}, or precision fp32"
        )


def _inputs(
    settings: TrainingConfig,
    machine: Device,
    augmentation: Augmentation,
    staining: StainPipeline,
    objective: Objective,
) -> dict[str, Any]:
    """All beside the data that the weights follow from, as a checkpoint records it."""
    return {
        "settings": asdict(settings) | {"device": machine.device, "precision": machine.precision},
        # Not the number of processes: what several began, one may end, equal within rounding though not in its bytes.
        "machine": {"threads": machine.threads, "torch": machine.torch, "pooling": machine.pooling},
        "augmentation": asdict(augmentation),
        "staining": staining.record(),
        "objective": asdict(objective),
    }


def _patience_is_over(state: TrainingState, settings: TrainingConfig) -> bool:
    """As in Keras: stop once `patience` epochs in a row have not improved on the best validation loss."""
    return len(state.history["loss"]) - state.best_epoch >= settings.patience and bool(state.history["loss"])


def _check_same_epoch(state: TrainingState, folder: Path, machine: Device, world: World) -> None:
    """Processes that see different folders resume from different epochs, and would sum gradients of other weights."""
    epochs = len(state.history["loss"])
    if int(sum_over(torch.tensor([epochs], device=machine.device), world)) != epochs * world.size:
        raise InputError(
            f"process {world.rank + 1} of {world.size} finds {epochs} trained epochs in {folder}, another one finds a "
            "different number; put the folder where all processes can see it"
        )


def _fit_epoch(
    state: TrainingState,
    source: TileLoader,
    machine: Device,
    objective: Objective,
    *,
    epoch: int,
    progress: Callable[[TrainingProgress], None] | None,
) -> tuple[float, float, float]:
    """One pass over the training images: mean loss, share predicted right (dropout on, as in Keras), images/s."""
    settings = source.settings
    # Dropout draws from torch's own generator: seeded again each epoch, so that a resumed run draws what it would have.
    torch.manual_seed(int(np.random.SeedSequence((source.seed, epoch)).generate_state(1, np.uint64)[0] >> 1))
    set_phase(state.network, settings, epoch)
    state.network.train()
    images = source.images
    loss_sum = torch.zeros((), dtype=torch.float64, device=machine.device)
    right = torch.zeros((), dtype=torch.int64, device=machine.device)
    seen = 0
    began = time.perf_counter()
    for batch in batches(source, epoch=epoch):
        set_rates(state.optimiser, settings, epoch=epoch, share=seen / images)
        batch_loss, batch_right = take_step(
            state, batch.tiles, batch.label, settings, machine, source.world, batch.size, objective, batch.mixed
        )
        loss_sum += batch_loss
        right += batch_right
        seen += batch.size
        # Reading a number from a GPU waits for it, so there the loss is looked at less often.
        if machine.device == "cpu" or seen == images or (seen // settings.batch) % 50 == 0:
            loss = float(loss_sum) / seen
            if not math.isfinite(loss):
                raise InputError(
                    f"the loss is {loss} in epoch {epoch} after {seen} images; the last completed epoch is kept. "
                    f"Try a learning rate below {settings.learning_rate:g}, or precision fp32"
                )
            if progress is not None:
                rate = seen / (time.perf_counter() - began)
                progress(TrainingProgress(epoch, settings.epochs, seen, images, loss, float(right) / seen, rate))
    return float(loss_sum) / seen, float(right) / seen, seen / (time.perf_counter() - began)


def _share_buffers(network: nn.Module, world: World) -> None:
    """Batch statistics are each process's own while it learns; all continue with their mean."""
    for buffer in network.buffers() if world.size > 1 else ():
        if buffer.is_floating_point():
            buffer.copy_(sum_over(buffer.clone(), world) / world.size)


def _validate(
    network: nn.Module,
    store: Store,
    examples: Examples,
    settings: TrainingConfig,
    machine: Device,
    world: World,
    staining: StainPipeline,
    shift: Sequence[float] = (),
) -> tuple[float, float]:
    """Mean loss and share predicted right, in fp32 and without dropout; each image is predicted by one process.

    The loss is the plain cross-entropy of the logits without the shift, whatever is minimised: that of the finished
    network's probabilities.
    """
    part = share(len(examples), world)
    logits = torch.from_numpy(
        predict_logits(
            network, store, examples.row[part], scale=settings.scale, device=machine.device, staining=staining
        )
    )
    if world.size > 1:  # rows of the others are 0 here, so that a sum puts all together, in order
        gathered = torch.zeros(len(examples), _count_classes(network), device=machine.device)
        if len(logits):
            gathered[part] = logits.to(machine.device)
        logits = sum_over(gathered, world).cpu()
    if shift:
        logits = logits - torch.tensor(shift, dtype=logits.dtype)
    target = torch.from_numpy(examples.label)
    exact = logits.double()
    if target.ndim == 2:
        loss = functional.binary_cross_entropy_with_logits(exact, target.double())
    else:
        loss = functional.cross_entropy(exact, target)
    return float(loss), float(exactly_right(logits, target).double().mean())


def _count_classes(network: nn.Module) -> int:
    return network.classes if isinstance(network, OwnNetwork) else cast(TileNetwork, network).output.out_features
