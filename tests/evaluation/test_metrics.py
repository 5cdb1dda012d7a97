"""Scores by hand and against scikit-learn, on tables with ties, absent classes and all of one class."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from counterstain.evaluation.metrics import (
    average_precision,
    balanced_accuracy,
    confusion,
    from_confusion,
    image_loss,
    pr_curve_points,
    predicted_class,
    quadratic_kappa,
    roc_auc,
    roc_curve_points,
    score_table,
)
from counterstain.evaluation.predictions import Predictions

Make = Callable[..., Predictions]


def test_six_rows_by_hand(make_table: Make) -> None:
    # true 0 0 0 1 1 1, called 0 1 0 1 1 0: TN 2, FP 1, FN 1, TP 2
    table = make_table([0, 0, 0, 1, 1, 1], [0.1, 0.6, 0.4, 0.9, 0.6, 0.3])
    found = score_table(table.label, table.prob)
    assert confusion(table.label, predicted_class(table.prob), 2).tolist() == [[2, 1], [1, 2]]
    for name in ("accuracy", "precision", "recall", "specificity", "f1", "balanced_accuracy"):
        assert found[name, None] == pytest.approx(2 / 3)
    assert found["mcc", None] == pytest.approx((2 * 2 - 1 * 1) / 9)
    # pairs ranked right: 0.9 above all three; 0.6 above two and ties one; 0.3 above one: 3 + 2.5 + 1 of 9
    assert found["auroc", None] == pytest.approx(6.5 / 9)
    # thresholds .9: 1/1; .6: 2/3; .3: 3/5 -> (1 + 2/3 + 3/5) / 3
    assert found["auprc", None] == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    right = np.array([0.9, 0.4, 0.6, 0.9, 0.6, 0.3])
    assert found["loss", None] == pytest.approx(-np.log(right).mean())


def test_undefined_is_nan_and_never_zero() -> None:
    found = score_table(np.array([0, 1, 1]), np.array([[0.9, 0.1]] * 3))
    assert np.isnan(found["precision", None])
    assert found["recall", None] == 0
    assert found["f1", None] == 0
    assert np.isnan(found["mcc", None])
    assert found["auroc", None] == 0.5
    one = score_table(np.array([0, 0]), np.array([[0.9, 0.1], [0.2, 0.8]]))
    for name in ("recall", "auroc", "auprc", "mcc"):
        assert np.isnan(one[name, None])
    assert one["specificity", None] == 0.5
    assert one["balanced_accuracy", None] == 0.5


def test_balanced_accuracy_is_scikit_learns() -> None:
    from sklearn.metrics import balanced_accuracy_score

    rng = np.random.default_rng(0)
    for classes in (2, 4):
        label, called = rng.integers(classes, size=50), rng.integers(classes, size=50)
        found = balanced_accuracy(confusion(label, called, classes))
        assert float(found) == pytest.approx(balanced_accuracy_score(label, called))
    # Of a class without images there is no recall: (2/3 + 1/2) / 2.
    assert float(balanced_accuracy(np.array([[2, 0, 1], [0, 0, 0], [0, 1, 1]]))) == pytest.approx(7 / 12)
    both = np.array([[[3, 1], [2, 2]], [[0, 4], [0, 4]]])
    assert balanced_accuracy(both).tolist() == pytest.approx([(3 / 4 + 2 / 4) / 2, 1 / 2])


def test_a_certain_mistake_costs_what_it_costs_in_keras() -> None:
    cost = image_loss(np.array([1, 0]), np.array([[1.0, 0.0], [1.0, 0.0]]))
    assert cost == pytest.approx([-np.log(1e-7), -np.log(1 - 1e-7)])


def test_half_against_half_is_not_called_positive() -> None:
    assert predicted_class(np.array([[0.5, 0.5]])).tolist() == [0]


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="2 labels for 1 rows"):
        score_table(np.array([0, 1]), np.array([[0.5, 0.5]]))


def against_sklearn(label: NDArray[np.int64], prob: NDArray[np.float64]) -> dict[str, float]:
    """The two-class scores of scikit-learn; undefined is NaN where it can say so."""
    from sklearn import metrics

    called = prob.argmax(axis=1)
    both = len(set(label.tolist())) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = {
            "accuracy": metrics.accuracy_score(label, called),
            "precision": metrics.precision_score(label, called, zero_division=np.nan),
            "recall": metrics.recall_score(label, called, zero_division=np.nan),
            "specificity": metrics.recall_score(label, called, pos_label=0, zero_division=np.nan),
            "f1": metrics.f1_score(label, called, zero_division=np.nan),
            "balanced_accuracy": metrics.balanced_accuracy_score(label, called),
            "auroc": metrics.roc_auc_score(label, prob[:, 1]) if both else np.nan,
            "auprc": metrics.average_precision_score(label, prob[:, 1]) if label.any() else np.nan,
            "loss": metrics.log_loss(label, np.clip(prob, 1e-7, 1 - 1e-7), labels=[0, 1]),
        }
        if both and 0 < called.sum() < len(called):
            out["mcc"] = metrics.matthews_corrcoef(label, called)
    return out


@settings(max_examples=30)
@given(seed=st.integers(0, 100_000), n=st.integers(1, 60), digits=st.integers(0, 3), share=st.floats(0, 1))
def test_two_classes_agree_with_sklearn(seed: int, n: int, digits: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    label = (rng.random(n) < share).astype(np.int64)
    p = np.round(rng.random(n), digits)
    prob = np.column_stack([1 - p, p])
    found = score_table(label, prob)
    for name, value in against_sklearn(label, prob).items():
        assert found[name, None] == pytest.approx(value, abs=1e-9, nan_ok=True), name


@settings(max_examples=12)
@given(seed=st.integers(0, 100_000), n_classes=st.integers(3, 6), digits=st.integers(1, 3))
def test_several_classes_agree_with_sklearn(seed: int, n_classes: int, digits: int) -> None:
    from sklearn import metrics

    rng = np.random.default_rng(seed)
    n = 60
    label = np.concatenate([np.arange(n_classes), rng.integers(n_classes, size=n - n_classes)])
    prob = np.round(rng.dirichlet(np.ones(n_classes), size=n), digits)
    prob[:, 0] = 1 - prob[:, 1:].sum(axis=1)
    found = score_table(label, prob)
    called = prob.argmax(axis=1)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        label, called, labels=range(n_classes), zero_division=np.nan
    )
    for c in range(n_classes):
        assert found["precision", c] == pytest.approx(precision[c], nan_ok=True)
        assert found["recall", c] == pytest.approx(recall[c])
        assert found["f1", c] == pytest.approx(f1[c])
        assert found["auroc", c] == pytest.approx(metrics.roc_auc_score(label == c, prob[:, c]))
        assert found["auprc", c] == pytest.approx(metrics.average_precision_score(label == c, prob[:, c]))
    assert found["recall", None] == pytest.approx(recall.mean())
    assert found["auroc", None] == pytest.approx(np.mean([found["auroc", c] for c in range(n_classes)]))
    assert np.isnan(found["precision", None]) == np.isnan(precision).any()
    assert found["mcc", None] == pytest.approx(metrics.matthews_corrcoef(label, called))
    assert found["balanced_accuracy", None] == pytest.approx(metrics.balanced_accuracy_score(label, called))


def test_an_absent_class_is_left_out_of_the_macro_mean() -> None:
    counts = np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    found = from_confusion(counts)
    assert found["recall", None] == pytest.approx((0.75 + 1) / 2)
    assert np.isnan(found["recall", 2])


@settings(max_examples=10)
@given(seed=st.integers(0, 100_000), digits=st.integers(1, 3))
def test_curves_have_the_areas_and_points_of_sklearn(seed: int, digits: int) -> None:
    from sklearn import metrics

    rng = np.random.default_rng(seed)
    positive = np.concatenate([[True, False], rng.random(40) < 0.4])
    score = np.round(rng.random(42), digits)
    fpr, tpr, threshold = roc_curve_points(positive, score)
    expected = metrics.roc_curve(positive, score, drop_intermediate=False)
    for ours, theirs in zip((fpr, tpr, threshold), expected, strict=True):
        assert ours == pytest.approx(theirs)
    assert np.trapezoid(tpr, fpr) == pytest.approx(roc_auc(positive, score))
    recall, precision, _ = pr_curve_points(positive, score)
    assert (np.diff(recall) * precision[1:]).sum() == pytest.approx(average_precision(positive, score))


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_the_order_of_rows_and_a_rising_transform_change_nothing(seed: int, random_table: Make) -> None:
    table = random_table(seed, images=50, patients=10, digits=2)
    order = np.random.default_rng(seed).permutation(50)
    one, two = score_table(table.label, table.prob), score_table(table.label[order], table.prob[order])
    for key, value in one.items():
        assert two[key] == pytest.approx(value)
    assert roc_auc(table.label == 1, table.prob[:, 1] ** 3) == pytest.approx(one["auroc", None])


def test_quadratic_kappa_by_hand() -> None:
    # Observed cost: one call 1 grade off, one 2 grades off: 1 + 4 = 5. Margins (2, 2, 1) and (2, 1, 2) of 5 images:
    # expected (0·(4 + 2 + 2) + 1·(2·1 + 2·2 + 2·2 + 1·1) + 4·(2·2 + 1·2)) / 5 = (11 + 24) / 5 = 7. 1 - 5/7.
    counts = np.array([[1, 0, 1], [1, 1, 0], [0, 0, 1]], dtype=np.float64)
    assert quadratic_kappa(counts) == pytest.approx(1 - 5 / 7)
    assert quadratic_kappa(np.diag([3.0, 2.0, 4.0])) == pytest.approx(1)
    assert np.isnan(quadratic_kappa(np.diag([0.0, 5.0, 0.0]))), "no grade but one: no agreement beyond chance"


@given(seed=st.integers(0, 10_000), grades=st.integers(2, 6))
def test_quadratic_kappa_is_that_of_scikit_learn(seed: int, grades: int) -> None:
    from sklearn.metrics import cohen_kappa_score

    random = np.random.default_rng(seed)
    label, called = np.append(random.integers(0, grades, 30), [0, 1]), np.append(random.integers(0, grades, 30), [1, 0])
    expected = cohen_kappa_score(label, called, weights="quadratic", labels=range(grades))
    assert quadratic_kappa(confusion(label, called, grades).astype(np.float64)) == pytest.approx(expected)
    turned = confusion(grades - 1 - label, grades - 1 - called, grades).astype(np.float64)
    assert quadratic_kappa(turned) == pytest.approx(expected), "from high to low it is the same"
