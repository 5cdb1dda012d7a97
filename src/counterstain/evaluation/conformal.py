"""Prediction sets that hold the true class of a new patient's image with a stated chance, and when to abstain."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterstain.evaluation.predictions import Predictions

__all__ = ["class_quantiles", "conformal_quantile", "coverage_record", "prediction_sets", "weighted_quantile"]

Floats = NDArray[np.float64]


def conformal_quantile(validation: Predictions, *, alpha: float = 0.1) -> float:
    """The largest 1 - probability that a class may have and still be in the set; infinite where patients are too few.

    The score of an image is 1 - the probability of its true class. Patients are exchangeable, images are not: each
    patient has the weight 1 / (K + 1), shared among their images, and the missing 1 / (K + 1) stands at infinity. An
    image drawn from a new patient then has its true class in its set with the chance 1 - alpha or more. With one image
    per patient this is the k-th smallest score, k = ceil((K + 1)(1 - alpha)).

    Args:
        validation: calibrated predictions of patients that were not trained on.
        alpha: in (0, 1).

    Source: Lee, Barber & Willett 2023, arXiv:2306.06342 (hierarchical data); Sadinle et al. 2019,
        doi:10.1080/01621459.2017.1395341 (the score).
    """
    score = 1 - validation.prob[np.arange(len(validation)), validation.label]
    patient = validation.patient_codes[1]
    images = np.bincount(patient)
    return weighted_quantile(score, 1 / (len(images) + 1) / images[patient], 1 - alpha)


def class_quantiles(validation: Predictions, *, alpha: float = 0.1) -> tuple[float, ...]:
    """For each class the largest 1 - probability that it may have and still be in the set (Mondrian sets).

    As `conformal_quantile`, but for each class from the images of that class alone: of the images of one class that a
    new patient has, one drawn at random then has its class in its set with the chance 1 - alpha or more, whichever the
    class is. The price is patients: each class needs as many as marginal sets need altogether.

    Args:
        validation: calibrated predictions of patients that were not trained on.
        alpha: in (0, 1).

    Returns:
        One quantile per class, in the table's order; infinite where too few patients have that class.

    Source: Vovk 2012, Conditional validity of inductive conformal predictors, ACML, arXiv:1209.2673.
    """
    patient = validation.patient_codes[1]
    quantiles = []
    for index in range(len(validation.classes)):
        of_class = validation.label == index
        if not of_class.any():
            quantiles.append(float("inf"))
            continue
        _, code = np.unique(patient[of_class], return_inverse=True)
        images = np.bincount(code)
        score = 1 - validation.prob[of_class, index]
        quantiles.append(weighted_quantile(score, 1 / (len(images) + 1) / images[code], 1 - alpha))
    return tuple(quantiles)


def weighted_quantile(score: Floats, weight: Floats, share: float) -> float:
    """The smallest score at or below which lies at least this share of the weight; infinite where none does."""
    order = np.argsort(score, kind="stable")
    reached = np.flatnonzero(np.cumsum(weight[order]) >= share - 1e-12)
    return float(score[order][reached[0]]) if len(reached) else float("inf")


def prediction_sets(prob: Floats, qhat: float | Sequence[float]) -> NDArray[np.bool_]:
    """(N, C) which classes cannot be ruled out: those whose 1 - probability is at most qhat. A set may be empty.

    Args:
        prob: (N, C).
        qhat: one quantile for all classes, or one for each (see `class_quantiles`).
    """
    within: NDArray[np.bool_] = (1 - prob) <= np.asarray(qhat) + 1e-12
    return within


def coverage_record(
    tables: Sequence[Predictions], sets: Sequence[NDArray[np.bool_]], *, alpha: float
) -> dict[str, Any]:
    """What prediction sets did on test patients, averaged over the tables (seeds).

    Args:
        tables: S tables of the same images, in any order of rows.
        sets: for each the (N, C) sets.
        alpha: of the sets.

    Returns:
        JSON-ready: asked (1 - alpha); covered: the mean over patients of the share of their images whose set holds the
        true class, with a t-interval over patients; by_class and by_site: the same within each; single, several, empty:
        shares of images whose set has one, more, no class (abstain: several + empty); accuracy_single: share right
        among the single ones; patients, images.
    """
    first = tables[0]
    hits = [within[np.arange(len(table)), table.label] for table, within in zip(tables, sets, strict=True)]
    by_image: dict[str, list[float]] = {}
    for table, hit in zip(tables, hits, strict=True):
        for image, value in zip(table.image, hit, strict=True):
            by_image.setdefault(image, []).append(float(value))
    mean_hit = np.array([np.mean(by_image[image]) for image in first.image])
    size = np.concatenate([within.sum(axis=1) for within in sets])
    right = np.concatenate(hits)
    patient = first.patient_codes[1]
    groups = {
        "by_class": {name: first.label == index for index, name in enumerate(first.classes)},
        "by_site": {name: np.array(first.site) == name for name in sorted(set(first.site) - {""})},
    }
    single = size == 1
    return {
        "asked": 1 - alpha,
        "unit": first.unit,
        "covered": _over_patients(mean_hit, patient),
        **{
            key: {name: _over_patients(mean_hit[rows], patient[rows]) for name, rows in members.items() if rows.any()}
            for key, members in groups.items()
        },
        "single": float(single.mean()),
        "several": float((size > 1).mean()),
        "empty": float((size == 0).mean()),
        "abstain": float((~single).mean()),
        "accuracy_single": float(right[single].mean()) if single.any() else None,
        "patients": len(first.patient_codes[0]),
        "images": len(first),
    }


def _over_patients(hit: Floats, patient: NDArray[np.int64]) -> dict[str, Any]:
    """Mean over patients of their share, with a t-interval over patients that stays within 0 and 1."""
    from scipy.special import stdtrit

    _, code = np.unique(patient, return_inverse=True)
    share = np.bincount(code, weights=hit) / np.bincount(code)
    n = len(share)
    value = float(share.mean())
    if n < 2:
        return {"value": value, "low": None, "high": None, "patients": n}
    half = float(stdtrit(n - 1, 0.975)) * float(share.std(ddof=1)) / np.sqrt(n)
    if half == 0:  # all alike: the exact limit for as many patients
        from counterstain.evaluation.proportions import clopper_pearson

        low, high = clopper_pearson(value * n, n)
        return {"value": value, "low": low, "high": high, "patients": n}
    return {"value": value, "low": max(0.0, value - half), "high": min(1.0, value + half), "patients": n}
