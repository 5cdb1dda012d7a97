"""Why a measure of two arms, or its interval, is undefined: the first cause that holds, with arm, class and unit."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from counterstain.evaluation.intervals import sample, units_of
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.undefined_metrics import why_undefined

Make = Callable[..., Predictions]
FIVE = ["p", "q", "r", "s", "t"]


def why(a: Predictions, b: Predictions, metric: str) -> str:
    tables = {"a": [a], "b": [b]}
    names = units_of([a])
    samples = {arm: sample(own, names, level="image") for arm, own in tables.items()}
    return why_undefined(("a", "b"), tables, samples, (metric, None))


@pytest.mark.parametrize(
    ("label", "patient", "metric", "words"),
    [
        ([0, 1, 0, 1, 1], ["p"] * 5, "auroc",
         "there is one patient only, so there is no interval; test on more patients"),
        ([0, 0, 0, 0, 0], FIVE, "auroc",
         "no test image is 'malignant', so AUROC is undefined; test on patients of every class"),
        ([1, 1, 1, 1, 1], FIVE, "auroc",
         "no test image is 'benign', so AUROC is undefined; test on patients of every class"),
        ([0, 0, 0, 0, 1], FIVE, "recall",
         "only one patient has 'malignant', so there is no interval; test on more patients of that class"),
        ([0, 1, 1, 1, 1], FIVE, "specificity",
         "only one patient has 'benign', so there is no interval; test on more patients of that class"),
        ([1, 1, 0, 0, 0], ["p", "p", "q", "r", "s"], "recall",
         "only one patient has 'malignant', so there is no interval; test on more patients of that class"),
    ],
)  # fmt: skip
def test_too_few_of_a_class(
    make_table: Make, label: Sequence[int], patient: list[str], metric: str, words: str
) -> None:
    a = make_table(label, [0.2, 0.8, 0.3, 0.6, 0.7], patient)
    b = make_table(label, [0.3, 0.7, 0.4, 0.9, 0.1], patient)
    assert why(a, b, metric) == words


def test_without_patients_the_unit_is_the_image(make_table: Make) -> None:
    label = [0, 0, 0, 0, 1]
    found = why(make_table(label, [0.2, 0.8, 0.3, 0.6, 0.7]), make_table(label, [0.3, 0.7, 0.4, 0.9, 0.1]), "recall")
    assert found == "only one image has 'malignant', so there is no interval; test on more images of that class"


LABEL = [0, 1, 0, 1, 1]
SOME = [0.2, 0.8, 0.3, 0.6, 0.7]


@pytest.mark.parametrize("constant", [0, 1])
@pytest.mark.parametrize(("prob", "name"), [(0.2, "benign"), (0.8, "malignant")])
def test_an_arm_that_calls_one_class_alone(make_table: Make, constant: int, prob: float, name: str) -> None:
    tables = [make_table(LABEL, SOME, FIVE), make_table(LABEL, SOME, FIVE)]
    tables[constant] = make_table(LABEL, [prob] * 5, FIVE)
    assert why(*tables, "mcc") == (
        f"MCC is undefined for {'ab'[constant]}, which calls every image '{name}'; take a measure that is defined"
    )


def test_an_arm_of_several_classes_that_never_calls_one(make_table: Make) -> None:
    label, classes = [0, 1, 2, 0, 1, 2], ("x", "y", "z")
    own = make_table(label, np.eye(3)[label], [*FIVE, "u"], classes)
    other = make_table(label, np.eye(3)[[0, 1, 0, 0, 1, 1]], [*FIVE, "u"], classes)
    assert why(own, other, "precision") == (
        "precision is undefined for b, which predicts none of some class; take a measure that is defined"
    )


def test_a_score_that_hangs_on_one_patient(make_table: Make) -> None:
    """Precision of an arm that calls one patient's image malignant: without them it calls none so."""
    calls = make_table(LABEL, [0.2, 0.8, 0.3, 0.4, 0.1], FIVE)
    for pair, arm in (((make_table(LABEL, SOME, FIVE), calls), "b"), ((calls, make_table(LABEL, SOME, FIVE)), "a")):
        assert why(*pair, "precision") == (
            f"precision for 'malignant' of {arm} hangs on one patient, without whom it is undefined, so there is no "
            "interval; test on more patients, or take a measure that is defined"
        )


def test_where_all_is_defined_there_is_no_error(make_table: Make) -> None:
    table = make_table(LABEL, SOME, FIVE)
    assert why(table, table, "accuracy") == "accuracy has no error here; test on more patients"
