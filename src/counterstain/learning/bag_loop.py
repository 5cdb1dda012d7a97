"""An arm over bags of tile features: trained slide by slide, stopped on the validation loss, answering for slides."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from counterstain.errors import InputError
from counterstain.files import write_csv
from counterstain.learning.bag_dataset import BagStore, draw_tiles, keep_bags, measure_bags
from counterstain.learning.bundle import load_network
from counterstain.learning.config import TrainingConfig
from counterstain.learning.device import Device, prepare_device
from counterstain.learning.features import read_features
from counterstain.learning.loader import Examples
from counterstain.learning.loop import Trained, check_finite
from counterstain.learning.mil_networks import BagNetwork, build_bag_network
from counterstain.learning.optimiser import build_optimiser, loop_record, set_rates
from counterstain.learning.runtimes import softmax
from counterstain.learning.training_state import HISTORY
from counterstain.progress import TrainingProgress

__all__ = ["predict_bags", "train_bags", "write_attention"]

Bag = Callable[[int], Tensor]


def train_bags(
    store: BagStore,
    training: Examples,
    validation: Examples,
    *,
    classes: int,
    settings: TrainingConfig,
    seed: int,
    progress: Callable[[TrainingProgress], None] | None = None,
) -> tuple[Trained, Callable[[NDArray[np.int64]], NDArray[np.float64]]]:
    """Train a network of bags; the same seed gives the same bytes on one machine.

    There is no checkpoint: a training that was stopped is done again from its first epoch. Steps are in fp32 unless
    settings ask for bf16; what is kept is the epoch of the least validation loss, as for tiles.

    Args:
        store: the bags.
        training, validation: slides of it, of different patients.
        classes: how many.
        settings: batch is slides per step; bag_tiles caps the tiles of a slide that one epoch sees.
        seed: of weights, order, dropout and the tiles drawn.
        progress: called after each step and each epoch.

    Returns:
        The trained model, and what gives (N, classes) probabilities of N of the store's rows.

    Raises:
        InputError: If a part is empty, or the loss is no longer finite.
    """
    if not len(training) or not len(validation):
        raise InputError(f"nothing to train with: {len(training)} training and {len(validation)} validation slides")
    precision = "bf16" if settings.precision == "bf16" else "fp32"
    machine = prepare_device(
        device=settings.device, precision=precision, threads=settings.threads, network=settings.network
    )
    bag = keep_bags(store, machine.device)
    network = build_bag_network(settings.network, width=store.width, classes=classes, seed=seed)
    network = network.to(machine.device)
    network.centre, network.spread = measure_bags(bag, training.row.tolist())
    optimiser = build_optimiser(network, settings)
    history: dict[str, list[float]] = {name: [] for name in HISTORY}
    best, best_epoch, seconds = dict[str, Tensor](), 0, list[float]()
    for epoch in range(1, settings.epochs + 1):
        began = time.perf_counter()
        loss, accuracy = _fit_epoch(network, optimiser, bag, training, settings, machine, seed, epoch, progress)
        val_loss, val_accuracy = _validate(network, bag, validation)
        check_finite(val_loss, epoch, settings)
        for name, value in zip(HISTORY, (loss, accuracy, val_loss, val_accuracy), strict=True):
            history[name].append(value)
        seconds.append(time.perf_counter() - began)
        if best_epoch == 0 or val_loss < history["val_loss"][best_epoch - 1]:
            best_epoch = epoch
            best = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        if progress is not None:
            seen, rate = len(training), len(training) / max(seconds[-1], 1e-9)
            ended = (seen, seen, loss, accuracy, rate, val_loss, val_accuracy)
            progress(TrainingProgress(epoch, settings.epochs, *ended, rows="bags"))
        if epoch - best_epoch >= settings.patience:
            break
    network.load_state_dict(best)
    network.eval()
    features = {"width": store.width, "encoder": store.encoder, "bag_tiles": settings.bag_tiles}
    done = loop_record(optimiser, settings) | {"features": features}
    trained = Trained(network, history, best_epoch, machine, tuple(seconds), head={"encoder": store.encoder}, done=done)
    return trained, lambda rows: softmax(_logits(network, bag, rows).numpy())


def _fit_epoch(
    network: BagNetwork,
    optimiser: torch.optim.Optimizer,
    bag: Bag,
    training: Examples,
    settings: TrainingConfig,
    machine: Device,
    seed: int,
    epoch: int,
    progress: Callable[[TrainingProgress], None] | None,
) -> tuple[float, float]:
    """One pass over the training slides, each by itself, a step for each batch of them: mean loss, share right."""
    # Dropout draws from torch's own generator, as in learning.loop.
    torch.manual_seed(int(np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0] >> 1))
    network.train()
    order = np.random.default_rng((seed, epoch)).permutation(len(training))
    loss_sum, right, seen, began = 0.0, 0, 0, time.perf_counter()
    for start in range(0, len(order), settings.batch):
        batch = order[start : start + settings.batch]
        set_rates(optimiser, settings, epoch=epoch, share=seen / len(order))
        optimiser.zero_grad(set_to_none=True)
        for place in batch:
            tiles = bag(int(training.row[place]))
            tile_rows = draw_tiles(len(tiles), settings.bag_tiles, seed=seed, epoch=epoch, key=int(training.key[place]))
            if tile_rows is not None:
                tiles = tiles[torch.from_numpy(tile_rows).to(tiles.device)]
            label = int(training.label[place])
            with torch.autocast(machine.device, torch.bfloat16, enabled=machine.precision == "bf16"):
                logits = network(tiles)
            loss = functional.cross_entropy(logits.float(), torch.tensor(label, device=logits.device))
            torch.autograd.backward(loss / len(batch))
            loss_sum += float(loss.detach())
            right += int(logits.argmax()) == label
        optimiser.step()
        seen += len(batch)
        if not math.isfinite(loss_sum):
            raise InputError(
                f"the loss is {loss_sum} in epoch {epoch} after {seen} slides; "
                f"try a learning rate below {settings.learning_rate:g}, or precision fp32"
            )
        if progress is not None:
            rate = seen / (time.perf_counter() - began)
            so_far = (seen, len(order), loss_sum / seen, right / seen, rate)
            progress(TrainingProgress(epoch, settings.epochs, *so_far, rows="bags"))
    return loss_sum / seen, right / seen


def _logits(network: nn.Module, bag: Bag, rows: NDArray[np.int64]) -> Tensor:
    """(N, classes) float32 logits of these rows, every tile seen, dropout off."""
    network.eval()
    with torch.inference_mode():
        return torch.stack([network(bag(int(row))).cpu() for row in rows])


def _validate(network: BagNetwork, bag: Bag, examples: Examples) -> tuple[float, float]:
    logits, label = _logits(network, bag, examples.row), torch.from_numpy(examples.label)
    loss = functional.cross_entropy(logits.double(), label)
    return float(loss), float((logits.argmax(1) == label).double().mean())


def predict_bags(network: nn.Module, store: BagStore, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N, classes) probabilities of the store's rows, before any calibration."""
    return softmax(_logits(network, keep_bags(store, room=0), rows).numpy())


