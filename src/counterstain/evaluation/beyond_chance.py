"""What an arm is worth: held against chance, and against the best baseline that never looks at tissue."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from counterstain.evaluation.arm_scores import aligned_arms
from counterstain.evaluation.intervals import estimate_of, sample, units_of
from counterstain.evaluation.paired_difference import difference
from counterstain.evaluation.predictions import Predictions

__all__ = ["BEYOND_CHANCE_SCHEMA", "beyond_chance", "chance_of"]

BEYOND_CHANCE_SCHEMA = "counterstain.beyond_chance/1"
NOTHING_LEARNED = "majority"  # the baseline that is chance itself


def chance_of(metric: str, classes: int) -> float | None:
    """What guessing scores in a measure, in whatever shares the classes are; None where that depends on the shares."""
    return {"auroc": 0.5, "balanced_accuracy": 1 / classes, "mcc": 0.0, "quadratic_kappa": 0.0}.get(metric)


def beyond_chance(
    arms: Mapping[str, Sequence[Predictions]],
    baselines: Mapping[str, Predictions],
    *,
    metric: str,
    level: str,
    alpha: float = 0.05,
) -> dict[str, Any]:
    """The record of how far each arm exceeds chance, and the strongest baseline.

    An arm exceeds chance where its whole interval does. It exceeds a baseline where the interval of the paired
    difference, with the patient as the unit and the spread over seeds in it, lies above 0. Neither is corrected for
    the number of arms: they are what a claim presupposes, and no claim themselves.

    Args:
        arms: arm -> its tables, one per seed.
        baselines: name -> its table of the same images; "majority" is left out, as it is chance itself.
        metric, level: of the primary endpoint; a higher value is better.
        alpha: two-sided error of the intervals.

    Returns:
        JSON-ready: metric, level, confidence, chance (None where it depends on the shares of the classes), baseline
        (name and score of the strongest, None without any), arms: {arm: value, low, high, seeds, above_chance,
        difference, difference_low, difference_high, against_baseline: "above", "below", "not told" or None}.

    Raises:
        InputError: If the tables are not of the same images.
    """
    baseline_tables = {f"baseline:{name}": [table] for name, table in baselines.items() if name != NOTHING_LEARNED}
    tables = aligned_arms({**arms, **baseline_tables})
    first = next(iter(tables.values()))[0]
    names = units_of([first])
    samples = {name: sample(arm_tables, names, level=level) for name, arm_tables in tables.items()}
    scores = {name: estimate_of(drawn, (metric, None), confidence=1 - alpha) for name, drawn in samples.items()}
    defined = [name for name in baseline_tables if np.isfinite(scores[name].value)]
    best = max(defined, key=lambda name: scores[name].value, default=None)
    chance = chance_of(metric, len(first.classes))
    rows = {}
    for arm in arms:
        score = scores[arm]
        row: dict[str, Any] = {**score.as_record(), "seeds": len(score.per_seed)}
        row["above_chance"] = None if chance is None or not np.isfinite(score.low) else bool(score.low > chance)
        rows[arm] = row | {"difference": None, "difference_low": None, "difference_high": None,
                           "against_baseline": None}  # fmt: skip
        if best is not None:
            lead = difference(samples[arm], samples[best], (metric, None), alpha=alpha)
            rows[arm] |= {
                "difference": lead.difference, "difference_low": lead.low, "difference_high": lead.high,
                "against_baseline": _side(lead.low, lead.high),
            }  # fmt: skip
    return {
        "schema": BEYOND_CHANCE_SCHEMA,
        "metric": metric,
        "level": level,
        "confidence": 1 - alpha,
        "chance": chance,
        "baseline": None if best is None else {"name": best.removeprefix("baseline:"), **scores[best].as_record()},
        "arms": rows,
    }  # fmt: skip


def _side(low: float, high: float) -> str | None:
    """On which side of 0 an interval lies; None without an interval."""
    if not (np.isfinite(low) and np.isfinite(high)):
        return None
    return "above" if low > 0 else "below" if high < 0 else "not told"
