"""The chance that a ranking is false, and the patients that a named difference needs: by hand and by simulation."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import norm, t

from counterstain.errors import InputError
from counterstain.evaluation.degrees_of_freedom import combined_df
from counterstain.evaluation.intervals import Sample, estimate_of
from counterstain.evaluation.paired_difference import difference
from counterstain.evaluation.ranking import chance_of_false_ranking, lead, pair_chance, ranking_record
from counterstain.evaluation.sample_size import patients_needed
from counterstain.evaluation.verdict import Question


def test_two_arms_are_the_normal_posterior_where_the_error_is_known() -> None:
    # N(0, 0.05^2) prior, lead 0.03 with error 0.015: mean 0.03 * w, variance 0.0025 (1 - w), w = 0.0025 / 0.002725.
    weight = 0.05**2 / (0.05**2 + 0.015**2)
    by_hand = norm.cdf(-0.03 * weight / (0.05 * np.sqrt(1 - weight)))
    assert chance_of_false_ranking(0.03, 0.015**2, df=1e7, prior_sd=0.05) == pytest.approx(by_hand, abs=2e-4)


def test_the_prior_makes_it_sceptical() -> None:
    error = 0.02**2
    chances = [chance_of_false_ranking(0.03, error, df=30, prior_sd=sd) for sd in (0.01, 0.03, 0.1)]
    assert chances == sorted(chances, reverse=True)
    assert chance_of_false_ranking(0.0, error, df=30) == pytest.approx(0.5)
    assert chance_of_false_ranking(0.03, error, df=3) > chance_of_false_ranking(0.03, error, df=30)
    assert np.isnan(chance_of_false_ranking(0.0, 0.0, df=30))


@pytest.mark.parametrize("sd", [0.02, 0.08])
def test_it_is_calibrated_where_the_prior_is_right(sd: float) -> None:
    """Errors of 0.03 from 25 patients: a ranking is false where two normals differ in sign, arctan(0.03 / sd) / pi."""
    rng = np.random.default_rng(3)
    each = rng.normal(0, sd, (1000, 1)) + rng.normal(0, 0.03, (1000, 25)) * 5
    stated = [
        chance_of_false_ranking(abs(own.mean()), own.var(ddof=1) / 25, df=24, prior_sd=sd) for own in each
    ]  # fmt: skip
    assert np.mean(stated) == pytest.approx(np.arctan(0.03 / sd) / np.pi, abs=0.01)


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


@pytest.mark.parametrize(
    ("ahead", "error", "df"),
    [(np.nan, 0.01, 9.0), (0.1, np.nan, 9.0), (0.1, np.inf, 9.0), (0.1, 0.01, 0.0), (0.1, 0.0, 9.0), (0.1, -0.01, 9.0)],
)
def test_an_undefined_error_leaves_the_chance_undefined(ahead: float, error: float, df: float) -> None:
    assert np.isnan(chance_of_false_ranking(ahead, error, df=df))


@pytest.mark.parametrize("df", [3, 9, 19])
def test_the_chance_is_students_likelihood_under_the_prior_integrated(df: int) -> None:
    """Over a fine grid of true differences, with leads that the prior finds likely, and others that it doesn't."""
    true = np.linspace(-0.6, 0.6, 12_001)
    for ahead, error in ((0.04, 0.02), (0.2, 0.02), (-0.03, 0.05), (0.3, 0.05), (0.0, 0.01)):
        weight = t.pdf((ahead - true) / error, df) * norm.pdf(true / 0.05)
        expected = (weight[true < -1e-9].sum() + 0.5 * weight[abs(true) < 1e-9].sum()) / weight.sum()
        found = chance_of_false_ranking(ahead, error**2, df=df, prior_sd=0.05)
        assert found == pytest.approx(expected, abs=1e-4), ahead


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("error", [1e-20, 1e-12, 1e-6])
@pytest.mark.parametrize("ahead", [-0.1, 0.1])
def test_an_error_that_is_nothing_beside_the_prior_leaves_no_doubt(error: float, ahead: float) -> None:
    expected = 0.0 if ahead > 0 else 1.0
    assert chance_of_false_ranking(ahead, error**2, df=19, prior_sd=0.05) == pytest.approx(expected, abs=1e-9)


# ----------------------------------------------------------------------- from scores that are means over patients

KEY = ("accuracy", None)


def means(x: np.ndarray, metric: str = "accuracy") -> Sample:
    """The scores of (S, G) values of G patients in S seeds: each seed's mean, and the same without each patient."""
    key, patients = (metric, None), x.shape[1]
    out = (x.sum(axis=1, keepdims=True) - x) / (patients - 1)
    return Sample(
        values={key: x.mean(axis=1)}, left_out={key: out}, df={key: patients - 1.0}, units=patients, rows=patients,
        shares=frozenset(),
    )  # fmt: skip


def drawn(seeds: tuple[int, ...], lift: float = 0.0, spread: float = 0.1) -> list[np.ndarray]:
    """Arms of 12 patients whose difficulty they share; `lift` moves each seed by chance."""
    rng = np.random.default_rng(0)
    hard = rng.normal(0.7, 0.1, 12)
    return [
        hard + 0.02 * k + rng.normal(0, spread, (count, 12)) + rng.normal(0, lift, (count, 1))
        for k, count in enumerate(seeds)
    ]


def test_the_lead_of_fitted_models_has_the_variance_of_their_patients() -> None:
    x, y = drawn((1, 1))
    ahead, variance, df = lead(means(x), means(y), KEY)
    apart = (x - y)[0]
    assert ahead == pytest.approx(apart.mean())
    assert variance == pytest.approx(apart.var(ddof=1) / 12)  # of a mean over 12 patients, without a jackknife's excess
    assert df == 11


