"""How many patients a score rests on: sums by hand for patients of few images."""

import numpy as np
import pytest

from counterstain.evaluation.degrees_of_freedom import (
    SCARCE,
    carrying_units,
    class_shares,
    combined_df,
    effective_units,
    score_df,
    whole_patients,
)

# Five patients of one class each: benign ones of 1, 1 and 2 images, malignant ones of 3 and 1, true by called class.
COUNTS = np.array(
    [[[1, 0], [0, 0]], [[0, 1], [0, 0]], [[2, 0], [0, 0]], [[0, 0], [1, 2]], [[0, 0], [1, 0]]], dtype=float
)
NONE = ("loss", None), ("brier", None), ("accuracy", None)


def test_a_variance_is_carried_by_those_who_change_it() -> None:
    """Changes ±1 of four: 16 / 4; one that stands alone among n: with mean d/n, (sum of squares)² / sum of fourths."""
    assert carrying_units(np.array([0.2, 0.4, 0.2, 0.4])) == pytest.approx(4)
    own = np.array([3.0, -1, -1, -1])
    assert carrying_units(own + 7) == pytest.approx((own**2).sum() ** 2 / (own**4).sum())
    assert carrying_units(np.full(5, 0.3)) == np.inf


def test_a_share_has_the_patients_of_its_denominator() -> None:
    """All 8 images: 64 / (1 + 1 + 4 + 9 + 1) = 4 patients; benign 16 / 6, malignant 16 / 10.

    Called malignant: 1 of the second and 2 of the fourth, 9 / 5. Called benign: 1, 0, 2, 1, 1: 25 / 7. F1 has both
    those that are and those that are called so: 0, 1, 0, 3 + 2, 1: 49 / 27. None less than 1.
    """
    df = score_df(COUNTS, [None])
    assert [df[key] for key in NONE] == pytest.approx([3, 3, 3])
    assert df["specificity", None] == pytest.approx(16 / 6 - 1)
    assert df["recall", None] == 1.0
    assert df["precision", None] == 1.0
    assert df["npv", None] == pytest.approx(25 / 7 - 1)
    assert df["f1", None] == 1.0
    assert df["auroc", None] == df["auprc", None] == 3.0  # where pairs are too many to count
    more = score_df(np.concatenate([COUNTS] * 3), [None])
    assert more["recall", None] == pytest.approx(3 * 1.6 - 1)
    assert more["precision", None] == pytest.approx(3 * 9 / 5 - 1)
    assert more["f1", None] == pytest.approx(3 * 49 / 27 - 1)


def test_an_area_has_the_sum_of_positives_and_negatives_and_no_more_than_a_few_times_the_scarcer() -> None:
    """Each malignant patient against each benign one: pairs ranked right, of 3 x 1, 3 x 1, 3 x 2 and 1 x 1, …"""
    right = np.zeros((5, 5))
    right[3, :3], right[4, :3] = [3, 1, 5], [1, 0, 1]
    area = 11 / 16
    positives, negatives = np.array([0, 0, 0, 3.0, 1]), np.array([1.0, 1, 2, 0, 0])
    own = (np.array([0, 0, 0, 9, 2]) / 4 - area * positives) / 4
    other = (np.array([4, 1, 6, 0, 0]) / 4 - area * negatives) / 4
    expected = combined_df((own**2).sum(), (other**2).sum(), 16 / 10 - 1, 16 / 6 - 1)
    df = score_df(COUNTS, [right])
    assert df["auroc", None] == df["auprc", None] == pytest.approx(max(min(expected, SCARCE * 0.6, 3), 1))


def test_of_three_classes_each_has_its_own_and_the_means_have_the_sum() -> None:
    counts = np.zeros((6, 3, 3))
    for patient, (true, called, images) in enumerate(
        [(0, 0, 2), (0, 1, 1), (1, 1, 4), (1, 1, 2), (2, 0, 1), (2, 2, 3)]
    ):
        counts[patient, true, called] = images
    df = score_df(counts, [None] * 3)
    assert df["recall", 0] == 1.0 and df["recall", 2] == 1.0
    assert df["specificity", 0] == pytest.approx(10**2 / (16 + 4 + 1 + 9) - 1)
    assert df["precision", 1] == pytest.approx(7**2 / (1 + 16 + 4) - 1)
    means = [df[name, None] for name in ("recall", "precision", "specificity", "f1", "auroc", "auprc", "mcc")]
    assert means == [df["balanced_accuracy", None]] * 7
    assert ("npv", None) not in df
    assert df["auroc", 1] == df["accuracy", None] == pytest.approx(13**2 / (4 + 1 + 16 + 4 + 1 + 9) - 1)


def test_whole_patients_of_two_classes() -> None:
    """Benign 16 / 6 = 2.67 patients, malignant 16 / 10 = 1.6, all 4. The MCC moves by a patient of the rarer class as
    1 / 1.6 of a 2 that is spread over p(1 - p) = 1/4: 2 · (1.6 / 4) · (64 - 32) / 8 = 3.2."""
    found = whole_patients(COUNTS)
    assert found["balanced_accuracy", None] == pytest.approx(min(2 * 1.6, 4))
    assert found["mcc", None] == pytest.approx(3.2)
    assert found["auroc", None] == found["auprc", None] == pytest.approx(1.6)
    assert set(found) == {(name, None) for name in ("balanced_accuracy", "mcc", "auroc", "auprc")}
    assert whole_patients(COUNTS[:3]) == {}


