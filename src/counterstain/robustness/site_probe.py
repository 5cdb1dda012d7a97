"""Can the site be read off the network's features? Then the network could use it, and another site would mislead it."""

import warnings

import numpy as np
from numpy.typing import NDArray

from counterstain.evaluation.intervals import estimates, sample, units_of
from counterstain.evaluation.predictions import Predictions

__all__ = ["PROBE_IMAGES", "probe_sites"]

PROBE_IMAGES = 2000  # at most; taken evenly over patients
FOLDS = 5
PULL = 0.1  # inverse strength of the ridge, for standardised features that are often more than the images


def probe_sites(features: NDArray[np.float32], images: Predictions) -> tuple[dict[str, object] | None, str]:
    """How well a logistic regression tells the site from the features, on patients that it was not fitted on.

    Args:
        features: (M, D) what goes into the network's last layer.
        images: the M images: site, patient and label are read.

    Returns:
        Balanced accuracy with its interval over patients, and what it is to be held against: `chance`, one over the
        number of sites, and `label_alone`, what the best guess from the true label reaches, where the sites' classes
        differ in their shares. Or None and why there is none.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    site, patient = np.array(images.site, dtype=object), np.array(images.patient, dtype=object)
    having = {name: len(set(patient[site == name])) for name in sorted(set(site) - {""})}
    sites = [name for name, patients in having.items() if patients >= 2]
    if len(sites) < 2:
        return None, "fewer than two sites have two patients: the site probe was left out"
    rows = np.flatnonzero(np.isin(site, sites))
    folds = min(FOLDS, *(having[name] for name in sites))
    number = {name: k for k, name in enumerate(sites)}
    label = np.array([number[name] for name in site[rows]], dtype=np.int64)
    prob = np.full((len(rows), len(sites)), np.nan)
    converged = True
    divide = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    for train, test in divide.split(features[rows], label, patient[rows]):
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=PULL, class_weight="balanced", max_iter=1000, tol=1e-3)
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(features[rows][train].astype(np.float64), label[train])
        converged &= not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
        fold_prob = np.zeros((len(test), len(sites)))
        fold_prob[:, model.classes_] = model.predict_proba(features[rows][test].astype(np.float64))
        prob[test] = fold_prob
    table = Predictions(
        image=tuple(images.image[row] for row in rows),
        patient=tuple(patient[rows]),
        slide=("",) * len(rows),
        site=tuple(site[rows]),
        label=label,
        prob=prob,
        classes=tuple(sites),
    )
    reached = estimates(sample([table], units_of([table]), level="image"))["balanced_accuracy", None]
    record = {
        "balanced_accuracy": {"value": reached.value, "low": reached.low, "high": reached.high},
        "chance": 1 / len(sites),
        "label_alone": _label_alone(label, images.label[rows], len(sites), len(images.classes)),
        "sites": sites,
        "left_out": sorted(set(having) - set(sites)),
        "features": int(features.shape[1]),
        "images": len(rows),
        "patients": len(set(patient[rows])),
        "folds": folds,
        "converged": converged,
    }
    return record, ""


def _label_alone(site: NDArray[np.int64], label: NDArray[np.int64], sites: int, classes: int) -> float:
    """Balanced accuracy of naming, for each label, the site where its share is the largest."""
    share = np.bincount(site * classes + label, minlength=sites * classes).reshape(sites, classes).astype(np.float64)
    share /= share.sum(axis=1, keepdims=True)
    return float(share.max(axis=0).sum() / sites)
