"""The verdict in words: at most two sentences, for a reader who isn't a statistician; all else stands in a table."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from counterstain.evaluation.format import digits_apart, listed, p_words, plural
from counterstain.evaluation.paired_difference import Difference
from counterstain.evaluation.record_types import PairRow
from counterstain.evaluation.verdict import MIN_SEEDS, Question, percent

__all__ = ["Basis", "counts_words", "scope_words", "shared_p_words", "summary_words"]
__all__ += ["too_few_advice", "verdict_words"]


@dataclass(frozen=True, kw_only=True)
class Basis:
    """What a verdict on the arms a and b rests on.

    seeds: of the arm that has fewer; units: patients, or images where patients are unknown; tests: pairs that share
    the error; p, p_margin, p_inferior: after Holm's correction; also: "a_better" or "b_better" beside what was asked
    why_undefined: the reason, where there is no interval
    """

    a: str
    b: str
    seeds: int
    units: int
    images: int
    tests: int = 1
    p: float = float("nan")
    p_margin: float = float("nan")
    p_inferior: float = float("nan")
    also: str | None = None
    why_undefined: str = ""


def verdict_words(kind: str, effect: Difference, question: Question, basis: Basis) -> str:
    """The verdict in two sentences: the answer with what it rests on, and what it doesn't say.

    Args:
        kind: the word of `verdict`.
        found, asked: the difference and the question.
        basis: the arms' names and what the verdict rests on.
    """
    a, b = basis.a, basis.b
    if kind == "undefined":
        return f"{a} and {b} can't be compared in {question.measure}: {basis.why_undefined}."
    if kind == "not_enough_runs":
        return _too_few_runs(effect, question, basis)
    if kind in ("a_better", "b_better"):
        return f"{_better(kind, effect, question, basis)} {_scope(question)}"
    margin = "" if question.margin is None else f"the margin of {question.margin:g}"
    start = {
        "equivalent": f"{a} and {b} are equivalent within the margin of ±{question.margin or 0:g}",
        "equivalence_not_shown": f"It is not shown that {a} and {b} are equivalent within the margin of "
        f"±{question.margin or 0:g}",
        "noninferior": f"{a} is not inferior to {b} by {margin}",
        "inferior": f"{a} is inferior to {b} by more than {margin}",
        "noninferiority_not_shown": f"It is not shown that {a} is not inferior to {b} by {margin}",
        "no_evidence": f"No evidence of a difference between {a} and {b}",
    }[kind]
    evidence = _evidence(kind, effect, question, basis)
    return f"{start}: {evidence} {_counts(question, basis)}. {_second(kind, question, basis)}"


def _better(kind: str, effect: Difference, question: Question, basis: Basis) -> str:
    """The winner first, with its lead as a size: no minus signs to be turned round in one's head."""
    winner, loser = (basis.a, basis.b) if kind == "a_better" else (basis.b, basis.a)
    ends = sorted((abs(effect.low), abs(effect.high)))
    side = "higher" if question.better_sign > 0 else "lower"
    digits = digits_apart(effect.low, effect.high)
    shown = f"[{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"
    return (
        f"{winner} is better than {loser}: its {question.measure} is {side} by {abs(effect.difference):.{digits}f} "
        f"({percent(1 - question.alpha)} interval {shown}, {_p(basis.p, basis.tests)}) "
        f"{_counts(question, basis)}."
    )


def _evidence(kind: str, effect: Difference, question: Question, basis: Basis) -> str:
    """The interval and the p that decided, with their level."""
    shown = f"the difference in {question.measure} is {effect.difference:+.3f}"
    if kind in ("equivalent", "equivalence_not_shown"):
        level, ends = percent(1 - 2 * question.alpha), (effect.low_margin, effect.high_margin)
        p = f"{_p(basis.p_margin, basis.tests)} by two one-sided tests"
        return f"{shown} ({level} interval [{ends[0]:+.3f}, {ends[1]:+.3f}], {p})"
    level = percent(1 - question.alpha / 2)
    worst = effect.low_one_sided if question.better_sign > 0 else effect.high_one_sided
    best = effect.high_one_sided if question.better_sign > 0 else effect.low_one_sided
    if kind in ("noninferior", "noninferiority_not_shown"):
        # A p below the level of two-sided tests beside "not shown" reads as a contradiction unless its bound is named.
        close = kind == "noninferiority_not_shown" and question.alpha / 2 <= basis.p_margin < question.alpha
        needed = f", where less than {question.alpha / 2:g} was needed" if close else ""
        return f"{shown}, at worst {worst:+.3f} (one-sided {level} limit, {_p(basis.p_margin, basis.tests)}{needed})"
    if kind == "inferior":
        return f"{shown}, at best {best:+.3f} (one-sided {level} limit, {_p(basis.p_inferior, basis.tests)})"
    level = percent(1 - question.alpha)
    return f"{shown} ({level} interval [{effect.low:+.3f}, {effect.high:+.3f}], {_p(basis.p, basis.tests)})"