def write_attention(bundle: Path, files: Sequence[Path], folder: Path) -> list[Path]:
    """Write one CSV per slide: x, y (level-0 px, −1 where not known), row and weight of each tile, the heaviest first.

    The weight is the share that a tile has in the bag that is classified; it sums to 1 over the slide. It says what the
    model looked at, not why, and nothing about which class a tile speaks for.

    Args:
        bundle: of a network of bags.
        files: feature files.
        folder: gets <name of the file>.csv each.

    Raises:
        InputError: If the bundle is of no such network, two files have one name, or one does not fit.
    """
    known, network = load_network(bundle)
    if not isinstance(network, BagNetwork):
        raise InputError(f"{bundle} is a model of tiles ({known.network}); attention is of networks of bags (mil/…)")
    if len({path.stem for path in files}) < len(files):
        raise InputError("two feature files have the same name, and so would their attention; predict them apart")
    written = []
    for path in files:
        bag = read_features(path)
        if bag.features.shape[1] != network.width or not len(bag.features):
            raise InputError(f"{path} is {bag.features.shape}; {bundle} takes (tiles, {network.width})")
        weight = network.weights(torch.from_numpy(bag.features)).numpy()
        order = np.argsort(-weight, kind="stable")
        rows = ((*bag.coords[row].tolist(), int(row), float(weight[row])) for row in order)
        written.append(folder / f"{path.stem}.csv")
        write_csv(written[-1], ("x", "y", "row", "weight"), rows)
    return written
