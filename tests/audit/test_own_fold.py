"""Of several folds, a part is taken from the model's own; a validation part is drawn as for the training."""

from pathlib import Path

import pytest

from counterstain.audit.own_fold import part_of_model
from counterstain.audit.training_set import MEMBERS, member_record
from counterstain.cohort.cohort import Cohort, assemble
from counterstain.cohort.splitters import folds, read_split, write_split
from counterstain.errors import InputError
from counterstain.files import write_csv, write_json


@pytest.fixture
def cohort() -> Cohort:
    """60 images of 20 patients, of two classes in turn."""
    return assemble(
        {
            "image_path": [f"{k}.png" for k in range(60)],
            "label": ["ab"[k // 3 % 2] for k in range(60)],
            "patient_id": [f"p{k // 3}" for k in range(60)],
        },
        root=Path(),
    )


def model(folder: Path, images: list[str]) -> Path:
    """A bundle's folder as far as it is asked: what the model has seen."""
    folder.mkdir()
    record = member_record(salt="s", patient=[], image=images, file=[], tiles=[])
    write_json(folder / MEMBERS, record)
    return folder


@pytest.mark.parametrize("number", range(4))
def test_the_test_part_is_of_the_fold_that_the_model_was_trained_on(
    tmp_path: Path, cohort: Cohort, number: int
) -> None:
    """The first fold's test images were training images of every other fold's model."""
    split = folds(cohort, k=4)
    write_split(split, tmp_path / "s.csv")
    part = split.parts[number]
    seen = [cohort.image[row] for name in ("train", "val") for row in part.rows(name)]
    bundle = model(tmp_path / "m", seen[:-1] if number == 2 else seen)  # one image could not be read
    found = part_of_model(bundle, cohort, tmp_path / "s.csv", "test")
    assert found.image == tuple(cohort.image[row] for row in part.rows("test"))
    assert not set(found.image) & set(seen)
    other = part_of_model(bundle, cohort, tmp_path / "s.csv", "test", fold="0-0")
    assert other.image == tuple(cohort.image[row] for row in split.parts[0].rows("test"))


def test_a_model_of_no_fold_is_asked_about(tmp_path: Path, cohort: Cohort) -> None:
    write_split(folds(cohort, k=4), tmp_path / "s.csv")
    strange = model(tmp_path / "m", ["x.png", *cohort.image[:9]])
    with pytest.raises(InputError, match=r"trained on none of them as they are; say which with --fold, such as 0-0"):
        part_of_model(strange, cohort, tmp_path / "s.csv", "test")
    with pytest.raises(InputError, match=r"has no fold 9-9; it has 0-0"):
        part_of_model(strange, cohort, tmp_path / "s.csv", "test", fold="9-9")


@pytest.mark.parametrize("stamp", ["", "image-level: …"])
def test_a_validation_part_is_drawn_as_for_the_training(tmp_path: Path, cohort: Cohort, stamp: str) -> None:
    words = ["test" if k >= 48 else "train" for k in range(60)]
    write_csv(tmp_path / "s.csv", ("image_path", "split"), zip(cohort.image, words, strict=True))
    bundle = model(tmp_path / "m", list(cohort.image[:48]))
    drawn = read_split(tmp_path / "s.csv", cohort, unit="image" if stamp else "patient").parts[0]
    for part in ("train", "val", "test"):
        found = part_of_model(bundle, cohort, tmp_path / "s.csv", part, stamp=stamp)
        assert found.image == tuple(cohort.image[row] for row in drawn.rows(part))
    if not stamp:
        train, val = (set(part_of_model(bundle, cohort, tmp_path / "s.csv", part).patient) for part in ("train", "val"))
        assert not train & val


def test_folds_by_number_draw_val_as_read_split_does(tmp_path: Path, cohort: Cohort) -> None:
    fold = [int(name.removeprefix("p")) // 2 % 4 for name in cohort.patient]
    write_csv(tmp_path / "s.csv", ("image_path", "fold"), zip(cohort.image, fold, strict=True))
    split = read_split(tmp_path / "s.csv", cohort)
    part = split.parts[3]
    bundle = model(tmp_path / "m", [cohort.image[row] for name in ("train", "val") for row in part.rows(name)])
    found = part_of_model(bundle, cohort, tmp_path / "s.csv", "val")
    assert found.image == tuple(cohort.image[row] for row in part.rows("val"))


def test_an_empty_part_is_refused_with_those_that_are_there(tmp_path: Path, cohort: Cohort) -> None:
    write_csv(tmp_path / "s.csv", ("image_path", "split"), [(name, "test") for name in cohort.image])
    with pytest.raises(InputError, match="no image in part 'test_b'; it has test"):
        part_of_model(tmp_path, cohort, tmp_path / "s.csv", "test_b")
