"""The numbers that a figure draws, as the rows of the CSV beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from counterstain.evaluation.format import clean
from counterstain.evaluation.record_types import DecisionCurve, Reliability
from counterstain.reports.figures import Curve, Row

__all__ = [
    "FigureData",
    "benefit_data",
    "confusion_data",
    "curve_data",
    "forest_data",
    "history_data",
    "reliability_data",
    "split_data",
]


@dataclass(frozen=True)
class FigureData:
    """A table: one text for each column, and rows of values; None is an empty cell."""

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]


def forest_data(rows: Sequence[Row], name: str) -> FigureData:
    """One row per line of a forest figure; `runs` has the single seeds, separated by blanks."""
    columns = (name, "value", "low", "high", "runs")
    return FigureData(
        columns,
        tuple((clean(row.name), row.value, row.low, row.high, " ".join(map(str, row.runs))) for row in rows),
    )


def curve_data(curves: Sequence[Curve], x: str, y: str) -> FigureData:
    """One row per arm and point of its mean curve, with the lowest and the highest run there."""
    rows = (
        (clean(curve.name), *point)
        for curve in curves
        for point in zip(*(values.tolist() for values in (curve.x, curve.y, curve.low, curve.high)), strict=True)
    )
    return FigureData(("arm", x, y, "lowest_run", "highest_run"), tuple(rows))


def confusion_data(counts: NDArray[np.float64] | NDArray[np.int64], classes: Sequence[str]) -> FigureData:
    """One row per cell: images, and their share of the true class."""
    matrix = np.asarray(counts, dtype=np.float64)
    total = matrix.sum(axis=1)
    rows = (
        (clean(true), clean(called), matrix[i, k], matrix[i, k] / total[i] if total[i] else None)
        for i, true in enumerate(classes)
        for k, called in enumerate(classes)
    )
    return FigureData(("true", "predicted", "images", "share_of_true"), tuple(rows))


def history_data(runs: Sequence[tuple[str, Mapping[str, Sequence[float]], int]]) -> FigureData:
    """One row per run and epoch; runs are given with their name, history and best epoch."""
    keys = ("loss", "accuracy", "val_loss", "val_accuracy")
    rows = (
        (name, epoch, *(history[key][epoch - 1] for key in keys), "yes" if epoch == best else "")
        for name, history, best in runs
        for epoch in range(1, len(history["loss"]) + 1)
    )
    return FigureData(("run", "epoch", *keys, "kept"), tuple(rows))


def split_data(images: Mapping[str, Mapping[str, int]]) -> FigureData:
    """One row per part and class."""
    rows = ((part, clean(name), count) for part, by_class in images.items() for name, count in by_class.items())
    return FigureData(("part", "class", "images"), tuple(rows))


def reliability_data(before: Reliability | None, after: Reliability) -> FigureData:
    """One row per bin, before and after calibration; without it one state."""
    keys = ("low", "high", "n", "mean_prob", "share", "share_low", "share_high")
    states = [("not calibrated", after)] if before is None else [("before", before), ("calibrated", after)]
    rows = ((state, *(row.get(key) for key in keys)) for state, record in states for row in record["bins"])
    return FigureData(("probabilities", *keys), tuple(rows))


def benefit_data(curves: Sequence[tuple[str, DecisionCurve]]) -> FigureData:
    """One row per arm and threshold."""
    rows = (
        (clean(arm), at, *(curve["model"][key][k] for key in ("value", "low", "high")), curve["treat_all"][k])
        for arm, curve in curves
        for k, at in enumerate(curve["thresholds"])
    )
    return FigureData(("arm", "threshold", "net_benefit", "low", "high", "treat_all"), tuple(rows))
