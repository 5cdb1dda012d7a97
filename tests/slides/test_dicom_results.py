"""What a model found on a DICOM slide as DICOM objects, read back by pydicom and highdicom."""

import shutil
import subprocess
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cohort_runs import tissue_pixels

pytest.importorskip("highdicom", reason="the extra dicom is not installed")

import highdicom as hd
import pydicom
import shapely
from dicom_series import PATIENT, ROOT, write_series

from counterstain.errors import InputError
from counterstain.slides.dicom_results import (
    ClassCode,
    ReadBy,
    class_maps,
    class_regions,
    class_report,
    read_source,
    uid_of,
)
from counterstain.slides.geojson import regions
from counterstain.slides.heatmap import draw_heatmap
from counterstain.slides.tile_predictions import TilePredictions

SIDE = 100
BY = ReadBy(
    name="Lymph node 2", version="ab12", sha256="ab" * 32, pooling="top_5pct_mean", when=datetime(2026, 11, 30, 9, 5),
    codes={"malignant": ClassCode("21594007", "SCT", "Malignant")},
)  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Any:
    files = write_series(tmp_path_factory.mktemp("slide"), tissue_pixels(1), tile=256)
    return read_source(files[0])


def table(
    called: str, *, classes: tuple[str, ...] = ("benign", "malignant"), x0: int = 0, y0: int = 0
) -> TilePredictions:
    """Tiles on a grid, a letter each: m malignant, b benign, space: not read."""
    rows = called.strip("\n").split("\n")
    at = [(x, y, letter) for y, row in enumerate(rows) for x, letter in enumerate(row) if letter != " "]
    own = np.random.default_rng(0).uniform(0.55, 0.95, len(at))
    positive = np.where([letter == "m" for _, _, letter in at], own, 1 - own)
    prob = np.stack([1 - positive, positive], axis=1)
    if len(classes) == 3:
        prob = np.stack([prob[:, 0], prob[:, 1] * 0.7, prob[:, 1] * 0.3], axis=1)
    corner = np.array([(x0 + x * SIDE, y0 + y * SIDE) for x, y, _ in at])
    return TilePredictions(
        slide="a", classes=classes, corner=corner, size=(SIDE, SIDE), prob=prob, extent=(x0, y0, 1100 - x0, 800 - y0),
        mpp=(0.5, 0.5),
    )  # fmt: skip


HOLES = """
mmmmmmmmmmm
m mmbmmmm m
mmmmmmmmmmm
b  mm mmmbb
mmmmmmmmbb
"""


def back(made: pydicom.Dataset, tmp_path: Path) -> Any:
    """As a file has it."""
    made.save_as(tmp_path / "made.dcm", enforce_file_format=True)
    return pydicom.dcmread(tmp_path / "made.dcm")


@pytest.mark.parametrize("classes", [("benign", "malignant"), ("a", "b", "c")])
def test_the_map_has_the_values_of_the_heat_map(source: Any, tmp_path: Path, classes: tuple[str, ...]) -> None:
    tiles = table(HOLES, classes=classes)
    heat = draw_heatmap(tiles)
    maps = class_maps(source, tiles, BY, uid_of("map"))
    assert len(maps) == len(heat.value) == (1 if len(classes) == 2 else 3)
    for stored, made in zip(heat.value, maps, strict=True):
        back(made, tmp_path)
        found = hd.imread(tmp_path / "made.dcm")
        assert np.array_equal(found.get_total_pixel_matrix(apply_real_world_transform=False), stored)
        # The mapping is the one that the OME-TIFF documents: v >= 1 is (v - 1) / 254.
        linear = found.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
        read = stored[stored > 0].astype(float)
        prob = linear.RealWorldValueSlope * read + linear.RealWorldValueIntercept
        assert np.allclose(prob, (read - 1) / 254, atol=1e-12) and 0 <= prob.min() < prob.max() <= 1
        assert (linear.RealWorldValueFirstValueMapped, linear.RealWorldValueLastValueMapped) == (1, 255)


