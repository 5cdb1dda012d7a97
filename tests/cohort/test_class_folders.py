"""The level of folders that names the classes is recognised or asked about, never silently the wrong one."""

from pathlib import Path

import pytest

from counterstain.cohort.image_files import find_images
from counterstain.cohort.layouts import read_folder
from counterstain.errors import InputError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def tree(root: Path, *folders: str, each: int = 2) -> Path:
    return touch(root, *(f"{folder}/{number}.png" for folder in folders for number in range(each)))


LC25000 = (
    *("colon_image_sets/colon_aca", "colon_image_sets/colon_n"),
    *("lung_image_sets/lung_aca", "lung_image_sets/lung_n", "lung_image_sets/lung_scc"),
)
SITES = ("hospital_a/benign", "hospital_a/malignant", "hospital_b/benign", "hospital_b/malignant")
BY_PATIENT = tuple(f"P{patient:02}/{label}" for patient in range(5) for label in "01")


@pytest.mark.parametrize(
    "folders", [LC25000, SITES, BY_PATIENT, ("benign/adenosis", "benign/phyllodes", "malignant/ductal")]
)
def test_folders_in_folders_are_asked_about(tmp_path: Path, folders: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="which are the classes") as refusal:
        read_folder(tree(tmp_path, *folders))
    upper = read_folder(tmp_path, layout="folder")
    assert set(upper.classes) == {folder.split("/")[0] for folder in folders}
    assert any("the folders below them" in note for note in upper.notes)
    pattern = str(refusal.value).rpartition("--pattern '")[2].removesuffix("'")
    lower = read_folder(tmp_path, pattern=pattern)
    assert set(lower.classes) == {folder.split("/")[1] for folder in folders}


@pytest.mark.parametrize(
    "folders",
    [
        ("benign/P01", "benign/P02", "malignant/P03"),  # patients
        ("benign/40X", "benign/100X", "malignant/40X", "malignant/100X", "normal/40X", "normal/100X"),
        ("benign/images", "malignant/images"),
        ("benign", "malignant/high", "malignant/low"),
    ],
)
def test_folders_that_are_no_classes_are_named_in_a_note(tmp_path: Path, folders: tuple[str, ...]) -> None:
    found = read_folder(tree(tmp_path, *folders))
    assert set(found.classes) == {folder.split("/")[0] for folder in folders}
    below = next(folder.split("/")[1] for folder in folders if "/" in folder)
    assert any("the folders below them" in note and below in note for note in found.notes) or len(folders) > 4


def test_what_a_pattern_reads_is_not_asked_about(tmp_path: Path) -> None:
    tree(tmp_path, "benign/smith", "benign/jones", "malignant/brown")
    found = read_folder(tmp_path, pattern=r"/(?P<patient_id>[^/]+)/[^/]+$")
    assert found.classes == ("benign", "malignant")
    assert set(found.patient) == {"smith", "jones", "brown"}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("train_set", "Test", "External"), {"train", "test", "test_external"}),
        (("TrainingSet", "validation_data", "test_images"), {"train", "val", "test"}),
        (("train", "valid", "external_validation"), {"train", "val", "test_external"}),
        (("Test", "External"), {"test", "test_external"}),
    ],
)
def test_parts_above_the_classes_are_recognised(tmp_path: Path, names: tuple[str, ...], words: set[str]) -> None:
    found = read_folder(tree(tmp_path, *(f"{name}/{label}" for name in names for label in ("benign", "malignant"))))
    assert found.classes == ("benign", "malignant")
    assert set(found.table["split"]) == words


def test_a_part_of_no_known_name_beside_train_is_asked_about(tmp_path: Path) -> None:
    tree(tmp_path, "train/a", "train/b", "unseen/a", "unseen/b")
    with pytest.raises(InputError, match=r"'unseen' is none of train.*cohort\.splits: \{unseen: test\}"):
        read_folder(tmp_path)
    assert set(read_folder(tmp_path, splits={"unseen": "test"}).table["split"]) == {"train", "test"}


