"""The verdict's sentences, whole: what a reader is told for every answer, of one pair and of several arms."""

from dataclasses import replace

import pytest

from counterstain.evaluation.format import listed
from counterstain.evaluation.paired_difference import Difference
from counterstain.evaluation.text_tables import needed_words
from counterstain.evaluation.verdict import Question
from counterstain.evaluation.verdict_words import Basis, p_words, summary_words, verdict_words

FOUND = Difference(
    value_a=0.79, value_b=0.8, difference=-0.01, low=-0.031, high=0.011, p=0.32, low_margin=-0.027, high_margin=0.007,
    se_patient=0.009, se_seed=0.003, df=20.0, low_one_sided=-0.033, high_one_sided=0.013,
)  # fmt: skip
ASKED = Question(metric="auroc", margin=0.05)
RESTS = Basis(a="new", b="old", seeds=3, units=23, images=1414, p=0.32, p_margin=0.004, p_inferior=0.006,
              why_undefined="only one patient has 'x'")  # fmt: skip
COUNTS = "on 23 patients (1,414 images) with 3 seeds per arm"
ELSE = "This holds on this training set; another one may rank them otherwise."
ONLY = "this is about this training set only."

SENTENCES = {
    "undefined": "new and old can't be compared in AUROC: only one patient has 'x'.",
    "a_better": "new is better than old: its AUROC is higher by 0.010 (95 % interval [0.011, 0.031], p = 0.320) "
    f"{COUNTS}. {ELSE}",
    "b_better": "old is better than new: its AUROC is higher by 0.010 (95 % interval [0.011, 0.031], p = 0.320) "
    f"{COUNTS}. {ELSE}",
    "equivalent": "new and old are equivalent within the margin of ±0.05: the difference in AUROC is "
    f"-0.010 (90 % interval [-0.027, +0.007], p = 0.004 by two one-sided tests) {COUNTS}. {ELSE}",
    "equivalence_not_shown": "It is not shown that new and old are equivalent within the margin of ±0.05: "
    "the difference in AUROC is -0.010 (90 % interval [-0.027, +0.007], p = 0.004 by two one-sided tests) "
    f"{COUNTS}. This doesn't show that they differ; {ONLY}",
    "noninferior": "new is not inferior to old by the margin of 0.05: the difference in AUROC is "
    f"-0.010, at worst -0.033 (one-sided 97.5 % limit, p = 0.004) {COUNTS}. {ELSE}",
    "inferior": "new is inferior to old by more than the margin of 0.05: the difference in AUROC is "
    f"-0.010, at best +0.013 (one-sided 97.5 % limit, p = 0.006) {COUNTS}. {ELSE}",
    "noninferiority_not_shown": "It is not shown that new is not inferior to old by the margin of 0.05: "
    "the difference in AUROC is -0.010, at worst -0.033 (one-sided 97.5 % limit, p = 0.004) "
    f"{COUNTS}. This doesn't show that it is inferior; {ONLY}",
    "no_evidence": "No evidence of a difference between new and old: the difference in AUROC is -0.010 "
    f"(95 % interval [-0.031, +0.011], p = 0.320) {COUNTS}. This doesn't show that they are alike; {ONLY}",
    "not_enough_runs": "Not enough runs to claim anything about new and old: the difference in AUROC is -0.010 "
    f"(95 % interval [-0.031, +0.011]) {COUNTS}. Train each with at least 3 seeds.",
}


@pytest.mark.parametrize("kind", SENTENCES)
def test_every_answer_has_its_sentences(kind: str) -> None:
    assert verdict_words(kind, FOUND, ASKED, RESTS) == SENTENCES[kind]


def test_a_loss_is_better_where_it_is_lower_and_its_limits_turn_round() -> None:
    asked = replace(ASKED, metric="loss")
    assert ": its log loss is lower by 0.010 (" in verdict_words("a_better", FOUND, asked, RESTS)
    assert "at worst +0.013 (" in verdict_words("noninferior", FOUND, asked, RESTS)
    assert "at best -0.033 (" in verdict_words("inferior", FOUND, asked, RESTS)


