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


def verdict_words(kind: str, found: Difference, asked: Question, rests: Basis) -> str:
    """The verdict in two sentences: the answer with what it rests on, and what it doesn't say.

    Args:
        kind: the word of `verdict`.
        found, asked: the difference and the question.
        rests: the arms' names and what the verdict rests on.
    """
    a, b = rests.a, rests.b
    if kind == "undefined":
        return f"{a} and {b} can't be compared in {asked.measure}: {rests.why_undefined}."
    if kind == "not_enough_runs":
        return _too_few_runs(found, asked, rests)
    if kind in ("a_better", "b_better"):
        return f"{_better(kind, found, asked, rests)} {_scope(asked)}"
    margin = "" if asked.margin is None else f"the margin of {asked.margin:g}"
    start = {
        "equivalent": f"{a} and {b} are equivalent within the margin of ±{asked.margin or 0:g}",
        "equivalence_not_shown": f"It is not shown that {a} and {b} are equivalent within the margin of "
        f"±{asked.margin or 0:g}",
        "noninferior": f"{a} is not inferior to {b} by {margin}",
        "inferior": f"{a} is inferior to {b} by more than {margin}",
        "noninferiority_not_shown": f"It is not shown that {a} is not inferior to {b} by {margin}",
        "no_evidence": f"No evidence of a difference between {a} and {b}",
    }[kind]
    evidence = _evidence(kind, found, asked, rests)
    return f"{start}: {evidence} {_counts(asked, rests)}. {_second(kind, asked, rests)}"


def _better(kind: str, found: Difference, asked: Question, rests: Basis) -> str:
    """The winner first, with its lead as a size: no minus signs to be turned round in one's head."""
    winner, loser = (rests.a, rests.b) if kind == "a_better" else (rests.b, rests.a)
    ends = sorted((abs(found.low), abs(found.high)))
    side = "higher" if asked.better_sign > 0 else "lower"
    digits = digits_apart(found.low, found.high)
    shown = f"[{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"
    return (
        f"{winner} is better than {loser}: its {asked.measure} is {side} by {abs(found.difference):.{digits}f} "
        f"({percent(1 - asked.alpha)} interval {shown}, {_p(rests.p, rests.tests)}) "
        f"{_counts(asked, rests)}."
    )


def _evidence(kind: str, found: Difference, asked: Question, rests: Basis) -> str:
    """The interval and the p that decided, with their level."""
    shown = f"the difference in {asked.measure} is {found.difference:+.3f}"
    if kind in ("equivalent", "equivalence_not_shown"):
        level, ends = percent(1 - 2 * asked.alpha), (found.low_margin, found.high_margin)
        p = f"{_p(rests.p_margin, rests.tests)} by two one-sided tests"
        return f"{shown} ({level} interval [{ends[0]:+.3f}, {ends[1]:+.3f}], {p})"
    level = percent(1 - asked.alpha / 2)
    worst = found.low_one_sided if asked.better_sign > 0 else found.high_one_sided
    best = found.high_one_sided if asked.better_sign > 0 else found.low_one_sided
    if kind in ("noninferior", "noninferiority_not_shown"):
        # A p below the level of two-sided tests beside "not shown" reads as a contradiction unless its bound is named.
        close = kind == "noninferiority_not_shown" and asked.alpha / 2 <= rests.p_margin < asked.alpha
        needed = f", where less than {asked.alpha / 2:g} was needed" if close else ""
        return f"{shown}, at worst {worst:+.3f} (one-sided {level} limit, {_p(rests.p_margin, rests.tests)}{needed})"
    if kind == "inferior":
        return f"{shown}, at best {best:+.3f} (one-sided {level} limit, {_p(rests.p_inferior, rests.tests)})"
    level = percent(1 - asked.alpha)
    return f"{shown} ({level} interval [{found.low:+.3f}, {found.high:+.3f}], {_p(rests.p, rests.tests)})"


def shared_p_words(p: float, tests: int) -> str:
    """The p of several endpoints together: the largest of theirs."""
    return f"largest {_p(p, tests)}"


def scope_words(asked: Question) -> str:
    """What is judged besides the patients, as the second half of a sentence and without its full stop."""
    return _scope(asked, capital=False).rstrip(".")


def too_few_advice(seeds: int) -> str:
    """The sentence that says what to do about too few seeds."""
    models = ", or compare these two fitted models only (--fixed-models)" if seeds == 1 else ""
    return f"Train each with at least {MIN_SEEDS} seeds{models}."


def _p(p: float, tests: int) -> str:
    return p_words(p) + (f" after Holm's correction over {tests} pairs" if tests > 1 else "")


def _counts(asked: Question, rests: Basis) -> str:
    if asked.unit == "image" or asked.rows_are == "patient":
        cases = plural(rests.units, asked.rows_are)
    else:
        cases = f"{plural(rests.units, asked.unit)} ({plural(rests.images, asked.rows_are)})"
    if asked.claim == "models":
        return f"on {cases}"
    return f"on {cases} with {plural(rests.seeds, 'seed')} per arm"


def _second(kind: str, asked: Question, rests: Basis) -> str:
    """What else is true, or what was not shown; and what all of it is about."""
    better = rests.a if rests.also == "a_better" else rests.b
    if rests.also is not None and kind != "inferior":
        other = rests.b if rests.also == "a_better" else rests.a
        joined = {"equivalent": "Within that margin, ", "noninferior": "Besides, "}.get(kind, "But ")
        text = f"{joined}{better} is better than {other} (two-sided {_p(rests.p, rests.tests)})"
        return f"{text}; {_scope(asked, capital=False)}"
    denied = {
        "no_evidence": "This doesn't show that they are alike",
        "equivalence_not_shown": "This doesn't show that they differ",
        "noninferiority_not_shown": "This doesn't show that it is inferior",
    }.get(kind)
    return _scope(asked) if denied is None else f"{denied}; {_scope(asked, capital=False)}"


