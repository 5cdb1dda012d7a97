"""Slides for the tests: pictures whose every px is known, as files of many kinds and as a slide in memory."""

import struct
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


def write_dicom(
    path: Path, image: Pixels, *, mpp: tuple[float, float] = (0.5, 0.5), tile: int = 64, number: int = 1
) -> Path:
    """One level of a DICOM whole-slide image (uncompressed, tiled in full), element by element; `number` 1 is level 0.

    Source:
        DICOM PS3.3 A.32.8 (VL Whole Slide Microscopy Image), PS3.5 7.1 (explicit VR), PS3.10 7 (file meta information).
    """
    height, width = image.shape[:2]
    columns, rows = -(-width // tile), -(-height // tile)
    frames = [cut(image, x * tile, y * tile, tile, tile) for y in range(rows) for x in range(columns)]
    root = "1.2.826.0.1.3680043.10.1"
    kind, instance = "1.2.840.10008.5.1.4.1.1.77.1.6", f"{root}.3.{number}"
    words = "ORIGINAL\\PRIMARY\\VOLUME\\NONE" if number == 1 else "DERIVED\\PRIMARY\\VOLUME\\RESAMPLED"
    spacing = _element(0x0028, 0x0030, "DS", f"{mpp[1] / 1000:g}\\{mpp[0] / 1000:g}")  # rows first, mm
    meta = b"".join([
        _element(2, 1, "OB", b"\0\1"), _element(2, 2, "UI", kind), _element(2, 3, "UI", instance),
        _element(2, 0x10, "UI", "1.2.840.10008.1.2.1"), _element(2, 0x12, "UI", root),
    ])  # fmt: skip
    content = b"".join([
        _element(8, 8, "CS", words), _element(8, 0x16, "UI", kind),
        _element(8, 0x18, "UI", instance), _element(8, 0x60, "CS", "SM"),
        _element(0x20, 0xD, "UI", f"{root}.1"), _element(0x20, 0xE, "UI", f"{root}.2"),
        _element(0x20, 0x13, "IS", str(number)), _element(0x20, 0x9311, "CS", "TILED_FULL"),
        _element(0x28, 2, "US", 3), _element(0x28, 4, "CS", "RGB"), _element(0x28, 6, "US", 0),
        _element(0x28, 8, "IS", str(len(frames))), _element(0x28, 0x10, "US", tile), _element(0x28, 0x11, "US", tile),
        _element(0x28, 0x100, "US", 8), _element(0x28, 0x101, "US", 8), _element(0x28, 0x102, "US", 7),
        _element(0x28, 0x103, "US", 0),
        _element(0x48, 6, "UL", width), _element(0x48, 7, "UL", height),
        _element(0x5200, 0x9229, "SQ", _item(_element(0x28, 0x9110, "SQ", _item(spacing)))),
        _element(0x7FE0, 0x10, "OB", b"".join(frame.tobytes() for frame in frames)),
    ])  # fmt: skip
    path.write_bytes(b"\0" * 128 + b"DICM" + _element(2, 0, "UL", len(meta)) + meta + content)
    return path


def _element(group: int, number: int, kind: str, value: str | bytes | int) -> bytes:
    if isinstance(value, int):
        value = struct.pack("<H" if kind == "US" else "<I", value)
    elif isinstance(value, str):
        value = value.encode()
    value += (b"\0" if kind in ("UI", "OB") else b" ") * (len(value) % 2)
    length = struct.pack("<HI", 0, len(value)) if kind in ("OB", "SQ") else struct.pack("<H", len(value))
    return struct.pack("<HH", group, number) + kind.encode() + length + value


def _item(content: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content
