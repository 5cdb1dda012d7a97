"""The record of scores: which levels there are, how the intervals were made, and what limits them, in words."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from counterstain.errors import InputError
from counterstain.evaluation.arm_scores import _method, aligned_arms, levels_of, score_arms, score_rows
from counterstain.evaluation.bootstrap import OPERATING_POINT, operating_point
from counterstain.evaluation.intervals import estimates, sample, units_of
from counterstain.evaluation.predictions import PROBABILITY_MEASURES, Predictions, align

Make = Callable[..., Predictions]


def own(record: dict[str, Any], arm: str = "a") -> dict[str, Any]:
    found: dict[str, Any] = record["arms"][arm]
    return found


# ----------------------------------------------------------------------------------------------------- how, and of whom


LEFT_OUT = "(jackknife, t-quantile, logit scale)"


@pytest.mark.parametrize(("units", "how"), [(500, "one by one"), (501, "in 500 random groups")])
def test_the_method_says_how_units_are_left_out(units: int, how: str, random_table: Make) -> None:
    table = random_table(1)
    alone = f"95% interval from leaving out images (no patients are known) {how} {LEFT_OUT}"
    assert _method(replace(table, patient=table.image), units, 1, 0.95, "jackknife") == (
        f"{alone}; one training run, so between-seed variance is not included"
    )


def test_the_method_says_what_is_drawn_and_at_which_level(random_table: Make) -> None:
    table = random_table(1)
    two = score_arms({"a": [table, random_table(1)]}, confidence=0.9)
    assert own(two)["method"] == (
        f"90% interval from leaving out patients one by one {LEFT_OUT}, including the variance between the 2 training "
        "seeds; the value is the mean over seeds"
    )
    assert own(score_arms({"a": [table]}, interval="bootstrap", confidence=0.8))["method"] == (
        "80% BCa interval at image level from resampling patients and seeds 10,000 times"
    )
    each = replace(table, patient=table.image, own_patients=True)
    assert "leaving out images (each of a different patient) one by one" in own(score_arms({"a": [each]}))["method"]
    with pytest.raises(InputError, match=r"^interval is 'bootstraps'; did you mean 'bootstrap'"):
        score_arms({"a": [table]}, interval="bootstraps")


# ----------------------------------------------------------------------------------------------------------- the record


def test_the_record_has_every_score_of_every_level(random_table: Make) -> None:
    table, other = random_table(1), random_table(2)
    other = replace(other, label=table.label, patient=table.patient)
    record = score_arms(
        {"a": [table, other], "b": [other]}, seeds={"a": [7, 3], "b": [5]}, confidence=0.9, stamp="LEAK"
    )
    assert {name: record[name] for name in ("schema", "stamp", "unit", "classes", "positive", "confidence")} == {
        "schema": "counterstain.scores/1", "stamp": "LEAK", "unit": "patient", "classes": ["benign", "malignant"],
        "positive": "malignant", "confidence": 0.9,
    }  # fmt: skip
    found = own(record)
    assert (found["seeds"], found["images"], found["patients"]) == ([7, 3], 200, 20)
    assert own(record, "b")["seeds"] == [5] and own(score_arms({"a": [table, other]}))["seeds"] == [0, 1]
    names = units_of([table])
    for level in ("image", "patient"):
        expected = estimates(sample([table, other], names, level=level), confidence=0.9)
        if level == "image":
            expected[OPERATING_POINT, None] = operating_point([table, other], confidence=0.9)
        rows = [row for row in found["scores"] if row["level"] == level]
        assert [row["metric"] for row in rows] == [metric for metric, _ in expected]
        for row in rows:
            value = expected[row["metric"], None]
            assert (row["value"], row["low"], row["high"]) == pytest.approx(
                (value.value, value.low, value.high), nan_ok=True
            )
            assert row["class"] is None and row["per_seed"] == list(value.per_seed)
    counts = np.zeros((2, 2), dtype=int)
    np.add.at(counts, (other.label, other.prob.argmax(axis=1)), 1)
    assert list(found["confusion"]) == ["7", "3"] and found["confusion"]["3"] == counts.tolist()


def test_several_classes_have_a_row_each(random_table: Make) -> None:
    rows = own(score_arms({"a": [random_table(1, n_classes=3)]}))["scores"]
    recalls = [row["class"] for row in rows if row["metric"] == "recall" and row["level"] == "image"]
    assert recalls == ["A", "B", "C", None] or recalls == [None, "A", "B", "C"]
    assert OPERATING_POINT not in {row["metric"] for row in rows}


def test_calls_alone_have_no_scores_of_probabilities(random_table: Make) -> None:
    table = random_table(1)
    hard = replace(table, prob=np.eye(2)[table.prob.argmax(axis=1)], hard=True)
    names = {row["metric"] for row in own(score_arms({"a": [hard, table]}))["scores"]}
    assert not names & set(PROBABILITY_MEASURES) and {"accuracy", "mcc"} <= names


def test_rows_are_flat_and_what_is_undefined_is_empty(random_table: Make) -> None:
    record = score_arms({"a": [random_table(1)], "b": [random_table(1)]})
    own(record, "b")["scores"] = [
        {"metric": "mcc", "level": "image", "class": "x", "value": float("nan"), "low": None, "high": 0.5}
    ]
    header, rows = score_rows(record)
    assert header == (
        "arm", "level", "metric", "class", "value", "low", "high", "confidence", "images", "patients", "seeds", "unit",
    )  # fmt: skip
    assert rows[-1] == ("b", "image", "mcc", "x", None, None, 0.5, 0.95, 200, 20, 1, "patient")
    first = own(record)["scores"][0]
    assert rows[0] == ("a", "image", first["metric"], None, first["value"], first["low"], first["high"],
                       0.95, 200, 20, 1, "patient")  # fmt: skip


# --------------------------------------------------------------------------------------------------------------- levels


def leveled(make_table: Make, slide: str, patient: str, label: list[int]) -> tuple[str, ...]:
    table = make_table(label, [0.2, 0.8, 0.3, 0.6][: len(label)], list(patient))
    return levels_of([replace(table, slide=tuple("" if name == "-" else name for name in slide))])


def test_slides_are_a_level_where_they_are_neither_the_images_nor_the_patients(make_table: Make) -> None:
    label = [0, 0, 0, 1]
    assert leveled(make_table, "sstu", "ppqr", label) == ("image", "patient")  # slides are the patients again
    assert leveled(make_table, "sstu", "pppr", label) == ("image", "slide", "patient")
    assert leveled(make_table, "stuv", "pppr", label) == ("image", "patient")  # slides are the images again
    assert leveled(make_table, "sst-", "pppr", label) == ("image", "patient")
    assert leveled(make_table, "sstu", "pppp", [0, 0, 0, 1]) == ("image", "slide")  # no patient has one label
    assert leveled(make_table, "ssuu", "pppp", [0, 1, 0, 1]) == ("image",)  # nor any slide
    table = make_table(label, [0.2, 0.8, 0.3, 0.6])
    assert levels_of([table]) == ("image",)


# ----------------------------------------------------------------------------------------------- what limits the scores


def warnings(record: dict[str, Any]) -> list[str]:
    return list(own(record)["warnings"])


def test_one_class_alone_is_said_at_each_level(random_table: Make) -> None:
    table = replace(random_table(1), label=np.ones(200, dtype=np.int64))
    record = score_arms({"a": [table]})
    end = "AUROC, MCC and balanced accuracy are undefined, and accuracy says nothing about the other class"
    assert warnings(record)[:2] == [
        f"image level: all images are 'malignant'; {end}",
        f"patient level: every patient with images of one class only is 'malignant'; {end}",
    ]
    assert "balanced_accuracy" not in {row["metric"] for row in own(record)["scores"]}
    three = replace(random_table(1, n_classes=3), label=np.zeros(200, dtype=np.int64))
    assert warnings(score_arms({"a": [three]}))[0].endswith("accuracy says nothing about other classes")


def test_a_class_of_one_patient_is_named(make_table: Make) -> None:
    table = make_table([1, 1, 0, 0], [0.9, 0.4, 0.2, 0.1], ["p", "p", "q", "r"])
    words = "only one {} has '{}': scores that need this class have no interval, or a meaningless one"
    assert words.format("patient", "malignant") in warnings(score_arms({"a": [table]}))
    alone = make_table([1, 0, 0, 0], [0.9, 0.4, 0.2, 0.1])
    assert words.format("image", "malignant") in warnings(score_arms({"a": [alone]}))
    one = make_table([1, 0], [0.9, 0.4], ["p", "p"])
    assert not any("only one" in line for line in warnings(score_arms({"a": [one]})))


@pytest.mark.parametrize(
    ("patients", "words"), [(1, "only 1 patient (fewer"), (19, "only 19 patients (fewer"), (20, "")]
)
def test_few_patients_are_said(random_table: Make, patients: int, words: str) -> None:
    found = warnings(score_arms({"a": [random_table(1, patients=patients)]}))
    few = [line for line in found if "(fewer than 20): intervals are wide and only approximate" in line]
    assert [line.startswith(words) for line in few] == ([True] if words else [])


def test_unknown_patients_single_runs_and_notes_are_said_once(make_table: Make) -> None:
    table = replace(make_table([0, 1, 1], [0.1, 0.9, 0.6]), notes=("rounded",))
    unknown = "patients are unknown: intervals treat images as independent and are too narrow if they are not"
    single = "a single training run: the variance between seeds is unknown"
    assert warnings(score_arms({"a": [table]}))[-3:] == ["rounded", unknown, single]
    both = warnings(score_arms({"a": [table, replace(table, prob=table.prob[:, ::-1])]}))
    assert both[-2:] == ["rounded", unknown]
    known = warnings(score_arms({"a": [replace(table, own_patients=True)]}))
    assert unknown not in known and single in known


def test_patients_of_two_classes_are_said(make_table: Make) -> None:
    table = make_table([1, 0, 0, 1], [0.9, 0.4, 0.2, 0.1], ["p", "p", "q", "r"])
    assert "1 of 3 patients have images of more than one class and no patient-level score" in warnings(
        score_arms({"a": [table]})
    )
    mixed = make_table([1, 0], [0.9, 0.4], ["p", "p"])
    assert "every patient has images of more than one class; there is no patient level to score" in warnings(
        score_arms({"a": [mixed]})
    )


# ------------------------------------------------------------------------------------------------------- what is joined


def test_tables_follow_the_first_and_faults_name_arm_and_table(random_table: Make) -> None:
    first = random_table(1)
    rows = np.random.default_rng(0).permutation(200)
    turned = replace(
        first, image=tuple(first.image[k] for k in rows), patient=tuple(first.patient[k] for k in rows),
        label=first.label[rows], prob=first.prob[rows],
    )  # fmt: skip
    found = aligned_arms({"a": [first], "b": [turned, first]})
    assert [table.image for own_tables in found.values() for table in own_tables] == [first.image] * 3
    with pytest.raises(InputError, match=r"^no arms were given"):
        aligned_arms({})
    with pytest.raises(InputError, match=r"^arm 'b' has no prediction tables; one for each seed is needed"):
        aligned_arms({"a": [first], "b": []})
    with pytest.raises(InputError, match=r"^table 2 of arm 'b': the tables share 0 images"):
        aligned_arms({"a": [first], "b": [first, replace(first, image=tuple(f"x{k}" for k in range(200)))]})


def test_patients_that_a_later_table_knows_hold_for_all(random_table: Make) -> None:
    known = random_table(1)
    unknown = replace(known, patient=known.image)
    for arms in ({"a": [unknown], "b": [known]}, {"a": [unknown, known]}, {"a": [known], "b": [unknown]}):
        for tables in aligned_arms(arms).values():
            assert all(table.patient == known.patient for table in tables)
    assert align(unknown, known)[0].unit == "patient"


def test_tables_whose_columns_alone_choose_other_classes_are_refused(random_table: Make) -> None:
    first = random_table(1)
    turned = replace(first, classes=first.classes[::-1], prob=first.prob[:, ::-1], label=1 - first.label)
    with pytest.raises(InputError) as raised:
        aligned_arms({"a": [first], "b": [turned]})
    assert str(raised.value) == (
        "table 1 of arm 'b' has 'benign' as the positive class and the first table 'malignant': they order their "
        "classes differently; name the positive one with --positive malignant or --positive benign"
    )
    three = random_table(1, n_classes=3)
    order = [2, 0, 1]
    other = replace(
        three, classes=tuple(three.classes[k] for k in order), prob=three.prob[:, order],
        label=np.argsort(order)[three.label],
    )  # fmt: skip
    assert aligned_arms({"a": [three], "b": [other]})["b"][0].classes == three.classes
