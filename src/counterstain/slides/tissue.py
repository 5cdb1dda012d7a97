"""Where a slide holds tissue that can be judged: stained, not glass, not ink, not out of focus."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from counterstain.slides.focus import out_of_focus
from counterstain.slides.info import Slide
from counterstain.slides.overview import LARGEST_PX, Overview, read_overview

__all__ = ["TissueMask", "tissue_mask"]

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]

MASK_MPP = 8.0  # µm for a px of the mask, where the pyramid has a small enough level
ASSUMED_MPP = 0.5  # for the mask's scale alone, where the slide does not say
_INK_RIM_UM = 48.0  # ink thins out towards its edge
_HOLE_UM, _SPECK_UM = 48.0, 80.0  # gaps and specks narrower than this are closed and dropped


@dataclass(frozen=True, eq=False)
class TissueMask:
    """The mask, and what was left out of it.

    mask:       (h, w) bool, True where there is tissue to be judged
    pen, blur:  (h, w) bool, stained or inked px that were rejected for ink, and for being out of focus
    downsample: (x, y) level-0 px for a px of the mask
    origin_level0_px: (x, y) of its top left corner
    overview:   the picture that it was made from
    notes:      what a reader should know
    """

    mask: Mask
    pen: Mask
    blur: Mask
    downsample: tuple[float, float]
    origin_level0_px: tuple[int, int]
    overview: Overview
    notes: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Share of the scanned area that is tissue to be judged."""
        return float(self.mask.mean())

    @property
    def rejected(self) -> dict[str, float]:
        """Shares of the scanned area: "pen", "blur" and "blank"."""
        pen, blur = float(self.pen.mean()), float(self.blur.mean())
        return {"pen": pen, "blur": blur, "blank": float((~(self.mask | self.pen | self.blur)).mean())}

    def share_of(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,) share of each box that is tissue, fractions of mask px counted.

        Args:
            boxes: (N, 4) x, y, width, height in level-0 px; what sticks out of the mask counts as no tissue.
        """
        total = cv2.integral(self.mask.astype(np.uint8)).astype(np.float64)
        corner, scale = np.array(self.origin_level0_px), np.array(self.downsample)
        low = (boxes[:, :2] - corner) / scale
        high = (boxes[:, :2] + boxes[:, 2:] - corner) / scale

        def up_to(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
            """Tissue px left of x and above y; between whole px it grows in proportion."""
            x, y = np.clip(x, 0, self.mask.shape[1]), np.clip(y, 0, self.mask.shape[0])
            i, j = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
            right, below = np.minimum(i + 1, self.mask.shape[1]), np.minimum(j + 1, self.mask.shape[0])
            u, v = x - i, y - j
            upper = (1 - u) * total[j, i] + u * total[j, right]
            lower = (1 - u) * total[below, i] + u * total[below, right]
            count: NDArray[np.float64] = (1 - v) * upper + v * lower
            return count

        inside = (
            up_to(high[:, 0], high[:, 1])
            - up_to(low[:, 0], high[:, 1])
            - up_to(high[:, 0], low[:, 1])
            + up_to(low[:, 0], low[:, 1])
        )
        share: NDArray[np.float64] = np.clip(inside / np.prod(high - low, axis=1), 0, 1)
        return share


def tissue_mask(
    slide: Slide, *, mask_mpp: float = MASK_MPP, reject_pen: bool = True, reject_blur: bool = True
) -> TissueMask:
    """Find the tissue on a small level of the pyramid, and try its focus at a few hundred places.

    At most about 8 megapixels are read in all, if the slide has a level of 4 or less. Stained px are those that absorb
    colour (H&E, and brown or red chromogens). Ink is what no such stain is: green, blue, black, bright red. A special
    stain that is blue or green (Alcian blue, trichromes) looks like ink: say `reject_pen=False`.

    Args:
        mask_mpp: µm for a px of the mask, or coarser where the slide is large.

    Raises:
        InputError: If the file is damaged.
    """
    info = slide.info
    mpp = info.mpp_x or ASSUMED_MPP
    overview = read_overview(slide, finest_downsample=mask_mpp / mpp)
    px_um = mpp * overview.downsample[0]
    density = _density(overview.pixels)
    ink = _ink_mask(density)
    pen = _grown(_opened(ink), _INK_RIM_UM / px_um) if reject_pen and ink.any() else np.zeros(ink.shape, bool)
    stained = _stained(density, px_um)
    tissue = _without_specks(stained & ~pen, px_um)
    blur, notes = np.zeros(tissue.shape, bool), tuple[str, ...]()
    if reject_blur and tissue.any():
        blur, notes = out_of_focus(slide, tissue, overview.downsample, overview.origin_level0_px)
    if info.levels[overview.level].width_px * info.levels[overview.level].height_px > 2 * LARGEST_PX:
        notes = (*notes, "the file has no small level: all of a larger one was read for the tissue mask")
    return TissueMask(
        tissue & ~blur, pen, tissue & blur, overview.downsample, overview.origin_level0_px, overview, notes
    )


def _density(pixels: NDArray[np.uint8]) -> Floats:
    """(H, W, 3) optical density against the slide's own glass."""
    levels = pixels.reshape(-1, 3)
    glass = levels[(levels.min(axis=1) > 200) & (np.ptp(levels, axis=1) < 30)]
    # Glass is the brightest 0.5 % and more of nearly every slide; else a scanner's usual white.
    white = np.percentile(glass, 50, axis=0) if len(glass) > 0.005 * len(levels) else np.array([243.0] * 3)
    table = np.log10((white + 1) / (np.arange(256)[:, None] + 1)).clip(0).astype(np.float32)
    density: Floats = np.stack([table[pixels[:, :, channel], channel] for channel in range(3)], axis=2)
    return density


