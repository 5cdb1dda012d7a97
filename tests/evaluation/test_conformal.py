"""Prediction sets and their coverage, counted by hand."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from counterstain.evaluation.conformal import conformal_quantile, coverage_record, prediction_sets, weighted_quantile
from counterstain.evaluation.predictions import Predictions


def made(own: Sequence[float], patient: str, label: Sequence[int] | None = None, site: str = "") -> Predictions:
    """A table whose true class (the first by default) has these probabilities."""
    truth = np.zeros(len(own), dtype=np.int64) if label is None else np.array(label)
    prob = np.empty((len(own), 2))
    rows = np.arange(len(own))
    prob[rows, truth], prob[rows, 1 - truth] = own, 1 - np.array(own)
    return Predictions(
        image=tuple(f"i{k}" for k in rows), patient=tuple(patient), slide=("",) * len(own),
        site=tuple(site) if site else ("",) * len(own), label=truth, prob=prob, classes=("a", "b"),
    )  # fmt: skip


def test_one_image_for_each_patient_is_the_kth_smallest_score() -> None:
    """Nine scores 0.1 … 0.9: k = ceil(10 (1 - alpha))."""
    table = made([1 - k / 10 for k in range(1, 10)], "abcdefghi")
    for alpha, k in ((0.1, 9), (0.2, 8), (0.25, 8), (0.5, 5), (0.9, 1)):
        assert conformal_quantile(table, alpha=alpha) == pytest.approx(k / 10), alpha
    assert conformal_quantile(table) == conformal_quantile(table, alpha=0.1)
    assert conformal_quantile(table, alpha=0.09) == float("inf")


def test_the_score_is_that_of_the_true_class() -> None:
    table = made([0.8, 0.6, 0.9, 0.7], "abcd", label=[0, 1, 1, 0])
    assert conformal_quantile(table, alpha=0.4) == pytest.approx(0.3)
    assert conformal_quantile(table, alpha=0.2) == pytest.approx(0.4)


def test_a_patients_images_share_one_weight() -> None:
    """Patient a has scores 0.1, 0.2, 0.3, 0.4 (1/12 each), b 0.35 (1/3); the last third stands at infinity."""
    table = made([0.9, 0.8, 0.7, 0.6, 0.65], "aaaab")
    for share, expected in ((1 / 12, 0.1), (3 / 12, 0.3), (0.26, 0.35), (7 / 12, 0.35), (0.6, 0.4), (2 / 3, 0.4)):
        assert conformal_quantile(table, alpha=1 - share) == pytest.approx(expected), share
    assert conformal_quantile(table, alpha=0.3) == float("inf")


def test_the_weighted_quantile_by_hand() -> None:
    score, weight = np.array([3.0, 1.0, 2.0]), np.array([0.2, 0.5, 0.3])
    for share, expected in ((0.1, 1), (0.5, 1), (0.51, 2), (0.8, 2), (0.81, 3), (1.0, 3)):
        assert weighted_quantile(score, weight, share) == expected, share
    assert weighted_quantile(score, weight, 1.01) == float("inf")


def test_a_class_at_the_limit_stays() -> None:
    prob = np.array([[0.7, 0.3], [0.5, 0.5], [0.9, 0.1]])
    assert prediction_sets(prob, 0.3).tolist() == [[True, False], [False, False], [True, False]]
    assert prediction_sets(prob, 0.5).tolist() == [[True, False], [True, True], [True, False]]
    assert prediction_sets(prob, 0.69).tolist() == [[True, False], [True, True], [True, False]]
    assert prediction_sets(prob, 0.7).tolist() == [[True, True], [True, True], [True, False]]


def t_interval(share: Sequence[float]) -> tuple[float, float]:
    half = stats.t.ppf(0.975, len(share) - 1) * np.std(share, ddof=1) / np.sqrt(len(share))
    return max(0.0, np.mean(share) - half), min(1.0, np.mean(share) + half)


def test_the_record_of_two_seeds_by_hand() -> None:
    """Six images of three patients at two sites; the second seed's rows stand in another order.

    Seed 1: sets {a}, {a, b}, {b}, {}, {b}, {a}; truths a, b, a, a, b, b: held 1, 1, 0, 0, 1, 0.
    Seed 2: {a, b} for each but the last, which is {a}: held 1, 1, 1, 1, 1, 0.
    Means 1, 1, 1/2, 1/2, 1, 0; patients p (0, 1): 1, q (2, 3, 4): 2/3, r (5): 0.
    """
    first = made([0.9] * 6, "ppqqqr", label=[0, 1, 0, 0, 1, 1], site="sstttt")
    order = [5, 4, 3, 2, 1, 0]
    second = Predictions(
        image=tuple(first.image[k] for k in order), patient=tuple(first.patient[k] for k in order),
        slide=("",) * 6, site=tuple(first.site[k] for k in order), label=first.label[order], prob=first.prob[order],
        classes=("a", "b"),
    )  # fmt: skip
    one = np.array([[1, 0], [1, 1], [0, 1], [0, 0], [0, 1], [1, 0]], dtype=bool)
    two = np.array([[1, 0], [1, 1], [1, 1], [1, 1], [1, 1], [1, 1]], dtype=bool)
    record = coverage_record([first, second], [one, two], alpha=0.2)
    assert record["asked"] == 0.8 and record["unit"] == "patient"
    assert (record["patients"], record["images"]) == (3, 6)
    share = [1, 2 / 3, 0]
    found = record["covered"]
    assert found["value"] == pytest.approx(np.mean(share)) and found["patients"] == 3
    assert (found["low"], found["high"]) == pytest.approx(t_interval(share))
    assert {name: row["value"] for name, row in record["by_class"].items()} == pytest.approx(
        {"a": (1 + 1 / 2) / 2, "b": (1 + 1 + 0) / 3}
    )
    assert {name: row["value"] for name, row in record["by_site"].items()} == pytest.approx({"s": 1, "t": 1 / 3})
    assert record["by_site"]["s"] == {"value": 1.0, "low": None, "high": None, "patients": 1}
    assert (record["single"], record["several"], record["empty"]) == pytest.approx((5 / 12, 6 / 12, 1 / 12))
    assert record["abstain"] == pytest.approx(7 / 12)
    assert record["accuracy_single"] == pytest.approx(2 / 5)


def test_the_interval_over_patients() -> None:
    """It stays within 0 and 1, and where all patients are alike it is the exact one for as many."""
    sets = np.array([[True, False]] * 4)
    good = coverage_record([made([0.9] * 4, "abcd")], [sets], alpha=0.1)["covered"]
    assert (good["value"], good["high"]) == (1, 1)
    assert good["low"] == pytest.approx(0.025 ** (1 / 4))
    none = coverage_record([made([0.9] * 4, "abcd")], [~sets], alpha=0.1)
    assert none["covered"]["low"] == 0 and none["covered"]["high"] == pytest.approx(1 - 0.025 ** (1 / 4))
    empty = coverage_record([made([0.9] * 4, "abcd")], [np.zeros((4, 2), dtype=bool)], alpha=0.1)
    assert (empty["accuracy_single"], empty["empty"], empty["abstain"]) == (None, 1, 1)
    wide = coverage_record([made([0.9] * 4, "aabc")], [np.array([[1, 0], [1, 0], [1, 0], [0, 1]], bool)], alpha=0.1)
    assert (wide["covered"]["low"], wide["covered"]["high"]) == (0.0, 1.0)
