"""Intervals of shares, agreement and exchanges, against scipy, statsmodels' formulas and sums by hand."""

import math

import numpy as np
import pytest
from scipy import stats
from shares import agresti_caffo, cohen_kappa, miettinen_nurminen, newcombe, permutation_p, wald_difference

from counterstain.evaluation.proportions import clopper_pearson, wilson

SHARES = [(0, 5), (1, 5), (3, 7), (7, 7), (1, 1), (0, 1), (45, 50)]


@pytest.mark.parametrize(("hits", "n"), SHARES)
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_intervals_of_a_share_are_scipys(hits: int, n: int, confidence: float) -> None:
    for own, method in ((wilson, "wilson"), (clopper_pearson, "exact")):
        found = stats.binomtest(hits, n).proportion_ci(confidence, method=method)
        assert own(hits, n, confidence=confidence) == pytest.approx((found.low, found.high), abs=1e-9)
    for own in (wilson, clopper_pearson):
        assert own(hits, n) == own(hits, n, confidence=0.95)


def test_a_share_of_nothing_is_unknown() -> None:
    for own in (wilson, clopper_pearson):
        assert np.isnan(own(0, 0)).all() and np.isnan(own(0, -1)).all()
    assert wilson(0, 0.5)[0] == 0 and np.isfinite(wilson(0.5, 0.5)).all()
    assert clopper_pearson(0.5, 0.5) == pytest.approx((stats.beta.ppf(0.025, 0.5, 1), 1))


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize(("a", "b"), [((5, 10), (2, 8)), ((9, 10), (19, 20)), ((0, 4), (4, 4)), ((3, 9), (3, 9))])
def test_intervals_of_a_difference_by_their_formulas(a: tuple[int, int], b: tuple[int, int], confidence: float) -> None:
    """Wald, Wald after one hit and one miss are added, and Newcombe's square and add of Wilson's limits."""
    z = stats.norm.ppf(0.5 + confidence / 2)
    for own, added in ((wald_difference, 0), (agresti_caffo, 1)):
        (p, n), (q, m) = (((hits + added) / (all_ + 2 * added), all_ + 2 * added) for hits, all_ in (a, b))
        half = z * math.sqrt(p * (1 - p) / n + q * (1 - q) / m)
        assert own(*a, *b, confidence=confidence) == pytest.approx((p - q - half, p - q + half))
        assert own(*a, *b) == own(*a, *b, confidence=0.95)
    (low_a, high_a), (low_b, high_b) = (stats.binomtest(*s).proportion_ci(confidence, "wilson") for s in (a, b))
    p, q = a[0] / a[1], b[0] / b[1]
    below, above = math.hypot(p - low_a, high_b - q), math.hypot(high_a - p, q - low_b)
    assert newcombe(*a, *b, confidence=confidence) == pytest.approx((p - q - below, p - q + above))
    assert newcombe(*a, *b) == newcombe(*a, *b, confidence=0.95)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize(("a", "b"), [((5, 10), (2, 8)), ((9, 10), (19, 20)), ((30, 40), (10, 25)), ((1, 9), (8, 9))])
def test_miettinen_and_nurminens_limits_are_where_the_score_is_z(
    a: tuple[int, int], b: tuple[int, int], confidence: float
) -> None:
    """The most likely pair of shares at each limit is found by trying a hundred thousand."""
    (x, n), (y, m) = a, b
    low, high = miettinen_nurminen(*a, *b, confidence=confidence)
    assert low < x / n - y / m < high
    for limit, side in ((low, 1), (high, -1)):
        p = np.linspace(max(limit, 0) + 1e-7, min(1, 1 + limit) - 1e-7, 100_001)
        q = p - limit
        best = (x * np.log(p) + (n - x) * np.log1p(-p) + y * np.log(q) + (m - y) * np.log1p(-q)).argmax()
        variance = (p[best] * (1 - p[best]) / n + q[best] * (1 - q[best]) / m) * (n + m) / (n + m - 1)
        z = (x / n - y / m - limit) / math.sqrt(variance)
        assert z == pytest.approx(side * stats.norm.ppf(0.5 + confidence / 2), rel=1e-3)
    turned = miettinen_nurminen(*b, *a, confidence=confidence)
    assert turned == pytest.approx((-high, -low), abs=1e-9)
    assert miettinen_nurminen(*a, *b) == miettinen_nurminen(*a, *b, confidence=0.95)


