"""GeoJSON against its schema, against shapely, and read back to the pixel."""

import dataclasses
import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest
import shapely
import shapely.geometry
from hypothesis import given, settings
from hypothesis import strategies as st
from tile_geojson import read_tile_geojson

from counterstain.errors import InputError
from counterstain.slides.geojson import origin_of, regions, write_geojson
from counterstain.slides.info import SlideInfo, level_of
from counterstain.slides.tile_predictions import TilePredictions, predicted
from counterstain.slides.tiling import Tiling, plan_tiles

POINT = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
RING = {"type": "array", "items": POINT, "minItems": 4}
POLYGON = {"type": "array", "items": RING, "minItems": 1}
GEOMETRY = {
    "oneOf": [
        {
            "type": "object",
            "required": ["type", "coordinates"],
            "additionalProperties": False,
            "properties": {"type": {"const": "Polygon"}, "coordinates": POLYGON},
        },
        {
            "type": "object",
            "required": ["type", "coordinates"],
            "additionalProperties": False,
            # One part only must be a Polygon.
            "properties": {
                "type": {"const": "MultiPolygon"},
                "coordinates": {"type": "array", "items": POLYGON, "minItems": 2},
            },
        },
    ]
}
CLASSIFICATION = {
    "type": "object",
    "required": ["name", "color"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "color": {
            "type": "array",
            "items": {"type": "integer", "minimum": 0, "maximum": 255},
            "minItems": 3,
            "maxItems": 3,
        },
    },
}
# RFC 7946, and of its free part ("properties") what QuPath's reader looks for.
SCHEMA = {
    "type": "object",
    "required": ["type", "features"],
    "additionalProperties": False,
    "properties": {
        "type": {"const": "FeatureCollection"},
        "features": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "id", "geometry", "properties"],
                "additionalProperties": False,
                "properties": {
                    "type": {"const": "Feature"},
                    "id": {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"},
                    "geometry": GEOMETRY,
                    "properties": {
                        "type": "object",
                        "required": ["objectType", "classification"],
                        "properties": {
                            "objectType": {"enum": ["tile", "annotation"]},
                            "classification": CLASSIFICATION,
                            "measurements": {"type": "object", "additionalProperties": {"type": "number"}},
                        },
                    },
                },
            },
        },
    },
}


def table(corner: Any, prob: Any, **more: Any) -> TilePredictions:
    given = {
        "slide": "s", "classes": ("benign", "tumour"), "corner": np.asarray(corner, np.int64).reshape(-1, 2),
        "size": (100, 100), "prob": np.column_stack([1 - np.asarray(prob, float), np.asarray(prob, float)]),
        "extent": (0, 0, 5000, 5000), "mpp": (0.25, 0.25),
    }  # fmt: skip
    return TilePredictions(**(given | more))


