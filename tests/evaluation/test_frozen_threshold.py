"""Thresholds of anyone's table: a number as it is, a rule on other patients alone, and every refusal's words."""

from dataclasses import replace

import numpy as np
import pytest

from counterstain.errors import InputError
from counterstain.evaluation.frozen_threshold import FrozenThreshold, freeze_threshold
from counterstain.evaluation.predictions import Predictions

# Youden's index is highest between 0.4 and 0.6: both negatives and one of three positives lie below. Halfway is taken.
LABEL, PROB = [0, 0, 1, 1, 1], [0.1, 0.4, 0.3, 0.6, 0.9]


def table(
    prefix: str = "t", prob: tuple[float, ...] = (), patients: tuple[str, ...] = (), alone: bool = False
) -> Predictions:
    values = prob or tuple(PROB)
    names = tuple(f"{prefix}{k}" for k in range(len(values)))
    image = names if alone else tuple(f"{name}.png" for name in names)
    return Predictions(
        image=image, patient=patients or names, slide=("",) * len(names),
        site=("",) * len(names), label=LABEL, prob=[[1 - p, p] for p in values], classes=("benign", "malignant"),
    )  # fmt: skip


def three_classes() -> Predictions:
    return Predictions(
        image=("a",), patient=("a",), slide=("",), site=("",), label=[0], prob=[[0.5, 0.25, 0.25]], classes=tuple("xyz")
    )


@pytest.mark.parametrize(("rule", "at"), [("0.3", 0.3), ("0", 0.0), ("1", 1.0)])
def test_a_number_is_every_tables_threshold(rule: str, at: float) -> None:
    assert freeze_threshold(rule, [table(), table()]) == FrozenThreshold((at, at), rule, "", ())


@pytest.mark.parametrize("rule", ["1.01", "-0.01", "nan"])
def test_a_number_that_is_no_probability_is_refused(rule: str) -> None:
    with pytest.raises(InputError, match=rf"^--threshold is {rule}; a probability from 0 to 1 was needed"):
        freeze_threshold(rule, [table()])


def test_a_rule_is_applied_to_the_validation_patients() -> None:
    found = freeze_threshold("youden", [table()], [table("v")])
    assert found.values == (0.5,)
    assert (found.rule, found.chosen_on) == ("youden", "5 images of 5 validation patients")
    assert found.notes == ()


def test_one_validation_table_serves_all_and_several_their_own() -> None:
    other = table("w", prob=(0.1, 0.2, 0.3, 0.3, 0.9))
    one = freeze_threshold("youden", [table(), table(), table()], [table("v")])
    assert one.values == (0.5, 0.5, 0.5)
    assert freeze_threshold("youden", [table(), table()], [table("v"), other]).values == (0.5, 0.25)
    with pytest.raises(InputError, match=r"^there are 2 validation tables for 3 tables; give one for all"):
        freeze_threshold("youden", [table()] * 3, [table("v"), other])


def test_one_validation_patient_is_one() -> None:
    found = freeze_threshold("youden", [table()], [table("v", patients=("v",) * 5)])
    assert found.chosen_on == "5 images of 1 validation patient"


@pytest.mark.parametrize("rule", ["youden", "sensitivity>=0.95"])
def test_validation_patients_of_one_class_choose_nothing(rule: str) -> None:
    one_class = replace(table("v"), label=np.ones(5, dtype=np.int64))
    with pytest.raises(InputError, match=f"has 'malignant' only, so {rule} can't be applied; give patients of both"):
        freeze_threshold(rule, [table()], [one_class])


def test_images_alone_are_chosen_on_with_a_word() -> None:
    unknown = table("v", alone=True)
    found = freeze_threshold("youden", [table()], [unknown])
    assert found.chosen_on == "5 images"
    assert found.notes == (
        "the threshold was chosen on images whose patients are unknown; they may be patients judged here",
    )


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(InputError, match=r"^there are 3 classes; a threshold needs two"):
        freeze_threshold("0.3", [three_classes()])
    with pytest.raises(InputError, match=r"^--threshold is the number 0.3, so nothing is chosen"):
        freeze_threshold("0.3", [table()], [table("v")])
    with pytest.raises(
        InputError, match=r"^--threshold youden is a rule, and a threshold that is chosen on the images"
    ):
        freeze_threshold("youden", [table()])
    turned = replace(table("v"), classes=("malignant", "benign"))
    with pytest.raises(
        InputError, match=r"has the classes malignant, benign, the table to be judged benign, malignant"
    ):
        freeze_threshold("youden", [table()], [turned])


def test_shared_patients_and_images_are_refused_by_name() -> None:
    shared = table("v", patients=("v0", "t3", "v2", "t1", "v4"))
    with pytest.raises(InputError, match=r"^2 patients \('t1' among them\) are in the validation table"):
        freeze_threshold("youden", [table()], [shared])
    with pytest.raises(InputError, match=r"^1 patient \('t1' among them\)"):
        freeze_threshold("youden", [table()], [table("v", patients=("v0", "v1", "v2", "t1", "v4"))])
    same_images = replace(table("v"), image=table().image)
    with pytest.raises(InputError, match=r"^5 images \('t0.png' among them\)"):
        freeze_threshold("youden", [table()], [same_images])


def test_every_validation_table_is_held_apart() -> None:
    """The second table is looked at too, and a later table to be judged is of the same images as the first."""
    with pytest.raises(InputError, match=r"patients"):
        freeze_threshold("youden", [table(), table()], [table("v"), table()])


def test_unknown_patients_are_held_apart_by_image_alone() -> None:
    judged, chosen = table(alone=True), table("v", alone=True)
    assert freeze_threshold("youden", [judged], [chosen]).values == (0.5,)
    with pytest.raises(InputError, match=r"^5 images \('t0' among them\)"):
        freeze_threshold("youden", [judged], [judged])
