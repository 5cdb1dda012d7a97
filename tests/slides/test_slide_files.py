"""Which files are slides, and folders of their own for slides whose names a disk cannot tell apart."""

import json
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from counterstain.cli import app
from counterstain.errors import InputError
from counterstain.slides.slide_files import find_slides, folder_names, slide_name


def tissue(make: ModuleType, path: Path, seed: int = 0) -> Path:
    image = make.picture(320, 320, seed=seed) // 8 + 215
    image[64:256, 64:256] = image[64:256, 64:256] // 3 + (110, 40, 110)
    path.parent.mkdir(parents=True, exist_ok=True)
    return make.write_pyramid(path, [image], mpp=(0.5, 0.5), compression="deflate")


def run(*words: object) -> object:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_hidden_files_are_no_slides(make: ModuleType, tmp_path: Path) -> None:
    slide = tissue(make, tmp_path / "S1.tif")
    (tmp_path / "._S1.tif").write_bytes(b"\0\5\x16\7" + bytes(200))
    assert find_slides([tmp_path]) == [slide]
    assert run("inspect", tmp_path).exit_code == 0


def test_subfolders(make: ModuleType, tmp_path: Path) -> None:
    below = tissue(make, tmp_path / "uuid" / "S2.tif")
    tissue(make, tmp_path / ".hidden" / "S3.tif")
    with pytest.raises(InputError, match="1 are in its subfolders"):
        find_slides([tmp_path])
    said: list[str] = []
    assert find_slides([tmp_path], recursive=None, say=said.append) == [below] and "subfolders" in said[0]
    assert run("inspect", tmp_path).exit_code == 0
    own = tissue(make, tmp_path / "S1.tif")
    assert find_slides([tmp_path], recursive=None, say=said.append) == [own] and "--recursive" in said[1]
    assert find_slides([tmp_path], recursive=True) == [own, below]


def test_a_dicom_series_is_one_slide(make: ModuleType, tmp_path: Path) -> None:
    image = make.picture(320, 192)
    make.write_dicom(tmp_path / "a.dcm", make.halved(image), mpp=(0.5, 0.5), number=2)
    finest = make.write_dicom(tmp_path / "b.dcm", image, mpp=(0.25, 0.25))
    assert find_slides([tmp_path]) == [finest]
    assert find_slides([tmp_path / "a.dcm", tmp_path / "b.dcm"]) == [finest]
    done = run("inspect", tmp_path, "--json")
    (record,) = json.loads(done.stdout)["slides"]
    assert [level["width_px"] for level in record["levels"]] == [320, 160]


def test_dicom_is_found_without_an_ending(make: ModuleType, tmp_path: Path) -> None:
    """Archives name files by their UIDs: ".2" is no ending, and two slides must not have one name."""
    image = make.picture(320, 192)
    finest = make.write_dicom(tmp_path / "1.2.826.0.1", image)
    make.write_dicom(tmp_path / "1.2.826.0.2", make.halved(image), mpp=(1.0, 1.0), number=2)
    content = finest.read_bytes().replace(b"80043.10.1.2", b"80043.10.9.2")  # another SeriesInstanceUID
    (tmp_path / "1.2.826.0.3").write_bytes(content)
    (tmp_path / "DICOMDIR").write_bytes(content[:400])
    (tmp_path / "LICENSE").write_text("text")
    found = find_slides([tmp_path])
    assert [path.name for path in found] == ["1.2.826.0.1", "1.2.826.0.3"]
    assert [slide_name(path) for path in found] == ["1.2.826.0.1", "1.2.826.0.3"]


def test_an_odd_dicom_series_is_said(make: ModuleType, tmp_path: Path) -> None:
    """Its finest level is elsewhere, or its files name two patients: readers read both without a word."""
    image = make.picture(320, 192)
    make.write_dicom(tmp_path / "a.dcm", image, mpp=(0.5, 0.5), number=2)
    told: list[str] = []
    find_slides([tmp_path], say=told.append)
    assert len(told) == 1 and "a.dcm is a reduced level (RESAMPLED); the finest level of its series is not" in told[0]
    make.write_dicom(tmp_path / "b.dcm", make.picture(640, 384), mpp=(0.25, 0.25))
    told.clear()
    find_slides([tmp_path], say=told.append)
    assert told == []
    for name, patient in (("a.dcm", b"P1"), ("b.dcm", b"P2")):
        content = (tmp_path / name).read_bytes()
        place = content.index(b"\x20\x00\x0d\x00UI")  # before StudyInstanceUID
        element = b"\x10\x00\x20\x00LO\x02\x00" + patient
        (tmp_path / name).write_bytes(content[:place] + element + content[place:])
    find_slides([tmp_path], say=told.append)
    assert len(told) == 1 and "the files of this series name 2 patients (P1, P2)" in told[0]


