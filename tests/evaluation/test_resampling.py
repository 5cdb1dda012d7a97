"""Weighted scores: a unit of weight 2 counts as if its images were there twice, however the ranking is worked out."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterstain.evaluation.metrics import score_table
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.resampling import (
    Tally,
    bootstrap_weights,
    jackknife_weights,
    tally,
    unit_codes,
    weighted_scores,
)

Make = Callable[..., Predictions]


def summed(table: Predictions) -> tuple[Tally, int]:
    names, (code,) = unit_codes([table])
    return tally(table, code, len(names)), len(names)


def scanned(table: Tally) -> Tally:
    """The same without counts by unit, as for very many units."""
    return replace(table, ranking=tuple(replace(one, by_unit=None) for one in table.ranking))


@settings(max_examples=25)
@given(seed=st.integers(0, 100_000), n_classes=st.integers(2, 4), digits=st.integers(1, 4))
def test_weights_are_the_same_as_repeated_rows(seed: int, n_classes: int, digits: int, random_table: Make) -> None:
    table = random_table(seed, images=60, patients=9, n_classes=n_classes, digits=digits)
    own, units = summed(table)
    weights = np.random.default_rng(seed).integers(0, 4, size=(3, units)).astype(float)
    found = weighted_scores(own, weights)
    again = weighted_scores(scanned(own), weights)
    _, (code,) = unit_codes([table])
    for row in range(3):
        repeated = np.repeat(np.arange(60), weights[row, code].astype(int))
        if len(repeated) == 0:
            continue
        expected = score_table(table.label[repeated], table.prob[repeated])
        for key, value in expected.items():
            assert found[key][row] == pytest.approx(value, abs=1e-6, nan_ok=True), key
            assert again[key][row] == pytest.approx(value, abs=1e-6, nan_ok=True), key


def test_leaving_out_leaves_out_one_unit_or_one_group() -> None:
    assert jackknife_weights(3).tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
    grouped = jackknife_weights(1003, groups=10)
    assert grouped.shape == (10, 1003)
    assert (grouped == 0).sum(axis=0).tolist() == [1] * 1003
    assert set((grouped == 0).sum(axis=1).tolist()) == {100, 101}


def test_resamples_draw_as_many_units_as_there_are_and_repeat_exactly() -> None:
    weights = bootstrap_weights(7, 500, seed=3)
    assert (weights.sum(axis=1) == 7).all()
    assert np.array_equal(weights, bootstrap_weights(7, 500, seed=3))
    assert not np.array_equal(weights, bootstrap_weights(7, 500, seed=4))
    assert weights.mean() == 1
    assert weights.var() == pytest.approx(6 / 7, abs=0.05)


@pytest.mark.slow
def test_ten_thousand_resamples_of_twenty_thousand_images_are_finite(random_table: Make) -> None:
    table = random_table(0, images=20_000, patients=100, digits=17)
    own, units = summed(table)
    found = weighted_scores(own, bootstrap_weights(units, 10_000))
    assert all(np.isfinite(value).all() for value in found.values())
