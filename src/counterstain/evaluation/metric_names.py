"""The names of the measures, once: as records, readers and other tools call them, and the order of tables."""

import difflib
import math
import re
from collections.abc import Collection

from counterstain.errors import InputError, suggest
from counterstain.evaluation.metrics import PROB_CLIP

__all__ = [
    "CLASS_BOUND",
    "COMPARABLE",
    "ORDER",
    "RANGES",
    "WORDS",
    "canonical_measure",
    "is_class_bound",
    "is_graded",
    "is_measure",
    "measure_words",
    "width",
]

# The order in which tables show them; a table leaves out what it doesn't have.
ORDER = (
    "auroc", "auprc", "accuracy", "balanced_accuracy", "recall", "specificity", "precision", "npv", "f1", "mcc",
    "quadratic_kappa", "sensitivity_at_95_specificity", "loss", "brier", "patient_recognition",
)  # fmt: skip
# Those that a study may name as its primary measure: the higher the better. All but the NPV are defined for any number
# of classes.
COMPARABLE = (
    "accuracy", "precision", "recall", "specificity", "f1", "balanced_accuracy", "mcc", "auroc", "auprc", "npv",
    "quadratic_kappa",
)  # fmt: skip

# The lowest and the highest value of those that do not lie in [0, 1].
RANGES = {
    "mcc": (-1.0, 1.0),
    "quadratic_kappa": (-1.0, 1.0),
    "brier": (0.0, 2.0),
    "loss": (0.0, -math.log(PROB_CLIP)),
}

# Measures of one class against the rest: with the other class as the positive one they are other numbers. AUROC isn't
# among them: of two classes it is the same for both.
CLASS_BOUND = ("precision", "recall", "specificity", "f1", "auprc", "npv", "ppv", "sensitivity_at_95_specificity")

ALIASES = {
    "recall": ("sensitivity", "sens", "tpr", "true positive rate", "hit rate", "detection rate", "se"),
    "specificity": ("spec", "tnr", "true negative rate", "selectivity", "sp"),
    "precision": ("ppv", "positive predictive value"),
    "npv": ("negative predictive value",),
    "f1": ("dice", "dice score", "dsc", "f score", "f1 score", "f measure", "sorensen dice"),
    "accuracy": ("acc", "correct rate", "top 1", "top 1 accuracy"),
    "balanced_accuracy": ("bacc", "bal acc", "balanced acc", "mean class accuracy", "uar"),
    "mcc": ("matthews", "matthews correlation", "matthews correlation coefficient", "phi"),
    "quadratic_kappa": ("qwk", "quadratic weighted kappa", "weighted kappa"),
    "auroc": ("auc", "roc auc", "auc roc", "area under the curve", "c statistic", "c index", "concordance"),
    "auprc": ("pr auc", "auc pr", "aupr", "ap", "average precision"),
    "loss": ("log loss", "cross entropy", "nll", "negative log likelihood"),
    "brier": ("brier score",),
}
# What we don't compute, and the measure that answers the same question.
NEAREST_IN_MEANING = {
    "kappa": "mcc", "cohens kappa": "mcc", "cohen kappa": "mcc", "youden": "balanced_accuracy", "fdr": "precision",
    "youdens j": "balanced_accuracy", "informedness": "balanced_accuracy", "fpr": "specificity",
    "false positive rate": "specificity", "fnr": "recall", "false negative rate": "recall", "miss rate": "recall",
    "for": "npv", "error": "accuracy", "error rate": "accuracy", "iou": "f1", "jaccard": "f1", "gini": "auroc",
    "g mean": "balanced_accuracy", "f2": "f1", "mse": "brier", "macro recall": "balanced_accuracy",
}  # fmt: skip
WORDS = {
    "quadratic_kappa": "quadratic-weighted kappa",
    "loss": "log loss", "recall": "sensitivity (recall)", "f1": "F1", "balanced_accuracy": "balanced accuracy",
    "mcc": "MCC", "auroc": "AUROC", "auprc": "AUPRC", "brier": "Brier score", "npv": "NPV", "precision": "precision",
    "sensitivity_at_95_specificity": "sensitivity at 95 % specificity", "accuracy": "accuracy",
    "specificity": "specificity", "patient_recognition": "patient recognition rate",
}  # fmt: skip


