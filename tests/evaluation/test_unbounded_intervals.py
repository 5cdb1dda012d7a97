"""Intervals of ratios and slopes: the textbook's t-interval on the stated scale, and none where none is known."""

import numpy as np
import pytest
from scipy import stats

from counterstain.evaluation.unbounded_intervals import open_interval

X = np.array([2.0, 5.0, 3.0, 8.0, 7.0])  # mean 5, the jackknife of which has the error of the mean


def left_out(x: np.ndarray) -> np.ndarray:
    return ((x.sum() - x) / (len(x) - 1))[None, :]


def test_a_mean_has_students_interval() -> None:
    found = open_interval(np.array([5.0]), left_out(X), 4.0, scale="plain", confidence=0.9)
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.9, 4, loc=5, scale=stats.sem(X)))
    assert (found.value, found.per_seed, found.df) == (5.0, (5.0,), 4.0)
    assert (found.se_patient, found.se_seed) == pytest.approx((stats.sem(X), 0))
    usual = open_interval(np.array([5.0]), left_out(X), 4.0, scale="plain")
    assert (usual.low, usual.high) == pytest.approx(stats.t.interval(0.95, 4, loc=5, scale=stats.sem(X)))


def test_a_ratio_has_it_on_the_logarithm() -> None:
    """By the delta method the error of ln v is that of v over v."""
    found = open_interval(np.array([5.0]), left_out(X), 4.0, scale="log")
    ends = stats.t.interval(0.95, 4, loc=np.log(5), scale=stats.sem(X) / 5)
    assert (found.low, found.high) == pytest.approx(tuple(np.exp(ends)))


def test_the_spread_over_seeds_is_added() -> None:
    """Two seeds at 4 and 6: variance of their mean 2 / 2 = 1, beside that of the patients."""
    both = np.concatenate([left_out(X - 1), left_out(X + 1)])
    found = open_interval(np.array([4.0, 6.0]), both, 4.0, scale="plain")
    assert (found.value, found.per_seed) == (5.0, (4.0, 6.0))
    assert (found.se_patient, found.se_seed) == pytest.approx((stats.sem(X), 1.0))
    patient = stats.sem(X) ** 2
    df = (patient + 1) ** 2 / (patient**2 / 4 + 1**2 / 1)  # Satterthwaite
    assert found.df == pytest.approx(df)
    assert found.high - found.value == pytest.approx(stats.t.ppf(0.975, df) * np.sqrt(patient + 1))


@pytest.mark.parametrize(
    ("values", "out", "scale"),
    [
        ([np.nan], left_out(X), "plain"),
        ([np.inf], left_out(X), "plain"),
        ([5.0], np.array([[4.0, np.nan, 5.0]]), "plain"),
        ([5.0], np.array([[5.0]]), "plain"),
        ([0.0], left_out(X), "log"),
        ([-1.0], left_out(X), "log"),
    ],
)
def test_what_is_undefined_has_no_interval(values: list[float], out: np.ndarray, scale: str) -> None:
    found = open_interval(np.array(values), out, 4.0, scale=scale)  # type: ignore[arg-type]
    assert found.value == pytest.approx(values[0], nan_ok=True)
    assert np.isnan([found.low, found.high, found.se_patient, found.se_seed, found.df]).all()


def test_a_negative_number_has_one_on_the_plain_scale() -> None:
    found = open_interval(np.array([-5.0]), -left_out(X), 4.0, scale="plain")
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 4, loc=-5, scale=stats.sem(X)))


def test_what_no_patient_moves_is_not_certain() -> None:
    found = open_interval(np.array([5.0]), np.full((1, 5), 5.0), 4.0, scale="plain")
    assert (found.value, found.se_patient, found.se_seed) == (5.0, 0.0, 0.0)
    assert np.isnan([found.low, found.high, found.df]).all()