def shared_p_words(p: float, tests: int) -> str:
    """The p of several endpoints together: the largest of theirs."""
    return f"largest {_p(p, tests)}"


def scope_words(question: Question) -> str:
    """What is judged besides the patients, as the second half of a sentence and without its full stop."""
    return _scope(question, capital=False).rstrip(".")


def too_few_advice(seeds: int) -> str:
    """The sentence that says what to do about too few seeds."""
    models = ", or compare these two fitted models only (--fixed-models)" if seeds == 1 else ""
    return f"Train each with at least {MIN_SEEDS} seeds{models}."


def _p(p: float, tests: int) -> str:
    return p_words(p) + (f" after Holm's correction over {tests} pairs" if tests > 1 else "")


def _counts(question: Question, basis: Basis) -> str:
    if question.unit == "image" or question.rows_are == "patient":
        cases = plural(basis.units, question.rows_are)
    else:
        cases = f"{plural(basis.units, question.unit)} ({plural(basis.images, question.rows_are)})"
    if question.claim == "models":
        return f"on {cases}"
    return f"on {cases} with {plural(basis.seeds, 'seed')} per arm"


def _second(kind: str, question: Question, basis: Basis) -> str:
    """What else is true, or what was not shown; and what all of it is about."""
    better = basis.a if basis.also == "a_better" else basis.b
    if basis.also is not None and kind != "inferior":
        other = basis.b if basis.also == "a_better" else basis.a
        joined = {"equivalent": "Within that margin, ", "noninferior": "Besides, "}.get(kind, "But ")
        text = f"{joined}{better} is better than {other} (two-sided {_p(basis.p, basis.tests)})"
        return f"{text}; {_scope(question, capital=False)}"
    denied = {
        "no_evidence": "This doesn't show that they are alike",
        "equivalence_not_shown": "This doesn't show that they differ",
        "noninferiority_not_shown": "This doesn't show that it is inferior",
    }.get(kind)
    return _scope(question) if denied is None else f"{denied}; {_scope(question, capital=False)}"


def _scope(question: Question, *, capital: bool = True, models: int = 2) -> str:
    """What is judged besides the patients: as a sentence, or as the second half of one."""
    if question.claim == "models":
        count = "two" if models == 2 else f"{models}"
        text = f"this is about these {count} fitted models only, not about the ways in which they were trained"
    elif question.training_sets > 1:
        text = f"this holds over {question.training_sets} training sets"
    elif capital:
        text = "this holds on this training set; another one may rank them otherwise"
    else:
        text = "this is about this training set only"
    return f"{text[:1].upper() if capital else text[:1]}{text[1:]}."


def _too_few_runs(effect: Difference, question: Question, basis: Basis) -> str:
    shown = f"the difference in {question.measure} is {effect.difference:+.3f}"
    if np.isfinite(effect.low):
        shown += f" ({percent(1 - question.alpha)} interval [{effect.low:+.3f}, {effect.high:+.3f}])"
    start = f"Not enough runs to claim anything about {basis.a} and {basis.b}"
    return f"{start}: {shown} {_counts(question, basis)}. {too_few_advice(basis.seeds)}"


# ------------------------------------------------------------------------------------------------------- several arms


