"""Which parts of the tissue are out of focus, from a few hundred small samples at 1 µm/px."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from counterstain.slides.area_resampling import area_resample
from counterstain.slides.info import Slide

__all__ = ["out_of_focus", "sharpness"]

SAMPLES = 400
SAMPLE_PX = 64  # at 1 µm/px
_SAMPLE_MPP = 1.0
_COARSEST_MPP = 1.3  # of a slide that is coarser nothing can be said
_LEAST_CELL_UM = 128.0
# sharpness() of in-focus tissue: 0.35 and more on phantom slides (220 samples), 0.44 and more on CMU-1-Small-Region;
# with a blur of 4 µm (standard deviation): 0.22 and less.
_LEAST_SHARPNESS = 0.28
_LEAST_CONTRAST = 1.5  # grey levels; below, there is nothing to be sharp


def out_of_focus(
    slide: Slide,
    tissue: NDArray[np.bool_],
    downsample: tuple[float, float],
    origin: tuple[int, int],
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """(h, w) True in cells of the mask whose sample is blurred, and notes. A cell is 128 µm wide, or what 400 allow.

    Args:
        tissue: (h, w) mask.
        downsample: (x, y) level-0 px for a px of it.
        origin: (x, y) of its corner, level-0 px.

    Raises:
        InputError: If the file is damaged.
    """
    mpp_x, mpp_y = slide.info.mpp_x, slide.info.mpp_y
    blurred = np.zeros(tissue.shape, bool)
    if mpp_x is None or mpp_y is None:
        return blurred, ("focus was not checked: µm/px are unknown",)
    if max(mpp_x, mpp_y) > _COARSEST_MPP:
        return blurred, (f"focus was not checked: the slide is too coarse for it ({mpp_x:.3g} µm/px)",)
    area_um2 = float(tissue.sum()) * downsample[0] * mpp_x * downsample[1] * mpp_y
    cell_um = max(_LEAST_CELL_UM, math.sqrt(area_um2 / SAMPLES))
    wide = max(1, round(cell_um / (downsample[0] * mpp_x)))
    high = max(1, round(cell_um / (downsample[1] * mpp_y)))
    for top in range(0, tissue.shape[0], high):
        for left in range(0, tissue.shape[1], wide):
            cell = tissue[top : top + high, left : left + wide]
            if not cell.any():
                continue
            # The tissue px nearest to the cell's tissue's middle: a hole in the middle says nothing.
            rows, columns = np.nonzero(cell)
            nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
            x = origin[0] + (left + columns[nearest] + 0.5) * downsample[0]
            y = origin[1] + (top + rows[nearest] + 0.5) * downsample[1]
            value = sharpness(_sample(slide, float(x), float(y), mpp_x, mpp_y))
            blurred[top : top + high, left : left + wide] = value < _LEAST_SHARPNESS
    return blurred, ()


def _sample(slide: Slide, x: float, y: float, mpp_x: float, mpp_y: float) -> NDArray[np.uint8]:
    """(64, 64, 3) at 1 µm/px around a point in level-0 px."""
    levels = slide.info.levels
    fine = [number for number, candidate in enumerate(levels) if candidate.downsample_x * mpp_x <= 1.05 * _SAMPLE_MPP]
    level = fine[-1] if fine else 0
    frame = levels[level]
    wide = max(1, round(SAMPLE_PX * _SAMPLE_MPP / (mpp_x * frame.downsample_x)))
    high = max(1, round(SAMPLE_PX * _SAMPLE_MPP / (mpp_y * frame.downsample_y)))
    region = slide.read_region(
        round(x - wide / 2 * frame.downsample_x), round(y - high / 2 * frame.downsample_y),
        level=level, width_px=wide, height_px=high,
    )  # fmt: skip
    return area_resample(region, (0.0, 0.0, wide, high), width_px=SAMPLE_PX, height_px=SAMPLE_PX)


def sharpness(sample: NDArray[np.uint8]) -> float:
    """Detail of 1 px against detail of 4 px in the green channel; blur takes the first and leaves the second.

    Unlike the variance of a Laplacian it does not depend on staining. Infinite where there is nothing to be sharp.

    Args:
        sample: (H, W, 3) uint8 RGB at 1 µm/px, 16 px a side at least.
    """
    green = sample[:, :, 1].astype(np.float32)
    near, far = cv2.GaussianBlur(green, (0, 0), 1), cv2.GaussianBlur(green, (0, 0), 4)
    inner = (slice(4, -4), slice(4, -4))  # borders are mirrored, not seen
    contrast = float((near - far)[inner].std())
    return float((green - near)[inner].std()) / contrast if contrast >= _LEAST_CONTRAST else math.inf
