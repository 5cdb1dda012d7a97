"""Scores within sites or other groups, and their spread over slides and patients: who is served worst."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from counterstain.errors import InputError, suggest
from counterstain.evaluation.intervals import estimates, sample, units_of
from counterstain.evaluation.predictions import Predictions, take_rows

__all__ = ["FEWEST", "GROUPINGS", "subgroup_scores"]

FEWEST = 10  # patients; a smaller group is named and not scored
GROUPINGS = ("site", "slide", "patient")
METRICS = ("accuracy", "recall", "specificity", "auroc")
CALLED = METRICS[:3]
WORST_BY = "accuracy"


def subgroup_scores(
    arms: Mapping[str, Sequence[Predictions]],
    *,
    by: str,
    groups: Sequence[str] | None = None,
    decided: Mapping[str, Sequence[Predictions]] | None = None,
) -> dict[str, Any]:
    """Scores of each arm within groups of the test images.

    Args:
        arms: arm -> its tables, one per seed, all on the same images.
        by: "site", or any other column whose names are in `groups`: one row per group, with intervals over patients;
            groups of fewer than 10 patients are suppressed. "slide" or "patient": each is one case, so the spread of
            their accuracy is described and none is named.
        groups: (N,) group of each image, in the order of the first table, "" where unknown; None: the tables' sites.
        decided: arm -> the same tables with their calls at a frozen threshold (see thresholds.decided), for accuracy,
            sensitivity and specificity; None: of the most probable class.

    Returns:
        JSON-ready: by, arms: {arm: {"groups": [...], "worst": ...} or {"spread": {...}}}, note.

    Raises:
        InputError: If `by` is none of these.
    """
    if by not in GROUPINGS and groups is None:
        raise InputError(f"subgroups by '{by}'{suggest(by, GROUPINGS)}")
    if by in ("slide", "patient"):
        return {"by": by, "arms": {arm: _spread((decided or arms)[arm], by) for arm in arms}}
    first = next(iter(arms.values()))[0]
    group_of = dict(zip(first.image, first.site if groups is None else groups, strict=True))
    by_arm = {
        arm: _by_group(tables, group_of, None if decided is None else decided[arm]) for arm, tables in arms.items()
    }
    return {"by": by, "arms": by_arm}


def _by_group(
    tables: Sequence[Predictions], group_of: Mapping[str, str], decided: Sequence[Predictions] | None
) -> dict[str, Any]:
    groups = []

    def cut(table: Predictions, group: str) -> Predictions:
        return take_rows(table, np.flatnonzero([group_of[image] == group for image in table.image]))

    for group in sorted(set(group_of.values()) - {""}, key=_by_number):
        group_tables = [cut(table, group) for table in tables]
        patients = len(set(group_tables[0].patient)) if group_tables[0].unit == "patient" else None
        row: dict[str, Any] = {"group": group, "images": len(group_tables[0]), "patients": patients, "scores": None}
        if patients is None or patients >= FEWEST:
            estimated = estimates(sample(group_tables, units_of(group_tables[:1]), level="image"))
            if decided is not None:
                calls = [cut(table, group) for table in decided]
                of_calls = estimates(sample(calls, units_of(calls[:1]), level="image"))
                estimated |= {key: estimate for key, estimate in of_calls.items() if key[0] in CALLED}
            row["scores"] = {name: estimated[name, None].as_record() for name in METRICS}
        groups.append(row)
    scored = [row for row in groups if row["scores"] is not None and row["scores"][WORST_BY]["value"] is not None]
    values = [float(row["scores"][WORST_BY]["value"]) for row in scored]
    worst = scored[values.index(min(values))] if len(set(values)) > 1 else None  # of equal ones none is the worst
    return {
        "groups": groups,
        "suppressed": sum(row["scores"] is None for row in groups),
        "worst": None if worst is None else _worst(worst, len(scored)),
    }


def _by_number(name: str) -> list[tuple[int, int, str]]:
    """Sorts numbers in names by their size: scanner 2 before scanner 10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name)]


def _worst(row: Mapping[str, Any], count: int) -> dict[str, Any]:
    score = row["scores"][WORST_BY]
    return {
        "group": row["group"], "metric": WORST_BY, **score, "of": count,
        "note": f"the lowest of {count} groups is low by chance, too, and its interval does not allow for that",
    }  # fmt: skip


def _spread(tables: Sequence[Predictions], by: str) -> dict[str, Any]:
    """How the accuracy of single slides or patients is spread, mean over seeds: quantiles and a histogram, no names."""
    first = tables[0]
    keys = tuple(zip(first.slide, first.patient, strict=True)) if by == "slide" else first.patient
    place = {name: k for k, name in enumerate(dict.fromkeys(keys))}
    place_of = dict(zip(first.image, (place[key] for key in keys), strict=True))
    right = np.zeros(len(place))
    for table in tables:
        code = np.array([place_of[image] for image in table.image])
        right += np.bincount(code, weights=table.prob.argmax(axis=1) == table.label, minlength=len(place))
    share = right / np.bincount(np.array(list(place_of.values())), minlength=len(place)) / len(tables)
    quantiles = np.quantile(share, [0, 0.1, 0.25, 0.5, 0.75, 1])
    counts, _ = np.histogram(share, bins=10, range=(0, 1))
    return {
        "count": len(place),
        "quantiles": dict(zip(("lowest", "p10", "p25", "median", "p75", "highest"), quantiles.tolist(), strict=True)),
        "histogram": counts.tolist(),
        "below_half": int((share < 0.5).sum()),
    }
