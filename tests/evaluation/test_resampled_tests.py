"""Tests over folds and seeds, equivalence and sample sizes: sums by hand, scipy, and the edges without a spread."""

import math
from typing import Any

import numpy as np
import pytest
from published_tests import five_by_two_f, five_by_two_t, mcnemar_sample_size, probability_of_false_claim, tost_paired
from scipy import stats

from counterstain.evaluation.resampled_tests import bayesian_correlated_t, corrected_resampled_t

DELTA = [0.02, 0.05, -0.01, 0.04]  # mean 0.025, variance 0.0021/3 = 0.0007


def test_the_corrected_t_by_hand() -> None:
    """With a test part a quarter of the training part: 0.0007 (1/4 + 1/4) = 0.00035."""
    found = corrected_resampled_t(DELTA, n_train=80, n_test=20, confidence=0.9)
    assert (found.mean, found.se, found.df) == pytest.approx((0.025, math.sqrt(0.00035), 3))
    assert found.t == pytest.approx(0.025 / math.sqrt(0.00035))
    assert found.p == pytest.approx(2 * stats.t.sf(found.t, 3))
    assert (found.naive_t, found.naive_p) == pytest.approx(tuple(stats.ttest_1samp(DELTA, 0)))
    half = stats.t.ppf(0.95, 3) * found.se
    assert (found.low, found.high) == pytest.approx((0.025 - half, 0.025 + half))
    usual = corrected_resampled_t(DELTA, n_train=80, n_test=20)
    assert usual.high - usual.mean == pytest.approx(stats.t.ppf(0.975, 3) * found.se)


def test_two_differences_are_enough_and_one_is_not() -> None:
    assert corrected_resampled_t([0.0, 0.02], n_train=1, n_test=1).df == 1
    for call in (lambda: corrected_resampled_t([0.1], n_train=1, n_test=1), lambda: tost_paired([0.1], margin=0.1)):
        with pytest.raises(ValueError, match=r"^1 difference was given; at least 2 are needed for a spread$"):
            call()


def test_differences_that_are_all_alike() -> None:
    none = corrected_resampled_t([0.0, 0.0, 0.0], n_train=2, n_test=1)
    assert (none.t, none.p, none.naive_t, none.naive_p, none.low, none.high) == (0, 1, 0, 1, 0, 0)
    same = corrected_resampled_t([-0.5, -0.5], n_train=2, n_test=1)
    assert (same.t, same.p) == (-math.inf, 0)
    assert bayesian_correlated_t([0.5, 0.5], n_train=2, n_test=1, rope=0.5) == (0, 1, 0)
    assert bayesian_correlated_t([-0.5, -0.5], n_train=2, n_test=1, rope=0.5) == (0, 1, 0)
    assert bayesian_correlated_t([0.5, 0.5], n_train=2, n_test=1, rope=0.25) == (0, 0, 1)
    assert bayesian_correlated_t([-0.5, -0.5], n_train=2, n_test=1, rope=0.25) == (1, 0, 0)
    assert bayesian_correlated_t([0.0, 0.0], n_train=2, n_test=1) == (0, 1, 0)


def test_the_posterior_is_a_t_around_the_mean() -> None:
    found = bayesian_correlated_t(DELTA, n_train=80, n_test=20, rope=0.01)
    posterior = stats.t(3, loc=0.025, scale=math.sqrt(0.00035))
    assert found == pytest.approx(
        (posterior.cdf(-0.01), posterior.cdf(0.01) - posterior.cdf(-0.01), posterior.sf(0.01)), rel=1e-9
    )
    assert sum(found) == pytest.approx(1)
    low, within, high = bayesian_correlated_t(DELTA, n_train=80, n_test=20)
    assert (low, within) == pytest.approx((posterior.cdf(0), 0), abs=1e-12)
    assert high == pytest.approx(posterior.sf(0))
    with pytest.raises(ValueError, match=r"^rope is -0\.1; a half-width of at least 0 is needed$"):
        bayesian_correlated_t(DELTA, n_train=1, n_test=1, rope=-0.1)


FOLDS = [[0.04, 0.02], [0.01, -0.01], [0.03, 0.03], [0.0, 0.02], [-0.02, 0.02]]


def test_five_times_two_by_hand() -> None:
    """Variances of the pairs: 0.0002, 0.0002, 0, 0.0002, 0.0008; mean 0.00028, sum 0.0014; squares sum to 0.0052."""
    t = 0.04 / math.sqrt(0.00028)
    assert five_by_two_t(FOLDS) == pytest.approx((t, 2 * stats.t.sf(t, 5)))
    f = 0.0052 / 0.0028
    assert five_by_two_f(FOLDS) == pytest.approx((f, stats.f.sf(f, 10, 5)))


