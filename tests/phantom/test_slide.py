"""Phantom slides: read alike by two readers, reproducible, seamless, and with tissue where the polygons say."""

import json
import weakref
from dataclasses import replace

import cv2
import numpy as np
import openslide
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import Polygon, shape
from typer.testing import CliRunner

import counterstain.cli.slides_phantom  # noqa: F401  (the verb)
from counterstain.cli import app
from counterstain.errors import InputError
from counterstain.phantom.slide import PhantomSlide, _prepare, truth_path, write_slide, write_slides
from counterstain.phantom.slide_layout import Window, cover, draw_layout
from counterstain.phantom.slide_painter import BLOCK_PX, _transmitted
from counterstain.phantom.slide_pyramid import level_sizes, write_pyramid
from counterstain.phantom.tiles import Phantom, draw_patient, draw_tile

EASY = Phantom(patients=6, difficulty=0.15, seed=5)
MALIGNANT = next(n for n in range(6) if draw_patient(EASY, n).label == 1)
BENIGN = next(n for n in range(6) if draw_patient(EASY, n).label == 0)
SMALL = PhantomSlide(phantom=EASY, patient=MALIGNANT, size_px=(777, 531), tumours=1)
TINY = replace(SMALL, size_px=(420, 300))  # one block


def filled(rings, size_px):
    """(H, W) bool, drawn by cv2 from the rings rounded to whole px: not the code that draws the slide."""
    mask = np.zeros((size_px[1], size_px[0]), np.uint8)
    for ring in rings:
        cv2.fillPoly(mask, [np.round(ring).astype(np.int32)], 1)
    return mask > 0


@pytest.fixture(scope="module")
def malignant(tmp_path_factory):
    """A slide with every place drawn anew, its pixels at level 0, and its truth."""
    path = tmp_path_factory.mktemp("slide") / "s.tif"
    truth = write_slide(replace(SMALL, size_px=(1400, 1100)), path)
    return path, tifffile.imread(path, level=0), truth


@pytest.mark.parametrize("vendor", ["generic", "aperio"])
@pytest.mark.parametrize("states_mpp", ["right", "missing", "wrong"])
def test_both_readers_see_the_same_pixels_and_what_the_file_states(tmp_path, vendor, states_mpp):
    path = tmp_path / "slide.tif"
    settings = replace(SMALL, vendor=vendor, states_mpp=states_mpp, phantom=replace(EASY, mpp=0.44))
    truth = write_slide(settings, path)
    stated = {"right": 0.44, "missing": None, "wrong": 0.22}[states_mpp]
    assert (truth.mpp, truth.stated_mpp) == (0.44, stated)
    with openslide.OpenSlide(path) as slide, tifffile.TiffFile(path) as file:
        assert slide.properties["openslide.vendor"] == {"generic": "generic-tiff", "aperio": "aperio"}[vendor]
        found = slide.properties.get("openslide.mpp-x")
        assert (found and float(found)) == (stated and pytest.approx(stated, rel=1e-5))
        assert slide.properties.get("openslide.objective-power") == {"generic": None, "aperio": "22.7273"}[vendor]
        assert slide.level_dimensions == ((777, 531), (194, 132))
        assert list(slide.associated_images) == {"generic": [], "aperio": ["thumbnail"]}[vendor]
        tag = file.pages[0].tags
        per_cm = tag["XResolution"].value[0] / tag["XResolution"].value[1]
        if stated is None:
            assert tag["ResolutionUnit"].value == 1  # none
        else:
            assert (tag["ResolutionUnit"].value, 1e4 / per_cm) == (3, pytest.approx(stated, rel=1e-5))
        for level, size in enumerate(slide.level_dimensions):
            seen = np.asarray(slide.read_region((0, 0), level, size))[:, :, :3]
            np.testing.assert_array_equal(seen, file.series[0].levels[level].asarray())


