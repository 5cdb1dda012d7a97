"""The pairs of a comparison with their verdicts, corrected for each other; of several endpoints one joint verdict."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import numpy as np

from counterstain.evaluation.cross_validation import FoldTests, with_folds
from counterstain.evaluation.format import digits_apart, listed
from counterstain.evaluation.intervals import Sample, estimate_of
from counterstain.evaluation.metric_names import measure_words
from counterstain.evaluation.multiplicity import holm
from counterstain.evaluation.paired_difference import Difference, difference
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.ranking import pair_chance
from counterstain.evaluation.record_types import PairRow
from counterstain.evaluation.sample_size import patients_needed
from counterstain.evaluation.undefined_metrics import why_undefined
from counterstain.evaluation.verdict import (
    Question,
    also_better,
    deciding_ends,
    margin_p,
    percent,
    verdict,
    worst_end,
)
from counterstain.evaluation.verdict_words import (
    Basis,
    counts_words,
    scope_words,
    shared_p_words,
    too_few_advice,
    verdict_words,
)

__all__ = ["Compared", "joint_rows", "judged_rows"]

Pair = tuple[str, str]
Pick = Callable[[Sequence[float]], float]
UNSETTLED = ("no_evidence", "noninferiority_not_shown", "equivalence_not_shown")


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """What all pairs are judged from.

    tables, samples: arm -> its aligned tables, and their scores on all units and without each of them
    units: patients, or images where patients are unknown
    primary_pairs: those that share the error among themselves; prior_sd, detect, over_folds: as for `compare_arms`
    """

    tables: Mapping[str, Sequence[Predictions]]
    samples: Mapping[str, Sample]
    units: int
    primary_pairs: Sequence[Pair]
    prior_sd: float
    detect: float | None = None
    over_folds: FoldTests | None = None


@dataclass(frozen=True)
class Corrected:
    """The p-values of each pair after Holm's correction: against 0, against the margin, of inferiority."""

    p: Mapping[Pair, float]
    margin: Mapping[Pair, float]
    inferior: Mapping[Pair, float]


def judged_rows(pairs: Sequence[Pair], compared: Compared, question: Question) -> list[PairRow]:
    """One row for each pair, with Holm's correction over the primary pairs, and over all pairs for the others."""
    effects = {pair: _difference(pair, compared, question) for pair in pairs}
    corrected = _corrected([effects], compared, question)
    return [_row(pair, effect, compared, question, corrected) for pair, effect in effects.items()]


def joint_rows(pairs: Sequence[Pair], compared: Compared, question: Question) -> list[PairRow]:
    """One row for each pair with the joint verdict of the co-primary endpoints, each of which must pass.

    Asking all of several tests needs no correction between them; Holm over the pairs runs on each pair's largest p.

    Source: Berger 1982, Technometrics 24:295, doi:10.1080/00401706.1982.10487790.
    """
    questions = [replace(question, metric=metric) for metric in question.co_primary]
    effects = [{pair: _difference(pair, compared, single) for pair in pairs} for single in questions]
    joint = _corrected(effects, compared, question)
    # Beside the joint verdict each endpoint has a row of its own, with its own p.
    alone = [_corrected([by_pair], compared, single) for by_pair, single in zip(effects, questions, strict=True)]
    return [
        _joint_row(
            pair,
            [
                _row(pair, by_pair[pair], compared, single, joint)
                for by_pair, single in zip(effects, questions, strict=True)
            ],
            [
                cast(PairRow, {**_row(pair, by_pair[pair], compared, single, p), **_own_ends(pair, compared, single)})
                for by_pair, single, p in zip(effects, questions, alone, strict=True)
            ],
            question,
        )
        for pair in pairs
    ]


def _own_ends(pair: Pair, compared: Compared, question: Question) -> dict[str, float]:
    """Both arms' own limits in an endpoint; the ranking has them for the first endpoint only."""
    ends = [estimate_of(compared.samples[arm], (question.metric, None), confidence=1 - question.alpha) for arm in pair]
    return {
        f"{end}_{side}": getattr(estimate, end)
        for side, estimate in zip("ab", ends, strict=True)
        for end in ("low", "high")
    }


def _joint_row(pair: Pair, together: Sequence[PairRow], endpoints: Sequence[PairRow], question: Question) -> PairRow:
    """One pair: the joint answer with its p, from the endpoints as they stand `together`, and each endpoint alone."""
    first = together[0]
    kind = joint_verdict([row["verdict"] for row in together], question)
    also = first["also"] if len({row["also"] for row in together}) == 1 else None
    words = _joint_words(pair, kind, first, endpoints, question)
    tests = [f"{measure_words(row['metric'])}: {row['test']}" for row in together]
    return {
        **first,
        # What is of one endpoint alone stands in the endpoints; patients for each by itself aren't enough for all.
        "probability_false": None,
        "needed": None,
        "test": f"all of: {'; '.join(tests)}",
        "verdict": kind,
        "also": also,
        "endpoints": list(endpoints),
        "words": words if first["primary"] else f"Exploratory: {words}",
    }


