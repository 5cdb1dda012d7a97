"""The verdict: no winner from one run, none between equals, the right one where there is one, and never "equal"."""

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterstain.errors import InputError
from counterstain.evaluation.arm_scores import score_arms, score_rows
from counterstain.evaluation.comparison import compare_arms, supporting_tests
from counterstain.evaluation.intervals import sample, units_of
from counterstain.evaluation.paired_difference import difference
from counterstain.evaluation.pooled_predictions import pool_patients
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictions_csv import write_predictions
from counterstain.evaluation.thresholds import decided
from counterstain.evaluation.verdict import Question, verdict
from counterstain.files import write_csv, write_json

Make = Callable[..., Predictions]
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def benchmark(name: str) -> ModuleType:
    """A script of benchmarks/ as a module: its small run is a test here."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(BENCHMARKS))


def arm(make: Make, strength: float, seeds: int, *, patients: int = 40, first: int = 0) -> list[Predictions]:
    """Tables of one arm: images and labels are fixed, noise and strength are the arm's own."""
    rng = np.random.default_rng(7)
    code = np.concatenate([np.arange(patients), rng.integers(patients, size=4 * patients)])
    label = (np.arange(patients) % 2)[code]
    hard = rng.normal(size=patients)[code]
    tables = []
    for seed in range(seeds):
        own = np.random.default_rng(100 + first + seed).normal(size=len(code))
        prob = 1 / (1 + np.exp(-(strength * (2 * label - 1) + hard + own)))
        tables.append(make(label, prob, [f"p{k}" for k in code]))
    return tables


def test_a_clear_winner_is_named_whichever_way_round(make_table: Make) -> None:
    good, poor = arm(make_table, 2.0, 3), arm(make_table, 0.3, 3, first=50)
    one = compare_arms({"good": good, "poor": poor})["pairs"][0]
    two = compare_arms({"poor": poor, "good": good})["pairs"][0]
    assert one["verdict"] == "a_better"
    assert two["verdict"] == "b_better"
    assert one["difference"] == pytest.approx(-two["difference"])
    assert (one["low"], one["high"]) == pytest.approx((-two["high"], -two["low"]))
    assert one["p"] == pytest.approx(two["p"])
    assert one["words"].startswith("good is better than poor: ")
    assert one["low"] > 0
    loss = compare_arms({"good": good, "poor": poor}, primary="loss")["pairs"][0]
    assert loss["difference"] < 0
    assert loss["verdict"] == "a_better"


@pytest.mark.parametrize("seeds", [1, 2])
def test_too_few_runs_are_never_a_result(make_table: Make, seeds: int) -> None:
    record = compare_arms({"good": arm(make_table, 3.0, seeds), "poor": arm(make_table, 0.0, seeds, first=50)})
    assert record["pairs"][0]["verdict"] == "not_enough_runs"
    assert "Not enough runs to claim" in record["words"]
    mixed = compare_arms({"good": arm(make_table, 3.0, 5), "poor": arm(make_table, 0.0, seeds, first=50)})
    assert mixed["pairs"][0]["verdict"] == "not_enough_runs"
    assert any("single run is not a result" in warning for warning in record["warnings"])


def test_no_evidence_doesnt_show_that_they_are_alike(make_table: Make) -> None:
    record = compare_arms({"a": arm(make_table, 1.0, 3), "b": arm(make_table, 1.02, 3, first=50)}, detect=0.03)
    row = record["pairs"][0]
    assert row["verdict"] == "no_evidence"
    assert "No evidence of a difference between a and b" in row["words"]
    assert "This doesn't show that they are alike" in row["words"]
    assert row["words"].count(". ") == 1  # two sentences
    assert row["needed"]["detect"] == 0.03
    assert "would be needed" not in row["words"]


def test_nothing_is_said_of_patients_beside_a_win(make_table: Make) -> None:
    record = compare_arms({"a": arm(make_table, 2.0, 3), "b": arm(make_table, 0.3, 3, first=50)}, detect=0.02)
    assert record["pairs"][0]["verdict"] == "a_better"
    assert record["pairs"][0]["needed"] is None