@pytest.mark.parametrize(("step", "count"), [(2, 3), (4, 2)])
def test_each_level_is_the_mean_of_the_finer_one(tmp_path, step, count):
    rng = np.random.default_rng(0)
    # Smooth, so that JPEG changes little, with noise by which a mean and a single pixel differ.
    smooth = cv2.resize(rng.uniform(40, 216, (9, 11, 3)), (1301, 777), interpolation=cv2.INTER_LINEAR)
    image = np.clip(smooth + rng.normal(0, 20, (777, 1301, 1)), 0, 255).astype(np.uint8)
    path = tmp_path / "p.tif"
    strips = (image[top : top + 256] for top in range(0, 777, 256))
    write_pyramid(path, strips, (1301, 777), step=step, quality=95, description=None, resolution_mpp=0.5)
    with tifffile.TiffFile(path) as file:
        levels = [level.asarray() for level in file.series[0].levels]
    assert [level.shape[1::-1] for level in levels] == list(level_sizes((1301, 777), step))
    assert len(levels) == count
    for fine, coarse in zip([image, *levels[1:]], levels[1:], strict=False):
        height, width = coarse.shape[:2]
        blocks = fine[: height * step, : width * step].reshape(height, step, width, step, 3)
        assert np.abs(blocks.mean(axis=(1, 3)) - coarse).mean() < 2  # a single pixel of each block: 10 and more


def test_the_pyramid_keeps_no_strip_that_is_written(tmp_path):
    alive = []

    def strips():
        for _ in range(12):
            assert sum(ref() is not None for ref in alive) <= 1  # the one that is just done with
            strip = np.full((512, 512, 3), 128, np.uint8)
            alive.append(weakref.ref(strip))
            yield strip

    write_pyramid(tmp_path / "p.tif", strips(), (512, 12 * 512), step=4, quality=80, description=None, resolution_mpp=1)
    assert len(alive) == 12


def test_a_slide_is_a_function_of_its_settings_alone(tmp_path):
    settings = replace(TINY, pen=1, blur=1)
    write_slide(settings, tmp_path / "a.tif")
    write_slide(replace(settings, patient=BENIGN), tmp_path / "other.tif")
    write_slide(settings, tmp_path / "b.tif")
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    assert truth_path(tmp_path / "a.tif").read_bytes() == truth_path(tmp_path / "b.tif").read_bytes()
    assert (tmp_path / "a.tif").read_bytes() != (tmp_path / "other.tif").read_bytes()


@pytest.mark.slow
def test_pen_and_blur_move_nothing_else(tmp_path):
    plain = write_slide(SMALL, tmp_path / "plain.tif")
    marked = write_slide(replace(SMALL, pen=2, blur=1), tmp_path / "marked.tif")
    for name in ("tissue", "tumour"):
        for one, other in zip(getattr(plain, name), getattr(marked, name), strict=True):
            np.testing.assert_array_equal(one, other)
    assert (len(marked.pen), len(marked.blur), plain.pen, plain.blur) == (2, 1, (), ())
    pixels = [tifffile.imread(tmp_path / name, level=0).astype(int) for name in ("plain.tif", "marked.tif")]
    changed = np.abs(pixels[0] - pixels[1]).max(axis=2) > 0
    touched = filled((*marked.pen, *marked.blur), SMALL.size_px).astype(np.uint8)
    near = cv2.dilate(touched, np.ones((221, 221), np.uint8)) > 0  # 15 µm softness, three times, and a JPEG block
    assert changed[touched > 0].mean() > 0.5
    assert not changed[~near].any()
    # Ink is far from any tissue's colour: one channel or all let little through.
    ink = filled(marked.pen, SMALL.size_px)
    assert pixels[1][ink].mean() < pixels[0][ink].mean() - 20


