"""The tables of a comparison, cell by cell, from a record written by hand."""

import pytest

from counterstain.evaluation.text_tables import (
    details_table,
    pairs_table,
    ranking_table,
    several_arms_notes,
    shown,
    shown_interval,
    verdict_label,
)

NAN = float("nan")


def pair(a: str, b: str, verdict: str, difference: float | None = 0.0312, **more: object) -> dict:
    """One pair of comparison.json; its limits lie 0.02 (two-sided), 0.017 (margin) or 0.021 (one-sided) away."""
    d = 0.0 if difference is None else difference
    known = difference is not None
    return {
        "a": a, "b": b, "metric": "auroc", "positive": "malignant", "level": "image", "primary": True, "also": None,
        "verdict": verdict, "difference": difference, "value_a": 0.9, "value_b": 0.8688,
        "low": d - 0.02 if known else None, "high": d + 0.02 if known else None,
        "low_margin": d - 0.017, "high_margin": d + 0.017, "low_one_sided": d - 0.021, "high_one_sided": d + 0.021,
        "p_adjusted": 0.0123, "p_margin_adjusted": 0.0004, "p_inferior_adjusted": 0.5, "probability_false": 0.034,
        "tests_corrected_for": 3, "test": "jackknife over patients", "needed": None, **more,
    }  # fmt: skip


def record(pairs: list[dict], **more: object) -> dict:
    arms = [
        {"arm": "net", "value": 0.9, "low": 0.85, "high": 0.95},
        {"arm": "old", "value": 0.87, "low": 0.8, "high": 0.93},
        {"arm": "new", "value": 0.86, "low": None, "high": None},
    ]
    return {
        "alpha": 0.05, "primary": "auroc", "pairs": pairs, "hypothesis": "difference", "margin": None, "detect": None,
        "unit": "patient", "positive": "malignant", "prior_sd": 0.04, "reference": None, "co_primary": [],
        "ranking": {"arms": arms}, **more,
    }  # fmt: skip


# -------------------------------------------------------------------------------------------------------------- cells


@pytest.mark.parametrize(
    ("value", "words", "signed"),
    [(0.81249, "0.812", "+0.812"), (-0.5, "-0.500", "-0.500"), (None, "undefined", "undefined"),
     (NAN, "undefined", "undefined"), (0.0, "0.000", "+0.000")],
)  # fmt: skip
def test_a_score_in_words(value: float | None, words: str, signed: str) -> None:
    assert shown(value) == words
    assert shown(value, sign=True) == signed
    assert shown(0.8125, 1) == "0.8"


@pytest.mark.parametrize(
    ("value", "low", "high", "words"),
    [
        (0.812, 0.701, 0.889, "0.812 [0.701, 0.889]"),
        (0.812, None, 0.889, "0.812 [no interval]"),
        (0.812, 0.701, None, "0.812 [no interval]"),
        (0.812, NAN, 0.889, "0.812 [no interval]"),
        (0.812, 0.701, NAN, "0.812 [no interval]"),
        (None, 0.701, 0.889, "undefined"),
        (NAN, 0.701, 0.889, "undefined"),
    ],
)
def test_an_interval_in_words(value: float | None, low: float | None, high: float | None, words: str) -> None:
    assert shown_interval(value, low, high) == words


def test_an_interval_has_its_digits_and_signs() -> None:
    assert shown_interval(0.8125, 0.25, 1.0, 1) == "0.8 [0.2, 1.0]"
    assert shown_interval(0.0312, -0.01, 0.07, sign=True) == "+0.031 [-0.010, +0.070]"
    assert shown_interval(0.0312, None, 0.07, sign=True) == "+0.031 [no interval]"


VERDICTS = {
    "a_better": "net is better",
    "b_better": "old is better",
    "equivalent": "equivalent within the margin",
    "noninferior": "net is not inferior by the margin",
    "inferior": "net is inferior by more than the margin",
    "noninferiority_not_shown": "non-inferiority not shown",
    "equivalence_not_shown": "equivalence not shown",
    "no_evidence": "no evidence of a difference",
    "not_enough_runs": "not enough runs to claim",
    "undefined": "undefined",
}


