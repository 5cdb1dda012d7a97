"""Figures of probabilities in use: reliability before and after calibration, and net benefit."""

import textwrap
from collections.abc import Sequence

from matplotlib.figure import Figure

from counterstain.evaluation.format import shorten
from counterstain.evaluation.record_types import DecisionCurve, Reliability
from counterstain.reports.figure_style import (
    MUTED,
    STYLES,
    canvas,
    drawn,
    full_width,
    half_width,
    is_slim,
    points,
    say,
)

__all__ = ["net_benefit_figure", "reliability_figure"]


@drawn
def reliability_figure(
    before: Reliability | None, after: Reliability, *, title: str, rows: str = "images", stamp: str = ""
) -> Figure:
    """Share of hits against the mean probability of each bin, before and after; bands over patients, bars of counts.

    Args:
        before: None where probabilities were not calibrated.
        after: as they are used.
        title: what is seen.
        rows: what is counted, several of them.
        stamp: drawn above everything.
    """
    figure = canvas(half_width(), half_width() * 1.12, title, stamp)
    upper, lower = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    upper.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    states = [(0, before, "before")] if before is not None else []
    for index, record, label in [*states, (1, after, "calibrated" if states else "not calibrated")]:
        colour, line, marker = STYLES[1 - index]
        bins = [row for row in record["bins"] if row["n"]]
        x, y = [row["mean_prob"] for row in bins], [row["share"] for row in bins]
        upper.plot(x, y, color=colour, linestyle=line, marker=marker, markersize=4, linewidth=1.2, label=say(label))
        if index == 1:
            bounded = [row for row in bins if row["share_low"] is not None]
            upper.vlines(
                [row["mean_prob"] for row in bounded], [row["share_low"] for row in bounded],
                [row["share_high"] for row in bounded], color=colour, linewidth=4, alpha=0.25,
            )  # fmt: skip
            middle = [(row["low"] + row["high"]) / 2 for row in record["bins"]]
            lower.bar(middle, [row["n"] for row in record["bins"]], width=0.9 / len(middle), color=colour, alpha=0.7)
    upper.set_xlim(0, 1)
    upper.set_ylim(-0.02, 1.02)
    upper.set_ylabel(say("share that is positive") if after["kind"] == "positive" else say("share that is right"))
    upper.legend(loc="upper left", handlelength=1.8)
    lower.set_xlabel(say("mean probability of the bin"))
    lower.set_ylabel(say(rows))
    lower.locator_params(axis="y", nbins=2)
    return figure


@drawn
def net_benefit_figure(curves: Sequence[tuple[str, DecisionCurve]], *, stamp: str = "") -> Figure:
    """Net benefit of each arm over the thresholds, with treating all and nobody; bands for one or two arms."""
    width = full_width()
    slim = is_slim(width)
    height = points(1.0) * (2.9 + (0.22 * (len(curves) + 2) if slim else 0))
    figure = canvas(width, height, say("Net benefit of acting on the model"), stamp)
    axis = figure.subplots()
    first = curves[0][1]
    at = first["thresholds"]
    highest = max(first["prevalence"], 0.05)
    for index, (arm, curve) in enumerate(curves):
        colour, line, _ = STYLES[index % len(STYLES)]
        model = curve["model"]
        axis.plot(at, model["value"], color=colour, linestyle=line, linewidth=1.4, label=shorten(arm))
        if len(curves) <= 2:
            axis.fill_between(
                at, [float("nan") if v is None else v for v in model["low"]],
                [float("nan") if v is None else v for v in model["high"]], color=colour, alpha=0.12, linewidth=0,
            )  # fmt: skip
    axis.plot(at, first["treat_all"], color=MUTED, linewidth=1, linestyle=(0, (4, 2)), label=say("treat all"))
    axis.axhline(0, color=MUTED, linewidth=1, linestyle=(0, (1, 2)), label=say("treat nobody"))
    axis.set_ylim(-0.35 * highest, 1.12 * highest)
    axis.set_xlim(0, 1)
    label = say("threshold: the probability from which on one would act")
    axis.set_xlabel("\n".join(textwrap.wrap(label, 44)) if slim else label)
    axis.set_ylabel(say("net benefit"))
    if slim:
        figure.legend(loc="outside lower left")
    else:
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
