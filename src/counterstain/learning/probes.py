"""Probes: small classifiers on frozen features, chosen by the validation loss, and put on the backbone as its head."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from counterstain.errors import InputError
from counterstain.learning.heads import HIDDEN, Neighbours, Small, build_head

__all__ = ["Probe", "fit_probe"]

Rows = NDArray[np.float32]
Labels = NDArray[np.int64]
# Inverse strength of the L2 penalty on standardised features.
STRENGTHS = tuple(10.0**power for power in (-5, -4, -3.5, -3, -2.5, -2, -1.5, -1, 0))
NEIGHBOUR_COUNTS = (1, 5, 10, 20, 50, 100)


@dataclass(frozen=True)
class Probe:
    """A fitted head, what a bundle must say to build it, and the losses of everything that was tried.

    tried: rows of (setting, validation loss).
    """

    head: nn.Module
    layout: dict[str, Any]
    tried: tuple[tuple[str, float], ...]


def fit_probe(
    kind: str, features: Rows, label: Labels, val_features: Rows, val_label: Labels, *, classes: int, seed: int
) -> Probe:
    """Fit a probe on training features; what it leaves open is chosen by the mean loss of the validation images.

    Args:
        kind: "logistic", "mlp" or "knn".
        features, label: (N, D) and (N,) of the training images.
        val_features, val_label: of the validation images, of other patients.
        classes: how many.
        seed: of the small network's weights and order.

    Raises:
        InputError: If a class has no training image.
    """
    if len(np.unique(label)) < classes:
        raise InputError(f"a probe needs images of all {classes} classes to train on")
    fit: Callable[..., Probe] = {"logistic": _fit_logistic, "mlp": _fit_small, "knn": _fit_neighbours}[kind]
    return fit(features, label, val_features, val_label, classes=classes, seed=seed)


def _losses(logits: NDArray[np.floating[Any]], label: Labels) -> NDArray[np.float64]:
    wide = torch.from_numpy(np.asarray(logits, np.float64))
    losses: NDArray[np.float64] = functional.cross_entropy(wide, torch.from_numpy(label), reduction="none").numpy()
    return losses


def _loss(logits: NDArray[np.floating[Any]], label: Labels) -> float:
    return float(_losses(logits, label).mean())


def _standard(features: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and spread of each feature; a feature that never changes is left as it is."""
    centre, spread = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
    return centre, np.where(spread > 1e-6, spread, 1.0)


def _fit_logistic(
    features: Rows, label: Labels, val_features: Rows, val_label: Labels, *, classes: int, seed: int
) -> Probe:
    """Logistic regression; standardising is folded into its weights, so that the head is one linear layer.

    Of the penalties whose loss is within one standard error of the least, the strongest is taken: validation images
    are few, or of the same slides as the training ones, and both make weak penalties look better than they are.

    Source:
        Breiman et al. 1984, Classification and Regression Trees, 3.4.3 (the one-standard-error rule).
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    centre, spread = _standard(features)
    rows = ((features - centre) / spread).astype(np.float32)
    fits: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    losses: list[NDArray[np.float64]] = []
    model = LogisticRegression(max_iter=400, warm_start=True)
    for strength in STRENGTHS:
        model.C = strength
        with warnings.catch_warnings():  # an unfinished fit is one more candidate, judged by its validation loss
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(rows, label)
        coef, intercept = np.asarray(model.coef_, np.float64), np.asarray(model.intercept_, np.float64)
        if classes == 2:  # one row says it all; the other class's logit is 0
            coef, intercept = np.vstack([np.zeros_like(coef), coef]), np.concatenate([[0.0], intercept])
        weight = coef / spread
        fits.append((weight, intercept - weight @ centre))
        losses.append(_losses(val_features @ weight.T + fits[-1][1], val_label))
        if losses[-1].mean() > 1.05 * min(loss.mean() for loss in losses):
            break  # weaker penalties only overfit more, and take longest
    means = np.array([loss.mean() for loss in losses])
    best = losses[int(means.argmin())]
    error = best.std() / np.sqrt(len(best))
    chosen = int(np.flatnonzero(means <= means.min() + error)[0])
    head = nn.Linear(features.shape[1], classes)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(fits[chosen][0]))
        head.bias.copy_(torch.from_numpy(fits[chosen][1]))
    tried = tuple(
        (f"C={strength:.3g}{' (taken)' if number == chosen else ''}", float(mean))
        for number, (strength, mean) in enumerate(zip(STRENGTHS, means, strict=False))
    )
    return Probe(head, {"kind": "linear"}, tried)


def _fit_neighbours(
    features: Rows, label: Labels, val_features: Rows, val_label: Labels, *, classes: int, seed: int
) -> Probe:
    heads: dict[int, Neighbours] = {}
    tried = []
    centre = features.mean(0, dtype=np.float64).astype(np.float32)
    rows = functional.normalize(torch.from_numpy(features - centre), dim=1)
    for count in sorted({min(count, len(features)) for count in NEIGHBOUR_COUNTS}):
        head = Neighbours(features.shape[1], classes, tiles=len(features), neighbours=count)
        head.known, head.centre, head.label = rows, torch.from_numpy(centre), torch.from_numpy(label)
        with torch.inference_mode():
            parts = [head(part) for part in torch.split(torch.from_numpy(val_features), 512)]
        tried.append((f"k={count}", _loss(torch.cat(parts).numpy(), val_label)))
        heads[count] = head
    best = min(tried, key=lambda row: row[1])[0]
    head = heads[int(best.removeprefix("k="))]
    return Probe(head, {"kind": "knn", "tiles": len(features), "neighbours": head.neighbours}, tuple(tried))


def _fit_small(
    features: Rows, label: Labels, val_features: Rows, val_label: Labels, *, classes: int, seed: int
) -> Probe:
    """A hidden layer with dropout under AdamW, stopped where the validation loss has not improved for ten epochs."""
    centre, spread = _standard(features)
    rows = torch.from_numpy(((features - centre) / spread).astype(np.float32))
    val_rows = torch.from_numpy(((val_features - centre) / spread).astype(np.float32))
    target = torch.from_numpy(label)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = build_head({"kind": "mlp"}, width=rows.shape[1], classes=classes)
        optimiser = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=1e-2)
        best, state, tried = np.inf, dict[str, torch.Tensor](), list[tuple[str, float]]()
        since = 0
        for epoch in range(1, 101):
            head.train()
            for batch in torch.split(torch.randperm(len(rows)), 256):
                optimiser.zero_grad(set_to_none=True)
                torch.autograd.backward(functional.cross_entropy(head(rows[batch]), target[batch]))
                optimiser.step()
            head.eval()
            with torch.inference_mode():
                loss = _loss(head(val_rows).numpy(), val_label)
            tried.append((f"epoch {epoch}", loss))
            since += 1
            if loss < best:
                best, since = loss, 0
                state = {name: tensor.detach().clone() for name, tensor in head.state_dict().items()}
            if since >= 10:
                break
    head.load_state_dict(state)
    _fold(head, centre, spread)
    return Probe(head.eval(), {"kind": "mlp", "hidden": HIDDEN}, tuple(tried))


def _fold(head: nn.Module, centre: NDArray[np.float64], spread: NDArray[np.float64]) -> None:
    """Put standardising into the first layer, so that the head takes features as they come."""
    assert isinstance(head, Small)
    first = head.layers[0]
    assert isinstance(first, nn.Linear)
    with torch.no_grad():
        weight = first.weight.double() / torch.from_numpy(spread)
        first.bias.copy_(first.bias.double() - weight @ torch.from_numpy(centre))
        first.weight.copy_(weight)
