"""O/E, calibration in the large, slope, the smoothed curve and ICI against statsmodels, loess and hand sums."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from counterstain.errors import InputError
from counterstain.evaluation.calibration_measures import _of_one, calibration_measures, fit_logistic
from counterstain.evaluation.metrics import log_odds
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.reliability import logistic_recalibration, probability_distribution
from counterstain.evaluation.resampling import jackknife_weights
from counterstain.evaluation.smoothed_reliability import local_quadratic, smoothed_reliability

LOESS = [0.157987, 0.255358, 0.426719, 0.536164, 0.673966, 0.939172]
ICI, E90 = 0.087763, 0.155686


def clustered(make_table: Callable[..., Predictions], seed: int = 0, patients: int = 40, each: int = 10) -> Predictions:
    """Patients of different difficulty, probabilities too low and too extreme."""
    rng = np.random.default_rng(seed)
    code = np.repeat(np.arange(patients), each)
    z = rng.normal(size=len(code)) + rng.normal(scale=0.7, size=patients)[code]
    label = (rng.random(len(code)) < 1 / (1 + np.exp(-z))).astype(int)
    return make_table(label, 1 / (1 + np.exp(-(1.6 * z - 0.5))), [f"p{c}" for c in code])


def test_slope_and_intercept_agree_with_statsmodels(make_table: Callable[..., Predictions]) -> None:
    import statsmodels.api as sm

    table = clustered(make_table)
    y, odds = table.label, log_odds(table.prob[:, 1])
    both = sm.GLM(y, sm.add_constant(odds), family=sm.families.Binomial()).fit()
    large = sm.GLM(y, np.ones((len(y), 1)), family=sm.families.Binomial(), offset=odds).fit()
    found = calibration_measures([table])
    assert found["slope"]["value"] == pytest.approx(both.params[1], abs=1e-8)
    assert found["in_the_large"]["value"] == pytest.approx(large.params[0], abs=1e-8)
    assert logistic_recalibration(table.prob[:, 1], y == 1) == pytest.approx(both.params[::-1], abs=1e-8)
    assert found["oe"]["value"] == pytest.approx(y.sum() / table.prob[:, 1].sum())


def test_errors_are_those_of_patients_refitted_without_each(make_table: Callable[..., Predictions]) -> None:
    """One Newton step equals the refit to 6 % with its degrees of freedom; the cluster sandwich is within 10 %."""
    import statsmodels.api as sm
    from scipy.special import stdtrit

    table = clustered(make_table, seed=1)
    y, odds, group = table.label, log_odds(table.prob[:, 1]), np.repeat(np.arange(40), 10)
    columns = sm.add_constant(odds)
    left_out = np.array(
        [sm.GLM(y[group != u], columns[group != u], family=sm.families.Binomial()).fit().params[1] for u in range(40)]
    )
    jackknife = np.sqrt(39 / 40 * ((left_out - left_out.mean()) ** 2).sum())
    own = calibration_measures([table])["slope"]
    half = (own["high"] - own["low"]) / 2
    assert half / float(stdtrit(39, 0.975)) == pytest.approx(jackknife, rel=0.06)
    robust = sm.GLM(y, columns, family=sm.families.Binomial()).fit(cov_type="cluster", cov_kwds={"groups": group}).bse
    assert jackknife == pytest.approx(robust[1], rel=0.1)


def test_each_patient_left_out_is_one_newton_step_towards_the_refit_without_them(
    make_table: Callable[..., Predictions],
) -> None:
    """The step lands within a tenth of the way to the refit by statsmodels, for both the slope and the intercept."""
    import statsmodels.api as sm

    table = clustered(make_table, seed=2)
    y, odds, group = table.label, log_odds(table.prob[:, 1]), np.repeat(np.arange(40), 10)
    found = _of_one(table, group, jackknife_weights(40))
    both, family = sm.add_constant(odds), sm.families.Binomial()
    for name, columns, offset, place in (("slope", both, None, 1), ("in_the_large", both[:, :1], odds, 0)):
        value, left_out = found[name]
        moved = []
        for unit in range(40):
            kept = group != unit
            own = None if offset is None else offset[kept]
            moved.append(sm.GLM(y[kept], columns[kept], family=family, offset=own).fit().params[place] - value)
        assert np.abs(left_out - value - moved).max() < 0.1 * np.abs(moved).max()
    expected = [y[group != u].sum() / table.prob[group != u, 1].sum() for u in range(40)]
    assert found["oe"][1] == pytest.approx(expected)


def test_values_of_seeds_are_averaged_and_their_spread_is_in_the_interval(
    make_table: Callable[..., Predictions],
) -> None:
    one = clustered(make_table, seed=4)
    raised = replace(one, prob=np.column_stack([1 - one.prob[:, 1] ** 0.5, one.prob[:, 1] ** 0.5]))
    alone = [calibration_measures([table]) for table in (one, raised)]
    both = calibration_measures([one, raised])
    for name in ("oe", "in_the_large", "slope"):
        values = [found[name]["value"] for found in alone]
        assert both[name]["value"] == pytest.approx(np.mean(values))
        widths = [found[name]["high"] - found[name]["low"] for found in (*alone, both)]
        assert widths[2] > max(widths[:2])
    same = calibration_measures([one, one])
    assert same["oe"] == pytest.approx(alone[0]["oe"]) and same["slope"] == pytest.approx(alone[0]["slope"])


def test_a_confidence_is_that_of_the_interval(make_table: Callable[..., Predictions]) -> None:
    """O/E has its limits on the log scale: their logarithms lie as far as t-quantiles with 39 degrees of freedom."""
    from scipy.special import stdtrit

    table = clustered(make_table, seed=5)
    wide, narrow = (calibration_measures([table], confidence=level)["oe"] for level in (0.99, 0.8))
    ratio = np.log(wide["high"] / wide["value"]) / np.log(narrow["high"] / narrow["value"])
    assert ratio == pytest.approx(stdtrit(39, 0.995) / stdtrit(39, 0.9))
    assert np.log(wide["high"] / wide["value"]) == pytest.approx(np.log(wide["value"] / wide["low"]))


def test_more_than_two_classes_have_none_of_these(make_table: Callable[..., Predictions]) -> None:
    table = make_table([0, 1, 2], np.eye(3), classes=("a", "b", "c"))
    with pytest.raises(InputError, match="for two classes; there are 3"):
        calibration_measures([table])


def test_oe_by_hand(make_table: Callable[..., Predictions]) -> None:
    """Two positives of six, probabilities sum to 0.1+0.2+0.3+0.4+0.6+0.9 = 2.5: O/E = 2 / 2.5 = 0.8."""
    table = make_table([0, 0, 0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.6, 0.9])
    found = calibration_measures([table])
    assert found["oe"]["value"] == pytest.approx(0.8)
    assert found["oe"]["low"] < 0.8 < found["oe"]["high"]
    assert found["slope"] == {"value": None, "low": None, "high": None}
    assert found["notes"] == [
        "no calibration slope: the probabilities separate the classes perfectly, or are all equal"
    ]


def test_what_was_done_to_the_log_odds_is_found_again(make_table: Callable[..., Predictions]) -> None:
    """Log odds twice as large as they should be, and moved by -1: slope 1/2, and the intercept says too low."""
    rng = np.random.default_rng(3)
    z = rng.normal(size=20_000)
    label = (rng.random(len(z)) < 1 / (1 + np.exp(-z))).astype(int)
    found = calibration_measures(
        [make_table(label, 1 / (1 + np.exp(-(2 * z - 1))), [f"p{k % 200}" for k in range(20_000)])]
    )
    assert found["slope"]["value"] == pytest.approx(0.5, abs=0.03)
    assert found["in_the_large"]["value"] > 0.5
    assert found["oe"]["low"] > 1


@pytest.mark.parametrize("label", [[0, 0, 0], [1, 1, 1]])
def test_one_class_has_no_calibration(make_table: Callable[..., Predictions], label: list[int]) -> None:
    found = calibration_measures([make_table(label, [0.2, 0.5, 0.7])])
    assert [found[name]["value"] for name in ("oe", "in_the_large", "slope")] == [None] * 3
    assert found["notes"] == ["no measure of calibration: all images are of one class"]


def test_equal_probabilities_bear_no_slope() -> None:
    assert np.isnan(
        fit_logistic(np.column_stack([np.full(4, 0.3), np.ones(4)]), np.array([True, False, True, False]))
    ).all()


# ------------------------------------------------------------------------------------------------- the smoothed curve


def pattern() -> tuple[np.ndarray, np.ndarray]:
    k = np.arange(80)
    return ((k + 0.5) / 80) ** 1.5, ((k * 37) % 80 < k * 0.8 + 5).astype(float)


def test_the_curve_is_loess() -> None:
    """Values of the C code behind R's loess: pip install scikit-misc, then

    from skmisc.loess import loess
    fit = loess(p, y, span=0.75, degree=2, surface="direct"); fit.fit(); fit.predict(at).values
    """
    p, y = pattern()
    at = np.array([0.02, 0.1, 0.3, 0.5, 0.7, 0.95])
    assert local_quadratic(p, y, at) == pytest.approx(LOESS, abs=2e-6)


def test_ici_is_the_mean_distance_of_loess(make_table: Callable[..., Predictions]) -> None:
    """From the same fit at all 80 probabilities: np.abs(np.clip(values, 0, 1) - p).mean(), and its 90 % quantile."""
    p, y = pattern()
    found = smoothed_reliability([make_table(y.astype(int), p)])
    assert found["ici"]["value"] == pytest.approx(ICI, abs=1e-3)
    assert found["e90"] == pytest.approx(E90, abs=3e-3)


def test_a_right_model_lies_near_the_diagonal_and_a_shifted_one_away_by_the_shift(
    make_table: Callable[..., Predictions],
) -> None:
    rng = np.random.default_rng(5)
    p = rng.uniform(0.2, 0.8, 6000)
    patient = [f"p{k % 300}" for k in range(6000)]
    right = make_table((rng.random(6000) < p).astype(int), p, patient)
    assert smoothed_reliability([right])["ici"]["value"] < 0.02
    high = make_table((rng.random(6000) < p - 0.15).astype(int), p, patient)
    found = smoothed_reliability([high])
    assert found["ici"]["value"] == pytest.approx(0.15, abs=0.02)
    assert found["ici"]["low"] > 0.1


def test_the_band_comes_from_patients_not_images(make_table: Callable[..., Predictions]) -> None:
    """Each patient's images are copies of one: the band is that of one image per patient."""
    rng = np.random.default_rng(6)
    p = rng.random(50)
    y = (rng.random(50) < p).astype(int)
    single = smoothed_reliability([make_table(y, p)])
    many = smoothed_reliability([make_table(np.repeat(y, 8), np.repeat(p, 8), [f"p{k // 8:02d}" for k in range(400)])])
    width = [np.array(one["high"]) - np.array(one["low"]) for one in (single, many)]
    assert width[1].mean() == pytest.approx(width[0].mean(), rel=0.1)
    assert single["ici"]["low"] <= single["ici"]["value"] <= single["ici"]["high"]