@pytest.mark.parametrize("kind", VERDICTS)
def test_every_verdict_has_its_label(kind: str) -> None:
    assert verdict_label(pair("net", "old", kind)) == VERDICTS[kind]
    assert verdict_label(pair("net", "old", kind, also="a_better")) == f"{VERDICTS[kind]}; net is better"
    assert verdict_label(pair("net", "old", kind, also="b_better")) == f"{VERDICTS[kind]}; old is better"


# -------------------------------------------------------------------------------------------------------------- pairs


@pytest.mark.parametrize(
    ("hypothesis", "head", "interval", "p"),
    [
        ("difference", "difference (95 % interval)", "+0.031 [+0.011, +0.051]", "0.012"),
        ("equivalence", "difference (90 % interval)", "+0.031 [+0.014, +0.048]", "< 0.001"),
        ("noninferiority", "difference, at worst (97.5 % limit)", "+0.031, +0.010", "< 0.001"),
    ],
)
def test_pairs_have_the_interval_and_p_that_decided(hypothesis: str, head: str, interval: str, p: str) -> None:
    own = pair("net", "old", "no_evidence")
    header, rows = pairs_table(record([own], hypothesis=hypothesis), [own])
    assert header == ["pair", head, "p (Holm)", "verdict"]
    assert rows == [["net − old", interval, p, "no evidence of a difference"]]


@pytest.mark.parametrize(
    ("needed", "cell"),
    [
        (None, ""),
        ({"patients": 1135, "low": 1003, "high": 1286}, "1,135 (1,003 to 1,286)"),
        ({"patients": 135, "low": 103, "high": None}, "135 (103 to ∞)"),
        ({"patients": None, "low": None, "high": None}, "more seeds"),
    ],
)
def test_a_difference_to_detect_adds_its_column(needed: dict | None, cell: str) -> None:
    own = pair("net", "old", "no_evidence", needed=needed)
    header, rows = pairs_table(record([own], detect=0.02), [own])
    assert header[4:] == ["patients to find 0.02 (90 % range)"]
    assert rows[0][4:] == [cell]


def test_endpoints_stand_below_their_pair() -> None:
    ends = [
        pair("net", "old", "a_better", metric="recall", p_adjusted=0.5),
        pair("net", "old", "no_evidence", metric="loss", p_adjusted=0.25, needed={"patients": 9, "low": 8, "high": 11}),
    ]
    own = pair("net", "old", "no_evidence", endpoints=ends)
    rows = pairs_table(record([own]), [own])[1]
    assert rows == [
        ["net − old, all of:", "", "0.012", "no evidence of a difference"],
        ["  sensitivity (recall) for 'malignant'", "+0.031 [+0.011, +0.051]", "0.500", "net is better"],
        ["  log loss", "+0.031 [+0.011, +0.051]", "0.250", "no evidence of a difference"],
    ]
    detect = pairs_table(record([own], detect=0.02), [own])[1]
    assert [row[:4] for row in detect] == rows
    assert [row[4:] for row in detect] == [[""], [""], ["9 (8 to 11)"]]


def test_the_best_is_on_top_and_the_others_are_placed_behind_it() -> None:
    """The difference is the best minus the other, whichever way round the pair is."""
    pairs = [pair("net", "old", "a_better"), pair("new", "net", "no_evidence", -0.04), pair("old", "new", "b_better")]
    header, rows = ranking_table(record(pairs))
    assert header == ["arm", "AUROC (95 % interval)", "behind the best (95 % interval)", "p (Holm)", "vs the best"]
    assert rows == [
        ["net", "0.900 [0.850, 0.950]", "", "", "the best"],
        ["old", "0.870 [0.800, 0.930]", "+0.031 [+0.011, +0.051]", "0.012", "worse"],
        ["new", "0.860 [no interval]", "+0.040 [+0.020, +0.060]", "0.012", "unclear"],
    ]
    header, rows = ranking_table(record([pairs[0], pair("new", "net", "undefined", None)], detect=0.02))
    assert header[5:] == ["patients to find 0.02 (90 % range)"]
    assert rows[0] == ["net", "0.900 [0.850, 0.950]", "", "", "the best", ""]
    assert rows[2] == ["new", "0.860 [no interval]", "undefined", "0.012", "undefined", ""]


