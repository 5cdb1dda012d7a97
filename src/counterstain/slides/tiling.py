"""Tiles of a slide, asked for in µm/px and px: where they lie, and their pixels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.images.resize import resize
from counterstain.slides.area_resampling import area_resample
from counterstain.slides.info import Level, Slide, SlideInfo, level_px
from counterstain.slides.scale import require_mpp

__all__ = ["Tiling", "TissueShare", "check_grid", "plan_tiles", "read_tile", "read_tiles"]

# A scale this near to a whole number of a level's px is taken as that: to meet it exactly would only blur every px.
NATIVE_TOLERANCE = 0.02
COARSER_TOLERANCE = 0.1  # a slide that is coarser than asked by more than this is refused
# Up to this many level-0 px for a px of a tile level 0 is read, as WSInfer reads any slide: smaller levels are made and
# packed by each scanner in its own way, and a sure model tells them from means of level 0.
LEVEL_0_FACTOR = 4.0


class TissueShare(Protocol):
    """What a tissue mask must answer."""

    def share_of(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,) share of each box that is tissue; boxes (N, 4): x, y, width, height in level-0 px."""
        ...


@dataclass(frozen=True, eq=False)
class Tiling:
    """Tiles of one slide at one scale, all of one size.

    path:           the slide
    mpp, tile_px:   what was asked for: µm/px and side of a tile
    overlap:        share of a tile's side that the next one covers again
    level:          the level that is read
    factor:         (x, y) px of that level for a px of a tile; (1, 1): read as it is, else resampled by area
    actual_mpp:     (x, y) µm/px of the tiles; within 2 % of mpp, or half a level-0 px in a tile's side
    tile_level0_px: (width, height) of a tile, exact, level-0 px; whole numbers where level 0 is read
    step_level0_px: (x, y) from a tile to the next, exact, level-0 px
    area:           (x, y, width, height) that the grid covers, level-0 px; tiles at its right and bottom stick out
    columns, rows:  of the whole grid
    cells:          (N, 2) int64 column and row of each tile kept
    coords:         (N, 2) int64 top left corner (x, y) of each tile kept, level-0 px
    tissue:         (N,) share of each tile that is tissue; None without a mask
    notes:          what a reader should know
    """

    path: Path
    mpp: float
    tile_px: int
    overlap: float
    level: int
    factor: tuple[float, float]
    actual_mpp: tuple[float, float]
    tile_level0_px: tuple[float, float]
    step_level0_px: tuple[float, float]
    area: tuple[int, int, int, int]
    columns: int
    rows: int
    cells: NDArray[np.int64]
    coords: NDArray[np.int64]
    tissue: NDArray[np.float64] | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.coords)

    @property
    def resampled(self) -> bool:
        """Whether tiles are resampled, or read as the file holds them."""
        return self.factor != (1.0, 1.0)


def plan_tiles(
    slide: Slide,
    *,
    mpp: float,
    tile_px: int,
    overlap: float = 0.0,
    tissue: TissueShare | None = None,
    least_tissue: float = 0.5,
    whole_tiles: bool = False,
) -> Tiling:
    """Lay a grid over the scanned area (the slide's bounds, or all of it) and keep the tiles with enough tissue.

    Where a px of a tile is at most 4 level-0 px wide, each tile is a window of whole level-0 px, resized as an image
    is. Beyond that the coarsest level not coarser than `mpp` is read and resampled by area. A scale within 2 % of a
    whole number of the level's px is taken as that number, so a level at nearly the scale asked for is read as it is.

    Args:
        mpp: µm per px of a tile.
        tile_px: side of a tile, px.
        overlap: in [0, 1), rounded so that tiles start on whole px.
        tissue: mask; None keeps every tile.
        least_tissue: share of a tile that must be tissue; what sticks out of the slide counts as none.
        whole_tiles: leave out tiles that stick out of the area, rather than fill them up with white.

    Raises:
        InputError: If the slide's µm/px are unknown, it is coarser than `mpp` by more than 10 %, or a number is none.
    """
    check_grid(mpp, tile_px, overlap, least_tissue)
    info = slide.info
    mpp_x, mpp_y = require_mpp(info.path, info.mpp_x, info.mpp_y)
    level, factor, notes = _choose_level(info, mpp, mpp_x, mpp_y, tile_px)
    frame = info.levels[level]
    down = (frame.downsample_x, frame.downsample_y)
    area = _on_level(info.area, frame)
    step_px = max(1, round(tile_px * (1 - overlap)))
    size = (tile_px * factor[0] * down[0], tile_px * factor[1] * down[1])
    if level == 0:
        size = (float(round(size[0])), float(round(size[1])))
    step = (step_px * factor[0] * down[0], step_px * factor[1] * down[1])
    columns = _count(area[2], size[0], step[0], whole=whole_tiles)
    rows = _count(area[3], size[1], step[1], whole=whole_tiles)
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2).astype(np.int64)
    coords = np.floor(np.array(area[:2]) + grid * np.array(step) + 0.5).astype(np.int64)
    share = None
    if tissue is not None:
        boxes = np.concatenate([coords, np.broadcast_to(size, coords.shape)], axis=1).astype(np.float64)
        share = tissue.share_of(boxes)
        kept = share >= least_tissue
        grid, coords, share = grid[kept], coords[kept], share[kept]
    return Tiling(
        info.path, mpp, tile_px, 1 - step_px / tile_px, level, factor,
        (mpp_x * down[0] * factor[0], mpp_y * down[1] * factor[1]), size, step, area,
        columns, rows, grid, coords, share, notes,
    )  # fmt: skip


