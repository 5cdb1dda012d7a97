"""Small slides, a model for them, and the bytes of a run over them: for the tests of what reads cohorts."""

from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from counterstain.learning.bundle import Bundle, write_bundle
from counterstain.learning.networks import build_network

TILE_PX, MPP = 127, 0.5


def tissue_pixels(seed: int, *, width: int = 1100, height: int = 800) -> NDArray[np.uint8]:
    """(H, W, 3) stained tissue with fine texture on white glass, the tissue's left half darker."""
    rng = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 1.0)
    pixels = np.full((height, width, 3), 245, np.float32)
    tissue = (slice(height // 10, height * 9 // 10), slice(width // 10, width * 9 // 10))
    stain = np.where(np.arange(width)[None, :, None] < width // 2, (110.0, 60.0, 150.0), (200.0, 120.0, 180.0))
    pixels[tissue] = (stain + 140 * texture[..., None])[tissue]
    return np.clip(pixels, 0, 255).astype(np.uint8)


def write_slide(path: Path, seed: int, *, width: int = 1100, height: int = 800, mpp: float = MPP) -> None:
    """A lossless pyramid of `tissue_pixels`."""
    level = tissue_pixels(seed, width=width, height=height)
    with tifffile.TiffWriter(path) as writer:
        for number in range(3):
            writer.write(
                level, tile=(256, 256), photometric="rgb", compression="zlib", subfiletype=int(number > 0),
                resolution=(1e4 / (mpp * 2**number),) * 2, resolutionunit="CENTIMETER", metadata=None,
            )  # fmt: skip
            level = np.ascontiguousarray(cv2.resize(level, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))


def make_bundle(folder: Path, *, mpp: float | None = MPP) -> Path:
    bundle = Bundle("given", ("benign", "tumour"), TILE_PX, "crop", "0..1", mpp=mpp)
    write_bundle(folder, bundle, build_network("given", classes=2, tile_px=TILE_PX, seed=3))
    return folder


def contents(out: Path) -> dict[str, bytes]:
    """Every file of a run but the metadata, whose times differ."""
    files = (path for path in out.rglob("*") if path.is_file() and not path.name.startswith("run_metadata"))
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}