@pytest.mark.parametrize(
    ("a", "b", "kind", "also", "word"),
    [
        ("net", "old", "a_better", None, "worse"),
        ("net", "old", "b_better", None, "better"),
        ("old", "net", "a_better", None, "better"),
        ("old", "net", "b_better", None, "worse"),
        ("net", "old", "equivalent", "a_better", "worse"),
        ("net", "old", "equivalent", None, "equivalent"),
        ("net", "old", "not_enough_runs", None, "too few runs"),
        ("net", "old", "undefined", None, "undefined"),
        ("net", "old", "equivalence_not_shown", None, "unclear"),
    ],
)
def test_a_word_against_the_best(a: str, b: str, kind: str, also: str | None, word: str) -> None:
    _, rows = ranking_table(record([pair(a, b, kind, also=also)]))
    assert rows[1][4] == word


def test_what_the_table_of_several_arms_lacks() -> None:
    pairs = [pair("net", "old", "a_better"), pair("old", "new", "a_better"), pair("new", "x", "b_better"),
             pair("x", "old", "no_evidence")]  # fmt: skip
    alone = "Each interval or limit is of its pair alone; p is after Holm's correction over 3 pairs"
    assert several_arms_notes(record(pairs), pairs) == [
        alone,
        "Also told apart: old is better than new, x is better than new",
    ]
    assert several_arms_notes(record(pairs, reference="old"), pairs) == [alone]
    assert several_arms_notes(record(pairs), pairs[:1]) == []


# ------------------------------------------------------------------------------------------------------------ details


def test_all_that_a_verdict_rests_on() -> None:
    own = pair("net", "old", "a_better", needed={"patients": 135, "low": 103, "high": 186})
    header, rows = details_table(record([own], detect=0.02), own)
    assert header == ["on what it rests", ""]
    assert rows == [
        ["AUROC: net", "0.900 (95 % interval [0.850, 0.950])"],
        ["AUROC: old", "0.869 (95 % interval [0.800, 0.930])"],
        ["difference, net − old", "+0.031"],
        ["95 % interval", "[+0.011, +0.051]"],
        ["p against no difference (Holm over 3 pairs)", "0.012"],
        ["chance that this ranking is false (prior SD 0.04)", "0.034"],
        ["patients to find a difference of 0.02", "135 (90 % range 103 to 186)"],
        ["test", "jackknife over patients"],
    ]


def test_details_of_a_pair_that_is_undefined() -> None:
    own = pair("net", "old", "undefined", None, probability_false=None, tests_corrected_for=1)
    assert details_table(record([own], detect=0.02), own)[1] == [
        ["AUROC: net", "0.900 (95 % interval [0.850, 0.950])"],
        ["AUROC: old", "0.869 (95 % interval [0.800, 0.930])"],
        ["difference, net − old", "undefined"],
        ["95 % interval", "no interval"],
        ["p against no difference", "0.012"],
    ]
    for chance in (NAN, 0.034):
        rows = details_table(record([own]), own | {"probability_false": chance})[1]
        assert [row[0] for row in rows[5:]] == (
            ["chance that this ranking is false (prior SD 0.04)"] if chance == chance else []
        ) + ["test"]


@pytest.mark.parametrize("end", ["low", "high"])
@pytest.mark.parametrize("missing", [None, NAN])
def test_half_an_interval_is_none(end: str, missing: float | None) -> None:
    own = pair("net", "old", "no_evidence", **{end: missing})
    assert details_table(record([own]), own)[1][3] == ["95 % interval", "no interval"]


