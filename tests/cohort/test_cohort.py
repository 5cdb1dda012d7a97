"""Manifests by hand, of other tools, of real data, and every fault that a user's manifest may have."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterstain.cohort.cohort import Cohort, assemble, container, order_classes
from counterstain.cohort.manifest import read_manifest, write_cohort
from counterstain.cohort.summary import describe, describe_lines, measure_colour
from counterstain.errors import InputError


def manifest(folder: Path, text: str, *, images: str = "a.png b.png c.png d.png") -> Path:
    """A manifest of this text in the folder, beside empty files of these names."""
    for name in images.split():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    path = folder / "manifest.csv"
    path.write_text(text, encoding="utf-8")
    return path


def four(**columns: list[object]) -> Cohort:
    base: dict[str, list[object]] = {
        "image_path": ["a.png", "b.png", "c.png", "d.png"],
        "label": ["benign", "malignant", "benign", "malignant"],
    }
    return assemble({**base, **columns}, root=Path())


def test_columns_and_missing_values_by_hand(tmp_path: Path) -> None:
    text = "image_path,label,patient_id,slide_id,site,mpp,x,y,split\n" \
           "a.png,benign,P1,S1,NA,0.5,0,10,train\n" \
           "b.png,malignant,007,,,,,,test\n"  # fmt: skip
    cohort = read_manifest(manifest(tmp_path, text))
    assert cohort.image == ("a.png", "b.png")
    assert cohort.classes == ("benign", "malignant")
    assert cohort.positive == "malignant"
    assert list(cohort.label_index) == [0, 1]
    assert cohort.patient == ("P1", "007")  # ids are text: no leading zero is lost
    assert list(cohort.table["site"]) == ["NA", ""]  # TCGA has a site NA
    np.testing.assert_array_equal(cohort.table["mpp"], [0.5, np.nan])
    np.testing.assert_array_equal(cohort.table["y"], [10, np.nan])
    assert cohort.root == tmp_path


@pytest.mark.parametrize(
    ("header", "patient", "site"),
    [
        ("path,class,case_id,centre", "P1", "X"),
        ("filename,target,PATIENT,hospital", "P1", "X"),
        ("sample_id,label,case,center", "P1", "X"),
        ("Channel_0,ValueToPredict,SubjectID,Site", "P1", "X"),
        ("Image Path,Class Name,Patient-ID,institution", "P1", "X"),
        ("file,diagnosis,something,other", "", ""),
    ],
)
def test_other_tools_columns(tmp_path: Path, header: str, patient: str, site: str) -> None:
    cohort = read_manifest(manifest(tmp_path, f"{header}\na.png,0,P1,X\nb.png,1,P2,X\n"))
    assert cohort.classes == ("0", "1")
    assert cohort.table["patient_id"].iloc[0] == patient
    assert cohort.table["site"].iloc[0] == site


def test_case_and_slide_are_patient_and_slide(tmp_path: Path) -> None:
    text = "path,label,slide_id,case_id,spacing\na.png,x,S1,C1,0.25\nb.png,y,S2,C1,0.25\n"
    cohort = read_manifest(manifest(tmp_path, text))
    assert list(cohort.table["slide_id"]) == ["S1", "S2"]
    assert cohort.patient == ("C1", "C1")
    assert set(cohort.table["mpp"]) == {0.25}


def test_two_aliases_for_one_column_are_refused_and_own_name_or_mapping_wins(tmp_path: Path) -> None:
    rows = "a.png,x,P1,Q1\nb.png,y,P2,Q2\n"
    with pytest.raises(InputError, match="'case', 'subject'"):
        read_manifest(manifest(tmp_path, "path,label,case,subject\n" + rows))
    own = read_manifest(manifest(tmp_path, "path,label,patient_id,subject\n" + rows))
    assert own.patient == ("P1", "P2")
    mapped = read_manifest(manifest(tmp_path, "path,label,case,subject\n" + rows), columns={"patient_id": "subject"})
    assert mapped.patient == ("Q1", "Q2")
    left_out = read_manifest(manifest(tmp_path, "path,label,case,subject\n" + rows), columns={"patient_id": ""})
    assert not left_out.has_patients


def test_a_column_given_another_meaning_is_no_alias_as_well(tmp_path: Path) -> None:
    path = manifest(tmp_path, "path,case\na.png,x\nb.png,y\n")
    cohort = read_manifest(path, columns={"label": "case"})
    assert not cohort.has_patients


def test_splits_in_our_words(tmp_path: Path) -> None:
    text = "path,label,split\na.png,x,Training\nb.png,y,valid\nc.png,x,Testing\nd.png,y,test_other\n"
    assert list(read_manifest(manifest(tmp_path, text)).table["split"]) == ["train", "val", "test", "test_other"]
    renamed = read_manifest(manifest(tmp_path, text), splits={"valid": "test"})
    assert list(renamed.table["split"]) == ["train", "test", "test", "test_other"]
    with pytest.raises(InputError, match="no split 'vlid'"):
        read_manifest(manifest(tmp_path, text), splits={"vlid": "test"})
    with pytest.raises(InputError, match="has split 'holdout'"):
        read_manifest(manifest(tmp_path, "path,label,split\na.png,x,holdout\nb.png,y,train\n"))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_byte_order_mark_and_windows_line_ends(tmp_path: Path, separator: str) -> None:
    rows = [["path", "label", "mpp"], ["a.png", "x", "0,5" if separator == ";" else "0.5"], ["b.png", "y", ""]]
    path = manifest(tmp_path, "")
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(separator.join(row) for row in rows).encode())
    cohort = read_manifest(path)
    assert cohort.image == ("a.png", "b.png")
    assert cohort.table["mpp"].iloc[0] == 0.5


def test_windows_1252_is_read_and_said(tmp_path: Path) -> None:
    path = manifest(tmp_path, "")
    path.write_bytes("path,label\na.png,Grün\nb.png,Rot\n".encode("latin-1"))
    cohort = read_manifest(path)
    assert cohort.classes == ("Grün", "Rot")
    assert any("is not UTF-8" in note for note in cohort.notes)


def test_parquet_with_numbers_for_ids_and_gaps(tmp_path: Path) -> None:
    manifest(tmp_path, "")
    frame = pd.DataFrame({"path": ["a.png", "b.png"], "label": [0, 1], "patient": [7.0, None], "mpp": [0.5, None]})
    frame.to_parquet(tmp_path / "m.parquet")
    cohort = read_manifest(tmp_path / "m.parquet")
    assert cohort.classes == ("0", "1")
    assert list(cohort.table["patient_id"]) == ["7", ""]
    assert not cohort.has_patients
    assert cohort.patient == ("7", "b.png")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("path,label\n", "no rows"),
        ("path,label\na.png,x\n", "only one class, 'x'"),
        ("path,label\na.png,x\nb.png,\n", "row 2 has no label"),
        ("path,label\na.png,x\nb.png,NaN\n", "row 2 has no label"),
        ("path,label\na.png,x\na.png,x\nb.png,y\n", "a.png is listed twice"),
        ("path,label\na.png,x\n./a.png,y\n", "a.png is listed twice"),
        ("path,label\na.png,x\nb.png,y,z\n", "line 3 has 3 cells"),
        ('path,label\na.png,"x\n', "not CSV"),
        ("path,label,label\na.png,x,y\n", "two columns named 'label'"),
        ("picture,label\na.png,x\n", "no column for image_path"),
        ("path,text\na.png,x\n", "no column for label"),
        ("path,label\na.png,x\ngone.png,y\nlost.png,x\n", r"2 of 3 image files do not exist .*gone.png, lost.png"),
        ("path,label\na.png,x\n../b.png,y\n", "outside the root"),
        ("path,label\na.png,x\n/etc/passwd,y\n", "outside the root"),
        ("path,label\na.png,x\nC:\\b.png,y\n", "outside the root"),
        ("path,label,mpp\na.png,x,wide\nb.png,y,1\n", "row 1: mpp is 'wide'"),
        ("path,label,mpp\na.png,x,0\nb.png,y,1\n", "mpp is 0"),
        ("path,label,x\na.png,x,inf\nb.png,y,1\n", "x is inf"),
    ],
)
def test_faults_end_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_manifest(manifest(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_wrong_arguments(tmp_path: Path) -> None:
    path = manifest(tmp_path, "path,label\na.png,x\nb.png,y\n")
    for call, message in [
        ({"columns": {"labels": "label"}}, "did you mean 'label'"),
        ({"columns": {"label": "lable"}}, "no such column; did you mean 'label'"),
        ({"positive": "z"}, "positive class 'z'"),
        ({"splits": {"valid": "test"}}, "no column for the split"),
    ]:
        with pytest.raises(InputError, match=message):
            read_manifest(path, **call)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="does not exist"):
        read_manifest(tmp_path / "none.csv")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no table")
    with pytest.raises(InputError, match="not a Parquet file"):
        read_manifest(tmp_path / "bad.parquet")


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_that_leave_the_root_are_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.png").touch()
    inside = tmp_path / "inside"
    inside.mkdir()
    path = manifest(inside, "path,label\na.png,x\nlink.png,y\n")
    (inside / "link.png").symlink_to(outside / "secret.png")
    with pytest.raises(InputError, match=r"1 of 2 image files are links .*link.png"):
        read_manifest(path)
    (inside / "folder").symlink_to(outside)
    path.write_text("path,label\na.png,x\nfolder/secret.png,y\n", encoding="utf-8")
    with pytest.raises(InputError, match="links that lead out"):
        read_manifest(path)
    path.write_text("path,label\na.png,x\nwithin.png,y\n", encoding="utf-8")
    (inside / "within.png").symlink_to(inside / "b.png")
    assert len(read_manifest(path)) == 2


def test_absolute_paths_inside_the_root_and_windows_slashes(tmp_path: Path) -> None:
    text = f"path,label\n{tmp_path / 'a.png'},x\nsub\\b.png,y\n"
    assert read_manifest(manifest(tmp_path, text, images="a.png sub/b.png")).image == ("a.png", "sub/b.png")


def test_positive_class() -> None:
    assert order_classes(["b", "a"]) == (("a", "b"), "b")
    assert order_classes(["b", "a"], "a") == (("b", "a"), "a")
    assert order_classes(["cancer", "normal"]) == (("normal", "cancer"), "cancer")
    assert order_classes(["1", "0"]) == (("0", "1"), "1")
    assert order_classes(["10", "9", "1"]) == (("1", "9", "10"), None)
    with pytest.raises(InputError, match="two classes only"):
        order_classes(["a", "b", "c"], "a")


def test_a_cohort_checks_itself() -> None:
    cohort = four()
    table = cohort.table
    for wrong, message in [
        (table.rename(columns={"site": "sight"}), "unknown column 'sight'; did you mean 'site'"),
        (table.assign(label=["benign", "malignant", "benign", "other"]), "label 'other'"),
        (table.assign(label=["benign", "malignant", "benign", None]), "is None, not text|is nan, not text"),
        (table.assign(split=["train", "test", "valid", ""]), "split 'valid'"),
        (table.assign(x=[1, 2, 3, 4]), "float64"),
        (table.iloc[:0], "0 images"),
    ]:
        with pytest.raises(InputError, match=message):
            Cohort(wrong, cohort.classes, cohort.root, cohort.positive)
    with pytest.raises(InputError, match="positive is 'benign'"):
        Cohort(table, ("benign", "malignant"), Path(), "benign")


def test_subset_and_split_keep_classes_and_root() -> None:
    cohort = four(patient_id=["P1", "P2", "P3", "P4"])
    part = cohort.subset([2, 0])
    assert part.image == ("c.png", "a.png")
    assert part.classes == cohort.classes
    assert cohort.subset(np.array([False, True, True, False])).image == ("b.png", "c.png")
    assert list(cohort.with_split(["train", "val", "test", ""]).table["split"]) == ["train", "val", "test", ""]


def test_container_addresses() -> None:
    assert container("a.h5#x/12") == ("a.h5", "x/12")
    assert container("d/a.NPZ#train_images/0") == ("d/a.NPZ", "train_images/0")
    assert container("odd#name.png") == ("odd#name.png", "")


names = st.text(st.characters(codec="utf-8", exclude_characters="/\\\0\r"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..") and name[1:2] != ":" and name.strip() == name
)


@settings(max_examples=60)
@given(st.lists(names, min_size=2, max_size=6, unique=True), st.sampled_from(["csv", "parquet"]))
def test_any_names_survive_writing_and_reading(
    tmp_path_factory: pytest.TempPathFactory, found: list[str], kind: str
) -> None:
    folder = tmp_path_factory.mktemp("names")
    paths = [f"d{number}/{name}" for number, name in enumerate(found)]
    labels = ["x", *["y"] * (len(paths) - 1)]
    ids = [f" {name}".strip() for name in found]
    cohort = assemble({"image_path": paths, "label": labels, "slide_id": ids, "mpp": [0.1] * len(paths)}, root=folder)
    for path in paths:
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).touch()
    write_cohort(cohort, folder / f"c.{kind}")
    back = read_manifest(folder / f"c.{kind}")
    assert back.image == cohort.image
    assert back.classes == cohort.classes
    np.testing.assert_array_equal(back.table["mpp"], cohort.table["mpp"])


def test_twins_are_reported() -> None:
    cohort = four(image_path=["A.png", "a.png", "caf\u00e9.png", "cafe\u0301.png"])
    assert any("'A.png' and 'a.png'" in note and "café" in note for note in cohort.notes)


def test_writing_is_the_same_twice(tmp_path: Path) -> None:
    cohort = four(mpp=[0.1, np.nan, 1, 2.5], x=[1, 2, np.nan, 4])
    write_cohort(cohort, tmp_path / "a.csv", as_named=True)
    write_cohort(cohort, tmp_path / "b.csv", as_named=True)
    content = (tmp_path / "a.csv").read_bytes()
    assert content == (tmp_path / "b.csv").read_bytes()
    assert content.splitlines()[1] == b"a.png,benign,,,,0.1,1,,"


def test_description_by_hand() -> None:
    cohort = four(patient_id=["P1", "P1", "P2", "P3"], site=["X", "X", "Y", "Y"], slide_id=["S", "S", "T", ""])
    record = describe(cohort, np.array([True, True, False, True]))
    assert record["images"] == 4
    assert record["colour_images"] == 3
    assert record["per_class"] == {"benign": {"images": 2, "patients": 2}, "malignant": {"images": 2, "patients": 2}}
    assert record["patients"]["count"] == 3
    assert record["patients"]["images_each"] == {"min": 1, "median": 1.0, "max": 2}
    assert record["patients"]["with_several_classes"] == {"count": 1, "first": ["P1"]}
    assert record["sites"]["Y"]["images"] == 2
    assert record["slides"] == 2
    assert record["splits"] is None
    assert describe(four())["patients"] is None
    text = "\n".join(describe_lines(record))
    assert "images    4 (3 in colour)" in text
    assert "malignant (positive)" in text


def test_colour_by_header(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    make.make_images(tmp_path, ["a.png", "b.jpg", "c.png", "d.tif"], grey=["c.png"])
    (tmp_path / "e.png").touch()
    cohort = assemble(
        {"image_path": ["a.png", "b.jpg", "c.png", "d.tif", "e.png"], "label": list("xxyyy")}, root=tmp_path
    )
    assert list(measure_colour(cohort)) == [True, True, False, True, False]


def test_20000_rows_are_read(tmp_path: Path) -> None:
    rows = [f"d{row % 50}/{row}.png,{row % 2},P{row % 200}" for row in range(20_000)]
    for folder in range(50):
        (tmp_path / f"d{folder}").mkdir()
    for row in rows:
        os.close(os.open(tmp_path / row.split(",")[0], os.O_CREAT))
    (tmp_path / "m.csv").write_text("\n".join(["path,label,patient", *rows]), encoding="utf-8")
    cohort = read_manifest(tmp_path / "m.csv")
    assert len(cohort) == 20_000


@pytest.mark.realdata
def test_real_manifests_as_they_are(real_data: Path) -> None:
    breakhis = read_manifest(real_data / "breakhis_100x" / "manifest.csv")
    record = describe(breakhis)
    assert record["per_class"]["benign"] == {"images": 210, "patients": 7}
    assert record["per_class"]["malignant"] == {"images": 212, "patients": 16}
    assert record["slides"] == 27
    subtype = read_manifest(real_data / "breakhis_100x" / "manifest.csv", columns={"label": "subtype"})
    assert len(subtype.classes) == 8
    assert subtype.positive is None
    pcam = read_manifest(real_data / "pcam" / "manifest.csv", splits={"valid": "test"})
    assert pcam.classes == ("0", "1")
    assert pcam.positive == "1"
    assert {name: part["images"] for name, part in describe(pcam)["splits"].items()} == {"train": 20_000, "test": 3_000}


@pytest.mark.parametrize(("value", "fits"), [("0.25", True), ("0.01", True), ("100", True), ("250", False),
                                             ("1e-9", False), ("0", False), ("-1", False), ("inf", False)])  # fmt: skip
def test_mpp_is_one_that_a_microscope_has(tmp_path: Path, value: str, fits: bool) -> None:
    """250 is 0.25 µm/px in nm."""
    text = f"image_path,label,mpp\na.png,x,{value}\nb.png,y,{value}\n"
    if fits:
        assert list(read_manifest(manifest(tmp_path, text)).table["mpp"]) == [float(value)] * 2
        return
    with pytest.raises(InputError, match=rf"row 1: mpp is {value}; needed: µm per px, from 0\.01 to 100"):
        read_manifest(manifest(tmp_path, text))


@pytest.mark.parametrize("noun", ["x", "y"])
def test_half_a_place_is_refused(tmp_path: Path, noun: str) -> None:
    other = "y" if noun == "x" else "x"
    with pytest.raises(InputError, match=f"has {noun} and no {other}"):
        read_manifest(manifest(tmp_path, f"image_path,label,{noun}\na.png,u,1\nb.png,v,2\n"))


def test_whole_numbers_with_and_without_point_are_one_class(tmp_path: Path) -> None:
    text = "image_path,label\na.png,0\nb.png,1.0\nc.png,0.0\nd.png,0\n"
    cohort = read_manifest(manifest(tmp_path, text))
    assert cohort.classes == ("0", "1.0")
    assert any("'0' (2) and '0.0' (1) are one class" in note for note in cohort.notes)
