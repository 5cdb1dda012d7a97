"""Masks, previews, parts and empty folders beside images: none becomes a class or an image without a word."""

from pathlib import Path

import pytest

from counterstain.cohort.companions import MASK_OF
from counterstain.cohort.layouts import read_folder
from counterstain.errors import InputError


def tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize("mark", ["_mask", "_mask_1", " mask", "-seg", "_GT", "_overlay", "_thumb", "_segmentation"])
def test_a_mask_beside_its_image_is_left_out_and_named(tmp_path: Path, mark: str) -> None:
    names = [f"{label}/{label} ({number}){end}.png" for label in "ab" for number in (1, 2) for end in ("", mark)]
    found = read_folder(tree(tmp_path, *names))
    assert len(found) == 4
    assert {reason for _, reason in found.skipped} == {MASK_OF}
    assert any("4 files named as masks" in note for note in found.notes)


def test_a_mask_without_its_image_is_an_image(tmp_path: Path) -> None:
    names = ["a/1_mask.png", "a/2.png", "b/2_mask.png", "b/x_seg.png", "b/_mask.png", "b/unmask.png", "b/un.png"]
    assert len(read_folder(tree(tmp_path, *names))) == 7


@pytest.mark.parametrize(
    "folders",
    [
        ("train/a", "train/b", "test"), ("Training/a", "Training/b", "Validation", "Test"),
        ("images", "masks"), ("images", "labels"), ("a", "b", "masks"), ("a", "b", "Ground Truth"), ("imgs", "Images2"),
        ("tiles", "previews"), ("a", "b", "heatmaps"), ("benign", "malignant", "unlabeled"), ("a", "b", "Results"),
        ("patient_01", "patient_02", "patient_03"), ("Case 1", "Case 12"), ("slide1a", "slide1b"), ("WSI-7", "WSI-8"),
        ("TCGA-AA-0001-01Z", "TCGA-AA-0002-01Z"), ("2024-01-01", "2024-01-02"), ("20240101", "20240102"),
    ],
)  # fmt: skip
def test_folders_that_are_no_classes_are_refused(tmp_path: Path, folders: tuple[str, ...]) -> None:
    tree(tmp_path, *(f"{folder}/{number}.png" for folder in folders for number in range(2)))
    if "Images2" in folders:
        assert read_folder(tmp_path).classes == ("Images2", "imgs")  # a name with a number may be anything
        return
    with pytest.raises(InputError, match=r"not classes|no class by its name|none is a class"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    "folders", [("grade 1", "grade 2"), ("case", "control"), ("1", "2"), ("P1", "P2"), ("class0", "class1")]
)
def test_folders_with_numbers_may_be_classes(tmp_path: Path, folders: tuple[str, ...]) -> None:
    tree(tmp_path, *(f"{folder}/{number}.png" for folder in folders for number in range(2)))
    assert set(read_folder(tmp_path).classes) == set(folders)


def test_test_and_val_alone_may_be_classes(tmp_path: Path) -> None:
    assert set(read_folder(tree(tmp_path, "test/1.png", "val/1.png")).classes) == {"test", "val"}


def test_an_empty_folder_beside_the_classes_is_named(tmp_path: Path) -> None:
    tree(tmp_path, "a/1.png", "b/1.png", "notes/readme.txt", ".git/x")
    (tmp_path / "other").mkdir()
    notes = [note for note in read_folder(tmp_path).notes if "without any image" in note]
    assert notes == ["folders without any image, which are no classes: notes, other"]
