"""Slides for the tests: pictures whose every px is known, as files of many kinds and as a slide in memory."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import tifffile
from numpy.typing import NDArray

from counterstain.slides.info import SlideInfo, level_of, level_px

Pixels = NDArray[np.uint8]

APERIO = "Aperio Image Library (made up)\r\n{w}x{h} [0,0 {w}x{h}] (64x64) JPEG/RGB Q=80"


def picture(width: int, height: int, *, seed: int = 0) -> Pixels:
    """(H, W, 3) noise, so that a region one px off is another region."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(width: int, height: int, *, seed: int = 0) -> Pixels:
    """(H, W, 3) blotches that JPEG can keep."""
    import cv2

    return np.asarray(cv2.GaussianBlur(picture(width, height, seed=seed), (0, 0), 3)) // 2 + 90


def halved(image: Pixels, by: int = 2) -> Pixels:
    """Every whole by × by block's mean, what is left over at the right and bottom cut off."""
    height, width = image.shape[0] // by, image.shape[1] // by
    blocks = image[: height * by, : width * by].reshape(height, by, width, by, 3)
    return (blocks.mean(axis=(1, 3)) + 0.5).astype(np.uint8)


def write_pyramid(
    path: Path, levels: list[NDArray[Any]], *, mpp: tuple[float, float] | None = None, **options: Any
) -> Path:
    """A TIFF of pages: `levels` finest first; options go to tifffile (tile, compression, description …)."""
    options = {"tile": (64, 64), "photometric": "rgb", **options}
    if mpp is not None:
        options |= {"resolution": (1e4 / mpp[0], 1e4 / mpp[1]), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as file:
        for number, level in enumerate(levels):
            if number:
                options.pop("description", None)
            file.write(level, subfiletype=int(number > 0), metadata=None, **options)
    return path


def write_ome(
    path: Path, levels: list[NDArray[Any]], *, mpp: tuple[float, float] = (0.5, 0.5), unit: str = "µm", **options: Any
) -> Path:
    """An OME-TIFF whose smaller levels are SubIFDs."""
    options = {"tile": (64, 64), "photometric": "rgb", "compression": "deflate", **options}
    words = {"PhysicalSizeX": mpp[0], "PhysicalSizeY": mpp[1], "PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    axes = options.pop("axes", "YXS")
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(levels[0], subifds=len(levels) - 1, metadata={"axes": axes, **words}, **options)
        for level in levels[1:]:
            file.write(level, subfiletype=1, **options)
    return path


@dataclass
class MemorySlide:
    """A slide held in memory: the plainest reader there can be."""

    levels: list[Pixels]
    mpp: tuple[float, float] | None = (0.5, 0.5)
    bounds: tuple[int, int, int, int] | None = None
    read_px: list[int] = field(default_factory=list)

    @property
    def info(self) -> SlideInfo:
        height, width = self.levels[0].shape[:2]
        return SlideInfo(
            path=Path("memory.tif"),
            reader="memory",
            levels=tuple(level_of(width, height, one.shape[1], one.shape[0]) for one in self.levels),
            mpp_x=self.mpp[0] if self.mpp else None,
            mpp_y=self.mpp[1] if self.mpp else None,
            mpp_source="file",
            objective=None,
            bounds=self.bounds,
            vendor="memory",
            tile_grid=(None,) * len(self.levels),
        )

    def read_region(self, x0: int, y0: int, *, level: int, width_px: int, height_px: int) -> Pixels:
        frame = self.info.levels[level]
        self.read_px.append(width_px * height_px)
        x, y = level_px(x0, frame.downsample_x), level_px(y0, frame.downsample_y)
        return cut(self.levels[level], x, y, width_px, height_px)

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None: ...


def cut(image: Pixels, x: int, y: int, width: int, height: int) -> Pixels:
    """A region of an image, white outside of it; px by px, so that there is nothing to get wrong."""
    rows, columns = np.arange(y, y + height), np.arange(x, x + width)
    there = np.outer((rows >= 0) & (rows < image.shape[0]), (columns >= 0) & (columns < image.shape[1]))
    region = image[np.clip(rows, 0, image.shape[0] - 1)[:, None], np.clip(columns, 0, image.shape[1] - 1)[None, :]]
    return np.where(there[:, :, None], region, 255).astype(np.uint8)
