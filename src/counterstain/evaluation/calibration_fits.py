"""The methods of calibration as arithmetic: temperature, Platt's and isotonic, fitted to predictions and applied."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterstain.evaluation.metrics import PROB_CLIP, image_loss, log_odds
from counterstain.evaluation.predictions import Predictions

__all__ = ["FEW_PATIENTS", "apply_method", "fit_method"]

Floats = NDArray[np.float64]

FEW_PATIENTS = 10  # below, what is fitted here hangs on single patients
LARGEST_LOG_T = 4.6  # temperatures from 1/100 to 100


def fit_method(method: str, table: Predictions) -> tuple[dict[str, Any], str]:
    """Parameters of a method and "", or those that change nothing and why."""
    unchanged: dict[str, dict[str, Any]] = {
        "temperature": {"temperature": 1.0},
        "platt": {"slope": 1.0, "intercept": 0.0},
        "isotonic": {"x": [0.0, 1.0], "y": [0.0, 1.0]},
        "none": {},
    }
    if method == "none":
        return {}, ""
    if len(set(table.label.tolist())) < 2:
        return unchanged[method], "the validation part has one class only; probabilities are not calibrated"
    fit = {"temperature": _fit_temperature, "platt": _fit_platt, "isotonic": _fit_isotonic}[method]
    fitted = fit(table)
    before = float(image_loss(table.label, table.prob).mean())
    after = float(image_loss(table.label, apply_method(method, fitted, table.prob)).mean())
    if not after <= before:
        return unchanged[method], "the fit did not lower the validation loss; probabilities are not calibrated"
    return fitted, ""


def _logs(prob: Floats) -> Floats:
    return np.log(np.clip(prob, PROB_CLIP, 1.0))


def _fit_temperature(table: Predictions) -> dict[str, Any]:
    """The temperature with the lowest loss, every image weighing the same.

    Fewer than FEW_PATIENTS may all be predicted right, and then the loss is lowest at no temperature at all: there the
    temperature is drawn towards 1, as if one further patient had spoken for it (a normal prior of its logarithm).

    Source: Guo et al. 2017, ICML, arXiv:1706.04599.
    """
    from scipy.optimize import minimize_scalar

    logs = _logs(table.prob)
    row = np.arange(len(table))
    patients = len(set(table.patient))
    pull = 0.5 / patients if patients < FEW_PATIENTS else 0.0

    def loss(log_t: float) -> float:
        scaled = logs / np.exp(log_t)
        top = scaled.max(axis=1)
        total = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
        return float((total - scaled[row, table.label]).mean()) + pull * log_t**2

    optimum = minimize_scalar(loss, bounds=(-LARGEST_LOG_T, LARGEST_LOG_T), method="bounded", options={"xatol": 1e-6})
    return {"temperature": float(np.exp(optimum.x))}


def _fit_platt(table: Predictions) -> dict[str, Any]:
    """Slope and intercept of a logistic regression on the log odds, with Platt's targets that keep both finite.

    Source: Platt 1999, Advances in Large Margin Classifiers, p. 61; Lin et al. 2007, doi:10.1007/s10994-007-5018-6.
    """
    from scipy.optimize import minimize

    positive = table.label == 1
    odds = log_odds(table.prob[:, 1])
    n, m = int(positive.sum()), int((~positive).sum())
    target = np.where(positive, (n + 1) / (n + 2), 1 / (m + 2))

    def loss(at: Floats) -> tuple[float, Floats]:
        z = at[0] * odds + at[1]
        p = 1 / (1 + np.exp(-z))
        value = float((np.logaddexp(0, z) - target * z).mean())
        return value, np.array([((p - target) * odds).mean(), (p - target).mean()])

    optimum = minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS")
    return {"slope": float(optimum.x[0]), "intercept": float(optimum.x[1])}


def _fit_isotonic(table: Predictions) -> dict[str, Any]:
    """The rising step function with the lowest Brier score, its ends kept off 0 and 1 by half an image.

    Source: Zadrozny & Elkan 2002, KDD, doi:10.1145/775047.775151.
    """
    from scipy.optimize import isotonic_regression

    x, place = np.unique(table.prob[:, 1], return_inverse=True)
    weight = np.bincount(place).astype(np.float64)
    share = np.bincount(place, weights=table.label == 1) / weight
    y = isotonic_regression(share, weights=weight).x
    edge = 0.5 / len(table)
    return {"x": x.tolist(), "y": np.clip(y, edge, 1 - edge).tolist()}


def apply_method(method: str, parameters: Mapping[str, Any], prob: Floats) -> Floats:
    """(N, C) calibrated probabilities; each row sums to 1."""
    if method == "none":
        return prob
    if method == "temperature":
        if parameters["temperature"] == 1.0:
            return prob
        scaled = _logs(prob) / parameters["temperature"]
        above = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        softened: Floats = above / above.sum(axis=1, keepdims=True)
        return softened
    if method == "platt":
        p = 1 / (1 + np.exp(-(parameters["slope"] * log_odds(prob[:, 1]) + parameters["intercept"])))
    else:
        p = np.interp(prob[:, 1], parameters["x"], parameters["y"])
    return np.column_stack([1 - p, p])
