"""Annotations in JSON: QuPath's GeoJSON of every version, and Darwin's (V7) files."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from counterstain.errors import InputError
from counterstain.slides.annotation_shapes import Drawing, Outline, box, is_ignored, polygon

__all__ = ["read_darwin", "read_geojson"]

# Objects that a program found. QuPath 0.2 wrote the type as the id, later versions as objectType.
_DETECTED = ("detection", "cell", "tile", "pathdetectionobject", "pathcellobject", "pathtileobject")
_FRAMES = ("root", "tma_core", "tmacoreobject", "pathrootobject")
_MOST_NESTED = 100


# ------------------------------------------------------------------------------------------------------------- GeoJSON


def read_geojson(record: object, path: Path) -> Drawing:
    """The outlines of a FeatureCollection, a list of features or one feature, children of objects included.

    Detections count where a file has no classified annotation; else they are passed over, since cells that lie in an
    annotated area are no statement about the area.

    Raises:
        InputError: If an entry is no feature, or its outline cannot be read.
    """
    drawing = Drawing("QuPath", from_bounds=True)
    features = record.get("features", [record]) if isinstance(record, dict) else record
    detected: list[Outline] = []
    for number, feature in enumerate(features if isinstance(features, list) else [None], start=1):
        for entry in _with_children(feature, path, number):
            properties = _mapping(entry.get("properties"))
            kind = str(properties.get("objectType") or properties.get("object_type") or entry.get("id") or "").lower()
            outlines = _outlines(entry, properties, drawing, path, number)
            if kind in _FRAMES:
                drawing.skipped["frames (cores, the whole image)"] += bool(outlines)
            else:
                (detected if kind in _DETECTED else drawing.outlines).extend(outlines)
    if any(outline.name and not is_ignored(outline.name) for outline in drawing.outlines):
        drawing.skipped["detections"] += len(detected)
    else:
        drawing.outlines += detected
    return drawing


def _with_children(feature: Any, path: Path, number: int, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """A feature and the objects below it, which QuPath writes into its properties where the hierarchy is kept."""
    if not isinstance(feature, dict) or "geometry" not in feature:
        raise InputError(f"{path}: entry {number} is no feature with a geometry; export from QuPath as GeoJSON")
    if depth > _MOST_NESTED:
        raise InputError(f"{path}: entry {number} holds objects within objects, more than {_MOST_NESTED} deep")
    yield feature
    for holder in (feature, _mapping(feature.get("properties"))):
        children = holder.get("childObjects")
        for child in children if isinstance(children, list) else ():
            yield from _with_children(child, path, number, depth + 1)


def _outlines(
    feature: Mapping[str, Any], properties: Mapping[str, Any], drawing: Drawing, path: Path, number: int
) -> list[Outline]:
    if feature["geometry"] is None:
        drawing.skipped["objects without a geometry"] += 1
        return []
    if not isinstance(feature["geometry"], dict):
        raise InputError(f"{path}: entry {number} is no feature with a geometry; export from QuPath as GeoJSON")
    shapes = _polygons(feature["geometry"], path, number)
    if not shapes:
        drawing.skipped["points and lines"] += 1
    name, alias = _class_name(properties), str(properties.get("name") or "")
    return [Outline(name, shape, alias) for shape in shapes]


def _class_name(properties: Mapping[str, Any]) -> str:
    classified = properties.get("classification")
    if isinstance(classified, dict):
        names = classified.get("names")  # QuPath 0.5 and later: "Tumor: Positive" as two names
        return str(classified.get("name") or (": ".join(map(str, names)) if isinstance(names, list) else "")).strip()
    return str(classified or "").strip()


def _polygons(geometry: Any, path: Path, number: int, depth: int = 0) -> list[Any]:
    from shapely.errors import ShapelyError
    from shapely.geometry import shape

    kind = _mapping(geometry).get("type")
    if kind == "GeometryCollection":
        parts = geometry.get("geometries")
        if not isinstance(parts, list) or depth > _MOST_NESTED:
            raise InputError(f"{path}: the outline of entry {number} is a collection without a list of geometries")
        return [piece for part in parts for piece in _polygons(part, path, number, depth + 1)]
    if not isinstance(geometry, dict):
        raise InputError(f"{path}: the outline of entry {number} cannot be read ({str(geometry)[:50]} is no geometry)")
    if kind not in ("Polygon", "MultiPolygon"):
        return []  # points and lines cover nothing
    try:
        outline = shape(geometry)
    except (ShapelyError, ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        raise InputError(f"{path}: the outline of entry {number} cannot be read ({str(error)[:100]})") from None
    if not (np.abs(outline.bounds) <= 1e9).all():
        raise InputError(f"{path}: the outline of entry {number} is empty or not finite")
    return [outline]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


# -------------------------------------------------------------------------------------------------------------- Darwin


def read_darwin(record: Mapping[str, Any], path: Path) -> Drawing:
    """The areas of a Darwin file, version 1 or 2: polygons (their paths by even and odd), ellipses, bounding boxes.

    Raises:
        InputError: If an area is painted as a mask, or an outline cannot be read.
    """
    drawing = Drawing("Darwin", from_bounds=False)
    for number, annotation in enumerate(record["annotations"], start=1):
        where = f"{path}: annotation {number}"
        if not isinstance(annotation, dict):
            raise InputError(f"{where} is no record; export it from Darwin again")
        if "raster_layer" in annotation or "mask" in annotation:
            raise InputError(f"{where} is a painted mask (raster layer); convert masks to polygons in Darwin")
        name = str(annotation.get("name") or "").strip()
        try:
            shape = _darwin_shape(annotation, where)
        except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{where} ('{name[:50]}') cannot be read ({type(error).__name__}: {error})") from None
        if shape is None:
            drawing.skipped["points, lines and tags"] += 1
        else:
            drawing.outlines.append(Outline(name, shape, layer=number))
    return drawing


def _darwin_shape(annotation: Mapping[str, Any], where: str) -> Any:
    outline = annotation.get("polygon") or annotation.get("complex_polygon")
    if outline:
        return _even_odd(_paths(outline), where)
    if annotation.get("ellipse"):
        return _turned_ellipse(annotation["ellipse"], where)
    frame = annotation.get("bounding_box")
    if frame and not any(kind in annotation for kind in ("keypoint", "line", "skeleton", "string", "table")):
        x, y = float(frame["x"]), float(frame["y"])
        return box([(x, y), (x + float(frame["w"]), y + float(frame["h"]))], where)
    return None


def _paths(outline: Mapping[str, Any]) -> list[list[tuple[float, float]]]:
    """Version 2 has `paths`; version 1 a `path`, for areas with holes a list of them or `additional_paths`."""
    paths = outline.get("paths") or outline["path"]
    if paths and isinstance(paths[0], Mapping):
        paths = [paths]
    paths = [*paths, *(outline.get("additional_paths") or ())]
    return [[(float(point["x"]), float(point["y"])) for point in path] for path in paths]


def _even_odd(paths: Sequence[Sequence[tuple[float, float]]], where: str) -> Any:
    """What lies within an odd number of the paths."""
    import shapely

    shapes = [shapely.make_valid(polygon(path, where)) for path in paths]
    area = shapes[0]
    for shape in shapes[1:]:
        area = shapely.symmetric_difference(area, shape)
    return area


def _turned_ellipse(record: Mapping[str, Any], where: str) -> Any:
    from shapely import affinity

    from counterstain.slides.annotation_shapes import ellipse

    x, y = float(record["center"]["x"]), float(record["center"]["y"])
    wide, high = float(record["radius"]["x"]), float(record["radius"]["y"])
    upright = ellipse([(x - wide, y - high), (x + wide, y + high)], where)
    return affinity.rotate(upright, float(record.get("angle") or 0.0), use_radians=True)
