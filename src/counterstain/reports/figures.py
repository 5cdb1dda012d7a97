"""The figures of a run: training curves, confusion matrices, ROC and precision–recall curves, intervals, the split."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from counterstain.evaluation.format import interval, number, shorten, signed
from counterstain.reports.figure_style import (
    INK,
    MUTED,
    SHADES,
    STYLES,
    TRAIN,
    VAL,
    canvas,
    drawn,
    full_width,
    half_width,
    is_slim,
    points,
    save_figure,
    say,
)  # fmt: skip

__all__ = [
    "MOST_COUNTED",
    "MOST_WRITTEN",
    "Curve",
    "Row",
    "confusion_figure",
    "forest_figure",
    "history_figure",
    "pr_figure",
    "roc_figure",
    "save_figure",
    "split_figure",
]

Floats = NDArray[np.float64]

# Classes up to which a confusion matrix has counts and shares, and up to which it has shares, written in its cells.
MOST_COUNTED, MOST_WRITTEN = 10, 16
SHORT = 14  # letters of a name that leave room for the numbers beside it in a slim figure


@dataclass(frozen=True)
class Curve:
    """One arm's curve, averaged over its runs.

    name: of the arm; note: what the legend says after it, such as "0.84 [0.76, 0.90]".
    x, y: (K,) the mean curve; low, high: (K,) lowest and highest run at each x.
    """

    name: str
    note: str
    x: Floats
    y: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Row:
    """One line of a forest figure: a value with its interval; runs are single seeds, shown as small ticks."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    runs: tuple[float, ...] = ()
    strong: bool = True


# ------------------------------------------------------------------------------------------------------------ training


@drawn
def history_figure(
    histories: Sequence[Mapping[str, Sequence[float]]],
    best_epochs: Sequence[int],
    *,
    title: str,
    limits: tuple[int, float, float] | None = None,
    stamp: str = "",
) -> Figure:
    """Loss and accuracy over the epochs, on training and validation images, for every run of one arm.

    Each run is faint; the strong line is the mean over the runs, as far as all of them were trained. A ring marks the
    validation value of each run's best epoch, whose weights were kept.

    Args:
        histories: one a run, with Keras's keys loss, accuracy, val_loss and val_accuracy.
        best_epochs: one a run, counted from 1.
        title: what is seen.
        limits: last epoch, highest loss and lowest accuracy of the axes, so that figures of arms can be compared.
        stamp: drawn above everything.
    """
    width, size = full_width(), points(1.0)
    slim = is_slim(width)
    figure = canvas(width, size * (4.6 if slim else 2.55), title, stamp)
    axes = figure.subplots(2, 1) if slim else figure.subplots(1, 2)
    for axis, measure in zip(axes, ("loss", "accuracy"), strict=True):
        for key, colour, style in ((measure, TRAIN, "-"), (f"val_{measure}", VAL, (0, (4, 1.4)))):
            for history in histories:
                epochs = np.arange(1, len(history[key]) + 1)
                axis.plot(epochs, history[key], color=colour, linestyle=style, linewidth=0.8, alpha=0.35)
            common = min(len(history[key]) for history in histories)
            mean = np.mean([history[key][:common] for history in histories], axis=0)
            axis.plot(np.arange(1, common + 1), mean, color=colour, linestyle=style, linewidth=1.9)
        for history, best in zip(histories, best_epochs, strict=True):
            value = history[f"val_{measure}"][best - 1]
            axis.plot([best], [value], "o", markersize=5, markeredgecolor=VAL, markerfacecolor="white", zorder=5)
        axis.set_xlabel(say("epoch"))
        axis.set_title(say(measure), loc="left")
        axis.grid(axis="y")
        axis.set_axisbelow(True)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
        if limits is not None:
            axis.set_xlim(0.5, max(limits[0], 1) + 0.5)
    axes[0].set_ylim(0, None if limits is None else limits[1] * 1.05)
    axes[1].set_ylim(None if limits is None else max(limits[2] - 0.03, 0), 1.005)
    keys = [
        Line2D([], [], color=TRAIN, linewidth=1.9, label=say("training")),
        Line2D([], [], color=VAL, linewidth=1.9, linestyle=(0, (4, 1.4)), label=say("validation")),
        Line2D(
            [], [], color=VAL, linestyle="", marker="o", markerfacecolor="white", markersize=5, label=say("best epoch")
        ),
    ]
    figure.legend(handles=keys, loc="outside lower center", ncols=2 if slim else 3)
    return figure