def test_the_same_predictions_are_no_evidence_either(make_table: Make) -> None:
    same = arm(make_table, 1.0, 1) * 3
    record = compare_arms({"a": same, "b": same})
    row = record["pairs"][0]
    assert (row["difference"], row["p"], row["verdict"]) == (0.0, 1.0, "no_evidence")
    assert "several seeds of a gave equal predictions; its training does not depend on the seed" in record["warnings"]
    assert "a and b hold a table with equal probabilities: this is the same model under two names" in record["warnings"]


def test_copies_of_a_file_are_not_seeds(make_table: Make) -> None:
    one, other = arm(make_table, 1.0, 1)[0], arm(make_table, 1.2, 3, first=50)
    files = {"a": ["x.csv", "y.csv", "z.csv"], "b": ["1.csv", "2.csv", "3.csv"]}
    with pytest.raises(InputError, match=r"tables 1 and 2 of 'a' \(x.csv and y.csv\) hold equal probabilities: copies"):
        compare_arms({"a": [one] * 3, "b": other}, files=files)
    turned = replace(one, image=one.image[::-1], patient=one.patient[::-1], slide=one.slide[::-1], site=one.site[::-1],
                     label=one.label[::-1], prob=one.prob[::-1])  # fmt: skip
    with pytest.raises(InputError, match="copies are not seeds"):
        compare_arms({"a": [one, turned], "b": other}, files=files)
    right = replace(one, prob=np.eye(2)[one.label])  # calls of two perfect models are alike without being copies
    assert compare_arms({"a": [right, right], "b": other[:2]}, files=files)["pairs"]


def test_equivalent_needs_a_margin_stated_beforehand(make_table: Make) -> None:
    arms = {"a": arm(make_table, 1.5, 5, patients=80), "b": arm(make_table, 1.5, 5, patients=80, first=50)}
    assert compare_arms(arms)["pairs"][0]["verdict"] == "no_evidence"
    wide = compare_arms(arms, margin=0.2)["pairs"][0]
    assert wide["verdict"] == "equivalent"
    assert "equivalent within the margin of ±0.2" in wide["words"]
    assert "90 % interval" in wide["words"]
    assert compare_arms(arms, margin=1e-4)["pairs"][0]["verdict"] == "no_evidence"


def test_no_verdict_ever_says_equal(make_table: Make) -> None:
    for margin in (None, 0.3):
        for seeds in (1, 3):
            text = json.dumps(
                compare_arms({"a": arm(make_table, 1, seeds), "b": arm(make_table, 1, seeds, first=9)}, margin=margin)
            )
            assert " equal " not in text.replace('"equivalent"', "")


def test_holm_is_taken_over_the_primary_pairs(make_table: Make) -> None:
    arms = {name: arm(make_table, strength, 3, first=20 * k) for k, (name, strength) in
            enumerate([("a", 1.0), ("b", 1.4), ("c", 1.1), ("d", 0.9)])}  # fmt: skip
    record = compare_arms(arms)
    assert len(record["pairs"]) == 6
    smallest = min(record["pairs"], key=lambda row: row["p"])
    assert smallest["p_adjusted"] == pytest.approx(min(1, 6 * smallest["p"]))
    one = compare_arms(arms, pairs=[("a", "b")])
    assert [row["primary"] for row in one["pairs"]] == [True] + [False] * 5
    assert one["pairs"][0]["p_adjusted"] == one["pairs"][0]["p"]
    assert all(row["words"].startswith("Exploratory: ") for row in one["pairs"][1:])
    assert "Exploratory" not in one["words"]
    assert {row["metric"] for row in record["exploratory"]} >= {"accuracy", "mcc", "loss"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"primary": "aurok"}, "did you mean 'auroc'"),
        ({"level": "slide"}, "at image level or patient level"),
        ({"margin": 0.0}, "margin is 0"),
        ({"margin": 2.0}, "margin is 2; AUROC differs by at most 1"),
        ({"margin": 2.0, "primary": "mcc"}, "margin is 2; MCC differs by at most 2"),
        ({"margin": 17.0, "primary": "loss"}, "margin is 17; log loss differs by at most 16.1181"),
        ({"primary": "kappa"}, "isn't computed here; 'mcc' answers the same question"),
        ({"reference": "z"}, "reference is 'z'"),
        ({"reference": "a", "pairs": [("a", "b")]}, "both pairs and a reference"),
        ({"co_primary": ["recall"]}, "two or more different ones"),
        ({"co_primary": ["recall", "sensitivity"]}, "two or more different ones"),
        ({"margin": -0.1}, "margin is -0.1"),
        ({"prior_sd": 0.0}, "prior_sd is 0"),
        ({"prior_sd": float("inf")}, "prior_sd is inf"),
        ({"alpha": 0.7}, "alpha is 0.7"),
        ({"alpha": 0.5}, "alpha is 0.5"),
        ({"alpha": 0.0}, "alpha is 0"),
        ({"hypothesis": "superiority"}, "hypothesis is 'superiority'"),
        ({"claim": "model"}, "did you mean 'models'"),
        ({"hypothesis": "equivalence"}, "equivalence was asked without a margin"),
        ({"pairs": [("a", "x")]}, "arm 'x'"),
        ({"pairs": [("a", "a")]}, "twice"),
    ],
)
def test_wrong_settings_are_refused(make_table: Make, change: dict[str, Any], message: str) -> None:
    arms = {"a": arm(make_table, 1.0, 1), "b": arm(make_table, 1.0, 1, first=5)}
    with pytest.raises(InputError, match=message):
        compare_arms(arms, **change)


