"""The chance that a ranking is false, and the patients that a named difference needs: by hand and by simulation."""

import numpy as np
import pytest
from scipy.stats import norm

from counterstain.errors import InputError
from counterstain.evaluation.ranking import chance_not_best
from counterstain.evaluation.sample_size import patients_needed


def test_two_arms_are_the_normal_posterior_where_the_error_is_known() -> None:
    # N(0, 0.05^2) prior, lead 0.03 with error 0.015: mean 0.03 * w, variance 0.0025 (1 - w), w = 0.0025 / 0.002725.
    weight = 0.05**2 / (0.05**2 + 0.015**2)
    by_hand = norm.cdf(-0.03 * weight / (0.05 * np.sqrt(1 - weight)))
    assert chance_not_best([0.03], np.array([[0.015**2]]), df=1e7, prior_sd=0.05) == pytest.approx(by_hand, abs=2e-4)


def test_the_prior_and_the_number_of_arms_make_it_sceptical() -> None:
    error = np.array([[0.02**2]])
    chances = [chance_not_best([0.03], error, df=30, prior_sd=sd) for sd in (0.01, 0.03, 0.1)]
    assert chances == sorted(chances, reverse=True)
    assert chance_not_best([0.0], error, df=30) == pytest.approx(0.5)
    two = chance_not_best([0.03], error, df=30)
    six = chance_not_best([0.03] * 5, 0.02**2 * (np.eye(5) + 1) / 2, df=30)
    assert six > two
    assert np.isnan(chance_not_best([0.0], np.zeros((1, 1)), df=30))


@pytest.mark.parametrize(("arms", "sd"), [(2, 0.02), (2, 0.08), (6, 0.04)])
def test_it_is_calibrated_where_the_prior_is_right(sd: float, arms: int) -> None:
    """Studies with errors of 0.03 from 25 patients; benchmarks/ranking_chance.py has whole studies."""
    rng = np.random.default_rng(3)
    stated, false = [], []
    for _ in range(600 if arms == 2 else 150):
        true = rng.normal(0, sd / np.sqrt(2), arms)
        each = true + rng.normal(0, 0.03, (25, arms)) * 5
        value, covariance = each.mean(axis=0), np.cov(each.T) / 25
        order = np.argsort(-value)
        contrast = np.hstack([np.ones((arms - 1, 1)), -np.eye(arms - 1)])
        covariance = contrast @ covariance[np.ix_(order, order)] @ contrast.T
        stated.append(chance_not_best(contrast @ value[order], covariance, df=24, prior_sd=sd))
        false.append(true[order[0]] < true.max())
    assert np.mean(stated) == pytest.approx(np.mean(false), abs=0.04 if arms == 2 else 0.08)


def test_patients_needed_by_hand() -> None:
    # 80 % power at alpha 0.05 needs (1.96 + 0.84)^2 = 7.85 times variance over difference squared: 30 * 7.85 = 235.
    found = patients_needed(0.02, se_patient=0.02, se_seed=0.0, df=1e6, units=30)
    assert found is not None
    assert found.patients == 236
    assert patients_needed(0.02, se_patient=0.02, se_seed=0.0, df=29, units=30, tests=10).patients > 1.5 * 236  # type: ignore[union-attr]
    hidden = patients_needed(0.02, se_patient=0.02, se_seed=0.02, df=29, units=30)
    assert (hidden.patients, hidden.high) == (None, None)  # type: ignore[union-attr]
    assert patients_needed(0.02, se_patient=0.0, se_seed=0.0, df=29, units=30) is None
    with pytest.raises(InputError, match="detect is 0"):
        patients_needed(0.0, se_patient=0.1, se_seed=0.0, df=29, units=30)


def test_the_range_holds_the_true_number_as_often_as_it_says() -> None:
    """Pilots of 20 patients from a normal distribution: the number at the true variance lies in 90 % of the ranges."""
    rng = np.random.default_rng(0)
    truth = patients_needed(0.02, se_patient=0.1 / np.sqrt(20), se_seed=0.0, df=1e6, units=20)
    assert truth is not None
    assert truth.patients is not None
    inside = 0
    for _ in range(2000):
        se = float(rng.normal(0, 0.1, 20).std(ddof=1) / np.sqrt(20))
        found = patients_needed(0.02, se_patient=se, se_seed=0.0, df=19, units=20)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= truth.patients <= found.high
    assert inside / 2000 == pytest.approx(0.9, abs=0.02)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("error", [1e-20, 1e-12, 1e-6])
@pytest.mark.parametrize("lead", [-0.1, 0.1])
def test_an_error_that_is_nothing_beside_the_prior_leaves_no_doubt(error: float, lead: float) -> None:
    expected = 0.0 if lead > 0 else 1.0
    assert chance_not_best([lead], np.array([[error**2]]), df=19, prior_sd=0.05) == pytest.approx(expected, abs=1e-9)