def _stained(density: Floats, px_um: float) -> Mask:
    """Px that absorb light, and not all colours alike, after an average over some 20 µm."""
    smooth = cv2.GaussianBlur(density, (0, 0), max(0.5, 10.0 / px_um))
    high, low = smooth.max(axis=2), smooth.min(axis=2)
    stained: Mask = (high > 0.07) & (high - low > 0.035)
    closed = cv2.morphologyEx(stained.astype(np.uint8), cv2.MORPH_CLOSE, _disc(_HOLE_UM / 2 / px_um))
    return closed.astype(bool)


def _ink_mask(density: Floats) -> Mask:
    """Px whose absorption no stain of H&E or brown and red chromogens has, at whatever strength.

    In optical density the ratios of the channels are the dye's own. Haematoxylin, eosin, blood and DAB absorb green
    more than red; green and blue inks do not. Red ink absorbs green and blue alike and red hardly; black all alike.
    """
    red, green, blue = density[:, :, 0], density[:, :, 1], density[:, :, 2]
    high, low = density.max(axis=2), density.min(axis=2)
    cold = (red > 1.25 * green) & (red > 0.2)
    cold |= (red > 1.0) & (red > 0.85 * green)  # over tissue, whose own stain adds to the green
    crimson = (green > 0.5) & (blue > 0.78 * green) & (blue < 1.15 * green) & (red < 0.32 * green)
    crimson |= (green > 1.2) & (blue > 0.65 * green) & (blue < 1.15 * green) & (red < 0.45 * green)
    black = (low > 0.75) & (low > 0.55 * high)
    ink: Mask = cold | crimson | black
    return ink


def _opened(ink: Mask) -> Mask:
    """Without single px: pigment and dirt are no pen."""
    return cv2.morphologyEx(ink.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8)).astype(bool)


def _grown(mask: Mask, by_px: float) -> Mask:
    return cv2.dilate(mask.astype(np.uint8), _disc(by_px)).astype(bool)


def _disc(radius_px: float) -> NDArray[np.uint8]:
    side = 2 * max(1, round(radius_px)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), dtype=np.uint8)


def _without_specks(mask: Mask, px_um: float) -> Mask:
    least_px = math.pi / 4 * (_SPECK_UM / px_um) ** 2
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    keep = np.zeros(count, bool)
    keep[1:] = statistics[1:, cv2.CC_STAT_AREA] >= least_px
    without: Mask = keep[labels]
    return without
