"""Cells that are valid and may have meant something else."""

from pathlib import Path

import pytest
from PIL import Image

from counterstain.cohort.doubtful import doubtful_labels, one_hot_words
from counterstain.cohort.manifest import read_manifest
from counterstain.errors import InputError
from counterstain.files import write_csv


@pytest.mark.parametrize(
    "labels",
    [
        ("Tumor", "Tumour"), ("tumor", "tumors"), ("adenoma", "adenomas"), ("ben", "benign"),
        ("malignant", "malignent"), ("Y", "yes"), ("oedema", "edema"),
        ("carcinoma", "carcinomma"), ("haemorrhage", "hemorrhage"),
    ],
)  # fmt: skip
def test_one_class_in_two_words_is_asked_about(labels: tuple[str, str]) -> None:
    (note,) = doubtful_labels([*labels, "stroma"])
    assert note.startswith(f"classes that may be one: '{labels[0]}' and '{labels[1]}'")


@pytest.mark.parametrize(
    "labels",
    [
        ("benign", "malignant"), ("typical", "atypical"), ("normal", "abnormal"), ("type a", "type b"),
        ("grade1", "grade2"),
        ("grade i", "grade ii"), ("adenosis", "adenoma"), ("ductal", "lobular"), ("hypoplasia", "hyperplasia"),
        ("intraductal", "interductal"), ("MSI", "MSS"), ("0", "1"), ("+", "-"), ("tumor", "non-tumor"),
        ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM"), ("sarcoma", "carcinosarcoma"),
    ],
)  # fmt: skip
def test_classes_that_differ_are_left_alone(labels: tuple[str, ...]) -> None:
    assert doubtful_labels(labels) == []


@pytest.mark.parametrize("word", ["NA", "none", "unknown", "-", "not reported"])
def test_a_word_for_nothing_known_is_asked_about(word: str) -> None:
    (note,) = doubtful_labels([word, word, "benign", "malignant"])
    assert note.startswith(f"'{word}' (2 images) is a class here")


def test_several_labels_in_a_cell_and_measurements_are_asked_about() -> None:
    (note,) = doubtful_labels(["benign;malignant", "benign", "malignant"])
    assert note.startswith("classes that join others: 'benign;malignant'")
    assert doubtful_labels(["benign/x", "benign", "malignant"]) == []  # x is none of them
    (note,) = doubtful_labels([f"{0.037 * row:.3f}" for row in range(20)])
    assert note.startswith("20 of 20 classes have one image: is this column a name, an id or a measurement?")


@pytest.mark.parametrize("flags", [("0", "1"), ("0.0", "1.0"), ("False", "TRUE")])
def test_a_table_with_a_column_per_class_is_asked_about(tmp_path: Path, flags: tuple[str, str]) -> None:
    no, yes = flags
    for name in "abcd":
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    rows = [
        (f"{name}.png", yes if place % 2 else no, no if place % 2 else yes, "50") for place, name in enumerate("abcd")
    ]
    write_csv(tmp_path / "t.csv", ("image_path", "benign", "malignant", "age"), rows)
    with pytest.raises(InputError, match=r"no column for label; 'benign' and 'malignant' hold 0 and 1, and each"):
        read_manifest(tmp_path / "t.csv")
    assert one_hot_words({"a": ["0", "1"], "b": ["1", "1"]}) == ""  # findings, not classes
    assert one_hot_words({"a": ["0", "1"], "age": ["50", "61"]}) == ""


def test_a_label_of_question_marks_is_none(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", ("image_path", "label"), [("a.png", "?"), ("b.png", "benign")])
    with pytest.raises(InputError, match=r"t\.csv row 1 has no label \('\?'; 1 such rows\)"):
        read_manifest(tmp_path / "t.csv")
