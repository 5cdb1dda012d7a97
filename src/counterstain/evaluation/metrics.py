"""Scores: pure numbers on arrays. What is undefined is NaN, never 0; intervals are made in `intervals`."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "PROB_CLIP",
    "accuracy",
    "average_precision",
    "balanced_accuracy",
    "confusion",
    "from_confusion",
    "image_brier",
    "image_loss",
    "log_odds",
    "mcc",
    "mean_present",
    "pr_curve_points",
    "predicted_class",
    "quadratic_kappa",
    "ratio",
    "roc_auc",
    "roc_curve_points",
    "score_table",
]

Floats = NDArray[np.float64]

PROB_CLIP = 1e-7  # Keras clips probabilities here before the logarithm
PER_CLASS = ("precision", "recall", "specificity", "f1")


def predicted_class(prob: Floats) -> NDArray[np.int64]:
    """(N,) index of the most probable class; of equals the first, so 0.5 against 0.5 is not called positive."""
    index: NDArray[np.int64] = np.argmax(prob, axis=1).astype(np.int64)
    return index


def image_loss(label: NDArray[np.int64], prob: Floats) -> Floats:
    """(N,) negative log-likelihood of each image in nats; its mean is the loss (cross-entropy).

    Probabilities are clipped to [1e-7, 1 - 1e-7] first, as Keras does, so that one certain mistake costs 16.1.
    """
    of_label = np.clip(prob[np.arange(len(label)), label], PROB_CLIP, 1 - PROB_CLIP)
    return -np.log(of_label)


def log_odds(p: Floats) -> Floats:
    """ln(p / (1 - p)), with p kept off 0 and 1 by 1e-7, as the log loss keeps it."""
    clipped = np.clip(p, PROB_CLIP, 1 - PROB_CLIP)
    odds: Floats = np.log(clipped / (1 - clipped))
    return odds


def image_brier(label: NDArray[np.int64], prob: Floats) -> Floats:
    """(N,) squared error of each image's probabilities; its mean is the Brier score.

    Two classes: (p - y)^2 of the positive one, in [0, 1]. More: summed over the classes, in [0, 2].

    Source: Brier 1950, Mon. Weather Rev. 78:1.
    """
    if prob.shape[1] == 2:
        return np.asarray((prob[:, 1] - label) ** 2, dtype=np.float64)
    squared: Floats = ((prob - np.eye(prob.shape[1])[label]) ** 2).sum(axis=1)
    return squared


def confusion(label: NDArray[np.int64], predicted: NDArray[np.int64], n_classes: int) -> NDArray[np.int64]:
    """(C, C) counts: rows are the true class, columns the predicted one. Classes that are absent keep their row."""
    return np.bincount(label * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)


# ------------------------------------------------------------------------------------------- from counts to scores


def ratio(above: Floats, below: Floats) -> Floats:
    """above / below, NaN where below is 0."""
    quotient = np.full(np.broadcast(above, below).shape, np.nan)
    np.divide(above, below, out=quotient, where=below > 0)
    return quotient


def class_scores(counts: Floats) -> dict[str, Floats]:
    """Precision, recall, specificity and F1 of each class against the rest, from counts (..., C, C) to (..., C).

    Undefined is NaN: precision of a class never predicted, recall of a class not there, specificity where there is
    no other class, F1 of a class neither there nor predicted.
    """
    hit = np.diagonal(counts, axis1=-2, axis2=-1)
    true, called = counts.sum(axis=-1), counts.sum(axis=-2)
    total = true.sum(axis=-1, keepdims=True)
    return {
        "precision": ratio(hit, called),
        "recall": ratio(hit, true),
        "specificity": ratio(total - true - called + hit, total - true),
        "f1": ratio(2 * hit, true + called),
    }


def accuracy(counts: Floats) -> Floats:
    """Share of images predicted right, from counts (..., C, C) to (...)."""
    return ratio(np.trace(counts, axis1=-2, axis2=-1), counts.sum(axis=(-2, -1)))


def balanced_accuracy(counts: Floats) -> Floats:
    """Mean recall over the classes that are there, from counts (..., C, C) to (...).

    Source: Brodersen et al. 2010, ICPR, doi:10.1109/ICPR.2010.764.
    """
    return mean_present(class_scores(counts)["recall"], counts.sum(axis=-1) > 0)


def mcc(counts: Floats) -> Floats:
    """Matthews correlation of true and predicted class in [-1, 1], from counts (..., C, C) to (...).

    NaN where all images are of one class or all are predicted as one: there is no correlation with a constant.

    Source: Gorodkin 2004, Comput. Biol. Chem. 28:367, doi:10.1016/j.compbiolchem.2004.09.006.
    """
    true, called = counts.sum(axis=-1), counts.sum(axis=-2)
    total = true.sum(axis=-1)
    above = np.trace(counts, axis1=-2, axis2=-1) * total - (true * called).sum(axis=-1)
    below = (total**2 - (true**2).sum(axis=-1)) * (total**2 - (called**2).sum(axis=-1))
    return ratio(above, np.sqrt(np.maximum(below, 0)))


def mean_present(value: Floats, present: NDArray[np.bool_]) -> Floats:
    """Mean over the last axis of the classes that are there; NaN where one of those is NaN or none is there."""
    return ratio(np.where(present, value, 0.0).sum(axis=-1), present.sum(axis=-1))


def quadratic_kappa(counts: Floats) -> Floats:
    """Agreement of true and predicted grade beyond chance, from counts (..., C, C) of classes in order, in [-1, 1].

    1 − Σ w·observed / Σ w·expected, where w is the squared distance of two grades, and expected counts follow from the
    margins: a call two grades off costs four times one grade off. NaN where truth and calls are all of one grade.

    Source: Cohen 1968, Psychol. Bull. 70:213, doi:10.1037/h0026256; Fleiss & Cohen 1973, Educ. Psychol. Meas. 33:613.
    """
    grade = np.arange(counts.shape[-1], dtype=np.float64)
    cost = (grade[:, None] - grade) ** 2
    true, called = counts.sum(axis=-1), counts.sum(axis=-2)
    expected = true[..., :, None] * called[..., None, :]
    total = counts.sum(axis=(-2, -1))
    return 1 - ratio((cost * counts).sum(axis=(-2, -1)) * total, (cost * expected).sum(axis=(-2, -1)))


def from_confusion(counts: Floats | NDArray[np.int64]) -> dict[tuple[str, int | None], Floats]:
    """All scores that follow from counts (..., C, C), as (metric, class) -> (...).

    Two classes: precision, recall, specificity and F1 are those of the last (positive) one, class None, and the NPV is
    the precision of the other one. More: class None holds the macro mean over the classes that are there, and each
    class has its own beside it.
    """
    counts = counts.astype(np.float64)
    single = class_scores(counts)
    present = counts.sum(axis=-1) > 0
    scores: dict[tuple[str, int | None], Floats] = {("accuracy", None): accuracy(counts)}
    n_classes = counts.shape[-1]
    for name in PER_CLASS:
        if n_classes == 2:
            scores[name, None] = single[name][..., 1]
            continue
        scores[name, None] = mean_present(single[name], present)
        for c in range(n_classes):
            scores[name, c] = single[name][..., c]
    if n_classes == 2:
        scores["npv", None] = single["precision"][..., 0]  # the precision of calling an image negative
    scores["balanced_accuracy", None] = mean_present(single["recall"], present)
    scores["mcc", None] = mcc(counts)
    return scores


# --------------------------------------------------------------------------------------------------------- ranking


def _steps(positive: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats, Floats]:
    """Thresholds from high to low, and how many positives and negatives score at least each; equal scores are one."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    true = np.cumsum(positive[order], dtype=np.float64)[last]
    return ranked[last], true, last + 1 - true