@pytest.mark.slow
def test_a_blurred_patch_has_lost_its_detail(tmp_path):
    settings = replace(SMALL, patient=BENIGN, size_px=(1024, 1024))
    write_slide(settings, tmp_path / "sharp.tif")
    truth = write_slide(replace(settings, blur=1), tmp_path / "soft.tif")
    inside = cv2.erode(filled(truth.blur, settings.size_px).astype(np.uint8), np.ones((61, 61), np.uint8)) > 0
    detail = [
        cv2.Laplacian(tifffile.imread(tmp_path / name, level=0)[:, :, 1].astype(np.float32), cv2.CV_32F)[inside].std()
        for name in ("sharp.tif", "soft.tif")
    ]
    assert detail[1] < 0.4 * detail[0]


def test_tissue_stands_where_its_polygon_says(malignant):
    _, pixels, truth = malignant
    tissue = filled(truth.tissue, truth.size_px).astype(np.uint8)
    stained = cv2.GaussianBlur(pixels.max(axis=2).astype(np.float32) - pixels.min(axis=2), (0, 0), 4) > 12
    outside = cv2.dilate(tissue, np.ones((25, 25), np.uint8)) == 0
    inside = cv2.erode(tissue, np.ones((25, 25), np.uint8)) > 0
    assert stained[outside].mean() < 0.001
    assert stained[inside].mean() > 0.7  # the rest: lumina, fat, clefts
    glass = pixels[outside]
    white = draw_patient(EASY, MALIGNANT).scanner.white * 255
    assert np.abs(glass.mean(axis=0) - white).max() < 1.5


def dark_areas(pixels, mask):
    """Areas in px of dark spots whose middle lies within a mask."""
    red = cv2.GaussianBlur(pixels[:, :, 0], (0, 0), 1.0)
    level, _ = cv2.threshold(red[mask][None], 0, 255, cv2.THRESH_OTSU)
    opened = cv2.erode((red < level * 0.92).astype(np.uint8), np.ones((3, 3), np.uint8))
    _, _, stats, centre = cv2.connectedComponentsWithStats(opened)
    x, y = np.round(centre[1:]).astype(int).T
    area = stats[1:, cv2.CC_STAT_AREA]
    return area[mask[y, x] & (area > 15)]


def test_nuclei_are_larger_in_the_tumour_and_the_colour_is_the_same(malignant):
    _, pixels, truth = malignant
    tumour = filled(truth.tumour, truth.size_px).astype(np.uint8)
    rim = np.ones((31, 31), np.uint8)
    inside = cv2.erode(tumour, rim) > 0
    around = cv2.erode(filled(truth.tissue, truth.size_px).astype(np.uint8) & ~cv2.dilate(tumour, rim), rim) > 0
    large = np.percentile(dark_areas(pixels, inside), 75)
    small = np.percentile(dark_areas(pixels, around), 75)
    assert large > 1.25 * small, (large, small)
    assert np.abs(pixels[inside].mean(axis=0) - pixels[around].mean(axis=0)).max() < 12


def test_the_tissue_has_the_colours_of_the_patients_tiles(malignant):
    _, pixels, truth = malignant
    inside = filled(truth.tumour, truth.size_px)
    tiles = np.stack([draw_tile(EASY, MALIGNANT, number).pixels for number in range(12)]).astype(float)
    means, spreads = tiles.mean(axis=(1, 2)), tiles.std(axis=(1, 2))
    for found, drawn in ((pixels[inside].mean(axis=0), means), (pixels[inside].std(axis=0), spreads)):
        assert (found > drawn.min(axis=0) - 6).all()
        assert (found < drawn.max(axis=0) + 6).all()


@pytest.mark.parametrize("stock", [0, 3])
def test_windows_that_overlap_agree(stock):
    """What is painted does not depend on where it is cut: no seam at the edges of strips and blocks."""
    settings = replace(SMALL, size_px=(2200, 1300), distinct_blocks=stock or 100)
    painter, _ = _prepare(settings)
    assert painter.stock == stock
    whole = _transmitted(painter, Window(400, 380, 300, 280))
    part = _transmitted(painter, Window(BLOCK_PX - 60, BLOCK_PX - 50, 140, 120))
    np.testing.assert_allclose(whole[82:202, 52:192], part, atol=2e-3)