@pytest.mark.parametrize(
    ("kind", "also", "second"),
    [
        ("equivalent", "a_better", f"Within that margin, new is better than old (two-sided p = 0.320); {ONLY}"),
        ("noninferior", "a_better", f"Besides, new is better than old (two-sided p = 0.320); {ONLY}"),
        ("noninferior", "b_better", f"Besides, old is better than new (two-sided p = 0.320); {ONLY}"),
        ("noninferiority_not_shown", "b_better", f"But old is better than new (two-sided p = 0.320); {ONLY}"),
        ("inferior", "b_better", ELSE),
    ],
)
def test_what_is_true_besides_is_said_second(kind: str, also: str, second: str) -> None:
    assert verdict_words(kind, FOUND, ASKED, replace(RESTS, also=also)).endswith(f"{COUNTS}. {second}")


@pytest.mark.parametrize(
    ("change", "alone", "joined"),
    [
        ({"training_sets": 5}, "This holds over 5 training sets.", "this holds over 5 training sets."),
        ({"training_sets": 2}, "This holds over 2 training sets.", "this holds over 2 training sets."),
        (
            {"claim": "models"},
            "This is about these two fitted models only, not about the ways in which they were trained.",
            "this is about these two fitted models only, not about the ways in which they were trained.",
        ),
    ],
)
def test_the_scope_is_what_was_asked(change: dict, alone: str, joined: str) -> None:
    asked = replace(ASKED, **change)
    assert verdict_words("equivalent", FOUND, asked, RESTS).endswith(f". {alone}")
    assert verdict_words("no_evidence", FOUND, asked, RESTS).endswith(f"; {joined}")


def test_one_seed_may_judge_the_fitted_models_and_no_interval_is_left_out() -> None:
    lone = replace(RESTS, seeds=1)
    assert verdict_words("not_enough_runs", FOUND, ASKED, lone).endswith(
        "on 23 patients (1,414 images) with 1 seed per arm. "
        "Train each with at least 3 seeds, or compare these two fitted models only (--fixed-models)."
    )
    nan = float("nan")
    assert f"AUROC is -0.010 {COUNTS}. Train" in verdict_words(
        "not_enough_runs", replace(FOUND, low=nan, high=nan), ASKED, RESTS
    )


def test_holm_is_named_where_there_are_two_pairs_or_more() -> None:
    one, two = (verdict_words("no_evidence", FOUND, ASKED, replace(RESTS, tests=tests)) for tests in (1, 2))
    assert "p = 0.320)" in one
    assert "p = 0.320 after Holm's correction over 2 pairs)" in two


@pytest.mark.parametrize(
    ("p", "words"),
    [(0.0, "p < 0.001"), (0.00099, "p < 0.001"), (0.001, "p = 0.001"), (0.0346, "p = 0.035"), (1.0, "p = 1.000")],
)
def test_p_in_words(p: float, words: str) -> None:
    assert p_words(p) == words


def test_a_list_in_words() -> None:
    assert [listed(words) for words in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]


# ------------------------------------------------------------------------------------------------------- several arms


def pair(a: str, b: str, kind: str, seeds: int = 3) -> dict:
    return {"a": a, "b": b, "verdict": kind, "words": f"<{a} {b}>", "patients": 23, "images": 1414, "seeds": seeds}


def test_few_pairs_about_a_margin_are_counted_too() -> None:
    asked = replace(ASKED, hypothesis="noninferiority")
    rows = [pair("a", "b", "noninferior"), pair("a", "c", "inferior"), pair("b", "c", "noninferior")]
    assert summary_words(rows, asked, "a", None) == (
        f"Non-inferiority in AUROC within the margin of 0.05 is shown for 2 of 3 pairs {COUNTS}: a to b and b to c; "
        f"inferior by more than the margin: a to c. {ELSE}"
    )
    assert summary_words(rows[:1], replace(asked, hypothesis="difference"), "a", "b") == "<a b>"


def test_many_pairs_about_a_margin_are_counted() -> None:
    asked = replace(ASKED, hypothesis="noninferiority")
    rows = [pair("a", "b", "noninferior"), pair("c", "b", "inferior", 2), pair("d", "b", "noninferiority_not_shown")]
    counts = "on 23 patients (1,414 images) with 2 seeds per arm"
    assert summary_words(rows, asked, "a", "b") == (
        f"Non-inferiority in AUROC within the margin of 0.05 is shown for 1 of 3 pairs {counts}: a to b; "
        f"inferior by more than the margin: c to b. {ELSE}"
    )
    assert summary_words(rows[2:] * 2, asked, "a", "b") == (
        f"Non-inferiority in AUROC within the margin of 0.05 is shown for 0 of 2 pairs {COUNTS}. {ELSE}"
    )
    equal = [pair("a", b, "equivalent") for b in "bcd"] + [pair("b", "c", "equivalence_not_shown")]
    assert summary_words(equal, replace(ASKED, hypothesis="equivalence"), "a", None) == (
        f"Equivalence in AUROC within the margin of 0.05 is shown for 3 of 4 pairs {COUNTS}: "
        f"a and b, a and c and a and d. {ELSE}"
    )