def test_what_a_gate_asks_is_said_of_every_primary_pair(make_table: Make) -> None:
    arms = {name: arm(make_table, 1.0, 1, first=k) for k, name in enumerate("abcd")}
    two = {name: arms[name] for name in "ab"}
    assert compare_arms(two)["asked"] == "that a is better than b"
    assert compare_arms(two, hypothesis="equivalence", margin=0.1)["asked"] == "that a is equivalent to b"
    wanted = compare_arms(two, hypothesis="noninferiority", margin=0.1, pairs=[("b", "a")])
    assert wanted["asked"] == "that b is not inferior to a"
    three = compare_arms(arms, reference="a")
    assert three["asked"] == "that b is better than a and c is better than a and d is better than a"
    assert compare_arms(arms)["asked"] == "that a is better than b, and so on for 6 pairs"


def test_exploratory_rows_are_all_other_measures_of_every_pair(make_table: Make) -> None:
    arms = {name: arm(make_table, 0.5 + k, 2, first=5 * k) for k, name in enumerate("abc")}
    record = compare_arms(arms, primary="f1", reference="c", alpha=0.1)
    rows = record["exploratory"]
    assert list(dict.fromkeys((row["a"], row["b"]) for row in rows)) == [("a", "c"), ("b", "c"), ("a", "b")]
    measures = [row["metric"] for row in rows if row["a"] == "b"]
    assert "f1" not in measures and len(set(measures)) == len(measures)
    assert {"auroc", "accuracy", "loss", "recall"} <= set(measures)
    row = next(row for row in rows if (row["a"], row["b"], row["metric"]) == ("b", "c", "auroc"))
    names = units_of(arms["b"][:1])
    found = difference(*(sample(arms[name], names, level="image") for name in "bc"), ("auroc", None), alpha=0.1)
    assert row == {
        "a": "b", "b": "c", "metric": "auroc", "level": "image", "value_a": found.value_a, "value_b": found.value_b,
        "difference": found.difference, "low": found.low, "high": found.high, "p": found.p,
    }  # fmt: skip


def test_frozen_calls_are_scored_at_the_level_that_was_asked(make_table: Make) -> None:
    """Of patients, each called by the share of its images that are: accuracy over 40 patients, not over 200 images."""
    arms = {name: arm(make_table, 1.0, 1, first=5 * k) for k, name in enumerate("ab")}
    calls = {name: [decided(table, 0.3) for table in own] for name, own in arms.items()}
    for level in ("image", "patient"):
        record = compare_arms(arms, primary="accuracy", level=level, decided=calls)
        scored = [pool_patients(own[0]) if level == "patient" else own[0] for own in calls.values()]
        expected = [float((table.prob.argmax(axis=1) == table.label).mean()) for table in scored]
        row = record["pairs"][0]
        assert [row["value_a"], row["value_b"]] == pytest.approx(expected)
        assert record["thresholds"] == "frozen" and compare_arms(arms)["thresholds"] == "0.5"


