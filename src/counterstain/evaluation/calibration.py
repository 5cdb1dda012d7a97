"""Calibration: probabilities, a threshold and prediction sets fitted on validation patients, then frozen."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError, suggest
from counterstain.evaluation.calibration_fits import FEW_PATIENTS, apply_method, fit_method
from counterstain.evaluation.conformal import class_quantiles, conformal_quantile
from counterstain.evaluation.format import listed
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.reliability import expected_calibration_error
from counterstain.evaluation.rows import unit_words
from counterstain.evaluation.thresholds import choose_threshold, decide, is_stated
from counterstain.files import read_json

__all__ = [
    "CALIBRATION",
    "CONFORMAL",
    "METHODS",
    "Calibration",
    "apply_calibration",
    "calibrate",
    "fit_calibration",
    "read_calibration",
    "training_seen_words",
    "use_warnings",
]

Floats = NDArray[np.float64]

SCHEMA = "counterstain.calibration/1"
CALIBRATION = "calibration.json"
METHODS = ("temperature", "platt", "isotonic", "none")
CONFORMAL = ("marginal", "class")
LATER = ("conformal", "qhat_by_class", "stated")  # records of earlier versions lack these
ECE_BINS = 10


@dataclass(frozen=True)
class Calibration:
    """What was fitted on validation patients and is applied, unchanged, wherever the model predicts.

    method: temperature, platt, isotonic or none
    parameters: {"temperature": T}; {"slope": a, "intercept": b}; {"x": [...], "y": [...]}; {}
    threshold: probability of the positive class from which on an image is called positive; None for more than two
        classes
    threshold_rule: how it was chosen
    alpha, qhat: share of images of new patients whose set may miss the true class, and the largest 1 - probability of a
        class that stays in the set; infinite where the patients are too few, and then every class stays
    patients, images, unit: what it was fitted on
    notes: what a reader should be told, one line each
    conformal: "marginal" (the sets hold over all images) or "class" (over the images of each class; Mondrian)
    qhat_by_class: one quantile per class where sets are by class, and then qhat is the largest of them; else ()
    stated: what the frozen threshold gave on the validation patients: sensitivity, specificity, ece (its name and
        value); {} where it was not recorded, or with more than two classes
    """

    method: str
    parameters: Mapping[str, Any]
    threshold: float | None
    threshold_rule: str
    alpha: float
    qhat: float
    classes: tuple[str, ...]
    patients: int
    images: int
    unit: str
    notes: tuple[str, ...] = ()
    conformal: str = "marginal"
    qhat_by_class: tuple[float, ...] = ()
    stated: Mapping[str, Any] = field(default_factory=dict)

    @property
    def quantiles(self) -> tuple[float, ...]:
        """The quantile of each class, in the order of the classes."""
        return self.qhat_by_class or (self.qhat,) * len(self.classes)

    def to_record(self) -> dict[str, object]:
        """As JSON; an infinite quantile is null."""
        record = asdict(self) | {"schema": SCHEMA, "classes": list(self.classes), "notes": list(self.notes)}
        by_class = [_finite(value) for value in self.qhat_by_class]
        return record | {"qhat": _finite(self.qhat), "qhat_by_class": by_class, "stated": dict(self.stated)}

    @staticmethod
    def from_record(record: Mapping[str, Any]) -> "Calibration":
        """The calibration of a record.

        Raises:
            InputError: If it is of another schema or lacks something.
        """
        if record.get("schema") != SCHEMA:
            raise InputError(f"the calibration is of schema {record.get('schema')}; this version reads {SCHEMA}")
        try:
            required = {name: record[name] for name in Calibration.__dataclass_fields__ if name not in LATER}
        except KeyError as error:
            raise InputError(f"the calibration lacks {error}; it was changed after it was written") from None
        later = {
            "conformal": record.get("conformal", "marginal"),
            "qhat_by_class": record.get("qhat_by_class") or [],
            "stated": record.get("stated") or {},
        }
        if fault := _fault(required | later):
            raise InputError(f"the calibration's {fault}; it was changed after it was written")
        lists = {"classes": tuple(required["classes"]), "notes": tuple(required["notes"])}
        by_class = tuple(map(_infinite, later["qhat_by_class"]))
        quantiles = {"qhat": _infinite(required["qhat"]), "qhat_by_class": by_class}
        return Calibration(**(required | lists | later | quantiles))


def _fault(record: Mapping[str, Any]) -> str:
    """What of a calibration's record is of the wrong kind, in words; "" for nothing."""

    def is_number(value: object, low: float, high: float) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high

    def are_texts(values: object) -> bool:
        return isinstance(values, list) and all(isinstance(item, str) for item in values)

    parameters = record["parameters"]
    numbers = {"temperature": 1, "slope": 1, "intercept": 1, "x": 0, "y": 0}
    sound = isinstance(parameters, dict) and all(
        is_number(parameters[name], -1e9, 1e9)
        if single
        else isinstance(parameters[name], list) and all(is_number(item, -1, 2) for item in parameters[name])
        for name, single in numbers.items()
        if name in parameters
    )
    needed = {"temperature": {"temperature"}, "platt": {"slope", "intercept"}, "isotonic": {"x", "y"}, "none": set()}
    rules = {
        "method": isinstance(record["method"], str) and record["method"] in METHODS,
        "parameters": sound and needed.get(str(record["method"]), set()) <= set(parameters),
        "threshold": record["threshold"] is None or is_number(record["threshold"], 0, 1),
        "alpha": is_number(record["alpha"], 0, 1),
        "qhat": record["qhat"] is None or is_number(record["qhat"], 0, 1),
        "classes": are_texts(record["classes"]) and len(set(record["classes"])) == len(record["classes"]) >= 2,
        "notes": are_texts(record["notes"]),
        "unit": record["unit"] in ("patient", "image"),
        "images": is_number(record["images"], 0, 1e12),
        "patients": is_number(record["patients"], 0, 1e12),
        "conformal": record["conformal"] in CONFORMAL,
        "qhat_by_class": isinstance(record["qhat_by_class"], list)
        and len(record["qhat_by_class"]) in (0, len(record["classes"]) if isinstance(record["classes"], list) else 0)
        and all(item is None or is_number(item, 0, 1) for item in record["qhat_by_class"]),
        "stated": isinstance(record["stated"], dict),
    }
    wrong = next((name for name, right in rules.items() if not right), None)
    return "" if wrong is None else f"{wrong} is {str(record[wrong])[:80]!r}"


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _infinite(value: float | None) -> float:
    return float("inf") if value is None else float(value)


