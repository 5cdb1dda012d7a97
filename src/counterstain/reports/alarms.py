"""What must be read before anything else on a page about one model: that it knows nothing, or that its checks fail."""

from collections.abc import Mapping
from typing import Any

from counterstain.evaluation.format import clean, levelled, listed, number, plural
from counterstain.reports.explanation_checks import checks_of

__all__ = ["explanation_alarm", "robustness_alarm"]

CHANCE = 0.5  # AUROC of guessing


def explanation_alarm(record: Mapping[str, Any]) -> tuple[str, str] | None:
    """A heading and a sentence for the page of an explanation; None where its maps may be read."""
    ability = record["ability"]
    if ability["reason"]:
        auroc = f"AUROC {number(ability['auroc'])}{levelled(ability['low'], ability['high'])}"
        return "Not shown to be better than chance.", f"{auroc}. There is nothing to explain, so no map is shown."
    failed = [check.name for check in checks_of(record["validity"]) if check.passed is False]
    if not failed:
        return None
    return "The maps fail their checks.", f"Not passed: {listed(failed)}. Do not read these maps as evidence."


def robustness_alarm(record: Mapping[str, Any]) -> tuple[str, str] | None:
    """A heading and a sentence for a robustness card; None where its losses mean something and its budget is met."""
    auroc = record["clean"]["auroc"]
    shown = f"AUROC {number(auroc['value'])}{levelled(auroc['low'], auroc['high'])} on unchanged tiles"
    if auroc["low"] is None:
        return "Too few patients to tell.", f"{shown}, without an interval: losses say nothing either."
    if auroc["low"] <= CHANCE:
        return "Not shown to be better than chance.", f"{shown}. Such a model has nothing to lose under any change."
    budget = record["budget"]
    if budget is not None and not budget["met"]:
        failed = [clean(row["words"].partition(";")[0]) for row in budget["limits"] if not row["met"]]
        return "The check fails.", f"{plural(len(failed), 'limit')} of the budget exceeded: {listed(failed)}."
    return None
