"""The curve of a learning-rate range test: loss by rate, with the suggested rate and the arm's own."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from counterstain.reports.figure_settings import FULL_WIDTH
from counterstain.reports.figure_style import INK, TRAIN, VAL, canvas, drawn, save_figure

__all__ = ["rate_figure", "save_figure"]


@drawn
def rate_figure(
    rate: NDArray[np.float64],
    loss: NDArray[np.float64],
    smoothed: NDArray[np.float64],
    *,
    suggested: float | None,
    current: float,
    title: str,
    stamp: str = "",
) -> Figure:
    """Loss of each step (faint) and its running mean (strong) by learning rate, on a logarithmic axis.

    Args:
        rate, loss, smoothed: (S,) of the steps.
        suggested: drawn as a vertical line with its value; None for none.
        current: of the arm, likewise.
        title: what is seen; stamp: drawn above everything.
    """
    figure = canvas(FULL_WIDTH, 2.9, title, stamp)
    axis = figure.subplots()
    axis.plot(rate, loss, color=TRAIN, linewidth=0.7, alpha=0.4, label="loss of each batch")
    axis.plot(rate, smoothed, color=TRAIN, linewidth=1.9, label="running mean")
    if suggested is not None:
        axis.axvline(suggested, color=VAL, linewidth=1.3, label=f"suggested: {suggested:.2g}")
    axis.axvline(current, color=INK, linewidth=1.3, linestyle=(0, (2, 2)), label=f"the arm's: {current:.2g}")
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")  # mathtext is off in our figures
    axis.xaxis.set_minor_formatter(NullFormatter())
    fall = float(smoothed[0] - smoothed.min())
    axis.set_ylim(float(smoothed.min()) - 0.5 * fall - 0.02, float(smoothed[0]) + 1.5 * fall + 0.02)
    axis.set_xlabel("learning rate")
    axis.set_ylabel("training loss")
    axis.grid(axis="y")
    axis.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=4)
    return figure