@pytest.mark.parametrize(
    ("prob", "label"),
    [([0.2, 0.2, 0.2], [0, 1, 0]), ([0.0, 1.0, 1.0, 0.0], [0, 1, 0, 1]), ([0.5], [1]), ([0.5, 0.5], [1, 0])],
)
def test_few_different_probabilities_bear_a_curve(
    make_table: Callable[..., Predictions], prob: list[float], label: list[int]
) -> None:
    """Where all share one probability the curve is their share."""
    found = smoothed_reliability([make_table(label, prob)])
    for at, share in zip(found["prob"], found["share"], strict=True):
        own = [y for p, y in zip(prob, label, strict=True) if p == at]
        assert share == pytest.approx(np.mean(own), abs=1e-6)


def test_many_probabilities_are_grouped_without_moving_the_curve(make_table: Callable[..., Predictions]) -> None:
    rng = np.random.default_rng(8)
    p = rng.random(4000)
    y = (rng.random(4000) < p**2).astype(int)
    found = smoothed_reliability([make_table(y, p, [f"p{k % 80}" for k in range(4000)])], resamples=20)
    exact = local_quadratic(p, y.astype(float), np.array(found["prob"]))
    assert np.array(found["share"]) == pytest.approx(exact, abs=2e-3)


def test_distribution_by_hand(make_table: Callable[..., Predictions]) -> None:
    """Bins of a quarter, closed on the right: 0.25 is in the first, 0.26 in the second."""
    found = probability_distribution([make_table([0, 0, 1, 1], [0.25, 0.26, 0.8, 1.0])], bins=4)
    assert found["classes"]["benign"]["shares"] == [0.5, 0.5, 0.0, 0.0]
    assert found["classes"]["malignant"]["shares"] == [0.0, 0.0, 0.0, 1.0]
    assert found["classes"]["malignant"]["quantiles"]["median"] == pytest.approx(0.9)
    marks = list(found["classes"]["benign"]["quantiles"].values())
    assert all(a <= b for a, b in pairwise(marks))
    assert probability_distribution([make_table([1], [0.4])])["classes"]["benign"] == {
        "images": 0, "shares": [], "quantiles": {},
    }  # fmt: skip
