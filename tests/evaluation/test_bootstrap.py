"""The bootstrap's BCa interval and the operating point, written out a second time and by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy
from packaging.version import Version
from scipy import stats

from counterstain.evaluation.bootstrap import (
    OPERATING_POINT,
    _bca,
    bootstrap_estimates,
    operating_point,
)
from counterstain.evaluation.degrees_of_freedom import combined_df
from counterstain.evaluation.intervals import estimates, limits, sample, units_of
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.resampling import bootstrap_weights


def made(seed: int, patients: int = 12, each: int = 4) -> Predictions:
    rng = np.random.default_rng(seed)
    code = np.repeat(np.arange(patients), each)
    label = (np.arange(len(code)) % 3 == 0).astype(np.int64)
    p = np.round(1 / (1 + np.exp(-(1.5 * label - 0.7 + rng.normal(0, 1.2, len(code))))), 2)
    return Predictions(
        image=tuple(f"i{k}" for k in range(len(code))), patient=tuple(f"p{k:02d}" for k in code),
        slide=("",) * len(code), site=("",) * len(code), label=label, prob=np.column_stack([1 - p, p]),
        classes=("n", "y"),
    )  # fmt: skip


def test_bca_is_scipys_for_a_mean() -> None:
    """scipy's own BCa of the same resamples, with the jackknife's acceleration and the share below as its bias."""
    values = np.random.default_rng(0).exponential(size=30)

    def mean(sample_: np.ndarray, axis: int = -1) -> np.ndarray:
        return sample_.mean(axis=axis)

    # SciPy 1.14, the oldest that is allowed, calls the generator random_state.
    name = "rng" if Version(scipy.__version__) >= Version("1.15") else "random_state"
    seed: dict[str, Any] = {name: np.random.default_rng(1)}
    found = stats.bootstrap((values,), mean, method="BCa", n_resamples=2000, confidence_level=0.9, **seed)
    kept = found.bootstrap_distribution
    left_out = (values.sum() - values) / 29
    own = _bca(np.array([values.mean()]), left_out[None, :], kept, 29.0, 0.9)
    assert (own.low, own.high) == pytest.approx(tuple(found.confidence_interval), rel=2e-3)
    assert own.se_patient == pytest.approx(values.std(ddof=1) / np.sqrt(30))
    assert (own.value, own.df, own.se_seed) == (values.mean(), 29.0, 0.0)


def test_bca_of_a_symmetric_score_is_the_percentile_interval() -> None:
    drawn = np.linspace(-1, 1, 2001)
    left_out = np.array([[-0.1, 0.1, -0.1, 0.1]])
    own = _bca(np.array([0.0]), left_out, drawn, 3.0, 0.95)
    assert (own.low, own.high) == pytest.approx((-0.95, 0.95), abs=2e-3)
    flat = _bca(np.array([0.0]), np.zeros((1, 4)), drawn, 3.0, 0.95)  # no patient changes it
    assert (flat.low, flat.high) == pytest.approx((-0.95, 0.95), abs=2e-3) and flat.se_patient == 0


def test_bca_by_its_formula_with_bias_and_bend() -> None:
    drawn = np.sort(np.random.default_rng(2).gamma(2, size=4001))
    out = np.array([1.0, 1.2, 0.9, 2.5, 1.1])
    values = np.array([1.5, 1.9, 1.4])
    own = _bca(values, np.stack([out, out, out]), drawn, 4.0, 0.9)
    away = out.mean() - out
    bend = (away**3).sum() / (6 * (away**2).sum() ** 1.5)
    shift = stats.norm.ppf((drawn < 1.6).mean())
    at = [stats.norm.cdf(shift + (shift + z) / (1 - bend * (shift + z))) for z in stats.norm.ppf([0.05, 0.95])]
    assert (own.low, own.high) == pytest.approx(tuple(np.quantile(drawn, at)), rel=1e-3)
    assert own.se_patient == pytest.approx(np.sqrt(4 / 5 * ((out - out.mean()) ** 2).sum()))
    assert own.se_seed == pytest.approx(values.std(ddof=1) / np.sqrt(3))
    assert own.per_seed == (1.5, 1.9, 1.4) and own.value == pytest.approx(1.6)


def test_ties_with_the_value_count_half() -> None:
    drawn = np.array([0.0] * 25 + [1.0] * 50 + [2.0] * 25)
    own = _bca(np.array([1.0]), np.array([[0.9, 1.1]]), drawn, 1.0, 0.9)
    assert (own.low, own.high) == (0, 2)
    high = _bca(np.array([2.0]), np.array([[1.9, 2.1]]), drawn, 1.0, 0.9)
    low = _bca(np.array([0.0]), np.array([[-0.1, 0.1]]), drawn, 1.0, 0.9)
    assert high.low == 1 and low.high == 1  # bias drags both ends towards the value


@pytest.mark.parametrize(("known", "has"), [(89, False), (90, True)])
def test_a_score_that_many_resamples_lack_has_no_interval(known: int, has: bool) -> None:
    drawn = np.where(np.arange(100) < known, np.linspace(0, 1, 100), np.nan)
    own = _bca(np.array([0.5]), np.array([[0.4, 0.6]]), drawn, 1.0, 0.95)
    assert np.isfinite(own.low) == has and own.value == 0.5
    assert np.isnan([own.se_patient, own.se_seed, own.df]).all() != has
    lacking = _bca(np.array([0.5]), np.array([[np.nan, 0.6]]), np.linspace(0, 1, 100), 1.0, 0.95)
    assert np.isnan([lacking.low, lacking.high, lacking.df]).all()


def test_all_scores_are_those_of_the_table_and_repeat_by_seed() -> None:
    tables = [made(1), made(2)]
    names = units_of(tables)
    own = bootstrap_estimates(tables, names, resamples=300)
    plain = estimates(sample(tables, names, level="image"))
    assert own.keys() == plain.keys()
    for key, found in own.items():
        assert (found.value, found.per_seed, found.df) == (plain[key].value, plain[key].per_seed, found.df), key
        assert found.low < found.value < found.high, key
    again = bootstrap_estimates(tables, names, resamples=300, seed=0)
    other = bootstrap_estimates(tables, names, resamples=300, seed=1)
    wide = bootstrap_estimates(tables, names, resamples=300, confidence=0.99)
    key = ("accuracy", None)
    assert (again[key].low, again[key].high) == (own[key].low, own[key].high) != (other[key].low, other[key].high)
    assert wide[key].low < own[key].low and own[key].high < wide[key].high


def test_seeds_are_drawn_too() -> None:
    """Two seeds that differ by far more than the patients: the interval reaches from one to the other."""
    good = made(1)
    right = replace(good, prob=np.eye(2)[good.label] * 0.98 + 0.01)
    wrong = replace(good, prob=np.eye(2)[1 - good.label] * 0.98 + 0.01)
    own = bootstrap_estimates([right, wrong], units_of([good]), resamples=400)["accuracy", None]
    assert (own.low, own.high, own.value) == (0, 1, 0.5)


# ------------------------------------------------------------------------------------------------ operating point


def sensitivity(table: Predictions, copies: np.ndarray, at: float) -> float:
    """By trying every threshold, with each image repeated as often as its patient was drawn; NaN without a class."""
    p, positive = np.repeat(table.prob[:, 1], copies), np.repeat(table.label == 1, copies)
    if positive.all() or not positive.any():
        return float("nan")
    reached = [0.0]
    for threshold in np.unique(p):
        called = p >= threshold
        if (called & ~positive).sum() <= (1 - at) * (~positive).sum() + 1e-9:
            reached.append((called & positive).sum() / positive.sum())
    return max(reached)


def test_sensitivity_at_a_specificity_by_hand() -> None:
    """Scores 0.9+ 0.8- 0.7+ 0.7- 0.6+ 0.5-: with no false positive 1/3, with one 1/3 (the tie at 0.7 brings a second),
    with two 3/3."""
    p = np.array([0.9, 0.8, 0.7, 0.7, 0.6, 0.5])
    label = np.array([1, 0, 1, 0, 1, 0])
    table = replace(made(0, patients=6, each=1), label=label, prob=np.column_stack([1 - p, p]))
    for at, expected in ((1.0, 1 / 3), (0.67, 1 / 3), (2 / 3, 1 / 3), (0.34, 1 / 3), (1 / 3, 1.0), (0.01, 1.0)):
        assert operating_point([table], at=at, resamples=20).value == pytest.approx(expected), at
    # No positive above the first negative: none is reached.
    assert operating_point([replace(table, label=1 - label)], at=1.0, resamples=20).value == 0


def test_the_operating_points_interval_is_made_of_patients_and_seeds() -> None:
    tables = [made(4), made(5), made(6)]
    found = operating_point(tables, at=0.8, resamples=200, confidence=0.9, seed=7)
    names = units_of(tables)
    code = np.array([names.index(name) for name in tables[0].patient])
    copies = bootstrap_weights(len(names), 200, seed=7).astype(int)[:, code]
    drawn = np.mean([[sensitivity(table, row, 0.8) for row in copies] for table in tables], axis=0)
    values = np.array([sensitivity(table, np.ones(len(code), dtype=int), 0.8) for table in tables])
    patient, seed = np.nanvar(drawn, ddof=1), values.var(ddof=1) / 3
    assert found.value == pytest.approx(values.mean()) and found.per_seed == pytest.approx(tuple(values))
    assert (found.se_patient, found.se_seed) == pytest.approx((np.sqrt(patient), np.sqrt(seed)))
    recall_df = sample(tables[:1], names, level="image").df["recall", None]
    df = combined_df(patient, seed, recall_df, 2)
    half = stats.t.ppf(0.95, df) * np.sqrt(patient + seed)
    assert (found.low, found.high) == pytest.approx(limits(values.mean(), half, "recall"))
    assert found.df == pytest.approx(df)
    assert OPERATING_POINT == "sensitivity_at_95_specificity"
    assert operating_point(tables) == operating_point(tables, at=0.95, resamples=500, confidence=0.95, seed=0)


def test_an_operating_point_at_the_wall_has_no_interval() -> None:
    table = made(4)
    perfect = replace(table, prob=np.eye(2)[table.label])
    found = operating_point([perfect])
    assert found.value == 1 and np.isnan([found.low, found.high, found.se_patient, found.df]).all()
    alone = operating_point([table])
    assert alone.se_seed == 0 and alone.low < alone.value < alone.high
