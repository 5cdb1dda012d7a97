"""The jackknife over patients against the cluster-robust sandwich, which shares neither code nor method with it."""

from collections.abc import Callable

import numpy as np
import pytest
from sandwich import SCORES, sandwich_error

from counterstain.evaluation.intervals import estimates, sample, units_of
from counterstain.evaluation.predictions import Predictions

Make = Callable[..., Predictions]


def clustered(seed: int, patients: int, n_classes: int, make_table: Make) -> tuple[Predictions, np.ndarray]:
    """Patients of 1 to 20 images and several classes, some harder than others, and their confusion matrices."""
    rng = np.random.default_rng(seed)
    code = np.repeat(np.arange(patients), rng.integers(1, 21, size=patients))
    leaning = rng.dirichlet(np.ones(n_classes), size=patients)
    label = np.array([rng.choice(n_classes, p=leaning[k]) for k in code])
    skill = rng.normal(1.0, 0.8, size=patients)[code]
    logit = rng.normal(size=(len(code), n_classes)) + 0.7 * rng.normal(size=(patients, n_classes))[code]
    logit[np.arange(len(code)), label] += skill
    prob = np.exp(logit) / np.exp(logit).sum(axis=1, keepdims=True)
    counts = np.zeros((patients, n_classes, n_classes))
    np.add.at(counts, (code, label, prob.argmax(axis=1)), 1)
    return make_table(label, prob, [f"p{k:04d}" for k in code], tuple("ABCDEFGH"[:n_classes])), counts


def ratio(seed: int, patients: int, n_classes: int, metric: str, make_table: Make) -> float:
    """The jackknife's error over the sandwich's; the scores themselves are the same."""
    table, counts = clustered(seed, patients, n_classes, make_table)
    own = estimates(sample([table], units_of([table]), level="image"))[metric, None]
    value, error = sandwich_error(SCORES[metric], counts)
    assert own.value == pytest.approx(value, rel=1e-12)
    return own.se_patient / error


@pytest.mark.parametrize("metric", list(SCORES))
@pytest.mark.parametrize("n_classes", [2, 4])
def test_the_jackknife_has_the_sandwichs_error(metric: str, n_classes: int, make_table: Make) -> None:
    """They differ by terms of 1/K: 0.6 to 5.3 % at 40 patients, 0.3 to 0.9 % at 200, 0.2 to 0.4 % at 400."""
    few, many = (
        np.array([ratio(seed, patients, n_classes, metric, make_table) for seed in range(6)]) - 1
        for patients in (40, 400)
    )
    assert np.abs(few).max() < 0.06
    assert np.abs(many).max() < 0.01
    assert np.abs(many).mean() < 0.35 * np.abs(few).mean()


def test_the_sandwich_by_hand() -> None:
    """Two patients of two images each; balanced accuracy (2/2 + 1/2) / 2 = 3/4.

    Patient 1: class A right, class B right. Patient 2: class A right, class B called A. Only the recall of B moves,
    by (1 - 1/2)/2 and (0 - 1/2)/2, which the mean over two classes halves to ±1/8. With K/(K - 1) = 2 the variance is
    2 · 2/64 = 1/16, and the error is 1/4.
    """
    counts = np.array([[[1.0, 0], [0, 1]], [[1, 0], [1, 0]]])
    assert sandwich_error(SCORES["balanced_accuracy"], counts) == pytest.approx((0.75, 0.25), rel=1e-12)


def test_images_taken_for_patients_have_too_small_an_error(make_table: Make) -> None:
    """What the cluster is for: the same counts, each image a cluster of its own."""
    _, counts = clustered(0, 200, 2, make_table)
    images = np.repeat(np.eye(4), counts.sum(axis=0).ravel().astype(int), axis=0).reshape(-1, 2, 2)
    for score in SCORES.values():
        own, naive = sandwich_error(score, counts), sandwich_error(score, images)
        assert own[0] == pytest.approx(naive[0])
        assert own[1] > 1.3 * naive[1]
