"""The sentence on what the arms are worth: chance and the baseline in it, and nothing that the record does not say."""

from pathlib import Path
from typing import Any

import pytest

from counterstain.reports.headline import evidence
from counterstain.reports.run_record import RunRecord


def run_of(arms: dict[str, dict[str, Any]], *, baseline: float | None = 0.79, chance: float | None = 0.5) -> RunRecord:
    rows = {
        name: {"value": 0.9, "low": 0.8, "high": 0.95, "seeds": 3, "above_chance": True, "against_baseline": "above"}
        | own
        for name, own in arms.items()
    }
    record = {
        "metric": "auroc", "confidence": 0.95, "chance": chance, "arms": rows,
        "baseline": None if baseline is None else {"name": "colour-histogram", "value": baseline},
    }  # fmt: skip
    return RunRecord(
        folder=Path(), resolved={}, cohort={}, set_aside=(), split={}, augmentation={}, environment={}, trainings=(),
        scores={}, comparison={}, predictions={}, arms=tuple(arms), hashes={}, contact_sheet=None,
        beyond_chance=record,
    )  # fmt: skip


SHOWN = "(95\u00a0% interval [0.800, 0.950])"


def test_both_beat_the_baseline() -> None:
    assert evidence(run_of({"given": {"value": 0.997}, "modified": {}})) == (
        f"Both beat a colour histogram (0.790): AUROC of given 0.997 {SHOWN} and modified 0.900 {SHOWN}."
    )


def test_neither_can_be_told_from_chance() -> None:
    lost = {"above_chance": False, "against_baseline": "not told"}
    words = evidence(run_of({"given": lost, "modified": lost}))
    assert words.startswith("Neither can be told from chance (0.5): AUROC of given") and "histogram" not in words


@pytest.mark.parametrize(
    ("arms", "start"),
    [
        ({"a": {}, "b": {"above_chance": False, "against_baseline": "not told"}},
         "b can't be told from chance (0.5); a beats a colour histogram (0.790), b can't be told from it: "),
        ({"a": {"against_baseline": "below"}, "b": {"against_baseline": "below"}},
         "a and b are worse than a colour histogram (0.790): "),
        ({"a": {"against_baseline": "not told"}, "b": {"against_baseline": "not told"}},
         "Neither can be told from a colour histogram (0.790), which does not look at tissue: "),
        ({"a": {}, "b": {}, "c": {}}, "All 3 arms beat a colour histogram (0.790): "),
        ({"a": {"against_baseline": None}, "b": {"against_baseline": None}}, "AUROC of a 0.900 "),
        ({"a": {"seeds": 1}, "b": {"seeds": 1}}, "Both beat"),
    ],
)  # fmt: skip
def test_arms_that_differ_are_named(arms: dict[str, dict[str, Any]], start: str) -> None:
    words = evidence(run_of(arms))
    assert words.startswith(start), words
    single = any(own.get("seeds") == 1 for own in arms.values())
    assert ("single fitted models: fewer than 3 trainings" in words) == single


def test_without_a_baseline_chance_alone_is_named() -> None:
    assert evidence(run_of({"a": {}, "b": {}}, baseline=None)).startswith("Both exceed chance (0.5): ")
    assert evidence(run_of({"a": {}, "b": {}}, baseline=None, chance=None)).startswith("AUROC of a 0.900 ")


def test_one_arm_has_its_number_in_the_first_sentence() -> None:
    assert evidence(run_of({"given": {}})) == "given beats a colour histogram (0.790)."
    assert evidence(run_of({"given": {"above_chance": False}})) == "given can't be told from chance (0.5)."


def test_of_many_arms_the_worst_and_the_best_are_named() -> None:
    words = evidence(run_of({name: {"value": 0.8 + k / 100} for k, name in enumerate("abcdef")}))
    assert words == f"All 6 arms beat a colour histogram (0.790): AUROC from a 0.800 {SHOWN} to f 0.850 {SHOWN}."


def test_nothing_known_is_nothing_said() -> None:
    run = run_of({"a": {"value": None}})
    assert evidence(run) == ""
