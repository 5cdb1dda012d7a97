"""Tiles lie where the plan says, to the px, at any scale; a brute-force average of level 0 is the judge."""

from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterstain.errors import InputError
from counterstain.images.tile import fit_tile
from counterstain.slides.area_resampling import area_resample
from counterstain.slides.info import level_of, level_px
from counterstain.slides.reader import open_slide
from counterstain.slides.tiling import plan_tiles, read_tile, read_tiles


def brute_force(image: np.ndarray, x: float, y: float, wide: float, high: float, tile_px: int) -> np.ndarray:
    """Each px the mean of the (white-bordered) image over its area, as one dense sum in float64."""

    def weights(start: float, length: float, count: int) -> np.ndarray:
        edges, pixel = start + length * np.arange(tile_px + 1) / tile_px, np.arange(count)
        overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
        return np.clip(overlap, 0, None) / (length / tile_px)

    across, down = weights(x, wide, image.shape[1]), weights(y, high, image.shape[0])
    white = 255 * (1 - np.outer(down.sum(axis=1), across.sum(axis=1)))
    return np.stack([down @ image[:, :, c] @ across.T + white for c in range(3)], axis=2)


@settings(max_examples=80)
@given(data=st.data())
def test_every_tile_is_the_slide_at_its_coordinates(make: ModuleType, data: st.DataObject) -> None:
    """Any size, bounds, overlap, scale 0.2 to 4 and µm/px that are not square: the tile read is the one at `coords`."""
    width, height = data.draw(st.integers(20, 260)), data.draw(st.integers(20, 260))
    image = make.picture(width, height)
    mpp = (data.draw(st.floats(0.2, 1.0)), data.draw(st.floats(0.2, 1.0)))
    scale, tile_px = data.draw(st.floats(0.2, 4.0)), data.draw(st.integers(1, 64))
    bounds = data.draw(
        st.none() | st.tuples(st.integers(0, 10), st.integers(0, 10), st.integers(1, width), st.integers(1, height))
    )
    slide = make.MemorySlide([image], mpp=mpp, bounds=bounds)
    asked = max(mpp) * scale
    if scale < 1 / 1.1 - 1e-9:
        with pytest.raises(InputError, match="coarser"):
            plan_tiles(slide, mpp=asked, tile_px=tile_px)
        return
    tiling = plan_tiles(slide, mpp=asked, tile_px=tile_px, overlap=data.draw(st.floats(0, 0.9)))
    rows = sorted({0, len(tiling) - 1, data.draw(st.integers(0, len(tiling) - 1))})
    for row, tile in zip(rows, read_tiles(slide, tiling, rows), strict=True):
        x, y = tiling.coords[row]
        assert tile.shape == (tile_px, tile_px, 3)
        if min(tiling.tile_level0_px) >= tile_px:
            expected = brute_force(image, x, y, *tiling.tile_level0_px, tile_px)
        else:  # enlarged: what an image of that size would become
            wide, high = map(int, tiling.tile_level0_px)
            expected = fit_tile(make.cut(image, x, y, wide, high), "", tile_px=tile_px, fit="stretch")
        assert np.abs(tile - expected).max() <= 0.51, (tiling, row)
    for axis in (0, 1):
        assert tiling.actual_mpp[axis] == pytest.approx(tiling.tile_level0_px[axis] * mpp[axis] / tile_px)
        assert tiling.tile_level0_px[axis] % 1 == 0
        assert abs(tiling.actual_mpp[axis] / asked - 1) <= 0.0201 + 0.5001 * mpp[axis] / (tile_px * asked)


