"""What a verb is given as images: a folder, a folder with its own table, a table with ids in its paths."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from counterstain.cohort.layouts import read_images
from counterstain.cohort.manifest import write_cohort
from counterstain.errors import InputError

PATTERN = r"(?P<patient_id>P\d+)-"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for patient in range(4):
        for number in range(2):
            path = tmp_path / "images" / "ab"[patient % 2] / f"P{patient:02}-{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), 10 * patient + number, np.uint8)).save(path)
    return tmp_path / "images"


def test_a_folder_with_our_own_table_is_that_cohort(folder: Path) -> None:
    """`slides tiles` writes pictures of whole slides beside its tiles: they are not of the cohort."""
    made = read_images(folder, pattern=PATTERN)
    write_cohort(made, folder / "cohort.csv")
    (folder / "previews").mkdir()
    (folder / "previews" / "S1.png").write_bytes((folder / "a" / "P00-0.png").read_bytes())
    found = read_images(folder)
    assert found.image == made.image
    assert found.has_patients
    assert any("1 images in the folder are not in its cohort.csv (previews/S1.png)" in note for note in found.notes)
    assert read_images(folder, pattern=PATTERN).image == made.image
    assert set(read_images(folder, layout="folder").classes) == {"a", "b", "previews"}


def test_a_table_of_that_name_by_someone_else_is_only_mentioned(folder: Path) -> None:
    (folder / "cohort.csv").write_text("image_path,label\na/P00-0.png,x\nb/P01-0.png,y\n")
    found = read_images(folder)
    assert found.classes == ("a", "b")
    assert any("cohort.csv" in note for note in found.notes)


def table(folder: Path, header: str, row: str) -> Path:
    names = [f"{path.parent.name}/{path.name}" for path in sorted(folder.rglob("*.png"))]
    rows = [row.format(name=name, label=name[0], patient=name[2:5]) for name in names]
    (folder / "m.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder / "m.csv"


def test_a_pattern_finds_ids_in_the_paths_of_a_table(folder: Path) -> None:
    found = read_images(table(folder, "image_path,label", "{name},{label}"), pattern=PATTERN)
    assert sorted(set(found.patient)) == ["P00", "P01", "P02", "P03"]
    found = read_images(table(folder, "image_path", "{name}"), pattern=r"(?P<label>\w)/(?P<patient_id>P\d+)")
    assert found.classes == ("a", "b")


def test_a_pattern_that_contradicts_the_table_is_refused(folder: Path) -> None:
    agree = table(folder, "image_path,label,patient_id", "{name},{label},{patient}")
    assert read_images(agree, pattern=PATTERN).has_patients
    other = table(folder, "image_path,label,patient_id", "{name},{label},X")
    with pytest.raises(InputError, match="row 1 has patient_id 'X', and the pattern finds 'P00'"):
        read_images(other, pattern=PATTERN)
    assert read_images(other, pattern=PATTERN, columns={"patient_id": ""}).patient[0] == "P00"


def test_a_root_is_for_tables(folder: Path) -> None:
    with pytest.raises(InputError, match="its own root"):
        read_images(folder, root=folder.parent)
