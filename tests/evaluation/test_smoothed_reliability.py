"""The parts of the smoothed curve: a weighted parabola per place, places without images, and what groups keep."""

import numpy as np
import pytest

from counterstain.evaluation.smoothed_reliability import (
    GRID,
    MOST_POINTS,
    MOST_UNITS,
    _curve,
    _distance,
    _grid,
    _grouped,
    _kernel,
    _points,
)

POINTS = np.array([0.0, 0.1, 0.2, 0.4, 0.7, 1.0])
N = np.array([3.0, 2, 4, 1, 5, 2])
HITS = np.array([0.0, 1, 1, 0, 4, 2])


def weights(at: float, width: float) -> np.ndarray:
    """Tricube, (1 - u³)³, from the place to the farthest neighbour that counts."""
    u = np.minimum(np.abs(POINTS - at) / width, 1)
    own: np.ndarray = (1 - u**3) ** 3
    return own


def test_the_curve_is_numpys_weighted_parabola() -> None:
    """17 images, of which the nearest 12 count: from 0.2 the 12th lies at 0.7, from 0.5 at 0.1."""
    at = np.array([0.2, 0.5])
    kernel = _kernel(POINTS, N, at, 0.75)
    for place, (where, width) in enumerate(((0.2, 0.5), (0.5, 0.4))):
        own = weights(where, width)
        assert kernel[0][place] == pytest.approx(own)
        counts = own > 1e-9
        assert kernel[1][place][counts] == pytest.approx((POINTS[counts] - where) / width)
        fit = np.polyfit(POINTS - where, HITS / N, 2, w=np.sqrt(own * N))
        found = _curve(N[None], HITS[None], *kernel)[0, place]
        assert found == pytest.approx(np.clip(fit[2], 0, 1), abs=1e-5)


def test_each_resample_has_its_own_curve_and_none_is_the_mean_of_the_others_there() -> None:
    kernel = _kernel(POINTS, N, np.array([0.2, 0.6]), 0.75)
    none = np.zeros(6)
    curves = _curve(np.stack([N, none, 2 * N]), np.stack([HITS, none, 2 * HITS]), *kernel)
    assert curves[0] == pytest.approx(curves[2]) and curves[1] == pytest.approx(curves[0])
    half = np.stack([N, none, N]), np.stack([HITS, none, N - HITS])
    assert _curve(*half, *kernel)[1] == pytest.approx(_curve(*half, *kernel)[[0, 2]].mean(axis=0))


def test_a_share_beyond_the_ends_is_cut() -> None:
    kernel = _kernel(POINTS, N, np.array([1.0]), 0.5)
    steep = np.array([0.0, 0, 0, 0, 5, 0])
    low = _curve(N[None], steep[None], *kernel)[0, 0]
    high = _curve(N[None], (N - steep)[None], *kernel)[0, 0]
    assert 0 <= low <= 1 and high == pytest.approx(1 - low)


def test_the_distance_is_the_mean_over_images_of_the_gap_to_the_diagonal() -> None:
    """A curve through (0, 0.2) and (1, 0.8): 0.2 + 0.6 p, which is 0.2 - 0.4 p above the diagonal."""
    away, mean = _distance(POINTS, N, np.array([0.0, 1.0]), np.array([0.2, 0.8]))
    assert away == pytest.approx(np.abs(0.2 - 0.4 * POINTS))
    assert mean == pytest.approx((N * np.abs(0.2 - 0.4 * POINTS)).sum() / 17)


def test_few_probabilities_are_kept_and_many_share_their_means() -> None:
    p = np.array([0.5, 0.25, 0.5, 0.75])
    points, place = _points(p)
    assert points.tolist() == [0.25, 0.5, 0.75] and place.tolist() == [1, 0, 1, 2]
    many = np.random.default_rng(0).random(5 * MOST_POINTS)
    points, place = _points(many)
    assert len(points) <= MOST_POINTS and (np.diff(points) > 0).all()
    for k in (0, 1, len(points) // 2, len(points) - 1):
        assert points[k] == pytest.approx(many[place == k].mean())
    assert np.abs(points[place] - many).max() < 0.01


def test_the_curve_is_drawn_at_few_points_or_on_a_grid() -> None:
    few = np.linspace(0, 1, GRID)
    assert _grid(few, np.ones(GRID)) is few
    points = np.linspace(0.1, 0.9, 500)
    at = _grid(points, np.where(points > 0.8, 100.0, 1.0))
    assert len(at) <= GRID and at[0] == pytest.approx(0.1) and at[-1] == pytest.approx(0.9)
    assert (at > 0.8).mean() > 0.4  # where the images are
    assert set(np.round(np.linspace(0.1, 0.9, GRID // 2), 9)) <= set(np.round(at, 9))


def test_many_patients_are_drawn_in_even_groups() -> None:
    code = np.arange(MOST_UNITS)
    same, units = _grouped(code, MOST_UNITS)
    assert same is code and units == MOST_UNITS
    grouped, units = _grouped(np.arange(2 * MOST_UNITS + 1), 2 * MOST_UNITS + 1)
    assert units == MOST_UNITS and set(np.bincount(grouped).tolist()) == {2, 3}
