"""Regions that a pathologist drew, from QuPath's GeoJSON and ASAP's XML, and the labels that tiles get from them."""

import gzip
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError, suggest

__all__ = ["ORIGINS", "SUFFIXES", "Region", "TileLabels", "find_annotations", "label_tiles", "read_annotations"]

ORIGINS = ("auto", "bounds", "slide")
SUFFIXES = (".geojson", ".geojson.gz", ".json", ".xml")
_UNNAMED = ("", "none", "unclassified")
_RECTANGLE_CORNERS, _LEAST_CORNERS = 4, 3


@dataclass(frozen=True, eq=False)
class Region:
    """One class's annotated area: a valid shapely geometry in level-0 px of the slide."""

    name: str
    shape: Any


@dataclass(frozen=True, eq=False)
class TileLabels:
    """What the annotations make of each tile.

    label:     (N,) the class, "" for a tile that is left out
    overlap:   (N, C) share of each tile that each class covers
    classes:   C names
    ambiguous: tiles left out that an annotation touches, but no class covers enough of or two cover alike
    """

    label: tuple[str, ...]
    overlap: NDArray[np.float64]
    classes: tuple[str, ...]
    ambiguous: int


def find_annotations(folder: Path, slide: Path) -> Path | None:
    """The annotation file of a slide in a folder: the slide's name or stem, maybe with a word behind it.

    Raises:
        InputError: If several files could be meant.
    """
    for stem in (slide.name, slide.stem):
        exact = [folder / f"{stem}{suffix}" for suffix in SUFFIXES]
        found = [path for path in exact if path.is_file()]
        if not found:
            near = sorted(path for path in folder.iterdir() if path.name.startswith(f"{stem}.") and path.is_file())
            found = [path for path in near if path.name.endswith(SUFFIXES)]
        if len(found) > 1:
            raise InputError(
                f"{folder} holds {', '.join(path.name for path in found)} for {slide.name}; keep one of them"
            )
        if found:
            return found[0]
    return None


def read_annotations(
    path: Path, *, bounds: tuple[int, int, int, int] | None = None, origin: str = "auto"
) -> tuple[Region, ...]:
    """The regions of an annotation file, one a class, overlapping outlines of a class joined.

    Args:
        path: QuPath's GeoJSON (maybe .gz) or ASAP's XML.
        bounds: the slide's scanned area (x, y, width, height), level-0 px; None where it is all of it.
        origin: where the file's (0, 0) lies. QuPath counts from the corner of the bounds, ASAP from the slide's:
            "auto" takes that; "bounds" or "slide" overrules it.

    Raises:
        InputError: If the file is neither, an outline has fewer than three corners, or nothing in it is classified.
    """
    import shapely
    from shapely import affinity

    if origin not in ORIGINS:
        raise InputError(f"origin is '{origin}'{suggest(origin, ORIGINS)}")
    xml = path.suffix.lower() == ".xml"
    outlines = _read_asap(path) if xml else _read_geojson(path)
    by_class: dict[str, list[Any]] = {}
    for name, shape in outlines:
        if name.strip().lower() in _UNNAMED:
            continue
        # Lines drawn by hand cross themselves; made valid they enclose what they enclose.
        by_class.setdefault(name, []).append(shape if shape.is_valid else shapely.make_valid(shape))
    if not by_class:
        raise InputError(f"{path} holds no area with a class; give the annotations a class and save them again")
    from_bounds = bounds is not None and (origin == "bounds" or (origin == "auto" and not xml))
    dx, dy = bounds[:2] if bounds is not None and from_bounds else (0, 0)
    regions = []
    for name, shapes in sorted(by_class.items()):
        regions.append(Region(name, affinity.translate(_areas(shapely.union_all(shapes)), dx, dy)))
    return tuple(regions)


def _areas(shape: Any) -> Any:
    """Its polygons alone: making an outline valid may leave lines and points."""
    import shapely

    parts = [part for part in shapely.get_parts(shape) if part.geom_type in ("Polygon", "MultiPolygon")]
    return shapely.union_all(parts)