def joint_verdict(kinds: Sequence[str], question: Question) -> str:
    """The one verdict of several endpoints: what all of them say, else that it isn't shown."""
    for kind in ("not_enough_runs", "undefined", "inferior"):
        if kind in kinds:
            return kind
    if len(set(kinds)) == 1:
        return kinds[0]
    open_kind = {"equivalence": "equivalence_not_shown", "noninferiority": "noninferiority_not_shown"}
    return open_kind.get(question.hypothesis, "no_evidence")


def _joint_words(pair: Pair, kind: str, joint: PairRow, parts: Sequence[PairRow], question: Question) -> str:
    """Whether all endpoints passed and what it holds for, and then each endpoint's own evidence in one sentence."""
    a, b = pair
    names = listed([replace(question, metric=part["metric"]).measure for part in parts])
    margin = "" if question.margin is None else f" by the margin of {question.margin:g}"
    within = "" if question.margin is None else f" within ±{question.margin:g}"
    start = {
        "a_better": f"{a} is better than {b} in both",
        "b_better": f"{b} is better than {a} in both",
        "equivalent": f"{a} and {b} are equivalent{within} in both",
        "noninferior": f"{a} is not inferior to {b}{margin} in both",
        "inferior": f"{a} is inferior to {b} by more than the margin of {question.margin or 0:g} in at least one of "
        "the",
        "not_enough_runs": f"Not enough runs to claim anything about {a} and {b} in both",
        "undefined": f"{a} and {b} can't be compared in both",
        "noninferiority_not_shown": f"It is not shown that {a} is not inferior to {b}{margin} in both",
        "equivalence_not_shown": f"It is not shown that {a} and {b} are equivalent{within} in both",
    }.get(kind, f"It is not shown that either of {a} and {b} is better in both")
    if len(parts) > 2:
        start = start.replace("in both", f"in all {len(parts)}")
    p = joint["p_adjusted"] if question.hypothesis == "difference" else joint["p_margin_adjusted"]
    tested = kind not in ("not_enough_runs", "undefined", "inferior")
    decided = f" ({shared_p_words(p, joint['tests_corrected_for'])})" if tested else ""
    ends = "; ".join(_endpoint_words(part, question) for part in parts)
    if kind == "not_enough_runs":
        advice = too_few_advice(joint["seeds"])
        return f"{start} co-primary endpoints, {names}, {counts_words(parts, question)}: {ends}. {advice}"
    scope = scope_words(question)
    return (
        f"{start} co-primary endpoints, {names}{decided}, {counts_words(parts, question)}; {scope}. In detail: {ends}."
    )


def _endpoint_words(part: PairRow, question: Question) -> str:
    """An endpoint's difference with the limits that decide the question, and its own answer."""
    metric, difference_ = measure_words(part["metric"]), part["difference"]
    if part["low"] != part["low"]:
        return f"{metric} is undefined" if difference_ != difference_ else f"{metric} {difference_:+.3f} (no interval)"
    digits = digits_apart(part["low"], part["high"]) if question.hypothesis == "difference" else 3
    shown = f"{metric} {difference_:+.{digits}f} ({_deciding_words(part, question, digits)})"
    if part["verdict"] == "not_enough_runs":
        return shown
    answers = {
        "a_better": f"{part['a']} is better",
        "b_better": f"{part['b']} is better",
        "no_evidence": "no evidence of a difference",
        "noninferior": "not inferior",
        "noninferiority_not_shown": "non-inferiority not shown",
        "equivalence_not_shown": "equivalence not shown",
    }
    return f"{shown}, {answers.get(part['verdict'], part['verdict'])}"


def _deciding_words(part: PairRow, question: Question, digits: int) -> str:
    """The interval or limit that an endpoint's answer follows from, with its level."""
    if question.hypothesis == "noninferiority":
        return f"at worst {worst_end(part):+.3f}, one-sided {percent(1 - question.alpha / 2)} limit"
    low, high = deciding_ends(part, question.hypothesis)
    level = percent(1 - (2 if question.hypothesis == "equivalence" else 1) * question.alpha)
    return f"{level} interval [{low:+.{digits}f}, {high:+.{digits}f}]"


def _difference(pair: Pair, compared: Compared, question: Question) -> Difference:
    """The difference over patients and seeds, and where there are several training sets over these too."""
    a, b = pair
    effect = difference(
        compared.samples[a], compared.samples[b], (question.metric, None), alpha=question.alpha, margin=question.margin
    )
    test = None if compared.over_folds is None else compared.over_folds.of(question.metric, a, b)
    if test is None or not np.isfinite(effect.p):
        return effect
    return with_folds(effect, test, question.metric, alpha=question.alpha, margin=question.margin)


