"""ROC and precision–recall curves of a run: the mean over its seeds, with what the seeds span."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from counterstain.evaluation.format import interval, listed, metric_name, number, shorten
from counterstain.evaluation.metrics import pr_curve_points, roc_curve_points
from counterstain.evaluation.predictions import Predictions
from counterstain.reports.figure_data import curve_data
from counterstain.reports.figure_style import say
from counterstain.reports.figures import Curve, pr_figure, roc_figure
from counterstain.reports.illustration import Illustration, keep_figure
from counterstain.reports.run_record import RunRecord, find_score

__all__ = ["curve_illustrations", "mean_curve"]

Floats = NDArray[np.float64]
GRID = np.linspace(0.0, 1.0, 401)


def curve_illustrations(run: RunRecord, folder: Path) -> list[Illustration]:
    """The ROC and the precision–recall figure of all arms; [] where no arm has predictions."""
    arms = [arm for arm in run.arms if run.predictions[arm]]
    if not arms:
        return []
    positive = run.scores.get("positive")
    class_words = shorten(positive, 16) if positive else "macro mean"
    illustrations = []
    for name, metric, template in (
        ("roc", "auroc", "ROC curves, {what}"),
        ("pr", "auprc", "Precision–recall, {what}"),
    ):
        curves = [_arm_curve(run, arm, metric) for arm in arms]
        prevalence = _prevalence(run.predictions[arms[0]][0])
        draw = partial(_curve_figure, name, template, curves, positive, prevalence, run.stamp)
        alt = f"{template.format(what=class_words)}. {listed(f'{curve.name}: {curve.note}' for curve in curves)}."
        axes = ("false_positive_rate", "sensitivity") if name == "roc" else ("recall", "precision")
        data = curve_data(curves, *axes)
        illustrations.append(keep_figure(draw, folder / name, alt=alt, caption="", narrow=True, data=data))
    return illustrations


def _curve_figure(
    name: str, template: str, curves: Sequence[Curve], positive: str | None, prevalence: float, stamp: str
) -> Figure:
    title = say(template, what=shorten(positive, 16) if positive else say("macro mean"))
    if name == "roc":
        return roc_figure(curves, title=title, stamp=stamp)
    return pr_figure(curves, prevalence=prevalence, title=title, stamp=stamp)


def _prevalence(table: Predictions) -> float:
    """Share of the positive class; of more than two classes the mean over those that are there."""
    shares = np.bincount(table.label, minlength=len(table.classes)) / len(table)
    return float(shares[-1]) if len(shares) == 2 else float(shares[shares > 0].mean())


def _arm_curve(run: RunRecord, arm: str, metric: str) -> Curve:
    score = find_score(run.scores, arm, metric, "image")
    level = f"{100 * run.scores['confidence']:g} %"
    ends = "" if score is None else interval(score["low"], score["high"])
    value = number(None if score is None else score["value"])
    note = f"{metric_name(metric)} {value}{f' ({level}: {ends})' if ends else ''}"
    curves = np.stack([mean_curve(table, metric) for table in run.predictions[arm]])
    x, mean, low, high = GRID, curves.mean(axis=0), curves.min(axis=0), curves.max(axis=0)
    if metric == "auroc":
        x, mean, low, high = (np.concatenate([[0.0], values]) for values in (x, mean, low, high))
    return Curve(arm, note, x, mean, low, high)


def mean_curve(table: Predictions, metric: str) -> Floats:
    """(401,) sensitivity at even false-positive rates ("auroc"), or precision at even recalls ("auprc").

    Of two classes the positive one's; of more, the mean over the classes that are in the table, each against the rest.
    """
    classes = range(len(table.classes)) if len(table.classes) > 2 else [1]
    curves = []
    for index in classes:
        positive = table.label == index
        if positive.any() and not positive.all():
            points = roc_curve_points if metric == "auroc" else pr_curve_points
            x, y, _ = points(positive, table.prob[:, index])
            curves.append(_interpolate(x, y) if metric == "auroc" else y[np.searchsorted(x, GRID, side="left")])
    return np.mean(curves, axis=0) if curves else np.full(len(GRID), np.nan)


def _interpolate(x: Floats, y: Floats) -> Floats:
    """The highest point of the curve at each x of the grid; between two points a straight line (ties of the score)."""
    last = np.searchsorted(x, GRID, side="right") - 1
    after = np.minimum(last + 1, len(x) - 1)
    step = x[after] - x[last]
    share_way = np.divide(GRID - x[last], step, out=np.zeros_like(GRID), where=step > 0)
    return y[last] + share_way * (y[after] - y[last])
