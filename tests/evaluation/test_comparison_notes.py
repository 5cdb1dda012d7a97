"""What stands beside a comparison: copies, few patients, one run, a class that column order chose, and no number."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from counterstain.errors import InputError
from counterstain.evaluation.comparison_notes import (
    check_copies,
    check_detect,
    comparison_notes,
    detect_notes,
    size_notes,
)
from counterstain.evaluation.intervals import sample, units_of
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.verdict import Question

Make = Callable[..., Predictions]


def asked(**changed: Any) -> Question:
    settings: dict[str, Any] = {
        "metric": "auroc", "level": "image", "unit": "patient", "alpha": 0.05, "margin": None,
        "hypothesis": "difference", "claim": "procedures", "positive": "malignant",
    }  # fmt: skip
    return Question(**settings | changed)


# ------------------------------------------------------------------------------------------------------------- copies


def test_equal_tables_of_an_arm_are_refused_by_their_files(random_table: Make) -> None:
    one, two = random_table(1), random_table(2)
    with pytest.raises(InputError) as raised:
        check_copies({"a": [one], "b": [two, one, two]}, {"a": ["a.csv"], "b": ["x.csv", "y.csv", "z.csv"]})
    assert str(raised.value) == (
        "tables 1 and 3 of 'b' (x.csv and z.csv) hold equal probabilities: copies are not seeds. Give one table for "
        "each training of 'b', or one table and --fixed-models"
    )
    with pytest.raises(InputError) as raised:
        check_copies({"b": [two, two]}, {"b": ["x.csv", "x.csv"]})
    assert str(raised.value) == (
        "tables 1 and 2 of 'b' (x.csv) hold equal probabilities: copies are not seeds. Give one table for each "
        "training of 'b'"
    )


def test_without_files_they_are_noted_once(random_table: Make) -> None:
    one, two, three = (random_table(seed) for seed in (1, 2, 3))
    assert check_copies({"a": [one, one, one], "b": [two, three, two]}, None) == [
        "several seeds of a gave equal predictions; its training does not depend on the seed",
        "several seeds of b gave equal predictions; its training does not depend on the seed",
    ]
    assert check_copies({"a": [one, two], "b": [three]}, None) == []


def test_one_model_under_two_names_is_noted(random_table: Make) -> None:
    one, two, three = (random_table(seed) for seed in (1, 2, 3))
    assert check_copies({"a": [one], "b": [two], "c": [three, one]}, {"a": ["1"], "b": ["2"], "c": ["3", "4"]}) == [
        "a and c hold a table with equal probabilities: one model counts for both"
    ]
    assert check_copies({"a": [one], "c": [one]}, {"a": ["1"], "c": ["2"]}) == [
        "a and c hold a table with equal probabilities: this is the same model under two names"
    ]


def test_equal_calls_are_no_copies(make_table: Make) -> None:
    """Two good models may well call every image alike."""
    calls = make_table([0, 1, 1], [0.0, 1.0, 1.0])
    assert check_copies({"a": [calls, calls]}, {"a": ["x", "y"]}) == [
        "several seeds of a gave equal predictions; its training does not depend on the seed"
    ]
    half = make_table([0, 1, 1], [0.0, 0.5, 1.0])
    with pytest.raises(InputError, match="copies are not seeds"):
        check_copies({"a": [half, half]}, {"a": ["x", "y"]})


# --------------------------------------------------------------------------------------------------- how few there are


def test_notes_stand_in_order_and_each_once(random_table: Make) -> None:
    table = replace(random_table(1), notes=("rounded",), positive_from="given")
    found = comparison_notes(asked(), table, {"a": [table] * 3, "b": [table] * 3}, units=20, notes=["first", "rounded"])
    assert found == ["first", "rounded"]


@pytest.mark.parametrize(
    ("units", "words"),
    [
        (19, ["only 19 patients (fewer than 20): only a large difference can be found"]),
        (1, ["only 1 patient (fewer than 20): only a large difference can be found"]),
        (20, []),
    ],
)
def test_few_patients_are_counted(random_table: Make, units: int, words: list[str]) -> None:
    table = random_table(1)
    assert comparison_notes(asked(), table, {"a": [table] * 3}, units=units) == words


def test_unknown_patients_are_said_unless_each_image_is_its_own(make_table: Make) -> None:
    table = make_table([0, 1], [0.1, 0.9])
    unknown = "patients are unknown: every image is treated as independent, which finds spurious differences"
    assert comparison_notes(asked(), table, {"a": [table] * 3}, units=2) == [unknown]
    own = replace(table, own_patients=True)
    assert comparison_notes(asked(), own, {"a": [own] * 3}, units=50) == []
    assert comparison_notes(asked(), own, {"a": [own] * 3}, units=2) == [
        "only 2 patients (fewer than 20): only a large difference can be found"
    ]


def test_arms_of_few_seeds_are_named(random_table: Make) -> None:
    table = random_table(1)
    arms = {"a": [table] * 2, "b": [table] * 3, "c": [table]}
    assert comparison_notes(asked(), table, arms, units=20) == [
        "fewer than 3 seeds: a, c; a single run is not a result"
    ]
    assert comparison_notes(asked(claim="models"), table, arms, units=20) == [
        "the verdict is about these fitted models only; another training of any of them may rank otherwise"
    ]
    two = {"a": [table], "b": [table]}
    assert comparison_notes(asked(claim="models"), table, two, units=20) == [
        "the verdict is about these fitted models only; another training of either may rank otherwise"
    ]


def test_a_rate_of_one_class_names_how_few_patients_have_it(random_table: Make) -> None:
    table = replace(random_table(1), positive_from="given")
    ill, well = (len({name for name, own in zip(table.patient, table.label == k, strict=True) if own}) for k in (1, 0))
    few = "(fewer than 20): only a large difference can be found"
    words = [
        f"sensitivity (recall) for 'malignant' rests on {ill} patients with 'malignant' {few}",
        f"specificity for 'malignant' rests on {well} patients with 'benign' {few}",
    ]
    arms = {"a": [table] * 3}
    assert comparison_notes(asked(metric="recall"), table, arms, units=20) == words[:1]
    both = asked(metric="specificity", co_primary=("specificity", "recall"))
    assert comparison_notes(both, table, arms, units=20) == words
    assert comparison_notes(asked(metric="f1"), table, arms, units=20) == []
    lone = replace(table, label=np.ones(len(table), dtype=np.int64))
    assert comparison_notes(asked(metric="specificity"), lone, arms, units=20) == []


def test_a_class_that_column_order_chose_is_named_for_measures_of_one_class(
    random_table: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("counterstain.evaluation.comparison_notes.FEW_PATIENTS", 1)
    table = random_table(1)
    words = "it is the positive class only because its column is the last; say which one is meant with --positive"
    arms = {"a": [table] * 3}
    assert comparison_notes(asked(metric="recall"), table, arms, units=20) == [
        f"sensitivity (recall) for 'malignant': {words}"
    ]
    both = asked(metric="accuracy", co_primary=("auroc", "specificity"))
    assert comparison_notes(both, table, arms, units=20) == [f"specificity for 'malignant': {words}"]
    assert comparison_notes(asked(metric="accuracy"), table, arms, units=20) == []
    calls = replace(table, positive_from="name order")
    assert comparison_notes(asked(metric="recall"), calls, arms, units=20) == [
        "sensitivity (recall) for 'malignant': it is the positive class only because its name comes last in order; "
        "say which one is meant with --positive"
    ]
    for known in ("given", "only probability column"):
        own = replace(table, positive_from=known)
        assert comparison_notes(asked(metric="recall"), own, {"a": [own] * 3}, units=20) == []
    three = random_table(1, n_classes=3)
    assert comparison_notes(asked(metric="recall", positive=None), three, {"a": [three] * 3}, units=20) == []


# ------------------------------------------------------------------------------------------------------ patients needed


@pytest.mark.parametrize("detect", [0.0, -0.1, float("inf"), float("nan")])
def test_a_difference_that_is_none_is_refused(detect: float) -> None:
    with pytest.raises(InputError, match=rf"^detect is {detect:g}; a difference above 0 was needed"):
        check_detect(detect, ["auroc"])


def test_a_difference_as_wide_as_a_measure_is_refused() -> None:
    check_detect(None, ["auroc"])
    check_detect(0.999, ["auroc", "mcc"])
    check_detect(1.999, ["mcc"])
    with pytest.raises(InputError, match=r"^detect is 1; AUROC differs by at most 1\. Name the difference"):
        check_detect(1.0, ["mcc", "auroc"])
    with pytest.raises(InputError, match=r"^detect is 2; MCC differs by at most 2"):
        check_detect(2.0, ["mcc"])


def row(verdict: str, needed: object = None, b: str = "b", **more: object) -> dict[str, object]:
    return {"a": "a", "b": b, "verdict": verdict, "needed": needed, **more}


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("not_enough_runs", "too few runs to know the spread over seeds"),
        ("undefined", "the pilot has no interval"),
        ("no_evidence", "no patient of the pilot changes the difference"),
        ("equivalence_not_shown", "no patient of the pilot changes the difference"),
        ("noninferiority_not_shown", "no patient of the pilot changes the difference"),
    ],
)
def test_why_there_is_no_number(verdict: str, words: str) -> None:
    assert detect_notes(0.02, [row(verdict)]) == [
        f"no number of patients for a difference of 0.02 between a and b: {words}"
    ]


def test_what_is_settled_needs_no_number() -> None:
    settled = ["no number of patients for a difference of 0.02: the question is settled"]
    assert detect_notes(0.02, [row("a_better"), row("equivalent", b="c")]) == settled
    assert detect_notes(0.02, [row("a_better"), row("no_evidence", {"patients": 9}, b="c")]) == []
    assert detect_notes(0.02, [row("no_evidence", {"patients": 9})]) == []
    assert detect_notes(None, [row("a_better")]) == []
    assert detect_notes(0.02, [row("a_better"), row("undefined", b="c")]) == [
        "no number of patients for a difference of 0.02 between a and c: the pilot has no interval"
    ]


def test_every_pair_without_a_number_is_named() -> None:
    rows = [row("undefined"), row("undefined", b="c"), row("not_enough_runs", b="d"), row("a_better", b="e")]
    assert detect_notes(0.02, rows) == [
        "no number of patients for a difference of 0.02 between a and b; a and c: the pilot has no interval",
        "no number of patients for a difference of 0.02 between a and d: too few runs to know the spread over seeds",
    ]


def test_of_endpoints_each_has_its_reason() -> None:
    ends = [row("a_better"), row("undefined"), row("undefined"), row("no_evidence", {"patients": 9})]
    assert detect_notes(0.02, [row("no_evidence", {"patients": 5}, endpoints=ends)]) == [
        "no number of patients for a difference of 0.02 between a and b: the pilot has no interval"
    ]


def test_arms_whose_patients_differ_by_size_are_named(random_table: Make) -> None:
    table = random_table(1)
    own = sample([table], units_of([table]), level="image")
    assert own.by_size is not None
    suspect = replace(own, by_size=replace(own.by_size, p=0.0999))
    samples = {"a": suspect, "b": replace(own, by_size=replace(own.by_size, p=0.1)), "c": replace(own, by_size=None)}
    assert suspect.by_size is not None
    assert size_notes(samples, asked(alpha=0.1)) == [f"a: {suspect.by_size.words(0.9)}"]
    assert "90 % interval" in size_notes(samples, asked(alpha=0.1))[0]
