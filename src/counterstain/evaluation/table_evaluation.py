"""Anyone's prediction table in full: scores, calls at a threshold, calibration, net benefit, subgroups, promises."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from counterstain.errors import InputError
from counterstain.evaluation.arm_scores import aligned_arms, counts_of, score_arms, score_rows
from counterstain.evaluation.calibration_measures import calibration_measures
from counterstain.evaluation.decision_curve import decision_curve
from counterstain.evaluation.deployed import DECISION, SETS, Deployed, deployed_record
from counterstain.evaluation.evaluation_tables import THE_CALLS
from counterstain.evaluation.frozen_threshold import FrozenThreshold, freeze_threshold
from counterstain.evaluation.intervals import estimates, sample, units_of
from counterstain.evaluation.metrics import predicted_class
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictive_values import predictive_values
from counterstain.evaluation.record_types import ScoresRecord
from counterstain.evaluation.reliability import probability_distribution, reliability_record
from counterstain.evaluation.rows import unit_words
from counterstain.evaluation.smoothed_reliability import smoothed_reliability
from counterstain.evaluation.subgroups import subgroup_scores
from counterstain.evaluation.table_notes import positive_notes
from counterstain.evaluation.thresholds import decide, decided, is_stated

__all__ = ["ARM", "columns_wanted", "evaluate_tables", "evaluation_rows"]

ARM = "model"
MOST_PROBABLE = "the most probable class"
OF_CALLS = ("accuracy", "balanced_accuracy", "f1", "mcc")
PREDICTIVE = ("recall", "specificity", "precision", "npv", "lr_positive", "lr_negative")


def evaluate_tables(
    tables: Sequence[Predictions],
    *,
    interval: str = "jackknife",
    confidence: float = 0.95,
    threshold: str | None = None,
    validation: Sequence[Predictions] = (),
    prevalence: float | None = None,
    by: Mapping[str, Sequence[str] | None] | None = None,
    deployed: Deployed | None = None,
    columns: Mapping[str, Sequence[str]] | None = None,
) -> ScoresRecord:
    """The record of one model's tables: scores.json, and beside it what a reviewer asks for.

    Args:
        tables: one per seed, on the same images.
        interval, confidence: see `score_arms`.
        threshold: a number, or a rule that is applied to `validation`; None: that of `deployed`, and without one the
            most probable class is called.
        validation: see `freeze_threshold`.
        prevalence: where the model is to be used; adds PPV and NPV there.
        by: column -> (N,) the group of each image of the first table; None for site, slide and patient, which the
            tables know themselves.
        deployed: the bundle that made the one table.
        columns: of the one table, see `deployed_record`.

    Returns:
        As `score_arms`, and: decision, probabilities (both None for more than two classes but for reliability, and
        probabilities for tables of predicted classes alone), subgroups {column: …}, deployed (None without a bundle).

    Raises:
        InputError: If the tables can't be joined, or a threshold, prevalence or column doesn't fit them.
    """
    if deployed is not None and len(tables) > 1:
        raise InputError(f"--model is held against one table; {len(tables)} were given")
    aligned = aligned_arms({ARM: tables})[ARM]
    hard = any(table.hard for table in aligned)
    if hard and (threshold is not None or validation or deployed is not None):
        raise InputError(
            "these are predicted classes without probabilities; a threshold or a model's promises can't be held "
            "against them. Leave out --threshold, --threshold-from and --model, or give the probabilities"
        )
    frozen = None if threshold is None else freeze_threshold(threshold, aligned, validation)
    if threshold is None and validation:
        raise InputError("--threshold-from was given without --threshold; give the rule, such as --threshold youden")
    if frozen is None and deployed is not None:
        frozen = _of_model(deployed, aligned[0].rows_are)
    calls = None if frozen is None else [decided(*pair) for pair in zip(aligned, frozen.values, strict=True)]
    binary = len(aligned[0].classes) == 2
    if prevalence is not None and not binary:
        raise InputError(f"there are {len(aligned[0].classes)} classes; --prevalence is for two. Leave it out.")
    scored = score_arms({ARM: aligned}, confidence=confidence, interval=interval)
    scored["arms"][ARM]["warnings"] += positive_notes(aligned[0], f"'{aligned[0].positive}'")
    scored["arms"][ARM]["warnings"] += _seeds_notes(len(aligned))
    return {
        **scored,
        "decision": _decision(aligned, frozen, calls, prevalence, confidence) if binary else None,
        "probabilities": None if hard else _probabilities(aligned, binary, confidence),
        "subgroups": {name: _subgroups(aligned, calls, name, groups) for name, groups in (by or {}).items()},
        "deployed": None if deployed is None else deployed_record(deployed, aligned[0], columns or {}),
    }


def _seeds_notes(tables: int) -> list[str]:
    """That several tables are one model's, for whoever meant to compare two."""
    if tables == 1:
        return []
    return [
        f"{tables} tables are taken as seeds of one model, and the scores are their mean; different models are "
        "compared with counterstain compare a=a.csv b=b.csv"
    ]