def summary_words(rows: Sequence[PairRow], question: Question, best: str, reference: str | None) -> str:
    """All primary pairs in at most two sentences: one pair's own words, or who leads and who can't be told from whom.

    Args:
        rows: of the primary pairs, with "a", "b", "verdict" and "words".
        question: the question.
        best: the arm with the best value.
        reference: the arm that the others were compared with, or None.
    """
    if len(rows) == 1:
        return str(rows[0]["words"])
    if question.hypothesis != "difference" or question.co_primary:
        return _tally_words(rows, question)
    subject = best if reference is None else reference
    by_arm = {row["b"] if row["a"] == subject else row["a"]: row for row in rows if subject in (row["a"], row["b"])}
    arms_at: dict[str, list[str]] = {}
    scope = _scope(question, models=len(by_arm) + 1)
    for arm, row in by_arm.items():
        arms_at.setdefault(_place(subject, row), []).append(arm)
    start = f"{best} has the best {question.measure} of {len(by_arm) + 1} arms" if reference is None else (
        f"{plural(len(by_arm), 'arm')} compared with {reference} in {question.measure}"
    )  # fmt: skip
    phrases = [f"{words} {listed(arms_at[place])}" for place, words in _PLACES.items() if place in arms_at]
    start += f" {counts_words(rows, question)}"
    if reference is not None:
        return f"{start}: {reference} {'; it '.join(phrases)}. {scope}"
    return f"{start}; it {' and it '.join(phrases)}. {scope}"


_PLACES = {
    "better": "is better than",
    "worse": "is worse than",
    "equivalent": "is equivalent to",
    "open": "can't be told from",
    "undefined": "can't be compared with",
    "runs": "has too few runs for a claim about",
}


def _place(subject: str, row: PairRow) -> str:
    """What a pair's verdict says of one of its arms."""
    kind = row["verdict"]
    if kind in ("a_better", "b_better"):
        return "better" if row["a" if kind == "a_better" else "b"] == subject else "worse"
    return {"equivalent": "equivalent", "undefined": "undefined", "not_enough_runs": "runs"}.get(kind, "open")


def _tally_words(rows: Sequence[PairRow], question: Question) -> str:
    """How many pairs gave which answer, the shown ones by name."""
    showing, noun, joined = {
        "equivalence": (("equivalent",), "Equivalence", " and "),
        "noninferiority": (("noninferior",), "Non-inferiority", " to "),
        "difference": (("a_better", "b_better"), "That one arm is better", " than "),
    }[question.hypothesis]
    shown_pairs = [joined.join(_winner_first(row)) for row in rows if row["verdict"] in showing]
    lost = [f"{row['a']} to {row['b']}" for row in rows if row["verdict"] == "inferior"]
    blank = [f"{row['a']} and {row['b']}" for row in rows if row["verdict"] in ("undefined", "not_enough_runs")]
    text = f"{noun} in {_endpoints_words(question)}"
    text += f" within the margin of {question.margin:g}" if question.hypothesis != "difference" else ""
    text += f" is shown for {len(shown_pairs)} of {len(rows)} pairs {counts_words(rows, question)}"
    text += f": {listed(shown_pairs)}" if shown_pairs else ""
    text += f"; inferior by more than the margin: {listed(lost)}" if lost else ""
    text += f"; undefined, or too few runs for a claim: {listed(blank)}" if blank else ""
    return f"{text}. {_scope(question, models=len({arm for row in rows for arm in (row['a'], row['b'])}))}"


def _winner_first(row: PairRow) -> tuple[str, str]:
    a, b = str(row["a"]), str(row["b"])
    return (b, a) if row["verdict"] == "b_better" else (a, b)


def _endpoints_words(question: Question) -> str:
    """The measure, or all of several co-primary ones."""
    if not question.co_primary:
        return question.measure
    every = "both" if len(question.co_primary) == 2 else f"all {len(question.co_primary)}"
    measures = [replace(question, metric=name).measure for name in question.co_primary]
    return f"{every} co-primary endpoints, {listed(measures)},"


def counts_words(rows: Sequence[PairRow], question: Question) -> str:
    """ "on 60 patients (240 images) with 3 seeds per arm"."""
    first = rows[0]
    units = first["images"] if first["patients"] is None else first["patients"]
    basis = Basis(a="", b="", seeds=min(row["seeds"] for row in rows), units=units, images=first["images"])
    return _counts(question, basis)
