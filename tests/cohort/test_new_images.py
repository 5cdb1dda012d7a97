"""Images to be predicted: every kind of source, with the labels it has, and none that it has not."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from counterstain.cohort.new_images import read_new_images
from counterstain.errors import InputError

CLASSES = ("benign", "malignant")


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    return path


def labels(images: object) -> list[str]:
    return images.table["label"].tolist()  # type: ignore[attr-defined]


def test_one_picture(tmp_path: Path) -> None:
    found = read_new_images([picture(tmp_path / "a.png")], CLASSES)
    assert (found.image, found.root, labels(found)) == (("a.png",), tmp_path, [""])


def test_a_flat_folder_has_no_labels_and_no_complaint(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.jpg")
    found = read_new_images([tmp_path], CLASSES)
    assert (found.image, labels(found), found.notes) == (("a.png", "b.jpg"), ["", ""], ())


@pytest.mark.parametrize("folders", [("benign", "malignant"), ("malignant",)])
def test_folders_named_as_the_classes_are_labels(tmp_path: Path, folders: tuple[str, ...]) -> None:
    for folder in folders:
        picture(tmp_path / folder / "a.png")
    assert labels(read_new_images([tmp_path], CLASSES)) == list(folders)


@pytest.mark.parametrize("folders", [("case1", "case2"), ("case1",), ("benign", "unsure")])
def test_other_folders_are_none_and_a_note_says_why(tmp_path: Path, folders: tuple[str, ...]) -> None:
    for folder in folders:
        picture(tmp_path / folder / "a.png")
    found = read_new_images([tmp_path], CLASSES)
    assert set(labels(found)) == {""}
    assert len(found) == len(folders)
    assert "no labels were read" in found.notes[0]


def test_several_paths_are_joined_and_none_is_taken_twice(tmp_path: Path) -> None:
    one = picture(tmp_path / "x" / "a.png")
    picture(tmp_path / "y" / "deep" / "b.png")
    found = read_new_images([one, tmp_path / "y", one], CLASSES)
    assert found.image == ("x/a.png", "y/deep/b.png")
    assert found.root == tmp_path.resolve()


def test_a_table_with_without_and_with_some_labels(tmp_path: Path) -> None:
    for name in "abc":
        picture(tmp_path / f"{name}.png")
    table = tmp_path / "t.csv"
    table.write_text("filename,PatientID\na.png,p1\nb.png,p1\nc.png,\n")
    found = read_new_images([table], CLASSES)
    assert labels(found) == ["", "", ""]
    assert found.table["patient_id"].tolist() == ["p1", "p1", ""]
    table.write_text("image_path,label\na.png,benign\nb.png,\nc.png,malignant\n")
    assert labels(read_new_images([table], CLASSES)) == ["benign", "", "malignant"]
    table.write_text("image_path,label\na.png,benign\nb.png,tumour\n")
    with pytest.raises(InputError, match=r"row 2 has label 'tumour', but the model was trained on benign, malignant"):
        read_new_images([table], CLASSES)
    assert labels(read_new_images([table], CLASSES, columns={"label": ""})) == ["", ""]


def test_containers_with_and_without_labels(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "only.h5", "w") as file:
        file["x"] = np.zeros((3, 8, 8, 3), np.uint8)
    found = read_new_images([tmp_path / "only.h5"], CLASSES)
    assert found.image == ("only.h5#x/0", "only.h5#x/1", "only.h5#x/2")
    np.savez(tmp_path / "n.npz", images=np.zeros((2, 8, 8, 3), np.uint8))
    assert read_new_images([tmp_path / "n.npz"], CLASSES).image == ("n.npz#images/0", "n.npz#images/1")
    with h5py.File(tmp_path / "both.h5", "w") as file:
        file["x"], file["y"] = np.zeros((2, 8, 8, 3), np.uint8), np.array([0, 1])
    assert labels(read_new_images([tmp_path / "both.h5"], ("0", "1"))) == ["0", "1"]
    odd = read_new_images([tmp_path / "both.h5"], CLASSES)
    assert labels(odd) == ["", ""] and "'0' is no class of the model" in odd.notes[0]
    with h5py.File(tmp_path / "no.h5", "w") as file:
        file["z"] = np.zeros(3)
    with pytest.raises(InputError, match=r"no\.h5 holds z \(3,\); needed: images"):
        read_new_images([tmp_path / "no.h5"], CLASSES)


def test_what_is_refused(tmp_path: Path) -> None:
    one = picture(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("image_path\na.png\n")
    (tmp_path / "empty").mkdir()
    for sources, words in (
        ([tmp_path / "none"], "does not exist"),
        ([tmp_path / "t.csv", one], "is a table and was named beside other sources"),
        ([tmp_path / "empty"], "holds no image"),
    ):
        with pytest.raises(InputError, match=words):
            read_new_images(sources, CLASSES)
    with pytest.raises(InputError, match="columns are of a CSV"):
        read_new_images([one], CLASSES, columns={"label": "x"})
    (tmp_path / "t.csv").write_text("image_path\na.png\na.png\n")
    with pytest.raises(InputError, match=r"lists a\.png twice"):
        read_new_images([tmp_path / "t.csv"], CLASSES)


def test_a_pattern_fills_ids_of_images_without_labels(tmp_path: Path) -> None:
    picture(tmp_path / "P1_a.png")
    picture(tmp_path / "P2_b.png")
    found = read_new_images([tmp_path], CLASSES, pattern=r"(?P<patient_id>P\d+)_")
    assert found.table["patient_id"].tolist() == ["P1", "P2"] and labels(found) == ["", ""]
    assert found.table["mpp"].isna().all() and found.table["mpp"].dtype == np.float64


def test_a_pattern_fills_what_a_table_does_not_say(tmp_path: Path) -> None:
    for name in ("P1_a", "P2_b"):
        picture(tmp_path / f"{name}.png")
    table = tmp_path / "t.csv"
    table.write_text("image_path,site,mpp\nP1_a.png,X,0.5\nP2_b.png,,\n")
    found = read_new_images([table], CLASSES, pattern=r"(?P<patient_id>P\d+)_")
    assert found.table["patient_id"].tolist() == ["P1", "P2"] and found.table["site"].tolist() == ["X", ""]
    assert found.table["mpp"].iloc[0] == 0.5 and np.isnan(found.table["mpp"].iloc[1])


def test_a_label_of_a_pattern_must_be_a_class_of_the_model(tmp_path: Path) -> None:
    picture(tmp_path / "odd_a.png")
    picture(tmp_path / "benign_a.png")
    with pytest.raises(InputError, match="the label 'odd', but the model was trained on benign, malignant"):
        read_new_images([tmp_path], CLASSES, pattern="(?P<label>[a-z]+)_")


def test_a_layout_that_was_named_is_not_given_up_in_silence(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"BreakHis"):
        read_new_images([tmp_path], CLASSES, layout="breakhis")
    (tmp_path / "t.csv").write_text("image_path\na.png\n")
    with pytest.raises(InputError, match="layout is for a folder's file names"):
        read_new_images([tmp_path / "t.csv"], CLASSES, layout="breakhis")


def test_links_are_followed_where_asked(tmp_path: Path) -> None:
    picture(tmp_path / "far" / "b.png")
    picture(tmp_path / "near" / "a.png")
    (tmp_path / "near" / "link").symlink_to(tmp_path / "far")
    assert read_new_images([tmp_path / "near"], CLASSES).image == ("a.png",)
    found = read_new_images([tmp_path / "near"], CLASSES, follow_links=True, root=tmp_path)
    assert len(found) == 2 and all((found.root / name).is_file() for name in found.image)