def test_five_times_two_without_a_spread() -> None:
    assert five_by_two_t([[0.0, 0.0]] * 5) == (0, 1)
    assert five_by_two_t([[0.1, 0.1]] * 5) == (math.inf, 0)
    assert five_by_two_f([[0.0, 0.0]] * 5) == (0, 1)
    assert five_by_two_f([[0.1, 0.1]] * 5) == (math.inf, 0)
    for shape in ((4, 2), (5, 3)):
        with pytest.raises(ValueError, match=r"^differences have shape \(\d, \d\); \(5, 2\) is needed"):
            five_by_two_t(np.zeros(shape).tolist())


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_two_one_sided_tests_are_scipys(alpha: float) -> None:
    found = tost_paired(DELTA, margin=0.06, alpha=alpha)
    assert found.p_low == pytest.approx(stats.ttest_1samp(DELTA, -0.06, alternative="greater").pvalue)
    assert found.p_high == pytest.approx(stats.ttest_1samp(DELTA, 0.06, alternative="less").pvalue)
    assert found.p == max(found.p_low, found.p_high)
    assert (found.mean, found.se, found.df) == pytest.approx((0.025, math.sqrt(0.0007 / 4), 3))
    half = stats.t.ppf(1 - alpha, 3) * found.se
    assert (found.low, found.high) == pytest.approx((0.025 - half, 0.025 + half))
    assert tost_paired(DELTA, margin=0.06) == tost_paired(DELTA, margin=0.06, alpha=0.05)


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0, (0, 0)), (0.1, (0, 1)), (-0.1, (1, 0)), (0.2, (0, 1)), (-0.2, (1, 0))]
)
def test_tost_without_a_spread_is_decided_by_the_mean(value: float, expected: tuple[float, float]) -> None:
    """At the margin itself equivalence isn't shown."""
    found = tost_paired([value, value], margin=0.1)
    assert (found.p_low, found.p_high) == expected
    assert found.p == max(expected)
    assert (found.mean, found.low, found.high, found.se, found.df) == (value, value, value, 0, 1)


@pytest.mark.parametrize("margin", [0.0, -0.1])
def test_a_margin_of_nothing_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match=f"^margin is {margin}; a difference above 0 that would not matter is needed$"):
        tost_paired(DELTA, margin=margin)


def test_a_false_claim_is_a_beta_below_one_half() -> None:
    """0.05 and 0.03 of 100 alone: a posterior Beta(6, 4) of the share of a's wins."""
    assert probability_of_false_claim(0.9, 0.88, 100, 0.85) == pytest.approx(stats.beta.cdf(0.5, 6, 4))
    assert probability_of_false_claim(0.8, 0.8, 50, 0.8) == pytest.approx(0.5)
    assert probability_of_false_claim(0.6, 0.5, 20, 0.1) == pytest.approx(stats.beta.cdf(0.5, 11, 9))


@pytest.mark.parametrize(("both", "between"), [(0.9, "0.5 and 0.7"), (0.4, "0.5 and 0.7")])
def test_what_both_have_right_lies_between_its_limits(both: float, between: str) -> None:
    with pytest.raises(ValueError, match=f"^both_right is {both}; with accuracies 0.8 and 0.7 it lies between"):
        probability_of_false_claim(0.8, 0.7, 10, both)
    for edge in (0.5, 0.7):
        assert 0 < probability_of_false_claim(0.8, 0.7, 10, edge) < 1


@pytest.mark.parametrize("settings", [{}, {"power": 0.9}, {"alpha": 0.01}, {"power": 0.5, "alpha": 0.1}])
def test_sample_size_is_connors(settings: dict[str, Any]) -> None:
    power, alpha = settings.get("power", 0.8), settings.get("alpha", 0.05)
    z, w = stats.norm.ppf(1 - alpha / 2), stats.norm.ppf(power)
    n = (z * math.sqrt(0.16) + w * math.sqrt(0.16 - 0.04**2)) ** 2 / 0.04**2
    assert mcnemar_sample_size(0.1, 0.06, **settings) == round(n)
    assert mcnemar_sample_size(0.06, 0.1, **settings) == round(n)
    with pytest.raises(ValueError, match=r"^both shares are 0\.1; no number of images settles a difference of 0$"):
        mcnemar_sample_size(0.1, 0.1, **settings)