def test_miettinen_and_nurminen_at_the_walls() -> None:
    """10 of 10 against 0 of 10: the upper limit is the wall itself, and turned round the lower one is."""
    low, high = miettinen_nurminen(10, 10, 0, 10)
    assert high == 1.0 and 0.5 < low < 0.9
    assert miettinen_nurminen(0, 10, 10, 10) == pytest.approx((-1.0, -low))
    low, high = miettinen_nurminen(0, 10, 0, 10)
    assert low == pytest.approx(-high) and 0.2 < high < 0.4


# ------------------------------------------------------------------------------------------------ agreement


def test_kappa_by_hand() -> None:
    """20 and 15 agree, 5 and 10 don't, of 50: seen 0.7, chance (25·30 + 25·20)/2500 = 0.5; kappa 0.4."""
    table = np.array([[20.0, 5], [10, 15]])
    found = cohen_kappa(table)
    assert found.kappa == pytest.approx(0.4)
    # Fleiss, Cohen & Everitt 1969, eq. 13, written out.
    p = table / 50
    rows, columns = p.sum(1), p.sum(0)
    a = sum(p[i, i] * (1 - (rows[i] + columns[i]) * 0.6) ** 2 for i in range(2))
    b = 0.6**2 * sum(p[i, j] * (columns[i] + rows[j]) ** 2 for i, j in ((0, 1), (1, 0)))
    se = math.sqrt((a + b - (0.4 - 0.5 * 0.6) ** 2) / 50) / 0.5
    assert found.se == pytest.approx(se)
    assert (found.low, found.high) == pytest.approx((0.4 - 1.959964 * se, 0.4 + 1.959964 * se))


@pytest.mark.parametrize(("weights", "power"), [("linear", 1), ("quadratic", 2)])
def test_weighted_kappa_is_disagreement_over_chance(weights: str, power: int) -> None:
    table = np.array([[11.0, 3, 1], [2, 9, 4], [0, 2, 8]])
    p = table / 40
    apart = np.abs(np.subtract.outer(np.arange(3), np.arange(3))) ** power
    expected = 1 - (apart * p).sum() / (apart * np.outer(p.sum(1), p.sum(0))).sum()
    assert cohen_kappa(table, weights=weights).kappa == pytest.approx(expected)


@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
def test_kappas_error_is_that_of_the_delta_method(weights: str) -> None:
    """The gradient by small steps: var = (Σ p g² - (Σ p g)²) / n."""
    table = np.array([[11.0, 3, 1], [2, 9, 4], [0, 2, 8]])
    n, gradient = table.sum(), np.zeros((3, 3))
    for cell in np.ndindex(3, 3):
        up, down = table.copy(), table.copy()
        up[cell] += 1e-4
        down[cell] -= 1e-4
        gradient[cell] = (cohen_kappa(up, weights=weights).kappa - cohen_kappa(down, weights=weights).kappa) / 2e-4 * n
    p = table / n
    variance = ((p * gradient**2).sum() - (p * gradient).sum() ** 2) / n
    assert cohen_kappa(table, weights=weights).se == pytest.approx(math.sqrt(variance), rel=1e-6)


def test_two_readers_who_use_one_class_have_no_kappa() -> None:
    found = cohen_kappa(np.array([[7.0, 0], [0, 0]]))
    assert np.isnan([found.kappa, found.se, found.low, found.high]).all()
    whole = cohen_kappa(np.array([[7.0, 0], [0, 3]]))
    assert (whole.kappa, whole.se) == pytest.approx((1, 0), abs=1e-7)


# ------------------------------------------------------------------------------------------------ exchanges


def test_exchanges_by_hand() -> None:
    """{5, 4} against {1, 2, 3}: of 10 pairs only {5, 4} and {1, 2} lie 3 or more from the middle of 6."""
    assert permutation_p(np.array([5.0, 4]), np.array([1.0, 2, 3])) == 2 / 10
    assert permutation_p(np.array([1.0, 2, 3]), np.array([5.0, 4])) == 2 / 10
    assert permutation_p(np.array([3.0]), np.array([3.0, 3])) == 1.0


def test_many_exchanges_are_drawn() -> None:
    """11 against 11 are 705,432 exchanges: too many to list, and p is near that of a t-test."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.5, 1, 11), rng.normal(0, 1, 11)
    found = permutation_p(a, b, draws=4000)
    assert found == pytest.approx(stats.ttest_ind(a, b).pvalue, abs=0.03)
    assert permutation_p(a, b, draws=4000, seed=1) != found
    assert permutation_p(a, b, draws=4000, seed=0) == found
    assert permutation_p(np.arange(11) + 100.0, np.arange(11.0), draws=99) == 1 / 100