def _read_geojson(path: Path) -> list[tuple[str, Any]]:
    try:
        content = path.read_bytes()
        record = json.loads(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; name a slide's annotations") from None
    except (OSError, EOFError, ValueError) as error:
        raise InputError(
            f"{path} is not GeoJSON ({str(error)[:100]}); export the annotations from QuPath again"
        ) from None
    features = record.get("features", [record]) if isinstance(record, dict) else record
    found: list[tuple[str, Any]] = []
    for number, feature in enumerate(features if isinstance(features, list) else [None], start=1):
        if not isinstance(feature, dict) or not isinstance(feature.get("geometry"), dict):
            raise InputError(f"{path}: entry {number} is no feature with a geometry; export from QuPath as GeoJSON")
        name = _class_name(feature.get("properties") or {})
        found += [(name, shape) for shape in _polygons(feature["geometry"], path, number)]
    return found


def _class_name(properties: Mapping[str, Any]) -> str:
    classified = properties.get("classification")
    if isinstance(classified, dict):
        names = classified.get("names")  # QuPath 0.5 and later: "Tumor: Positive" as two names
        return str(classified.get("name") or (": ".join(map(str, names)) if isinstance(names, list) else ""))
    return str(classified or "")


def _polygons(geometry: Mapping[str, Any], path: Path, number: int) -> list[Any]:
    from shapely.errors import ShapelyError
    from shapely.geometry import shape

    if geometry.get("type") == "GeometryCollection":
        return [one for part in geometry.get("geometries", []) for one in _polygons(part, path, number)]
    if geometry.get("type") not in ("Polygon", "MultiPolygon"):
        return []  # points and lines cover nothing
    try:
        found = shape(geometry)
    except (ShapelyError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise InputError(f"{path}: the outline of entry {number} cannot be read ({str(error)[:100]})") from None
    if not np.isfinite(found.bounds).all():
        raise InputError(f"{path}: the outline of entry {number} is empty or not finite")
    return [found]


def _read_asap(path: Path) -> list[tuple[str, Any]]:
    """ASAP's annotations by their group, or by their own name where they are in none."""
    from shapely.geometry import Polygon

    try:
        text = path.read_text(encoding="utf-8-sig")
        if re.search(r"<!(DOCTYPE|ENTITY)", text):
            raise InputError(f"{path} declares entities, which annotations do not need; export them from ASAP again")
        root = ElementTree.fromstring(text)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; name a slide's annotations") from None
    except (UnicodeDecodeError, ElementTree.ParseError) as error:
        raise InputError(f"{path} is not ASAP's XML ({error}); export the annotations again") from None
    found: list[tuple[str, Any]] = []
    for number, one in enumerate(root.iter("Annotation"), start=1):
        if one.get("Type", "Polygon") in ("Dot", "PointSet", "Measurement"):
            continue
        try:
            corners = [
                (int(corner.get("Order", place)), _decimal(corner.get("X")), _decimal(corner.get("Y")))
                for place, corner in enumerate(one.iter("Coordinate"))
            ]
        except (TypeError, ValueError):
            raise InputError(f"{path}: annotation {number} has a corner without numbers") from None
        if len(corners) < _LEAST_CORNERS:
            raise InputError(f"{path}: annotation {number} has {len(corners)} corners; an area needs 3 at least")
        group = one.get("PartOfGroup", "")
        name = group if group.strip().lower() not in _UNNAMED else one.get("Name", "")
        found.append((name, Polygon([(x, y) for _, x, y in sorted(corners)])))
    return found


def _decimal(text: str | None) -> float:
    value = float((text or "").replace(",", "."))  # ASAP writes the computer's own decimal sign
    if not np.isfinite(value):
        raise ValueError(text)
    return value


def label_tiles(
    coords: NDArray[np.int64],
    tile_level0_px: tuple[float, float],
    regions: Sequence[Region],
    *,
    least_overlap: float = 0.5,
    classes: Mapping[str, str] | None = None,
    rest: str | None = None,
) -> TileLabels:
    """Label tiles by the class that covers most of them.

    Args:
        coords: (N, 2) top left corners (x, y), level-0 px.
        tile_level0_px: (width, height) of a tile.
        regions: what was annotated.
        least_overlap: share of a tile that its class must cover, above 0.
        classes: {annotated name: label}; other names are left aside. None takes all, under their own names.
        rest: the label of tiles that no such region touches; None leaves them out.

    Raises:
        InputError: If least_overlap is out of range, or `classes` names what is not annotated.
    """
    import shapely

    if not 0 < least_overlap <= 1:
        raise InputError(f"the least overlap is {least_overlap:g}; needed: above 0, up to 1")
    names = [region.name for region in regions]
    for name in classes or {}:
        if name not in names:
            raise InputError(f"no region is annotated as '{name}'{suggest(name, names)}")
    chosen: dict[str, list[Any]] = {}
    for region in regions:
        if classes is None or region.name in classes:
            chosen.setdefault(region.name if classes is None else classes[region.name], []).append(region.shape)
    labels = tuple(chosen)
    corner = coords.astype(np.float64)
    far = corner + np.array(tile_level0_px)
    boxes = shapely.box(corner[:, 0], corner[:, 1], far[:, 0], far[:, 1])
    overlap = np.zeros((len(coords), len(labels)))
    for place, name in enumerate(labels):
        overlap[:, place] = _covered(boxes, shapely.union_all(chosen[name])) / np.prod(tile_level0_px)
    overlap = np.clip(overlap, 0, 1)
    return _decide(overlap, labels, least_overlap, rest)


def _covered(boxes: NDArray[Any], shape: Any) -> NDArray[np.float64]:
    """(N,) area of each box within a shape whose parts do not overlap."""
    import shapely

    parts = shapely.get_parts(shape)
    area = np.zeros(len(boxes))
    if len(boxes) and len(parts):
        box, part = shapely.STRtree(parts).query(boxes, predicate="intersects")
        np.add.at(area, box, shapely.area(shapely.intersection(boxes[box], parts[part])))
    return area


def _decide(overlap: NDArray[np.float64], labels: Iterable[str], least_overlap: float, rest: str | None) -> TileLabels:
    classes = tuple(labels)
    label, ambiguous = [], 0
    for shares in overlap:
        order = np.argsort(-shares, kind="stable")
        best = float(shares[order[0]]) if len(order) else 0.0
        tie = len(order) > 1 and np.isclose(shares[order[1]], best)
        if best == 0:
            label.append(rest or "")
        elif best >= least_overlap - 1e-9 and not tie:
            label.append(classes[order[0]])
        else:
            label.append("")
            ambiguous += 1
    return TileLabels(tuple(label), overlap, classes, ambiguous)