# ----------------------------------------------------------------------------------------------------------- confusion


@drawn
def confusion_figure(counts: object, classes: Sequence[str], *, title: str, stamp: str = "") -> Figure:
    """A confusion matrix as a heat map: true classes as rows, predicted ones as columns.

    Each cell gives its count and its share of the row; the shade is that share. With more than 10 classes only the
    share is written, in per cent; with more than 16 only the shade and a scale speak. It is half as wide as the page
    for up to 3 classes, else as wide as the page.

    Args:
        counts: (C, C) of images, rows true, columns predicted; summed over seeds where there are several.
        classes: C names.
        title: what is seen, with what was summed.
        stamp: drawn above everything.
    """
    matrix = np.asarray(counts, dtype=np.float64)
    many = len(classes)
    total = matrix.sum(axis=1, keepdims=True)
    rate = np.divide(matrix, total, out=np.full_like(matrix, np.nan), where=total > 0)
    width, size = half_width() if many <= 3 else full_width(), points(1.0)
    slim = is_slim(width)
    letters = 12 if many <= 3 or slim else 22
    names = ["\n".join(textwrap.wrap(shorten(name, 2 * letters), letters)) for name in classes]
    turned = many > 4
    height = min(0.62 * width + 0.62 * size, 5.6) if many <= 3 else size * min(1.5 + 0.44 * many, 6.4)
    figure = canvas(width, min(height, 1.15 * width) if slim else height, title, stamp)
    axis = figure.subplots()
    image = axis.imshow(np.nan_to_num(rate), cmap=SHADES, vmin=0, vmax=1, aspect="auto")
    axis.set_xticks(range(many), names, rotation=90 if turned else 0)
    axis.set_yticks(range(many), names)
    axis.set_xlabel(say("predicted"))
    axis.set_ylabel(say("true"))
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set_xticks(np.arange(many - 1) + 0.5, minor=True)
    axis.set_yticks(np.arange(many - 1) + 0.5, minor=True)
    axis.grid(which="minor", color="white", linewidth=1.5)
    axis.tick_params(which="minor", length=0)
    if many <= MOST_WRITTEN:
        _write_cells(axis, matrix, rate, small=many > 3, shares=many > (4 if slim else MOST_COUNTED))
    else:
        figure.colorbar(image, ax=axis, label=say("share of the true class"), shrink=0.6)
    return figure


def _write_cells(axis: Axes, matrix: Floats, rate: Floats, *, small: bool, shares: bool) -> None:
    """Count and share in each cell, or shares alone, in per cent."""
    all_integral = bool((matrix == np.rint(matrix)).all())
    for row, column in np.ndindex(*matrix.shape):
        dark = rate[row, column] > 0.55
        colour = "white" if dark else INK
        percent = "" if np.isnan(rate[row, column]) else f"{100 * rate[row, column]:.0f} %"
        if shares:
            if percent:
                axis.text(column, row, percent[:-2], color=colour, ha="center", va="center", size=points(9))
            continue
        count = f"{matrix[row, column]:,.0f}" if all_integral else f"{matrix[row, column]:,.1f}"
        size = points(9 if small else 13)
        axis.text(column, row, count, color=colour, ha="center", va="bottom", size=size, weight="bold")
        axis.text(column, row + 0.06, percent, color=colour, ha="center", va="top", size=points(9))


# ----------------------------------------------------------------------------------------------------- ROC and PR


