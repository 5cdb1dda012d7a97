"""Standard errors by the cluster-robust sandwich: a second way, of its own, to what the jackknife over patients finds.

A score f of the confusion matrix N = N_1 + … + N_K, summed over K patients, moves by u_k = <∇f(N), N_k> for each
patient; the u sum to 0, since f doesn't change when all counts are doubled. Their summed squares, times K / (K - 1),
are the variance of f (delta method, Liang & Zeger's sandwich with the patient as the cluster). Idea for scores of
classification: arXiv:2606.03656.

Nothing here is taken from the package: the scores are written out once more, and the gradient is a complex step.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["SCORES", "sandwich_error"]

Complex = NDArray[np.complex128]
STEP = 1e-20  # of a complex step nothing cancels, so that it may be as small as this


def f1(n: Complex) -> complex:
    """2 TP / (2 TP + FP + FN) of the last of two classes; the mean over the classes of more."""
    each = [2 * n[c, c] / (n[c].sum() + n[:, c].sum()) for c in range(len(n))]
    return complex(each[1] if len(n) == 2 else sum(each) / len(n))


def balanced_accuracy(n: Complex) -> complex:
    """Mean over the classes of the share predicted right."""
    return complex(sum(n[c, c] / n[c].sum() for c in range(len(n))) / len(n))


def mcc(n: Complex) -> complex:
    """Correlation of true and predicted class, from covariances of the classes' indicators."""
    p = n / n.sum()
    true, called = p.sum(axis=1), p.sum(axis=0)
    covariance = sum(p[c, c] - true[c] * called[c] for c in range(len(n)))
    spread = (1 - (true**2).sum()) * (1 - (called**2).sum())
    return complex(covariance / np.sqrt(spread))


SCORES: dict[str, Callable[[Complex], complex]] = {"f1": f1, "mcc": mcc, "balanced_accuracy": balanced_accuracy}


def sandwich_error(score: Callable[[Complex], complex], counts: NDArray[np.float64]) -> tuple[float, float]:
    """The score and its standard error.

    Args:
        score: of a (C, C) confusion matrix, true by predicted class; one of SCORES.
        counts: (K, C, C) the matrix of each of K >= 2 patients.
    """
    total = counts.sum(axis=0).astype(np.complex128)
    gradient = np.empty(total.shape)
    for cell in np.ndindex(total.shape):
        moved = total.copy()
        moved[cell] += 1j * STEP
        gradient[cell] = score(moved).imag / STEP
    move = (counts * gradient).sum(axis=(1, 2))
    k = len(counts)
    return score(total).real, float(np.sqrt(k / (k - 1) * (move**2).sum()))