@settings(max_examples=200)
@given(
    width=st.integers(1, 5000), height=st.integers(1, 5000), tile_px=st.integers(1, 512), overlap=st.floats(0, 0.95),
    scale=st.floats(1, 4), whole=st.booleans(), x=st.integers(0, 50), y=st.integers(0, 50),
)  # fmt: skip
def test_the_grid_covers_the_area_and_no_more(
    make: ModuleType, width: int, height: int, tile_px: int, overlap: float, scale: float, whole: bool, x: int, y: int
) -> None:
    slide = make.MemorySlide(
        [np.broadcast_to(np.uint8(0), (5050, 5050, 3))], mpp=(0.5, 0.5), bounds=(x, y, width, height)
    )
    if (width * height) / (tile_px * scale * (1 - overlap)) ** 2 > 20_000:
        return
    tiling = plan_tiles(slide, mpp=0.5 * scale, tile_px=tile_px, overlap=overlap, whole_tiles=whole)
    wide, high = tiling.tile_level0_px
    assert len(tiling) == tiling.columns * tiling.rows == len({tuple(cell) for cell in tiling.cells.tolist()})
    if whole:
        assert (tiling.coords[:, 0] + wide <= x + width + 0.5 + 1e-6).all()
        assert (tiling.coords[:, 1] + high <= y + height + 0.5 + 1e-6).all()
        assert len(tiling) > 0 or wide > width or high > height
        return
    # From the first to the last there is no gap, and without the last column or row the area would not be covered.
    for axis, (start, length, size, count) in enumerate(
        [(x, width, wide, tiling.columns), (y, height, high, tiling.rows)]
    ):
        places = np.unique(tiling.coords[:, axis])
        assert len(places) == count
        assert places[0] == start
        assert (np.diff(places) <= size + 1).all()
        assert places[-1] + size >= start + length - 0.5 - 1e-6
        assert count == 1 or places[-2] + size < start + length + 1
    exact = np.array([x, y]) + tiling.cells * np.array(tiling.step_level0_px)
    assert np.abs(tiling.coords - exact).max() <= 0.5


@settings(max_examples=60)
@given(width=st.integers(60, 400), height=st.integers(60, 400), by=st.sampled_from([8, 16]), tile=st.integers(2, 12))
def test_a_smaller_level_lies_on_level_0(make: ModuleType, width: int, height: int, by: int, tile: int) -> None:
    """The tile read from a level of any odd size is what averaging level 0 at the same coordinates gives."""
    image = make.picture(width, height)
    slide = make.MemorySlide([image, make.halved(image, by)], mpp=(0.25, 0.25))
    tiling = plan_tiles(slide, mpp=0.25 * by, tile_px=tile, whole_tiles=True)
    assert tiling.level == 1 and not tiling.resampled
    if not len(tiling):
        return
    row = len(tiling) - 1
    x, y = tiling.coords[row]
    if x + tile * by <= width // by * by and y + tile * by <= height // by * by:
        expected = brute_force(image, x, y, tile * by, tile * by, tile)
        assert np.abs(read_tile(slide, tiling, row) - expected).max() <= 0.51


