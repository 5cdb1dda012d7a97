"""The sheet that every figure is drawn on: widths, letters, colours, title, stamp, and how it is written.

matplotlib's object API only: no pyplot, no global setting is changed, and the same numbers give the same bytes. Colours
are Okabe and Ito's, which colour-blind readers tell apart; a line style or a marker says the same a second time.

Source: Okabe & Ito 2008, Color Universal Design, https://jfly.uni-koeln.de/color/.
"""

import io
import textwrap
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from PIL import Image

from counterstain.evaluation.format import clean
from counterstain.files import write_bytes
from counterstain.reports.figure_settings import FONT, HALF_WIDTH, MM, FigureStyle
from counterstain.reports.figure_words import numerals, words

__all__ = [
    "INK",
    "MUTED",
    "PAGE",
    "PHONE",
    "SHADES",
    "STYLES",
    "TRAIN",
    "VAL",
    "canvas",
    "current_style",
    "drawn",
    "full_width",
    "half_width",
    "is_slim",
    "points",
    "save_as",
    "save_figure",
    "say",
    "styled",
    "svg_bytes",
]

P = ParamSpec("P")

PNG_DPI = 200
SLIM = 5.0  # inches: below, panels go under each other, and names above what they name

INK = "#1f2328"
MUTED = "#5c636b"
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
    "pdf.fonttype": 42,
    "svg.hashsalt": "counterstain",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
}


PAGE = FigureStyle()
PHONE = FigureStyle(width_mm=HALF_WIDTH * MM)
_STYLE: ContextVar[FigureStyle] = ContextVar("counterstain_figure_style", default=PAGE)


@contextmanager
def styled(style: FigureStyle) -> Iterator[None]:
    """Draw every figure in this style meanwhile."""
    token = _STYLE.set(style)
    try:
        yield
    finally:
        _STYLE.reset(token)


def current_style() -> FigureStyle:
    """The style that figures are drawn in now."""
    return _STYLE.get()


def full_width() -> float:
    """Inches of a wide figure."""
    return current_style().width_mm / MM


def half_width() -> float:
    """Inches of a figure that stands in a pair."""
    return min(current_style().half_mm, current_style().width_mm) / MM


def is_slim(width: float) -> bool:
    """Whether a figure of so many inches has no room for two panels, or for names beside bars, in its letters."""
    return width * FONT / current_style().font_pt < SLIM


def points(size: float) -> float:
    """A size in points as the page has it (9 is the text), in the current style."""
    return size * current_style().font_pt / FONT


def say(template: str, **fields: object) -> str:
    """Words of a figure in the current language, see figure_words."""
    return words(template, current_style().language, **fields)


def drawn(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw under our settings and the current style, leaving everyone else's alone."""

    @wraps(draw)
    def under_settings(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with rc_context(_settings()):
            return _in_language(draw(*args, **kwargs))

    return under_settings


def _settings() -> Any:
    """SETTINGS with their letters in the current size."""
    letters = ("font.size", "labelsize", "titlesize", "fontsize")
    return SETTINGS | {name: points(SETTINGS[name]) for name in SETTINGS if name.endswith(letters)}


def _in_language(figure: Figure) -> Figure:
    """The numbers of a figure as its language writes them: those of axes are known once it is laid out."""
    language = current_style().language
    if language == "en":
        return figure
    canvas_: Any = FigureCanvasAgg(figure)
    with _quiet():
        canvas_.draw()
    for axis in (side for axes in figure.axes for side in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        labels = [text.get_text() for text in axis.get_majorticklabels()]
        places = [(at, label) for at, label in zip(axis.get_majorticklocs(), labels, strict=False) if low <= at <= high]
        if any(numerals(label, language) != label for _, label in places):
            axis.set_ticks([at for at, _ in places], [numerals(label, language) for _, label in places])
    written = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    for text in [*written, *(text for legend in legends if legend is not None for text in legend.get_texts())]:
        text.set_text(numerals(text.get_text(), language))
    return figure


@contextmanager
def _quiet() -> Iterator[None]:
    """A name in a script that the font lacks is drawn as boxes, without a warning; the report gives it in full."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


def save_figure(figure: Figure, path: Path) -> tuple[Path, Path]:
    """Write a figure as `path`.png (200 dpi) and `path`.svg; the same figure gives the same bytes.

    Args:
        figure: any of this room's.
        path: without a suffix; a dot in its name is kept.

    Returns:
        The two files written.
    """
    # Drawn once for each file: savefig would lay the figure out twice more for each.
    return save_as(figure, path, "png"), save_as(figure, path, "svg")


def save_as(figure: Figure, path: Path, kind: str) -> Path:
    """Write a figure as `path`.pdf, .svg or .png (200 dpi); the same figure gives the same bytes.

    Letters of a PDF stay letters, those of an SVG are strokes.
    """
    out = path.with_name(f"{path.name}.{kind}")
    write_bytes(out, _bytes_of(figure, kind))
    return out


def svg_bytes(figure: Figure) -> bytes:
    """A figure as an SVG that is written nowhere."""
    return _bytes_of(figure, "svg")


def _bytes_of(figure: Figure, kind: str) -> bytes:
    with rc_context(_settings()), _quiet():
        figure.set_dpi(PNG_DPI)
        if figure.get_layout_engine() is not None:  # laid out once, whatever is written
            sheet: Any = FigureCanvasAgg(figure)
            sheet.draw()
            figure.set_layout_engine("none")
        return _encoded(figure, kind)


def _encoded(figure: Figure, kind: str) -> bytes:
    content = io.BytesIO()
    if kind == "png":
        sheet: Any = FigureCanvasAgg(figure)
        sheet.draw()
        pixels = Image.fromarray(np.asarray(sheet.buffer_rgba())).convert("RGB")
        pixels.save(content, "PNG", dpi=(PNG_DPI, PNG_DPI))
        return content.getvalue()
    if kind == "pdf":
        page: Any = FigureCanvasPdf(figure)
        page.print_pdf(content, metadata={"CreationDate": None, "Creator": None, "Producer": None})
        return content.getvalue()
    strokes = io.StringIO()
    vector: Any = FigureCanvasSVG(figure)
    vector.print_svg(strokes, metadata={"Date": None, "Creator": None})
    return strokes.getvalue().encode()


def canvas(width: float, height: float, title: str, stamp: str) -> Figure:
    """An empty figure with its title at the left and, where the study has a stamp, the stamp above everything."""
    size = points(1.0)
    lines = textwrap.wrap(clean(title), int(width * 10.4 / size))  # bold letters at 10 pt are about 6.9 pt wide
    warning = textwrap.wrap(say(clean(stamp)), int(width * 11 / size)) if stamp else []
    banner = size * (0.17 * len(warning) + 0.16) if warning else 0.0
    head = banner + size * (0.19 * len(lines) + 0.08)
    height += head
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - head / height))  # type: ignore[union-attr, call-arg]
    figure.text(0, 1 - (banner + 0.04) / height, "\n".join(lines), weight="bold", size=points(10), va="top")
    if warning:
        frame = {"boxstyle": "square,pad=0.35", "facecolor": "#fdecec", "edgecolor": ALARM, "linewidth": 1.2}
        text = "\n".join(warning)
        figure.text(0.5, 1 - 0.08 / height, text, color=ALARM, weight="bold", ha="center", va="top", bbox=frame)
    return figure
