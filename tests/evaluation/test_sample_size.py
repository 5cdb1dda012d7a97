"""Patients needed for a named difference: the t-test's own equation holds at the number given, not below."""

import math

import pytest
from scipy.stats import chi2, t

from counterstain.errors import InputError
from counterstain.evaluation.sample_size import patients_needed


def reach(patients: int, patient: float, seed: float, df: float, units: int, alpha: float) -> float:
    """The difference that `patients` find with 80 % power, degrees of freedom growing in proportion."""
    freedom = max(df * patients / units, 2.0)
    return (t.ppf(1 - alpha / 2, freedom) + t.ppf(0.8, freedom)) * math.sqrt(patient * units / patients + seed)


@pytest.mark.parametrize("detect", [0.02, 0.05])
@pytest.mark.parametrize("se_seed", [0.0, 0.004])
@pytest.mark.parametrize(("df", "units"), [(29.0, 30), (7.5, 30), (180.0, 200)])
@pytest.mark.parametrize(("alpha", "tests"), [(0.05, 1), (0.05, 3), (0.1, 1)])
def test_the_number_finds_the_difference_and_one_fewer_does_not(
    detect: float, se_seed: float, df: float, units: int, alpha: float, tests: int
) -> None:
    found = patients_needed(detect, se_patient=0.02, se_seed=se_seed, df=df, units=units, alpha=alpha, tests=tests)
    assert found is not None
    assert (found.detect, found.tests) == (detect, tests)
    chi = {"patients": df, "low": chi2.ppf(0.95, df), "high": chi2.ppf(0.05, df)}
    for name, quantile in chi.items():
        number, variance = getattr(found, name), 0.0004 * df / quantile
        asked = (variance, se_seed**2, df, units, alpha / tests)
        assert reach(number, *asked) <= detect * (1 + 1e-4), name
        if df * (number - 1) / units > 2:  # below, the degrees of freedom are held at 2
            assert reach(number - 1, *asked) > detect * (1 - 1e-4), name
    assert found.low is not None
    assert found.patients is not None
    assert found.high is not None
    assert found.low <= found.patients <= found.high


def test_seeds_alone_can_forbid_it() -> None:
    """A spread over seeds that no number of patients shrinks: none is enough, and near it only the range's end is."""
    found = patients_needed(0.02, se_patient=0.02, se_seed=0.01, df=29, units=30)
    assert found is not None
    assert (found.patients, found.low, found.high) == (None, None, None)


@pytest.mark.parametrize("se", [0.0, -1.0, float("nan"), float("inf")])
def test_a_pilot_without_variance_says_nothing(se: float) -> None:
    assert patients_needed(0.02, se_patient=se, se_seed=0.0, df=29, units=30) is None


def test_one_degree_of_freedom_is_enough_and_none_is_not() -> None:
    assert patients_needed(0.02, se_patient=0.02, se_seed=0.0, df=1.0, units=3) is not None
    for df in (0.0, float("nan")):
        assert patients_needed(0.02, se_patient=0.02, se_seed=0.0, df=df, units=3) is None


def test_a_tiny_error_still_needs_two_patients() -> None:
    found = patients_needed(0.5, se_patient=0.001, se_seed=0.0, df=29, units=30)
    assert found is not None
    assert (found.low, found.patients, found.high) == (2, 2, 2)


@pytest.mark.parametrize("detect", [0.0, -0.02, float("nan")])
def test_a_difference_that_is_none_is_refused(detect: float) -> None:
    with pytest.raises(InputError, match=rf"^detect is {detect}; a difference above 0 was needed"):
        patients_needed(detect, se_patient=0.02, se_seed=0.0, df=29, units=30)