def _of_model(deployed: Deployed, rows_are: str) -> FrozenThreshold | None:
    """The threshold that a bundle froze; None with more than two classes."""
    fitted = deployed.calibration
    if fitted.threshold is None:
        return None
    if is_stated(fitted.threshold_rule):
        return FrozenThreshold((fitted.threshold,), fitted.threshold_rule, "")
    unit = unit_words(fitted.unit, rows_are)
    chosen = f"{fitted.patients:,} validation {unit}{'' if fitted.patients == 1 else 's'}, frozen in the model"
    return FrozenThreshold((fitted.threshold,), fitted.threshold_rule, chosen)


def _decision(
    tables: Sequence[Predictions],
    frozen: FrozenThreshold | None,
    calls: Sequence[Predictions] | None,
    prevalence: float | None,
    confidence: float,
) -> dict[str, Any]:
    """What is called positive, and what that is worth."""
    if frozen is None:
        called = [predicted_class(table.prob) == 1 for table in tables]
    else:
        called = [decide(table.prob[:, 1], value) for table, value in zip(tables, frozen.values, strict=True)]
    scores = predictive_values(tables, called, prevalence=prevalence, confidence=confidence)
    if calls is not None:
        estimated = estimates(sample(calls, units_of(calls[:1]), level="image"), confidence=confidence)
        for name in OF_CALLS:
            if name != "balanced_accuracy" or len(set(tables[0].label.tolist())) == 2:
                scores[name] = estimated[name, None].as_record()
    return {
        "rule": (THE_CALLS if tables[0].hard else MOST_PROBABLE) if frozen is None else frozen.rule,
        "thresholds": None if frozen is None else list(frozen.values),
        "chosen_on": "" if frozen is None else frozen.chosen_on,
        "notes": [] if frozen is None else list(frozen.notes),
        "scores": scores,
    }


def _probabilities(tables: Sequence[Predictions], binary: bool, confidence: float) -> dict[str, Any]:
    """What the probabilities are worth: reliability for any number of classes, the rest for two."""
    measures: dict[str, Any] = {"reliability": reliability_record(tables)}
    if not binary:
        return measures
    measures["measures"] = calibration_measures(tables, confidence=confidence)
    measures["smoothed"] = smoothed_reliability(tables, confidence=confidence)
    measures["distribution"] = probability_distribution(tables)
    measures["decision_curve"] = decision_curve(tables)
    return measures


def _subgroups(
    tables: Sequence[Predictions], calls: Sequence[Predictions] | None, name: str, groups: Sequence[str] | None
) -> dict[str, Any]:
    """The subgroups of one column, which has to name at least two."""
    first = tables[0]
    known = {"site": first.site, "slide": first.slide, "patient": first.patient if first.unit == "patient" else ()}
    values = groups if groups is not None else known.get(name, ())
    if not any(values):
        raise InputError(f"--by {name}: the table names no {name}; name a column that it has")
    if len(set(values) - {""}) < 2:
        raise InputError(f"--by {name}: all {first.rows_are}s are of one {name}; there is nothing to compare")
    decided_arms = None if calls is None else {ARM: calls}
    return subgroup_scores({ARM: tables}, by=name, groups=groups, decided=decided_arms)


def columns_wanted(by: Sequence[str]) -> tuple[str, ...]:
    """The columns of a table that its Predictions don't hold, and that are read as text."""
    return (*(name for name in by if name not in ("site", "slide", "patient")), DECISION, SETS)


def evaluation_rows(record: ScoresRecord) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Header and rows of scores.csv: those of `score_rows`, and one for each further measure at image level."""
    header, rows = score_rows(record)
    for name, score in _further(record):
        ends = (None if v is None or not np.isfinite(v) else v for v in (score["value"], score["low"], score["high"]))
        rows.append((ARM, "image", name, None, *ends, *counts_of(record, ARM)))
    return header, rows


def _further(record: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Name and value of each measure that is not among the arms' scores."""
    measures: list[tuple[str, Mapping[str, Any]]] = []
    decision, probabilities = record["decision"], record["probabilities"]
    if decision is not None:
        scores = decision["scores"]
        chosen = decision["thresholds"] is not None
        names = (*PREDICTIVE, *OF_CALLS) if chosen else ("lr_positive", "lr_negative")
        measures += [(f"{name}_at_threshold" if chosen else name, scores[name]) for name in names if name in scores]
        at = scores["at_prevalence"]
        measures += [] if at is None else [(f"{name}_at_prevalence", at[name]) for name in ("ppv", "npv")]
    if probabilities is None:
        return measures
    measures.append((probabilities["reliability"]["ece"]["name"], probabilities["reliability"]["ece"]))
    if "measures" in probabilities:
        columns = {
            "oe": "observed_to_expected",
            "in_the_large": "calibration_in_the_large",
            "slope": "calibration_slope",
        }
        measures += [(column, probabilities["measures"][name]) for name, column in columns.items()]
        measures.append(("ici", probabilities["smoothed"]["ici"]))
    return measures
