"""Figures of probabilities in use: reliability before and after calibration, and net benefit."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from counterstain.evaluation.format import shorten
from counterstain.evaluation.record_types import DecisionCurve, Reliability
from counterstain.reports.figure_style import FULL_WIDTH, HALF_WIDTH, MUTED, STYLES, canvas, drawn

__all__ = ["net_benefit_figure", "reliability_figure"]


@drawn
def reliability_figure(before: Reliability, after: Reliability, *, title: str, stamp: str = "") -> Figure:
    """Share of hits against the mean probability of each bin, before and after; bands over patients, bars of counts."""
    figure = canvas(HALF_WIDTH, HALF_WIDTH * 1.12, title, stamp)
    upper, lower = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    upper.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    for index, (record, label) in enumerate(((before, "before"), (after, "calibrated"))):
        colour, line, marker = STYLES[1 - index]
        rows = [row for row in record["bins"] if row["n"]]
        x, y = [row["mean_prob"] for row in rows], [row["share"] for row in rows]
        upper.plot(x, y, color=colour, linestyle=line, marker=marker, markersize=4, linewidth=1.2, label=label)
        if index == 1:
            known = [row for row in rows if row["share_low"] is not None]
            upper.vlines(
                [row["mean_prob"] for row in known], [row["share_low"] for row in known],
                [row["share_high"] for row in known], color=colour, linewidth=4, alpha=0.25,
            )  # fmt: skip
            middle = [(row["low"] + row["high"]) / 2 for row in record["bins"]]
            lower.bar(middle, [row["n"] for row in record["bins"]], width=0.9 / len(middle), color=colour, alpha=0.7)
    upper.set_xlim(0, 1)
    upper.set_ylim(-0.02, 1.02)
    what = "positive" if after["kind"] == "positive" else "right"
    upper.set_ylabel(f"share that is {what}")
    upper.legend(loc="upper left", handlelength=1.8)
    lower.set_xlabel("mean probability of the bin")
    lower.set_ylabel("images")
    lower.locator_params(axis="y", nbins=2)
    return figure


@drawn
def net_benefit_figure(curves: Sequence[tuple[str, DecisionCurve]], *, stamp: str = "") -> Figure:
    """Net benefit of each arm over the thresholds, with treating all and nobody; bands for one or two arms."""
    figure = canvas(FULL_WIDTH, 2.9, "Net benefit of acting on the model", stamp)
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
    axis.plot(at, first["treat_all"], color=MUTED, linewidth=1, linestyle=(0, (4, 2)), label="treat all")
    axis.axhline(0, color=MUTED, linewidth=1, linestyle=(0, (1, 2)), label="treat nobody")
    axis.set_ylim(-0.35 * highest, 1.12 * highest)
    axis.set_xlim(0, 1)
    axis.set_xlabel("threshold: the probability from which on one would act")
    axis.set_ylabel("net benefit")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
