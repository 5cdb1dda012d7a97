"""Ways of training over folds: every fold's difference reaches the corrected test, and what was not shown is said."""

from dataclasses import replace

import numpy as np
import pytest

from counterstain.evaluation.comparison import compare_arms
from counterstain.evaluation.cross_validation import Place, fold_tests, procedures_record
from counterstain.evaluation.predictions import Predictions, concatenate
from counterstain.evaluation.resampled_tests import bayesian_correlated_t, corrected_resampled_t


def fold(strength: float, seed: int, patients: range, *, one_class: bool = False) -> Predictions:
    code = np.repeat(np.array(patients), 5)
    label = np.zeros(len(code), dtype=np.int64) if one_class else (code % 2).astype(np.int64)
    noise = np.random.default_rng(seed).normal(size=len(code))
    p = 1 / (1 + np.exp(-(strength * (2 * label - 1) + noise)))
    image, blank = tuple(f"i{c}-{k}" for k, c in enumerate(code)), ("",) * len(code)
    people = tuple(f"p{c}" for c in code)
    return Predictions(
        image=image,
        patient=people,
        slide=blank,
        site=blank,
        label=label,
        prob=np.column_stack([1 - p, p]),
        classes=("benign", "tumour"),
    )


def arm(strength: float, first: int, *, seeds: int = 3, repeats: int = 2, folds: int = 3) -> dict[Place, Predictions]:
    return {
        (s, r, f): fold(strength, first + 100 * s + 10 * r + f, range(12 * f, 12 * f + 12))
        for s in range(seeds)
        for r in range(repeats)
        for f in range(folds)
    }


SIZES = {(r, f): (20, 12) for r in range(2) for f in range(3)}


def accuracy(table: Predictions) -> float:
    return float((table.prob.argmax(axis=1) == table.label).mean())


def test_the_folds_differences_feed_both_tests() -> None:
    arms = {"new": arm(1.0, 1), "old": arm(0.6, 5000)}
    record = procedures_record(arms, SIZES, metric="accuracy", margin=0.02)
    pair = record["pairs"][0]
    by_hand = [
        np.mean([accuracy(arms["new"][s, r, f]) - accuracy(arms["old"][s, r, f]) for s in range(3)])
        for r in range(2)
        for f in range(3)
    ]
    assert pair["differences"] == pytest.approx(by_hand)
    test = corrected_resampled_t([float(d) for d in by_hand], n_train=20, n_test=12)
    assert (pair["test"]["t"], pair["test"]["p"], pair["test"]["df"]) == pytest.approx((test.t, test.p, 5))
    low, within, high = bayesian_correlated_t([float(d) for d in by_hand], n_train=20, n_test=12, rope=0.02)
    assert pair["posterior"] == pytest.approx({"a_better": high, "within_rope": within, "b_better": low})
    assert record["rope_from"] == "the margin of the study"
    assert "new less old over 6 folds" in pair["words"]
    loss = procedures_record(arms, SIZES, metric="loss")
    assert loss["rope"] == 0.01
    assert "±0.01 was taken" in loss["rope_from"]
    assert loss["pairs"][0]["test"]["mean"] < 0 < loss["pairs"][0]["posterior"]["a_better"] - 0.5


def test_the_variance_of_each_arm_is_split_into_its_sources() -> None:
    record = procedures_record({"new": arm(1.0, 1), "old": arm(0.6, 5000)}, SIZES, metric="accuracy")
    for own in record["variance"].values():
        assert all(own["sd"][source] is not None for source in ("patient", "seed", "split", "rest"))


def test_one_split_says_what_it_does_not_show() -> None:
    arms = {"new": arm(1.0, 1, repeats=1, folds=1), "old": arm(0.6, 5000, repeats=1, folds=1)}
    record = procedures_record(arms, SIZES)
    pair = record["pairs"][0]
    assert pair["test"] is None
    assert pair["words"] == (
        "new and old: there is one split, so the spread over training sets is not shown by this study; "
        "split.method: folds would show it."
    )
    assert record["variance"]["new"]["sd"]["split"] is None
    assert "another split: not shown by this study" in record["variance"]["new"]["words"]
    assert procedures_record({"new": arms["new"]}, SIZES)["pairs"] == []