@drawn
def roc_figure(curves: Sequence[Curve], *, title: str, stamp: str = "") -> Figure:
    """ROC curves of all arms, each the mean over its runs; of one or two arms the runs' range as a pale band."""
    figure, axis = _curve_axes(title, stamp, len(curves))
    axis.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    axis.set_xlabel(say("1 − specificity (false-positive rate)"))
    axis.set_ylabel(say("sensitivity"))
    label = say("chance")
    _add_curves(figure, axis, curves, Line2D([], [], color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)), label=label))
    return figure


@drawn
def pr_figure(curves: Sequence[Curve], *, prevalence: float, title: str, stamp: str = "") -> Figure:
    """Precision–recall curves of all arms as `roc_figure` draws them, with the prevalence that guessing reaches."""
    figure, axis = _curve_axes(title, stamp, len(curves))
    axis.axhline(prevalence, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    axis.set_xlabel(say("recall (sensitivity)"))
    axis.set_ylabel(say("precision"))
    label = say("prevalence {share}", share=number(prevalence, 2))
    _add_curves(figure, axis, curves, Line2D([], [], color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)), label=label))
    return figure


def _curve_axes(title: str, stamp: str, curves: int) -> tuple[Figure, Axes]:
    """A square that is as wide as half a page lets it be, above room for a legend of so many curves."""
    width, size = half_width(), points(1.0)
    side, legend = width - 0.68 * size, size * (0.36 * curves + 0.28)
    figure = canvas(width, side + legend + 0.62 * size, title, stamp)
    # Placed in inches: a layout engine would shrink the square, and put the legend on the axis label.
    figure.set_layout_engine("none")
    height = figure.get_figheight()
    axis = figure.add_axes((0.56 * size / width, (legend + 0.52 * size) / height, side / width, side / height))
    axis.set_xlim(-0.01, 1.01)
    axis.set_ylim(-0.01, 1.02)
    axis.grid()
    axis.set_axisbelow(True)
    return figure, axis


def _add_curves(figure: Figure, axis: Axes, curves: Sequence[Curve], reference: Line2D) -> None:
    handles = []
    for index, curve in enumerate(curves):
        colour, style, _ = STYLES[index % len(STYLES)]
        if len(curves) <= 2:
            axis.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.12, linewidth=0)
        axis.plot(curve.x, curve.y, color=colour, linestyle=style, linewidth=1.7)
        label = f"{shorten(curve.name, 28)}\n{curve.note}"
        handles.append(Line2D([], [], color=colour, linestyle=style, linewidth=1.7, label=label))
    # Below the axes, so that no curve lies under it.
    room = points(1.0) * (0.36 * len(curves) + 0.3) / figure.get_figheight()
    figure.legend(handles=[*handles, reference], loc="upper left", bbox_to_anchor=(0.0, room), labelspacing=0.45)


# -------------------------------------------------------------------------------------------------------- forest, split


