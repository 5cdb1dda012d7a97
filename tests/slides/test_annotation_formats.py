"""Annotations of every program that is read, what is passed over and counted, and what is refused by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from counterstain.errors import InputError
from counterstain.slides.annotations import label_tiles, load_annotations, read_annotations


def box(x0: float, y0: float, x1: float, y1: float) -> list[list[float]]:
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]


def feature(name: str | None, ring: list[Any], **properties: Any) -> dict[str, Any]:
    classified = {"classification": {"name": name}} if name else {}
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"objectType": "annotation", **classified, **properties},
    }


def geojson(tmp_path: Path, record: object) -> Path:
    path = tmp_path / "S1.geojson"
    path.write_text(json.dumps(record))
    return path


def layer(name: str, *regions: str, attribute: str = "", number: int = 1) -> str:
    described = f'<Attributes><Attribute Name="Description" Value="{attribute}"/></Attributes>' if attribute else ""
    return f'<Annotation Id="{number}" Name="{name}">{described}<Regions>{"".join(regions)}</Regions></Annotation>'


def region(corners: list[Any], *, kind: str = "0", negative: int = 0, tag: str = "Vertex") -> str:
    vertices = "".join(f'<{tag} X="{x}" Y="{y}"/>' for x, y in corners)
    return f'<Region Type="{kind}" NegativeROA="{negative}"><Vertices>{vertices}</Vertices></Region>'


def areas(path: Path) -> dict[str, float]:
    return {one.name: one.shape.area for one in read_annotations(path)}


def test_imagescope_layers_holes_islands_and_shapes(tmp_path: Path) -> None:
    path = tmp_path / "S1.xml"
    square, hole, island = box(0, 0, 100, 100)[:-1], box(20, 20, 80, 80)[:-1], box(40, 40, 60, 60)[:-1]
    path.write_text(
        '<Annotations MicronsPerPixel="0.5">'
        + layer("Tumor", region(island), region(hole, negative=1), region(square))
        + layer("", region([[200, 0], [300, 50]], kind="2"), region([[0, 0], [9, 9]], kind="3"), attribute="Stroma")
        + "</Annotations>"
    )
    found = load_annotations(path, bounds=(1000, 1000, 50, 50))
    assert found.program == "ImageScope" and "1 pins, arrows and rulers passed over" in found.notes
    stroma, tumour = found.regions
    assert (stroma.name, tumour.name) == ("Stroma", "Tumor")
    assert tumour.shape.area == 100**2 - 60**2 + 20**2
    assert tumour.shape.bounds == (0, 0, 100, 100), "ImageScope counts from the corner of level 0"
    assert stroma.shape.bounds == pytest.approx((200, 0, 300, 50))
    assert stroma.shape.area == pytest.approx(np.pi * 50 * 25, rel=0.01)


def test_imagescope_without_names_and_in_utf_16(tmp_path: Path) -> None:
    path = tmp_path / "S1.xml"
    text = '<?xml version="1.0" encoding="UTF-16"?><Annotations>' + layer("", region(box(0, 0, 9, 9)), number=7)
    path.write_bytes((text + "</Annotations>").encode("utf-16"))
    found = load_annotations(path)
    assert [one.name for one in found.regions] == ["layer 7"]
    assert any("no area has a class" in note for note in found.notes)


def test_halo_rectangles_and_ellipses_of_two_corners(tmp_path: Path) -> None:
    path = tmp_path / "S1.annotations"
    path.write_text(
        "<Annotations>"
        + layer(
            "a", region([[10, 10], [0, 0]], kind="Rectangle", tag="V"), region([[3, 3]], kind="Pin", tag="V"),
            region([[2, 2], [4, 4]], kind="Rectangle", negative=1, tag="V"),
        )
        + layer("b", region([[20, 0], [40, 10]], kind="Ellipse", tag="V"))
        + "</Annotations>"
    )  # fmt: skip
    found = areas(path)
    assert found["a"] == 100 - 4 and found["b"] == pytest.approx(np.pi * 50, rel=0.01)
    assert load_annotations(path).program == "HALO"


@pytest.mark.parametrize("version", [1, 2])
def test_darwin_paths_by_even_and_odd(tmp_path: Path, version: int) -> None:
    outer, inner = ([{"x": x, "y": y} for x, y in box(*frame)[:-1]] for frame in ((0, 0, 10, 10), (2, 2, 4, 4)))
    area = {"paths": [outer, inner]} if version == 2 else {"path": outer, "additional_paths": [inner]}
    record = {
        "annotations": [
            {"name": "tumour", "polygon": area},
            {"name": "stroma", "bounding_box": {"x": 20, "y": 0, "w": 5, "h": 4}},
            {"name": "cell", "keypoint": {"x": 1, "y": 1}},
            {
                "name": "gland",
                "ellipse": {"center": {"x": 50, "y": 50}, "radius": {"x": 4, "y": 2}, "angle": np.pi / 2},
            },
        ]
    }
    path = geojson(tmp_path, record).rename(tmp_path / "S1.json")
    found = load_annotations(path)
    assert found.program == "Darwin" and "1 points, lines and tags passed over" in found.notes
    assert areas(path) == {"gland": pytest.approx(np.pi * 8, rel=0.01), "stroma": 20, "tumour": 96}
    assert found.regions[0].shape.bounds == pytest.approx((48, 46, 52, 54), abs=0.01), "turned by a quarter"


def test_qupath_children_null_geometries_and_ignored_classes(tmp_path: Path) -> None:
    child = feature("Stroma", box(200, 0, 210, 10))
    record = [
        feature("Tumor", box(0, 0, 100, 100), childObjects=[child]),
        feature("Region*", box(0, 0, 500, 500)),
        {"type": "Feature", "geometry": None, "properties": {}},
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 1]}, "properties": {}},
        feature("Tumor", box(0, 0, 500, 500), objectType="cell"),
        feature("Tumor", box(0, 0, 500, 500), objectType="tma_core"),
        feature(None, box(0, 0, 500, 500)),
    ]
    path = geojson(tmp_path, record)
    assert areas(path) == {"Stroma": 100, "Tumor": 10_000}
    notes = "; ".join(load_annotations(path).notes)
    for words in ("Region*", "1 objects without a geometry", "1 detections", "1 points", "1 frames", "1 areas without"):
        assert words in notes


def test_detections_count_where_nothing_else_is_classified(tmp_path: Path) -> None:
    assert areas(geojson(tmp_path, [feature("Tumor", box(0, 0, 5, 5), objectType="tile")])) == {"Tumor": 25}


def test_outlines_in_no_group_are_one_class_and_it_is_said(tmp_path: Path) -> None:
    path = tmp_path / "S1.xml"
    outlines = "".join(
        f'<Annotation Name="Annotation {n}" Type="Polygon" PartOfGroup="None"><Coordinates>'
        + "".join(
            f'<Coordinate Order="{k}" X="{x + 50 * n}" Y="{y}"/>' for k, (x, y) in enumerate(box(0, 0, 9, 9)[:-1])
        )
        + "</Coordinates></Annotation>"
        for n in range(2)
    )
    path.write_text(f"<ASAP_Annotations><Annotations>{outlines}</Annotations></ASAP_Annotations>")
    found = load_annotations(path)
    assert [one.name for one in found.regions] == ["Annotation"] and "no area has a class" in found.notes[0]


def test_a_nested_region_wins_over_what_surrounds_it(tmp_path: Path) -> None:
    record = [feature("Stroma", box(0, 0, 400, 400)), feature("Tumor", box(100, 100, 200, 200)),
              feature("Necrosis", box(120, 120, 140, 140)), feature("Other", box(350, 350, 500, 500))]  # fmt: skip
    path = geojson(tmp_path, record)
    assert areas(path) == {"Necrosis": 400, "Other": 150**2, "Stroma": 400**2 - 100**2, "Tumor": 100**2 - 400}
    coords = np.array([[0, 0], [150, 150], [360, 360]])
    labels = label_tiles(coords, (40, 40), read_annotations(path))
    assert labels.label == ("Stroma", "Tumor", ""), "two that only overlap stay ambiguous"


OTHERS = {
    "shapes.json": ({"shapes": [], "imagePath": "a.png"}, "LabelMe"),
    "coco.json": ({"images": [], "annotations": [], "categories": []}, "COCO"),
    "via.json": ({"_via_img_metadata": {}}, "VIA"),
    "mask.json": ({"annotations": [{"name": "a", "raster_layer": {}}]}, "painted mask"),
    "ndpa.xml": ("<annotations><ndpviewstate/></annotations>", "Hamamatsu"),
    "voc.xml": ("<annotation><object/></annotation>", "Pascal VOC"),
    "what.xml": ("<what/>", "root <what>"),
    "roi.zip.json": ("PK\x03\x04", "ZIP"),
    "deep.geojson": ("[" * 100_000 + "]" * 100_000, "too deep"),
    "list.geojson": ({"type": "Feature", "geometry": {"type": "GeometryCollection", "geometries": None}}, "collection"),
    "five.geojson": ({"type": "Feature", "geometry": {"type": "GeometryCollection", "geometries": [5]}}, "no geometry"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_files_of_other_programs_are_refused_by_name(tmp_path: Path, name: str) -> None:
    content, words = OTHERS[name]
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=words) as refused:
        load_annotations(path)
    assert "\n" not in str(refused.value) and name in str(refused.value)


def test_properties_that_are_no_record_are_no_class(tmp_path: Path) -> None:
    one = feature(None, box(0, 0, 9, 9)) | {"properties": [1]}
    with pytest.raises(InputError, match="no area with a class"):
        load_annotations(geojson(tmp_path, one))


@pytest.mark.realdata
def test_real_files(real_data: Path) -> None:
    folder = real_data / "annotations"
    assert set(areas(folder / "103S.json")) == {"ROI (segmentation)", "stroma (area)", "tumor (area)", "tumor (cell)"}
    halo = load_annotations(folder / "HaloMultilayerTest.annotations")
    assert len(halo.regions) == 4 and "10 pins, arrows and rulers passed over" in halo.notes
    assert set(areas(folder / "qupath05.geojson")) == {"I", "UT"}
    with pytest.raises(InputError, match="painted mask"):
        load_annotations(folder / "raster.json")
    assert all(isinstance(one.shape, shapely.Geometry) and one.shape.is_valid for one in halo.regions)
