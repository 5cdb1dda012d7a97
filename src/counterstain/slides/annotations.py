"""Regions that a pathologist drew, whatever program saved them, and the labels that tiles get from them."""

import gzip
import io
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterstain.cohort.cohort_columns import unify_labels
from counterstain.errors import InputError, first_line, first_names, suggest
from counterstain.slides.annotation_json import read_darwin, read_geojson
from counterstain.slides.annotation_shapes import UNNAMED, Drawing, Outline, is_ignored
from counterstain.slides.annotation_xml import read_xml

__all__ = [
    "ORIGINS",
    "SUFFIXES",
    "Annotations",
    "Region",
    "TileLabels",
    "find_annotations",
    "label_tiles",
    "load_annotations",
    "read_annotations",
]

ORIGINS = ("auto", "bounds", "slide")
SUFFIXES = (".geojson", ".geojson.gz", ".json", ".xml", ".annotations")
_GREATEST_BYTES = 1 << 29  # unpacked; a million outlines by hand stay far below
_NESTED_SHARE = 0.9  # of the smaller outline: drawn by hand, it may stick out of the larger one a little
_ALIKE = 0.98  # two outlines whose areas differ by less are two opinions of one area, not one within the other

_OTHER_JSON = (
    ("shapes", "LabelMe's JSON"),
    ("categories", "COCO's JSON"),
    ("_via_img_metadata", "VIA's JSON"),
    ("objects", "Supervisely's JSON or TopoJSON"),
)
_OTHER_BYTES = (
    (b"PK", "a ZIP file (such as ImageJ's RoiSet.zip)"),
    (b"Iout", "an ImageJ ROI"),
    (b"\xac\xed", "a QuPath .qpdata file"),
)


@dataclass(frozen=True, eq=False)
class Region:
    """One class's annotated area: a valid shapely geometry in level-0 px of the slide."""

    name: str
    shape: Any


@dataclass(frozen=True, eq=False)
class Annotations:
    """What an annotation file says.

    program: which program wrote it
    regions: one region per class
    notes:   what was passed over, or assumed
    """

    program: str
    regions: tuple[Region, ...]
    notes: tuple[str, ...]


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
        files = [path for path in exact if path.is_file()]
        if not files:
            near = sorted(path for path in folder.iterdir() if path.name.startswith(f"{stem}.") and path.is_file())
            files = [path for path in near if path.name.endswith(SUFFIXES)]
        if len(files) > 1:
            raise InputError(
                f"{folder} holds {', '.join(path.name for path in files)} for {slide.name}; keep one of them"
            )
        if files:
            return files[0]
    return None


def read_annotations(
    path: Path, *, bounds: tuple[int, int, int, int] | None = None, origin: str = "auto"
) -> tuple[Region, ...]:
    """The regions of an annotation file, one per class; arguments and errors as for `load_annotations`."""
    return load_annotations(path, bounds=bounds, origin=origin).regions


def load_annotations(
    path: Path, *, bounds: tuple[int, int, int, int] | None = None, origin: str = "auto"
) -> Annotations:
    """Read an annotation file: one region per class, overlapping outlines of a class joined.

    An outline that lies within a larger one of another class wins there: it is cut out of the larger one. Classes whose
    name ends in * are ignored, as QuPath does. Where no outline of a file has a class, what else it is called (QuPath's
    or ASAP's name without its running number, ImageScope's layer) is its class, and a note says so.

    Args:
        path: QuPath's GeoJSON (maybe .gz), ASAP's, ImageScope's or HALO's XML, Darwin's JSON; told apart by content.
        bounds: the slide's scanned area (x, y, width, height), level-0 px; None where it is all of it.
        origin: where the file's (0, 0) lies. QuPath counts from the corner of the bounds, the others from the slide's:
            "auto" takes that; "bounds" or "slide" overrules it.

    Raises:
        InputError: If the file is of no such program, an outline cannot be read, or empty in it is classified.
    """
    from shapely import affinity

    if origin not in ORIGINS:
        raise InputError(f"origin is '{origin}'{suggest(origin, ORIGINS)}")
    drawing = _read_drawing(path)
    outlines, notes = _classified(drawing, path)
    from_bounds = bounds is not None and (origin == "bounds" or (origin == "auto" and drawing.from_bounds))
    dx, dy = bounds[:2] if bounds is not None and from_bounds else (0, 0)
    regions = tuple(
        Region(name, affinity.translate(shape, dx, dy)) for name, shape in _join(outlines, path) if not shape.is_empty
    )
    return Annotations(drawing.program, regions, notes)


