"""The training loop: early stopping on the validation loss, best weights restored, one checkpoint per epoch."""

import math
import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from counterstain.errors import InputError
from counterstain.files import hash_json, write_bytes, write_csv
from counterstain.images.augment import Augmentation
from counterstain.images.augment_gpu import send
from counterstain.images.store import Store
from counterstain.images.tensor import to_tensor
from counterstain.learning.build import start_network
from counterstain.learning.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from counterstain.learning.config import TrainingConfig
from counterstain.learning.device import Device, prepare_device
from counterstain.learning.distributed import ALONE, World, share, sum_over
from counterstain.learning.loader import Examples, TileLoader, batches, feed
from counterstain.learning.networks import TileNetwork, dropout_masks, seen_side
from counterstain.learning.objective import PLAIN, Mixed, Objective, exactly_right, remove_shift, uneven_record
from counterstain.learning.optimiser import build_optimiser, loop_record, set_phase, set_rates
from counterstain.learning.own_network import OwnNetwork
from counterstain.learning.predictor import predict_logits
from counterstain.learning.stain_pipeline import UNSTAINED, StainPipeline
from counterstain.progress import TrainingProgress
from counterstain.system import usable_cores

__all__ = ["HISTORY", "Trained", "check_finite", "start_state", "take_step", "train", "write_history"]

HISTORY = ("loss", "accuracy", "val_loss", "val_accuracy")


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


@dataclass
class _State:
    """What changes from epoch to epoch. Everything here goes into the checkpoint; nothing else is needed to go on."""

    network: nn.Module
    optimiser: torch.optim.Adam
    best: dict[str, Tensor]
    history: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in HISTORY})
    best_epoch: int = 0
    weights: dict[str, str] = field(default_factory=dict)


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
    """Train one network, or go on with one that was stopped; the same bytes come out either way.

    Weights, the order of images, augmentation and dropout are pure functions of the seed and the epoch. A checkpoint
    in `folder` after every epoch lets the same call go on from the last whole one.

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
        _restore(state, checkpoint, inputs, folder)
    _check_same_epoch(state, folder, machine, world)
    side = seen_side(state.network)
    source = feed(store, training, settings, augmentation, machine, world, staining=staining, seed=seed, side=side)
    seconds: list[float] = []
    while len(state.history["loss"]) < settings.epochs and not _patience_is_over(state, settings):
        epoch = len(state.history["loss"]) + 1
        began = time.perf_counter()
        loss, accuracy, rate = _fit_epoch(state, source, machine, objective, epoch=epoch, progress=progress)
        _share_buffers(state.network, world)
        val_loss, val_accuracy = _validate(
            state.network, store, validation, settings, machine, world, staining, objective.shift
        )
        check_finite(val_loss, epoch, settings)
        for name, value in zip(HISTORY, (loss, accuracy, val_loss, val_accuracy), strict=True):
            state.history[name].append(value)
        if val_loss == min(state.history["val_loss"]) and state.history["val_loss"].count(val_loss) == 1:
            state.best_epoch = epoch
            state.best = {name: tensor.detach().clone() for name, tensor in state.network.state_dict().items()}
        if world.leads:
            save_checkpoint(folder, _snapshot(state, inputs))
            write_history(folder, state.history)  # for whoever watches
        seconds.append(time.perf_counter() - began)
        if progress is not None:
            progress(
                TrainingProgress(
                    epoch, settings.epochs, source.images, source.images, loss, accuracy, rate, val_loss, val_accuracy
                )
            )
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


def check_finite(val_loss: float, epoch: int, settings: TrainingConfig) -> None:
    """Refuse to go on with weights that ran away in the last steps of an epoch.

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


def _patience_is_over(state: _State, settings: TrainingConfig) -> bool:
    """As in Keras: stop once `patience` epochs in a row have not improved on the best validation loss."""
    return len(state.history["loss"]) - state.best_epoch >= settings.patience and bool(state.history["loss"])


def start_state(settings: TrainingConfig, machine: Device, *, classes: int, tile_px: int, seed: int) -> _State:
    """The network with its first weights on its device, and its optimiser; nothing is trained yet."""
    network, weights = start_network(settings, classes=classes, tile_px=tile_px, seed=seed)
    network = network.to(machine.device).to(memory_format=torch.channels_last)
    return _State(network, build_optimiser(network, settings), best={}, weights=weights)


def _snapshot(state: _State, inputs: dict[str, Any]) -> Checkpoint:
    tensors = {f"network.{name}": tensor for name, tensor in state.network.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in state.best.items()}
    for index, moments in state.optimiser.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{name}": tensor for name, tensor in moments.items()}
    return Checkpoint(tensors, {"inputs": inputs, "history": state.history, "best_epoch": state.best_epoch})


def _restore(state: _State, checkpoint: Checkpoint, inputs: dict[str, Any], folder: Path) -> None:
    before = checkpoint.record["inputs"]
    differing = [name for name in inputs if hash_json({"": inputs[name]}) != hash_json({"": before.get(name)})]
    if differing:
        raise InputError(
            f"{folder} holds a checkpoint of another training (its {', '.join(differing)} differ); "
            "name another folder, or remove this one"
        )
    groups: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}}
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in checkpoint.tensors.items():
        group, _, rest = name.partition(".")
        if group == "adam":
            index, _, moment = rest.partition(".")
            moments.setdefault(int(index), {})[moment] = tensor
        else:
            groups[group][rest] = tensor
    state.network.load_state_dict(groups["network"])
    state.best = groups["best"]
    # The fused optimiser reads memory as it lies: moments must lie as their weights do (channels last), not as saved.
    learned = (parameter for group in state.optimiser.param_groups for parameter in group["params"])
    for number, parameter in enumerate(learned):
        own = moments.get(number, {})  # none of what has not learned yet
        for moment in own.keys() - {"step"}:
            own[moment] = torch.empty_like(parameter).copy_(own[moment])
    groups_of_optimiser = state.optimiser.state_dict()["param_groups"]
    state.optimiser.load_state_dict({"state": moments, "param_groups": groups_of_optimiser})
    state.history = checkpoint.record["history"]
    state.best_epoch = checkpoint.record["best_epoch"]


