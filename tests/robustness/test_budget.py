"""Budgets: what is refused before the work, and which limits are met by which end of which interval."""

import math
from pathlib import Path
from typing import Any

import pytest

from counterstain.errors import InputError
from counterstain.robustness.budget import Budget, check_budget, judge_budget, read_budget
from counterstain.robustness.trials import choose_trials

MEASURES = ("auroc", "sensitivity", "specificity", "balanced_accuracy")


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "budget.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stain_shfit: {auroc_drop: 0.05, at: 0.2}", "unknown key 'stain_shfit'; did you mean 'stain_shift'?"),
        (
            "stain_shift: {auroc_dropp: 0.05, at: 0.2}",
            "stain_shift has unknown key 'auroc_dropp'; did you mean 'auroc_",
        ),
        ("rotation: {fliped: 0.02}", "rotation has unknown key 'fliped'; did you mean 'flipped'?"),
        ("worst_site: {aurok: 0.8}", "worst_site has unknown key 'aurok'; did you mean 'auroc'?"),
        ("stain_shift: {auroc_drop: 0.05}", "stain_shift.at is missing"),
        ("stain_shift: [{at: 0.2}]", "stain_shift states no limit; give one of auroc_drop"),
        ("jpeg: {auroc_drop: 5, at: 50}", "jpeg.auroc_drop is 5: input should be less than or equal to 1"),
        ("judge: guess\njpeg: {flipped: 0.1, at: 50}", "judge is 'guess': input should be 'interval' or 'estimate'"),
        ("judge: interval", "sets no limit"),
        ("", "holds nothing, not settings; name a budget"),
        ("- a", "holds a list, not settings; name a budget"),
        ("rotation: {flipped: 0.02}\nrotation: {flipped: 0.9}", "line 2: key 'rotation' appears twice"),
        ("rotation: {flipped: 0.02, flipped: 0.9}", "key 'flipped' appears twice"),
        ("a: &b 1\nc: *b", "uses YAML aliases"),
        ("a: [1", "is not YAML"),
        ("rotation: {}", "rotation states no limit"),
    ],
)
def test_a_budget_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        read_budget(written(tmp_path, text))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_and_a_huge_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_budget(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="100,001 bytes; a budget, a short YAML file"):
        read_budget(written(tmp_path, "#" * 100_001))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stain_shift: {auroc_drop: 0.05, at: 0.25}", "stain_shift at 0.25; it is tried at 0.1, 0.2, 0.3, 0.4, 0.5"),
        ("blur: {auroc_drop: 0.05, at: 1}", "blur, which is not tried on this cohort; trials: stain_shift"),
        ("scanner: {auroc_drop: 0.05, at: 1.0}", "scanner, which is not tried"),
        ("jpeg: {accuracy_drop: 0.05, at: 50}", "jpeg limits accuracy, which this card does not have"),
        ("rotation: {flipped: 0.02}", "rotation, which was not asked for"),
        ("worst_site: {auroc: 0.8}", "worst_site, but this cohort has 1 known sites"),
        ("worst_site: {balanced_accuracy: 0.8}", "worst_site limits balanced_accuracy, which this card does not have"),
        ("site_probe: {balanced_accuracy: 0.8}", "site_probe, but this cohort has 1 known sites"),
        ("clean: {accuracy: 0.8}", "clean limits accuracy"),
    ],
)
def test_what_a_card_cannot_be_held_against_is_refused_before_the_work(tmp_path: Path, text: str, message: str) -> None:
    trials, _ = choose_trials(mpp_known=False, sites=1)
    with pytest.raises(InputError) as refused:
        check_budget(read_budget(written(tmp_path, text)), trials, rotation=False, sites=1, measures=MEASURES)
    assert message in str(refused.value)


