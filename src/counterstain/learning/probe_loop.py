"""A frozen arm: features of a backbone, computed once, under a probe; what comes out is a model like any other."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from counterstain.errors import InputError
from counterstain.images.store import Store
from counterstain.learning.backbones import Backbone
from counterstain.learning.build import start_network
from counterstain.learning.config import TrainingConfig
from counterstain.learning.device import prepare_device
from counterstain.learning.features import cached_features
from counterstain.learning.loader import Examples
from counterstain.learning.loop import Trained
from counterstain.learning.probes import Probe, fit_probe
from counterstain.learning.runtimes import softmax
from counterstain.learning.stain_pipeline import StainPipeline
from counterstain.learning.training_state import HISTORY
from counterstain.progress import TrainingProgress

__all__ = ["train_probe"]

TAKEN = " (taken)"  # how a probe marks the candidate that it took where that is not the one of the lowest loss
Rows = NDArray[np.int64]
Floats = NDArray[np.float64]


def train_probe(
    store: Store,
    training: Examples,
    validation: Examples,
    *,
    classes: int,
    settings: TrainingConfig,
    staining: StainPipeline,
    fit: str,
    seed: int,
    progress: Callable[[TrainingProgress], None] | None = None,
) -> tuple[Trained, Callable[[Rows], Floats], list[tuple[str, float]]]:
    """Fit a probe on frozen features.

    Args:
        store, training, validation, classes, settings, staining, seed, progress: as in learning.loop.train.
        fit: how images became tiles; part of the features' key.

    Returns:
        The model with the probe as its head, what gives (N, classes) probabilities of N of the store's rows, and the
        losses of all that was tried.

    Raises:
        InputError: If a part is empty, or the backbone has no trained weights.
    """
    if not len(training) or not len(validation):
        raise InputError(f"nothing to train with: {len(training)} training and {len(validation)} validation images")
    machine = prepare_device(
        device=settings.device, precision=settings.precision, threads=settings.threads, network=settings.network
    )
    tile_px = int(store.tiles.shape[1])
    network, weights = start_network(settings, classes=classes, tile_px=tile_px, seed=seed)
    if not isinstance(network, Backbone) or not weights:
        raise InputError(f"tune: frozen needs trained weights; {settings.network} has weights: {settings.weights}")
    network = network.to(machine.device)
    read: dict[int, NDArray[np.float32]] = {}  # of this training: the validation tiles are asked for twice

    def features(rows: Rows) -> NDArray[np.float32]:
        """(N, D) features of the store's rows, kept on disk for the next study over the same tiles."""
        new = np.array([row for row in rows.tolist() if row not in read], dtype=np.int64)
        if len(new):
            computed = cached_features(
                network, store, new, store.folder.parent / "features",
                model={"network": settings.network, "weights": weights.get("sha256", "")}, fit=fit, staining=staining,
                scale=settings.scale, device=machine.device, precision=machine.precision, progress=_counted(progress),
            )  # fmt: skip
            read.update(zip(new.tolist(), computed, strict=True))
        return np.stack([read[row] for row in rows.tolist()])

    fitting, val = features(training.row), features(validation.row)
    probe = fit_probe(settings.probe, fitting, training.label, val, validation.label, classes=classes, seed=seed)
    network.output = probe.head.eval()
    network.freeze(True)
    values = [*_score(probe.head, fitting, training.label), *_score(probe.head, val, validation.label)]
    history = {name: [value] for name, value in zip(HISTORY, values, strict=True)}
    done = {"probe": _probe_record(settings, probe)}
    trained = Trained(network, history, 1, machine, (), weights, staining, probe.layout, done)
    return trained, lambda rows: _probabilities(probe.head, features(rows)), list(probe.tried)


def _probe_record(settings: TrainingConfig, probe: Probe) -> dict[str, Any]:
    """What was fitted on the frozen features, among how many candidates, and which was taken."""
    best = next((name for name, _ in probe.tried if name.endswith(TAKEN)), min(probe.tried, key=lambda row: row[1])[0])
    return {
        "kind": settings.probe,
        "tried": len(probe.tried),
        "taken": best.removesuffix(TAKEN),
        "views": settings.views,
        "features": settings.features,
    }


def _counted(progress: Callable[[TrainingProgress], None] | None) -> Callable[[int, int], None] | None:
    """Tiles done and to do, told as the only epoch of a training."""
    if progress is None:
        return None
    return lambda done, total: progress(TrainingProgress(1, 1, done, total, float("nan"), float("nan"), 0.0))


def _probabilities(head: nn.Module, features: NDArray[np.float32]) -> Floats:
    with torch.inference_mode():
        parts = [head(part).numpy() for part in torch.split(torch.from_numpy(features), 512)]
    return softmax(np.concatenate(parts))


def _score(head: nn.Module, features: NDArray[np.float32], label: NDArray[np.int64]) -> tuple[float, float]:
    """Mean loss and share predicted right."""
    prob = _probabilities(head, features)
    loss = -np.log(np.maximum(prob[np.arange(len(label)), label], 1e-12)).mean()
    return float(loss), float((prob.argmax(1) == label).mean())
