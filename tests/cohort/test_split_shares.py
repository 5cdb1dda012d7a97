"""The shares of a split are the shares that were asked for, in each class and on each side."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from counterstain.cohort.cohort import Cohort, assemble
from counterstain.cohort.layouts import read_folder
from counterstain.cohort.splitters import Split, count_parts, folds, holdout, official
from counterstain.errors import InputError


def even_cohort(per_class: int, images: int = 4, split: str | None = None) -> Cohort:
    """Patients of one class each, all with as many images."""
    names = [(f"{c}{p}/{k}.png", c, f"{c}{p}") for c in "ab" for p in range(per_class) for k in range(images)]
    path, label, patient = (list(column) for column in zip(*names, strict=True))
    table = {"image_path": path, "label": label, "patient_id": patient}
    return assemble(table | ({} if split is None else {"split": [split] * len(path)}), root=Path())


def patients_of(split: Split, cohort: Cohort) -> list[Counter[tuple[str, str]]]:
    """For each part of the split the number of patients by (class, side)."""
    labels = cohort.table["label"].tolist()
    return [
        Counter((label, word) for _, label, word in set(zip(cohort.patient, labels, part.assignment, strict=True)))
        for part in split.parts
    ]


@pytest.mark.parametrize(("val", "expected"), [(0.25, 4), (0.5, 8), (0.125, 2), (0.75, 12)])
def test_validation_is_its_share_of_each_training_side(val: float, expected: int) -> None:
    """20 patients of each class in 5 folds: 4 are tested, and of the other 16 the share `val` validates."""
    cohort = even_cohort(20)
    for own in patients_of(folds(cohort, k=5, val=val, seed=3), cohort):
        for label in "ab":
            assert own[label, "test"] == 4
            assert own[label, "val"] == expected
            assert own[label, "train"] == 16 - expected


def test_validation_differs_between_folds_and_repeats() -> None:
    cohort = even_cohort(20)
    split = folds(cohort, k=5, repeats=2, val=0.25, seed=3)
    chosen = [frozenset(np.array(cohort.patient)[part.rows("val")]) for part in split.parts]
    assert len(set(chosen)) == 10


@pytest.mark.parametrize(("test", "val", "expected"), [(0.25, 0.2, (12, 3, 5)), (0.5, 0.5, (5, 5, 10))])
def test_a_holdout_has_its_shares(test: float, val: float, expected: tuple[int, int, int]) -> None:
    """Of 20 patients of each class; val is a share of what isn't test."""
    cohort = even_cohort(20)
    (own,) = patients_of(holdout(cohort, test=test, val=val, seed=1), cohort)
    for label in "ab":
        assert tuple(own[label, side] for side in ("train", "val", "test")) == expected


@pytest.mark.parametrize(("val", "expected"), [(0.25, 4), (0.5, 8)])
def test_an_official_split_gives_up_the_share_of_its_train(val: float, expected: int) -> None:
    cohort = even_cohort(20)
    words = ["test" if int(name[1:]) < 4 else "train" for name in cohort.patient]
    (own,) = patients_of(official(cohort.with_split(words), val=val), cohort)
    for label in "ab":
        assert (own[label, "test"], own[label, "val"], own[label, "train"]) == (4, expected, 16 - expected)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    cohort = even_cohort(6)
    for call in (
        lambda: holdout(cohort, test=share),
        lambda: holdout(cohort, val=share),
        lambda: folds(cohort, k=2, val=share),
    ):
        with pytest.raises(InputError, match=r"(test|val) is .*; needed: a share between 0 and 1, such as 0\.2"):
            call()


def test_repeats_divide_few_patients_in_other_ways_each_time() -> None:
    """Three patients of each of two classes can be paired into three folds in six ways."""
    cohort = even_cohort(3)
    for seed in range(3):
        split = folds(cohort, k=3, repeats=6, seed=seed)
        ways = set()
        for repeat in range(6):
            parts = [part for part in split.parts if part.repeat == repeat]
            ways.add(frozenset(frozenset(np.array(cohort.patient)[part.rows("test")]) for part in parts))
        assert len(ways) == 6