@pytest.mark.parametrize(
    ("hypothesis", "metric", "rows"),
    [
        ("equivalence", "auroc", [["90 % interval for equivalence", "[+0.014, +0.048]"],
                                  ["p of equivalence within ±0.05 (Holm over 3 pairs)", "< 0.001"]]),
        ("difference", "auroc", [["90 % interval for equivalence", "[+0.014, +0.048]"],
                                 ["p of equivalence within ±0.05 (Holm over 3 pairs)", "< 0.001"]]),
        ("noninferiority", "auroc", [["one-sided 97.5 % limit", "+0.010"],
                                     ["p of non-inferiority by 0.05 (Holm over 3 pairs)", "< 0.001"],
                                     ["p of inferiority by more than that (Holm over 3 pairs)", "0.500"]]),
        ("noninferiority", "loss", [["one-sided 97.5 % limit", "+0.052"],
                                    ["p of non-inferiority by 0.05 (Holm over 3 pairs)", "< 0.001"],
                                    ["p of inferiority by more than that (Holm over 3 pairs)", "0.500"]]),
    ],
)  # fmt: skip
def test_details_about_a_margin(hypothesis: str, metric: str, rows: list) -> None:
    own = pair("net", "old", "no_evidence", metric=metric)
    assert details_table(record([own], hypothesis=hypothesis, margin=0.05), own)[1][5:-2] == rows


def test_co_primary_endpoints_each_have_their_rows_and_no_ranking() -> None:
    """Each has its own intervals, number of patients and test; the pair itself shows those of the first."""
    limits = {"low_a": 0.7, "high_a": 0.99, "low_b": 0.6, "high_b": 0.95}
    ends = [
        pair("net", "old", "no_evidence", metric=metric, tests_corrected_for=1, test=f"that of {metric}",
             needed={"patients": n, "low": n - 9, "high": n + 9}, **limits)
        for n, metric in ((50, "recall"), (90, "specificity"))
    ]  # fmt: skip
    own = pair("net", "old", "no_evidence", endpoints=ends)
    rows = details_table(record([own], detect=0.02), own)[1]
    assert [row[1] for row in rows if row[0].endswith((": net", ": old"))] == [
        "0.900 (95 % interval [0.700, 0.990])", "0.869 (95 % interval [0.600, 0.950])",
    ] * 2  # fmt: skip
    assert [row[1] for row in rows if row[0] == "test"] == ["that of recall", "that of specificity"]
    assert [row[1] for row in rows if row[0].startswith("patients to find")] == [
        "50 (90 % range 41 to 59)", "90 (90 % range 81 to 99)",
    ]  # fmt: skip
    assert [row[0] for row in rows] == [
        "sensitivity (recall) for 'malignant': net", "sensitivity (recall) for 'malignant': old",
        "difference, net − old", "95 % interval", "p against no difference",
        "patients to find a difference of 0.02", "test",
        "specificity for 'malignant': net", "specificity for 'malignant': old", "difference, net − old",
        "95 % interval", "p against no difference",
        "patients to find a difference of 0.02", "test",
        "joint p against no difference, the largest (Holm over 3 pairs)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("hypothesis", "words", "p"),
    [("difference", "no difference", "0.012"), ("equivalence", "the margin", "< 0.001"),
     ("noninferiority", "the margin", "< 0.001")],
)  # fmt: skip
def test_the_joint_p_is_of_the_question_that_was_asked(hypothesis: str, words: str, p: str) -> None:
    own = pair("net", "old", "no_evidence", endpoints=[pair("net", "old", "no_evidence", metric="recall")])
    rows = details_table(record([own], hypothesis=hypothesis, margin=0.05), own)[1]
    assert [f"joint p against {words}, the largest (Holm over 3 pairs)", p] in rows


def test_tests_beside_the_verdict_have_their_p_if_they_have_one() -> None:
    tests = [
        {"test": "DeLong", "p": 0.0004, "about": "AUROC"},
        {"test": "McNemar", "p": 0.0342, "about": "accuracy"},
        {"test": "sign-flip", "p": None, "about": "accuracy"},
        {"test": "Obuchowski", "p": NAN, "about": "accuracy"},
    ]
    rows = details_table(record([]), pair("net", "old", "no_evidence", tests=tests))[1]
    assert [row for row in rows if row[0].startswith("beside it")] == [
        ["beside it: DeLong", "p < 0.001 (AUROC)"],
        ["beside it: McNemar", "p = 0.034 (accuracy)"],
    ]
