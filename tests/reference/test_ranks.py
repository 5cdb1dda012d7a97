"""Friedman's test, Nemenyi's distance and Wilcoxon's statistic against scipy."""

import numpy as np
import pytest
from published_tests import friedman, wilcoxon_statistic
from scipy import stats


def test_friedman_is_scipys_and_iman_davenports_f_follows() -> None:
    values = np.random.default_rng(0).normal(size=(9, 4)) + np.arange(4) / 3
    ranks = stats.rankdata(values, axis=1).mean(axis=0)
    found = friedman(ranks.tolist(), 9)
    expected = stats.friedmanchisquare(*values.T).statistic
    assert found.chi2 == pytest.approx(expected)
    assert found.f == pytest.approx(8 * expected / (27 - expected))
    assert found.p == pytest.approx(stats.f.sf(found.f, 3, 24))
    assert found.f_critical == pytest.approx(stats.f.ppf(0.95, 3, 24))
    q = stats.studentized_range.ppf(0.95, 4, np.inf) / np.sqrt(2)
    assert found.critical_difference == pytest.approx(q * np.sqrt(20 / 54))
    assert found == friedman(ranks.tolist(), 9, alpha=0.05)
    looser = friedman(ranks.tolist(), 9, alpha=0.2)
    assert looser.critical_difference < found.critical_difference and looser.f_critical < found.f_critical


def test_perfect_agreement_of_all_data_sets_is_an_infinite_f() -> None:
    found = friedman([1, 2], 2)
    assert (found.chi2, found.f, found.p) == (2.0, np.inf, 0.0)


@pytest.mark.parametrize(("ranks", "sets"), [([1.0], 5), ([1.5, 1.5], 1)])
def test_one_procedure_or_data_set_is_refused(ranks: list[float], sets: int) -> None:
    with pytest.raises(
        ValueError, match=f"^{len(ranks)} procedures on {sets} data sets; at least 2 of each are needed"
    ):
        friedman(ranks, sets)


@pytest.mark.parametrize("seed", range(4))
def test_wilcoxon_is_scipys_with_split_zeros(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 5, 12) / 10, rng.integers(0, 5, 12) / 10
    assert (a == b).any()
    assert (
        wilcoxon_statistic(a.tolist(), b.tolist())
        == stats.wilcoxon(np.round(a - b, 12), zero_method="zsplit", method="asymptotic").statistic
    )


def test_rounding_noise_is_no_difference() -> None:
    """0.3 - 0.1 - 0.2 is -3e-17; ranks 1.5 and 1.5 of nothing are shared, 3 is that of the one true difference."""
    assert wilcoxon_statistic([0.3 - 0.1, 0.5, 0.7], [0.2, 0.5, 0.4]) == 1.5