def test_published_tests_are_of_what_is_compared(make_table: Make) -> None:
    """At patient level they are of patients, and of calls they take those at the frozen thresholds."""
    arms = {name: arm(make_table, 1.0, 1, first=5 * k) for k, name in enumerate("ab")}
    calls = {name: [decided(table, 0.2) for table in own] for name, own in arms.items()}
    found = compare_arms(arms, primary="accuracy", level="patient", claim="models")["pairs"][0]["tests"]
    assert found == supporting_tests(*([pool_patients(own[0])] for own in arms.values()))
    assert [row["about"] for row in found] == [
        "accuracy, by patient", "accuracy, one patient per unit", "AUROC, one patient per unit"
    ]  # fmt: skip
    plain, frozen = (
        {row["test"]: row["p"] for row in compare_arms(arms, claim="models", decided=given)["pairs"][0]["tests"]}
        for given in (None, calls)
    )
    of_ranks = "clustered AUROC difference, Obuchowski"
    assert frozen[of_ranks] == plain[of_ranks]
    of_calls = {row["test"]: row["p"] for row in supporting_tests(*calls.values())}
    assert {name: p for name, p in frozen.items() if name != of_ranks} == {
        name: p for name, p in of_calls.items() if name != of_ranks
    }
    assert any(frozen[name] != plain[name] for name in plain)
    record = compare_arms(arms, primary="accuracy", level="patient", claim="models", decided=calls)
    assert (
        "images are called at their thresholds, and a patient is what most of its images are called"
        in (record["warnings"])
    )


