"""What may be said of two arms: each kind of question, each word of the verdict, and the sentence that carries it."""

from dataclasses import replace

import numpy as np
import pytest

from counterstain.errors import InputError
from counterstain.judging.comparison import compare_arms
from counterstain.judging.paired_difference import Difference
from counterstain.judging.predictions import Predictions
from counterstain.judging.verdict import Question, margin_p, rule_in_words, verdict
from counterstain.judging.verdict_words import Basis, verdict_words

FOUND = Difference(0.80, 0.81, -0.01, -0.03, 0.01, 0.32, -0.027, 0.007, 0.01, 0.0, 40.0)
ASKED = Question(metric="auroc", margin=0.05, hypothesis="noninferiority")


def tables(strength: float, seeds: int, first: int, *, patients: int = 60) -> list[Predictions]:
    code = np.repeat(np.arange(patients), 4)
    label = (code % 2).astype(np.int64)
    hard = np.random.default_rng(0).normal(0, 0.7, patients)[code]
    out = []
    for seed in range(seeds):
        noise = np.random.default_rng(first + seed).normal(size=len(code))
        p = 1 / (1 + np.exp(-(strength * (2 * label - 1) + hard + noise)))
        image = tuple(f"i{k}" for k in range(len(code)))
        blank = ("",) * len(code)
        people = tuple(f"p{k}" for k in code)
        out.append(
            Predictions(
                image=image,
                patient=people,
                slide=blank,
                site=blank,
                label=label,
                prob=np.column_stack([1 - p, p]),
                classes=("benign", "tumour"),
            )
        )
    return out


def test_noninferior_is_the_lower_limit_above_the_margin() -> None:
    assert verdict(FOUND, ASKED, seeds=3, p_adjusted=0.32) == "noninferior"
    assert margin_p(FOUND, ASKED) == pytest.approx(0.00013, abs=2e-5)
    # The limit -0.0302 of t with 40 df at 97.5 %: just inside and just outside of the margin.
    assert verdict(FOUND, replace(ASKED, margin=0.0303), seeds=3, p_adjusted=0.32) == "noninferior"
    assert verdict(FOUND, replace(ASKED, margin=0.0301), seeds=3, p_adjusted=0.32) == "noninferiority_not_shown"
    assert verdict(FOUND, ASKED, seeds=3, p_adjusted=0.32, p_margin_adjusted=0.03) == "noninferiority_not_shown"
    better = replace(FOUND, difference=0.03, low=0.01, high=0.05)
    assert verdict(better, ASKED, seeds=3, p_adjusted=0.01) == "a_better"
    worse = replace(FOUND, difference=-0.09, low=-0.11, high=-0.07)
    assert verdict(worse, ASKED, seeds=3, p_adjusted=0.001) == "b_better"
    assert verdict(FOUND, ASKED, seeds=2, p_adjusted=0.32) == "not_enough_runs"


def test_for_a_loss_lower_is_better_in_every_hypothesis() -> None:
    loss = replace(ASKED, metric="loss")
    high = replace(FOUND, difference=0.08, low=0.06, high=0.10)
    assert verdict(high, loss, seeds=3, p_adjusted=0.001) == "b_better"
    assert verdict(FOUND, loss, seeds=3, p_adjusted=0.32) == "noninferior"
    assert verdict(replace(FOUND, difference=0.06), loss, seeds=3, p_adjusted=0.3) == "noninferiority_not_shown"
    assert "upper limit" in rule_in_words(loss)
    assert "lower limit" in rule_in_words(ASKED)


def test_equivalence_that_was_asked_and_not_shown_is_no_evidence_of_it() -> None:
    asked = replace(ASKED, hypothesis="equivalence")
    assert verdict(FOUND, asked, seeds=3, p_adjusted=0.32) == "equivalent"
    narrow = replace(asked, margin=0.02)
    assert verdict(FOUND, narrow, seeds=3, p_adjusted=0.32) == "equivalence_not_shown"
    assert verdict(FOUND, replace(narrow, hypothesis="difference"), seeds=3, p_adjusted=0.32) == "no_evidence"
    assert verdict(FOUND, asked, seeds=3, p_adjusted=0.32, p_margin_adjusted=0.06) == "equivalence_not_shown"


@pytest.mark.parametrize(
    "kind",
    ["a_better", "b_better", "equivalent", "noninferior", "noninferiority_not_shown", "equivalence_not_shown",
     "no_evidence", "not_enough_runs"],
)  # fmt: skip
@pytest.mark.parametrize("claim", ["procedures", "models"])
def test_every_sentence_says_what_it_rests_on(kind: str, claim: str) -> None:
    asked = replace(ASKED, claim=claim)
    text = verdict_words(kind, FOUND, asked, a="new", b="old", seeds=1, units=23, images=1414, p=0.32)
    for part in ("new", "old", "23 patients", "1,414 images", "unit: patient", "-0.010 [-0.030, +0.010]", "t-test"):
        assert part in text, part
    assert "chance" in text
    assert "equal" not in text
    assert "1 seed" in text or (claim == "models" and "one fitted model an arm" in text)
    if kind in ("a_better", "b_better", "no_evidence", "noninferiority_not_shown"):
        assert "about 390 patients" in text
    if claim == "models" and kind != "not_enough_runs":
        assert "these two fitted models only" in text


def test_fixed_models_are_judged_only_where_it_is_asked() -> None:
    arms = {"good": tables(1.6, 1, 1), "poor": tables(0.2, 1, 50)}
    default = compare_arms(arms)
    assert default["pairs"][0]["verdict"] == "not_enough_runs"
    assert "--fixed-models" in default["words"]
    fixed = compare_arms(arms, claim="models")
    assert fixed["pairs"][0]["verdict"] == "a_better"
    assert "these two fitted models only" in fixed["words"]
    assert "nothing is said of the ways in which they were trained" in fixed["rule"]
    assert any("these fitted models only" in note for note in fixed["warnings"])
    assert not any("single run" in note for note in fixed["warnings"])
    same = compare_arms({"a": arms["good"], "b": tables(1.6, 1, 90)}, claim="models")
    assert same["pairs"][0]["verdict"] == "no_evidence"


def test_questions_that_cannot_be_asked_are_refused() -> None:
    arms = {"a": tables(1.0, 2, 1), "b": tables(1.0, 2, 50)}
    with pytest.raises(InputError, match="'a' has 2 tables; a claim about fitted models needs one"):
        compare_arms(arms, claim="models")
    with pytest.raises(InputError, match="noninferiority was asked without a margin"):
        compare_arms(arms, hypothesis="noninferiority")
    with pytest.raises(InputError, match="did you mean 'equivalence'"):
        compare_arms(arms, hypothesis="equivalance", margin=0.1)
    with pytest.raises(InputError, match="claim is 'model'"):
        compare_arms(arms, claim="model")


def test_noninferiority_of_several_pairs_is_corrected() -> None:
    arms = {name: tables(1.2, 3, first) for name, first in (("a", 1), ("b", 20), ("c", 40))}
    record = compare_arms(arms, margin=0.06, hypothesis="noninferiority")
    assert record["hypothesis"] == "noninferiority"
    least = min(record["pairs"], key=lambda row: row["p_margin"])
    assert least["p_margin_adjusted"] == pytest.approx(min(3 * least["p_margin"], 1))
    assert {row["verdict"] for row in record["pairs"]} <= {"noninferior", "noninferiority_not_shown"}