@pytest.mark.parametrize(("x0", "y0"), [(0, 0), (200, 100)])
def test_the_map_lies_on_the_slide(source: Any, tmp_path: Path, x0: int, y0: int) -> None:
    """The corner of the map's px (3, 5) and the level-0 point it begins at are one point of the glass, in mm.

    By hand for the slide: its px (0, 0) has its middle at (20, 40) mm; columns run along -y and rows along -x, so that
    the corner of px (c, r) is at (20 - (r - 0.5) * 0.0005, 40 - (c - 0.5) * 0.0005).
    """
    tiles = table(HOLES, x0=x0, y0=y0)
    found = back(*class_maps(source, tiles, BY, uid_of("map")), tmp_path)
    step = draw_heatmap(tiles).step[0]
    to_glass = hd.spatial.ImageToReferenceTransformer.for_image(found, for_total_pixel_matrix=True)
    column, row = x0 + 3 * step, y0 + 5 * step
    expected = (20 - (row - 0.5) * 0.0005, 40 - (column - 0.5) * 0.0005)
    assert np.allclose(to_glass(np.array([[3.0, 5.0]]))[0, :2], expected, atol=1e-6)
    assert found.FrameOfReferenceUID == source.FrameOfReferenceUID


def test_regions_are_the_union_of_tiles_though_no_polygon_has_a_hole(source: Any, tmp_path: Path) -> None:
    tiles = table(HOLES)
    back(class_regions(source, tiles, BY, uid_of("regions")), tmp_path)
    found = hd.ann.annread(tmp_path / "made.dcm")
    assert found.AnnotationCoordinateType == "2D" and found.PixelOriginInterpretation == "VOLUME"
    assert [group.label for group in found.get_annotation_groups()] == ["benign", "malignant"]
    for (_, geometry), group in zip(regions(tiles), found.get_annotation_groups(), strict=True):
        pieces = [shapely.Polygon(ring) for ring in group.get_graphic_data("2D")]
        whole = shapely.geometry.shape(geometry)
        assert shapely.union_all(pieces).equals(whole)
        assert sum(piece.area for piece in pieces) == whole.area  # none lies on another
    assert any(part.interiors for part in whole.geoms) if hasattr(whole, "geoms") else whole.interiors
    [identified] = group.algorithm_identification
    assert (identified.AlgorithmName, identified.AlgorithmVersion) == ("Lymph node 2", "ab12")
    assert group.annotated_property_type.value == "21594007"


def test_regions_of_a_slide_of_one_class(source: Any, tmp_path: Path) -> None:
    back(class_regions(source, table("mm\nmm"), BY, uid_of("regions")), tmp_path)
    [group] = hd.ann.annread(tmp_path / "made.dcm").get_annotation_groups()
    [ring] = group.get_graphic_data("2D")
    assert sorted(map(tuple, ring.tolist())) == [(0, 0), (0, 200), (200, 0), (200, 200)]


def test_many_holes_are_cut_without_recursing_for_each(source: Any) -> None:
    """A sieve of 60 × 60 holes: cut through one after the other it would be deeper than Python goes."""
    from counterstain.slides.dicom_results import _plain_polygons

    holes = [[(3 * x + 1, 3 * y + 1), (3 * x + 2, 3 * y + 1), (3 * x + 2, 3 * y + 2), (3 * x + 1, 3 * y + 2)]
             for x in range(60) for y in range(60)]  # fmt: skip
    sieve = shapely.Polygon([(0, 0), (180, 0), (180, 180), (0, 180)], holes)
    pieces = [shapely.Polygon(ring) for ring in _plain_polygons(shapely.geometry.mapping(sieve))]
    assert sum(piece.area for piece in pieces) == sieve.area == 180**2 - 3600


def test_the_report_says_class_probabilities_and_who_said_so(source: Any, tmp_path: Path) -> None:
    made = class_report(source, ("benign", "malignant"), [0.25, 0.75], 1, BY, uid_of("report"))
    back(made, tmp_path)
    found = hd.sr.srread(tmp_path / "made.dcm")
    assert found.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    first, *rest = found.content.get_image_measurement_groups()
    [verdict] = first.get_qualitative_evaluations()
    assert (verdict.value.value, verdict.value.scheme_designator) == ("21594007", "SCT")
    assert [(group.finding_type.meaning, group.get_measurements()[0].value) for group in rest] == [
        ("benign", 0.25), ("Malignant", 0.75)
    ]  # fmt: skip
    text = {
        item.ConceptNameCodeSequence[0].CodeMeaning: item.TextValue
        for item in first[0].ContentSequence
        if item.ValueType == "TEXT" and "Parameters" not in item.ConceptNameCodeSequence[0].CodeMeaning
    }
    assert text["Algorithm Name"] == "Lymph node 2" and text["Algorithm Version"] == "ab12"
    assert b"pooling top_5pct_mean" in (tmp_path / "made.dcm").read_bytes()
    [image] = first.source_images
    assert image.referenced_sop_instance_uid == source.SOPInstanceUID
    assert (found.CompletionFlag, found.VerificationFlag) == ("COMPLETE", "UNVERIFIED")