def _check_same_epoch(state: _State, folder: Path, machine: Device, world: World) -> None:
    """Processes that see different folders go on from different epochs, and would sum gradients of other weights."""
    epochs = len(state.history["loss"])
    if int(sum_over(torch.tensor([epochs], device=machine.device), world)) != epochs * world.size:
        raise InputError(
            f"process {world.rank + 1} of {world.size} finds {epochs} trained epochs in {folder}, another one finds a "
            "different number; put the folder where all processes can see it"
        )


def _fit_epoch(
    state: _State,
    source: TileLoader,
    machine: Device,
    objective: Objective,
    *,
    epoch: int,
    progress: Callable[[TrainingProgress], None] | None,
) -> tuple[float, float, float]:
    """One pass over the training images: mean loss, share predicted right (dropout on, as in Keras), images/s."""
    settings = source.settings
    # Dropout draws from torch's own generator: set anew each epoch, so that a resumed run draws what it would have.
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


def take_step(
    state: _State,
    tiles: NDArray[np.uint8] | Tensor,
    label: NDArray[np.int64],
    settings: TrainingConfig,
    machine: Device,
    world: World = ALONE,
    size: int | None = None,
    objective: Objective = PLAIN,
    mixed: Mixed | None = None,
) -> tuple[Tensor, Tensor]:
    """One step of Adam on the mean loss of one batch: the summed loss, and how many were predicted right.

    Args:
        tiles, label: this process's rows of the batch, maybe none; a tensor of tiles is inputs made already.
        size: of the whole batch; None where this process has all of it.
        objective, mixed: what is minimised, and how the images were mixed.
    """
    size = len(label) if size is None else size
    state.optimiser.zero_grad(set_to_none=True)
    loss_sum = torch.zeros((), dtype=torch.float64, device=machine.device)
    right = torch.zeros((), dtype=torch.int64, device=machine.device)
    masks = None if world.size == 1 else dropout_masks(state.network, size, settings.micro_batch, machine.device)
    first = share(size, world).start
    for start in range(0, len(label), settings.micro_batch):
        piece = slice(start, start + settings.micro_batch)
        own_tiles = tiles[piece]
        if isinstance(own_tiles, Tensor):
            inputs = own_tiles
        else:
            side = seen_side(state.network)
            inputs = to_tensor(own_tiles[:, :side, :side], scale=settings.scale, device=machine.device)
        target = send(label[piece], inputs.device)
        own = None if masks is None else masks[:, first + start : first + start + len(target)]
        with torch.autocast(machine.device, dtype=torch.bfloat16, enabled=machine.precision == "bf16"):
            logits = state.network(inputs, own)
        # Binary cross-entropy on two softmax units, averaged over the two, is the cross-entropy of the softmax.
        # At least fp32: in bf16 the loss would lose its digits.
        exact = torch.promote_types(logits.dtype, torch.float32)
        loss = objective.loss(logits.to(exact), target, None if mixed is None else mixed.rows(piece))
        torch.autograd.backward(loss / size)
        loss_sum += loss.detach()
        right += exactly_right(logits.detach(), target).sum()
    if world.size > 1:
        _sum_gradients(state.network, world)
        sums = sum_over(torch.stack([loss_sum, right.double()]), world)
        loss_sum, right = sums[0], sums[1].long()
    state.optimiser.step()
    return loss_sum, right


def _sum_gradients(network: nn.Module, world: World) -> None:
    """Every gradient becomes its sum over all processes, in one message."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    flat = torch.cat([torch.zeros_like(p).reshape(-1) if p.grad is None else p.grad.reshape(-1) for p in parameters])
    sum_over(flat, world)
    for parameter, summed in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
        parameter.grad = torch.empty_like(parameter).copy_(summed.view(parameter.shape))


def _share_buffers(network: nn.Module, world: World) -> None:
    """Batch statistics are each process's own while it learns; all go on with their mean."""
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
    own = share(len(examples), world)
    logits = torch.from_numpy(
        predict_logits(
            network, store, examples.row[own], scale=settings.scale, device=machine.device, staining=staining
        )
    )
    if world.size > 1:  # rows of the others are 0 here, so that a sum puts all together, in order
        whole = torch.zeros(len(examples), _count_classes(network), device=machine.device)
        if len(logits):
            whole[own] = logits.to(machine.device)
        logits = sum_over(whole, world).cpu()
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


def write_history(folder: Path, history: dict[str, list[float]]) -> None:
    """Write history.csv, and history.pickle with Keras's keys for old scripts; nothing here reads pickles."""
    epochs = range(1, len(history["loss"]) + 1)
    write_csv(folder / "history.csv", ("epoch", *HISTORY), zip(epochs, *(history[n] for n in HISTORY), strict=True))
    plain = {name: [float(value) for value in history[name]] for name in HISTORY}
    write_bytes(folder / "history.pickle", pickle.dumps(plain, protocol=4))
