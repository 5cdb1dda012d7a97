"""A figure as a page shows it: drawn in the current style, written beside its numbers, and ready as a data: URI."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from counterstain.files import write_csv
from counterstain.reports.figure_data import FigureData
from counterstain.reports.figure_style import PHONE, current_style, save_as, styled, svg_bytes
from counterstain.reports.figures import save_figure

__all__ = ["Illustration", "jpeg_uri", "keep_figure", "photograph_uri", "png_uri", "svg_uri"]

# Where a figure has so many strokes that its SVG is this large, the page takes the PNG: the SVG stays beside it.
LARGEST_SVG = 400_000
LARGEST_PHOTOGRAPH = 600_000
SMALLER = ((1400, 88), (1400, 80), (1100, 80), (900, 75), (700, 75), (500, 70), (300, 60))  # px of width, JPEG quality


@dataclass(frozen=True)
class Illustration:
    """A figure as a page shows it.

    data: a data: URI; alt: says in words what is seen; narrow: two stand side by side; phone: the same drawn for a
    narrow screen, "" where `data` can be read there.
    """

    name: str
    data: str
    alt: str
    caption: str
    narrow: bool = False
    phone: str = ""


def png_uri(content: bytes) -> str:
    """A PNG as a data: URI."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def jpeg_uri(content: bytes) -> str:
    """A JPEG as a data: URI."""
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


def photograph_uri(content: bytes, largest: int = LARGEST_PHOTOGRAPH) -> str:
    """A PNG of tiles as a data: URI of at most `largest` characters: as it is where small, else as a JPEG.

    A smaller picture is tried before a coarser one; the smallest of all is taken whatever its size.
    """
    uri = png_uri(content)
    if len(uri) <= largest:
        return uri
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
        photograph = image.convert("RGB")
    for width, quality in SMALLER:
        resized = photograph.copy()
        resized.thumbnail((width, width * resized.height // resized.width + 1), Image.Resampling.LANCZOS)
        smaller = io.BytesIO()
        resized.save(smaller, "JPEG", quality=quality)
        uri = jpeg_uri(smaller.getvalue())
        if len(uri) <= largest:
            break
    return uri


def keep_figure(
    draw: Callable[[], Figure],
    path: Path,
    *,
    alt: str,
    caption: str,
    narrow: bool = False,
    data: FigureData | None = None,
) -> Illustration:
    """Draw a figure in the current style, write it and its numbers, and return it as a page shows it.

    In the page's own style it is written as SVG and PNG, a wide one is drawn a second time for narrow screens, and the
    page takes the PNG where the SVG would be too large. In another style it is one file of that style's format.

    Args:
        draw: makes the figure.
        path: without a suffix.
        alt, caption, narrow: see Illustration.
        data: what is drawn, for `path`.csv.
    """
    if data is not None:
        write_csv(path.with_name(f"{path.name}.csv"), data.columns, data.rows)
    style = current_style()
    if style.format:
        save_as(draw(), path, style.format)
        return Illustration(path.name, "", alt, caption, narrow)
    png, svg = save_figure(draw(), path)
    content, phone = svg.read_bytes(), ""
    uri = svg_uri(content) if len(content) <= LARGEST_SVG else png_uri(png.read_bytes())
    if not narrow:
        with styled(PHONE):
            slim = svg_bytes(draw())
        phone = svg_uri(slim) if len(slim) <= LARGEST_SVG else ""
    return Illustration(path.name, uri, alt, caption, narrow, phone)


def svg_uri(content: bytes) -> str:
    """An SVG as a data: URI."""
    return f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}"