def test_slides_that_a_disk_cannot_tell_apart(make: ModuleType, tmp_path: Path) -> None:
    for seed, name in enumerate(("A 1.tif", "A_1.tif", "a_1.tif")):
        tissue(make, tmp_path / "s" / name, seed)
    done = run("slides", "tiles", tmp_path / "s", "--tile-px", 64, "--out", tmp_path / "t")
    assert done.exit_code == 0, done.output
    rows = (tmp_path / "t" / "cohort.csv").read_text().splitlines()[1:]
    files = list((tmp_path / "t" / "tiles").rglob("*.png"))
    assert len(rows) == len(files) > 0
    assert len({path.parent for path in files}) == 3


def test_features_says_what_it_lacks_for_a_slide(tmp_path: Path) -> None:
    (tmp_path / "S1.svs").touch()
    for place in (tmp_path, tmp_path / "S1.svs"):
        done = run("features", "timm/resnet18", place, "--tile-px", 64, "--out", tmp_path / "out")
        assert done.exit_code == 2 and "add --mpp" in done.output


@given(st.lists(st.text("aA 1_.é-", min_size=1, max_size=4), unique=True, min_size=1, max_size=12))
def test_folder_names_differ_even_without_capitals(names: list[str]) -> None:
    found = folder_names(names)
    assert len({folder.casefold() for folder in found.values()}) == len(names)
    assert folder_names(names[::-1]) == found


@pytest.mark.parametrize("edges", [(), ("--edges",)])
@pytest.mark.parametrize("mask", [(), ("--no-tissue-mask",)])
def test_inspect_plans_what_slides_tiles_cuts(
    make: ModuleType, tmp_path: Path, edges: tuple[str, ...], mask: tuple[str, ...]
) -> None:
    slide = tissue(make, tmp_path / "S1.tif")
    options = ("--tile-px", 50, "--overlap", 0.2, *edges, *mask)
    planned = json.loads(run("inspect", slide, *options, "--json").stdout)["slides"][0]["plan"]["tiles"]
    cut = json.loads(run("slides", "tiles", slide, *options, "--out", tmp_path / "t", "--json").stdout)["tiles"]
    assert planned == sum(cut.values()) > 0


def test_many_slides_end_in_one_table_and_the_damaged_are_listed(make: ModuleType, tmp_path: Path) -> None:
    for name in ("TCGA-A2-A0CM-01Z-00-DX1.tif", "TCGA-B6-A0RS-01Z-00-DX1.tif"):
        tissue(make, tmp_path / "s" / name)
    (tmp_path / "s" / "x.tif").write_bytes(b"II*\0")
    done = run("inspect", tmp_path / "s", "--tile-px", 64)
    assert done.exit_code == 3
    assert "All slides" in done.output and "0.5 (tiff resolution)" in done.output and "could not be read" in done.output
    done = run("slides", "tiles", tmp_path / "s", "--tile-px", 64, "--out", tmp_path / "t")
    assert done.exit_code == 3 and "patient and site of 2 slides" in done.output
    failures = (tmp_path / "t" / "failures.csv").read_text().splitlines()
    assert failures[0] == "slide,path,reason" and failures[1].startswith("x,") and len(failures) == 2
    rows = [line.split(",") for line in (tmp_path / "t" / "cohort.csv").read_text().splitlines()[1:]]
    assert {(row[2], row[4]) for row in rows} == {("TCGA-A2-A0CM", "A2"), ("TCGA-B6-A0RS", "B6")}


@pytest.mark.parametrize("name", ["b.czi", "b.svs.gz", "b.zarr", "b.vsi", "b.tif.zip"])
def test_slides_of_other_formats_are_said(make: ModuleType, tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(InputError, match=f"{tmp_path} holds {name}: they are no slides that are read"):
        find_slides([tmp_path])
    own, said = tissue(make, tmp_path / "a.tif"), list[str]()
    assert find_slides([tmp_path], say=said.append) == [own]
    assert len(said) == 1 and f"1 files are passed over ({name})" in said[0]


def test_what_belongs_to_slides_is_passed_over_in_silence(make: ModuleType, tmp_path: Path) -> None:
    own, said = tissue(make, tmp_path / "a.tif"), list[str]()
    for name in ("a.geojson.gz", "a.xml", "thumbnail.jpg", "slides.csv", "._a.czi", "notes.zip"):
        (tmp_path / name).touch()
    assert find_slides([tmp_path], say=said.append) == [own] and not said


def test_a_link_to_nothing_is_said(make: ModuleType, tmp_path: Path) -> None:
    tissue(make, tmp_path / "a.tif")
    (tmp_path / "gone.svs").symlink_to(tmp_path / "nowhere.svs")
    said = list[str]()
    find_slides([tmp_path], say=said.append)
    assert said and "gone.svs" in said[0]