def _scope(asked: Question, *, capital: bool = True, models: int = 2) -> str:
    """What is judged besides the patients: as a sentence, or as the second half of one."""
    if asked.claim == "models":
        count = "two" if models == 2 else f"{models}"
        text = f"this is about these {count} fitted models only, not about the ways in which they were trained"
    elif asked.training_sets > 1:
        text = f"this holds over {asked.training_sets} training sets"
    elif capital:
        text = "this holds on this training set; another one may rank them otherwise"
    else:
        text = "this is about this training set only"
    return f"{text[:1].upper() if capital else text[:1]}{text[1:]}."


def _too_few_runs(found: Difference, asked: Question, rests: Basis) -> str:
    shown = f"the difference in {asked.measure} is {found.difference:+.3f}"
    if np.isfinite(found.low):
        shown += f" ({percent(1 - asked.alpha)} interval [{found.low:+.3f}, {found.high:+.3f}])"
    start = f"Not enough runs to claim anything about {rests.a} and {rests.b}"
    return f"{start}: {shown} {_counts(asked, rests)}. {too_few_advice(rests.seeds)}"


# ------------------------------------------------------------------------------------------------------- several arms


def summary_words(rows: Sequence[PairRow], asked: Question, best: str, reference: str | None) -> str:
    """All primary pairs in at most two sentences: one pair's own words, or who leads and who can't be told from whom.

    Args:
        rows: of the primary pairs, with "a", "b", "verdict" and "words".
        asked: the question.
        best: the arm with the best value.
        reference: the arm that the others were compared with, or None.
    """
    if len(rows) == 1:
        return str(rows[0]["words"])
    if asked.hypothesis != "difference" or asked.co_primary:
        return _tally_words(rows, asked)
    about = best if reference is None else reference
    own = {row["b"] if row["a"] == about else row["a"]: row for row in rows if about in (row["a"], row["b"])}
    told: dict[str, list[str]] = {}
    scope = _scope(asked, models=len(own) + 1)
    for arm, row in own.items():
        told.setdefault(_place(about, row), []).append(arm)
    start = f"{best} has the best {asked.measure} of {len(own) + 1} arms" if reference is None else (
        f"{plural(len(own), 'arm')} compared with {reference} in {asked.measure}"
    )  # fmt: skip
    said = [f"{words} {listed(told[place])}" for place, words in _PLACES.items() if place in told]
    start += f" {counts_words(rows, asked)}"
    if reference is not None:
        return f"{start}: {reference} {'; it '.join(said)}. {scope}"
    return f"{start}; it {' and it '.join(said)}. {scope}"


_PLACES = {
    "better": "is better than",
    "worse": "is worse than",
    "equivalent": "is equivalent to",
    "open": "can't be told from",
    "undefined": "can't be compared with",
    "runs": "has too few runs for a claim about",
}


def _place(about: str, row: PairRow) -> str:
    """What a pair's verdict says of one of its arms."""
    kind = row["verdict"]
    if kind in ("a_better", "b_better"):
        return "better" if row["a" if kind == "a_better" else "b"] == about else "worse"
    return {"equivalent": "equivalent", "undefined": "undefined", "not_enough_runs": "runs"}.get(kind, "open")


def _tally_words(rows: Sequence[PairRow], asked: Question) -> str:
    """How many pairs gave which answer, the shown ones by name."""
    wanted, words, joined = {
        "equivalence": (("equivalent",), "Equivalence", " and "),
        "noninferiority": (("noninferior",), "Non-inferiority", " to "),
        "difference": (("a_better", "b_better"), "That one arm is better", " than "),
    }[asked.hypothesis]
    named = [joined.join(_winner_first(row)) for row in rows if row["verdict"] in wanted]
    lost = [f"{row['a']} to {row['b']}" for row in rows if row["verdict"] == "inferior"]
    blank = [f"{row['a']} and {row['b']}" for row in rows if row["verdict"] in ("undefined", "not_enough_runs")]
    text = f"{words} in {_endpoints_words(asked)}"
    text += f" within the margin of {asked.margin:g}" if asked.hypothesis != "difference" else ""
    text += f" is shown for {len(named)} of {len(rows)} pairs {counts_words(rows, asked)}"
    text += f": {listed(named)}" if named else ""
    text += f"; inferior by more than the margin: {listed(lost)}" if lost else ""
    text += f"; undefined, or too few runs for a claim: {listed(blank)}" if blank else ""
    return f"{text}. {_scope(asked, models=len({arm for row in rows for arm in (row['a'], row['b'])}))}"


def _winner_first(row: PairRow) -> tuple[str, str]:
    a, b = str(row["a"]), str(row["b"])
    return (b, a) if row["verdict"] == "b_better" else (a, b)


def _endpoints_words(asked: Question) -> str:
    """The measure, or all of several co-primary ones."""
    if not asked.co_primary:
        return asked.measure
    every = "both" if len(asked.co_primary) == 2 else f"all {len(asked.co_primary)}"
    return (
        f"{every} co-primary endpoints, {listed([replace(asked, metric=name).measure for name in asked.co_primary])},"
    )


def counts_words(rows: Sequence[PairRow], asked: Question) -> str:
    """ "on 60 patients (240 images) with 3 seeds per arm"."""
    first = rows[0]
    units = first["images"] if first["patients"] is None else first["patients"]
    rests = Basis(a="", b="", seeds=min(row["seeds"] for row in rows), units=units, images=first["images"])
    return _counts(asked, rests)