def of_patients(has: dict[str, str], tested: tuple[str, ...] = ()) -> Cohort:
    """A cohort of one image for each class of each patient; a split of its own where some are tested."""
    rows = [(f"{patient}-{label}.png", label, patient) for patient, labels in has.items() for label in labels]
    names, labels, owners = zip(*rows, strict=True)
    columns = {"image_path": names, "label": labels, "patient_id": owners}
    if tested:
        columns["split"] = tuple("test" if owner in tested else "train" for owner in owners)
    return assemble(columns, root=Path())


def test_the_scarcest_class_is_named_wherever_it_stands() -> None:
    """Class 'a' has four patients and the others three, and one patient alone of the four has all of them."""
    has = {"P1": "abc", "P2": "abd", "P3": "acd", "P4": "abcd"}
    cohort = of_patients(has)
    with pytest.raises(InputError, match=r"^no split into 3 parts .* class 'b' with 3 patients \(P1, P2, P4\)"):
        holdout(cohort)


def test_a_train_part_that_cannot_give_up_val_is_refused_by_its_own_patients() -> None:
    """Each class has two of the three training patients, and yet no two parts of them both have every class."""
    has = {"A1": "abc", "P1": "ab", "P2": "ac", "P3": "bc"}
    cohort = of_patients(has, tested=("A1",))
    with pytest.raises(InputError, match=r"^no split into 2 parts .* class 'a' with 2 patients \(P1, P2\)"):
        official(cohort)


def test_folds_that_cannot_give_up_val_are_refused_by_the_patients_of_their_training_side() -> None:
    """Two folds of two patients of a class each must be ab, ac, bc, and no two parts of these both have every class."""
    has = {f"{half}{number}": classes for half in "PQ" for number, classes in enumerate(("ab", "ac", "bc"))}
    cohort = of_patients(has)
    message = r"^no split into 2 parts .* class 'a' with 2 patients \([PQ]0, [PQ]1\): add patients, merge it"
    with pytest.raises(InputError, match=message):
        folds(cohort, k=2)


def test_without_a_seed_it_is_nought() -> None:
    cohort = even_cohort(8)
    words = ["test" if int(name[1:]) < 2 else "train" for name in cohort.patient]
    given = cohort.with_split(words)
    assert holdout(cohort) == holdout(cohort, seed=0) != holdout(cohort, seed=1)
    assert folds(cohort) == folds(cohort, seed=0) != folds(cohort, seed=1)
    assert official(given) == official(given, seed=0) != official(given, seed=1)
    assert holdout(cohort) == holdout(cohort, test=0.2, val=0.2, unit="patient")
    assert folds(cohort) == folds(cohort, k=5, repeats=1, val=0.2, unit="patient")


def test_a_hold_out_that_cannot_be_is_refused_by_its_scarcest_class() -> None:
    """Each class has three patients, and yet of four patients no three parts all have every class."""
    has = {"P1": "abc", "P2": "ab", "P3": "ac", "P4": "bc"}
    cohort = of_patients(has)
    with pytest.raises(InputError, match=r"^no split into 3 parts .* class 'a' with 3 patients \(P1, P2, P3\)"):
        holdout(cohort)


def test_large_cohorts_are_divided_to_the_share() -> None:
    names = [f"{n}.png" for n in range(200_000)]
    cohort = assemble({"image_path": names, "label": [str(n % 2) for n in range(200_000)],
                       "patient_id": [f"P{n // 4}" for n in range(200_000)]}, root=Path())  # fmt: skip
    split = holdout(cohort)
    assert len(split.parts[0].rows("test")) == pytest.approx(40_000, rel=0.01)


@pytest.mark.realdata
def test_breakhis_divides_well(real_data: Path) -> None:
    """7 benign and 16 malignant patients of 4 to 72 images: all within 8 points of the shares asked for."""
    cohort = read_folder(real_data / "breakhis_100x")
    for seed in range(5):
        part = count_parts(holdout(cohort, seed=seed), cohort)["parts"][0]["counts"]
        for name, share in (("train", 0.64), ("val", 0.16), ("test", 0.2)):
            for label, total in (("benign", 210), ("malignant", 212)):
                assert part[name]["per_class"][label]["images"] / total == pytest.approx(share, abs=0.08)
    split = folds(cohort, k=5, repeats=2)
    assert len(split.parts) == 10
    with pytest.raises(InputError, match=r"class 'A' has 2 patients \(14-22549, 14-29960\)"):
        holdout(read_folder(real_data / "breakhis_100x", task="subtype"))
