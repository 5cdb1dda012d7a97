"""The sheet that every figure is drawn on: widths, letters, colours, title, stamp, and how it is written.

matplotlib's object API only: no pyplot, no global setting is changed, and the same numbers give the same bytes. Colours
are Okabe and Ito's, which colour-blind readers tell apart; a line style or a marker says the same a second time.

Source: Okabe & Ito 2008, Color Universal Design, https://jfly.uni-koeln.de/color/.
"""

import io
import textwrap
import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from PIL import Image

from counterstain.evaluation.format import clean
from counterstain.files import write_bytes

__all__ = [
    "FULL_WIDTH",
    "HALF_WIDTH",
    "INK",
    "MUTED",
    "SHADES",
    "STYLES",
    "TRAIN",
    "VAL",
    "canvas",
    "drawn",
    "save_figure",
]

P = ParamSpec("P")

# Inches: the column of the report on screen and on A4, and half of it. At these widths no letter is below 9 pt.
FULL_WIDTH = 6.9
HALF_WIDTH = 3.36
PNG_DPI = 200

INK = "#1f2328"
MUTED = "#5c636b"
RULE = "#c9ced4"
ALARM = "#a4161a"
TRAIN, VAL = "#0072B2", "#D55E00"
# Colour, line style and marker of each arm in turn; black last, yellow never: it is too pale for a line.
STYLES: tuple[tuple[str, Any, str], ...] = (
    ("#0072B2", "-", "o"),
    ("#D55E00", (0, (5, 1.6)), "s"),
    ("#009E73", (0, (1.2, 1.2)), "^"),
    ("#CC79A7", (0, (5, 1.5, 1.2, 1.5)), "D"),
    ("#56B4E9", (0, (8, 2)), "v"),
    ("#E69F00", (0, (3, 1, 1, 1, 1, 1)), "P"),
    ("#000000", (0, (2, 3)), "X"),
)
SHADES = LinearSegmentedColormap.from_list("counterstain", ["#ffffff", "#cfe0ee", "#7fb0d3", "#2b78ad", "#0b3f66"])

SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same letters on every machine
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.0,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "legend.fontsize": 9.0,
    "figure.titlesize": 10.5,
    "text.color": INK,
    "text.parse_math": False,  # a "$" in a class name is a "$"
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "grid.color": "#e7eaed",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "figure.constrained_layout.w_pad": 0.03,
    "figure.constrained_layout.h_pad": 0.03,
    "svg.fonttype": "path",
    "svg.hashsalt": "counterstain",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
}


def drawn(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw under our settings, leaving everyone else's alone."""

    @wraps(draw)
    def under_settings(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with rc_context(SETTINGS):
            return draw(*args, **kwargs)

    return under_settings


def save_figure(figure: Figure, path: Path) -> tuple[Path, Path]:
    """Write a figure as `path`.png (200 dpi) and `path`.svg; the same figure gives the same bytes.

    Args:
        figure: any of this module's.
        path: without a suffix; a dot in its name is kept.

    Returns:
        The two files written.
    """
    png, svg = (path.with_name(f"{path.name}.{suffix}") for suffix in ("png", "svg"))
    with rc_context(SETTINGS), warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; the report gives it in full.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        # Drawn once for each file: savefig would lay the figure out twice more for each.
        figure.set_dpi(PNG_DPI)
        sheet: Any = FigureCanvasAgg(figure)
        sheet.draw()
        figure.set_layout_engine("none")
        pixels = io.BytesIO()
        Image.fromarray(np.asarray(sheet.buffer_rgba())).convert("RGB").save(pixels, "PNG", dpi=(PNG_DPI, PNG_DPI))
        strokes = io.StringIO()
        vector: Any = FigureCanvasSVG(figure)
        vector.print_svg(strokes, metadata={"Date": None, "Creator": None})
    write_bytes(png, pixels.getvalue())
    write_bytes(svg, strokes.getvalue())
    return png, svg


def canvas(width: float, height: float, title: str, stamp: str) -> Figure:
    """An empty figure with its title at the left and, where the study has a stamp, the stamp above everything."""
    lines = textwrap.wrap(clean(title), int(width * 10.4))  # bold letters at 10 pt are about 6.9 pt wide
    warning = textwrap.wrap(clean(stamp), int(width * 11)) if stamp else []
    banner = 0.17 * len(warning) + 0.16 if warning else 0.0
    head = banner + 0.19 * len(lines) + 0.08
    height += head
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - head / height))  # type: ignore[union-attr, call-arg]
    figure.text(0, 1 - (banner + 0.04) / height, "\n".join(lines), weight="bold", size=10, va="top")
    if warning:
        frame = {"boxstyle": "square,pad=0.35", "facecolor": "#fdecec", "edgecolor": ALARM, "linewidth": 1.2}
        text = "\n".join(warning)
        figure.text(0.5, 1 - 0.08 / height, text, color=ALARM, weight="bold", ha="center", va="top", bbox=frame)
    return figure
