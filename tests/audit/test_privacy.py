"""What could name a patient is found in names, texts and tags; coordinates, hashes and pseudonyms are let through."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from typer.testing import CliRunner

from counterstain.audit.privacy import find_identifiers, identifiers_in
from counterstain.cli import app


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("scan_2019-03-14.svs", "date"),
        ("scan_20190314.svs", "date"),
        ("14.03.2019", "date"),
        ("03/14/2019", "date"),
        ("14 Mar 2019", "date"),
        ("Date = 03/14/19", "date"),
        ("2019:03:14 10:00:00", "date"),
        ("Doe^Jane", "name"),
        ("PatientName: Müller", "name"),
        ('"patient_name": "Smith"', "name"),
        ("MRN: 1234567", "record number"),
        ("mrn_1234567", "record number"),
        ("S19-12345", "case number"),
        ("slides/SU-18-12345_A1.svs", "case number"),
        ("H2024/001234", "case number"),
        ("accession: 2024123", "case number"),
        ("DOB: 1", "birth"),
        ("jane.doe@hospital.org", "address"),
    ],
)
def test_forms_that_name_a_patient(text: str, kind: str) -> None:
    assert kind in {found for found, _ in identifiers_in(text)}


@pytest.mark.parametrize(
    "text",
    [
        "tile_256_512.png", "x_37920_y_15008", "10253_idx5_x1001_y1001_class0.png", "P001_3.png", "seed-0/fold-0-0",
        "TCGA-AA-3514-01Z-00-DX1.svs", "0123abcd-2019-4abc-8abc-012320190314", "sha256:" + "20190314" * 8,
        "mpp 0.2525", "20191399", "2019-02-30", "99991231", "0.20190314", "malignant", "0.905 [0.881, 0.925]", "1/2/3",
        "benign^2", "version 1.2.3", "2026 patients",
    ],
)  # fmt: skip
def test_forms_that_do_not(text: str) -> None:
    assert identifiers_in(text) == []


@given(st.integers(0, 99_999), st.integers(0, 99_999), st.sampled_from(["png", "jpg"]))
def test_coordinates_are_never_taken_for_dates(x: int, y: int, suffix: str) -> None:
    assert identifiers_in(f"tile_x{x}_y{y}.{suffix}") == []


def picture(path: Path, **tags: str) -> Path:
    image = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    if path.suffix == ".png":
        info = PngImagePlugin.PngInfo()
        for key, value in tags.items():
            info.add_text(key, value)
        image.save(path, pnginfo=info)
    elif path.suffix == ".tif":
        image.save(path, tiffinfo={270: tags["description"], 306: "2019:03:14 10:00:00"})
    else:
        exif = Image.Exif()
        exif[315] = tags["artist"]
        image.save(path, exif=exif)
    return path


def test_tags_of_images(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", Comment="seen by Doe^Jane")
    picture(tmp_path / "b.tif", description="Aperio|User = jdoe|Date = 03/14/19|Title = S19-12345")
    picture(tmp_path / "c.jpg", artist="Jane Doe")
    picture(tmp_path / "d.png", Software="counterstain")
    found = find_identifiers(tmp_path)
    assert {(one.file, one.where, one.kind) for one in found.found} == {
        ("a.png", "Comment", "name"),
        ("b.tif", "ImageDescription", "date"),
        ("b.tif", "ImageDescription", "case number"),
        ("b.tif", "DateTime", "date"),
        ("c.jpg", "Artist", "tag"),
    }
    assert not found and found.files == 4
    assert found.summary() == "3 of 4 files could name a patient: case number 1, date 2, name 1, tag 1"


def test_damaged_images_are_counted_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no png")
    found = find_identifiers(tmp_path)
    assert found.unread == ("a.png",) and "1 file could not be looked into" in found.summary()


def test_the_verb_ends_with_3_and_names_the_places(tmp_path: Path) -> None:
    (tmp_path / "S19-12345").mkdir()
    (tmp_path / "S19-12345/cohort.csv").write_text("image_path,patient_id\na.png,Doe^Jane\n")
    printed = CliRunner().invoke(app, ["privacy", str(tmp_path)])
    assert printed.exit_code == 3
    assert "S19-12345/cohort.csv" in printed.stdout and "Doe^Jane" in printed.stdout
    record = json.loads(CliRunner().invoke(app, ["privacy", str(tmp_path), "--json"]).stdout)
    assert {one["where"] for one in record["found"]} == {"path", "text"}
    clean = tmp_path / "clean"
    clean.mkdir()
    (clean / "a.csv").write_text("image_path,label\na.png,benign\n")
    assert CliRunner().invoke(app, ["privacy", str(clean)]).exit_code == 0
    assert CliRunner().invoke(app, ["privacy", str(tmp_path / "absent")]).exit_code == 2