@pytest.mark.parametrize("stock", [0, 3])
def test_no_column_gives_a_seam_away(stock):
    """Steps from a px to its right neighbour are no larger where two blocks meet than elsewhere, whole columns told."""
    settings = replace(SMALL, patient=BENIGN, size_px=(3000, 3000), distinct_blocks=stock or 100)
    painter, _ = _prepare(settings)
    light = _transmitted(painter, Window(1100, 1000, 1000, 1000))
    steps = np.abs(np.diff(light, axis=1)).mean(axis=(0, 2))
    assert steps.max() < 2 * np.median(steps)  # a straight, hard cut between blocks of a stock: 4.4


@given(st.integers(0, 10**6), st.integers(256, 20000), st.floats(0.2, 5), st.integers(1, 3), st.integers(0, 3))
def test_outlines_are_valid_and_lie_where_they_should(seed, width, aspect, pieces, tumours):
    height = max(round(width * aspect), 256)
    layout = draw_layout(
        np.random.default_rng(seed), (width, height), 0.5, pieces=pieces, tumours=tumours, pen=3, blur=1
    )
    slide = Polygon([(0, 0), (width, 0), (width, height), (0, height)])
    tissue, tumour = [Polygon(ring) for ring in layout.tissue], [Polygon(ring) for ring in layout.tumour]
    assert all(
        polygon.is_valid for polygon in (*tissue, *tumour, *map(Polygon, layout.pen), *map(Polygon, layout.blur))
    )
    assert len(tissue) == pieces
    assert len(tumour) == tumours
    assert all(slide.contains(piece) for piece in tissue)
    assert all(sum(piece.contains(blob) for piece in tissue) == 1 for blob in tumour)
    for group in (tissue, tumour):
        assert not any(one.intersects(other) for n, one in enumerate(group) for other in group[n + 1 :])


@given(
    st.integers(-40, 200),
    st.integers(-40, 200),
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from([0.6, 2.0, 7.0]),
)
def test_cover_is_the_same_in_every_window(x, y, width, height, soft_px):
    ring = np.array([[20.3, 30.1], [150.2, 12.7], [170.9, 140.4], [60.6, 170.5]])
    whole = cover((ring,), Window(-60, -60, 400, 400), soft_px)
    part = cover((ring,), Window(x, y, width, height), soft_px)
    expected = whole[y + 60 : y + 60 + height, x + 60 : x + 60 + width]
    np.testing.assert_allclose(np.zeros((height, width)) if part is None else part, expected, atol=1e-5)


def test_cover_is_exact_for_a_rectangle():
    """By hand: a rectangle from (10.25, 20) to (30, 40.5)."""
    ring = np.array([[10.25, 20.0], [30.0, 20.0], [30.0, 40.5], [10.25, 40.5]])
    found = cover((ring,), Window(0, 0, 60, 60), 0.5)
    assert found.sum() == pytest.approx(19.75 * 20.5, rel=1e-6)
    assert found[30, 20] == pytest.approx(1)
    y, x = np.mgrid[:60, :60]
    assert (found * x).sum() / found.sum() == pytest.approx((10.25 + 30) / 2 - 0.5, abs=0.01)
    assert (found * y).sum() / found.sum() == pytest.approx((20 + 40.5) / 2 - 0.5, abs=0.01)


@given(st.integers(0, 10**6), st.floats(-30, 60), st.floats(-30, 60))
def test_cover_has_the_area_that_shapely_cuts_out(seed, x, y):
    rng = np.random.default_rng(seed)
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radius = rng.uniform(12, 30, 24)[:, None]
    ring = (x, y) + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = cover((ring[::-1] if seed % 2 else ring,), Window(3, 5, 41, 37), 0.01)
    area = Polygon(ring).intersection(Polygon([(3, 5), (44, 5), (44, 42), (3, 42)])).area
    assert (0 if found is None else found.sum()) == pytest.approx(area, abs=2.0)