def _squeezed(name: str) -> str:
    """A name without case, spaces, dashes and underscores."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


_BY_ALIAS = {_squeezed(word): name for name, words in ALIASES.items() for word in (name, *words)}
_BY_MEANING = {_squeezed(word): name for word, name in NEAREST_IN_MEANING.items()}


def is_measure(word: str) -> bool:
    """Whether a word means a measure: one of ours, another name for it, or one that we answer by another.

    Examples:
        >>> is_measure("sensitivity"), is_measure("Cohen's kappa"), is_measure("epochs")
        (True, True, False)
    """
    return _squeezed(word) in {*_BY_ALIAS, *_BY_MEANING}


def canonical_measure(name: str, known: Collection[str], *, noun: str = "primary endpoint") -> str:
    """The name by which the records call a measure: its own, or that of a known alias.

    Args:
        name: as the user wrote it; case, spaces, dashes and underscores don't matter.
        known: the measures that can be had here.
        noun: how the error calls it.

    Raises:
        InputError: If it is none of them; the suggestion goes by meaning first and by spelling second.

    Examples:
        >>> canonical_measure("Sensitivity", ["auroc", "recall"])
        'recall'
    """
    if name in known:
        return name
    squeezed = _squeezed(name)
    by_spelling = {_squeezed(measure): measure for measure in known}
    if squeezed in by_spelling:
        return by_spelling[squeezed]
    meant = _BY_ALIAS.get(squeezed)
    if meant in known and meant is not None:
        return meant
    nearest = _BY_MEANING.get(squeezed)
    if nearest in known:
        raise InputError(f"{noun} is '{name}', which isn't computed here; '{nearest}' answers the same question")
    if meant is not None:
        raise InputError(f"{noun} is '{name}', which these tables don't give{suggest('', known)}")
    near = difflib.get_close_matches(squeezed, [*by_spelling, *_BY_ALIAS], n=1, cutoff=0.75)
    suggestion = by_spelling.get(near[0], _BY_ALIAS.get(near[0])) if near else None
    raise InputError(
        f"{noun} is '{name}'" + (f"; did you mean '{suggestion}'?" if suggestion in known else suggest("", known))
    )


def width(metric: str) -> float:
    """What two models can differ by at most in the measure, as (-1, 1) is 2 wide.

    Examples:
        >>> width("mcc"), width("auroc")
        (2.0, 1.0)
    """
    low, high = RANGES.get(metric, (0.0, 1.0))
    return high - low


def is_graded(name: str) -> bool:
    """Whether a measure, by any of its names, needs classes with an order.

    Examples:
        >>> is_graded("QWK"), is_graded("kappa")
        (True, False)
    """
    return _BY_ALIAS.get(_squeezed(name)) == "quadratic_kappa"


def is_class_bound(metric: str) -> bool:
    """Whether the measure is another number with the other class as the positive one."""
    return metric in CLASS_BOUND


def measure_words(metric: str, positive: str | None = None, *, several: bool = False) -> str:
    """A measure as a reader knows it, with its class where it is bound to one.

    Args:
        metric: its name in the records.
        positive: of two classes the positive one.
        several: whether there are more than two classes, over which it is a mean.

    Examples:
        >>> measure_words("recall", "malignant")
        "sensitivity (recall) for 'malignant'"
        >>> measure_words("auroc", "malignant")
        'AUROC'
    """
    words = WORDS.get(metric, metric.replace("_", " "))
    if not is_class_bound(metric):
        return words
    if positive is None:
        return f"{words}, mean over the classes" if several else words
    return f"{words} for '{positive}'"
