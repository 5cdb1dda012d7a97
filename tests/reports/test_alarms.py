"""What stands at the top of a page about one model, and when nothing does."""

from typing import Any

import pytest

from counterstain.reports import alarms
from counterstain.reports.alarms import explanation_alarm, robustness_alarm
from counterstain.reports.explanation_checks import Check


def card(low: float | None, *limits: tuple[str, bool]) -> dict[str, Any]:
    rows = [{"words": words, "met": met} for words, met in limits]
    budget = {"limits": rows, "met": all(met for _, met in limits)} if limits else None
    high = None if low is None else 0.9
    return {"clean": {"auroc": {"value": 0.7, "low": low, "high": high}}, "budget": budget}


def test_a_card_of_a_model_that_guesses_says_so_first() -> None:
    heading, words = robustness_alarm(card(0.45, ("blur at 2 µm: −0.2; at most −0.05 is needed", False))) or ("", "")
    assert heading == "Not shown to be better than chance."
    assert words.startswith("AUROC 0.700 (95\u00a0% interval [0.450, 0.900]) on unchanged tiles.")
    assert robustness_alarm(card(0.5)) is not None and robustness_alarm(card(0.501)) is None


def test_a_card_names_the_limits_that_are_exceeded() -> None:
    met = ("JPEG at 30: −0.01; at most −0.05 is needed", True)
    assert robustness_alarm(card(0.6, met)) is None
    broken = ("blur at 2 µm: −0.2; at most −0.05 is needed", False)
    assert robustness_alarm(card(0.6, met, broken)) == (
        "The check fails.", "1 limit of the budget exceeded: blur at 2 µm: −0.2."
    )  # fmt: skip


def test_a_card_without_an_interval_says_that_losses_say_nothing() -> None:
    assert (robustness_alarm(card(None)) or ("",))[0] == "Too few patients to tell."


def test_an_explanation_says_first_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    record: dict[str, Any] = {
        "ability": {"reason": "its AUROC may be chance", "auroc": 0.52, "low": 0.4, "high": 0.64},
        "validity": {},
    }
    heading, words = explanation_alarm(record) or ("", "")
    assert heading == "Not shown to be better than chance." and "0.520 (95\u00a0% interval [0.400, 0.640])" in words
    record["ability"]["reason"] = ""
    checks = [Check("Deletion", "", "", "", "", True), Check("Quarter turns", "", "", "", "", False),
              Check("Control", "", "", "", "", None)]  # fmt: skip
    monkeypatch.setattr(alarms, "checks_of", lambda validity: checks)
    assert explanation_alarm(record) == (
        "The maps fail their checks.", "Not passed: Quarter turns. Do not read these maps as evidence."
    )  # fmt: skip
    checks.pop(1)
    assert explanation_alarm(record) is None
