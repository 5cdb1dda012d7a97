"""Small prediction tables that the judging tests share; made from a seed, with patients who differ in difficulty."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from counterstain.evaluation.predictions import Predictions


def made_table(
    label: Sequence[int] | NDArray[np.int64],
    prob: Sequence[float] | NDArray[np.float64],
    patient: Sequence[str] | None = None,
    classes: Sequence[str] = ("benign", "malignant"),
) -> Predictions:
    """A table from labels and either the positive class's probability or all probabilities."""
    values = np.asarray(prob, dtype=float)
    if values.ndim == 1:
        values = np.column_stack([1 - values, values])
    image = tuple(f"image-{k}" for k in range(len(values)))
    return Predictions(
        image=image, patient=tuple(patient) if patient is not None else image, slide=("",) * len(image),
        site=("",) * len(image), label=np.asarray(label), prob=values, classes=tuple(classes),
    )  # fmt: skip


def drawn_table(
    seed: int, *, images: int = 200, patients: int = 20, n_classes: int = 2, strength: float = 1.0, digits: int = 6
) -> Predictions:
    """A table of patients of one class each; few digits make ties."""
    rng = np.random.default_rng(seed)
    code = np.concatenate([np.arange(patients), rng.integers(patients, size=images - patients)])
    label = (np.arange(patients) % n_classes)[code]
    score = np.random.default_rng(seed + 1).normal(size=(patients, n_classes))[code] * 0.5
    score = score + rng.normal(size=(images, n_classes))
    score[np.arange(images), label] += strength
    prob = np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)
    prob = np.round(prob, digits)
    prob /= prob.sum(axis=1, keepdims=True)
    names = ("benign", "malignant") if n_classes == 2 else tuple("ABCDEFGH"[:n_classes])
    return made_table(label, prob, [f"patient-{k}" for k in code], names)


@pytest.fixture
def make_table() -> Callable[..., Predictions]:
    """`made_table` above."""
    return made_table


@pytest.fixture(scope="session")
def random_table() -> Callable[..., Predictions]:
    """`drawn_table` above."""
    return drawn_table


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    """Published reference values, each with its source."""
    record: dict[str, Any] = json.loads((Path(__file__).parent / "golden.json").read_text())
    return record
