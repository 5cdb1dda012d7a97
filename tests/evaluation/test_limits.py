"""Limits on the scale on which a score has no walls, against the delta method written out."""

import math

import pytest

from counterstain.evaluation.intervals import limits


@pytest.mark.parametrize("value", [-0.8, 0.0, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("half", [0.01, 0.2])
def test_mcc_on_fishers_scale(value: float, half: float) -> None:
    """d artanh(r)/dr = 1 / (1 - r²)."""
    low, high = limits(value, half, "mcc")
    step = half / (1 - value * value)
    assert low == pytest.approx(math.tanh(math.atanh(value) - step), rel=1e-12)
    assert high == pytest.approx(math.tanh(math.atanh(value) + step), rel=1e-12)


@pytest.mark.parametrize("metric", ["mcc", "accuracy", "brier", "loss"])
def test_a_small_error_is_kept_as_it_is(metric: str) -> None:
    """Whatever the scale, its slope cancels where the step is small: the limits are value ± half."""
    for value in (0.1, 0.5, 0.9):
        low, high = limits(value, 1e-6, metric)
        assert (value - low, high - value) == pytest.approx((1e-6, 1e-6), rel=1e-4), value


def test_shares_on_the_logit_scale() -> None:
    """0.8 has the logit ln 4; its slope is 1 / (0.8 · 0.2), so that half = 0.16 ln 2 doubles or halves the odds."""
    assert limits(0.8, 0.16 * math.log(2), "accuracy") == pytest.approx((2 / 3, 8 / 9), rel=1e-12)
    assert limits(0.2, 0.16 * math.log(2), "auroc") == pytest.approx((1 / 9, 1 / 3), rel=1e-12)
    assert limits(0.8, 0.16 * math.log(2), "brier") == pytest.approx((2 / 3, 8 / 9), rel=1e-12)


def test_the_loss_and_a_large_brier_score_on_the_logarithm() -> None:
    for metric, value in (("loss", 0.7), ("loss", 3.0), ("brier", 1.0)):
        assert limits(value, value * math.log(2), metric) == pytest.approx((value / 2, value * 2), rel=1e-12)
    assert limits(1.6, 1.6 * math.log(2), "brier") == pytest.approx((0.8, 2), rel=1e-12)  # there is no larger one


@pytest.mark.parametrize(
    ("value", "metric"), [(0.0, "accuracy"), (1.0, "accuracy"), (1.0, "mcc"), (-1.0, "mcc"), (0.0, "loss")]
)
def test_at_the_wall_there_is_no_scale(value: float, metric: str) -> None:
    assert limits(value, 0.1, metric) == (value, value)
