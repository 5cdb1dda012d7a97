"""Reliability by bins, parts of the Brier score and logistic recalibration, by hand and against scipy."""

import numpy as np
import pytest

from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.reliability import (
    bin_of,
    brier_parts,
    expected_calibration_error,
    logistic_recalibration,
    reliability_record,
)
from counterstain.evaluation.resampling import bootstrap_weights

P = np.array([0.1, 0.15, 0.3, 0.6, 0.65, 0.9])
HIT = np.array([False, True, False, True, False, True])
# In four bins: 0.1, 0.15 (share 1/2) | 0.3 (0) | 0.6, 0.65 (1/2) | 0.9 (1); mean probabilities 0.125, 0.3, 0.625, 0.9.


def made(p: np.ndarray = P, hit: np.ndarray = HIT, patient: str = "abcabc") -> Predictions:
    n = len(p)
    return Predictions(
        image=tuple(f"i{k}" for k in range(n)), patient=tuple(patient[:n]), slide=("",) * n, site=("",) * n,
        label=hit.astype(np.int64), prob=np.column_stack([1 - p, p]), classes=("n", "y"),
    )  # fmt: skip


def test_bins_of_equal_width() -> None:
    assert bin_of(P, 4).tolist() == [0, 0, 1, 2, 2, 3]
    assert bin_of(np.array([0, 0.25, 0.2500001, 0.5, 0.75, 1.0]), 4).tolist() == [0, 0, 1, 1, 2, 3]
    assert bin_of(np.array([0.1 + 0.2]), 10).tolist() == [2]  # 0.30000000000000004 is 0.3
    assert bin_of(np.array([0.0, 1.0]), 1).tolist() == [0, 0]


def test_the_calibration_error_by_hand() -> None:
    """Gaps times images: 2 (0.125 - 0.5), 0.3, 2 (0.625 - 0.5), 0.9 - 1, in size 0.75 + 0.3 + 0.25 + 0.1 = 1.4."""
    assert expected_calibration_error(P, HIT, bins=4) == pytest.approx(1.4 / 6)
    assert expected_calibration_error(P, HIT, bins=1) == pytest.approx(abs(2.7 - 3) / 6)


def test_the_parts_of_the_brier_score_by_hand() -> None:
    found = brier_parts(P, HIT, bins=4)
    assert found["brier"] == pytest.approx(np.mean([0.01, 0.7225, 0.09, 0.16, 0.4225, 0.01]))
    assert found["reliability"] == pytest.approx((2 * 0.375**2 + 0.3**2 + 2 * 0.125**2 + 0.1**2) / 6)
    assert found["resolution"] == pytest.approx((0 + 0.25 + 0 + 0.25) / 6)
    assert found["uncertainty"] == 0.25
    # Within bins: the variance of p less twice its covariance with the outcome.
    within = sum(
        (P[rows] - P[rows].mean()) @ (P[rows] - P[rows].mean() - 2 * (HIT[rows] - HIT[rows].mean()))
        for rows in ([0, 1], [3, 4])
    )
    assert found["within"] == pytest.approx(within / 6)


def test_recalibration_of_what_was_bent_finds_the_bend() -> None:
    """Shares that are exactly the logistic function of 0.5 · log odds + 0.3, by weights of whole images."""
    odds = np.array([-2.0, 0.0, 1.0, 3.0])
    share = 1 / (1 + np.exp(-(0.5 * odds + 0.3)))
    p, positive = [], []
    for one, own in zip(odds, share, strict=True):
        hits = round(100_000 * own)
        p += [1 / (1 + np.exp(-one))] * 100_000
        positive += [True] * hits + [False] * (100_000 - hits)
    slope, intercept = logistic_recalibration(np.array(p), np.array(positive))
    assert (slope, intercept) == pytest.approx((0.5, 0.3), abs=2e-4)
    assert np.isnan(logistic_recalibration(P, np.ones(6, dtype=bool))).all()
    assert np.isnan(logistic_recalibration(P, np.zeros(6, dtype=bool))).all()
    assert np.isfinite(logistic_recalibration(np.array([0, 0.5, 1, 1]), np.array([False, True, True, False]))).all()