@drawn
def forest_figure(
    rows: Sequence[Row],
    *,
    title: str,
    axis_label: str,
    reference: float | None = None,
    margin: float | None = None,
    stamp: str = "",
) -> Figure:
    """Values with their intervals, one per line, and the numbers at the right.

    Args:
        rows: from top to bottom; one without a value keeps its line and says so. Weak rows are drawn in grey.
        title: what is seen.
        axis_label: measure and unit; for differences also which side favours which arm.
        reference: where a line is drawn, such as 0 for differences; numbers are then written with their sign.
        margin: half width of the band around the reference within which two arms are called equivalent.
        stamp: drawn above everything.
    """
    width, size = full_width(), points(1.0)
    slim = is_slim(width)
    # Long names have no room beside the numbers either: the numbers then stand under them.
    stacked = slim and any(len(row.name) > SHORT for row in rows)
    each = 0.66 if stacked else 0.5 if slim else 0.36
    figure = canvas(width, size * (each * max(len(rows), 1) + 0.62), title, stamp)
    axis = figure.subplots()
    if reference is not None:
        axis.axvline(reference, color=MUTED, linewidth=0.9)
        if margin is not None:
            axis.axvspan(reference - margin, reference + margin, color="#e9edf1", linewidth=0, zorder=0)
    for place, row in enumerate(rows):
        _draw_row(axis, place, row)
        value_text = (number if reference is None else signed)(row.value)
        note = f"{value_text}  {interval(row.low, row.high, sign=reference is not None)}".rstrip()
        beside: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "annotation_clip": False}
        if stacked:
            axis.annotate(f"{shorten(row.name, 40)}\n{note}", (0, place - 0.28), va="bottom", **beside)
        elif slim:  # name and numbers above their bar, as there is no room beside it
            axis.annotate(row.name, (0, place - 0.3), va="bottom", **beside)
            axis.annotate(note, (1, place - 0.3), va="bottom", ha="right", **beside)
        else:
            axis.annotate(note, (1.02, place), va="center", **beside)
    names = ["\n".join(textwrap.wrap(shorten(row.name, 56), 28)) for row in rows]
    axis.set_yticks(range(len(rows)), [""] * len(rows) if slim else names)
    axis.set_ylim(len(rows) - 0.45, -0.95 if stacked else -0.85 if slim else -0.55)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.grid(axis="x")
    axis.set_axisbelow(True)
    axis.set_xlabel("\n".join(textwrap.wrap(axis_label, 44)) if slim else axis_label)
    axis.margins(x=0.06)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=5 if slim else 6))  # signed numbers of three decimals are wide
    return figure


def _draw_row(axis: Axes, place: int, row: Row) -> None:
    """A value with its interval, and single runs as small ticks above it."""
    colour = "#0072B2" if row.strong else MUTED
    if row.runs:
        axis.plot(row.runs, [place - 0.24] * len(row.runs), "|", color=MUTED, markersize=5, markeredgewidth=1)
    if row.value is not None and np.isfinite(row.value):
        if row.low is not None and row.high is not None:
            axis.plot([row.low, row.high], [place, place], color=colour, linewidth=1.8, solid_capstyle="butt")
        axis.plot([row.value], [place], "o" if row.strong else "s", color=colour, markersize=6)


@drawn
def split_figure(
    parts: Mapping[str, Mapping[str, int]], classes: Sequence[str], *, title: str, rows: str = "images", stamp: str = ""
) -> Figure:
    """Images of each part of a split, by class, as bars in one scale.

    Args:
        parts: part -> class -> images, from top to bottom.
        classes: in order; up to seven are told apart.
        title: what is seen.
        rows: what is counted, several of them.
        stamp: drawn above everything.
    """
    width = full_width()
    figure = canvas(width, points(1.0) * (0.34 * len(parts) + 0.78), title, stamp)
    axis = figure.subplots()
    hatches = ("", "////", "....", "xxxx", "----", "\\\\\\\\", "++++")
    handles: list[Artist] = []
    left = np.zeros(len(parts))
    for index, name in enumerate(classes):
        images = np.array([part.get(name, 0) for part in parts.values()], dtype=np.float64)
        look: dict[str, Any] = {
            "facecolor": STYLES[index % len(STYLES)][0],
            "edgecolor": "white",
            "hatch": hatches[index % len(hatches)],
            "linewidth": 0.8,
            "alpha": 0.85,
        }
        handles.append(axis.barh(range(len(parts)), images, left=left, height=0.62, **look)[0])
        left += images
    for place, total in enumerate(left):
        axis.annotate(f"{total:,.0f}", (total, place), (4, 0), textcoords="offset points", va="center")
    axis.set_yticks(range(len(parts)), [say(part) for part in parts])
    axis.set_ylim(len(parts) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.set_xlabel(say(rows))
    axis.set_xlim(0, max(left.max(), 1) * (1.16 if is_slim(width) else 1.08))
    names = [f" {shorten(name, 28)}" for name in classes]
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(classes), 2 if is_slim(width) else 4))
    return figure