def found(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": value, "low": low, "high": high}


def lost(difference: float, low: float, high: float) -> dict[str, float]:
    return {"value": 0.9 + difference, "difference": difference, "low": low, "high": high}


def record(**changes: Any) -> dict[str, Any]:
    """A card's record as far as a budget reads it."""
    steps = [
        {
            "at": -0.2,
            "shown": "−20 %",
            "scores": {"auroc": lost(-0.03, -0.06, 0.0)},
            "flipped": found(0.04, 0.02, 0.08),
        },
        {"at": 0.2, "shown": "+20 %", "scores": {"auroc": lost(-0.01, -0.03, 0.01)}, "flipped": found(0.01, 0.0, 0.03)},
        {"at": 0.3, "shown": "+30 %", "scores": {"auroc": lost(-0.5, -0.6, -0.4)}, "flipped": found(0.5, 0.4, 0.6)},
    ]
    sites = [
        {"site": "A", "scores": {"auroc": found(0.9, 0.7, 0.97)}},
        {"site": "B", "scores": {"auroc": found(0.85, 0.8, 0.9)}},
        {"site": "C", "scores": None},
    ]
    return {
        "clean": {"auroc": found(0.9, 0.85, 0.94)},
        "curves": [{"trial": "stain_shift", "steps": steps}],
        "rotation": {"flipped": found(0.01, 0.0, 0.03), "any_flipped": found(0.05, 0.02, 0.1)},
        "sites": {"fewest_patients": 10, "sites": sites},
        "site_probe": {"balanced_accuracy": found(0.7, 0.6, 0.8)},
        **changes,
    }


@pytest.mark.parametrize(
    ("limits", "met"),
    [
        # The loss is 0.03 [0.00, 0.06] to the left and 0.01 [-0.01, 0.03] to the right; both must be within.
        ({"stain_shift": {"auroc_drop": 0.06, "at": 0.2}}, [True, True]),
        ({"stain_shift": {"auroc_drop": 0.05, "at": 0.2}}, [False, True]),
        ({"stain_shift": {"auroc_drop": 0.05, "at": 0.2}, "judge": "estimate"}, [True, True]),
        ({"stain_shift": {"auroc_drop": 0.02, "at": 0.2}, "judge": "estimate"}, [False, True]),
        ({"stain_shift": [{"flipped": 0.05, "at": 0.2}, {"auroc_drop": 1, "at": 0.3}]}, [False, True, True]),
        ({"rotation": {"flipped": 0.02, "any_flipped": 0.1}}, [False, True]),
        ({"rotation": {"flipped": 0.02}, "judge": "estimate"}, [True]),
        # By the interval site A is the worst, by the value site B.
        ({"worst_site": {"auroc": 0.71}}, [False]),
        ({"worst_site": {"auroc": 0.7}}, [True]),
        ({"worst_site": {"auroc": 0.86}, "judge": "estimate"}, [False]),
        ({"worst_site": {"auroc": 0.84}, "judge": "estimate"}, [True]),
        ({"site_probe": {"balanced_accuracy": 0.75}}, [False]),
        ({"site_probe": {"balanced_accuracy": 0.75}, "judge": "estimate"}, [True]),
        ({"clean": {"auroc": 0.86}}, [False]),
        ({"clean": {"auroc": 0.85}}, [True]),
    ],
)
def test_the_worse_end_of_the_interval_must_meet_a_limit(limits: dict[str, Any], met: list[bool]) -> None:
    judged = judge_budget(Budget.model_validate(limits), record())
    assert [row["met"] for row in judged["limits"]] == met
    assert judged["met"] == all(met)


def test_what_is_unknown_is_never_met_and_says_why() -> None:
    nan = math.nan
    steps = [{"at": 0.2, "shown": "+20 %", "scores": {"auroc": lost(-0.01, nan, nan)}, "flipped": found(0, 0, 0)}]
    bare = record(
        curves=[{"trial": "stain_shift", "steps": steps}],
        sites={"fewest_patients": 10, "sites": [{"site": "C", "scores": None}]},
        site_probe=None,
    )
    limits = {
        "stain_shift": {"auroc_drop": 0.9, "at": 0.2},
        "worst_site": {"auroc": 0.1},
        "site_probe": {"balanced_accuracy": 1.0},
    }
    judged = judge_budget(Budget.model_validate(limits), bare)
    assert [row["met"] for row in judged["limits"]] == [False, False, False]
    words = [row["words"] for row in judged["limits"]]
    assert "0.010 (no interval): too few patients" in words[0]
    assert "no site has 10 patients" in words[1]
    assert "is not known" in words[2]
    # A site without an interval is not passed over.
    sites = [
        {"site": "A", "scores": {"auroc": found(0.9, nan, nan)}},
        {"site": "B", "scores": {"auroc": found(1, 1, 1)}},
    ]
    judged = judge_budget(
        Budget.model_validate({"worst_site": {"auroc": 0.5}}), record(sites={"fewest_patients": 10, "sites": sites})
    )
    assert not judged["met"]
    assert "at A" in judged["limits"][0]["words"]


def test_the_words_of_a_limit_say_all() -> None:
    judged = judge_budget(Budget.model_validate({"stain_shift": {"auroc_drop": 0.05, "at": 0.2}}), record())
    assert judged["limits"][0]["words"] == (
        "stain_shift at −20 %: loss of AUROC is 0.030 (95 % interval [0.000, 0.060]); at most 0.05 is needed"
    )