def test_two_training_sets_are_enough_for_a_test() -> None:
    arms = {"new": arm(1.0, 1, repeats=1, folds=2), "old": arm(0.6, 5000, repeats=1, folds=2)}
    record = procedures_record(arms, SIZES, level="image")
    assert record["pairs"][0]["test"]["df"] == 1
    assert (record["positive"], record["level"], record["metric"]) == ("tumour", "image", "auroc")
    tests = fold_tests(arms, SIZES, metrics=["auroc"])
    assert tests is not None
    found = tests.of("auroc", "new", "old")
    assert found is not None
    assert found.mean == pytest.approx(np.mean(record["pairs"][0]["differences"]))


def test_a_fold_without_a_class_makes_no_test() -> None:
    arms = {"new": arm(1.0, 1), "old": arm(0.6, 5000)}
    for seed in range(3):
        for own in arms.values():
            table = own[seed, 1, 2]
            own[seed, 1, 2] = replace(table, label=np.zeros(len(table), dtype=np.int64))
    whole = procedures_record({name: {k: v for k, v in own.items() if k[1] == 0} for name, own in arms.items()}, SIZES)
    assert whole["pairs"][0]["test"] is not None
    for own in arms.values():
        for seed in range(3):
            for f in range(2):
                own.pop((seed, 1, f))
    record = procedures_record({name: {k: v for k, v in own.items() if k[1] == 1} for name, own in arms.items()},
                               SIZES, pairs=[("old", "new")])  # fmt: skip
    assert (record["pairs"][0]["a"], record["pairs"][0]["test"]) == ("old", None)


def test_the_verdict_takes_the_more_cautious_of_patients_and_training_sets() -> None:
    """An arm that wins in two folds of three and loses in the third: patients say better, training sets don't."""
    by_place: dict[str, dict[Place, Predictions]] = {"new": {}, "old": {}}
    for s in range(3):
        for f, strength in enumerate((3.0, 2.5, 0.3)):
            by_place["new"][s, 0, f] = fold(strength, 10 * s + f, range(20 * f, 20 * f + 20))
            by_place["old"][s, 0, f] = fold(0.6, 500 + 10 * s + f, range(20 * f, 20 * f + 20))
    whole = {arm: [concatenate([own[s, 0, f] for f in range(3)]) for s in range(3)] for arm, own in by_place.items()}
    sizes = {(0, f): (40, 20) for f in range(3)}
    tests = fold_tests(by_place, sizes, metrics=["accuracy"])
    assert tests is not None
    assert tests.training_sets == 3
    alone = compare_arms(whole, primary="accuracy", margin=0.05)["pairs"][0]
    record = compare_arms(whole, primary="accuracy", margin=0.05, over_folds=tests)
    both, test = record["pairs"][0], tests.of("accuracy", "new", "old")
    assert test is not None
    assert alone["verdict"] == "a_better"
    assert both["verdict"] == "no_evidence"
    assert both["p"] == pytest.approx(test.p)
    assert both["p"] > alone["p"]
    assert (both["low"], both["high"]) == pytest.approx((test.low, max(test.high, alone["high"])))
    assert both["p_equivalence"] >= alone["p_equivalence"]
    assert both["p_noninferior"] > alone["p_noninferior"]
    assert "this holds over 3 training sets" in record["words"]
    turned = tests.of("accuracy", "old", "new")
    assert turned is not None
    assert (turned.mean, turned.low, turned.high) == pytest.approx((-test.mean, -test.high, -test.low))
    assert fold_tests({arm: {(0, 0, 0): own[0, 0, 0]} for arm, own in by_place.items()}, sizes, metrics=["mcc"]) is None