def roc_auc(positive: NDArray[np.bool_], score: Floats) -> float:
    """Chance in [0, 1] that a positive scores above a negative, ties counting half; NaN where either is missing.

    Source: Hanley & McNeil 1982, Radiology 143:29, doi:10.1148/radiology.143.1.7063747.
    """
    _, true, false = _steps(positive, score)
    if true[-1] == 0 or false[-1] == 0:
        return float("nan")
    below = np.diff(true, prepend=0.0) * (false[-1] - false + 0.5 * np.diff(false, prepend=0.0))
    return float(below.sum() / (true[-1] * false[-1]))


def average_precision(positive: NDArray[np.bool_], score: Floats) -> float:
    """Area under the precision-recall steps in [0, 1] (average precision); NaN without positives.

    Source: as in scikit-learn: the sum over thresholds of (recall gained) x precision, not a trapezoid.
    """
    _, true, false = _steps(positive, score)
    if true[-1] == 0:
        return float("nan")
    return float((np.diff(true, prepend=0.0) * true / (true + false)).sum() / true[-1])


def roc_curve_points(positive: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats, Floats]:
    """False-positive rate, true-positive rate and threshold, from (0, 0, inf) to (1, 1, lowest score).

    Rates are NaN where the class they are of is missing.
    """
    threshold, true, false = _steps(positive, score)
    start = np.zeros(1)
    fpr = ratio(np.concatenate([start, false]), false[-1])
    tpr = ratio(np.concatenate([start, true]), true[-1])
    return fpr, tpr, np.concatenate([[np.inf], threshold])


