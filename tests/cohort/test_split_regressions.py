"""What our own code wrote, held fast: a seed in a published study has to stand for the same division for ever.

These divisions are not better than others; if one must change, CHANGELOG.md says it first.
"""

from pathlib import Path

import pytest

from counterstain.cohort.cohort import Cohort, assemble
from counterstain.cohort.splitters import Fold, folds, holdout, official

# Of each patient in the order of PATIENTS: "." for train, "v" for val, "T" for test.
HOLDOUT = {0: ".v...T.v.T..", 1: ".T.v....Tv.."}
FOLDS = {
    (0, 0): "v..TT.T.Tv..",
    (0, 1): "..Tv.T...vTT",
    (0, 2): "TTv....T.T.v",
    (1, 0): "..TTv.T..Tv.",
    (1, 1): ".T.vT..T..Tv",
    (1, 2): "T...vT.vT..T",
}
OFFICIAL, OFFICIAL_5 = "Tv.T..T.vT..", "T..T.vT..T.v"
PATIENTS = [f"{label}{number}" for label in "ab" for number in range(6)]


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    """Six patients of each class with two images each."""
    rows = [(f"{patient}/{image}.png", patient[0], patient) for patient in PATIENTS for image in range(2)]
    names, labels, owners = zip(*rows, strict=True)
    return assemble({"image_path": names, "label": labels, "patient_id": owners}, root=Path())


def letters(part: Fold) -> str:
    """One letter per patient, as above; both images are in the same part."""
    assert part.assignment[::2] == part.assignment[1::2]
    return "".join({"train": ".", "val": "v", "test": "T"}[word] for word in part.assignment[::2])


def test_a_seed_of_a_hold_out(cohort: Cohort) -> None:
    drawn = {seed: letters(holdout(cohort, seed=seed).parts[0]) for seed in (0, 1)}
    assert drawn == HOLDOUT


def test_a_seed_of_folds(cohort: Cohort) -> None:
    drawn = folds(cohort, k=3, repeats=2)
    assert {(part.repeat, part.fold): letters(part) for part in drawn.parts} == FOLDS


def test_a_seed_of_an_official_splits_validation_patients(cohort: Cohort) -> None:
    own = cohort.with_split(["test" if int(patient[1:]) % 3 == 0 else "train" for patient in cohort.patient])
    assert letters(official(own).parts[0]) == OFFICIAL
    assert letters(official(own, seed=5).parts[0]) == OFFICIAL_5