def fit_calibration(
    validation: Predictions,
    *,
    method: str = "temperature",
    threshold: str = "youden",
    alpha: float = 0.1,
    conformal: str = "marginal",
) -> Calibration:
    """Fit probabilities, then the threshold and the sets on what they have become; nothing else is ever looked at.

    Args:
        validation: predictions of the validation part, as the network gives them.
        method: "temperature" (never changes which class is the most probable), "platt" or "isotonic" (two classes), or
            "none".
        threshold: see `choose_threshold`.
        alpha: see `conformal_quantile`.
        conformal: "marginal" or "class" (see `class_quantiles`).

    Returns:
        Where the validation part bears no fit (one class, a loss that would rise), the probabilities stay as they are,
        with a note.

    Raises:
        InputError: For an unknown method, threshold or kind of set, or a method of two classes for more.
    """
    if method not in METHODS:
        raise InputError(f"calibration method is '{method}'{suggest(method, METHODS)}")
    if conformal not in CONFORMAL:
        raise InputError(f"calibration.conformal is '{conformal}'{suggest(conformal, CONFORMAL)}")
    if method in ("platt", "isotonic") and len(validation.classes) != 2:
        raise InputError(f"{method} is for two classes; {len(validation.classes)} are present: use temperature")
    patients = len(set(validation.patient))
    parameters, note = fit_method(method, validation)
    notes = [note] if note else []
    fitted = Calibration(
        method=method, parameters=parameters, threshold=None, threshold_rule=threshold, alpha=alpha, qhat=float("inf"),
        classes=validation.classes, patients=patients, images=len(validation), unit=validation.unit,
    )  # fmt: skip
    calibrated = apply_calibration(fitted, validation)
    value: float | None = None
    stated: dict[str, Any] = {}
    if len(validation.classes) == 2:
        value, note = choose_threshold(validation.label == 1, calibrated.prob[:, 1], rule=threshold)
        notes += [note] if note else []
        stated = _stated(calibrated, value)
    by_class = class_quantiles(calibrated, alpha=alpha) if conformal == "class" else ()
    qhat = max(by_class) if by_class else conformal_quantile(calibrated, alpha=alpha)
    notes = [*_patient_notes(validation, qhat, by_class, alpha), *notes]
    return replace(
        fitted, threshold=value, qhat=qhat, notes=tuple(notes), conformal=conformal, qhat_by_class=by_class,
        stated=stated,
    )  # fmt: skip


