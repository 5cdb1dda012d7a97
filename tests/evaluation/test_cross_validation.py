"""Ways of training over folds: every fold's difference reaches the corrected test, and what was not shown is said."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from counterstain.evaluation.comparison import compare_arms
from counterstain.evaluation.cross_validation import (
    FoldTests,
    Place,
    fold_tests,
    procedures_record,
    with_folds,
)
from counterstain.evaluation.paired_difference import Difference
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


# ----------------------------------------------------------------------------- what the verdict takes, number by number


def over_patients(width: float, p: float, margin: float | None = 0.05) -> Difference:
    """A difference of 0.02 whose limits all lie `width` away, and whose p-values are all `p`."""
    low, high = 0.02 - width, 0.02 + width
    tests = {} if margin is None else dict.fromkeys(("p_equivalence", "p_noninferior", "p_inferior"), p)
    return Difference(
        value_a=0.9, value_b=0.88, difference=0.02, low=low, high=high, p=p, low_margin=low, high_margin=high,
        low_one_sided=low, high_one_sided=high, se_patient=0.01, se_seed=0.0, df=19.0, method="jackknife",
        margin=margin, **tests,
    )  # fmt: skip


FOLDS = [0.01, 0.05, 0.03, 0.02, 0.04]  # mean 0.03, 4 degrees of freedom


@pytest.mark.parametrize(("metric", "sign"), [("auroc", 1), ("loss", -1), ("brier", -1)])
def test_narrow_patients_leave_every_number_to_the_training_sets(metric: str, sign: int) -> None:
    test = corrected_resampled_t(FOLDS, n_train=80, n_test=20)
    found = with_folds(over_patients(0.0, 0.0), test, metric, alpha=0.1, margin=0.05)
    spread = stats.t(4, loc=0.03, scale=test.se)
    assert (found.low, found.high) == pytest.approx(spread.interval(0.9))
    assert (found.low_one_sided, found.high_one_sided) == pytest.approx(spread.interval(0.9))
    assert (found.low_margin, found.high_margin) == pytest.approx(spread.interval(0.8))
    assert found.p == test.p
    gain = stats.t(4, loc=sign * 0.03, scale=test.se)  # of the first arm, as the folds have it
    assert found.p_noninferior == pytest.approx(gain.cdf(-0.05))
    assert found.p_inferior == pytest.approx(gain.sf(-0.05))
    assert found.p_equivalence == pytest.approx(max(gain.cdf(-0.05), gain.sf(0.05)))
    assert found.method == "jackknife; corrected t-test over training sets"
    assert (found.difference, found.value_a, found.se_patient) == (0.02, 0.9, 0.01)


@pytest.mark.parametrize("metric", ["auroc", "loss"])
def test_wide_patients_keep_every_number(metric: str) -> None:
    test = corrected_resampled_t(FOLDS, n_train=80, n_test=20)
    own = over_patients(1.0, 1.0)
    assert with_folds(own, test, metric, alpha=0.05, margin=0.05) == replace(
        own, method="jackknife; corrected t-test over training sets"
    )


def test_without_a_margin_or_a_spread_nothing_is_held_against_it() -> None:
    test = corrected_resampled_t(FOLDS, n_train=80, n_test=20)
    found = with_folds(over_patients(0.0, 0.0, None), test, "auroc", alpha=0.05, margin=None)
    assert np.isnan([found.p_equivalence, found.p_noninferior, found.p_inferior]).all()
    assert found.low < 0.01 and found.high > 0.05
    alike = corrected_resampled_t([0.03, 0.03], n_train=2, n_test=1)
    same = with_folds(over_patients(0.0, 0.25), alike, "auroc", alpha=0.05, margin=0.05)
    assert (same.p_equivalence, same.p_noninferior, same.p_inferior) == (0.25, 0.25, 0.25)
    assert (same.low, same.high) == pytest.approx((0.02, 0.03))


def test_a_test_turned_round_has_its_signs_and_ends_turned() -> None:
    test = corrected_resampled_t(FOLDS, n_train=80, n_test=20)
    tests = FoldTests(5, {("auroc", "a", "b"): test, ("auroc", "a", "c"): None})
    assert tests.of("auroc", "a", "b") is test
    assert tests.of("auroc", "b", "a") == corrected_resampled_t([-d for d in FOLDS], n_train=80, n_test=20)
    assert tests.of("auroc", "a", "c") is tests.of("auroc", "c", "a") is tests.of("mcc", "a", "b") is None


def test_the_error_is_the_one_that_was_asked_for() -> None:
    arms = {"new": arm(1.0, 1), "old": arm(0.6, 5000)}
    uneven = SIZES | {(0, 0): (10, 12)}
    ratio = np.mean([test / train for train, test in uneven.values()])
    tests = fold_tests(arms, uneven, metrics=["accuracy", "loss"], alpha=0.2)
    assert tests is not None and tests.training_sets == 6
    for metric in ("accuracy", "loss"):
        pair = procedures_record(arms, uneven, metric=metric, alpha=0.2)["pairs"][0]
        by_hand = corrected_resampled_t(pair["differences"], n_train=1, n_test=float(ratio), confidence=0.8)
        assert tests.of(metric, "new", "old") == by_hand
        for name in ("t", "df", "p", "mean", "se", "low", "high", "naive_p"):
            assert pair["test"][name] == getattr(by_hand, name)
        assert pair["test"]["test_to_train"] == pytest.approx(ratio)


def test_the_words_of_a_pair_hold_its_numbers() -> None:
    arms = {"new": arm(1.0, 1), "old": arm(0.6, 5000)}
    record = procedures_record(arms, SIZES, metric="loss", margin=0.1, alpha=0.1)
    pair = record["pairs"][0]
    test, chance = pair["test"], pair["posterior"]
    p = "< 0.001" if test["p"] < 0.001 else f"= {test['p']:.3f}"
    assert pair["words"] == (
        f"new less old over 6 folds: {test['mean']:+.3f} (90 % interval [{test['low']:+.3f}, {test['high']:+.3f}]) in "
        f"log loss, corrected t-test p {p}; probabilities: new better by more than 0.1: {chance['a_better']:.2f}, "
        f"practically alike: {chance['within_rope']:.2f}, old better by more: {chance['b_better']:.2f}."
    )
    assert sum(chance.values()) == pytest.approx(1) and chance["a_better"] > chance["b_better"]
    assert (pair["folds"], record["rope"], record["schema"]) == (6, 0.1, "counterstain.procedures/1")
    bound = procedures_record(arms, SIZES, metric="recall")["pairs"][0]["words"]
    assert "]) in sensitivity (recall) for 'tumour', corrected t-test p" in bound
    turned = procedures_record(arms, SIZES, metric="loss", margin=0.1, pairs=[("old", "new")])["pairs"][0]
    assert turned["differences"] == pytest.approx([-d for d in pair["differences"]])
    assert turned["posterior"]["b_better"] == pytest.approx(chance["a_better"])


def test_three_arms_are_three_pairs_in_their_order() -> None:
    arms = {name: arm(strength, k) for k, (name, strength) in enumerate((("x", 1.0), ("y", 0.6), ("z", 0.8)))}
    pairs = procedures_record(arms, SIZES)["pairs"]
    assert [(pair["a"], pair["b"]) for pair in pairs] == [("x", "y"), ("x", "z"), ("y", "z")]
    tests = fold_tests(arms, SIZES, metrics=["auroc"])
    assert tests is not None
    assert list(tests.tests) == [("auroc", pair["a"], pair["b"]) for pair in pairs]


def test_a_fold_that_can_not_be_scored_is_named() -> None:
    arms = {"new": arm(1.0, 1), "old": arm(0.6, 5000)}
    for own in arms.values():
        for seed in range(3):
            own[seed, 1, 2] = fold(1.0, seed, range(24, 36), one_class=True)
    values = procedures_record({name: {k: v for k, v in own.items() if k[0] == 0} for name, own in arms.items()}, SIZES)
    assert values["pairs"][0]["words"] == (
        "new and old: AUROC is undefined in repeat 1, fold 2, so there is no test over the folds."
    )
    tests = fold_tests(arms, SIZES, metrics=["auroc", "accuracy"])
    assert tests is not None
    assert tests.of("auroc", "new", "old") is None and tests.of("accuracy", "new", "old") is not None


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
