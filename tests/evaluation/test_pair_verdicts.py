"""Judged pairs: the correction over pairs and endpoints, joint answers, and their sentences, by hand."""

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from counterstain.evaluation.multiplicity import holm
from counterstain.evaluation.pair_verdicts import (
    Compared,
    _corrected,
    _endpoint_words,
    _joint_words,
    joint_verdict,
)
from counterstain.evaluation.paired_difference import Difference
from counterstain.evaluation.verdict import Question

NAN = float("nan")
ASKED = Question(metric="recall", positive="malignant", co_primary=("recall", "specificity"))
INFERIOR = replace(ASKED, hypothesis="noninferiority", margin=0.05)
ALIKE = replace(ASKED, hypothesis="equivalence", margin=0.05)


# ---------------------------------------------------------------------------------------------------- Holm's correction


def found(p: float, margin_p: float = NAN, inferior: float = NAN) -> Difference:
    return Difference(
        value_a=0.8, value_b=0.7, difference=0.1, low=0.0, high=0.2, p=p, low_margin=0.0, high_margin=0.2,
        se_patient=0.1, se_seed=0.0, df=9.0, p_equivalence=margin_p, p_noninferior=margin_p / 2, p_inferior=inferior,
    )  # fmt: skip


AB, AC, BC = ("a", "b"), ("a", "c"), ("b", "c")


def corrected(*endpoints: dict, primary: tuple = (AB, AC, BC), asked: Question = ASKED) -> Any:
    compared = Compared(tables={}, samples={}, units=9, primary_pairs=primary, prior_sd=0.05)
    return _corrected(endpoints, compared, asked)


def test_holm_runs_over_the_primary_pairs_and_for_the_others_over_all() -> None:
    """0.01, 0.02, 0.03 of three: 0.03, 0.04, 0.04; of the first two alone 0.02 and 0.02."""
    own = {AB: found(0.01, 0.3), AC: found(0.02, 0.1), BC: found(0.03, 0.2)}
    every = corrected(own)
    assert every.p == pytest.approx({AB: 0.03, AC: 0.04, BC: 0.04})
    assert every.margin == pytest.approx({AB: 0.4, AC: 0.3, BC: 0.4})
    two = corrected(own, primary=(AB, AC))
    assert two.p == pytest.approx({AB: 0.02, AC: 0.02, BC: 0.04})
    below = corrected(own, asked=replace(INFERIOR, co_primary=()))
    assert below.margin == pytest.approx({AB: 0.2, AC: 0.15, BC: 0.2})


def test_of_endpoints_the_largest_p_counts_and_for_inferiority_the_smallest_times_their_number() -> None:
    one = {AB: found(0.01, 0.3, 0.02), AC: found(0.5, 0.1, 0.9)}
    two = {AB: found(0.04, 0.2, 0.4), AC: found(0.2, NAN, 0.8)}
    both = corrected(one, two, primary=(AB, AC))
    assert list(both.p.values()) == pytest.approx(holm([0.04, 0.5]))
    assert both.margin == pytest.approx(dict(zip((AB, AC), holm([0.3, NAN]), strict=True)), nan_ok=True)
    assert list(both.inferior.values()) == pytest.approx(holm([0.04, 1.0]))


# -------------------------------------------------------------------------------------------------------- joint answers


@pytest.mark.parametrize(
    ("kinds", "asked", "joint"),
    [
        (("a_better", "a_better"), ASKED, "a_better"),
        (("a_better", "no_evidence"), ASKED, "no_evidence"),
        (("a_better", "b_better"), ASKED, "no_evidence"),
        (("equivalent", "equivalent"), ALIKE, "equivalent"),
        (("equivalent", "equivalence_not_shown"), ALIKE, "equivalence_not_shown"),
        (("noninferior", "noninferior"), INFERIOR, "noninferior"),
        (("noninferior", "noninferiority_not_shown"), INFERIOR, "noninferiority_not_shown"),
        (("noninferior", "inferior"), INFERIOR, "inferior"),
        (("inferior", "undefined"), INFERIOR, "undefined"),
        (("undefined", "not_enough_runs"), ASKED, "not_enough_runs"),
        (("a_better", "undefined"), ASKED, "undefined"),
    ],
)
def test_endpoints_answer_together_only_what_all_of_them_say(
    kinds: tuple[str, ...], asked: Question, joint: str
) -> None:
    for order in permutations(kinds):
        assert joint_verdict(order, asked) == joint


# --------------------------------------------------------------------------------------------------------- in sentences


