"""The verdict on two arms: one rule, printed with every comparison, and one sentence with all that it rests on."""

from dataclasses import dataclass

import numpy as np

from counterstain.judging.paired_difference import Difference

__all__ = ["LOWER_IS_BETTER", "MIN_SEEDS", "Question", "margin_p", "rule_in_words", "verdict"]
__all__ += ["verdict_words"]

MIN_SEEDS = 3
LOWER_IS_BETTER = ("loss", "brier")
HYPOTHESES = ("difference", "equivalence", "noninferiority")
CLAIMS = ("procedures", "models")


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a comparison asks, fixed before the results are seen.

    metric, level, unit: the primary endpoint, what is scored, and what is drawn anew
    alpha: two-sided error; margin: a difference too small to matter, or None
    hypothesis: "difference"; "equivalence" (within ±margin); "noninferiority" (the first arm of a pair, the candidate,
        is not worse than the second, the reference, by the margin or more)
    claim: "procedures", ways of training, which need several seeds; "models", two fitted models and nothing else
    """

    metric: str
    level: str = "image"
    unit: str = "patient"
    alpha: float = 0.05
    margin: float | None = None
    hypothesis: str = "difference"
    claim: str = "procedures"

    @property
    def better_sign(self) -> int:
        """+1 where a higher value is better, else -1."""
        return -1 if self.metric in LOWER_IS_BETTER else 1


def rule_in_words(asked: Question) -> str:
    """The one rule that every verdict of a comparison follows from."""
    about = (
        f"each arm has at least {MIN_SEEDS} training seeds, the two-sided test of the "
        f"paired difference in {asked.level}-level {asked.metric} with the {asked.unit} as the unit and the spread "
        "over seeds in its error"
    )
    if asked.claim == "models":
        about = (
            f"the two-sided test of the paired difference in {asked.level}-level {asked.metric} with the {asked.unit} "
            "as the unit"
        )
    text = (
        f"An arm is called better only if {about} gives p < {asked.alpha:g} after Holm's correction over the pairs, "
        f"and the {1 - asked.alpha:.0%} interval of the difference excludes 0. "
    )
    if asked.claim == "models":
        text += (
            "Only these fitted models are judged, on further patients like these; nothing is said of the ways in which "
            "they were trained. "
        )
    if asked.margin is None:
        return text + "No margin was stated beforehand, so no two arms are called equivalent."
    if asked.hypothesis == "noninferiority":
        side, limit = ("lower", "above −") if asked.better_sign > 0 else ("upper", "below ")
        return text + (
            f"The first arm of a pair is called non-inferior to the second only if the {side} limit of the two-sided "
            f"{1 - asked.alpha:.0%} interval of the difference lies {limit}{asked.margin:g}, the margin stated "
            f"beforehand (one-sided test at {asked.alpha / 2:g}, Holm's correction over the pairs); better comes "
            "before non-inferior."
        )
    first = " Equivalence is what was asked; it" if asked.hypothesis == "equivalence" else " It"
    return text + (
        f"Two arms are called equivalent only if the {1 - 2 * asked.alpha:.0%} interval of the difference lies within "
        f"±{asked.margin:g}, the margin stated beforehand (two one-sided tests, Holm's correction over the pairs)."
        f"{first} comes before better: a difference too small to matter is no win."
    )


def margin_p(found: Difference, asked: Question) -> float:
    """p of what was asked against the margin: TOST's larger one, or the one-sided p of non-inferiority; NaN if none.

    Source: Schuirmann 1987, doi:10.1007/BF01068419; Piaggio et al. 2012, JAMA 308:2594, doi:10.1001/jama.2012.87802.
    """
    from scipy.special import stdtr

    se = float(np.hypot(found.se_patient, found.se_seed))
    if asked.margin is None or not np.isfinite(se):
        return float("nan")
    gain = asked.better_sign * found.difference
    if se == 0:
        p_low, p_high = float(gain <= -asked.margin), float(gain >= asked.margin)
    else:
        p_low = float(stdtr(found.df, -(gain + asked.margin) / se))
        p_high = float(stdtr(found.df, (gain - asked.margin) / se))
    return p_low if asked.hypothesis == "noninferiority" else max(p_low, p_high)


def verdict(
    found: Difference, asked: Question, *, seeds: int, p_adjusted: float, p_margin_adjusted: float | None = None
) -> str:
    """One word for the verdict, by the rule.

    Args:
        found: the difference.
        asked: the question.
        seeds: of the arm that has fewer.
        p_adjusted: Holm's p against no difference.
        p_margin_adjusted: Holm's `margin_p`; by default, for one pair, its own.

    Returns:
        "not_enough_runs", "a_better", "b_better", "equivalent", "noninferior", "noninferiority_not_shown",
        "equivalence_not_shown" (where that was asked) or "no_evidence".
    """
    if asked.claim == "procedures" and seeds < MIN_SEEDS:
        return "not_enough_runs"
    against_margin = margin_p(found, asked) if p_margin_adjusted is None else p_margin_adjusted
    better = None
    if p_adjusted < asked.alpha and (found.low > 0 or found.high < 0):
        better = "a_better" if asked.better_sign * found.difference > 0 else "b_better"
    if asked.hypothesis == "noninferiority":
        if better == "a_better":
            return better
        if against_margin < asked.alpha / 2:
            return "noninferior"
        return better or "noninferiority_not_shown"
    inside = asked.margin is not None and -asked.margin < found.low_margin and found.high_margin < asked.margin
    if inside and against_margin < asked.alpha:  # a difference too small to matter is not a win, whatever its p
        return "equivalent"
    return better or ("equivalence_not_shown" if asked.hypothesis == "equivalence" else "no_evidence")


def verdict_words(
    kind: str, found: Difference, asked: Question, *, a: str, b: str, seeds: int, units: int, images: int, p: float
) -> str:
    """The verdict as one sentence with all that it rests on.

    Args:
        kind: the word of `verdict`.
        a, b: the arms' names.
        seeds, units, images: what it rests on; units are patients, or images where patients are unknown.
        p: after Holm's correction.
    """
    rests = _rests(found, asked, seeds, units, images, p)
    chance = _chance(found)
    needed = _needed_words(found, asked.unit)
    margin = "" if asked.margin is None else f"the margin of ±{asked.margin:g} stated beforehand"
    if kind == "not_enough_runs":
        other = (
            "; if the question is about these two fitted models alone, ask it so (--fixed-models)" if seeds == 1 else ""
        )
        return (
            f"Not enough runs to claim anything of {a} and {b}: {rests}; with {_seeds(seeds)} neither the chance of a "
            f"false ranking nor the {asked.unit}s that would settle it can be told; train each with at least "
            f"{MIN_SEEDS} seeds{other}."
        )
    if kind in ("a_better", "b_better"):
        winner, loser = (a, b) if kind == "a_better" else (b, a)
        false = max(found.probability_false, 0.001)
        sign = "<" if found.probability_false < 0.001 else "≈"
        only = _only_models(asked)
        return (
            f"{winner} is better than {loser}: {rests}; chance that this ranking is false {sign} {false:.3f}; "
            f"{needed}{only}."
        )
    if kind == "equivalent":
        return f"{a} and {b} are equivalent within {margin}: {rests}; {chance}{_only_models(asked)}."
    if kind == "noninferior":
        return (
            f"{a} is not inferior to {b} by more than {margin.replace('±', '')}: {rests}; "
            f"{chance}{_only_models(asked)}."
        )
    start = {
        "noninferiority_not_shown": f"It is not shown that {a} is not inferior to {b} by "
        f"{margin.replace('±', '')}, which does not show that it is",
        "equivalence_not_shown": f"It is not shown that {a} and {b} are equivalent within {margin}, nor that they "
        "differ",
    }.get(kind, f"No evidence of a difference between {a} and {b}")
    return f"{start}: {rests}; {chance}; {needed}{_only_models(asked)}."


def _rests(found: Difference, asked: Question, seeds: int, units: int, images: int, p: float) -> str:
    shown = f"difference {found.difference:+.3f}"
    if np.isfinite(found.low):
        shown += f" [{found.low:+.3f}, {found.high:+.3f}]"
    over = f"{asked.unit}s" if asked.claim == "models" else f"{asked.unit}s and seeds"
    test = f"paired jackknife t-test over {over}" + (f", p {_p_words(p)}" if np.isfinite(p) else "")
    counts = f"{units:,} {asked.unit}s" + (f", {images:,} images" if asked.unit != "image" else "")
    ran = "one fitted model an arm" if asked.claim == "models" else f"{_seeds(seeds)}"
    return f"{shown} in {asked.metric}, {counts}, {ran}; unit: {asked.unit}; {test}"


def _seeds(count: int) -> str:
    return f"{count} {'seed' if count == 1 else 'seeds'}"


def _p_words(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def _chance(found: Difference) -> str:
    if not np.isfinite(found.probability_false):
        return "the chance of a false ranking cannot be told"
    return f"chance that the better-looking one is not the better {max(found.probability_false, 0.001):.3f}"


def _only_models(asked: Question) -> str:
    if asked.claim != "models":
        return ""
    return "; this is about these two fitted models only, not about the ways in which they were trained"


def _needed_words(found: Difference, unit: str) -> str:
    if not np.isfinite(found.low):
        return f"a class has too few {unit}s for an interval, so nothing can be claimed; test on more of its {unit}s"
    if found.patients_needed is not None:
        return f"about {found.patients_needed:,} {unit}s would be needed to settle a difference of this size"
    if found.difference == 0:
        return "there is no difference to settle"
    return "the spread over seeds alone hides a difference of this size, so more seeds would be needed"