def _stated(calibrated: Predictions, threshold: float) -> dict[str, Any]:
    """What the threshold and the probabilities do on the patients that they were chosen on; null without a class."""
    positive, called = calibrated.label == 1, decide(calibrated.prob[:, 1], threshold)
    ece = expected_calibration_error(calibrated.prob[:, 1], positive, bins=ECE_BINS)
    return {
        "sensitivity": float(called[positive].mean()) if positive.any() else None,
        "specificity": float((~called[~positive]).mean()) if not positive.all() else None,
        "ece": {"name": f"ece_positive_{ECE_BINS}", "value": ece},
    }


def _patient_notes(validation: Predictions, qhat: float, by_class: tuple[float, ...], alpha: float) -> list[str]:
    """That patients are too few for the fit, and for sets of all classes together or of some; each reason once."""
    patients, unit = len(set(validation.patient)), unit_words(validation.unit, validation.rows_are)
    notes = []
    if patients < FEW_PATIENTS:
        notes.append(f"fitted on {patients} validation {unit}s only; the result depends on them")
    scarce = [name for name, value in zip(validation.classes, by_class, strict=False) if not np.isfinite(value)]
    if scarce:
        names = ", ".join(f"'{name}'" for name in scarce)
        return [
            *notes,
            f"too few validation {unit}s have {names} for prediction sets that may miss {alpha:.0%}; "
            "it is never ruled out",
        ]
    if np.isfinite(qhat):
        return notes
    if notes:
        return [f"{notes[0]}, and prediction sets that may miss {alpha:.0%} need more: no class is ruled out"]
    sets = f"prediction sets that may miss {alpha:.0%}"
    return [f"{patients} validation {unit}s are too few for {sets}; no class is ruled out"]


def apply_calibration(calibration: Calibration, table: Predictions) -> Predictions:
    """The table with calibrated probabilities; see calibrate."""
    return replace(table, prob=calibrate(calibration, table.prob, table.classes))


def calibrate(calibration: Calibration, prob: Floats, classes: tuple[str, ...]) -> Floats:
    """(N, C) calibrated probabilities.

    Raises:
        InputError: If the classes are not those of the calibration, in their order.
    """
    if classes != calibration.classes:
        raise InputError(
            f"the calibration is of the classes {', '.join(calibration.classes)}, the table's are "
            f"{', '.join(classes)}; use the calibration of the model that made this table"
        )
    return apply_method(calibration.method, calibration.parameters, prob)


def read_calibration(folder: Path) -> Calibration | None:
    """The calibration of a bundle's folder, or None where it has none."""
    path = folder / CALIBRATION
    return Calibration.from_record(read_json(path)) if path.is_file() else None


def training_seen_words(stamp: str, *, calibrated: bool = True, chosen: bool = True) -> str:
    """That patients of the validation part were trained on, too; "" without the stamp of such a study.

    Args:
        stamp: of the study; "" where the patient is its unit.
        calibrated: whether probabilities were calibrated there; chosen: whether a threshold was chosen there.
    """
    if not stamp:
        return ""
    # Slides whose features were learned from are in one part each; those of images may be in several.
    rows, whose = ("slide", "patients") if stamp.startswith("slide-level") else ("image", "patients and slides")
    fitted = [*(["calibration"] if calibrated else []), *(["threshold"] if chosen else []), "prediction sets"]
    return (
        f"{listed(fitted)} were fitted in {'a' if rows == 'slide' else 'an'} {rows}-level study: their validation "
        f"{rows}s are of {whose} that were trained on, too, so what they state is too good for new patients"
    )


def use_warnings(calibration: Calibration, stamp: str) -> tuple[str, ...]:
    """What must be said wherever this calibration is used: its own notes, and whether it saw the training slides.

    Args:
        calibration: of a bundle.
        stamp: of the bundle; of an image-level study it is not empty.
    """
    chosen = calibration.threshold is not None and not is_stated(calibration.threshold_rule)
    caveat = training_seen_words(stamp, calibrated=calibration.method != "none", chosen=chosen)
    return tuple(dict.fromkeys(filter(None, [*calibration.notes, caveat])))