def every(source: Any, by: ReadBy = BY) -> list[Any]:
    tiles = table(HOLES, classes=tuple(["benign", *by.codes] if len(by.codes) == 1 else by.codes))
    return [
        *class_maps(source, tiles, by, uid_of("map")),
        class_regions(source, tiles, by, uid_of("regions")),
        class_report(source, tiles.classes, [0.5, 0.5], 0, by, uid_of("report")),
    ]


def test_all_lie_in_the_study_of_the_slide_and_say_when_it_was_read(source: Any, tmp_path: Path) -> None:
    for made in every(source):
        found = back(made, tmp_path)
        assert (found.StudyInstanceUID, found.PatientName) == (source.StudyInstanceUID, PATIENT)
        assert (found.ContentDate, found.ContentTime) == ("20261130", "090500")
    assert len({made.SeriesInstanceUID for made in every(source)} | {source.SeriesInstanceUID}) == 4


# An attribute that isn't in the file: this version of the program asks for it wherever coordinates are 2D.
MISTAKEN = "CommonZCoordinateValue"


def test_the_objects_conform_to_the_standard(source: Any, tmp_path: Path) -> None:
    """Another group's program, dciodvfy of dicom3tools, finds no error in what is written, nor in the slide."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    [slide, *_] = write_series(tmp_path / "slide", tissue_pixels(1), tile=256)
    for made in [pydicom.dcmread(slide), *every(source)]:
        back(made, tmp_path)
        found = subprocess.run([program, tmp_path / "made.dcm"], capture_output=True, text=True, check=False).stderr
        assert [line for line in found.splitlines() if line.startswith("Error") and MISTAKEN not in line] == []
        assert found.strip().splitlines()


def test_the_same_results_make_the_same_bytes(source: Any, tmp_path: Path) -> None:
    for number, (first, second) in enumerate(zip(every(source), every(source), strict=True)):
        for name, made in (("a", first), ("b", second)):
            made.save_as(tmp_path / f"{name}{number}.dcm", enforce_file_format=True)
        assert (tmp_path / f"a{number}.dcm").read_bytes() == (tmp_path / f"b{number}.dcm").read_bytes()


def test_classes_and_patients_of_any_script(tmp_path: Path) -> None:
    """The slide is in Latin-1, the classes are Greek and longer than a short code may be."""
    [path, *_] = write_series(tmp_path / "slide", tissue_pixels(1), tile=256)
    own = pydicom.dcmread(path)
    own.SpecificCharacterSet, own.PatientName = "ISO_IR 100", "Müller^Änne"
    own.save_as(path, enforce_file_format=True)
    names = ("καλοήθης", "κακοήθης, υψηλού βαθμού διαφοροποίησης")
    by = replace(BY, codes={})
    tiles = table(HOLES, classes=names)
    source = read_source(path)
    for made in (
        *class_maps(source, tiles, by, uid_of("map")),
        class_regions(source, tiles, by, uid_of("regions")),
        class_report(source, names, [0.5, 0.5], 1, by, uid_of("report")),
    ):
        found = back(made, tmp_path)
        assert str(found.PatientName) == "Müller^Änne" and names[1] in str(found).replace("\n", " ")


@pytest.mark.parametrize("missing", ["FrameOfReferenceUID", "TotalPixelMatrixOriginSequence"])
def test_a_slide_that_lacks_what_results_must_say(tmp_path: Path, missing: str) -> None:
    [path, *_] = write_series(tmp_path, tissue_pixels(1), tile=256)
    own = pydicom.dcmread(path)
    del own[missing]
    own.save_as(path, enforce_file_format=True)
    with pytest.raises(InputError, match=missing):
        read_source(path)


def test_a_slide_made_anonymous(tmp_path: Path) -> None:
    """Elements that may be empty may be missing, too."""
    [path, *_] = write_series(tmp_path, tissue_pixels(1), tile=256)
    own = pydicom.dcmread(path)
    for name in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyTime"):
        del own[name]
    own.save_as(path, enforce_file_format=True)
    for made in every(read_source(path)):
        assert back(made, tmp_path).StudyInstanceUID == f"{ROOT}.1.1"


def test_what_is_no_dicom_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.svs").write_bytes(b"II*\0")
    with pytest.raises(InputError, match="wsidicomizer"):
        read_source(tmp_path / "a.svs")