@pytest.mark.parametrize("hard", [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("alone", [True, False])
def test_a_table_of_calls_has_no_test_of_its_ranking(
    random_table: Callable[..., Predictions], hard: tuple[bool, bool], alone: bool
) -> None:
    own = {"images": 20, "patients": 20} if alone else {}
    pair = [replace(random_table(seed, **own), hard=calls) for seed, calls in enumerate(hard)]
    plain = [replace(table, hard=False) for table in pair]
    dropped = "DeLong" if alone else "clustered AUROC difference, Obuchowski"
    names = [row["test"] for row in supporting_tests(plain[:1], plain[1:])]
    assert names[-1] == dropped
    assert [row["test"] for row in supporting_tests(pair[:1], pair[1:])] == names[:-1]


def test_arms_that_cannot_be_joined_are_refused(make_table: Make) -> None:
    with pytest.raises(InputError, match="needs two"):
        compare_arms({"a": arm(make_table, 1.0, 1)})
    with pytest.raises(InputError, match="table 1 of arm 'b': the tables share"):
        compare_arms({"a": arm(make_table, 1.0, 1), "b": arm(make_table, 1.0, 1, patients=30)})
    with pytest.raises(InputError, match="no prediction tables"):
        score_arms({"a": []})


def test_records_are_the_same_twice_and_whole(tmp_path: Path, make_table: Make) -> None:
    arms = {"a": arm(make_table, 1.0, 3), "b": arm(make_table, 1.4, 3, first=50)}
    for name in ("one", "two"):
        write_json(tmp_path / f"{name}.json", {"s": score_arms(arms, stamp="x"), "c": compare_arms(arms, stamp="x")})
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    record = score_arms(arms, seeds={"a": [4, 5, 6], "b": [1, 2, 3]}, stamp="x")
    assert record["stamp"] == "x"
    assert record["arms"]["a"]["seeds"] == [4, 5, 6]
    assert np.sum(record["arms"]["a"]["confusion"]["4"]) == record["arms"]["a"]["images"] == 200
    assert record["arms"]["a"]["patients"] == 40
    levels = {(row["metric"], row["level"]) for row in record["arms"]["a"]["scores"]}
    threshold_free = ["loss", "auroc", "auprc"]
    names = [
        "accuracy",
        "precision",
        "recall",
        "specificity",
        "f1",
        "npv",
        "balanced_accuracy",
        "mcc",
        "brier",
        *threshold_free,
    ]
    assert levels >= {(name, level) for name in names for level in ("image", "patient")}
    assert ("patient_recognition", "patient") in levels
    assert ("sensitivity_at_95_specificity", "image") in levels
    columns, rows = score_rows(record)
    write_csv(tmp_path / "scores.csv", columns, rows)
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 1 + 2 * 26


def test_several_classes_have_their_own_rows(random_table: Make) -> None:
    record = score_arms({"a": [random_table(1, n_classes=3)]})
    rows = record["arms"]["a"]["scores"]
    assert record["positive"] is None
    assert {row["class"] for row in rows if row["metric"] == "auroc"} == {None, "A", "B", "C"}
    assert "fewer than 20" not in " ".join(record["arms"]["a"]["warnings"])


def test_few_or_unknown_patients_are_said(make_table: Make) -> None:
    few = score_arms({"a": arm(make_table, 1.0, 1, patients=12)})["arms"]["a"]["warnings"]
    assert any("only 12 patients (fewer than 20)" in warning for warning in few)
    unknown = score_arms({"a": [make_table([0, 1, 1, 0], [0.1, 0.8, 0.6, 0.7])]})
    assert unknown["unit"] == "image"
    assert unknown["arms"]["a"]["patients"] is None
    assert any("patients are unknown" in warning for warning in unknown["arms"]["a"]["warnings"])
    assert {row["level"] for row in unknown["arms"]["a"]["scores"]} == {"image"}


@settings(max_examples=10)
@given(order=st.permutations(range(3)))
def test_the_order_of_seeds_does_not_matter(order: Sequence[int], random_table: Make) -> None:
    base = random_table(3)
    tables = [
        Predictions(image=base.image, patient=base.patient, slide=base.slide, site=base.site, label=base.label,
                    prob=random_table(3 + k).prob, classes=base.classes) for k in range(3)
    ]  # fmt: skip
    names = units_of([base])
    a, b = sample(tables, names, level="image"), sample([tables[k] for k in order], names, level="image")
    found, turned = difference(a, a, ("auroc", None)), difference(a, b, ("auroc", None))
    assert turned.difference == pytest.approx(found.difference, abs=1e-12)


def test_judging_starts_without_torch_pandas_and_sklearn(tmp_path: Path, make_table: Make) -> None:
    write_predictions(arm(make_table, 1.0, 1)[0], tmp_path / "a.csv")
    code = (
        "import sys; from counterstain.evaluation.comparison import compare_arms;"
        "from counterstain.evaluation.arm_scores import score_arms;"
        "from counterstain.evaluation.predictions_csv import read_predictions;"
        f"t = read_predictions({str(tmp_path / 'a.csv')!r}); score_arms({{'a': [t]}});"
        "compare_arms({'a': [t], 'b': [t]});"
        "print([m for m in ('torch', 'pandas', 'sklearn', 'matplotlib') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_verdict_needs_both_p_and_interval() -> None:
    from counterstain.evaluation.paired_difference import Difference

    found = Difference(0.8, 0.7, 0.1, 0.02, 0.18, 0.01, 0.03, 0.17, 0.04, 0.0, 20.0)
    asked = Question(metric="auroc")
    assert verdict(found, asked, seeds=3, p_adjusted=0.01) == "a_better"
    assert verdict(found, asked, seeds=3, p_adjusted=0.06) == "no_evidence"
    wide = replace(found, low=-0.01)
    assert verdict(wide, asked, seeds=3, p_adjusted=0.01) == "no_evidence"
    inside = replace(found, margin=0.2, p_equivalence=0.02)
    assert verdict(inside, replace(asked, margin=0.2), seeds=3, p_adjusted=0.01) == "equivalent"


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_simulation_of_false_claims_judges_as_tables_are_judged(seeds: int) -> None:
    """Its samples come from counts, many times faster: here they are held against those of whole tables."""
    claims, ceiling = benchmark("false_claims"), benchmark("near_ceiling")
    study = claims.simulate_study(np.random.default_rng(3), patients=12, seeds=seeds, scene="lively seeds", effect=0.5)
    arms = [ceiling.tables(study, scores) for scores in (study.a, study.b)]
    names = units_of(arms[0][:1])
    whole = [sample(own, names, level="image") for own in arms]
    for metric in claims.METRICS:
        fast = [ceiling.counted(study, scores, metric) for scores in (study.a, study.b)]
        own, other = difference(*whole, (metric, None)), difference(*fast, (metric, None))
        assert (own.difference, own.low, own.high, own.p) == pytest.approx(
            (other.difference, other.low, other.high, other.p), rel=1e-9
        )


@pytest.mark.slow
def test_equal_procedures_are_seldom_told_apart_and_unequal_ones_often() -> None:
    claims = benchmark("false_claims")
    equal = claims.rates(patients=30, seeds=3, scene="lively seeds", studies=200)
    assert equal["auroc"] <= 0.08  # 5 % and the noise of 200 studies
    assert equal["accuracy"] <= 0.08
    assert equal["mcnemar over images"] > 0.25
    better = claims.rates(patients=30, seeds=3, scene="calm seeds", studies=40, effect=1.2)
    assert better["auroc"] > 0.5


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    coverage = benchmark("interval_coverage")
    few = coverage.cover(patients=15, prevalence=0.5, mixed=True, icc=0.1, studies=200)
    many = coverage.cover(patients=60, prevalence=0.3, mixed=True, icc=0.1, studies=200)
    for metric in coverage.METRICS:
        assert few[metric]["covered"] >= 0.88, metric  # 91 % less the noise of 200 studies
        assert many[metric]["covered"] >= 0.90, metric  # 93 % less the same
    assert few["accuracy, Wilson over images"]["covered"] < 0.85
    steep = coverage.cover(patients=20, prevalence=0.5, mixed=True, icc=0.1, steepness=1.0, studies=200)
    assert steep["told"]["covered"] > 0.75
    assert steep["accuracy"]["covered"] >= 0.88  # 92 % less the noise of 200 studies


def test_a_class_of_one_patient_bears_no_claim_and_says_so() -> None:
    """Without the one negative patient there is no AUROC, so there is no jackknife and no interval."""
    random = np.random.default_rng(0)
    patient = tuple(f"P{row // 4}" for row in range(16))
    label = np.array([0] * 4 + [1] * 12)

    def table() -> Predictions:
        prob = random.uniform(0.2, 0.8, 16)
        return Predictions(
            image=tuple(f"{row}.png" for row in range(16)),
            patient=patient,
            slide=("",) * 16,
            site=("",) * 16,
            label=label,
            prob=np.stack([1 - prob, prob], 1),
            classes=("a", "b"),
        )

    record = compare_arms({"x": [table() for _ in range(3)], "y": [table() for _ in range(3)]})
    assert record["pairs"][0]["verdict"] == "undefined"
    assert "x and y can't be compared in AUROC: only one patient has 'a', so there is no interval" in record["words"]
    assert "nan" not in record["words"]


def test_an_arm_without_a_name_is_refused(make_table: Make) -> None:
    with pytest.raises(InputError, match="an arm has no name"):
        compare_arms({" ": arm(make_table, 1.0, 1), "b": arm(make_table, 1.0, 1, first=5)})


@pytest.mark.parametrize("name", ["a\nVerdict: b is better", "a\x1b[2J", "a\u2028b"])
def test_an_arm_whose_name_would_break_a_line_is_refused(make_table: Make, name: str) -> None:
    with pytest.raises(InputError, match="holds a line end or a control character") as raised:
        compare_arms({name: arm(make_table, 1.0, 1), "b": arm(make_table, 1.0, 1, first=5)})
    assert "\n" not in str(raised.value) and "\x1b" not in str(raised.value)


def test_patient_ids_that_are_from_another_table_are_noted(make_table: Make) -> None:
    named, other = arm(make_table, 1.0, 3), arm(make_table, 1.0, 3, first=5)
    bare = [replace(table, patient=table.image) for table in other]
    record = compare_arms({"a": named, "b": bare})
    note = "not every table of b names patients; the patient ids of a were used for the same images"
    assert record["unit"] == "patient" and note in record["warnings"]
    for alike in ({"a": named, "b": other}, {"a": [replace(t, patient=t.image) for t in named], "b": bare}):
        assert not any("names patients" in line for line in compare_arms(alike)["warnings"])
