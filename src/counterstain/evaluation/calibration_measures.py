"""Calibration as a reviewer asks for it: O/E, calibration in the large, and the slope, with intervals over patients."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.evaluation.degrees_of_freedom import effective_units
from counterstain.evaluation.metrics import log_odds
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.resampling import jackknife_weights, unit_codes
from counterstain.evaluation.unbounded_intervals import Scale, open_interval

__all__ = ["calibration_measures", "fit_logistic"]

Floats = NDArray[np.float64]

MOST_STEPS = 60
STEEPEST = 1e3  # a slope beyond it grows without end: the classes are told apart without a mistake


def fit_logistic(columns: Floats, positive: NDArray[np.bool_], offset: Floats | None = None) -> Floats:
    """(K,) coefficients of a logistic regression of the outcome on the columns; NaN where none is the best.

    Args:
        columns: (N, K), with a column of ones where an intercept is wanted.
        positive: (N,) the outcome.
        offset: (N,) added to the log odds with a coefficient of 1.

    Returns:
        NaN where the outcome is one class only, or the columns tell the classes apart without a mistake.
    """
    at = np.zeros(columns.shape[1])
    unknown = np.full(columns.shape[1], np.nan)
    if positive.all() or not positive.any():
        return unknown
    start = np.zeros(len(positive)) if offset is None else offset
    loss = _loss(start, positive)
    for _ in range(MOST_STEPS):
        score, information = _derivatives(columns, positive, start + columns @ at)
        if not np.isfinite(information).all() or np.linalg.matrix_rank(information) < len(at):
            return unknown
        step: Floats = np.linalg.solve(information, score).astype(np.float64)
        # Newton's step is halved until it does not make the fit worse.
        for halved in range(40):
            trial = at + step / 2**halved
            changed = _loss(start + columns @ trial, positive)
            if changed <= loss + 1e-15:
                break
        at, loss = np.asarray(trial, dtype=np.float64), changed
        if np.abs(at).max() > STEEPEST:
            return unknown
        if np.abs(step).max() < 1e-10 * max(1.0, float(np.abs(at).max())):
            return at
    return at if loss > 1e-6 else unknown


def _loss(z: Floats, positive: NDArray[np.bool_]) -> float:
    return float((np.logaddexp(0, z) - positive * z).mean())


def _derivatives(columns: Floats, positive: NDArray[np.bool_], z: Floats) -> tuple[Floats, Floats]:
    """(K,) score and (K, K) information, means over the rows."""
    p = 1 / (1 + np.exp(-np.clip(z, -700, 700)))
    weighted = columns * (p * (1 - p))[:, None]
    return columns.T @ (positive - p) / len(z), weighted.T @ columns / len(z)


def calibration_measures(tables: Sequence[Predictions], *, confidence: float = 0.95) -> dict[str, object]:
    """O/E, calibration in the large and slope of one arm's probabilities of the positive class.

    O/E is the number of positive images over the sum of their probabilities: 1 is right, above 1 says that they are
    too low. In the large: the same on the log odds, the intercept of the outcome with the log odds as an offset; 0 is
    right. Slope: of the outcome on the log odds; below 1 says that probabilities are too extreme.

    Args:
        tables: S tables of two classes and the same images, one per seed; values are means over seeds.
        confidence: of the intervals, over patients (jackknife; each refit is one Newton step) and seeds.

    Returns:
        JSON-ready: oe, in_the_large, slope: {value, low, high}, null where undefined; notes.

    Raises:
        InputError: If there are not two classes.

    Source: Cox 1958, Biometrika 45:562, doi:10.1093/biomet/45.3-4.562; Van Calster et al. 2019, BMC Med. 17:230,
        doi:10.1186/s12916-019-1466-7.
    """
    if len(tables[0].classes) != 2:
        raise InputError(f"these measures of calibration are for two classes; there are {len(tables[0].classes)}")
    names, codes = unit_codes(tables)
    weights = jackknife_weights(len(names))
    scales: dict[str, Scale] = {"oe": "log", "in_the_large": "plain", "slope": "plain"}
    by_measure: dict[str, tuple[list[float], list[Floats]]] = {name: ([], []) for name in scales}
    for table, code in zip(tables, codes, strict=True):
        for name, (value, left_out) in _of_one(table, code, weights).items():
            by_measure[name][0].append(value)
            by_measure[name][1].append(left_out)
    images = np.bincount(codes[0], minlength=len(names)).astype(np.float64)
    most = max(effective_units(images) - 1, 1.0)
    scarce = max(min(map(effective_units, _by_class(tables[0], codes[0], len(names)))) - 1, 1.0)
    # The slope hangs on the scarcer class, but not on it alone: with its patients as the degrees of freedom the
    # interval holds too often, with all patients too seldom (docs/measures/smoothed-calibration.md).
    df = {"oe": most, "in_the_large": most, "slope": float(np.sqrt(scarce * most))}
    record: dict[str, Any] = {"notes": []}
    for name, (values, left_out_values) in by_measure.items():
        interval = open_interval(
            np.array(values), np.stack(left_out_values), df[name], scale=scales[name], confidence=confidence
        )
        # A limit without end says that these images bear no interval.
        bounded = abs(interval.low) < STEEPEST and abs(interval.high) < STEEPEST
        ends = (interval.value, interval.low, interval.high) if bounded else (interval.value, np.nan, np.nan)
        cells = [None if not np.isfinite(v) else v for v in ends]
        record[name] = dict(zip(("value", "low", "high"), cells, strict=True))
    if len(set(tables[0].label.tolist())) < 2:
        record["notes"].append("no measure of calibration: all images are of one class")
    elif record["slope"]["value"] is None:
        record["notes"].append(
            "no calibration slope: the probabilities separate the classes perfectly, or are all equal"
        )
    return record


def _by_class(table: Predictions, code: NDArray[np.int64], units: int) -> list[Floats]:
    """(U,) images of each class, for each unit."""
    return [np.bincount(code[table.label == c], minlength=units).astype(np.float64) for c in (0, 1)]


def _of_one(table: Predictions, code: NDArray[np.int64], weights: Floats) -> dict[str, tuple[float, Floats]]:
    """Each measure of one table, and (G,) the same without each group of units."""
    positive, p, units = table.label == 1, table.prob[:, 1], weights.shape[1]

    def by_unit(value: Floats) -> Floats:
        return np.bincount(code, weights=value, minlength=units).astype(np.float64)

    observed, expected = by_unit(positive.astype(np.float64)), by_unit(p)
    odds, ones = log_odds(p), np.ones(len(p))
    nan = float("nan")
    with np.errstate(invalid="ignore", divide="ignore"):
        oe = nan if positive.all() or not positive.any() else float(observed.sum() / expected.sum())
        oe_out = (weights @ observed) / (weights @ expected)
    large = _left_out(ones[:, None], positive, odds, by_unit, weights)
    slope = _left_out(np.column_stack([odds, ones]), positive, None, by_unit, weights)
    return {"oe": (oe, oe_out), "in_the_large": large, "slope": slope}


def _left_out(
    columns: Floats, positive: NDArray[np.bool_], offset: Floats | None, by_unit: Any, weights: Floats
) -> tuple[float, Floats]:
    """The first coefficient of a fit, and (G,) after one Newton step towards the fit without each group of units."""
    coefficients = fit_logistic(columns, positive, offset)
    if not np.isfinite(coefficients).all():
        return float("nan"), np.full(len(weights), np.nan)
    z = columns @ coefficients + (0 if offset is None else offset)
    p = 1 / (1 + np.exp(-z))
    k = columns.shape[1]
    score = np.stack([by_unit((positive - p) * columns[:, i]) for i in range(k)], axis=-1)
    spread = p * (1 - p)
    information = np.stack([by_unit(spread * columns[:, i] * columns[:, j]) for i in range(k) for j in range(k)], -1)
    left_score, left_information = weights @ score, (weights @ information).reshape(-1, k, k)
    singular = np.linalg.matrix_rank(left_information) < k
    left_information[singular] = np.eye(k)
    stepped = coefficients + np.linalg.solve(left_information, left_score[..., None])[..., 0]
    stepped[singular] = np.nan
    return float(coefficients[0]), stepped[:, 0]