def _read_drawing(path: Path) -> Drawing:
    content = _unpacked(path)
    start = content[:200].lstrip(b"\xef\xbb\xbf \t\r\n")
    for first, program in _OTHER_BYTES:
        if start.startswith(first):
            raise InputError(f"{path} is {program}; export the annotations as GeoJSON")
    if start.startswith((b"<", b"\xff\xfe", b"\xfe\xff")) or path.suffix.lower() in (".xml", ".annotations"):
        return read_xml(content, path)
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else first_line(error)[:100]
        raise InputError(f"{path} is not GeoJSON ({reason}); export the annotations from QuPath again") from None
    if isinstance(record, dict) and record.get("type") != "FeatureCollection":
        for key, program in _OTHER_JSON:
            if key in record:
                raise InputError(f"{path} is {program}; give QuPath's GeoJSON, Darwin's JSON, or XML of ASAP or others")
        if isinstance(record.get("annotations"), list):
            return read_darwin(record, path)
    return read_geojson(record, path)


def _unpacked(path: Path) -> bytes:
    """The file's bytes, unpacked, as long as they are few enough to be annotations."""
    try:
        with path.open("rb") as stream:
            content = stream.read(_GREATEST_BYTES + 1)
        if content[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
                content = packed.read(_GREATEST_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; name a slide's annotations") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{path} cannot be unpacked ({first_line(error)[:100]}); export it again") from None
    if len(content) > _GREATEST_BYTES:
        raise InputError(f"{path} holds more than {_GREATEST_BYTES >> 20} MiB; that is not an annotation file")
    return content


def _classified(drawing: Drawing, path: Path) -> tuple[list[Outline], tuple[str, ...]]:
    """The outlines that have a class, and notes on the others.

    Raises:
        InputError: If there is none.
    """
    named = [outline for outline in drawing.outlines if outline.name.strip().lower() not in UNNAMED]
    classified = [outline for outline in named if not is_ignored(outline.name)]
    notes = []
    ignored = sorted({outline.name for outline in named if is_ignored(outline.name)})
    if ignored:
        count = len(named) - len(classified)
        notes.append(f"{count} areas are ignored, as QuPath does with names that end in * ({first_names(ignored)})")
    unnamed = [outline for outline in drawing.outlines if outline.name.strip().lower() in UNNAMED]
    if not named:
        classified = [
            replace(outline, name=outline.alias.strip())
            for outline in unnamed
            if outline.alias.strip().lower() not in UNNAMED
        ]
        if classified:
            aliases = sorted({outline.name for outline in classified})
            notes.append(
                f"no area has a class (in ASAP: a group), so {len(classified)} are taken by their names: "
                f"{first_names(aliases, 5)}"
            )
            unnamed = [outline for outline in unnamed if outline.alias.strip().lower() in UNNAMED]
    if unnamed:
        notes.append(f"{len(unnamed)} areas without a class are passed over")
    notes += [f"{count} {kind} passed over" for kind, count in sorted(drawing.skipped.items()) if count]
    if not classified:
        more = f" ({'; '.join(notes)})" if notes else ""
        raise InputError(f"{path} holds no area with a class{more}; give the annotations a class and save them again")
    names, alike = unify_labels([outline.name for outline in classified])
    return [replace(outline, name=name) for outline, name in zip(classified, names, strict=True)], (*notes, *alike)


def _join(outlines: Sequence[Outline], path: Path) -> list[tuple[str, Any]]:
    """(class, area) of each class, in order of their names.

    Raises:
        InputError: If the outlines are so far from shapes that nothing can be made of them.
    """
    import shapely
    from shapely.errors import ShapelyError

    try:
        # Lines drawn by hand cross themselves; made valid they enclose what they enclose.
        pieces = [
            (outline.name, shape) for outline in _with_holes(outlines) if not (shape := _areas(outline.shape)).is_empty
        ]
        by_class: dict[str, list[Any]] = {}
        for name, shape in _without_nested(pieces):
            by_class.setdefault(name, []).append(shape)
        return [(name, _areas(shapely.union_all(shapes))) for name, shapes in sorted(by_class.items())]
    except (ShapelyError, ValueError, OverflowError) as error:
        raise InputError(f"{path} has outlines without area ({first_line(error)[:100]}); draw them again") from None


def _with_holes(outlines: Sequence[Outline]) -> list[Outline]:
    """The outlines, of layers with holes one for the layer: from large to small each is added, or cut out."""
    import shapely

    cut = {outline.layer for outline in outlines if outline.cut}
    areas = [outline for outline in outlines if outline.layer not in cut]
    for layer in sorted(cut):
        of_layer = [replace(outline, shape=_areas(outline.shape)) for outline in outlines if outline.layer == layer]
        by_name = {outline.name: shapely.Polygon() for outline in of_layer if not outline.cut}
        for outline in sorted(of_layer, key=lambda outline: -outline.shape.area):
            for name in [outline.name] if not outline.cut else by_name:
                change = shapely.difference if outline.cut else shapely.union
                by_name[name] = change(by_name[name], outline.shape)
        areas += [Outline(name, shape, layer=layer) for name, shape in by_name.items()]
    return areas


def _without_nested(pieces: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The areas, less what smaller areas of other classes take of them."""
    import shapely

    if len({name for name, _ in pieces}) < 2:
        return list(pieces)
    names = np.array([name for name, _ in pieces], dtype=object)
    shapes = np.array([shape for _, shape in pieces], dtype=object)
    areas = shapely.area(shapes)
    inner, outer = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    smaller = (areas[inner] < _ALIKE * areas[outer]) & (names[inner] != names[outer])
    inner, outer = inner[smaller], outer[smaller]
    shared = shapely.area(shapely.intersection(shapes[inner], shapes[outer]))
    nested = shared >= _NESTED_SHARE * areas[inner]
    remaining = list(shapes)
    for large in sorted(set(outer[nested].tolist())):
        within = inner[nested & (outer == large)]
        remaining[large] = shapely.difference(shapes[large], shapely.union_all(shapes[within]))
    return [(name, shape) for (name, _), shape in zip(pieces, remaining, strict=True)]


def _areas(shape: Any) -> Any:
    """Its polygons alone: making an outline valid may leave lines and points."""
    import shapely

    valid = shape if shape.is_valid else shapely.make_valid(shape)
    parts = [part for part in shapely.get_parts(valid) if part.geom_type in ("Polygon", "MultiPolygon")]
    return shapely.union_all(parts)


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
    return _labels_by_overlap(overlap, labels, least_overlap, rest)


def _covered(boxes: NDArray[Any], shape: Any) -> NDArray[np.float64]:
    """(N,) area of each box within a shape whose parts do not overlap."""
    import shapely

    parts = shapely.get_parts(shape)
    area = np.zeros(len(boxes))
    if len(boxes) and len(parts):
        box, part = shapely.STRtree(parts).query(boxes, predicate="intersects")
        np.add.at(area, box, shapely.area(shapely.intersection(boxes[box], parts[part])))
    return area


def _labels_by_overlap(
    overlap: NDArray[np.float64], labels: Iterable[str], least_overlap: float, rest: str | None
) -> TileLabels:
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