def test_the_record_by_hand() -> None:
    record = reliability_record([made()], bins=4, seed=3)
    assert (record["kind"], record["images"], record["patients"], record["unit"]) == ("positive", 6, 3, "patient")
    assert record["ece"]["name"] == "ece_positive_4"
    assert record["ece"]["value"] == pytest.approx(1.4 / 6)
    assert [row["n"] for row in record["bins"]] == [2, 1, 2, 1]
    assert [row["low"] for row in record["bins"]] == [0, 0.25, 0.5, 0.75]
    assert [row["high"] for row in record["bins"]] == [0.25, 0.5, 0.75, 1]
    assert [row["mean_prob"] for row in record["bins"]] == pytest.approx([0.125, 0.3, 0.625, 0.9])
    assert [row["share"] for row in record["bins"]] == pytest.approx([0.5, 0, 0.5, 1])
    assert record["brier"]["value"] == pytest.approx(brier_parts(P, HIT, bins=4)["brier"])
    assert record["brier_parts"] == brier_parts(P, HIT, bins=4)
    assert (record["slope"], record["intercept"]) == logistic_recalibration(P, HIT)
    top, right = np.maximum(P, 1 - P), (P > 0.5) == HIT
    assert record["ece_confidence"] == pytest.approx(expected_calibration_error(top, right, bins=4))
    assert record["loss"] == pytest.approx(-np.log(np.where(HIT, P, 1 - P)).mean())


def test_bands_are_quantiles_over_drawn_patients() -> None:
    """Patients a, b, c have the images 0 3, 1 4, 2 5; drawn with the weights of the bootstrap of this seed."""
    record = reliability_record([made()], bins=4, seed=3)
    weights = bootstrap_weights(3, 1000, seed=3)
    image = weights[:, [0, 1, 2, 0, 1, 2]]
    total = image.sum(axis=1)
    brier = (image @ (P - HIT) ** 2) / total
    assert (record["brier"]["low"], record["brier"]["high"]) == pytest.approx(np.quantile(brier, [0.025, 0.975]))
    gaps = np.stack([image[:, rows] @ (P - HIT)[rows] for rows in ([0, 1], [2], [3, 4], [5])])
    ece = np.abs(gaps).sum(axis=0) / total
    ends = np.quantile(ece, [0.025, 0.975]) - (ece.mean() - 1.4 / 6)
    assert (record["ece"]["low"], record["ece"]["high"]) == pytest.approx(np.maximum(ends, 0))
    bins = record["bins"]
    drawn = image[:, :2].sum(axis=1)
    share = (image[:, :2] @ HIT[:2])[drawn > 0] / drawn[drawn > 0]
    assert (bins[0]["share_low"], bins[0]["share_high"]) == pytest.approx(np.quantile(share, [0.025, 0.975]))
    assert bins[1]["share_low"] is None and bins[1]["share_high"] is None  # one patient
    assert bins[3]["share_low"] is None


def test_an_empty_bin_shows_nothing() -> None:
    record = reliability_record([made()], bins=10)
    empty = record["bins"][4]
    assert (empty["n"], empty["mean_prob"], empty["share"], empty["share_low"]) == (0, None, None, None)
    assert reliability_record([made()])["ece"]["name"] == "ece_positive_10"


def test_several_classes_by_the_confidence() -> None:
    prob = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.4, 0.3, 0.3]])
    table = Predictions(
        image=tuple("ijk"), patient=tuple("abc"), slide=("",) * 3, site=("",) * 3, label=np.array([0, 2, 0]),
        prob=prob, classes=tuple("xyz"),
    )  # fmt: skip
    record = reliability_record([table, table], bins=2)
    assert record["kind"] == "confidence" and record["ece"]["name"] == "ece_confidence_2"
    assert [row["n"] for row in record["bins"]] == [2, 4]
    assert record["ece"]["value"] == record["ece_confidence"] == pytest.approx((0.6 + abs(0.7 + 0.6 - 1)) / 3)
    assert record["brier"]["value"] == pytest.approx((0.14 + 0.86 + 0.54) / 3)
    assert (record["slope"], record["intercept"]) == (None, None)
    assert (record["images"], record["patients"]) == (3, 3)
