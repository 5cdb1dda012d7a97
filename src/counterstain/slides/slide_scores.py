"""From the probabilities of tiles to one of their slide; how is chosen, and calibrated, on validation patients."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from counterstain.cohort.cohort_columns import MISSING_SITE, choose_columns, clean_ids, clean_labels, rename_splits
from counterstain.errors import InputError, suggest
from counterstain.evaluation.calibration import Calibration, apply_calibration, fit_calibration
from counterstain.evaluation.metrics import image_loss
from counterstain.evaluation.predictions import Predictions
from counterstain.tables import read_cells

__all__ = [
    "POOLINGS",
    "PoolingChoice",
    "Truth",
    "check_pooling",
    "choose_pooling",
    "pool_tiles",
    "read_truth",
    "slide_table",
]

Floats = NDArray[np.float64]

DEFAULT = "mean"


def _mean_of_top(share: float) -> Callable[[Floats], Floats]:
    def mean_of_top(prob: Floats) -> Floats:
        k = max(1, round(share * len(prob)))
        return np.asarray(np.sort(prob, axis=0)[-k:].mean(axis=0))

    return mean_of_top


def _quantile(level: float) -> Callable[[Floats], Floats]:
    return lambda prob: np.asarray(np.quantile(prob, level, axis=0))


# (N, C) of tiles to (C,) of the slide, each class by itself.
POOLINGS: dict[str, Callable[[Floats], Floats]] = {
    "mean": lambda prob: np.asarray(prob.mean(axis=0)),
    "top_1pct_mean": _mean_of_top(0.01),
    "top_5pct_mean": _mean_of_top(0.05),
    "top_10pct_mean": _mean_of_top(0.10),
    "top_25pct_mean": _mean_of_top(0.25),
    "quantile_50": _quantile(0.50),
    "quantile_75": _quantile(0.75),
    "quantile_90": _quantile(0.90),
    "quantile_99": _quantile(0.99),
}


def pool_tiles(prob: Floats) -> dict[str, list[float]]:
    """For each way of POOLINGS the C probabilities of a slide, which sum to 1.

    Of two classes the positive one is pooled and the other is what is left; of more, each is pooled and they are
    divided by their sum.

    Args:
        prob: (N, C) of its tiles, N >= 1.

    Raises:
        InputError: If there are no tiles.
    """
    if len(prob) == 0:
        raise InputError("a slide without tiles has no score; look at its tissue mask")
    pooled = {}
    for name, pool in POOLINGS.items():
        value = np.clip(pool(prob), 0.0, 1.0)
        if prob.shape[1] == 2:
            value = np.array([1 - value[1], value[1]])
        elif value.sum() == 0:  # every class is improbable on most tiles: nothing tells them apart
            value = np.full(len(value), 1 / len(value))
        pooled[name] = [float(part) for part in value / value.sum()]
    return pooled


# --------------------------------------------------------------------------------------------------------------- truth


@dataclass(frozen=True)
class Truth:
    """What is known of slides, by name: patient, label, part (train, val, test, test_…, "" for none) and site."""

    patient: Mapping[str, str]
    label: Mapping[str, str]
    part: Mapping[str, str]
    site: Mapping[str, str]


def read_truth(
    path: Path,
    classes: Sequence[str],
    files: Mapping[str, str] | None = None,
    *,
    columns: Mapping[str, str] | None = None,
) -> Truth:
    """The table of slides: CSV or Parquet with slide_id, patient_id, label and, where there are several parts, split.

    Columns are found under their other names too, as in a manifest. Without a split column every slide is a test slide.

    Args:
        path: of it.
        classes: of the model.
        files: {file name: slide's name}, for tables that name the files.
        columns: {our column: the table's}, where the names are not known ones.

    Raises:
        InputError: If a column is missing, a slide stands twice, a label is not a class, or a patient's slides are of
            several parts.
    """
    cells = read_cells(path, kind="table of slides")
    chosen = choose_columns(list(cells), columns, where=path.name, needed=())
    chosen.setdefault("slide_id", chosen.get("image_path", ""))  # a table of files
    missing = [name for name in ("slide_id", "patient_id", "label") if not chosen.get(name)]
    if missing:
        raise InputError(
            f"{path} has no column {missing[0]}; it has {', '.join(cells)}. Rename one, or say --columns "
            f"{missing[0]}=<its name>"
        )
    ids = clean_ids(cells[chosen["slide_id"]], len(cells[chosen["label"]]), subject=f"{path.name}: slide_id")
    slides = [(files or {}).get(Path(name.replace("\\", "/")).name, name) for name in ids]
    patients = clean_ids(cells[chosen["patient_id"]], len(slides), subject=f"{path.name}: patient_id")
    labels = clean_labels(cells[chosen["label"]], path.name)
    sites = clean_ids(cells.get(chosen.get("site", "")), len(slides), MISSING_SITE)
    if "split" in chosen:
        parts = rename_splits(cells[chosen["split"]], None, where=path.name)
    else:
        parts = ["test"] * len(slides)
    _check_truth(path, classes, slides, patients, labels, parts)
    return Truth(*(dict(zip(slides, cells, strict=True)) for cells in (patients, labels, parts, sites)))


def _check_truth(
    path: Path, classes: Sequence[str], slides: list[str], patients: list[str], labels: list[str], parts: list[str]
) -> None:
    named: set[str] = set()
    part_of: dict[str, str] = {}
    for row, (slide, patient, label, part) in enumerate(zip(slides, patients, labels, parts, strict=True), start=1):
        if not slide or not patient:
            raise InputError(f"{path.name} row {row} has no {'patient' if slide else 'slide'}; every slide needs both")
        if slide in named:
            raise InputError(f"{path.name} names slide '{slide}' twice; one row per slide")
        named.add(slide)
        if label not in classes:
            raise InputError(f"{path.name} row {row}: the model has no class '{label}'{suggest(label, classes)}")
        if part_of.setdefault(patient, part) != part:
            raise InputError(
                f"{path.name}: patient '{patient}' is in {part_of[patient]} and {part}; a patient is in one part"
            )


# -------------------------------------------------------------------------------------------------------- the choice


@dataclass(frozen=True)
class PoolingChoice:
    """How slides are scored: the pooling, its calibration (None: as pooled), and each candidate's validation loss."""

    pooling: str
    calibration: Calibration | None
    losses: Mapping[str, float]
    notes: tuple[str, ...] = ()

    def record(self) -> dict[str, object]:
        """As JSON."""
        fitted = self.calibration
        return {
            "schema": "counterstain.slide-pooling/1",
            "pooling": self.pooling,
            "calibration": None if fitted is None else fitted.to_record(),
            "validation_loss": dict(self.losses),
            "notes": list(self.notes),
        }


def slide_table(
    pooled: Mapping[str, Mapping[str, Sequence[float]]],
    truth: Truth,
    classes: Sequence[str],
    *,
    pooling: str,
    part: str,
) -> Predictions | None:
    """The slides of a part as a table, one row per slide in order of name; None where none of them was read.

    Args:
        pooled: for each slide what `pool_tiles` gave.
        truth: labels and patients.
        classes: of the model.
        pooling: a name of POOLINGS.
        part: "val", "test", …
    """
    names = sorted(name for name in pooled if truth.part.get(name) == part)
    if not names:
        return None
    return Predictions(
        image=tuple(names),
        patient=tuple(truth.patient[name] for name in names),
        slide=tuple(names),
        site=tuple(truth.site[name] for name in names),
        label=np.array([list(classes).index(truth.label[name]) for name in names]),
        prob=np.array([pooled[name][pooling] for name in names]),
        classes=tuple(classes),
        rows_are="slide",
    )


def choose_pooling(
    pooled: Mapping[str, Mapping[str, Sequence[float]]],
    truth: Truth,
    classes: Sequence[str],
    *,
    pooling: str = "auto",
) -> PoolingChoice:
    """The pooling with the lowest loss over validation patients after its calibration; the one asked for otherwise.

    Each candidate is calibrated on the validation slides (two classes: Platt's two parameters, more: a temperature) and
    judged on the same slides, each patient weighing the same. All have as many parameters, so none is favoured by it.
    Without validation slides of two classes there is no choice: the mean, as it is.

    Args:
        pooled: for each slide what `pool_tiles` gave.
        truth: labels, patients and parts.
        classes: of the model.
        pooling: "auto" or a name of POOLINGS.

    Raises:
        InputError: If there is no such pooling.
    """
    check_pooling(pooling)
    candidates = list(POOLINGS) if pooling == "auto" else [pooling]
    tables = {name: slide_table(pooled, truth, classes, pooling=name, part="val") for name in candidates}
    first = tables[candidates[0]]
    if first is None or len(set(first.label.tolist())) < 2:
        lacking = "no validation slides" if first is None else "validation slides of one class only"
        used = DEFAULT if pooling == "auto" else pooling
        return PoolingChoice(used, None, {}, (f"there are {lacking}: slides are scored by {used}, uncalibrated",))
    fits, losses = {}, {}
    for name, table in tables.items():
        if table is None:
            continue
        fits[name] = fit_calibration(table, method="platt" if len(classes) == 2 else "temperature")
        losses[name] = _patient_loss(apply_calibration(fits[name], table))
    best = min(losses, key=lambda name: losses[name])
    return PoolingChoice(best, fits[best], losses, fits[best].notes)


def check_pooling(pooling: str) -> None:
    """Refuse a pooling that there is not.

    Raises:
        InputError: With those there are.
    """
    if pooling not in ("auto", *POOLINGS):
        raise InputError(f"no pooling is called '{pooling}'{suggest(pooling, ('auto', *POOLINGS))}")


def _patient_loss(table: Predictions) -> float:
    """Mean over patients of the mean loss of their slides."""
    _, code = np.unique(np.array(table.patient), return_inverse=True)
    loss = image_loss(table.label, table.prob)
    return float((np.bincount(code, weights=loss) / np.bincount(code)).mean())
