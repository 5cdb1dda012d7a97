"""The verdict on two arms: one rule, printed with every comparison; each question has its own answers."""

from dataclasses import dataclass

import numpy as np

from counterstain.errors import InputError, suggest
from counterstain.evaluation.metric_names import measure_words, width
from counterstain.evaluation.paired_difference import LOWER_IS_BETTER, Difference
from counterstain.evaluation.record_types import PairRow
from counterstain.evaluation.rows import level_words, unit_words

__all__ = [
    "CLAIMS",
    "HYPOTHESES",
    "LOWER_IS_BETTER",
    "MIN_SEEDS",
    "Question",
    "also_better",
    "check_margin",
    "deciding_ends",
    "margin_p",
]
__all__ += ["percent", "rule_in_words", "shown", "verdict", "worst_end"]

MIN_SEEDS = 3
HYPOTHESES = ("difference", "equivalence", "noninferiority")
CLAIMS = ("procedures", "models")
WIDE_MARGIN = 0.2
UNCHECKED = "Whether the margin was fixed before the results were seen is not checked."
# What shows the answer that each question asks for: of a difference, that the first arm is better.
SHOWN_BY = {"difference": "a_better", "equivalence": "equivalent", "noninferiority": "noninferior"}


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a comparison asks, fixed before the results are seen.

    metric, level, unit: the primary endpoint, what is scored, and what stands for itself in the error
    rows_are: what the rows of the tables are, see rows.rows_named
    alpha: two-sided error; margin: a difference too small to matter, or None
    hypothesis: "difference"; "equivalence" (within ±margin); "noninferiority" (the first arm of a pair, the candidate,
        is not worse than the second, the reference, by the margin or more)
    claim: "procedures", ways of training, which need several seeds; "models", two fitted models and nothing else
    positive: of two classes the positive one, None for more
    training_sets: how many each arm was trained on; with one, nothing is said of another
    co_primary: endpoints that must all pass; metric is the first of them
    """

    metric: str
    level: str = "image"
    unit: str = "patient"
    rows_are: str = "image"
    alpha: float = 0.05
    margin: float | None = None
    hypothesis: str = "difference"
    claim: str = "procedures"
    positive: str | None = None
    training_sets: int = 1
    co_primary: tuple[str, ...] = ()

    @property
    def better_sign(self) -> int:
        """+1 where a higher value is better, else -1."""
        return -1 if self.metric in LOWER_IS_BETTER else 1

    @property
    def measure(self) -> str:
        """The measure in words, with its class and, where it isn't that of images, its level."""
        words = measure_words(self.metric, self.positive, several=self.positive is None)
        return words if self.level == "image" else f"{words} at {self.level} level"


def deciding_ends(pair: PairRow, hypothesis: str) -> tuple[float, float]:
    """The interval of a pair's difference that decides the question."""
    if hypothesis == "equivalence":
        return pair["low_margin"], pair["high_margin"]
    if hypothesis == "noninferiority":
        return pair["low_one_sided"], pair["high_one_sided"]
    return pair["low"], pair["high"]


def worst_end(pair: PairRow) -> float:
    """The one-sided limit that non-inferiority is held against."""
    return pair["high_one_sided"] if pair["metric"] in LOWER_IS_BETTER else pair["low_one_sided"]


def percent(share: float) -> str:
    """A share as "97.5 %"; one just below 1 isn't rounded to 100 %."""
    return f"{100 * share:.6g} %"


def check_margin(metric: str, margin: float | None) -> str:
    """A note on a margin that is wide for this measure, or "".

    Raises:
        InputError: If it isn't above 0, or is as wide as the measure itself, so that anything would pass.
    """
    if margin is None:
        return ""
    if not margin > 0:
        raise InputError(f"margin is {margin:g}; a negligible difference above 0 is needed")
    if margin >= width(metric):
        raise InputError(
            f"margin is {margin:g}; {measure_words(metric)} differs by at most {width(metric):g}, so "
            "that any two arms would pass. State a negligible difference, such as 0.02 (2 points)"
        )
    if margin > WIDE_MARGIN and metric != "loss":
        return f"the margin of {margin:g} is wide: arms that differ by {100 * margin:.0f} points would pass"
    return ""