def nct(root: Path, *sets: str) -> Path:
    names = {"NCT": "{0}-AAA{1}LCL{1}.tif", "CRC": "{0}-TCGA-AA{1}CEQF{1}.tif"}
    return touch(
        root,
        *(
            f"{folder}/{tissue}/" + names[folder[:3]].format(tissue, letter)
            for folder in sets
            for tissue in ("ADI", "STR", "TUM")
            for letter in "ABC"
        ),
    )


def test_nct_and_crc_val_side_by_side_are_train_and_test_of_tissues(tmp_path: Path) -> None:
    found = read_folder(nct(tmp_path, "NCT-CRC-HE-100K", "CRC-VAL-HE-7K"))
    assert found.classes == ("ADI", "STR", "TUM")
    tested = found.table["split"] == "test"
    assert set(found.table["image_path"][tested].str[:3]) == {"CRC"}
    assert set(read_folder(tmp_path / "CRC-VAL-HE-7K").table["split"]) == {""}
    flat = touch(tmp_path / "flat", "ADI-AAAFLCLY.tif", "TUM-AAAFLCLY.tif")
    assert read_folder(flat).classes == ("ADI", "TUM")


def test_nct_tiles_in_classes_of_the_user_s_own_keep_these(tmp_path: Path) -> None:
    touch(tmp_path, "tumour/TUM-AAAFLCLY.tif", "other/ADI-AAAFLCLY.tif", "other/STR-AAAFLCLY.tif")
    assert read_folder(tmp_path).classes == ("other", "tumour")


@pytest.mark.parametrize("labels", [("Benign", "benign", "BENIGN "), ("non tumour", "Non  tumour", "nontumour")])
def test_labels_that_differ_in_case_or_spaces_are_one_class(tmp_path: Path, labels: tuple[str, ...]) -> None:
    names = [*labels, labels[0], "malignant"]
    touch(tmp_path, *(f"{name}/{number}.png" for number, name in enumerate(names)))
    found = read_folder(tmp_path)
    assert found.classes == (labels[0], "malignant")
    assert any("are one class" in note for note in found.notes)
    assert read_folder(tmp_path, positive=labels[1]).positive == labels[0]


def linked(tmp_path: Path) -> Path:
    """study/benign and study/malignant are links to folders of data/."""
    tree(tmp_path / "data", "b", "m")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "benign").symlink_to(tmp_path / "data" / "b")
    (tmp_path / "study" / "malignant").symlink_to("../data/m")
    return tmp_path / "study"


def test_links_are_not_followed_unasked_and_the_way_out_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"2 links were left out.*--follow-links --root"):
        read_folder(linked(tmp_path))
    with pytest.raises(InputError, match="2 links were left out"):
        read_folder(tmp_path / "study", follow_links=True)  # inside the root only, which is the folder itself
    with pytest.raises(InputError, match="does not lie in the root"):
        read_folder(tmp_path / "study", follow_links=True, root=tmp_path / "data")


def test_links_are_followed_inside_the_root(tmp_path: Path) -> None:
    found = read_folder(linked(tmp_path), follow_links=True, root=tmp_path)
    assert found.classes == ("benign", "malignant")
    assert found.image == ("data/b/0.png", "data/b/1.png", "data/m/0.png", "data/m/1.png")
    assert found.root == tmp_path.resolve()
    assert found.table["label"].tolist() == ["benign", "benign", "malignant", "malignant"]


def test_no_image_is_found_twice_and_no_circle_is_walked(tmp_path: Path) -> None:
    folder = tree(tmp_path / "images", "a", "b")
    (folder / "again").symlink_to(folder / "a")
    (folder / "a" / "up").symlink_to(folder)
    (folder / "b" / "one.png").symlink_to(folder / "b" / "0.png")
    found = find_images(folder, follow_links=True)
    assert len(found.images) == len(set(found.real.values())) == 4
    assert {name for name, _ in found.skipped} == {"again", "a/up", "b/one.png"}
