"""What is fitted on the validation part of one training and frozen, and what it makes of every other part."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from counterstain.evaluation.calibration import CALIBRATION, Calibration, apply_calibration, fit_calibration
from counterstain.evaluation.conformal import prediction_sets
from counterstain.evaluation.metrics import predicted_class
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictions_csv import read_predictions, write_predictions
from counterstain.evaluation.thresholds import decide
from counterstain.files import write_json
from counterstain.learning.bundle import seal
from counterstain.study.finding_predictions import finish_findings, raw_findings
from counterstain.study.study_sections import CalibrationSection

__all__ = ["MOST_PROBABLE", "called", "decided_as", "finish_training", "sets_of", "write_calibrated"]


def finish_training(folder: Path, settings: CalibrationSection) -> None:
    """Calibrate one training on its own validation part; the same inputs give the same bytes, so it may be redone.

    Args:
        folder: of the training, with raw_val.csv and the bundle; gets calibration.json and predictions_<part>.csv (the
            test part's is predictions.csv), and its SHA256SUMS again.
        settings: of the study.
    """
    validation = read_predictions(folder / "raw_val.csv")
    fitted = fit_calibration(
        validation,
        method=settings.method,
        threshold=settings.threshold,
        alpha=settings.alpha,
        conformal=settings.conformal,
    )
    write_json(folder / CALIBRATION, fitted.to_record())
    for path in sorted(folder.glob("raw_*.csv")):
        part = path.stem.removeprefix("raw_")
        name = "predictions.csv" if part == "test" else f"predictions_{part}.csv"
        write_calibrated(read_predictions(path, classes=fitted.classes), fitted, folder / name)
    if (folder / raw_findings("val")).is_file():
        finish_findings(folder, settings)
    seal(folder)


def write_calibrated(table: Predictions, fitted: Calibration | None, path: Path) -> Predictions:
    """Write calibrated probabilities with what follows from them for each image; returns the calibrated table.

    Columns beside those of every prediction table: decision and decision_rule, see decided_as; prediction_set (the
    classes that cannot be ruled out, joined by |; of one image of a new patient the true class is among them with the
    chance 1 - alpha).
    """
    if fitted is None:
        write_predictions(table, path)
        return table
    calibrated = apply_calibration(fitted, table)
    names = np.array(table.classes, dtype=object)
    calls, rule = decided_as(fitted, calibrated)
    write_predictions(
        calibrated,
        path,
        extra={
            "decision": names[calls].tolist(),
            "decision_rule": [rule] * len(calls),
            "prediction_set": ["|".join(names[row]) for row in sets_of(fitted, calibrated)],
        },
    )
    return calibrated


MOST_PROBABLE = "most probable class"


def decided_as(fitted: Calibration | None, calibrated: Predictions) -> tuple[NDArray[np.int64], str]:
    """(N,) the one class that each image is called, and the rule: the frozen threshold, else the most probable class.

    Example:
        of two classes the rule reads "prob_malignant >= 0.3127 (youden)".
    """
    calls = None if fitted is None else called(fitted, calibrated)
    if calls is None or fitted is None:
        return predicted_class(calibrated.prob), MOST_PROBABLE
    return calls, f"prob_{calibrated.classes[1]} >= {fitted.threshold:.6g} ({fitted.threshold_rule})"


def called(fitted: Calibration, calibrated: Predictions) -> NDArray[np.int64] | None:
    """(N,) class index at the frozen threshold; None where there are more than two classes."""
    if len(calibrated.classes) != 2 or fitted.threshold is None:
        return None
    return decide(calibrated.prob[:, 1], fitted.threshold).astype(np.int64)


def sets_of(fitted: Calibration, calibrated: Predictions) -> NDArray[np.bool_]:
    """(N, C) which classes are in each image's prediction set."""
    return prediction_sets(calibrated.prob, fitted.quantiles)