def _corrected(effects: Sequence[Mapping[Pair, Difference]], compared: Compared, question: Question) -> Corrected:
    """Holm over the pairs; of several endpoints each pair's largest p goes in, for inferiority its smallest."""
    pairs = list(effects[0])

    def worst(value: Callable[[Difference], float], pick: Pick = max) -> dict[Pair, float]:
        return {pair: _nan_if_any([value(by_pair[pair]) for by_pair in effects], pick) for pair in pairs}

    def adjusted(p: Mapping[Pair, float]) -> dict[Pair, float]:
        everyone = dict(zip(p, holm(list(p.values())), strict=True))
        primary = list(compared.primary_pairs)
        return everyone | dict(zip(primary, holm([p[pair] for pair in primary]), strict=True))

    return Corrected(
        p=adjusted(worst(lambda effect: effect.p)),
        margin=adjusted(worst(lambda effect: margin_p(effect, question))),
        # One endpoint is enough for inferiority, so its smallest p counts times the number of endpoints.
        inferior=adjusted(worst(lambda effect: min(1.0, len(effects) * effect.p_inferior), min)),
    )


def _nan_if_any(values: Sequence[float], pick: Pick) -> float:
    return float("nan") if any(value != value for value in values) else float(pick(values))


def _row(pair: Pair, effect: Difference, compared: Compared, question: Question, corrected: Corrected) -> PairRow:
    """The record of one pair and one endpoint."""
    a, b = pair
    samples, first = compared.samples, compared.tables[a][0]
    seeds = min(len(samples[arm].values[question.metric, None]) for arm in pair)
    p, p_margin, p_inferior = (by_pair[pair] for by_pair in (corrected.p, corrected.margin, corrected.inferior))
    kind = verdict(
        effect, question, seeds=seeds, p_adjusted=p, p_margin_adjusted=p_margin, p_inferior_adjusted=p_inferior
    )
    settled = kind in ("not_enough_runs", "undefined", "a_better", "b_better")
    also = None if settled else also_better(effect, question, p)
    why = why_undefined(pair, compared.tables, samples, (question.metric, None)) if not np.isfinite(effect.p) else ""
    is_primary = pair in compared.primary_pairs
    tests = len(compared.primary_pairs) if is_primary else max(len(corrected.p), 1)
    basis = Basis(
        a=a, b=b, seeds=seeds, units=compared.units, images=len(first), tests=tests, p=p, p_margin=p_margin,
        p_inferior=p_inferior, also=also, why_undefined=why,
    )  # fmt: skip
    words = verdict_words(kind, effect, question, basis)
    row: dict[str, Any] = {
        "a": a,
        "b": b,
        "primary": is_primary,
        "metric": question.metric,
        "positive": question.positive,
        "level": question.level,
        "confidence": 1 - question.alpha,
        **asdict(effect),
        "p_adjusted": p,
        "p_margin": margin_p(effect, question),
        "p_margin_adjusted": p_margin,
        "p_inferior_adjusted": p_inferior,
        "tests_corrected_for": tests,
        "probability_false": _chance(pair, effect, kind, compared, question),
        "needed": _needed(pair, effect, kind, compared, question, tests),
        "test": f"paired difference, {effect.method}",
        "seeds": seeds,
        "patients": compared.units if question.unit == "patient" else None,
        "images": len(first),
        "verdict": kind,
        "also": also,
        "words": words if is_primary else f"Exploratory: {words}",
    }
    return cast(PairRow, row)


def _chance(pair: Pair, effect: Difference, kind: str, compared: Compared, question: Question) -> float | None:
    """Chance that the ranking of two arms is false; None where nothing can be said, and of more than two arms."""
    if kind in ("not_enough_runs", "undefined") or len(compared.samples) > 2:
        return None
    a, b = (compared.samples[arm] for arm in pair)
    return pair_chance(a, b, effect, (question.metric, None), alpha=question.alpha, prior_sd=compared.prior_sd)


def _needed(
    pair: Pair, effect: Difference, kind: str, compared: Compared, question: Question, tests: int
) -> dict[str, Any] | None:
    """Patients for the difference that the user named; nothing beside what is settled or can't be computed."""
    if compared.detect is None or kind not in UNSETTLED:
        return None
    df = min(compared.samples[arm].df[question.metric, None] for arm in pair)
    needed = patients_needed(
        compared.detect, se_patient=effect.se_patient, se_seed=effect.se_seed, df=df, units=compared.units,
        alpha=question.alpha, tests=tests,
    )  # fmt: skip
    return None if needed is None else asdict(needed)
