"""Annotations in XML: ASAP's, Aperio ImageScope's, and HALO's, told apart by the elements that they hold."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from counterstain.errors import InputError, first_line
from counterstain.slides.annotation_shapes import UNNAMED, Drawing, Outline, box, ellipse, polygon

__all__ = ["read_xml"]

Corners = list[tuple[float, float]]

_NOT_AREAS = ("dot", "pointset", "measurement", "line", "point", "polyline")
_RUNNING_NUMBER = re.compile(r"\s*#?\d+$")
# ImageScope numbers the kinds of a region, HALO names them. Arrows, rulers and pins mark no area.
_REGION_KINDS: dict[str, Callable[[Corners, str], Any] | None] = {
    "0": polygon, "polygon": polygon, "freehand": polygon, "1": box, "rectangle": box, "2": ellipse,
    "ellipse": ellipse, "3": None, "4": None, "5": None, "arrow": None, "ruler": None, "pin": None, "line": None,
}  # fmt: skip
_OTHERS = {
    "annotation": "Pascal VOC", "ome": "OME-XML", "imagedocument": "Zeiss ZEN", "graphicsdocument": "Zeiss",
    "kml": "KML", "svg": "SVG", "gpx": "GPX", "xmi": "UIMA", "dataset": "DICOM XML",
}  # fmt: skip


def read_xml(content: bytes, path: Path) -> Drawing:
    """The outlines of an ASAP, ImageScope or HALO file.

    Raises:
        InputError: If it is not XML, declares entities, is of another program, or an outline cannot be read.
    """
    text = _decode(content, path)
    if re.search(r"<!(DOCTYPE|ENTITY)", text):
        raise InputError(f"{path} declares entities, which annotations do not need; export the annotations again")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(
            f"{path} is not ASAP's XML, nor ImageScope's or HALO's ({first_line(error)[:100]}); export the "
            "annotations again"
        ) from None
    if root.tag == "ASAP_Annotations":
        return _read_asap(root, path)
    if root.tag == "Annotations":
        halo = next(root.iter("V"), None) is not None
        return _read_regions(root, path, program="HALO" if halo else "ImageScope", corner="V" if halo else "Vertex")
    if next(root.iter("Coordinate"), None) is not None:  # ASAP's own, under another root
        return _read_asap(root, path)
    raise InputError(
        f"{path} is {_program(root)}; annotations are read from QuPath (GeoJSON), ASAP, ImageScope, HALO and Darwin: "
        "export it as one of these"
    )


def _decode(content: bytes, path: Path) -> str:
    """The text: UTF-8 or, where its first bytes or its declaration say so, another encoding."""
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    declared = re.match(rb"\s*<\?xml[^>]{0,100}encoding=[\"']([\w.-]{1,30})", content)
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        wrong: Exception = error
    try:
        return content.decode(declared[1].decode("ascii") if declared else "cp1252")
    except (LookupError, UnicodeDecodeError, ValueError):
        raise InputError(f"{path} is not text in the encoding that it states ({first_line(wrong)[:100]})") from None


def _program(root: ElementTree.Element) -> str:
    name = root.tag.rpartition("}")[2]
    if name.lower() == "annotations":
        if next(root.iter("ndpviewstate"), None) is not None:
            return "Hamamatsu's NDPA, whose places are nm from the slide's middle"
        return "CVAT's XML" if next(root.iter("image"), None) is not None else "XML of an unknown program"
    known = _OTHERS.get(name.lower())
    return f"{known} (its root is <{name[:40]}>)" if known else f"XML with the root <{name[:40]}>, of no program known"


def _read_asap(root: ElementTree.Element, path: Path) -> Drawing:
    """ASAP's annotations: the class is the group; the own name stands for it where it is more than a running number."""
    drawing = Drawing("ASAP", from_bounds=False)
    for number, annotation in enumerate(root.iter("Annotation"), start=1):
        where = f"{path}: annotation {number}"
        if annotation.get("Type", "Polygon").lower() in _NOT_AREAS:
            drawing.skipped["points and lines"] += 1
            continue
        try:
            corners = [
                (int(corner.get("Order", place)), _decimal(corner.get("X")), _decimal(corner.get("Y")))
                for place, corner in enumerate(annotation.iter("Coordinate"))
            ]
        except (TypeError, ValueError):
            raise InputError(f"{where} has a corner without numbers") from None
        group, title = (annotation.get(key, "").strip() for key in ("PartOfGroup", "Name"))
        alias = _RUNNING_NUMBER.sub("", title) or title
        name = group if group.lower() not in UNNAMED else "" if alias != title else title
        drawing.outlines.append(Outline(name, polygon([(x, y) for _, x, y in sorted(corners)], where), alias))
    return drawing


def _read_regions(root: ElementTree.Element, path: Path, *, program: str, corner: str) -> Drawing:
    """ImageScope's and HALO's layers of regions; a negative region is a hole in its layer."""
    drawing = Drawing(program, from_bounds=False)
    number = 0
    for place, layer in enumerate(root.iter("Annotation"), start=1):
        title = _layer_name(layer)
        for region in layer.iter("Region"):
            number += 1
            where = f"{path}: region {number}"
            try:
                corners = [(_decimal(vertex.get("X")), _decimal(vertex.get("Y"))) for vertex in region.iter(corner)]
            except (TypeError, ValueError):
                raise InputError(f"{where} has a corner without numbers") from None
            kind = region.get("Type", "0").strip().lower()
            make = _REGION_KINDS.get(kind, polygon)
            if make is box and len(corners) > 2:  # it may be turned
                make = polygon
            if make is None or not corners:
                drawing.skipped["pins, arrows and rulers"] += 1
                continue
            name = title or region.get("Text", "").strip()
            drawing.outlines.append(
                Outline(
                    name, make(corners, where), f"layer {layer.get('Id') or place}",
                    cut=region.get("NegativeROA", "0").strip().lower() in ("1", "true"), layer=place,
                )
            )  # fmt: skip
    return drawing


def _layer_name(layer: ElementTree.Element) -> str:
    """The name of a layer; ImageScope leaves it empty, and keeps what was typed as the attribute Description."""
    name = layer.get("Name", "").strip()
    if name:
        return name
    for attribute in layer.iter("Attribute"):
        value = attribute.get("Value", "").strip()
        if value and attribute.get("Name", "").strip().lower() in ("description", "name", "class"):
            return value
    return ""


def _decimal(text: str | None) -> float:
    return float((text or "").replace(",", "."))  # the computer's own decimal sign is written