def test_whole_patients_of_three_classes() -> None:
    """Four patients of one image in each of two classes, and two in the third: 3 · 2 for means, half for areas."""
    counts = np.zeros((10, 3, 3))
    for patient, true in enumerate([0] * 4 + [1] * 4 + [2] * 2):
        counts[patient, true, true] = 1
    found = whole_patients(counts)
    assert found["balanced_accuracy", None] == found["recall", None] == found["f1", None] == 6
    assert found["auroc", None] == found["auprc", None] == 3
    assert [found["auroc", c] for c in range(3)] == [found["auprc", c] for c in range(3)] == [4, 4, 2]
    assert found["mcc", None] == pytest.approx(min(2 * 1 * (100 - 16 - 16 - 4) / 10, 10))
    absent = whole_patients(counts[:8])  # nobody has the third class
    assert absent["balanced_accuracy", None] == 8
    assert ("auroc", 2) not in absent and absent["auroc", 0] == 4


def test_satterthwaite_by_hand() -> None:
    """Shares 1/4 and 3/4: 1 / (1/16/2 + 9/16/6) = 8."""
    assert combined_df(1.0, 3.0, 2.0, 6.0) == pytest.approx(8)
    assert combined_df(0.0, 0.0, 5.0, 7.0) == 5
    assert combined_df(1.0, 1.0, 3.0, 0.0) == 3
    assert combined_df(1e-200, 1e-200, 4.0, 4.0) == pytest.approx(8)


def test_kishs_number_by_hand() -> None:
    assert effective_units(np.array([1.0, 2, 3])) == pytest.approx(36 / 14)
    assert effective_units(np.array([0.0, 7])) == 1


def confusions() -> np.ndarray:
    """Four patients of two classes, (true, called): a 4 images, b 2, c 3, d 1."""
    return np.array([[[2.0, 0], [1, 1]], [[0, 2], [0, 0]], [[0, 0], [0, 3]], [[1, 0], [0, 0]]])


def test_the_freedom_of_shares_by_hand() -> None:
    """Images 4, 2, 3, 1: 100/30 - 1. Positives 2, 0, 3, 0: 25/13, less one, but at least 1. Negatives 2, 2, 0, 1:
    25/9 - 1. Called positive 1, 2, 3, 0: 36/14 - 1; positive or called 3, 2, 6, 0: 121/49 - 1."""
    found = score_df(confusions(), [None])
    expected = {"accuracy": 100 / 30 - 1, "loss": 100 / 30 - 1, "brier": 100 / 30 - 1, "recall": 1.0,
                "specificity": 25 / 9 - 1, "precision": 36 / 14 - 1, "f1": 121 / 49 - 1}  # fmt: skip
    for name, value in expected.items():
        assert found[name, None] == pytest.approx(value), name
    # Without counts of pairs the ranking has what all images have.
    assert found["auroc", None] == found["auprc", None] == pytest.approx(100 / 30 - 1)


def test_the_freedom_of_balanced_accuracy_is_the_sum_of_both_recalls() -> None:
    """Six negative patients of two images, one image wrong; three positive ones with 2, 0 and 1 of two right.

    Recalls 11/12 and 1/2. Squared sums by patient: 5 (1/6)² + (5/6)² = 5/6 over 12², and 1 + 1 + 0 = 2 over 6².
    Effective patients 6 and 3, less one each.
    """
    counts = np.array(
        [[[2.0, 0], [0, 0]]] * 5 + [[[1, 1], [0, 0]], [[0, 0], [0, 2]], [[0, 0], [2, 0]], [[0, 0], [1, 1]]]
    )
    v, w = 5 / 6 / 144, 2 / 36
    found = score_df(counts, [None])
    expected = (v + w) ** 2 / (v**2 / 5 + w**2 / 2)
    assert found["balanced_accuracy", None] == found["mcc", None] == pytest.approx(expected)
    assert found["accuracy", None] == pytest.approx(8)
    # With classes that are never wrong there is no variance to weigh, and the images' number is all that is known.
    whole = score_df(np.array([[[2.0, 0], [0, 1]]] * 4), [None])
    assert whole["balanced_accuracy", None] == pytest.approx(3)


def test_the_share_of_its_class_that_a_unit_carries_by_hand() -> None:
    """Images by class, of all units 4 and 8; units of 1 and 0, 3 and 2, 0 and 6: shares 1/4; 3/4 and 1/4; 3/4."""
    held = np.array([[4.0, 8], [3, 8], [1, 6], [4, 2]])
    found = class_shares(held)
    mixed = (9 / 16 + 1 / 16) / (3 / 4 + 1 / 4)
    for name in ("auroc", "auprc", "balanced_accuracy", "mcc"):
        assert found[name, None] == pytest.approx([1 / 4, mixed, 3 / 4])
    assert ("recall", None) not in found and ("accuracy", None) not in found


def test_of_three_classes_each_is_ranked_against_the_rest() -> None:
    """Class 0 of 2 images against 6: a unit with one of class 0 and three of the rest carries a half of both."""
    held = np.array([[2.0, 2, 4], [1, 1, 2], [1, 1, 2]])
    found = class_shares(held)
    for key in (("auroc", 0), ("recall", None)):
        assert found[key] == pytest.approx([1 / 2, 1 / 2])
    alone = class_shares(np.array([[2.0, 2, 4], [0, 2, 4], [2, 0, 4], [2, 2, 0]]))
    assert alone["auroc", 0] == pytest.approx([1, 1 / 3, 2 / 3])
    assert alone["auroc", None] == pytest.approx([1, 1, 1])
    # A class that nobody has takes no part.
    assert class_shares(np.array([[2.0, 2, 0], [1, 2, 0], [1, 0, 0]]))["mcc", None] == pytest.approx([1 / 2, 5 / 6])
