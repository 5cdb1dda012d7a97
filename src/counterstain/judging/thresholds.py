"""The threshold of a decision: chosen on validation patients by a stated rule, then frozen."""

import re

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError

__all__ = ["choose_threshold", "decide"]

Floats = NDArray[np.float64]

DEFAULT = 0.5


def decide(prob: Floats, threshold: float) -> NDArray[np.bool_]:
    """(N,) whether each probability of the positive class is at least the threshold."""
    called: NDArray[np.bool_] = prob >= threshold
    return called


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
    parsed = _parse(rule)
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
    known = np.unique(prob)
    between = (known[:-1] + known[1:]) / 2
    return np.concatenate([[known[0] / 2], between, [(known[-1] + 1) / 2 if known[-1] < 1 else 1.0 + 1e-9]])


def _parse(rule: str) -> float | tuple[str, float]:
    text = rule.replace(" ", "").lower()
    if text == "youden":
        return "youden", 0.0
    found = re.fullmatch(r"(sensitivity|specificity)>=(0?\.\d+|1(?:\.0*)?)", text)
    if found:
        return found[1], float(found[2])
    found = re.fullmatch(r"cost(\d+(?:\.\d+)?):(\d+(?:\.\d+)?)", text)
    if found and float(found[2]) > 0:
        return "cost", float(found[1]) / float(found[2])
    if re.fullmatch(r"0?\.\d+", text):
        return float(text)
    raise InputError(
        f"threshold is '{rule}'; needed: youden, sensitivity>=0.95, specificity>=0.95, cost 5:1, or a number below 1"
    )