def pr_curve_points(positive: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats, Floats]:
    """Recall, precision and threshold from (0, 1, inf) down to the lowest score; to be drawn as steps (where="pre").

    Recall is NaN without positives.
    """
    threshold, true, false = _steps(positive, score)
    recall = ratio(np.concatenate([np.zeros(1), true]), true[-1])
    precision = np.concatenate([np.ones(1), true / (true + false)])
    return recall, precision, np.concatenate([[np.inf], threshold])


def ranking_scores(label: NDArray[np.int64], prob: Floats) -> dict[tuple[str, int | None], float]:
    """AUROC and AUPRC as (metric, class) -> value: of the last class of two; macro one-vs-rest, and each, of more."""
    n_classes = prob.shape[1]
    if n_classes == 2:
        return {
            ("auroc", None): roc_auc(label == 1, prob[:, 1]),
            ("auprc", None): average_precision(label == 1, prob[:, 1]),
        }
    scores: dict[tuple[str, int | None], float] = {}
    present = np.bincount(label, minlength=n_classes) > 0
    for name, score in (("auroc", roc_auc), ("auprc", average_precision)):
        per_class = np.array([score(label == c, prob[:, c]) for c in range(n_classes)])
        scores[name, None] = float(mean_present(per_class, present))
        scores |= {(name, c): float(per_class[c]) for c in range(n_classes)}
    return scores


def score_table(label: NDArray[np.int64], prob: Floats) -> Mapping[tuple[str, int | None], float]:
    """Every score of one table of predictions, as (metric, class) -> value.

    Args:
        label: (N,) true class index, N >= 1.
        prob: (N, C) probabilities; of two classes the last is the positive one.

    Returns:
        loss, brier, the scores of `from_confusion`, auroc and auprc; class None is the positive class of two or the
        macro mean of more. Undefined is NaN.

    Raises:
        ValueError: If the arrays are empty or differ in length.
    """
    if len(label) == 0 or len(label) != len(prob):
        raise ValueError(
            f"{len(label)} labels for {len(prob)} rows of probabilities; as many, and at least one, needed"
        )
    counts = confusion(label, predicted_class(prob), prob.shape[1])
    scores: dict[tuple[str, int | None], float] = {
        ("loss", None): float(image_loss(label, prob).mean()),
        ("brier", None): float(image_brier(label, prob).mean()),
    }
    scores |= {key: float(value) for key, value in from_confusion(counts).items()}
    return scores | ranking_scores(label, prob)
