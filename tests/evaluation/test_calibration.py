"""Calibration against golden values, scikit-learn and simulation; what is frozen never looks at the test part."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterstain.errors import InputError
from counterstain.evaluation.calibration import Calibration, apply_calibration, fit_calibration
from counterstain.evaluation.conformal import conformal_quantile, coverage_record, prediction_sets, weighted_quantile
from counterstain.evaluation.metrics import image_loss
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.reliability import (
    bin_of,
    brier_parts,
    expected_calibration_error,
    logistic_recalibration,
    reliability_record,
)
from counterstain.evaluation.thresholds import choose_threshold, decide

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())


def table(
    prob: np.ndarray, label: np.ndarray, patient: list[str] | None = None, site: list[str] | None = None
) -> Predictions:
    n = len(label)
    return Predictions(
        image=tuple(f"i{k}" for k in range(n)),
        patient=tuple(patient or (f"i{k}" for k in range(n))),
        slide=("",) * n,
        site=tuple(site or ("",) * n),
        label=label,
        prob=prob,
        classes=tuple("abcde"[: prob.shape[1]]),
    )


def overconfident(rng: np.random.Generator, n: int, *, sharp: float = 3.0, classes: int = 2) -> Predictions:
    """Labels drawn from a softmax whose logits are then made `sharp` times too large, three images per patient."""
    logits = rng.normal(0, 1, (n, classes))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    label = np.array([rng.choice(classes, p=row) for row in true])
    said = np.exp(sharp * logits) / np.exp(sharp * logits).sum(axis=1, keepdims=True)
    return table(said, label, [f"p{k // 3}" for k in range(n)])


# ---------------------------------------------------------------------------------------------------------- golden


def test_golden_calibration() -> None:
    own = GOLDEN["calibration_small"]
    p, positive = np.array(own["p"]), np.array(own["y"]) == 1
    assert brier_parts(p, positive, bins=5)["brier"] == pytest.approx(own["brier"], abs=1e-12)
    prob = np.column_stack([1 - p, p])
    assert image_loss(positive.astype(int), prob).mean() == pytest.approx(own["nll"], abs=1e-12)
    assert expected_calibration_error(p, positive, bins=5) == pytest.approx(own["ece5_positive_class"], abs=1e-12)
    assert expected_calibration_error(p, positive, bins=10) == pytest.approx(own["ece10_positive_class"], abs=1e-12)
    top, right = prob.max(axis=1), prob.argmax(axis=1) == positive
    assert expected_calibration_error(top, right, bins=5) == pytest.approx(own["ece5_confidence"], abs=1e-12)


def test_golden_conformal() -> None:
    own = GOLDEN["conformal"]
    score = np.array(own["scores"])
    one_each = table(np.column_stack([1 - score, score]), np.zeros(len(score), dtype=int))
    for alpha, qhat in zip(own["alpha"], own["qhat"], strict=True):
        assert conformal_quantile(one_each, alpha=alpha) == pytest.approx(qhat)
    eight = table(np.column_stack([1 - score[:8], score[:8]]), np.zeros(8, dtype=int))
    assert conformal_quantile(eight, alpha=0.1) == float("inf")
    assert prediction_sets(one_each.prob, float("inf")).all()


# ----------------------------------------------------------------------------------------------------- temperature


def test_temperature_finds_what_was_done_to_the_logits() -> None:
    found = fit_calibration(overconfident(np.random.default_rng(0), 6000))
    assert found.parameters["temperature"] == pytest.approx(3.0, rel=0.05)


def test_temperature_agrees_with_scikit_learn() -> None:
    from sklearn.calibration import _TemperatureScaling

    own = overconfident(np.random.default_rng(1), 500, classes=3)
    other = _TemperatureScaling().fit(np.log(own.prob), own.label)
    ours = fit_calibration(own)
    assert ours.parameters["temperature"] == pytest.approx(1 / other.beta_, rel=1e-3)
    assert apply_calibration(ours, own).prob == pytest.approx(other.predict(np.log(own.prob)), abs=1e-4)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 4), st.floats(0.3, 5))
def test_temperature_changes_no_label_and_never_raises_the_loss(seed: int, classes: int, sharp: float) -> None:
    own = overconfident(np.random.default_rng(seed), 60, sharp=sharp, classes=classes)
    after = apply_calibration(fit_calibration(own), own)
    assert (after.prob.argmax(axis=1) == own.prob.argmax(axis=1)).all()
    assert image_loss(own.label, after.prob).mean() <= image_loss(own.label, own.prob).mean() + 1e-12
    assert after.prob.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_two_class_methods_lower_the_loss_and_keep_the_order(method: str) -> None:
    own = overconfident(np.random.default_rng(2), 900)
    after = apply_calibration(fit_calibration(own, method=method), own)
    assert image_loss(own.label, after.prob).mean() < image_loss(own.label, own.prob).mean()
    order = np.argsort(own.prob[:, 1])
    assert (np.diff(after.prob[order, 1]) >= 0).all()
    assert after.prob.min() > 0
    with pytest.raises(InputError, match="two classes"):
        fit_calibration(overconfident(np.random.default_rng(2), 30, classes=3), method=method)


def test_what_cannot_be_fitted_changes_nothing_and_says_so() -> None:
    one_class = table(np.array([[0.4, 0.6], [0.2, 0.8]]), np.array([1, 1]))
    found = fit_calibration(one_class)
    assert found.parameters == {"temperature": 1.0}
    assert found.threshold == 0.5
    assert found.qhat == float("inf")
    assert len(found.notes) == 3  # few patients, for sets too; one class, twice
    assert (apply_calibration(found, one_class).prob == one_class.prob).all()


def test_the_record_comes_back_as_it_was() -> None:
    for own in (overconfident(np.random.default_rng(3), 300), table(np.array([[0.4, 0.6]]), np.array([1]))):
        for method in ("temperature", "platt", "isotonic", "none"):
            found = fit_calibration(own, method=method)
            assert Calibration.from_record(json.loads(json.dumps(found.to_record()))) == found
    with pytest.raises(InputError, match="schema"):
        Calibration.from_record({"schema": "other/1"})


def test_what_is_frozen_does_not_know_the_test_labels() -> None:
    """Permuting test labels changes neither threshold nor temperature nor sets."""
    rng = np.random.default_rng(4)
    found = fit_calibration(overconfident(rng, 300))
    test = overconfident(rng, 100)
    shuffled = table(test.prob, rng.permutation(test.label), list(test.patient))
    assert (apply_calibration(found, test).prob == apply_calibration(found, shuffled).prob).all()


# ------------------------------------------------------------------------------------------------------ thresholds


def test_thresholds_by_hand() -> None:
    positive = np.array([False, False, False, True, True, True])
    prob = np.array([0.1, 0.2, 0.6, 0.4, 0.7, 0.9])
    # Youden: at 0.65 sensitivity 2/3 + specificity 1; at 0.3 1 + 2/3: both 5/3, and 0.65 is nearer to 0.5 than 0.3.
    assert choose_threshold(positive, prob, rule="youden") == (pytest.approx(0.65), "")
    assert choose_threshold(positive, prob, rule="sensitivity>=0.95")[0] == pytest.approx(0.3)
    assert choose_threshold(positive, prob, rule="specificity >= 0.95")[0] == pytest.approx(0.65)
    assert choose_threshold(positive, prob, rule="cost 5:1")[0] == pytest.approx(0.3)
    assert choose_threshold(positive, prob, rule="cost 1:5")[0] == pytest.approx(0.65)
    assert choose_threshold(positive, prob, rule="0.42") == (0.42, "")
    assert decide(prob, 0.65).tolist() == [False, False, False, False, True, True]


@pytest.mark.parametrize("rule", ["best", "sensitivity>=2", "cost 1:0", "1.5", "sensitivity<=0.9"])
def test_unknown_rules_are_refused(rule: str) -> None:
    with pytest.raises(InputError, match="needed: youden"):
        choose_threshold(np.array([True, False]), np.array([0.5, 0.4]), rule=rule)


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 0.8, 0.9, 0.95, 1.0]))
def test_a_rule_holds_on_the_images_it_was_chosen_on(seed: int, wanted: float) -> None:
    rng = np.random.default_rng(seed)
    positive = np.append(rng.random(30) < 0.4, [True, False])
    prob = np.round(rng.random(32), 2)
    at, _ = choose_threshold(positive, prob, rule=f"sensitivity>={wanted}")
    assert decide(prob, at)[positive].mean() >= wanted - 1e-12


# ------------------------------------------------------------------------------------------------------- conformal


def test_weighted_quantile_counts_patients_not_images() -> None:
    # One patient with 100 images of score 0.9, three with one of 0.1: three of four patients are at 0.1.
    score = np.array([0.9] * 100 + [0.1] * 3)
    patient = ["big"] * 100 + ["x", "y", "z"]
    own = table(np.column_stack([1 - score, score]), np.zeros(103, dtype=int), patient)
    assert conformal_quantile(own, alpha=0.4) == pytest.approx(0.1)  # 3 of 5 weights reach 0.6
    assert conformal_quantile(own, alpha=0.2) == pytest.approx(0.9)  # 4 of 5 reach 0.8
    assert weighted_quantile(np.array([1.0]), np.array([0.5]), 0.6) == float("inf")


def test_sets_cover_an_image_of_a_new_patient_as_often_as_they_say() -> None:
    """400 draws of 30 validation patients of uneven size and their own difficulty, one image of a new patient each."""
    rng = np.random.default_rng(5)

    def patients(count: int) -> Predictions:
        size = rng.integers(1, 15, count)
        code = np.repeat(np.arange(count), size)
        shift = rng.normal(0, 1.0, count)[code]
        label = rng.integers(0, 2, len(code))
        p = 1 / (1 + np.exp(-((2 * label - 1) * 1.0 + shift * (2 * label - 1) + rng.normal(0, 0.5, len(code)))))
        return table(np.column_stack([1 - p, p]), label, [f"p{k}" for k in code])

    covered = []
    for _ in range(400):
        qhat = conformal_quantile(patients(30), alpha=0.2)
        new = patients(1)
        row = rng.integers(len(new))
        covered.append(prediction_sets(new.prob, qhat)[row, new.label[row]])
    assert np.mean(covered) >= 0.8 - 2 * np.sqrt(0.8 * 0.2 / 400)
    assert np.mean(covered) <= 0.93


def test_coverage_is_counted_over_patients() -> None:
    own = table(
        np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.55, 0.45]]),
        np.array([0, 0, 0, 1]),
        ["p", "p", "p", "q"],
        ["s", "s", "s", "t"],
    )
    sets = prediction_sets(own.prob, 0.5)  # {a} {a} {b} {a}
    record = coverage_record([own], [sets], alpha=0.1)
    assert record["covered"]["value"] == pytest.approx((2 / 3 + 0) / 2)
    assert record["covered"]["patients"] == 2
    assert record["single"] == 1
    assert record["accuracy_single"] == pytest.approx(0.5)
    assert record["by_site"]["t"]["value"] == 0
    assert record["by_class"]["a"]["value"] == pytest.approx(2 / 3)
    assert coverage_record([own], [prediction_sets(own.prob, 1.0)], alpha=0.1)["several"] == 1
    assert coverage_record([own], [prediction_sets(own.prob, 0.1)], alpha=0.1)["empty"] == pytest.approx(0.75)


# ----------------------------------------------------------------------------------------------------- reliability


def test_bins_are_closed_on_the_right() -> None:
    assert bin_of(np.array([0.0, 0.1, 0.2, 0.2001, 1.0]), 5).tolist() == [0, 0, 0, 1, 4]


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 20))
def test_the_parts_of_brier_add_up(seed: int, bins: int) -> None:
    rng = np.random.default_rng(seed)
    p, positive = rng.random(50), rng.random(50) < 0.4
    own = brier_parts(p, positive, bins=bins)
    assert own["brier"] == pytest.approx(own["reliability"] - own["resolution"] + own["uncertainty"] + own["within"])
    assert own["brier"] == pytest.approx(((p - positive) ** 2).mean())


def test_slope_and_intercept_agree_with_a_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    own = overconfident(np.random.default_rng(6), 2000)
    odds = np.log(own.prob[:, 1] / own.prob[:, 0])
    other = LogisticRegression(C=1e10, tol=1e-10).fit(odds[:, None], own.label)
    slope, intercept = logistic_recalibration(own.prob[:, 1], own.label == 1)
    assert slope == pytest.approx(other.coef_[0, 0], abs=1e-3)
    assert intercept == pytest.approx(other.intercept_[0], abs=1e-3)
    assert slope == pytest.approx(1 / 3, abs=0.05)


def test_bands_widen_when_images_belong_to_few_patients() -> None:
    rng = np.random.default_rng(7)
    own = overconfident(rng, 600)
    alone = table(own.prob, own.label, [f"q{k}" for k in range(600)])
    # Ten patients, each with images that are alike in being right or wrong.
    order = np.argsort((own.prob[:, 1] > 0.5) == own.label, kind="stable")
    few = table(own.prob[order], own.label[order], [f"p{k // 60}" for k in range(600)])

    def width(record: dict) -> float:  # type: ignore[type-arg]
        return record["brier"]["high"] - record["brier"]["low"]

    assert width(reliability_record([few])) > 2 * width(reliability_record([alone]))
    record = reliability_record([own, own])
    assert record["ece"]["name"] == "ece_positive_10"
    assert sum(row["n"] for row in record["bins"]) == 1200
    assert record["ece"]["low"] <= record["ece"]["value"] * 1.2
    assert reliability_record([overconfident(rng, 90, classes=3)])["kind"] == "confidence"


def test_few_patients_who_are_all_right_do_not_make_the_model_sure_of_itself() -> None:
    """Three patients of whom every image is right: the loss alone would ask for a temperature of 0."""
    prob = np.tile([[0.2, 0.8], [0.7, 0.3]], (6, 1))
    own = Predictions(
        image=tuple(map(str, range(12))), patient=tuple("aaaabbbbcccc"), slide=("",) * 12, site=("",) * 12,
        label=np.tile([1, 0], 6), prob=prob, classes=("benign", "malignant"),
    )  # fmt: skip
    temperature = fit_calibration(own).parameters["temperature"]
    assert 0.4 < temperature < 1
    before, after = (
        image_loss(own.label, table.prob).mean() for table in (own, apply_calibration(fit_calibration(own), own))
    )
    assert after < before
