"""The threshold of a decision: chosen on validation patients by a stated rule, then frozen."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError, suggest
from counterstain.evaluation.predictions import Predictions

__all__ = ["choose_threshold", "decide", "decided", "decided_arms", "is_stated", "parse_rule"]

Floats = NDArray[np.float64]

DEFAULT = 0.5


def decide(prob: Floats, threshold: float) -> NDArray[np.bool_]:
    """(N,) whether each probability of the positive class is at least the threshold."""
    called: NDArray[np.bool_] = prob >= threshold
    return called


def decided(table: Predictions, threshold: float) -> Predictions:
    """The table with its calls at a frozen threshold as probabilities 0 and 1, for measures of calls.

    Args:
        table: of two classes; the last is the positive one.
        threshold: from 0 to 1; an image is called positive where its probability is at least this.

    Raises:
        InputError: If there are more than two classes, or the threshold is no probability.
    """
    if len(table.classes) != 2:
        raise InputError(f"there are {len(table.classes)} classes; a threshold needs two. Omit it.")
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold is {threshold:g}; a probability from 0 to 1 was needed")
    return replace(table, prob=np.eye(2)[decide(table.prob[:, 1], threshold).astype(np.int64)])


def decided_arms(arms: Mapping[str, Sequence[Predictions]], options: Sequence[str]) -> dict[str, list[Predictions]]:
    """Every table of every arm, decided at its arm's frozen threshold.

    Args:
        arms: arm -> its tables.
        options: "0.3" for all arms, or "NAME=0.3" for each arm.

    Raises:
        InputError: If an arm has no threshold or two, a name is unknown, or a threshold is no number.
    """
    thresholds: dict[str, float] = {}
    for option in options:
        name, _, value = option.rpartition("=")
        if name and name not in arms:
            raise InputError(f"--threshold {option} names '{name}'{suggest(name, arms)}")
        try:
            number = float(value)
        except ValueError:
            raise InputError(f"--threshold is '{option}'; a number such as 0.3, or NAME=0.3, was needed") from None
        for arm in [name] if name else list(arms):
            if arm in thresholds:
                raise InputError(f"'{arm}' has two thresholds; give one number for all, or NAME=number once each")
            thresholds[arm] = number
    missing = next((arm for arm in arms if arm not in thresholds), None)
    if missing is not None:
        raise InputError(f"'{missing}' has no threshold; add --threshold {missing}=0.5, or one number for all")
    return {arm: [decided(table, thresholds[arm]) for table in tables] for arm, tables in arms.items()}


def choose_threshold(positive: NDArray[np.bool_], prob: Floats, *, rule: str) -> tuple[float, str]:
    """The threshold that a rule picks on these images, and a note where it could not.

    Candidates lie half-way between neighbouring probabilities, so that no image stands on the threshold; of several
    that do equally well the one nearest to 0.5 is taken.

    Args:
        positive: (N,) whether each validation image is positive.
        prob: (N,) its calibrated probability of being so.
        rule: "youden" (sensitivity + specificity), "sensitivity>=0.95" (the most specific that is so sensitive),
            "specificity>=0.95", "cost 5:1" (a missed positive costs 5 false alarms), or a number from 0 to 1.

    Returns:
        The threshold, and "" or why 0.5 was taken.

    Raises:
        InputError: If the rule is none of these.

    Source: Youden 1950, Cancer 3:32.
    """
    parsed = parse_rule(rule)
    if isinstance(parsed, float):
        return parsed, ""
    if positive.all() or not positive.any():
        return DEFAULT, "the validation part has one class only; the threshold is 0.5"
    kind, value = parsed
    candidates = _candidates(prob)
    ranked = np.sort(prob[positive]), np.sort(prob[~positive])
    sensitivity = 1 - np.searchsorted(ranked[0], candidates, side="left") / len(ranked[0])
    specificity = np.searchsorted(ranked[1], candidates, side="left") / len(ranked[1])
    share = positive.mean()
    gain = {
        "youden": sensitivity + specificity,
        "cost": -(value * share * (1 - sensitivity) + (1 - share) * (1 - specificity)),
        "sensitivity": np.where(sensitivity >= value - 1e-12, specificity, -1.0),
        "specificity": np.where(specificity >= value - 1e-12, sensitivity, -1.0),
    }[kind]
    best = np.flatnonzero(gain >= gain.max() - 1e-12)
    return float(candidates[best[np.argmin(np.abs(candidates[best] - DEFAULT))]]), ""


def _candidates(prob: Floats) -> Floats:
    """Below all, between neighbours, above all."""
    distinct = np.unique(prob)
    between = (distinct[:-1] + distinct[1:]) / 2
    return np.concatenate([[distinct[0] / 2], between, [(distinct[-1] + 1) / 2 if distinct[-1] < 1 else 1.0 + 1e-9]])


def is_stated(rule: str) -> bool:
    """Whether a threshold's rule is the threshold itself, so that no patients chose it.

    Examples:
        >>> is_stated("0.4"), is_stated("youden"), is_stated("sensitivity>=0.95")
        (True, False, False)
    """
    return re.fullmatch(r"[01]?\.?\d+", rule.strip()) is not None


def parse_rule(rule: str) -> float | tuple[str, float]:
    """A threshold's rule as a number, or as its kind and the number it names; see `choose_threshold`.

    Raises:
        InputError: If it is no rule.
    """
    text = rule.replace(" ", "").lower()
    if text == "youden":
        return "youden", 0.0
    match = re.fullmatch(r"(sensitivity|specificity)>=(0?\.\d+|1(?:\.0*)?)", text)
    if match:
        return match[1], float(match[2])
    match = re.fullmatch(r"cost(\d+(?:\.\d+)?):(\d+(?:\.\d+)?)", text)
    if match and float(match[2]) > 0:
        return "cost", float(match[1]) / float(match[2])
    if re.fullmatch(r"0?\.\d+", text):
        return float(text)
    raise InputError(
        f"threshold is '{rule}'; needed: youden, sensitivity>=0.95, specificity>=0.95, cost 5:1, or a number below 1"
    )
