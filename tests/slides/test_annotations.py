"""Annotations in: QuPath's GeoJSON and ASAP's XML land where they were drawn, and tiles get the labels they should."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from counterstain.errors import InputError
from counterstain.slides.annotations import Region, find_annotations, label_tiles, read_annotations


def feature(ring: list, name: object = "tumour", kind: str = "Polygon") -> dict:
    closed = [*ring, ring[0]]
    properties = {"objectType": "annotation", "classification": {"name": name, "color": [200, 0, 0]}}
    coordinates = [closed] if kind == "Polygon" else [[closed]]
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


SQUARE = [[10, 20], [110, 20], [110, 120], [10, 120]]
ASAP = """<?xml version="1.0"?>
<ASAP_Annotations><Annotations>{}</Annotations><AnnotationGroups/></ASAP_Annotations>"""


def asap(ring: list, group: str = "tumour", name: str = "Annotation 0", kind: str = "Polygon") -> str:
    corners = [f'<Coordinate Order="{n}" X="{x}" Y="{y}"/>' for n, (x, y) in enumerate(ring)]
    corners = corners[::2] + corners[1::2]  # the order is in the attribute, not in the file
    return (
        f'<Annotation Name="{name}" PartOfGroup="{group}" Type="{kind}"><Coordinates>'
        f"{''.join(corners)}</Coordinates></Annotation>"
    )


def write(path: Path, record: object) -> Path:
    path.write_text(json.dumps(record))
    return path


@pytest.mark.parametrize(
    "form", ["collection", "list", "single", "gz", "multi", "plain name", "names", "asap", "asap comma"]
)
def test_the_same_square_in_every_form(tmp_path: Path, form: str) -> None:
    one = feature(SQUARE)
    if form.startswith("asap"):
        text = ASAP.format(asap(SQUARE))
        path = tmp_path / "S1.xml"
        path.write_text(text.replace('X="110"', 'X="110,0"') if form == "asap comma" else text)
    elif form == "gz":
        path = tmp_path / "S1.geojson.gz"
        path.write_bytes(gzip.compress(json.dumps({"type": "FeatureCollection", "features": [one]}).encode()))
    else:
        if form == "plain name":
            one["properties"]["classification"] = "tumour"
        if form == "names":
            one["properties"]["classification"] = {"names": ["tumour"]}
        record = {
            "list": [one], "single": one, "multi": [feature(SQUARE, kind="MultiPolygon")],
        }.get(form, {"type": "FeatureCollection", "features": [one]})  # fmt: skip
        path = write(tmp_path / "S1.geojson", record)
    (region,) = read_annotations(path)
    assert region.name == "tumour"
    assert region.shape.equals(shapely.box(10, 20, 110, 120))


def test_where_the_origin_lies(tmp_path: Path) -> None:
    """QuPath shows a slide from the corner of its bounds, ASAP from the corner of level 0."""
    bounds = (1000, 2000, 500, 500)
    geojson = write(tmp_path / "S1.geojson", feature(SQUARE))
    xml = tmp_path / "S1.xml"
    xml.write_text(ASAP.format(asap(SQUARE)))
    moved, still = (1010, 2020, 1110, 2120), (10, 20, 110, 120)
    for path, origin, expected in [
        (geojson, "auto", moved), (geojson, "slide", still), (xml, "auto", still), (xml, "bounds", moved),
    ]:  # fmt: skip
        assert read_annotations(path, bounds=bounds, origin=origin)[0].shape.bounds == expected
    assert read_annotations(geojson)[0].shape.bounds == still
    with pytest.raises(InputError, match="did you mean 'slide'"):
        read_annotations(geojson, origin="slid")


def test_holes_overlaps_and_crossed_lines(tmp_path: Path) -> None:
    ring = {
        "type": "Feature", "properties": {"classification": {"name": "a"}},
        "geometry": {"type": "Polygon", "coordinates": [
            [[0, 0], [100, 0], [100, 100], [0, 100], [0, 0]], [[40, 40], [60, 40], [60, 60], [40, 60], [40, 40]]]},
    }  # fmt: skip
    bow_tie = feature([[200, 0], [300, 100], [300, 0], [200, 100]], "b")
    regions = read_annotations(
        write(tmp_path / "S1.geojson", [ring, feature([[50, 0], [150, 0], [150, 50], [50, 50]], "a"), bow_tie])
    )
    areas = {region.name: region.shape.area for region in regions}
    # Square without its hole, and of the second square what neither the first covers nor only its hole was.
    assert areas == {"a": pytest.approx(10_000 - 400 + 50 * 50 + 100), "b": pytest.approx(5000)}
    assert all(region.shape.is_valid for region in regions)


def test_points_lines_and_unclassified_areas_are_passed_over(tmp_path: Path) -> None:
    point = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}, "properties": {}}
    path = write(tmp_path / "S1.geojson", [point, feature(SQUARE, None), feature(SQUARE)])
    assert [region.name for region in read_annotations(path)] == ["tumour"]
    xml = tmp_path / "S1.xml"
    xml.write_text(ASAP.format(asap([[1, 2]], kind="Dot") + asap(SQUARE, "None", "normal") + asap(SQUARE)))
    assert [region.name for region in read_annotations(xml)] == ["normal", "tumour"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.geojson", "{", "not GeoJSON"),
        ("a.geojson", "[1]", "entry 1 is no feature"),
        ("a.geojson", "7", "entry 1 is no feature"),
        ("a.geojson", "[]", "no area with a class"),
        ("a.geojson", json.dumps(feature([[1, 1]])), "outline of entry 1"),
        ("a.geojson", json.dumps(feature([[1, "x"], [2, 2], [3, 1]])), "outline of entry 1"),
        ("a.xml", "<a>", "not ASAP's XML"),
        ("a.xml", '<!DOCTYPE a [<!ENTITY b "c">]><a/>', "entities"),
        ("a.xml", ASAP.format(asap([[1, 1], [2, 2]])), "has 2 corners"),
        ("a.xml", ASAP.format(asap([[1, "x"], [2, 2], [3, 3]])), "without numbers"),
        ("a.xml", ASAP.format(asap([[1, "inf"], [2, 2], [3, 3]])), "without numbers"),
        ("missing.xml", None, "does not exist"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(tmp_path: Path, name: str, content: str | None, words: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=words) as refused:
        read_annotations(path)
    assert "\n" not in str(refused.value)


def test_which_file_belongs_to_a_slide(tmp_path: Path) -> None:
    slide = tmp_path / "S1.svs"
    assert find_annotations(tmp_path, slide) is None
    for name in ("S10.geojson", "S1.truth.geojson"):
        (tmp_path / name).touch()
    assert find_annotations(tmp_path, slide) == tmp_path / "S1.truth.geojson"
    (tmp_path / "S1.xml").touch()
    assert find_annotations(tmp_path, slide) == tmp_path / "S1.xml"
    (tmp_path / "S1.geojson").touch()
    with pytest.raises(InputError, match="keep one"):
        find_annotations(tmp_path, slide)


def boxes(*places: tuple[float, float, float, float]) -> object:
    return shapely.union_all([shapely.box(*place) for place in places])


COORDS = np.array([[0, 0], [100, 0], [200, 0], [300, 0]])


def test_labels_by_hand() -> None:
    """Tiles of 100: the first wholly tumour, of the second 60 %, of the third 30 %, the fourth untouched."""
    regions = [Region("tumour", boxes((0, 0, 160, 100), (200, 0, 230, 100)))]
    found = label_tiles(COORDS, (100.0, 100.0), regions)
    assert found.label == ("tumour", "tumour", "", "")
    assert found.overlap[:, 0] == pytest.approx([1, 0.6, 0.3, 0])
    assert found.ambiguous == 1
    assert label_tiles(COORDS, (100.0, 100.0), regions, rest="normal").label == ("tumour", "tumour", "", "normal")
    assert label_tiles(COORDS, (100.0, 100.0), regions, least_overlap=0.6).label[1] == "tumour"
    assert label_tiles(COORDS, (100.0, 100.0), regions, least_overlap=0.61).label[1] == ""


def test_classes_are_chosen_renamed_and_weighed() -> None:
    regions = [
        Region("tissue", boxes((0, 0, 400, 100))), Region("invasive", boxes((0, 0, 100, 70))),
        Region("in situ", boxes((100, 0, 200, 55))), Region("stroma", boxes((100, 55, 200, 100), (200, 0, 250, 100))),
        Region("fat", boxes((250, 0, 300, 100))),
    ]  # fmt: skip
    classes = {"invasive": "tumour", "in situ": "tumour", "stroma": "other", "fat": "fat"}
    found = label_tiles(COORDS, (100.0, 100.0), regions, classes=classes, rest="rest")
    assert found.label == ("tumour", "tumour", "", "rest")  # the third is half and half
    with pytest.raises(InputError, match="did you mean 'stroma'"):
        label_tiles(COORDS, (100.0, 100.0), regions, classes={"stoma": "x"})
    with pytest.raises(InputError, match="least overlap"):
        label_tiles(COORDS, (100.0, 100.0), regions, least_overlap=0)


@settings(max_examples=40)
@given(seed=st.integers(0, 1000), size=st.floats(3, 60), least=st.floats(0.05, 1))
def test_overlaps_are_areas(seed: int, size: float, least: float) -> None:
    """Against a count of points: the share of a fine raster of each tile that lies in each class."""
    rng = np.random.default_rng(seed)
    shapes = []
    for _ in range(2):
        turn = np.sort(rng.uniform(0, 2 * np.pi, 9))
        reach, (x, y) = rng.uniform(20, 60, 9), rng.uniform(30, 90, 2)
        shapes.append(
            shapely.make_valid(shapely.Polygon(np.stack([x + reach * np.cos(turn), y + reach * np.sin(turn)], axis=1)))
        )
    coords = rng.integers(0, 120, (6, 2))
    found = label_tiles(
        coords, (size, size), [Region("a", shapes[0]), Region("b", shapes[1])], least_overlap=least, rest="rest"
    )
    steps = (np.arange(60) + 0.5) / 60 * size
    for (x, y), shares, label in zip(coords, found.overlap, found.label, strict=True):
        grid_x, grid_y = np.meshgrid(x + steps, y + steps)
        for shape, share in zip(shapes, shares, strict=True):
            assert share == pytest.approx(shapely.contains_xy(shape, grid_x, grid_y).mean(), abs=0.03)
        expected = "ab"[int(shares[1] > shares[0])] if shares.max() >= least else "" if shares.max() > 0 else "rest"
        assert label == expected or np.isclose(*shares) or np.isclose(shares.max(), least)
