"""Figures of one model's probabilities on page one: smoothed reliability, net benefit, and their spread by class."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from counterstain.evaluation.format import number, shorten
from counterstain.evaluation.record_types import DecisionCurve, Distribution, Reliability, Smoothed
from counterstain.reports.figure_settings import HALF_WIDTH
from counterstain.reports.figure_style import INK, MUTED, STYLES, canvas, drawn

__all__ = ["distribution_figure", "narrow_benefit_figure", "smoothed_figure"]

DOTTED: Any = (0, (1, 2))
DASHED: Any = (0, (4, 2))
LOWEST_SHOWN = -0.35  # of the prevalence: below, treating all would push the curve out of sight


@drawn
def smoothed_figure(
    smoothed: Smoothed, reliability: Reliability, *, title: str, rows: str = "images", stamp: str = ""
) -> Figure:
    """The smoothed share of positives over the probability with its band, ten bins as points, and bars of counts.

    Args:
        smoothed: see evaluation.smoothed_reliability.
        reliability: see evaluation.reliability, of the same tables.
        title: what is seen.
        rows: what the rows of the tables are, several of them.
        stamp: drawn above everything.
    """
    figure = canvas(HALF_WIDTH, HALF_WIDTH * 1.22, title, stamp)
    upper, lower = figure.subplots(2, 1, height_ratios=(5, 1), sharex=True)
    upper.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=DOTTED, label="right")
    colour = STYLES[0][0]
    at = np.array(smoothed["prob"], dtype=np.float64)
    low, high = (np.array(smoothed[key], dtype=np.float64) for key in ("low", "high"))
    if np.isfinite(low).any():
        upper.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
    upper.plot(at, smoothed["share"], color=colour, linewidth=1.7, label="smoothed")
    bins = [row for row in reliability["bins"] if row["n"]]
    x, y = [row["mean_prob"] for row in bins], [row["share"] for row in bins]
    upper.plot(x, y, "o", markersize=4, markerfacecolor="white", markeredgecolor=INK, markeredgewidth=0.9,
               label="ten bins")  # fmt: skip
    upper.set_xlim(-0.01, 1.01)
    upper.set_ylim(-0.02, 1.02)
    upper.set_ylabel("share that is positive")
    upper.legend(loc="upper left", handlelength=1.8)
    middle = [(row["low"] + row["high"]) / 2 for row in reliability["bins"]]
    lower.bar(middle, [row["n"] for row in reliability["bins"]], width=0.9 / len(middle), color=colour, alpha=0.7)
    lower.set_xlabel("probability")
    lower.set_ylabel(rows)
    lower.locator_params(axis="y", nbins=2)
    return figure


@drawn
def narrow_benefit_figure(curve: DecisionCurve, *, title: str, stamp: str = "") -> Figure:
    """Net benefit over the thresholds with its band, beside treating all and treating nobody."""
    figure = canvas(HALF_WIDTH, HALF_WIDTH * 0.92, title, stamp)
    axis = figure.subplots()
    colour, at = STYLES[0][0], curve["thresholds"]
    model = {key: np.array(curve["model"][key], dtype=np.float64) for key in ("value", "low", "high")}
    axis.fill_between(at, model["low"], model["high"], color=colour, alpha=0.15, linewidth=0)
    axis.plot(at, model["value"], color=colour, linewidth=1.7, label="model")
    axis.plot(at, curve["treat_all"], color=MUTED, linewidth=1, linestyle=DASHED, label="treat all")
    axis.axhline(0, color=MUTED, linewidth=1, linestyle=DOTTED, label="treat nobody")
    highest = max(curve["prevalence"], 0.05)
    band = model["high"][np.isfinite(model["high"])].max(initial=0.0)
    axis.set_ylim(LOWEST_SHOWN * highest, max(1.15 * highest, min(1.05 * band, 1.05)))
    axis.set_xlim(0, 1)
    axis.set_xlabel("threshold")
    axis.set_ylabel("net benefit")
    figure.legend(loc="outside lower center", ncols=3, handlelength=1.8, columnspacing=1.2)
    return figure


@drawn
def distribution_figure(
    distribution: Distribution,
    *,
    positive: str,
    title: str,
    threshold: float | None = None,
    rows: str = "images",
    stamp: str = "",
) -> Figure:
    """Probabilities of the positive class among the images of each class, one histogram above the other.

    Args:
        distribution: see evaluation.reliability.probability_distribution.
        positive: drawn on top.
        title: what is seen.
        threshold: a line where calls begin; None for none.
        rows: what the rows of the table are, several of them.
        stamp: drawn above everything.
    """
    names = [positive, *(name for name in distribution["classes"] if name != positive)]
    styles = dict(zip(names, (STYLES[1], STYLES[0]), strict=True))
    order = [name for name in names if distribution["classes"][name]["images"]]
    figure = canvas(HALF_WIDTH, HALF_WIDTH * 0.92, title, stamp)
    axes = figure.subplots(len(order), 1, sharex=True)
    edges = np.linspace(0, 1, distribution["bins"] + 1)
    for axis, name in zip(np.atleast_1d(axes), order, strict=True):
        histogram, style = distribution["classes"][name], styles[name]
        shares = histogram["shares"] or [0.0] * distribution["bins"]
        axis.bar(edges[:-1], shares, width=np.diff(edges), align="edge", color=style[0], alpha=0.75, edgecolor="white")
        axis.set_title(f"{shorten(name, 22)}: {histogram['images']:,} {rows}", loc="left")
        axis.set_ylabel("share")
        axis.locator_params(axis="y", nbins=3)
        axis.set_ylim(0, max(*shares, 0.05) * 1.12)
        if threshold is not None and 0 <= threshold <= 1:
            axis.axvline(threshold, color=INK, linewidth=0.9, linestyle=DASHED)
    last = np.atleast_1d(axes)[-1]
    last.set_xlim(0, 1)
    calls = f"; the line is the threshold, {number(threshold, 2)}" if threshold is not None else ""
    last.set_xlabel(f"probability{calls}")
    return figure
