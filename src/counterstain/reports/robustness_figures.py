"""Figures of a robustness card: what is lost as tiles get worse, and how the sites compare."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from counterstain.evaluation.format import metric_name
from counterstain.reports.figure_style import MUTED, STYLES, canvas, drawn, full_width, is_slim

__all__ = ["curves_figure"]

_ROW_INCHES = 1.62
_LEAST_SPAN = 0.05  # of the vertical axis to either side, so that noise is not blown up to a landslide


@drawn
def curves_figure(
    curves: Sequence[Mapping[str, object]], measures: Sequence[str], *, title: str, stamp: str = ""
) -> Figure:
    """Each trial in a panel: the difference of measures to the unchanged tiles, with intervals, in one scale.

    Args:
        curves: of the record robustness.json.
        measures: up to three, in the order of their colours.
        title: what is seen.
        stamp: drawn above everything.
    """
    slim = is_slim(full_width())
    abreast = 1 if slim else 2
    rows = -(-len(curves) // abreast)
    keyed = len(measures) > 1
    figure = canvas(full_width(), _ROW_INCHES * rows + (0.3 if keyed else 0.0), title, stamp)
    panels = np.atleast_1d(figure.subplots(rows, abreast, sharey=True)).ravel()
    styles = STYLES if not keyed else STYLES[1:]
    for axis, curve in zip(panels, curves, strict=False):
        _panel(axis, curve, measures, styles)
    for axis in panels[len(curves) :]:
        axis.set_visible(False)
    panels[0].set_ylim(*_span(curves, measures))
    if keyed:
        keys = [
            Line2D([], [], color=colour, linestyle=line, marker=marker, markersize=4, linewidth=1.5,
                   label=metric_name(name))
            for (colour, line, marker), name in zip(styles, measures, strict=False)
        ]  # fmt: skip
        figure.legend(handles=keys, loc="outside lower center", ncols=1 if slim else 3)
    return figure


def _panel(axis: Axes, curve: Mapping[str, Any], measures: Sequence[str], styles: Sequence[Any]) -> None:
    """One trial: strengths across (the unchanged tile among them), differences up and down."""
    steps = curve["steps"]
    place, ticks, names = _places(curve)
    clean = 0 if not curve["signed"] else int(np.searchsorted([step["at"] for step in steps], 0.0))
    axis.axhline(0, color=MUTED, linewidth=0.8)
    order = np.argsort(place)  # lines and bands go from left to right: a JPEG quality falls as it gets worse
    for (colour, line, marker), name in zip(styles, measures, strict=False):
        value, low, high = (
            np.insert([_or_nan(step["scores"][name][key]) for step in steps], clean, 0.0)
            for key in ("difference", "low", "high")
        )
        value, low, high = value[order], low[order], high[order]
        axis.fill_between(place[order], low, high, color=colour, alpha=0.14, linewidth=0)
        axis.plot(place[order], value, color=colour, linestyle=line, linewidth=1.4, marker=marker, markersize=3.2)
    axis.set_xticks(ticks, names)
    axis.set_title(curve["title"], loc="left")
    axis.set_xlabel(curve["axis"], fontsize=8)
    if is_slim(full_width()):  # a label wider than its panel ends with it, and begins below the numbers beside it
        axis.xaxis.label.set(x=1.0, horizontalalignment="right")
    axis.grid(axis="y")
    axis.set_axisbelow(True)


def _places(curve: Mapping[str, Any]) -> tuple[NDArray[np.float64], list[float], list[str]]:
    """Where each strength stands: signed ones on a scale, others one beside the other after the unchanged tile."""
    at = [step["at"] for step in curve["steps"]]
    if curve["signed"]:
        place = np.sort(np.append(100 * np.array(at), 0.0))
        ticks = [-50.0, -25.0, 0.0, 25.0, 50.0]
        return place, ticks, ["−50", "−25", "0", "+25", "+50"]
    labels = [f"{100 * value:.0f}" if curve["percent"] else f"{value:g}" for value in at]
    order = list(range(len(at)))
    if curve["clean_at"] > max(at):  # strong is low: from the unchanged tile at the left to the worst at the right
        order.reverse()
    names = [f"{curve['clean_at']:g}", *(labels[k] for k in order)]
    place = np.arange(len(at) + 1, dtype=np.float64)
    values = place if order[0] == 0 else np.append(0.0, place[:0:-1])
    return values, place.tolist(), names


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _span(curves: Sequence[Mapping[str, Any]], measures: Sequence[str]) -> tuple[float, float]:
    """From the lowest to the highest interval, but no further than twice the largest difference."""
    scores = [step["scores"][name] for curve in curves for step in curve["steps"] for name in measures]
    value = np.array([_or_nan(score["difference"]) for score in scores])
    low, high = (np.array([_or_nan(score[key]) for score in scores]) for key in ("low", "high"))
    lowest, highest = min(np.nanmin(value), 0.0), max(np.nanmax(value), 0.0)
    bottom = max(np.nanmin(np.append(low, lowest)), 2 * lowest - _LEAST_SPAN)
    top = min(np.nanmax(np.append(high, highest)), 2 * highest + _LEAST_SPAN)
    return float(min(bottom, -_LEAST_SPAN)) - 0.01, float(max(top, _LEAST_SPAN)) + 0.01
