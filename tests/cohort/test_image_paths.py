"""A table says where its images are: relative to itself, to a root, or elsewhere; what was written is read back."""

import shutil
from pathlib import Path

import pytest

from counterstain.cohort.image_paths import LOCATION, paths_from_table, place_images, recorded_root, write_location
from counterstain.cohort.layouts import read_folder
from counterstain.cohort.manifest import read_manifest, write_cohort
from counterstain.errors import InputError


def images(folder: Path) -> Path:
    for name in ("benign/P1_0.png", "benign/P2_0.png", "malignant/P3_0.png", "malignant/P4_0.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


PLACES = ["images/cohort.csv", "cohort.csv", "tables/deep/cohort.csv", "images/benign/cohort.csv", "cohort.parquet"]


@pytest.mark.parametrize("place", PLACES)
def test_a_table_written_anywhere_is_read_back_as_the_same_images(tmp_path: Path, place: str) -> None:
    made = read_folder(images(tmp_path / "images"), pattern=r"(?P<patient_id>P\d)")
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    write_cohort(made, tmp_path / place)
    back = read_manifest(tmp_path / place)
    assert [(back.root / name).resolve() for name in back.image] == [
        (made.root / name).resolve() for name in made.image
    ]
    assert back.table["patient_id"].tolist() == made.table["patient_id"].tolist()


def test_a_relative_root_and_a_relative_table_are_of_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images(tmp_path / "images")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    write_cohort(read_folder("images"), Path("out/cohort.csv"))
    assert len(read_manifest("out/cohort.csv")) == 4
    assert "../images/benign/P1_0.png" in Path("out/cohort.csv").read_text()


def test_a_table_in_a_linked_folder_counts_from_where_that_really_is(tmp_path: Path) -> None:
    made = read_folder(images(tmp_path / "images"))
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "away")
    write_cohort(made, tmp_path / "link" / "cohort.csv")
    assert len(read_manifest(tmp_path / "link" / "cohort.csv")) == 4
    assert len(read_manifest(tmp_path / "far" / "away" / "cohort.csv")) == 4


def test_the_whole_project_can_be_moved(tmp_path: Path) -> None:
    project = tmp_path / "project"
    made = read_folder(images(project / "images"))
    (project / "tables").mkdir()
    write_cohort(made, project / "tables" / "cohort.csv")
    shutil.move(project, tmp_path / "moved")
    assert len(read_manifest(tmp_path / "moved" / "tables" / "cohort.csv")) == 4


def test_absolute_paths_to_one_folder_are_its_images(tmp_path: Path) -> None:
    folder = images(tmp_path / "images")
    rows = "".join(f"{folder}/{label}/P{k}_0.png,{label}\n" for k, label in ((1, "benign"), (3, "malignant")))
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "m.csv").write_text("image_path,label\n" + rows)
    made = read_manifest(tmp_path / "t" / "m.csv")
    assert made.root == folder
    assert made.image == ("benign/P1_0.png", "malignant/P3_0.png")


@pytest.mark.parametrize(
    "paths",
    [
        ["a.png", "../b.png"],  # here and elsewhere
        ["../a.png", "../../b.png"],
        ["../a/../../b.png", "../c.png"],
        ["/etc/a.png", "/b.png"],  # no folder in common but the disk
        ["/etc/a.png", "b.png"],
        ["/x/../etc/a.png", "/x/b.png"],
        ["C:\\a.png", "C:\\b.png"],
        ["..", ".."],
    ],
)
def test_paths_without_one_folder_above_them_are_refused_with_the_way_out(tmp_path: Path, paths: list[str]) -> None:
    with pytest.raises(InputError, match=r"outside the root folder .* --root \(in a study, cohort\.root\)"):
        place_images(paths, tmp_path, "m.csv")


def test_a_root_that_is_given_is_never_left(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="outside the root folder"):
        place_images(["../a.png", "../b.png"], tmp_path, "m.csv", root=tmp_path)


def test_a_run_knows_where_its_images_are(tmp_path: Path) -> None:
    """Its tables name the images as each other do, so its cohort.csv does not; the root is recorded beside it."""
    made = read_folder(images(tmp_path / "images"))
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    write_cohort(made, run / "cohort.csv", as_named=True)
    write_location(run, made.root)
    assert recorded_root(run / "cohort.csv") == tmp_path / "images"
    assert recorded_root(run / "splits.csv") is None
    assert read_manifest(run / "cohort.csv").image == made.image
    (run / LOCATION).write_text('{"schema": "other"}')
    with pytest.raises(InputError, match="--root"):
        read_manifest(run / "cohort.csv")
    assert read_manifest(run / "cohort.csv", root=tmp_path / "images").image == made.image


def test_what_goes_to_the_screen_counts_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert paths_from_table(["a.png"], tmp_path / "images", Path("/dev/stdout")) == ["images/a.png"]
