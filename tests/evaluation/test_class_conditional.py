"""Prediction sets by class (Mondrian): their quantiles by hand, their promise by simulation, their record."""

import json
from collections.abc import Callable

import numpy as np
import pytest

from counterstain.errors import InputError
from counterstain.evaluation.calibration import Calibration, fit_calibration, training_seen_words, use_warnings
from counterstain.evaluation.conformal import class_quantiles, conformal_quantile, coverage_record, prediction_sets
from counterstain.evaluation.predictions import Predictions


def lopsided(make_table: Callable[..., Predictions], rng: np.random.Generator, patients: int) -> Predictions:
    """A fifth of the patients positive, and those harder; one to six images each, alike within a patient."""
    each = rng.integers(1, 7, size=patients)
    code = np.repeat(np.arange(patients), each)
    label = (rng.random(patients) < 0.2).astype(int)[code]
    own = rng.normal(scale=0.8, size=patients)[code] + rng.normal(scale=0.6, size=len(code))
    z = np.where(label == 1, 0.2, -1.6) + own
    return make_table(label, 1 / (1 + np.exp(-z)), [f"p{c}" for c in code])


def test_quantiles_by_hand(make_table: Callable[..., Predictions]) -> None:
    """One image per patient, alpha 0.5: the second smallest of three scores (k = 4 * 0.5), of each class by itself.

    Scores 1 - p(true): benign 0.1, 0.2, 0.6; malignant 0.3, 0.4, 0.7.
    """
    table = make_table([0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.6, 0.7, 0.6, 0.3])
    assert class_quantiles(table, alpha=0.5) == pytest.approx((0.2, 0.4))
    # Together: the fourth of six, k = ceil(7 * 0.5).
    assert conformal_quantile(table, alpha=0.5) == pytest.approx(0.4)
    assert class_quantiles(table, alpha=0.1) == (float("inf"), float("inf"))


def test_a_class_that_is_not_there_always_stays_in(make_table: Callable[..., Predictions]) -> None:
    table = make_table([0] * 12, np.linspace(0.05, 0.3, 12))
    quantiles = class_quantiles(table, alpha=0.1)
    assert np.isfinite(quantiles[0])
    assert quantiles[1] == float("inf")
    assert prediction_sets(np.array([[0.999, 0.001]]), quantiles).tolist() == [[True, True]]


def test_every_class_is_covered_where_marginal_sets_leave_the_rarer_out(make_table: Callable[..., Predictions]) -> None:
    """150 draws of 100 validation and 100 test patients, alpha 0.2: coverage of an image drawn from each patient."""
    rng = np.random.default_rng(0)
    covered: dict[str, list[float]] = {"marginal": [], "class": [], "benign": []}
    for _ in range(150):
        validation, test = (lopsided(make_table, rng, 100) for _ in range(2))
        marginal = prediction_sets(test.prob, conformal_quantile(validation, alpha=0.2))
        by_class = prediction_sets(test.prob, class_quantiles(validation, alpha=0.2))
        for name, sets in (("marginal", marginal), ("class", by_class)):
            covered[name].append(coverage_record([test], [sets], alpha=0.2)["by_class"]["malignant"]["value"])
        covered["benign"].append(coverage_record([test], [by_class], alpha=0.2)["by_class"]["benign"]["value"])
    mean = {name: float(np.mean(values)) for name, values in covered.items()}
    assert mean["marginal"] < 0.6
    assert 0.79 <= mean["class"] < 0.88
    assert 0.79 <= mean["benign"] < 0.84


def test_the_record_comes_back_with_sets_by_class(make_table: Callable[..., Predictions]) -> None:
    rng = np.random.default_rng(1)
    for patients in (200, 8):
        found = fit_calibration(lopsided(make_table, rng, patients), conformal="class")
        assert Calibration.from_record(json.loads(json.dumps(found.to_record()))) == found
        assert len(found.quantiles) == 2
        assert found.qhat == max(found.qhat_by_class)


def test_a_record_of_an_earlier_version_has_marginal_sets(make_table: Callable[..., Predictions]) -> None:
    found = fit_calibration(lopsided(make_table, np.random.default_rng(2), 100))
    old = {
        name: value for name, value in found.to_record().items() if name not in ("conformal", "qhat_by_class", "stated")
    }
    read = Calibration.from_record(old)
    assert read.conformal == "marginal"
    assert read.quantiles == (found.qhat, found.qhat)
    assert read.stated == {}


def test_too_few_of_a_class_is_said(make_table: Callable[..., Predictions]) -> None:
    table = make_table([0] * 20 + [1] * 3, [0.2] * 20 + [0.7] * 3)
    notes = fit_calibration(table, conformal="class").notes
    assert (
        "too few validation images have 'malignant' for prediction sets that may miss 10%; it is never ruled out"
        in notes
    )


def test_an_unknown_kind_is_refused(make_table: Callable[..., Predictions]) -> None:
    with pytest.raises(InputError, match="did you mean 'marginal'"):
        fit_calibration(make_table([0, 1], [0.2, 0.8]), conformal="marginals")


def test_what_the_threshold_gave_is_stated(make_table: Callable[..., Predictions]) -> None:
    """At 0.5: two of three positives are called, three of four negatives are not."""
    table = make_table([1, 1, 1, 0, 0, 0, 0], [0.9, 0.6, 0.3, 0.1, 0.2, 0.3, 0.7])
    stated = fit_calibration(table, method="none", threshold="0.5").stated
    assert stated["sensitivity"] == pytest.approx(2 / 3)
    assert stated["specificity"] == pytest.approx(3 / 4)
    assert stated["ece"]["name"] == "ece_positive_10"


def test_an_image_level_study_warns_wherever_its_calibration_is_used(make_table: Callable[..., Predictions]) -> None:
    found = fit_calibration(lopsided(make_table, np.random.default_rng(3), 60))
    assert training_seen_words("image-level") in use_warnings(found, "image-level: patients are unknown or ignored")
    assert use_warnings(found, "") == found.notes
