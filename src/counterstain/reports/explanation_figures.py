"""Pictures of an explanation: a map over its tile, the insertion and deletion curves."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from counterstain.errors import InputError
from counterstain.reports.figure_style import MUTED, STYLES, canvas, drawn, full_width, is_slim

__all__ = ["colour_scale", "curves_figure", "jpeg", "overlay", "read_tile"]

Tile = NDArray[np.uint8]

STRONGEST = 0.72  # opacity of the colour where the map is highest
QUALITY = 88


def read_tile(path: Path) -> Tile:
    """The (H, W, 3) pixels of a tile that an explanation has written.

    Raises:
        InputError: If the file is missing or is no PNG.
    """
    try:
        with Image.open(path, formats=("PNG",)) as image:
            return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except OSError:
        raise InputError(f"{path} is missing or damaged; explain the model again into a new folder") from None


def overlay(tile: Tile, cells: NDArray[np.float64]) -> Tile:
    """The tile in grey with the map over it: clear where it is 0, the more colour and the more opaque the higher.

    Stained tissue is pink and blue: over its own colours no colour scale could be read.

    Args:
        tile: (H, W, 3) uint8.
        cells: (h, w) in [0, 1], row by row from the top left; enlarged by straight lines between the cells' middles.
    """
    height, width = tile.shape[:2]
    image = Image.fromarray(cells.astype(np.float32))
    value = np.clip(np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float64), 0, 1)
    grey = tile @ np.array([0.299, 0.587, 0.114])
    paper = np.repeat((60 + 195 * grey / 255)[..., None], 3, axis=2)
    colour = 255 * colormaps["YlOrRd"](0.2 + 0.7 * value)[..., :3]
    opacity = (STRONGEST * value**0.7)[..., None]
    blended = paper * (1 - opacity) + colour * opacity
    return np.rint(blended).astype(np.uint8)


def jpeg(tile: Tile) -> bytes:
    """The tile as JPEG bytes for a page; the PNG beside the page is exact."""
    stream = io.BytesIO()
    Image.fromarray(tile).save(stream, "JPEG", quality=QUALITY, subsampling=0)
    return stream.getvalue()


@drawn
def curves_figure(share: Sequence[float], kinds: Sequence[Mapping[str, Any]], *, title: str, stamp: str = "") -> Figure:
    """Insertion and deletion: the class's mean probability against the share of the tile that is shown or blurred.

    Args:
        share: (K,) of the tile.
        kinds: the records of the two kinds, each with its curves by order.
        title: what is seen.
        stamp: drawn above everything.
    """
    slim = is_slim(full_width())
    figure = canvas(full_width(), 2.4 * len(kinds) + 0.5 if slim else 2.7, title, stamp)
    shape = (len(kinds), 1) if slim else (1, len(kinds))
    axes = figure.subplots(*shape, sharey=True, squeeze=False).ravel()
    for axis, curves in zip(axes, kinds, strict=True):
        # The record is JSON with sorted keys: the map's own curve goes first.
        for index, name in enumerate(sorted(curves["curves"], key=lambda name: name != "map")):
            colour, style, _ = STYLES[index]
            label = "highest cells of the map first" if name == "map" else f"order: {name}"
            axis.plot(share, curves["curves"][name], color=colour, linestyle=style, linewidth=1.8, label=label)
        done = "shown, from the blurred tile" if curves["kind"] == "insertion" else "blurred, from the whole tile"
        axis.set_title(curves["kind"], loc="left")
        axis.set_xlabel(f"share of the tile {done}")
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 1.02)
        axis.grid()
        axis.set_axisbelow(True)
        axis.axhline(0.5, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    axes[0].set_ylabel("mean probability of the class")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=1 if slim else len(labels))
    return figure


def colour_scale() -> Tile:
    """(14, 180, 3) the colours of `overlay` on white paper, from 0 at the left to the highest value."""
    white = np.full((14, 180, 3), 255, dtype=np.uint8)
    return overlay(white, np.linspace(0, 1, 180)[None])
