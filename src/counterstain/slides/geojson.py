"""GeoJSON that QuPath reads: a slide's tiles with their probabilities, and regions of one class merged."""

import gzip
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.files import write_with
from counterstain.slides.tile_predictions import TilePredictions, colours, predicted

__all__ = ["ORIGINS", "origin_of", "regions", "write_geojson"]

ORIGINS = ("bounds", "slide")
_CHUNK = 4096  # tiles turned into text, or boxes merged, at a time: memory does not grow with the slide
_IDS = uuid.UUID("6f1d9d1e-3c5b-5d0e-9b6a-0c1f0a2b7d43")  # ids are names within this space: the same tile, the same id


def origin_of(table: TilePredictions, origin: str) -> tuple[int, int]:
    """The level-0 point (x, y) that is (0, 0) of the coordinates written: QuPath shows a slide from its bounds on."""
    if origin not in ORIGINS:
        raise InputError(f"origin is '{origin}'; take bounds (where QuPath's picture begins) or slide (level 0)")
    return table.extent[:2] if origin == "bounds" else (0, 0)


def write_geojson(table: TilePredictions, path: Path, *, origin: str = "bounds", merged: bool = False) -> None:
    """Write a FeatureCollection, whole or not at all; the same table makes the same bytes.

    Args:
        table: tiles and probabilities.
        path: ending in .geojson, or .geojson.gz to compress it.
        origin: "bounds" or "slide", see `origin_of`.
        merged: whether to add each class's tiles merged into regions, as annotations, before the tiles.

    Raises:
        InputError: If `origin` is neither.
    """
    shift = origin_of(table, origin)
    write_with(path, lambda temporary: _fill(temporary, _features(table, shift, merged=merged), path.name))


def _fill(path: Path, features: Iterator[str], name: str) -> None:
    with path.open("wb") as raw:
        if not name.endswith(".gz"):
            _write(raw, features)
            return
        # Without name and time in its header, equal content makes equal bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as packed:
            _write(packed, features)


def _write(stream: IO[bytes] | gzip.GzipFile, features: Iterator[str]) -> None:
    stream.write(b'{"type":"FeatureCollection","features":[\n')
    for count, feature in enumerate(features):
        stream.write((",\n" if count else "").encode() + feature.encode())
    stream.write(b"\n]}\n")


def _features(table: TilePredictions, shift: tuple[int, int], *, merged: bool) -> Iterator[str]:
    """The text of each feature: regions, then tiles, a chunk of them at a time."""
    classifications = [
        {"name": name, "color": list(rgb)} for name, rgb in zip(table.classes, colours(table.classes), strict=True)
    ]
    if merged:
        for index, geometry in regions(table, shift=shift):
            yield _feature(_id(table.slide, "region", index), geometry, "annotation", classifications[index], None)
    called = predicted(table)
    width, height = table.size
    for start in range(0, len(table), _CHUNK):
        rows = slice(start, start + _CHUNK)
        corners = (table.corner[rows] - np.array(shift)).tolist()
        for (x, y), prob, index in zip(corners, table.prob[rows].tolist(), called[rows].tolist(), strict=True):
            ring = [[x, y], [x + width, y], [x + width, y + height], [x, y + height], [x, y]]
            measured = {f"prob_{name}": p for name, p in zip(table.classes, prob, strict=True)}
            key = _id(table.slide, "tile", x + shift[0], y + shift[1], width, height)
            yield _feature(key, {"type": "Polygon", "coordinates": [ring]}, "tile", classifications[index], measured)


def _feature(
    key: str, geometry: dict[str, Any], kind: str, classification: dict[str, Any], measured: dict[str, float] | None
) -> str:
    properties: dict[str, Any] = {"objectType": kind, "classification": classification, "isLocked": True}
    if measured is not None:
        properties["measurements"] = measured
    feature = {"type": "Feature", "id": key, "geometry": geometry, "properties": properties}
    return json.dumps(feature, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _id(slide: str, *parts: object) -> str:
    return str(uuid.uuid5(_IDS, "\n".join([slide, *map(str, parts)])))


# ------------------------------------------------------------------------------------------------------------- regions


def regions(table: TilePredictions, *, shift: tuple[int, int] = (0, 0)) -> list[tuple[int, dict[str, object]]]:
    """For each class that a tile is called: its index and the union of its tiles, a GeoJSON Polygon or MultiPolygon.

    Where tiles meet but for one pixel (a tile's size in level-0 px was rounded), they are taken to touch.

    Args:
        table: tiles and probabilities.
        shift: the level-0 point that becomes (0, 0).
    """
    import shapely

    called = predicted(table)
    x0, y0 = (table.corner - np.array(shift)).T
    x1, y1 = _tile_ends(x0, table.size[0]), _tile_ends(y0, table.size[1])
    areas = []
    for index in np.unique(called).tolist():
        tiles = np.flatnonzero(called == index)
        tiles = tiles[np.lexsort((x0[tiles], y0[tiles]))]  # neighbours together: each part's union is small
        parts = [tiles[start : start + _CHUNK] for start in range(0, len(tiles), _CHUNK)]
        merged = [shapely.union_all(shapely.box(x0[part], y0[part], x1[part], y1[part])) for part in parts]
        areas.append((index, _geometry(shapely.union_all(merged))))
    return areas


def _tile_ends(start: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Where each tile ends along one axis: at the next tile's start, where that is not more than one pixel off."""
    starts, end = np.unique(start), start + length
    for off in (1, -1):
        place = np.searchsorted(starts, end + off)
        meets = (place < len(starts)) & (starts[np.minimum(place, len(starts) - 1)] == end + off)
        end = np.where(meets & ~np.isin(end, starts), end + off, end)
    return end


def _geometry(shape: Any) -> dict[str, Any]:
    """As GeoJSON: outer rings counter-clockwise (RFC 7946), one part a Polygon, several a MultiPolygon."""
    import shapely

    normal = shape.normalize()
    polygons = [normal] if normal.geom_type == "Polygon" else list(normal.geoms)
    polygons = [shapely.geometry.polygon.orient(part, 1.0) for part in polygons]
    parts = [[_ring(ring) for ring in (part.exterior, *part.interiors)] for part in polygons]
    if len(parts) == 1:
        return {"type": "Polygon", "coordinates": parts[0]}
    return {"type": "MultiPolygon", "coordinates": parts}


def _ring(ring: Any) -> list[list[int]]:
    """The corners of a closed ring; points within a straight side, left over from merging, are dropped."""
    points = np.asarray(ring.coords)[:-1].astype(np.int64)
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    corner = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    corners = points[corner].tolist()
    return [*corners, corners[0]]
