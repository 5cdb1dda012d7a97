"""Heat maps of a slide: an OME-TIFF of probabilities that lies on the slide, and a picture over its thumbnail."""

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from counterstain.files import write_with
from counterstain.slides.tile_predictions import TilePredictions

__all__ = ["ALPHA", "HeatMap", "draw_heatmap", "overlay", "write_heatmap"]

ALPHA = 0.5  # how much of the map's colours is seen over a picture

_PER_TILE = 4  # pixels of the map along a tile's side
_MOST_PX = 4096  # a side of the map; beyond, its pixels are made larger
_TIFF_TILE = 256
_IDS = uuid.UUID("b4a8f0c2-7d1e-5f39-8a44-2e6c9d0b1a57")


@dataclass(frozen=True, eq=False, kw_only=True)
class HeatMap:
    """Probabilities on a grid that begins at the slide's visible corner.

    value: (K, H, W) uint8; 0: no tile was read there; v >= 1: a probability of (v - 1) / 254. K is 1 (the positive
        class) for two classes, else one plane per class
    names: K names of the planes
    corner: level-0 point (x, y) of the top left corner of pixel (0, 0)
    step: (x, y) level-0 px per pixel
    mpp: (x, y) µm a pixel of the map
    """

    value: NDArray[np.uint8]
    names: tuple[str, ...]
    corner: tuple[int, int]
    step: tuple[float, float]
    mpp: tuple[float, float]


def draw_heatmap(table: TilePredictions) -> HeatMap:
    """The map: a pixel has the mean probability of the tiles that its middle lies in.

    A quarter of a tile is one pixel (more where the map would pass 4096 px), from the visible corner to the last pixel
    that begins within what is visible.
    """
    x, y, width, height = table.extent
    step = max(1.0, min(table.size) / _PER_TILE)
    while max(width, height) / step > _MOST_PX:
        step *= 2
    shape = (int(np.ceil(height / step)), int(np.ceil(width / step)))
    chosen = [1] if len(table.classes) == 2 else list(range(len(table.classes)))
    total = np.zeros((len(chosen), *shape), np.float32)
    count = np.zeros(shape, np.float32)
    # Pixel k's middle is (k + 1/2) * step: a tile has the pixels whose middle lies in [start, end).
    low = table.corner - np.array([x, y])
    first = np.maximum(np.ceil(low / step - 0.5), 0).astype(np.int64)
    last = np.maximum(np.ceil((low + np.array(table.size)) / step - 0.5), 0).astype(np.int64)
    prob = table.prob[:, chosen].astype(np.float32)
    for (x0, y0), (x1, y1), p in zip(first.tolist(), last.tolist(), prob, strict=True):
        total[:, y0:y1, x0:x1] += p[:, None, None]
        count[y0:y1, x0:x1] += 1
    read = count > 0
    mean = np.divide(total, count, out=np.zeros_like(total), where=read)
    value = np.where(read, 1 + np.rint(254 * np.clip(mean, 0, 1)), 0).astype(np.uint8)
    return HeatMap(
        value=value,
        names=tuple(f"prob_{table.classes[k]}" for k in chosen),
        corner=(x, y),
        step=(step, step),
        mpp=(table.mpp[0] * step, table.mpp[1] * step),
    )


def write_heatmap(heat: HeatMap, path: Path, *, slide: str) -> None:
    """Write a tiled, pyramidal OME-TIFF (8 bits, a channel a plane), whole or not at all; equal maps make equal bytes.

    PhysicalSizeX and Y are those of its pixels, and PositionX and Y the µm of its corner from level-0 (0, 0), so that
    a viewer that knows both lays it on the slide.
    """
    write_with(path, lambda temporary: _fill(temporary, heat, slide))


def _fill(path: Path, heat: HeatMap, slide: str) -> None:
    import tifffile

    planes = len(heat.names)
    levels = [heat.value]
    while max(levels[-1].shape[1:]) > _TIFF_TILE:
        levels.append(_halved(levels[-1]))
    position = [heat.corner[k] * heat.mpp[k] / heat.step[k] for k in (0, 1)]
    metadata = {
        "axes": "CYX",
        "UUID": str(uuid.uuid5(_IDS, slide)),
        "Name": slide,
        "Description": f"0: no tile read; v >= 1: probability (v - 1) / 254. Pixel (0, 0) begins at level-0 px "
        f"{heat.corner[0]}, {heat.corner[1]}; a pixel is {heat.step[0]:g} level-0 px.",
        "PhysicalSizeX": heat.mpp[0],
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": heat.mpp[1],
        "PhysicalSizeYUnit": "µm",
        "Channel": {"Name": list(heat.names)},
        "Plane": {
            "PositionX": [position[0]] * planes,
            "PositionXUnit": ["µm"] * planes,
            "PositionY": [position[1]] * planes,
            "PositionYUnit": ["µm"] * planes,
        },
    }
    common: dict[str, Any] = {
        "tile": (_TIFF_TILE, _TIFF_TILE),
        "compression": "zlib",
        "photometric": "minisblack",
        "software": False,
    }
    with tifffile.TiffWriter(path, ome=True) as writer:
        for number, level in enumerate(levels):
            centimetre = [1e4 / (size * 2**number) for size in heat.mpp]  # pixels per cm
            first: dict[str, Any] = (
                {"subifds": len(levels) - 1, "metadata": metadata} if number == 0 else {"subfiletype": 1}
            )
            writer.write(level, resolution=tuple(centimetre), resolutionunit="CENTIMETER", **common, **first)


def _halved(value: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(K, H, W) at half the size: the mean of the pixels that were read among each four; 0 where none was."""
    k, height, width = value.shape
    even = np.zeros((k, height + height % 2, width + width % 2), np.float32)
    even[:, :height, :width] = value
    blocks = even.reshape(k, even.shape[1] // 2, 2, even.shape[2] // 2, 2)
    count = (blocks > 0).sum(axis=(2, 4))
    mean = np.divide(blocks.sum(axis=(2, 4)), count, out=np.zeros(count.shape, np.float32), where=count > 0)
    return np.asarray(np.rint(mean), np.uint8)


def overlay(heat: HeatMap, thumbnail: NDArray[np.uint8], *, downsample: tuple[float, float]) -> NDArray[np.uint8]:
    """The first plane in colours over a thumbnail, (H, W, 3) uint8 RGB: 0 blue, 1 red, bare where no tile was read.

    Args:
        heat: the map.
        thumbnail: (H, W, 3) uint8 RGB that begins at the same corner.
        downsample: (x, y) level-0 px a pixel of the thumbnail.
    """
    # Each pixel of the thumbnail shows the map's pixel that its middle lies in. Its last row and column may pass the
    # map: there is one more of nothing.
    padded = np.pad(heat.value[0], ((0, 1), (0, 1)))
    places = [
        np.minimum((np.arange(length) + 0.5) * downsample[axis] / heat.step[axis], padded.shape[1 - axis] - 1)
        for axis, length in ((0, thumbnail.shape[1]), (1, thumbnail.shape[0]))
    ]
    value = padded[np.ix_(places[1].astype(np.int64), places[0].astype(np.int64))]
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1]
    shade = np.rint((np.maximum(value, 1).astype(np.float32) - 1) * (255 / 254)).astype(np.uint8)
    mixed = (1 - ALPHA) * thumbnail.astype(np.float32) + ALPHA * table[shade]
    return np.where((value > 0)[..., None], np.rint(mixed), thumbnail).astype(np.uint8)
