"""What may be said of two arms: each kind of question, each word of the verdict, and the sentence that carries it."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from counterstain.errors import InputError
from counterstain.evaluation.comparison import compare_arms
from counterstain.evaluation.intervals import sample, units_of
from counterstain.evaluation.paired_difference import Difference
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.sample_size import patients_needed
from counterstain.evaluation.text_tables import details_table, ranking_table
from counterstain.evaluation.thresholds import decided, decided_arms
from counterstain.evaluation.verdict import (
    Question,
    also_better,
    check_margin,
    margin_p,
    percent,
    rule_in_words,
    verdict,
)
from counterstain.evaluation.verdict_words import Basis, verdict_words

FOUND = Difference(
    0.80, 0.81, -0.01, -0.03, 0.01, 0.32, -0.027, 0.007, 0.01, 0.0, 40.0, low_one_sided=-0.03, high_one_sided=0.01
)
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


def at_margin(margin: float, **change: float) -> Difference:
    """FOUND against a margin, by the t-test of its own error."""
    from scipy.special import stdtr

    found = replace(FOUND, **change)  # type: ignore[arg-type]
    one_sided = [float(stdtr(found.df, -distance / found.se_patient)) for distance in
                 (found.difference + margin, margin - found.difference, -found.difference - margin)]  # fmt: skip
    return replace(
        found, margin=margin, p_equivalence=max(one_sided[:2]), p_noninferior=one_sided[0], p_inferior=one_sided[2]
    )


def test_noninferior_is_the_lower_limit_above_the_margin() -> None:
    found = at_margin(0.05)
    assert verdict(found, ASKED, seeds=3, p_adjusted=0.32) == "noninferior"
    assert margin_p(found, ASKED) == pytest.approx(0.00013, abs=2e-5)
    # The limit -0.0302 of t with 40 df at 97.5 %: just inside and just outside of the margin.
    for margin, word in ((0.0303, "noninferior"), (0.0301, "noninferiority_not_shown")):
        assert verdict(at_margin(margin), replace(ASKED, margin=margin), seeds=3, p_adjusted=0.32) == word
    assert verdict(found, ASKED, seeds=3, p_adjusted=0.32, p_margin_adjusted=0.03) == "noninferiority_not_shown"
    assert verdict(found, ASKED, seeds=2, p_adjusted=0.32) == "not_enough_runs"


def test_noninferiority_answers_its_own_question_whatever_else_is_true() -> None:
    better = at_margin(0.05, difference=0.03, low=0.01, high=0.05)
    assert verdict(better, ASKED, seeds=3, p_adjusted=0.01) == "noninferior"
    assert also_better(better, ASKED, 0.01) == "a_better"
    inferior = at_margin(0.05, difference=-0.09, low=-0.11, high=-0.07)
    assert verdict(inferior, ASKED, seeds=3, p_adjusted=0.001) == "inferior"
    worse_within = at_margin(0.05, difference=-0.021, low=-0.041, high=-0.001)
    assert verdict(worse_within, ASKED, seeds=3, p_adjusted=0.04) == "noninferior"
    assert also_better(worse_within, ASKED, 0.04) == "b_better"
    across = at_margin(0.05, difference=-0.06, low=-0.08, high=-0.04)
    assert verdict(across, ASKED, seeds=3, p_adjusted=0.001) == "noninferiority_not_shown"
    kinds = [verdict(one, ASKED, seeds=3, p_adjusted=0.01, p_inferior_adjusted=0.04) for one in (better, inferior)]
    assert kinds == ["noninferior", "noninferiority_not_shown"]


def test_for_a_loss_lower_is_better_in_every_hypothesis() -> None:
    loss = replace(ASKED, metric="loss", hypothesis="difference", margin=None)
    high = replace(FOUND, difference=0.08, low=0.06, high=0.10, low_one_sided=0.06, high_one_sided=0.10)
    assert verdict(high, loss, seeds=3, p_adjusted=0.001) == "b_better"
    asked = replace(ASKED, metric="loss")
    assert "upper limit" in rule_in_words(asked)
    assert "lower limit" in rule_in_words(ASKED)
    rests = Basis(a="new", b="old", seeds=3, units=23, images=1414, p=0.001, p_margin=0.002)
    assert "new is better" not in verdict_words("b_better", high, loss, rests)
    assert "its log loss is lower by 0.080 (95 % interval [0.060, 0.100]" in verdict_words(
        "b_better", high, loss, rests
    )
    assert "at worst +0.100 (one-sided 97.5 % limit" in verdict_words("noninferior", high, asked, rests)


def test_equivalence_that_was_asked_and_not_shown_is_no_evidence_of_it() -> None:
    asked = replace(ASKED, hypothesis="equivalence")
    assert verdict(at_margin(0.05), asked, seeds=3, p_adjusted=0.32) == "equivalent"
    narrow = replace(asked, margin=0.02)
    assert verdict(at_margin(0.02), narrow, seeds=3, p_adjusted=0.32) == "equivalence_not_shown"
    assert verdict(at_margin(0.02), replace(narrow, hypothesis="difference"), seeds=3, p_adjusted=0.32) == "no_evidence"
    assert verdict(at_margin(0.05), asked, seeds=3, p_adjusted=0.3, p_margin_adjusted=0.06) == "equivalence_not_shown"


RESTS = Basis(a="new", b="old", seeds=1, units=23, images=1414, p=0.32, p_margin=0.004, p_inferior=0.006,
              why_undefined="only one patient has 'x'")  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    ["a_better", "b_better", "equivalent", "noninferior", "inferior", "noninferiority_not_shown",
     "equivalence_not_shown", "no_evidence", "not_enough_runs"],
)  # fmt: skip
@pytest.mark.parametrize("claim", ["procedures", "models"])
@pytest.mark.parametrize("also", [None, "a_better"])
def test_every_verdict_is_two_sentences_on_what_it_rests(kind: str, claim: str, also: str | None) -> None:
    asked = replace(ASKED, claim=claim)
    text = verdict_words(kind, FOUND, asked, replace(RESTS, also=also))
    for part in ("new", "old", "23 patients", "1,414 images", "AUROC"):
        assert part in text, part
    assert len([one for one in text.split(". ") if one]) == 2
    assert "interval [" not in text or "% interval [" in text
    if kind not in ("a_better", "b_better", "equivalent", "noninferior", "inferior", "not_enough_runs") and not also:
        assert "This doesn't show" in text
    if kind != "not_enough_runs":
        assert ("these two fitted models only" in text) == (claim == "models")
        assert ("this training set" in text) == (claim == "procedures")
    if kind == "no_evidence":
        several = verdict_words(kind, FOUND, replace(ASKED, training_sets=5), replace(RESTS, also=also))
        assert "this holds over 5 training sets" in several


def test_what_decided_is_printed_with_its_level() -> None:
    """The interval and p of the question that was asked; the level follows alpha."""
    assert "90 % interval [-0.027, +0.007], p = 0.004 by two one-sided tests" in words("equivalent")
    assert "at worst -0.030 (one-sided 97.5 % limit, p = 0.004)" in words("noninferior")
    assert "at best +0.010 (one-sided 97.5 % limit, p = 0.006)" in words("inferior")
    assert "95 % interval [-0.030, +0.010], p = 0.320" in words("no_evidence")
    assert "80 % interval" in words("no_evidence", alpha=0.2)
    assert "60 % interval" in words("equivalent", alpha=0.2)
    assert "97.5 % interval" in words("no_evidence", alpha=0.025)
    assert "p = 0.320 after Holm's correction over 15 pairs" in verdict_words(
        "no_evidence", FOUND, ASKED, replace(RESTS, tests=15)
    )


def words(kind: str, **change: object) -> str:
    return verdict_words(kind, FOUND, replace(ASKED, **change), RESTS)  # type: ignore[arg-type]


def test_a_count_of_one_is_one() -> None:
    text = verdict_words("no_evidence", FOUND, ASKED, replace(RESTS, units=1, images=1, seeds=1))
    assert "on 1 patient (1 image) with 1 seed per arm" in text
    assert "on 12 images with 3 seeds" in verdict_words(
        "no_evidence", FOUND, replace(ASKED, unit="image"), replace(RESTS, units=12, images=12, seeds=3)
    )


def test_at_patient_level_patients_are_no_images() -> None:
    arms = {"a": tables(1.0, 3, 1), "b": tables(1.0, 3, 50)}
    record = compare_arms(arms, level="patient")
    assert "AUROC at patient level" in record["words"]
    assert "on 60 patients (240 images)" in record["words"]
    assert (record["pairs"][0]["images"], record["pairs"][0]["patients"]) == (240, 60)


def test_the_positive_class_is_named_in_record_sentence_and_table() -> None:
    arms = {"a": tables(1.6, 3, 1), "b": tables(0.2, 3, 50)}
    record = compare_arms(arms, primary="Sensitivity")
    assert (record["primary"], record["positive"], record["positive_from"]) == ("recall", "tumour", "column order")
    assert "its sensitivity (recall) for 'tumour' is higher" in record["words"]
    assert "sensitivity (recall) for 'tumour' at image level" in record["rule"]
    assert any("only because its column is the last" in note for note in record["warnings"])
    assert "sensitivity (recall) for 'tumour'" in str(details_table(record, record["pairs"][0]))
    given = {arm: [replace(table, positive_from="given") for table in own] for arm, own in arms.items()}
    assert not any("column is the last" in note for note in compare_arms(given, primary="recall")["warnings"])
    assert not any("column is the last" in note for note in compare_arms(arms)["warnings"])  # AUROC is that of both


def test_tables_that_order_their_classes_differently_are_refused() -> None:
    a, b = tables(1.6, 1, 1), tables(0.2, 1, 50)
    turned = [
        replace(b[0], classes=b[0].classes[::-1], prob=b[0].prob[:, ::-1], label=1 - b[0].label)
    ]  # fmt: skip
    with pytest.raises(InputError, match="name the positive one with --positive tumour or --positive benign"):
        compare_arms({"a": a, "b": turned}, primary="recall")


def test_a_constant_model_has_no_mcc_and_it_is_said_which() -> None:
    good = tables(1.6, 1, 1)[0]
    constant = replace(good, prob=np.tile([0.7, 0.3], (len(good), 1)))
    record = compare_arms({"good": [good], "constant": [constant]}, primary="mcc", claim="models")
    assert record["pairs"][0]["verdict"] == "undefined"
    assert "MCC is undefined for constant, which calls every image 'benign'" in record["words"]
    assert "nan" not in str(details_table(record, record["pairs"][0]))
    assert "nan" not in str(ranking_table(record))


def test_the_gate_is_what_was_asked() -> None:
    good, poor = tables(1.6, 3, 1), tables(0.2, 3, 50)
    assert compare_arms({"good": good, "poor": poor})["shown"]
    assert not compare_arms({"poor": poor, "good": good})["shown"]
    asked = {"margin": 0.1, "hypothesis": "noninferiority"}
    assert compare_arms({"good": good, "poor": poor}, **asked)["shown"]  # type: ignore[arg-type]
    worse = compare_arms({"poor": poor, "good": good}, **asked)  # type: ignore[arg-type]
    assert not worse["shown"]
    assert worse["pairs"][0]["verdict"] == "inferior"
    assert worse["asked"] == "that poor is not inferior to good"


def test_a_wide_margin_is_said() -> None:
    record = compare_arms({"a": tables(1.6, 3, 1), "b": tables(1.5, 3, 50)}, margin=0.3)
    assert "the margin of 0.3 is wide: arms that differ by 30 points would pass" in record["warnings"]


def test_six_arms_are_one_table_and_two_sentences() -> None:
    arms = {f"m{k}": tables(0.9 + 0.12 * k, 3, 20 * k) for k in range(6)}
    record = compare_arms(arms)
    assert record["words"].count(". ") == 1
    assert record["words"].startswith(
        "m5 has the best AUROC of 6 arms on 60 patients (240 images) with 3 seeds per arm"
    )
    order = [row["arm"] for row in record["ranking"]["arms"]]
    assert order[0] == "m5"
    values = [row["value"] for row in record["ranking"]["arms"]]
    assert values == sorted(values, reverse=True)
    assert len(ranking_table(record)[1]) == 6
    one = compare_arms(arms, reference="m0")
    assert [(row["a"], row["b"]) for row in one["pairs"] if row["primary"]] == [(f"m{k}", "m0") for k in range(1, 6)]
    smallest = min((row for row in one["pairs"] if row["primary"]), key=lambda row: row["p"])
    assert smallest["p_adjusted"] == pytest.approx(5 * smallest["p"])
    assert one["words"].startswith("5 arms compared with m0 in AUROC")
    loss = compare_arms(arms, primary="loss")["ranking"]["arms"]
    assert [row["value"] for row in loss] == sorted(row["value"] for row in loss)


def test_co_primary_endpoints_must_all_pass() -> None:
    good, poor = tables(1.6, 3, 1), tables(0.2, 3, 50)
    record = compare_arms({"good": good, "poor": poor}, co_primary=["sensitivity", "TNR"])
    row = record["pairs"][0]
    assert record["co_primary"] == ["recall", "specificity"]
    assert row["verdict"] == "a_better"
    assert [part["metric"] for part in row["endpoints"]] == ["recall", "specificity"]
    assert "co-primary: the answer counts only if each of them gives it" in record["rule"]
    # No number of one endpoint stands as that of all.
    assert (
        row["test"].startswith("all of: sensitivity (recall): paired difference") and "; specificity: " in row["test"]
    )
    assert row["needed"] is None and row["probability_false"] is None
    assert all(part["probability_false"] is not None for part in row["endpoints"])
    # At a high threshold nearly nothing is called positive: specificity wins and sensitivity loses.
    calls = {"good": [decided(table, 0.95) for table in good], "poor": [decided(table, 0.05) for table in poor]}
    split = compare_arms({"good": good, "poor": poor}, co_primary=["recall", "specificity"], decided=calls)
    assert [part["verdict"] for part in split["pairs"][0]["endpoints"]] == ["b_better", "a_better"]
    assert split["pairs"][0]["verdict"] == "no_evidence"
    assert not split["shown"]
    assert split["thresholds"] == "frozen"


def test_frozen_thresholds_change_calls_and_not_rankings() -> None:
    a, b = tables(1.6, 3, 1), tables(1.2, 3, 50)
    arms = {"a": a, "b": b}
    calls = decided_arms(arms, ["a=0.3", "b=0.6"])
    record = compare_arms(arms, primary="recall", decided=calls)
    by_hand = np.mean([(t.prob[t.label == 1, 1] >= 0.3).mean() for t in a])
    assert record["pairs"][0]["value_a"] == pytest.approx(by_hand)
    assert compare_arms(arms, decided=calls)["pairs"][0]["value_a"] == compare_arms(arms)["pairs"][0]["value_a"]
    for given, message in ((["a=0.3"], "'b' has no threshold"), (["c=0.3"], "names 'c'"), (["x"], "a number such as"),
                           (["0.3", "a=0.2"], "'a' has two thresholds"), (["1.3"], "from 0 to 1")):  # fmt: skip
        with pytest.raises(InputError, match=message):
            decided_arms(arms, given)


def test_fixed_models_are_judged_only_where_it_is_asked() -> None:
    arms = {"good": tables(1.6, 1, 1), "poor": tables(0.2, 1, 50)}
    default = compare_arms(arms)
    assert default["pairs"][0]["verdict"] == "not_enough_runs"
    assert "--fixed-models" in default["words"]
    fixed = compare_arms(arms, claim="models")
    assert fixed["pairs"][0]["verdict"] == "a_better"
    assert fixed["words"].count(". ") == 1
    assert "these two fitted models only" in fixed["words"]
    assert "nothing is said of the ways in which they were trained" in fixed["rule"]
    assert any("these fitted models only" in note for note in fixed["warnings"])
    assert not any("single run" in note for note in fixed["warnings"])
    same = compare_arms({"a": arms["good"], "b": tables(1.6, 1, 90)}, claim="models")
    assert same["pairs"][0]["verdict"] == "no_evidence"


def test_questions_that_cannot_be_asked_are_refused() -> None:
    arms = {"a": tables(1.0, 2, 1), "b": tables(1.0, 2, 50)}
    with pytest.raises(InputError, match="'a' has 2 tables; a claim about fitted models needs one for each"):
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
    assert {row["verdict"] for row in record["pairs"]} <= {"noninferior", "inferior", "noninferiority_not_shown"}


def test_equivalence_of_several_pairs_is_corrected() -> None:
    """At a margin where one pair has p below 0.05 and three times it is above, it is equivalent by itself only."""
    arms = {name: tables(1.0, 3, 10 * k) for k, name in enumerate("abc")}
    own: dict[str, float] = {}
    for margin in np.linspace(0.01, 0.19, 37):
        rows = compare_arms(arms, margin=float(margin), hypothesis="equivalence")["pairs"]
        own = {f"{row['a']}{row['b']}": row["p_margin"] for row in rows}
        smallest = min(own, key=lambda pair: own[pair])
        if 0.05 / 3 < own[smallest] < 0.05:
            break
    assert 0.05 / 3 < own[smallest] < 0.05
    (row,) = [row for row in rows if row["a"] + row["b"] == smallest]
    assert row["p_margin_adjusted"] == pytest.approx(3 * row["p_margin"])
    assert row["verdict"] != "equivalent"
    alone = {name: arms[name] for name in smallest}
    (row,) = compare_arms(alone, margin=float(margin), hypothesis="equivalence")["pairs"]
    assert row["verdict"] == "equivalent"


@pytest.mark.parametrize(
    ("p", "inferior", "kind"),
    [
        (0.0249, 0.9, "noninferior"),
        (0.0251, 0.0249, "inferior"),
        (0.0251, 0.0251, "noninferiority_not_shown"),
        (0.025, 0.025, "noninferiority_not_shown"),
    ],
)
def test_noninferiority_is_decided_one_sidedly_at_half_the_error(p: float, inferior: float, kind: str) -> None:
    found = replace(FOUND, p_noninferior=p, p_inferior=inferior)
    assert verdict(found, ASKED, seeds=3, p_adjusted=0.9) == kind
    given = {"p_margin_adjusted": p, "p_inferior_adjusted": inferior}
    assert verdict(replace(FOUND, p_noninferior=0.5, p_inferior=0.5), ASKED, seeds=3, p_adjusted=0.9, **given) == kind
    wide = replace(ASKED, alpha=0.1)
    assert verdict(replace(FOUND, p_noninferior=2 * p, p_inferior=2 * inferior), wide, seeds=3, p_adjusted=1) == kind


@pytest.mark.parametrize(
    ("metric", "margin", "words"),
    [("auroc", None, ""), ("auroc", 0.2, ""), ("auroc", 0.21, "differ by 21 points"), ("mcc", 0.999, "100 points"),
     ("brier", 1.5, "differ by 150 points"), ("loss", 3.0, "")],
)  # fmt: skip
def test_a_margin_is_noted_where_it_is_wide(metric: str, margin: float | None, words: str) -> None:
    note = check_margin(metric, margin)
    assert note == (f"the margin of {margin:g} is wide: arms that {note.partition('arms that ')[2]}" if words else "")
    assert words in note


@pytest.mark.parametrize(
    ("metric", "margin", "words"),
    [("auroc", 0.0, "margin is 0; a negligible"), ("loss", -1.0, "margin is -1; a negligible"),
     ("auroc", 1.0, "margin is 1; AUROC differs by at most 1"), ("brier", 2.0, "Brier score differs by at most 2"),
     ("f1", float("nan"), "margin is nan")],
)  # fmt: skip
def test_a_margin_that_is_none_or_lets_all_pass_is_refused(metric: str, margin: float, words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_margin(metric, margin)


def test_patients_needed_are_corrected_for_the_number_of_pairs() -> None:
    arms = {name: tables(1.0, 3, 10 * k) for k, name in enumerate("abc")}
    rows = compare_arms(arms, detect=0.02)["pairs"]
    for row in rows:
        df = min(sample(arms[name], units_of(arms["a"][:1]), level="image").df["auroc", None] for name in
                 (row["a"], row["b"]))  # fmt: skip
        found = patients_needed(
            0.02, se_patient=row["se_patient"], se_seed=row["se_seed"], df=df, units=60, alpha=0.05, tests=3
        )
        assert row["needed"] == (None if found is None or row["verdict"] != "no_evidence" else asdict(found))
    assert any(row["needed"] for row in rows)


# ------------------------------------------------------------------------------------------------------------- the rule


TEST = (
    "the two-sided test of the paired difference in sensitivity (recall) for 'malignant' at image level, with the "
    "patient as the unit{spread}, gives p < 0.05 after Holm's correction over the pairs, and the 95 % interval of the "
    "difference excludes 0. {scope}"
)
RUNS = "each arm has at least 3 training seeds and "
SPREAD = " and the spread over seeds in its error"
ONE_SET = "All trainings saw one training set, so nothing is said of another. "
NO_MARGIN = "No margin was given, so no two arms are called equivalent."
UNCHECKED = "Whether the margin was fixed before the results were seen is not checked."
PLAIN = Question(metric="recall", positive="malignant")
BOTH = replace(PLAIN, co_primary=("recall", "specificity"))


def rule(runs: str = RUNS, spread: str = SPREAD, scope: str = ONE_SET) -> str:
    return f"An arm is called better only if {runs}{TEST.format(spread=spread, scope=scope)}"


def test_the_rule_of_a_difference() -> None:
    assert rule_in_words(PLAIN) == rule() + NO_MARGIN
    models = (
        "Only these fitted models are judged, on further patients like these; nothing is said of the ways in which "
        "they were trained. "
    )
    assert rule_in_words(replace(PLAIN, claim="models")) == rule("", "", models) + NO_MARGIN
    several = "The corrected t-test over the 5 training sets must say the same. "
    assert rule_in_words(replace(PLAIN, training_sets=5)) == rule(scope=several) + NO_MARGIN
    assert rule_in_words(BOTH) == rule() + (
        "sensitivity (recall) for 'malignant' and specificity for 'malignant' are co-primary: the answer counts only "
        f"if each of them gives it, so none is corrected. {NO_MARGIN}"
    )
    patients = rule_in_words(replace(PLAIN, level="patient", unit="image", alpha=0.01))
    assert "at patient level, with the image as the unit" in patients
    assert "gives p < 0.01 after" in patients and "the 99 % interval" in patients
    assert "in F1, mean over the classes at image" in rule_in_words(Question(metric="f1"))


@pytest.mark.parametrize(
    ("hypothesis", "after"),
    [
        ("difference", "It comes before better: a difference too small to matter is no win."),
        ("equivalence", "Whether they differ is said beside it."),
    ],
)
def test_the_rule_of_a_margin(hypothesis: str, after: str) -> None:
    assert rule_in_words(replace(PLAIN, hypothesis=hypothesis, margin=0.05)) == rule() + (
        "Two arms are called equivalent only if the 90 % interval of the difference lies within ±0.05, the margin "
        f"as given (two one-sided tests, Holm's correction over the pairs). {after} {UNCHECKED}"
    )


@pytest.mark.parametrize(
    ("metric", "side", "limit"), [("recall", "lower", "above −0.05"), ("loss", "upper", "below 0.05")]
)
def test_the_rule_of_noninferiority(metric: str, side: str, limit: str) -> None:
    words = rule_in_words(replace(PLAIN, metric=metric, hypothesis="noninferiority", margin=0.05))
    assert words.endswith(
        "The first arm of a pair is called non-inferior to the second only if the one-sided 97.5 % "
        f"{side} limit of the difference lies {limit}, the margin as given (Holm's correction over the pairs), and "
        "inferior only if the limit on the other side lies beyond the margin, too. Whether it is also better or worse "
        f"is said beside it. {UNCHECKED}"
    )


@pytest.mark.parametrize(("share", "words"), [(0.975, "97.5 %"), (0.9, "90 %"), (1 - 1e-6, "99.9999 %")])
def test_a_level_below_one_is_no_100_percent(share: float, words: str) -> None:
    assert percent(share) == words