def rule_in_words(question: Question) -> str:
    """The one rule that every verdict of a comparison follows from."""
    measure = f"{measure_words(question.metric, question.positive, several=question.positive is None)}"
    measure += f" at {level_words(question.level, question.rows_are)}"
    unit = unit_words(question.unit, question.rows_are)
    runs, spread = f"each arm has at least {MIN_SEEDS} training seeds and ", " and the spread over seeds in its error"
    if question.claim == "models":
        runs = spread = ""
    text = (
        f"An arm is called better only if {runs}the two-sided test of the paired difference in {measure}, with the "
        f"{unit} as the unit{spread}, gives p < {question.alpha:g} after Holm's correction over the pairs, and the "
        f"{percent(1 - question.alpha)} interval of the difference excludes 0. {_scope_rule(question)}"
    )
    if question.co_primary:
        measures = " and ".join(measure_words(name, question.positive) for name in question.co_primary)
        text += f"{measures} are co-primary: the answer counts only if each of them gives it, so none is corrected. "
    if question.margin is None:
        return text + "No margin was given, so no two arms are called equivalent."
    if question.hypothesis == "noninferiority":
        side, limit = ("lower", "above −") if question.better_sign > 0 else ("upper", "below ")
        return text + (
            f"The first arm of a pair is called non-inferior to the second only if the one-sided "
            f"{percent(1 - question.alpha / 2)} {side} limit of the difference lies {limit}{question.margin:g}, the "
            "margin as given (Holm's correction over the pairs), and inferior only if the limit on the other side lies "
            f"beyond the margin, too. Whether it is also better or worse is said beside it. {UNCHECKED}"
        )
    after = (
        "Whether they differ is said beside it."
        if question.hypothesis == "equivalence"
        else "It comes before better: a difference too small to matter is no win."
    )
    return text + (
        f"Two arms are called equivalent only if the {percent(1 - 2 * question.alpha)} interval of the difference lies "
        f"within ±{question.margin:g}, the margin as given (two one-sided tests, Holm's correction over the pairs). "
        f"{after} {UNCHECKED}"
    )


def _scope_rule(question: Question) -> str:
    """What the verdict speaks of besides the patients."""
    if question.claim == "models":
        return (
            "Only these fitted models are judged, on further patients like these; nothing is said of the ways in which "
            "they were trained. "
        )
    if question.training_sets > 1:
        return f"The corrected t-test over the {question.training_sets} training sets must say the same. "
    return "All trainings saw one training set, so nothing is said of another. "


def margin_p(effect: Difference, question: Question) -> float:
    """p of what was asked against the margin: TOST's larger one, or the one-sided p of non-inferiority; NaN if none.

    Source: Schuirmann 1987, doi:10.1007/BF01068419; Piaggio et al. 2012, JAMA 308:2594, doi:10.1001/jama.2012.87802.
    """
    return effect.p_noninferior if question.hypothesis == "noninferiority" else effect.p_equivalence


def verdict(
    effect: Difference,
    question: Question,
    *,
    seeds: int,
    p_adjusted: float,
    p_margin_adjusted: float | None = None,
    p_inferior_adjusted: float | None = None,
) -> str:
    """One word for the verdict, by the rule.

    Args:
        effect: the difference.
        question: the question.
        seeds: of the arm that has fewer.
        p_adjusted: Holm's p against no difference.
        p_margin_adjusted, p_inferior_adjusted: Holm's `margin_p` and p of inferiority; by default, for one pair, its
            own.

    Returns:
        "not_enough_runs", "undefined", or the answer to the question: of a difference "a_better", "b_better",
        "equivalent" (where a margin was stated) or "no_evidence"; of equivalence "equivalent" or
        "equivalence_not_shown"; of non-inferiority "noninferior", "inferior" or "noninferiority_not_shown".
    """
    if not np.isfinite(effect.difference):  # further runs don't cure it, and its reason must be said
        return "undefined"
    if question.claim == "procedures" and seeds < MIN_SEEDS:
        return "not_enough_runs"
    if not np.isfinite(effect.p):
        return "undefined"
    against_margin = margin_p(effect, question) if p_margin_adjusted is None else p_margin_adjusted
    if question.hypothesis == "noninferiority":
        inferior = effect.p_inferior if p_inferior_adjusted is None else p_inferior_adjusted
        if against_margin < question.alpha / 2:
            return "noninferior"
        return "inferior" if inferior < question.alpha / 2 else "noninferiority_not_shown"
    inside = (
        question.margin is not None and -question.margin < effect.low_margin and effect.high_margin < question.margin
    )
    if inside and against_margin < question.alpha:  # a difference too small to matter is not a win, whatever its p
        return "equivalent"
    if question.hypothesis == "equivalence":
        return "equivalence_not_shown"
    return also_better(effect, question, p_adjusted) or "no_evidence"


def also_better(effect: Difference, question: Question, p_adjusted: float) -> str | None:
    """ "a_better" or "b_better" if the arms differ, whatever else was asked; else None."""
    if p_adjusted < question.alpha and (effect.low > 0 or effect.high < 0):
        return "a_better" if question.better_sign * effect.difference > 0 else "b_better"
    return None


def shown(kind: str, hypothesis: str) -> bool:
    """Whether a verdict shows what was asked: the first arm is better, equivalent, or not inferior.

    Raises:
        InputError: If the hypothesis is unknown.
    """
    if hypothesis not in SHOWN_BY:
        raise InputError(f"hypothesis is '{hypothesis}'{suggest(hypothesis, SHOWN_BY)}")
    return kind == SHOWN_BY[hypothesis]
