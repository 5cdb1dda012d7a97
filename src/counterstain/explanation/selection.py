"""Which tiles are shown and tried, and whether any map may be shown at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from counterstain.evaluation.intervals import estimates, sample, units_of
from counterstain.evaluation.metrics import predicted_class
from counterstain.evaluation.predictions import Predictions

__all__ = ["SECTIONS", "Ability", "judge_ability", "pick_gallery", "spread"]

SECTIONS = ("most confident and right", "most confident and wrong", "least sure")


@dataclass(frozen=True)
class Ability:
    """Whether a model tells the classes apart on a part, by patient.

    auroc, low, high: with its interval over patients; of more than two classes the macro mean, each against the rest
    reason: "" where maps may be shown, else why they may not
    """

    auroc: float
    low: float
    high: float
    images: int
    units: int
    unit: str
    reason: str


def judge_ability(table: Predictions) -> Ability:
    """A map of a model that guesses shows where it guesses: none may be shown where chance is not ruled out.

    The rule: the 95 % interval of the AUROC, made over patients, must lie above 0.5.
    """
    names = units_of([table])
    auroc = estimates(sample([table], names, level="image"))["auroc", None]
    reason = ""
    if not np.isfinite(auroc.low):
        reason = (
            f"the AUROC ({auroc.value:.3f}) has no interval: of {len(names)} {table.unit}s too few are of one class, "
            "so the model does not perform detectably better than chance"
        )
    elif auroc.low <= 0.5:
        reason = (
            f"the AUROC is {auroc.value:.3f} with a 95 % interval over {len(names)} {table.unit}s of "
            f"[{auroc.low:.3f}, {auroc.high:.3f}], which does not lie above 0.5: the model cannot be told from one "
            "that guesses"
        )
    return Ability(auroc.value, auroc.low, auroc.high, len(table), len(names), table.unit, reason)


def spread(order: Sequence[int], patient: Sequence[str], count: int) -> list[int]:
    """The first `count` of these rows with at most one of a patient, until the patients run out; then a second, …

    Args:
        order: rows, the most wanted first.
        patient: of every row of the table.
        count: at most so many are taken.
    """
    turn: dict[str, int] = {}
    rounds = []
    for place, row in enumerate(order):
        name = patient[row]
        turn[name] = turn.get(name, -1) + 1
        rounds.append((turn[name], place, row))
    return [row for _, _, row in sorted(rounds)[:count]]


def pick_gallery(table: Predictions, *, each: int) -> Mapping[str, list[int]]:
    """Rows of the table for each of SECTIONS, `each` at most.

    Right and wrong is the most probable class against the label; confidence is its probability, and the least sure
    tiles have the smallest lead of the most probable class over the next. Right and wrong tiles are taken from every
    true class in turn, so that one easy class does not fill the row; then by patient, see `spread`.
    """
    predicted = predicted_class(table.prob)
    ranked = np.sort(table.prob, axis=1)
    confidence, lead = ranked[:, -1], ranked[:, -1] - ranked[:, -2]
    sure = np.argsort(-confidence, kind="stable")
    right = predicted == table.label
    return {
        SECTIONS[0]: _in_turn(sure[right[sure]], table, each),
        SECTIONS[1]: _in_turn(sure[~right[sure]], table, each),
        SECTIONS[2]: spread(np.argsort(lead, kind="stable").tolist(), table.patient, each),
    }


def _in_turn(order: NDArray[np.int64], table: Predictions, count: int) -> list[int]:
    """`spread` over the rows of each true class, then one of each class in turn."""
    by_class = [
        spread(order[table.label[order] == index].tolist(), table.patient, count) for index in range(len(table.classes))
    ]
    turns = [rows[turn] for turn in range(count) for rows in by_class if turn < len(rows)]
    return turns[:count]