def test_the_truth_is_geojson_with_closed_rings_and_names(malignant):
    path, _, truth = malignant
    record = json.loads(truth_path(path).read_text())
    assert record["type"] == "FeatureCollection"
    names = [feature["properties"]["classification"]["name"] for feature in record["features"]]
    assert names == ["tissue", "tumour"]
    assert len({feature["id"] for feature in record["features"]}) == len(names)
    for feature, ring in zip(record["features"], (*truth.tissue, *truth.tumour), strict=True):
        assert feature["properties"]["objectType"] == "annotation"
        outer = feature["geometry"]["coordinates"][0]
        assert outer[0] == outer[-1]
        np.testing.assert_array_equal(np.array(outer[:-1]), ring)
        assert shape(feature["geometry"]).is_valid


def test_a_folder_of_slides_has_both_classes_and_a_table(tmp_path):
    pytest.importorskip("pandas")
    import pandas as pd

    seen = []
    truths = write_slides(tmp_path, 7, settings=TINY, progress=lambda done, total: seen.append((done, total)))
    table = pd.read_csv(tmp_path / "slides.csv")
    assert list(table.columns) == ["slide_path", "slide_id", "patient_id", "site", "label", "mpp"]
    assert list(table["label"]) == ["malignant", "benign"] * 3 + ["malignant"]
    assert table["patient_id"].nunique() == 6
    assert table["slide_id"].is_unique
    assert set(table["site"]) == {"site-1", "site-2"}
    assert seen[-1] == (7, 7)
    for truth, path in zip(truths, table["slide_path"], strict=True):
        assert (tmp_path / path).is_file()
        assert truth_path(tmp_path / path).is_file()
        assert bool(truth.tumour) == (truth.label == "malignant")


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing(tmp_path):
    for workers in (1, 2):
        write_slides(tmp_path / str(workers), 2, settings=TINY, workers=workers)
    for path in (tmp_path / "1").iterdir():
        assert path.read_bytes() == (tmp_path / "2" / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vendor": "hamamatsu"}, "vendor is 'hamamatsu'; it needs to be generic or aperio"),
        ({"states_mpp": "maybe"}, "right, missing or wrong"),
        ({"step": 3}, "2 or 4"),
        ({"size_px": (100, 900)}, "from 256"),
        ({"size_px": (900.0, 900)}, "whole numbers"),
        ({"size_px": (30000, 900)}, "10 times"),
        ({"pieces": 0}, "pieces is 0"),
        ({"patient": 6}, "no patient 6"),
    ],
)
def test_settings_that_make_no_slide_are_refused(change, words):
    with pytest.raises(InputError, match=words):
        replace(SMALL, **change)


def test_more_tumours_than_there_is_room_for_are_refused(tmp_path):
    with pytest.raises(InputError, match="ask for"):
        write_slide(replace(SMALL, size_px=(256, 256), tumours=20), tmp_path / "s.tif")
    assert not list(tmp_path.iterdir())


def test_the_verb_writes_slides_and_prints_the_folder(tmp_path):
    out = tmp_path / "slides"
    said = CliRunner().invoke(app, ["phantom-slides", "--out", str(out), "--slides", "1", "--size-px", "600", "--json"])
    assert said.exit_code == 0, said.output
    assert json.loads(said.stdout)["slides"][0]["label"] == "malignant"
    assert sorted(path.suffix for path in out.iterdir()) == [".csv", ".geojson", ".tif"]
    refused = CliRunner().invoke(app, ["phantom-slides", "--out", str(out), "--vendor", "x"])
    assert refused.exit_code == 2