@st.composite
def tilings(draw: st.DrawFn) -> tuple[Tiling, TilePredictions]:
    """The tiles that are planned of a slide, whatever its size, bounds and scale: edge tiles stick out."""
    width, height = draw(st.integers(700, 9001)), draw(st.integers(700, 9001))
    bounds = None
    if draw(st.booleans()):
        x, y = draw(st.integers(0, width // 2)), draw(st.integers(0, height // 2))
        bounds = (x, y, draw(st.integers(300, width - x)), draw(st.integers(300, height - y)))
    mpp = draw(st.floats(0.2, 4))
    info = SlideInfo(
        path=Path("s.svs"), reader="", levels=(level_of(width, height, width, height),), mpp_x=mpp, mpp_y=mpp,
        mpp_source="file", objective=None, bounds=bounds, vendor="", tile_grid=(None,),
    )  # fmt: skip
    tiling = plan_tiles(
        SimpleNamespace(info=info),  # type: ignore[arg-type]
        mpp=mpp * draw(st.floats(0.95, 5)),
        tile_px=draw(st.integers(60, 300)),
        overlap=draw(st.sampled_from([0.0, 0.1, 0.25, 0.5])),
    )
    kept = np.sort(np.random.default_rng(draw(st.integers(0, 9))).permutation(len(tiling))[: draw(st.integers(1, 150))])
    tiling = dataclasses.replace(tiling, cells=tiling.cells[kept], coords=tiling.coords[kept])
    prob = np.random.default_rng(draw(st.integers(0, 9))).random(len(tiling))
    size = (round(tiling.tile_level0_px[0]), round(tiling.tile_level0_px[1]))
    return tiling, table(tiling.coords, prob, size=size, extent=info.area)


@settings(max_examples=60)
@given(made=tilings(), origin=st.sampled_from(["bounds", "slide"]), suffix=st.sampled_from([".geojson", ".geojson.gz"]))
def test_tiles_come_back_to_the_pixel(
    made: tuple[Tiling, TilePredictions], origin: str, suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tiling, tiles = made
    path = tmp_path_factory.mktemp("geojson") / f"s{suffix}"
    write_geojson(tiles, path, origin=origin, merged=True)
    corner, size, measured = read_tile_geojson(path, shift=origin_of(tiles, origin))
    assert np.array_equal(corner, tiling.coords)
    assert np.abs(size - np.array(tiling.tile_level0_px)).max() <= 0.5
    assert (size == np.array(tiles.size)).all()
    assert np.array_equal(measured["prob_tumour"], tiles.prob[:, 1])
    assert np.array_equal(measured["prob_benign"], tiles.prob[:, 0])
    # What stands in the file: the viewer's frame begins at the bounds.
    content = gzip.decompress(path.read_bytes()) if suffix.endswith("gz") else path.read_bytes()
    record = json.loads(content)
    jsonschema.validate(record, SCHEMA)
    first = next(item for item in record["features"] if item["properties"]["objectType"] == "tile")
    left, top = (tiles.extent[:2]) if origin == "bounds" else (0, 0)
    assert first["geometry"]["coordinates"][0][0] == [tiles.corner[0, 0] - left, tiles.corner[0, 1] - top]
    for item in record["features"]:
        shape = shapely.geometry.shape(item["geometry"])
        assert shape.is_valid and shape.area > 0
        for part in getattr(shape, "geoms", [shape]):
            assert shapely.is_ccw(part.exterior)
        parts = item["geometry"]["coordinates"]
        for ring in parts if item["geometry"]["type"] == "Polygon" else [ring for part in parts for ring in part]:
            assert ring[0] == ring[-1]


@settings(max_examples=60)
@given(made=tilings())
def test_regions_are_the_union_of_their_tiles(made: tuple[Tiling, TilePredictions]) -> None:
    _, tiles = made
    called = predicted(tiles)
    found = dict(regions(tiles))
    assert sorted(found) == sorted(set(called.tolist()))
    for index, geometry in found.items():
        own = tiles.corner[called == index]
        union = shapely.union_all(shapely.box(*own.T, *(own + np.array(tiles.size)).T))
        # Seams of one pixel are closed, and nothing else is: no point is further than that from the exact union.
        difference = shapely.geometry.shape(geometry).symmetric_difference(union)
        assert difference.is_empty or difference.buffer(-0.75).is_empty


def test_touching_tiles_are_one_polygon_and_apart_ones_two() -> None:
    joined = table([(0, 0), (100, 0), (100, 100)], [0.9, 0.9, 0.9])
    [(index, geometry)] = regions(joined)
    ring = [[0, 0], [200, 0], [200, 200], [100, 200], [100, 100], [0, 100]]
    assert index == 1 and geometry["type"] == "Polygon"
    assert sorted(geometry["coordinates"][0][:-1]) == sorted(ring)
    [(_, apart)] = regions(table([(0, 0), (300, 0)], [0.9, 0.9]))
    assert apart["type"] == "MultiPolygon" and len(apart["coordinates"]) == 2
    [(_, diagonal)] = regions(table([(0, 0), (100, 100)], [0.9, 0.9]))
    assert diagonal["type"] == "MultiPolygon"


def test_a_ring_of_tiles_has_a_hole() -> None:
    corner = [(x, y) for x in (0, 100, 200) for y in (0, 100, 200)]
    prob = [0.1 if point == (100, 100) else 0.9 for point in corner]
    found = dict(regions(table(corner, prob)))
    assert len(found[1]["coordinates"]) == 2
    shape = shapely.geometry.shape(found[1])
    assert shape.area == 80_000 and shape.is_valid
    assert shapely.geometry.shape(found[0]).area == 10_000


@pytest.mark.parametrize("starts", [(0, 101, 202), (0, 99, 198)])
def test_a_seam_from_rounding_is_closed(starts: tuple[int, ...]) -> None:
    tiles = table([(x, y) for x in starts for y in starts], [0.9] * 9)
    [(_, geometry)] = regions(tiles)
    assert geometry["type"] == "Polygon" and len(geometry["coordinates"]) == 1
    assert len(geometry["coordinates"][0]) == 5


def test_a_gap_of_two_pixels_is_kept() -> None:
    [(_, geometry)] = regions(table([(0, 0), (102, 0)], [0.9, 0.9]))
    assert geometry["type"] == "MultiPolygon"


def test_equal_tables_make_equal_bytes_and_ids_are_unique(tmp_path: Path) -> None:
    tiles = table([(x, 0) for x in range(0, 1000, 100)], np.linspace(0, 1, 10))
    for name in ("a.geojson.gz", "b.geojson.gz"):
        write_geojson(tiles, tmp_path / name, merged=True)
    assert (tmp_path / "a.geojson.gz").read_bytes() == (tmp_path / "b.geojson.gz").read_bytes()
    ids = [item["id"] for item in json.loads(gzip.decompress((tmp_path / "a.geojson.gz").read_bytes()))["features"]]
    assert len(set(ids)) == len(ids) == 12


def test_threshold_decides_the_class_of_a_tile(tmp_path: Path) -> None:
    tiles = table([(0, 0), (100, 0)], [0.2, 0.4], threshold=0.3)
    write_geojson(tiles, tmp_path / "s.geojson")
    names = [
        item["properties"]["classification"]["name"]
        for item in json.loads((tmp_path / "s.geojson").read_text())["features"]
    ]
    assert names == ["benign", "tumour"]


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="origin is 'level1'"):
        write_geojson(table([(0, 0)], [0.5]), tmp_path / "s.geojson", origin="level1")