def test_of_several_endpoints_the_pairs_that_one_arm_wins_name_the_winner_first() -> None:
    asked = replace(ASKED, margin=None, metric="recall", co_primary=("recall", "auroc"))
    rows = [pair("a", "b", "b_better"), pair("a", "c", "a_better"), pair("b", "c", "undefined"),
            pair("b", "d", "not_enough_runs"), pair("c", "d", "no_evidence")]  # fmt: skip
    assert summary_words(rows, asked, "b", None) == (
        "That one arm is better in both co-primary endpoints, sensitivity (recall), mean over the classes and AUROC, "
        f"is shown for 2 of 5 pairs {COUNTS}: b than a and a than c; undefined, or too few runs for a claim: b and c "
        f"and b and d. {ELSE}"
    )
    three = replace(asked, co_primary=("f1", "mcc", "auroc"), positive="x")
    assert "better in all 3 co-primary endpoints, F1 for 'x', MCC and AUROC, is shown for 2" in summary_words(
        rows, three, "b", None
    )


def test_without_patients_images_are_counted() -> None:
    asked = replace(ASKED, unit="image", hypothesis="equivalence")
    rows = [pair("a", b, "equivalence_not_shown") | {"patients": None} for b in "bcde"]
    assert "0 of 4 pairs on 1,414 images with 3 seeds per arm." in summary_words(rows, asked, "a", None)


def test_the_best_arm_is_placed_against_each_other_one() -> None:
    rows = [
        pair("a", "b", "a_better"), pair("c", "a", "b_better"), pair("a", "d", "no_evidence"),
        pair("e", "a", "undefined"), pair("a", "f", "not_enough_runs"), pair("b", "c", "a_better"),
    ]  # fmt: skip
    assert summary_words(rows, ASKED, "a", None) == (
        f"a has the best AUROC of 6 arms {COUNTS}; it is better than b and c and it can't be told from d and it can't "
        f"be compared with e and it has too few runs for a claim about f. {ELSE}"
    )


def test_a_reference_is_placed_against_each_arm() -> None:
    rows = [pair("b", "r", "b_better"), pair("c", "r", "a_better"), pair("d", "r", "no_evidence")]
    rows += [pair("e", "r", "equivalent"), pair("f", "r", "equivalence_not_shown")]
    assert summary_words(rows, ASKED, "c", "r") == (
        f"5 arms compared with r in AUROC {COUNTS}: r is better than b; it is worse than c; it is equivalent to e; "
        f"it can't be told from d and f. {ELSE}"
    )


@pytest.mark.parametrize(
    ("needed", "words"),
    [
        (None, ""),
        ({"patients": 1135, "low": 1003, "high": 1186}, "1,135 (90 % range 1,003 to 1,186)"),
        ({"patients": 135, "low": 103, "high": None}, "135 (90 % range 103 to no number)"),
        (
            {"patients": None, "low": None, "high": None},
            "no number of patients: the spread over seeds hides it; train more seeds",
        ),
    ],
)
def test_patients_needed_in_words(needed: dict | None, words: str) -> None:
    assert needed_words({"needed": needed}, "patient") == words
    assert needed_words({}, "patient") == ""


def test_a_small_lead_is_not_a_lead_of_0() -> None:
    small = replace(FOUND, difference=-0.0004, low=-0.00071, high=-0.0002)
    said = verdict_words("a_better", small, replace(ASKED, metric="brier"), RESTS)
    assert "its Brier score is lower by 0.0004 (95 % interval [0.0002, 0.0007], p = 0.320)" in said


def test_a_p_that_looks_small_beside_not_shown_is_given_its_bound() -> None:
    asked = replace(ASKED, hypothesis="noninferiority")
    close = verdict_words("noninferiority_not_shown", FOUND, asked, replace(RESTS, p_margin=0.041))
    assert "(one-sided 97.5 % limit, p = 0.041, where less than 0.025 was needed)" in close
    assert "was needed" not in verdict_words("noninferiority_not_shown", FOUND, asked, replace(RESTS, p_margin=0.06))