def part(metric: str, verdict: str, **more: Any) -> dict[str, Any]:
    return {
        "a": "new", "b": "old", "metric": metric, "verdict": verdict, "difference": 0.0312, "low": 0.0112,
        "high": 0.0512, "low_margin": 0.0142, "high_margin": 0.0482, "low_one_sided": 0.0102, "high_one_sided": 0.0522,
        "p_adjusted": 0.0123, "p_margin_adjusted": 0.0004, "tests_corrected_for": 1, "seeds": 3, "patients": 23,
        "images": 1414, **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("own", "asked", "words"),
    [
        (part("recall", "a_better"), ASKED,
         "sensitivity (recall) +0.031 (95 % interval [+0.011, +0.051]), new is better"),
        (part("f1", "b_better", difference=-0.5), ASKED, "F1 -0.500 (95 % interval [+0.011, +0.051]), old is better"),
        (part("f1", "no_evidence"), replace(ASKED, alpha=0.1),
         "F1 +0.031 (90 % interval [+0.011, +0.051]), no evidence of a difference"),
        (part("f1", "equivalent"), ALIKE, "F1 +0.031 (90 % interval [+0.014, +0.048]), equivalent"),
        (part("f1", "equivalence_not_shown"), ALIKE,
         "F1 +0.031 (90 % interval [+0.014, +0.048]), equivalence not shown"),
        (part("f1", "noninferior"), INFERIOR, "F1 +0.031 (at worst +0.010, one-sided 97.5 % limit), not inferior"),
        (part("loss", "noninferiority_not_shown"), INFERIOR,
         "log loss +0.031 (at worst +0.052, one-sided 97.5 % limit), non-inferiority not shown"),
        (part("brier", "inferior"), INFERIOR,
         "Brier score +0.031 (at worst +0.052, one-sided 97.5 % limit), inferior"),
        (part("f1", "not_enough_runs"), ASKED, "F1 +0.031 (95 % interval [+0.011, +0.051])"),
        (part("f1", "undefined", low=NAN, difference=NAN), ASKED, "F1 is undefined"),
        (part("f1", "undefined", low=NAN), ASKED, "F1 +0.031 (no interval)"),
    ],
)  # fmt: skip
def test_an_endpoint_has_the_limits_that_decided_and_its_answer(own: dict, asked: Question, words: str) -> None:
    assert _endpoint_words(own, asked) == words


BOTH = "co-primary endpoints, sensitivity (recall) for 'malignant' and specificity for 'malignant'"
COUNTS = "on 23 patients (1,414 images) with 3 seeds per arm"
ONLY = "this is about this training set only"


def joint(kind: str, asked: Question, **more: Any) -> str:
    parts = [part(metric, "a_better") for metric in asked.co_primary]
    own = {"p_adjusted": 0.0123, "p_margin_adjusted": 0.0004, "tests_corrected_for": 1, "seeds": 3} | more
    words = _joint_words(("new", "old"), kind, own, parts, asked)
    ends = "; ".join(_endpoint_words(one, asked) for one in parts)
    assert ends in words
    return words.replace(ends, "…")


@pytest.mark.parametrize(
    ("kind", "asked", "start"),
    [
        ("a_better", ASKED, "new is better than old in both {} (largest p = 0.012)"),
        ("b_better", ASKED, "old is better than new in both {} (largest p = 0.012)"),
        ("no_evidence", ASKED, "It is not shown that either of new and old is better in both {} (largest p = 0.012)"),
        ("equivalent", ALIKE, "new and old are equivalent within ±0.05 in both {} (largest p < 0.001)"),
        ("equivalence_not_shown", ALIKE,
         "It is not shown that new and old are equivalent within ±0.05 in both {} (largest p < 0.001)"),
        ("noninferior", INFERIOR,
         "new is not inferior to old by the margin of 0.05 in both {} (largest p < 0.001)"),
        ("noninferiority_not_shown", INFERIOR,
         "It is not shown that new is not inferior to old by the margin of 0.05 in both {} (largest p < 0.001)"),
        ("inferior", INFERIOR,
         "new is inferior to old by more than the margin of 0.05 in at least one of the {}"),
        ("undefined", ASKED, "new and old can't be compared in both {}"),
    ],
)  # fmt: skip
def test_a_joint_answer_in_words(kind: str, asked: Question, start: str) -> None:
    assert joint(kind, asked) == f"{start.format(BOTH)}, {COUNTS}; {ONLY}. In detail: …."


def test_a_joint_answer_of_several_pairs_three_endpoints_or_too_few_runs() -> None:
    corrected_for = joint("a_better", ASKED, tests_corrected_for=3)
    assert "(largest p = 0.012 after Holm's correction over 3 pairs)" in corrected_for
    three = joint("a_better", replace(ASKED, co_primary=("recall", "specificity", "auroc")))
    assert three.startswith(
        "new is better than old in all 3 co-primary endpoints, sensitivity (recall) for 'malignant'"
    )
    assert ", specificity for 'malignant' and AUROC (largest" in three
    assert joint("not_enough_runs", ASKED, seeds=1) == (
        f"Not enough runs to claim anything about new and old in both {BOTH}, {COUNTS}: …. Train each with at least 3 "
        "seeds, or compare these two fitted models only (--fixed-models)."
    )
    assert joint("not_enough_runs", ASKED, seeds=2).endswith("…. Train each with at least 3 seeds.")