def check_grid(mpp: float, tile_px: int, overlap: float, least_tissue: float) -> None:
    """Refuse a grid that no slide has tiles on, before a slide is opened.

    Raises:
        InputError: If a number is out of its range.
    """
    if not (math.isfinite(mpp) and mpp > 0) or tile_px < 1:
        raise InputError(f"tiles of {tile_px} px at {mpp:g} µm/px were requested; both must be above 0")
    if not 0 <= overlap < 1:
        raise InputError(f"overlap is {overlap:g}; needed: a share of the tile's side, from 0 to below 1")
    if not 0 <= least_tissue <= 1:
        raise InputError(f"the least share of tissue is {least_tissue:g}; needed: 0 to 1")


def _choose_level(
    info: SlideInfo, mpp: float, mpp_x: float, mpp_y: float, tile_px: int
) -> tuple[int, tuple[float, float], tuple[str, ...]]:
    """The level that is read, its px for a px of a tile, and notes."""
    factors = [(mpp / (mpp_x * frame.downsample_x), mpp / (mpp_y * frame.downsample_y)) for frame in info.levels]
    fine = [number for number, pair in enumerate(factors) if min(pair) >= 1 / (1 + NATIVE_TOLERANCE)]
    level = max(fine, key=lambda number: info.levels[number].downsample_x, default=0)
    if max(factors[0]) <= LEVEL_0_FACTOR * (1 + NATIVE_TOLERANCE):
        level = 0
    factor, notes = factors[level], tuple[str, ...]()
    if not fine:
        finding = f"{info.path.name} has {max(mpp_x, mpp_y):.4g} µm/px, coarser than the {mpp:g} asked for"
        if min(factor) < 1 / (1 + COARSER_TOLERANCE):
            raise InputError(f"{finding}: its tiles would have to be enlarged; ask for --mpp {max(mpp_x, mpp_y):.3g}")
        notes = (f"{finding}: tiles are enlarged a little",)
    of_window = tile_px if level == 0 else None
    return level, (_rounded_factor(factor[0], of_window), _rounded_factor(factor[1], of_window)), notes


def _rounded_factor(factor: float, tile_px: int | None) -> float:
    """A whole number where it is near one; else, for windows of whole px, what makes a tile's side a whole number."""
    nearest = max(1, round(factor))
    if abs(factor / nearest - 1) <= NATIVE_TOLERANCE:
        return float(nearest)
    return factor if tile_px is None else max(1, round(tile_px * factor)) / tile_px


def _on_level(area: tuple[int, int, int, int], frame: Level) -> tuple[int, int, int, int]:
    """The area with its corner moved up and left to a whole px of the level, so that tiles start on one."""
    x = math.floor(math.floor(area[0] / frame.downsample_x) * frame.downsample_x)
    y = math.floor(math.floor(area[1] / frame.downsample_y) * frame.downsample_y)
    return x, y, area[0] + area[2] - x, area[1] + area[3] - y


def _count(length_px: int, tile_px: float, step_px: float, *, whole: bool) -> int:
    """Tiles along one side: as many as fit, or as many as it takes to cover it."""
    spare = 1e-9 * length_px
    if whole:
        return 0 if length_px + spare < tile_px else math.floor((length_px - tile_px + spare) / step_px) + 1
    return 1 + max(0, math.ceil((length_px - tile_px - spare) / step_px))


def read_tile(slide: Slide, tiling: Tiling, row: int) -> NDArray[np.uint8]:
    """Tile number `row` of the tiling as (tile_px, tile_px, 3) uint8 RGB; white outside of the slide.

    Raises:
        InputError: If the file is damaged there.
    """
    x0, y0 = (int(value) for value in tiling.coords[row])
    if not tiling.resampled:
        return slide.read_region(x0, y0, level=tiling.level, width_px=tiling.tile_px, height_px=tiling.tile_px)
    if tiling.level == 0:
        width, height = (round(side) for side in tiling.tile_level0_px)
        window = slide.read_region(x0, y0, level=0, width_px=width, height_px=height)
        return resize(window, width_px=tiling.tile_px, height_px=tiling.tile_px)
    frame = slide.info.levels[tiling.level]
    x_from, wide = x0 / frame.downsample_x, tiling.tile_px * tiling.factor[0]
    y_from, high = y0 / frame.downsample_y, tiling.tile_px * tiling.factor[1]
    left, top = math.floor(x_from), math.floor(y_from)
    region = slide.read_region(
        *(_level0(left, frame.downsample_x), _level0(top, frame.downsample_y)),
        level=tiling.level,
        width_px=math.ceil(x_from + wide) - left,
        height_px=math.ceil(y_from + high) - top,
    )
    box = (x_from - left, y_from - top, wide, high)
    return area_resample(region, box, width_px=tiling.tile_px, height_px=tiling.tile_px)


def _level0(px: int, downsample: float) -> int:
    """The level-0 px that `level_px` takes back to this px."""
    x0 = round(px * downsample)
    if level_px(x0, downsample) != px:
        raise ValueError(f"px {px} of a level finer than level 0 ({downsample:g})")
    return x0


def read_tiles(slide: Slide, tiling: Tiling, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
    """These tiles, in this order, as (B, tile_px, tile_px, 3) uint8 RGB.

    Raises:
        InputError: If the file is damaged there.
    """
    tiles = np.empty((len(rows), tiling.tile_px, tiling.tile_px, 3), np.uint8)
    for place, row in enumerate(rows):
        tiles[place] = read_tile(slide, tiling, int(row))
    return tiles