@pytest.mark.parametrize("lift", [0.0, 0.3])
def test_the_seeds_spread_is_added_without_what_it_owes_to_single_patients(lift: float) -> None:
    x = drawn((3, 4), lift)
    if not lift:  # seeds of one mean each spread less than the noise of their patients
        x = [own - own.mean(axis=1, keepdims=True) + own.mean() for own in x]
    ahead, variance, df = lead(means(x[0]), means(x[1]), KEY)
    assert ahead == pytest.approx(x[0].mean() - x[1].mean())
    excess = noises = freedom = 0.0
    for own in x:
        apart = own - own.mean(axis=0)
        noise = float((apart.var(axis=1, ddof=1) / 12).sum())
        excess += own.mean(axis=1).var(ddof=1) * (len(own) - 1) - noise
        noises, freedom = noises + noise, freedom + len(own) - 1
    pooled = max(excess - noises / 2 * np.sqrt(2 / freedom), 0) / freedom
    assert (pooled > 0) == (lift > 0)
    patients = (x[0].mean(axis=0) - x[1].mean(axis=0)).var(ddof=1) / 12
    seeds = pooled / 3 + pooled / 4
    assert variance == pytest.approx(patients + seeds)
    assert df == pytest.approx(combined_df(patients, seeds, 11, freedom))


def test_an_arm_of_one_seed_has_no_spread_of_its_own() -> None:
    x = drawn((3, 1), 0.3)
    _, variance, _ = lead(means(x[0]), means(x[1]), KEY)
    apart = x[0] - x[0].mean(axis=0)
    noise = float((apart.var(axis=1, ddof=1) / 12).sum())
    pooled = (x[0].mean(axis=1).var(ddof=1) * 2 - noise - noise / 2) / 2
    patients = (x[0].mean(axis=0) - x[1][0]).var(ddof=1) / 12
    assert variance == pytest.approx(patients + pooled / 3)


def test_what_each_patient_carries_of_a_class_weighs_its_deviation() -> None:
    x = drawn((1, 1))
    carried = {KEY: np.linspace(0, 0.4, 12)}
    a, b = (Sample(**vars(means(own)) | {"carried": carried}) for own in x)
    _, variance, _ = lead(a, b, KEY)
    centred = (x[0] - x[1])[0]
    centred = (centred - centred.mean()) / 11
    assert variance == pytest.approx((centred**2 * (1 - carried[KEY])).sum())


@pytest.mark.parametrize("turned", [False, True])
def test_the_chance_of_a_pair_is_that_of_the_one_that_looks_better(turned: bool) -> None:
    a, b = (means(own) for own in (drawn((3, 3))[::-1] if turned else drawn((3, 3))))
    found = difference(a, b, KEY)
    ahead, variance, df = lead(a, b, KEY)
    assert (ahead > 0) == turned
    expected = chance_of_false_ranking(abs(ahead), variance, df=df, prior_sd=0.03)
    assert pair_chance(a, b, found, KEY, alpha=0.05, prior_sd=0.03) == expected
    assert 0 < expected < 0.5


def test_no_error_is_as_wide_as_the_printed_interval() -> None:
    """Every patient shows the same difference, 0.1: half the interval over its t-quantile is the error."""
    x = drawn((1,))[0]
    a, b = means(x + 0.1), means(x)
    found = difference(a, b, KEY, alpha=0.1)
    assert found.se_patient == 0 and found.low < 0.1
    error = (found.high - found.low) / 2 / t.ppf(0.95, found.df)
    expected = chance_of_false_ranking(0.1, error**2, df=found.df, prior_sd=0.05)
    assert pair_chance(a, b, found, KEY, alpha=0.1, prior_sd=0.05) == pytest.approx(expected)


def pair(a: str, b: str, verdict: str = "no_evidence", also: str | None = None) -> dict[str, Any]:
    return {"a": a, "b": b, "verdict": verdict, "also": also, "low": -0.1, "high": 0.1, "df": 11.0}


def test_arms_are_ranked_by_value_and_told_from_the_best_by_their_verdict() -> None:
    x = drawn((3, 3, 3, 3))
    samples = {name: means(own) for name, own in zip("wxyz", x, strict=True)}
    rows = [pair("w", "z", "b_better"), pair("z", "y", "equivalent", "a_better"), pair("x", "z", "equivalent"),
            pair("w", "x", "b_better")]  # fmt: skip
    found = ranking_record(samples, rows, Question(metric="accuracy", alpha=0.1))
    order = sorted("wxyz", key=lambda name: -samples[name].values[KEY].mean())
    assert [row["arm"] for row in found["arms"]] == order == ["z", "y", "x", "w"]
    assert [row["told_from_best"] for row in found["arms"]] == [False, True, False, True]
    for row in found["arms"]:
        own = estimate_of(samples[row["arm"]], KEY, confidence=0.9)
        assert (row["value"], row["low"], row["high"], row["seeds"]) == (own.value, own.low, own.high, 3)


def test_of_a_loss_the_lowest_is_the_best() -> None:
    x = drawn((3, 3))
    samples = {name: means(own, "loss") for name, own in zip("ab", x, strict=True)}
    found = ranking_record(samples, [pair("a", "b")], Question(metric="loss"))
    assert [row["arm"] for row in found["arms"]] == ["a", "b"]
    assert found["arms"][0]["value"] < found["arms"][1]["value"]


def test_equal_arms_keep_their_order_and_an_undefined_one_is_last() -> None:
    x = drawn((1,))[0]
    samples = {"u": means(np.full((1, 12), np.nan)), "q": means(x), "p": means(x)}
    found = ranking_record(samples, [pair("q", "p")], Question(metric="accuracy"))
    assert [row["arm"] for row in found["arms"]] == ["q", "p", "u"]
