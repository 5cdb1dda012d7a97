"""A frozen arm: features of a backbone, worked out once, under a probe; what comes out is a model like any other."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.learning.backbones import Backbone
from counterstain.learning.features import cached_features
from counterstain.learning.feeding import Examples
from counterstain.learning.machine import Machine, prepare_machine
from counterstain.learning.models import start_network
from counterstain.learning.probes import fit_probe
from counterstain.learning.runtimes import softmax
from counterstain.learning.settings import Training
from counterstain.learning.staining import Staining
from counterstain.learning.training import HISTORY, Progress, Trained
from counterstain.pixels.store import Store

__all__ = ["Probed", "train_probe"]


class Probed:
    """Features on demand, and what the fitted head makes of them."""

    def __init__(
        self, network: Backbone, store: Store, folder: Path, settings: Training, staining: Staining, machine: Machine,
        *, fit: str, weights: dict[str, str], progress: Callable[[Progress], None] | None,
    ) -> None:  # fmt: skip
        self.network, self.store, self.folder, self.settings = network, store, folder, settings
        self.staining, self.machine, self.fit, self.weights, self.progress = staining, machine, fit, weights, progress

    def features(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(N, D) features of the store's rows, kept for the next study over the same tiles."""
        seed_free = {"network": self.settings.network, "weights": self.weights.get("sha256", "")}
        shown = self.progress
        progress = None
        if shown is not None:
            said = shown

            def progress(done: int, total: int) -> None:
                said(Progress(1, 1, done, total, float("nan"), float("nan"), 0.0))

        return cached_features(
            self.network, self.store, rows, self.folder, model=seed_free, fit=self.fit, staining=self.staining,
            scale=self.settings.scale, device=self.machine.device, precision=self.machine.precision, progress=progress,
        )  # fmt: skip

    def probabilities(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """(N, classes) probabilities of the store's rows, from their features."""
        return self._answers(self.features(rows))

    def _answers(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        with torch.inference_mode():
            parts = [self.network.output(part).numpy() for part in torch.split(torch.from_numpy(features), 512)]
        return softmax(np.concatenate(parts))


def train_probe(
    store: Store,
    training: Examples,
    validation: Examples,
    *,
    classes: int,
    settings: Training,
    staining: Staining,
    fit: str,
    seed: int,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[Trained, Probed, list[tuple[str, float]]]:
    """Fit a probe on frozen features.

    Args:
        store, training, validation, classes, settings, staining, seed, progress: as in learning.training.train.
        fit: how images became tiles; part of the features' key.

    Returns:
        The model with the probe as its head, what predicts from kept features, and the losses of all that was tried.

    Raises:
        InputError: If a part is empty, or the backbone has no trained weights.
    """
    if not len(training) or not len(validation):
        raise InputError(f"nothing to train with: {len(training)} training and {len(validation)} validation images")
    machine = prepare_machine(device=settings.device, precision=settings.precision, threads=settings.threads)
    tile_px = int(store.tiles.shape[1])
    network, weights = start_network(settings, classes=classes, tile_px=tile_px, seed=seed)
    if not isinstance(network, Backbone) or not weights:
        raise InputError(f"tune: frozen needs trained weights; {settings.network} has weights: {settings.weights}")
    network = network.to(machine.device)
    probed = Probed(
        network, store, store.folder.parent / "features", settings, staining, machine, fit=fit, weights=weights,
        progress=progress,
    )  # fmt: skip
    features, val_features = probed.features(training.row), probed.features(validation.row)
    probe = fit_probe(
        settings.probe, features, training.label, val_features, validation.label, classes=classes, seed=seed
    )
    network.output = probe.head.eval()
    network.freeze(True)
    values = [*_score(probed, features, training.label), *_score(probed, val_features, validation.label)]
    history = {name: [value] for name, value in zip(HISTORY, values, strict=True)}
    trained = Trained(network, history, 1, machine, (), weights, staining, probe.layout)
    return trained, probed, list(probe.tried)


def _score(probed: Probed, features: NDArray[np.float32], label: NDArray[np.int64]) -> tuple[float, float]:
    """Mean loss and share predicted right."""
    prob = probed._answers(features)
    loss = -np.log(np.maximum(prob[np.arange(len(label)), label], 1e-12)).mean()
    return float(loss), float((prob.argmax(1) == label).mean())
