"""GeoJSON against its schema, against shapely, and read back to the pixel."""

import gzip
import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import shapely
import shapely.geometry
from hypothesis import given, settings
from hypothesis import strategies as st

from counterstain.errors import InputError
from counterstain.slides.geojson import origin_of, read_tile_geojson, regions, write_geojson
from counterstain.slides.tile_map import TileMap, predicted

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


def table(corner: Any, prob: Any, **more: Any) -> TileMap:
    given = {
        "slide": "s", "classes": ("benign", "tumour"), "corner": np.asarray(corner, np.int64).reshape(-1, 2),
        "size": (100, 100), "prob": np.column_stack([1 - np.asarray(prob, float), np.asarray(prob, float)]),
        "extent": (0, 0, 5000, 5000), "mpp": (0.25, 0.25),
    }  # fmt: skip
    return TileMap(**(given | more))


@st.composite
def tilings(draw: st.DrawFn) -> TileMap:
    """Tilings as a model's µm/px makes them: fractional strides and sizes rounded to whole level-0 px."""
    scale = draw(st.floats(0.2, 4))
    tile_px, overlap = draw(st.integers(16, 300)), draw(st.sampled_from([0.0, 0.1, 0.25, 0.5]))
    x, y = draw(st.integers(0, 5000)), draw(st.integers(0, 5000))
    width, height = draw(st.integers(700, 3001)), draw(st.integers(700, 3001))
    side = tile_px * scale
    stride = side * (1 - overlap)
    columns = np.rint(x + np.arange(0, width, stride)).astype(int)  # the last ones pass the edge
    rows = np.rint(y + np.arange(0, height, stride)).astype(int)
    corner = np.array([(c, r) for r in rows for c in columns])[: draw(st.integers(1, 200))]
    prob = np.random.default_rng(draw(st.integers(0, 9))).random(len(corner))
    size = (max(1, round(side)), max(1, round(side)))
    return table(corner, prob, size=size, extent=(x, y, width, height))


@settings(max_examples=60, deadline=None)
@given(
    tiles=tilings(), origin=st.sampled_from(["bounds", "slide"]), suffix=st.sampled_from([".geojson", ".geojson.gz"])
)
def test_tiles_come_back_to_the_pixel(
    tiles: TileMap, origin: str, suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("geojson") / f"s{suffix}"
    write_geojson(tiles, path, origin=origin, merged=True)
    corner, size, measured = read_tile_geojson(path, shift=origin_of(tiles, origin))
    assert np.array_equal(corner, tiles.corner)
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


@settings(max_examples=60, deadline=None)
@given(tiles=tilings())
def test_regions_are_the_union_of_their_tiles(tiles: TileMap) -> None:
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
    (tmp_path / "cut.geojson").write_text('{"type":"FeatureCollection","features":[')
    with pytest.raises(InputError, match=r"cut\.geojson is not a GeoJSON of tiles"):
        read_tile_geojson(tmp_path / "cut.geojson")
