"""What is computed in one pass for large tables is what its definition says; on tables small enough for both."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.evaluation import bootstrap, leave_one_out, paired_tests, reliability
from counterstain.evaluation.bootstrap import operating_point, roc_of, sensitivity_at_specificity
from counterstain.evaluation.intervals import sample, units_of
from counterstain.evaluation.leave_one_out import left_out_sums
from counterstain.evaluation.metrics import average_precision, roc_auc, score_table
from counterstain.evaluation.pooled_predictions import pool_slides, slide_codes
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.resampling import (
    bootstrap_weights,
    jackknife_groups,
    jackknife_scores,
    jackknife_weights,
    left_out_totals,
    tally,
    unit_codes,
    unit_places,
)

Make = Callable[..., Predictions]
Floats = NDArray[np.float64]


def without(table: Predictions, out: NDArray[np.bool_]) -> dict[Any, float]:
    """Every score of the rows that stay; {} where none does."""
    return dict(score_table(table.label[~out], table.prob[~out])) if not out.all() else {}


@settings(max_examples=15)
@given(
    seed=st.integers(0, 10_000), n_classes=st.integers(2, 3), digits=st.integers(1, 3), units=st.sampled_from([7, 600])
)
def test_scores_without_each_unit_or_group_are_those_of_the_rows_that_stay(
    seed: int, n_classes: int, digits: int, units: int, random_table: Make
) -> None:
    table = random_table(seed, images=max(60, units + 100), patients=units, n_classes=n_classes, digits=digits)
    _, (code,) = unit_codes([table])
    summed = tally(table, code, units)
    scanned = replace(summed, ranking=tuple(replace(own, by_unit=None) for own in summed.ranking))
    found = jackknife_scores(scanned)
    group = jackknife_groups(units)[code]
    for g in range(-1, min(units, 500), 1 if units < 500 else 29):
        for key, value in without(table, group == g).items():
            assert found[key][g + 1] == pytest.approx(value, abs=1e-12, nan_ok=True), (key, g)
    usual = jackknife_scores(summed)
    for key, own in usual.items():
        assert found[key] == pytest.approx(own, abs=1e-6, nan_ok=True), key


@pytest.mark.parametrize("units", [9, 500, 501, 1200])
def test_sums_over_units_are_products_with_weights(units: int) -> None:
    rng = np.random.default_rng(units)
    flat, deep = rng.normal(size=units), rng.normal(size=(units, 6))
    weights = np.concatenate([np.ones((1, units)), jackknife_weights(units)])
    assert left_out_totals(flat) == pytest.approx(weights @ flat, abs=1e-11)
    assert left_out_totals(deep) == pytest.approx(weights @ deep, abs=1e-11)
    drawn = bootstrap_weights(units, reliability.RESAMPLES, seed=3)
    one, two = reliability._resampled((flat, deep), units, 3)
    assert one == pytest.approx(drawn @ flat, abs=1e-11)
    assert two == pytest.approx(drawn @ deep, abs=1e-11)


def slow_sums(
    group: NDArray[np.int64], positive: NDArray[np.bool_], score: Floats, groups: int
) -> tuple[Floats, Floats]:
    """`left_out_sums` by its definition: the scores of what is left, times what they are divided by."""
    precision, right = np.zeros(groups + 1), np.zeros(groups + 1)
    for g in range(-1, groups):
        stays = group != g
        hit = positive[stays]
        if hit.any():
            precision[g + 1] = average_precision(hit, score[stays]) * hit.sum()
        if hit.any() and not hit.all():
            right[g + 1] = roc_auc(hit, score[stays]) * hit.sum() * (~hit).sum()
    return precision, right


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 3000),
    groups=st.integers(1, 60),
    scores=st.sampled_from([1, 2, 17, 400, 10**9]),
    prevalence=st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    ratio=st.sampled_from([2, 32, 10**9]),
    pairs=st.sampled_from([1, 50, 10**6]),
)
def test_both_sums_are_those_of_the_images_that_stay(
    seed: int, rows: int, groups: int, scores: int, prevalence: float, ratio: int, pairs: int
) -> None:
    """With few images above a score terms are divided one by one, else by a series: both, wherever the border lies."""
    rng = np.random.default_rng(seed)
    score = np.sort(rng.integers(scores, size=rows))[::-1].astype(float)
    positive, group = rng.random(rows) < prevalence, rng.integers(rng.integers(1, groups + 1), size=rows)
    if seed % 3 == 0:
        group[: rows // 2] = groups - 1  # a group that holds the top of the ranking
    tie = np.append(0, np.cumsum(score[1:] != score[:-1]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leave_one_out, "RATIO", ratio)
        patch.setattr(leave_one_out, "PAIRS", pairs)
        precision, right = left_out_sums(group, positive, tie, groups)
    expected_precision, expected_right = slow_sums(group, positive, score, groups)
    assert precision == pytest.approx(expected_precision, rel=1e-12, abs=1e-12 * max(positive.sum(), 1))
    assert right == pytest.approx(expected_right, rel=1e-12)


def test_a_large_ranking_keeps_twelve_digits() -> None:
    """30,000 images, so that most terms are from the series; three of the groups by their definition."""
    rng = np.random.default_rng(0)
    score = np.sort(rng.normal(size=30_000))[::-1]
    positive, group = rng.random(30_000) < 0.5 + 0.2 * np.tanh(score), rng.integers(500, size=30_000)
    precision, right = left_out_sums(group, positive, np.arange(30_000), 500)
    for g in (0, 250, 499):
        stays, hits = group != g, positive[group != g].sum()
        assert precision[g + 1] / hits == pytest.approx(average_precision(positive[stays], score[stays]), rel=1e-13)
        area = roc_auc(positive[stays], score[stays])
        assert right[g + 1] / hits / (~positive[stays]).sum() == pytest.approx(area, rel=1e-14)


# -------------------------------------------------------------------------------------------------- operating point


def slow_sensitivity(table: Predictions, weights: Floats, code: NDArray[np.int64], at: float) -> Floats:
    """The largest sensitivity of any threshold with enough specificity, threshold by threshold."""
    image, positive, score = weights[:, code], table.label == 1, table.prob[:, 1]
    out = np.full(len(weights), np.nan)
    for row, weight in enumerate(image):
        true, false = (weight * positive).sum(), (weight * ~positive).sum()
        if true == 0 or false == 0:
            continue
        out[row] = 0.0
        for threshold in np.unique(score):
            called = score >= threshold
            if (weight * (called & ~positive)).sum() <= (1 - at) * false + 1e-9:
                out[row] = max(out[row], (weight * (called & positive)).sum() / true)
    return out


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10_000), digits=st.integers(1, 4), at=st.sampled_from([0.5, 0.9, 0.95, 1.0]),
    blocks=st.sampled_from([1, 4, 128]),
)  # fmt: skip
def test_sensitivity_at_specificity_is_the_best_of_all_thresholds(
    seed: int, digits: int, at: float, blocks: int, random_table: Make
) -> None:
    table = random_table(seed, images=80, patients=11, digits=digits)
    names, (code,) = unit_codes([table])
    weights = bootstrap_weights(len(names), 7, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap, "BLOCKS", blocks)
        curve = roc_of(table, code, len(names))
    assert len(curve.true) <= blocks
    found = sensitivity_at_specificity(curve, weights, at)
    assert np.array_equal(found, slow_sensitivity(table, weights, code, at), equal_nan=True)


def test_the_operating_point_does_not_depend_on_how_many_draws_are_held(
    monkeypatch: pytest.MonkeyPatch, random_table: Make
) -> None:
    table = random_table(4, images=300, patients=30)
    found = operating_point([table, random_table(4, images=300, patients=30, digits=2)])
    monkeypatch.setattr(bootstrap, "CHUNK_CELLS", 100)
    monkeypatch.setattr(bootstrap, "BLOCKS", 3)
    assert operating_point([table, random_table(4, images=300, patients=30, digits=2)]) == found


# ------------------------------------------------------------------------------------------------------ paired tests


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), scores=st.sampled_from([2, 9, 10**6]))
def test_placements_are_shares_of_the_other_class(seed: int, scores: int) -> None:
    rng = np.random.default_rng(seed)
    score, positive = rng.integers(scores, size=50).astype(float), np.arange(50) < rng.integers(1, 49)
    rng.shuffle(positive)
    area, own, other = paired_tests._placements(positive, score)
    wins = (score[positive][:, None] > score[~positive]) + 0.5 * (score[positive][:, None] == score[~positive])
    assert own == pytest.approx(wins.mean(axis=1), abs=1e-15)
    assert other == pytest.approx(wins.mean(axis=0), abs=1e-15)
    assert area == pytest.approx(wins.mean(), abs=1e-15)


@pytest.mark.parametrize("units", [17, 30, 501])
def test_sign_patterns_are_the_same_however_many_are_held(units: int, monkeypatch: pytest.MonkeyPatch) -> None:
    delta = np.random.default_rng(units).normal(0.05, 1, units)
    found = paired_tests.sign_flip(delta, draws=3001)
    signs = np.random.default_rng(0).integers(0, 2, size=(3001, units), dtype=np.int8) * 2.0 - 1.0
    expected = (np.abs(signs @ delta) >= abs(delta.sum()) * (1 - 1e-12)).sum()
    assert found == (expected + 1) / 3002
    monkeypatch.setattr(paired_tests, "SIGNS", 100)
    assert paired_tests.sign_flip(delta, draws=3001) == found


# ------------------------------------------------------------------------------------------------ units and pooling


def test_units_of_two_tables_are_joined(random_table: Make) -> None:
    one, other = random_table(1, images=40, patients=4), random_table(2, images=60, patients=12)
    names, codes = unit_codes([one, other])
    assert names == tuple(sorted({*one.patient, *other.patient}))
    for table, code in zip((one, other), codes, strict=True):
        assert tuple(names[k] for k in code) == table.patient
        assert np.array_equal(unit_places(table, names), code)
    assert unit_codes([one, one])[0] == tuple(sorted(set(one.patient)))


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), digits=st.integers(1, 4))
def test_slides_are_pooled_as_their_definition_says(seed: int, digits: int, random_table: Make) -> None:
    """Slide names that two patients share, labels that differ within a slide, and any order of rows."""
    rng = np.random.default_rng(seed)
    table = random_table(seed, images=50, patients=7, digits=digits)
    slide = tuple(f"s{k}" for k in rng.integers(4, size=50))
    label = np.where(rng.random(50) < 0.1, 1 - table.label, table.label)
    table = replace(table, slide=slide, label=label)
    rows: dict[tuple[str, str], list[int]] = {}
    for k, key in enumerate(zip(table.slide, table.patient, strict=True)):
        rows.setdefault(key, []).append(k)
    assert int(slide_codes(table).max()) + 1 == len(rows)
    kept = {key: own for key, own in rows.items() if len(set(label[own])) == 1}
    if not kept:
        with pytest.raises(InputError, match="there is no slide level"):
            pool_slides(table)
        return
    pooled = pool_slides(table)
    assert list(zip(pooled.slide, pooled.patient, strict=True)) == list(kept)
    assert pooled.image == tuple(f"{own} of {patient}" for own, patient in kept)
    assert pooled.label.tolist() == [label[own[0]] for own in kept.values()]
    assert pooled.prob == pytest.approx(np.array([table.prob[own].mean(axis=0) for own in kept.values()]), abs=1e-15)


def test_more_than_500_units_are_left_out_in_the_groups_they_always_were(random_table: Make) -> None:
    """Made once with the first version of the jackknife: the grouping is part of every published interval."""
    assert jackknife_groups(1003)[:8].tolist() == [39, 206, 222, 162, 21, 407, 487, 393]
    table = random_table(3, images=900, patients=700)
    drawn = sample([table], units_of([table]), level="patient")
    assert drawn.left_out["patient_recognition", None].shape == (1, 500)
    assert drawn.units == 700
