"""The checks of an explanation in one sentence: how many passed, and which didn't."""

from typing import Any

from counterstain.reports.explanation_checks import checks_of, summary


def validity(turns: float, hits: float) -> dict[str, Any]:
    mean = {"value": 0.1, "low": 0.05, "high": 0.2}
    stage = {"layers": "all layers", "similarity": mean, "passed": True}
    kinds = [{"kind": kind, "gain": {"random": mean}, "passed": True} for kind in ("insertion", "deletion")]
    game = {"targets": ["x"], "composites": 8, "chance": 0.25, "hits": {**mean, "low": hits}, "control_hits": mean}
    return {
        "random_weights": {"stages": [stage], "most": 0.5}, "curves": {"kinds": kinds}, "blank_maps": 0, "tiles": 8,
        "turns": {"correlation": {"value": turns, "low": 0.1, "high": 0.99}}, "pointing": game, "reach": {"share": 1.0},
    }  # fmt: skip


def test_passed_checks_are_counted_and_the_others_named() -> None:
    assert len(checks_of(validity(0.95, 0.5))) == 6  # the control asks for nothing
    assert summary(validity(0.95, 0.5)).startswith("Every check that asks for something was passed")
    assert summary(validity(0.5, 0.5)).startswith("4 of 5 checks passed, but not Quarter turns.")
    assert summary(validity(0.5, 0.2)).startswith("3 of 5 checks passed, but not Quarter turns and Pointing game.")
