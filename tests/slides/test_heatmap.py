"""A heat map lies on its slide: known patterns land on the right pixels, and the file says where it lies."""

import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from counterstain.slides.heatmap import draw_heatmap, overlay, write_heatmap
from counterstain.slides.overview import write_png
from counterstain.slides.tile_predictions import TilePredictions

RED, BLUE = 0.98, 0.02


def table(corner: Any, prob: Any, **more: Any) -> TilePredictions:
    given = {
        "slide": "s", "classes": ("benign", "tumour"), "corner": np.asarray(corner, np.int64).reshape(-1, 2),
        "size": (100, 100), "prob": np.column_stack([1 - np.asarray(prob, float), np.asarray(prob, float)]),
        "extent": (0, 0, 1000, 600), "mpp": (0.25, 0.5),
    }  # fmt: skip
    return TilePredictions(**(given | more))


@settings(max_examples=60)
@given(
    x=st.integers(0, 3000), y=st.integers(0, 3000), width=st.integers(300, 4000), height=st.integers(300, 4000),
    side=st.integers(1, 300), seed=st.integers(0, 9),
)  # fmt: skip
def test_every_pixel_has_the_mean_of_the_tiles_its_middle_lies_in(
    x: int, y: int, width: int, height: int, side: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    corner = np.column_stack([rng.integers(x - side // 2, x + width, 40), rng.integers(y, y + height, 40)])
    prob = rng.random(40)
    heat = draw_heatmap(table(corner, prob, size=(side, side), extent=(x, y, width, height)))
    rows = rng.integers(0, heat.value.shape[1], 50)
    columns = rng.integers(0, heat.value.shape[2], 50)
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        middle = np.array([x + (column + 0.5) * heat.step[0], y + (row + 0.5) * heat.step[1]])
        inside = ((corner <= middle) & (middle < corner + side)).all(axis=1)
        expected = 0 if not inside.any() else 1 + 254 * prob[inside].mean()
        assert abs(float(heat.value[0, row, column]) - expected) <= 0.51


def test_the_map_covers_what_is_visible_and_no_more() -> None:
    heat = draw_heatmap(table([(0, 0)], [1.0], extent=(70, 30, 1001, 599)))
    assert heat.step == (25.0, 25.0) and heat.corner == (70, 30)
    assert heat.value.shape == (1, 24, 41)
    assert heat.mpp == (0.25 * 25, 0.5 * 25)


def test_a_huge_slide_gets_larger_pixels() -> None:
    heat = draw_heatmap(table([(99_000, 50_000)], [1.0], size=(20, 20), extent=(0, 0, 100_000, 100_000)))
    assert max(heat.value.shape) <= 4096
    assert (heat.value > 0).sum() <= 1


def test_several_classes_are_planes() -> None:
    tiles = TilePredictions(
        slide="s", classes=("a", "b", "c"), corner=np.array([(0, 0), (100, 0)]), size=(100, 100),
        prob=np.array([[0.5, 0.3, 0.2], [0.0, 0.0, 1.0]]), extent=(0, 0, 200, 100), mpp=(1, 1),
    )  # fmt: skip
    heat = draw_heatmap(tiles)
    assert heat.names == ("prob_a", "prob_b", "prob_c")
    assert heat.value[:, 0, 0].tolist() == [128, 77, 52]
    assert heat.value[:, 3, 7].tolist() == [1, 1, 255]


def test_the_file_says_where_it_lies(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    corner = np.stack(np.meshgrid(np.arange(400, 20_400, 100), np.arange(200, 9_200, 100)), -1).reshape(-1, 2)
    heat = draw_heatmap(table(corner, rng.random(len(corner)), extent=(400, 200, 20_010, 9_010)))
    for name in ("a.ome.tif", "b.ome.tif"):
        write_heatmap(heat, tmp_path / name, slide="s")
    assert (tmp_path / "a.ome.tif").read_bytes() == (tmp_path / "b.ome.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert file.is_ome
        series = file.series[0]
        assert series.axes in ("YX", "CYX") and len(series.levels) == 3
        assert np.array_equal(series.asarray().reshape(heat.value.shape), heat.value)
        assert [level.shape[-2:] for level in series.levels] == [(361, 801), (181, 401), (91, 201)]
        assert file.pages[0].is_tiled
        root = xml.etree.ElementTree.fromstring(file.ome_metadata or "")
    [pixels] = [node for node in root.iter() if node.tag.endswith("Pixels")]
    [plane] = [node for node in root.iter() if node.tag.endswith("Plane")]
    assert (float(pixels.attrib["PhysicalSizeX"]), pixels.attrib["PhysicalSizeXUnit"]) == (6.25, "µm")
    assert float(pixels.attrib["PhysicalSizeY"]) == 12.5
    assert (float(plane.attrib["PositionX"]), float(plane.attrib["PositionY"])) == (400 * 0.25, 200 * 0.5)


def test_smaller_levels_leave_out_what_was_not_read(tmp_path: Path) -> None:
    # One tile alone on a large slide: half-read blocks keep its value rather than fade.
    heat = draw_heatmap(table([(5025, 5025)], [1.0], extent=(0, 0, 20_000, 20_000)))
    write_heatmap(heat, tmp_path / "a.ome.tif", slide="s")
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        for level in file.series[0].levels:
            assert set(np.unique(level.asarray()).tolist()) == {0, 255}


def test_the_overlay_lies_on_the_thumbnail() -> None:
    # Left half of the visible part tumour, right half benign, lower half not read.
    corner = [(x, y) for x in range(500, 1300, 100) for y in (300, 400)]
    prob = [RED if x < 900 else BLUE for x, _ in corner]
    heat = draw_heatmap(table(corner, prob, extent=(500, 300, 800, 400)))
    thumbnail = np.full((203, 401, 3), 200, np.uint8)
    shown = overlay(heat, thumbnail, downsample=(800 / 401, 400 / 203)).astype(int)
    assert shown.shape == thumbnail.shape
    assert (shown[:100, :199, 0] > shown[:100, :199, 2]).all()
    assert (shown[:100, 202:, 2] > shown[:100, 202:, 0]).all()
    assert (shown[104:] == 200).all()


def test_png_of_a_picture_and_of_a_mask(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    write_png(picture, tmp_path / "a.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), picture)
    write_png(picture[..., 0] > 100, tmp_path / "b.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "b.png")) == 255, picture[..., 0] > 100)


@pytest.mark.parametrize("shape", [(3, 4), (5, 2), (40, 100)])
def test_thumbnails_that_pass_the_map_are_bare_there(shape: tuple[int, int]) -> None:
    heat = draw_heatmap(table([(0, 0)], [1.0], extent=(0, 0, 97, 33)))
    shown = overlay(heat, np.zeros((*shape, 3), np.uint8), downsample=(97 / 3.5, 33 / 2.5))
    inside = np.zeros(shape, bool)
    inside[: int(np.ceil(50 / (33 / 2.5) - 0.5)), : int(np.ceil(100 / (97 / 3.5) - 0.5))] = True
    assert np.array_equal(shown.sum(axis=2) > 0, inside)