@settings(max_examples=40)
@given(scale=st.floats(1.03, 3.9), tile=st.integers(5, 30), x=st.integers(0, 9), y=st.integers(0, 9))
def test_resampling_from_a_smaller_level_keeps_fractions_of_its_px(
    make: ModuleType, scale: float, tile: int, x: int, y: int
) -> None:
    image = make.picture(403, 310)
    slide = make.MemorySlide([image, make.halved(image, 4)], mpp=(0.25, 0.25), bounds=(x, y, 390, 300))
    tiling = plan_tiles(slide, mpp=scale, tile_px=tile)
    assert tiling.level == 1
    for row in {0, len(tiling) // 2, len(tiling) - 1}:
        place = tiling.coords[row] / 4
        expected = brute_force(slide.levels[1], *place, *(tile * factor for factor in tiling.factor), tile)
        assert np.abs(read_tile(slide, tiling, row) - expected).max() <= 0.51


def test_level_0_is_read_up_to_a_factor_of_4_then_the_next_finer_level_never_a_coarser_one(make: ModuleType) -> None:
    image = make.picture(512, 512)
    slide = make.MemorySlide([image, make.halved(image, 4), make.halved(image, 16)], mpp=(0.25, 0.25))
    for mpp, level, factor in [
        (0.25, 0, 1), (0.252, 0, 1), (0.5, 0, 2), (0.9, 0, 3.625), (0.97, 0, 3.875), (0.99, 0, 4), (1.0, 0, 4),
        (1.03, 1, 1.03), (2.0, 1, 2), (4.0, 2, 1), (16.0, 2, 4),
    ]:  # fmt: skip
        tiling = plan_tiles(slide, mpp=mpp, tile_px=8)
        assert (tiling.level, tiling.factor[0]) == (level, pytest.approx(factor)), mpp


def test_a_slide_that_is_a_little_coarser_is_enlarged_and_says_so(make: ModuleType) -> None:
    slide = make.MemorySlide([make.picture(100, 100)], mpp=(0.27, 0.27))
    tiling = plan_tiles(slide, mpp=0.25, tile_px=20)
    assert "enlarged" in tiling.notes[0]
    window = make.cut(slide.levels[0], *tiling.coords[3], 19, 19)  # 20 px of 0.25 µm are 18.5 of 0.27
    assert np.array_equal(read_tile(slide, tiling, 3), fit_tile(window, "", tile_px=20, fit="stretch"))


def test_tiles_start_on_whole_px_of_a_level_within_bounds(make: ModuleType) -> None:
    image = make.picture(400, 300)
    slide = make.MemorySlide([image, make.halved(image, 8)], mpp=(0.25, 0.25), bounds=(50, 31, 300, 200))
    tiling = plan_tiles(slide, mpp=2.0, tile_px=16)
    assert tiling.area == (48, 24, 302, 207)
    assert not (tiling.coords % 8).any()


class HalfTissue:
    """Tissue left of x = 100."""

    def share_of(self, boxes: np.ndarray) -> np.ndarray:
        return np.clip((100 - boxes[:, 0]) / boxes[:, 2], 0, 1)


def test_tiles_with_too_little_tissue_are_left_out(make: ModuleType) -> None:
    slide = make.MemorySlide([make.picture(200, 40)])
    tiling = plan_tiles(slide, mpp=0.5, tile_px=40, tissue=HalfTissue(), least_tissue=0.5)
    assert tiling.coords[:, 0].tolist() == [0, 40, 80]
    assert tiling.tissue is not None and tiling.tissue.tolist() == [1, 1, 0.5]
    assert len(plan_tiles(slide, mpp=0.5, tile_px=40, tissue=HalfTissue(), least_tissue=0.6)) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mpp": 0.0}, "above 0"), ({"mpp": float("nan")}, "above 0"), ({"tile_px": 0}, "above 0"),
        ({"overlap": 1.0}, "overlap"), ({"overlap": -0.1}, "overlap"), ({"least_tissue": 1.5}, "tissue"),
        ({"mpp": 0.2}, "enlarged"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(make: ModuleType, change: dict[str, float], words: str) -> None:
    slide = make.MemorySlide([make.picture(60, 60)])
    with pytest.raises(InputError, match=words):
        plan_tiles(slide, **{"mpp": 0.5, "tile_px": 16, **change})


def test_unknown_scale_is_refused_with_what_to_do(make: ModuleType) -> None:
    with pytest.raises(InputError, match=r"--assume-mpp.*--mpp-table"):
        plan_tiles(make.MemorySlide([make.picture(60, 60)], mpp=None), mpp=0.5, tile_px=16)


@settings(max_examples=100)
@given(
    whole=st.integers(1, 200_000),
    by=st.integers(1, 64) | st.sampled_from([2, 4, 8, 16, 32, 64]),
    x=st.integers(-1000, 200_000),
    up=st.booleans(),
)
def test_a_levels_factor_survives_rounded_sizes(whole: int, by: int, x: int, up: bool) -> None:
    size = max(1, -(-whole // by) if up else whole // by)
    level = level_of(whole, whole, size, size)
    if whole >= (by * by if by.bit_count() == 1 else 2 * by * by + by):
        assert level.downsample_x == by
    assert level_px(x, level.downsample_x) == (Fraction(x) / Fraction(level.downsample_x) + Fraction(1, 2)).__floor__()


def test_the_fast_way_of_averaging_is_the_exact_one(make: ModuleType) -> None:
    image = make.picture(120, 80)
    for by in (1, 2, 4, 5, 8):
        fast = area_resample(image, (0.0, 0.0, 120.0, 80.0), width_px=120 // by, height_px=80 // by)
        exact = image.reshape(80 // by, by, 120 // by, by, 3).mean(axis=(1, 3))
        np.testing.assert_allclose(fast, exact, atol=0.51)


@pytest.mark.realdata
def test_tiles_of_a_real_slide_through_every_reader_agree(real_data: Path) -> None:
    path = real_data / "slides" / "CMU-1-Small-Region.svs"
    slides = [open_slide(path, reader=name) for name in ("openslide", "tifffile")]
    for mpp, tile_px, overlap in [(0.5, 240, 0.0), (0.5, 256, 0.5), (0.75, 256, 0.0), (1.0, 224, 0.0)]:
        plans = [plan_tiles(slide, mpp=mpp, tile_px=tile_px, overlap=overlap) for slide in slides]
        np.testing.assert_array_equal(plans[0].coords, plans[1].coords)
        rows = range(0, len(plans[0]), 7)
        one, other = (read_tiles(slide, plan, rows) for slide, plan in zip(slides, plans, strict=True))
        np.testing.assert_array_equal(one, other)
