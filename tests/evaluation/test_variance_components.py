"""The variance of a score by its sources, by hand; subgroups, the ledger's words and degrees of freedom likewise."""

import numpy as np
import pytest

from counterstain.evaluation.degrees_of_freedom import class_shares, combined_df, effective_units, score_df
from counterstain.evaluation.variance_components import two_way_components, variance_record


def test_components_by_hand() -> None:
    """Rows 1 3 | 5 11: means 2, 8 and 3, 7, of all 5. Interaction ±1: 4 / 1 = 4.

    Rows: variance 18, times 2 is 36, less 4, halved: 16. Columns: 8 · 2 - 4 = 12, halved: 6.
    """
    assert two_way_components(np.array([[1.0, 3], [5, 11]])) == pytest.approx((16, 6, 4))
    assert two_way_components(np.array([[1.0, 5], [3, 11]])) == pytest.approx((6, 16, 4))
    # Three rows, two columns: interaction -1/2, 1/2 | 1/2, -1/2 | 0, 0: 1 / 2; rows' variance 3, columns' 8.
    found = two_way_components(np.array([[0.5, 5.5], [3.5, 6.5], [5, 9]]) + 0.0)
    values = np.array([[0.5, 5.5], [3.5, 6.5], [5, 9]])
    rows, columns = values.mean(1, keepdims=True), values.mean(0, keepdims=True)
    rest = ((values - rows - columns + values.mean()) ** 2).sum() / 2
    assert found == pytest.approx((rows.var(ddof=1) - rest / 2, columns.var(ddof=1) - rest / 3, rest))


def test_no_component_is_below_nothing() -> None:
    """Only the interaction varies."""
    assert two_way_components(np.array([[1.0, -1], [-1, 1]])) == pytest.approx((0, 0, 4))


def test_one_row_or_column_shows_one_source() -> None:
    for values, known in ((np.array([[1.0], [3.0]]), 0), (np.array([[1.0, 3.0]]), 1)):
        found = two_way_components(values)
        assert found[known] == pytest.approx(2)
        assert np.isnan(np.delete(found, known)).all()
    assert np.isnan(two_way_components(np.array([[1.0]]))).all()


def test_the_record_by_hand(random_table) -> None:  # type: ignore[no-untyped-def]
    """Accuracy of two seeds in two repeats: components of their four values, and the jackknife of their mean."""
    base = random_table(0, images=60, patients=12)
    tables = {(seed, repeat): random_table(0, images=60, patients=12, strength=0.5 + seed + 0.7 * repeat)
              for seed in (0, 2) for repeat in (0, 1)}  # fmt: skip
    record = variance_record(tables, metric="accuracy")
    right = {key: table.prob.argmax(1) == table.label for key, table in tables.items()}
    grid = np.array([[right[seed, repeat].mean() for repeat in (0, 1)] for seed in (0, 2)])
    parts = two_way_components(grid)
    assert record["metric"] == "accuracy" and record["value"] == pytest.approx(grid.mean())
    for name, part in zip(("seed", "split", "rest"), parts, strict=True):
        assert record["sd"][name] == pytest.approx(np.sqrt(part)), name
    mean = np.mean(list(right.values()), axis=0)
    patient = np.array(base.patient)
    out = np.array([mean[patient != name].mean() for name in sorted(set(base.patient))])
    assert record["sd"]["patient"] == pytest.approx(np.sqrt(11 / 12 * ((out - out.mean()) ** 2).sum()))
    largest = max(record["sd"], key=lambda name: record["sd"][name])
    assert record["largest"] == largest
    sd = record["sd"]
    named = {"patient": "other patients", "seed": "another seed", "split": "another split",
             "rest": "seed and split at once"}  # fmt: skip
    assert record["words"] == (
        f"one standard deviation: {', '.join(f'{named[key]} ±{sd[key]:.3f}' for key in named)}; "
        f"most comes from {named[largest]}"
    )


def test_what_one_training_cannot_show_is_named(random_table) -> None:  # type: ignore[no-untyped-def]
    record = variance_record({(0, 0): random_table(0)}, metric="accuracy", level="patient")
    assert record["largest"] == "patient"
    assert record["words"].endswith("; another seed and another split: not shown by this study")
    assert record["sd"]["seed"] is record["sd"]["split"] is record["sd"]["rest"] is None
    seeds = variance_record({(k, 0): random_table(k) for k in range(2)}, metric="auroc")
    assert seeds["words"].endswith("; another split: not shown by this study")


def test_a_score_that_no_patient_may_be_left_out_of_has_no_source(make_table) -> None:  # type: ignore[no-untyped-def]
    table = make_table([1, 0, 0], [0.9, 0.2, 0.3], ["a", "b", "c"])
    record = variance_record({(0, 0): table}, metric="recall")
    assert record["largest"] is None
    assert record["words"] == "too few patients to say where the uncertainty comes from"


# ------------------------------------------------------------------------------------------------ freedom


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
