"""A deployed model on new labelled data: what it stated when it was frozen, against what it does here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.evaluation.calibration import CALIBRATION, Calibration, read_calibration, use_warnings
from counterstain.evaluation.conformal import coverage_record, prediction_sets
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictive_values import predictive_values
from counterstain.evaluation.reliability import reliability_record
from counterstain.evaluation.rows import unit_words
from counterstain.evaluation.thresholds import decide
from counterstain.files import hash_file, read_json, read_sums

__all__ = ["DECISION", "SETS", "Deployed", "deployed_record", "read_deployed"]

DECISION, SETS = "decision", "prediction_set"
RECORD, SUMS = "bundle.json", "SHA256SUMS"
MOST_OTHERS = 0.05  # share of decisions that may differ from the model's own before the table is another model's


@dataclass(frozen=True)
class Deployed:
    """What a bundle says of itself, read without its weights.

    calibration: what was frozen; stamp: "" or what limits every claim of its study; classes: in its order.
    """

    calibration: Calibration
    stamp: str
    classes: tuple[str, ...]


def read_deployed(folder: Path) -> Deployed | None:
    """The calibration and stamp of a bundle's folder; None where the bundle was never calibrated.

    Raises:
        InputError: If the folder is no bundle, or its record or calibration are not the files that were written.
    """
    if not (folder / RECORD).is_file():
        raise InputError(f"{folder} is not a bundle: it has no {RECORD}; name the folder of a trained model")
    _check_sums(folder, (RECORD, CALIBRATION))
    record = read_json(folder / RECORD)
    fitted = read_calibration(folder)
    if fitted is None:
        return None
    return Deployed(fitted, str(record.get("stamp") or ""), tuple(record.get("classes") or fitted.classes))


def _check_sums(folder: Path, names: Sequence[str]) -> None:
    """The named files, where they are there, have the SHA-256 that the bundle lists."""
    if not (folder / SUMS).is_file():
        raise InputError(f"{folder} is not a bundle, or was not finished: it has no {SUMS}")
    listed = read_sums(folder / SUMS)
    for name in names:
        if (folder / name).is_file() and listed.get(name) != hash_file(folder / name):
            raise InputError(f"{folder / name} is not the file that was written (its SHA-256 differs); copy it again")


def deployed_record(
    model: Deployed, table: Predictions, columns: Mapping[str, Sequence[str]], *, confidence: float = 0.95
) -> dict[str, object]:
    """Stated against obtained: coverage of the sets, sensitivity and specificity at the frozen threshold, and ECE.

    Decisions and sets are those that the table carries, since these are what was acted on; where it has none they
    follow from its probabilities, and that is said.

    Args:
        model: the bundle.
        table: predictions of the model on labelled images, calibrated as `counterstain predict` writes them.
        columns: "decision" and "prediction_set" of the table, as text, in its order; either may be missing.
        confidence: of the intervals, over patients.

    Returns:
        JSON-ready: rows: [{what, stated, stated_from, value, low, high, word}], word being "kept", "missed" (the
        interval lies wholly on the wrong side), "worse, within chance" or "nothing stated"; sets: see coverage_record;
        threshold, threshold_rule, conformal, alpha, warnings.

    Raises:
        InputError: If the classes are not the model's, or a decision or a set names none of them.
    """
    fitted = model.calibration
    if set(table.classes) != set(fitted.classes):
        raise InputError(
            f"the table has the classes {', '.join(table.classes)}, the model {', '.join(fitted.classes)}; name the "
            "model that made this table"
        )
    table = _in_order(table, fitted.classes)
    notes: list[str] = []
    unit = unit_words(fitted.unit, table.rows_are)
    on = f"{fitted.patients:,} validation {unit}{'' if fitted.patients == 1 else 's'}"
    within = _sets(fitted, table, columns.get(SETS), notes)
    sets = coverage_record([table], [within], alpha=fitted.alpha)
    rows = [_row("coverage", 1 - fitted.alpha, "its sets", sets["covered"])]
    if fitted.conformal == "class":
        rows += [
            _row(f"coverage of '{name}'", 1 - fitted.alpha, "its sets", covered)
            for name, covered in sets["by_class"].items()
        ]
    if len(table.classes) == 2 and fitted.threshold is not None:
        called = _called(fitted, table, columns.get(DECISION), notes)
        values = predictive_values([table], [called], confidence=confidence)
        rows += [
            _row(noun, fitted.stated.get(noun), on, values[name])
            for noun, name in (("sensitivity", "recall"), ("specificity", "specificity"))
        ]
        ece = reliability_record([table])["ece"]
        stated = fitted.stated.get("ece") or {}
        rows.append(
            _row("ECE", stated.get("value") if stated.get("name") == ece["name"] else None, on, ece, below=True)
        )
    if any(row["word"] == "missed" and row["what"].startswith("coverage") for row in rows):
        spread = float(np.sqrt(fitted.alpha * (1 - fitted.alpha) / (fitted.patients + 1)))
        notes.append(
            f"sets that were fitted on {on} cover {1 - fitted.alpha:.0%} on average over such fits, give or take "
            f"{spread:.3f} from one fit to another; a deviation of that size need not be a change of the images"
        )
    if any(row["word"] == "nothing stated" for row in rows):
        notes.append(
            "this bundle does not record the performance of its threshold on validation patients; only prediction sets "
            "are checked"
        )
    return {
        "rows": rows,
        "sets": sets,
        "threshold": fitted.threshold,
        "threshold_rule": fitted.threshold_rule,
        "conformal": fitted.conformal,
        "alpha": fitted.alpha,
        "stamp": model.stamp,
        "warnings": [*use_warnings(fitted, model.stamp), *notes],
    }


def _row(
    promise: str, stated: float | None, stated_from: str, obtained: Mapping[str, Any], *, below: bool = False
) -> dict[str, Any]:
    """One promise and what came of it; `below`: the smaller number is the better one."""
    value, low, high = obtained["value"], obtained["low"], obtained["high"]
    return {
        "what": promise, "stated": stated, "stated_from": stated_from, "value": value, "low": low, "high": high,
        "word": _word(stated, value, low, high, below=below),
    }  # fmt: skip


def _word(stated: float | None, value: float | None, low: float | None, high: float | None, *, below: bool) -> str:
    if stated is None:
        return "nothing stated"
    if value is None:
        return "undefined here"
    worse = value > stated + 1e-9 if below else value < stated - 1e-9
    if not worse:
        return "kept"
    edge = low if below else high
    missed = edge is not None and (edge > stated if below else edge < stated)
    return "missed" if missed else "worse, within chance"


def _in_order(table: Predictions, classes: tuple[str, ...]) -> Predictions:
    """The table with the model's order of classes."""
    place = [table.classes.index(name) for name in classes]
    label = np.array([classes.index(name) for name in table.classes])[table.label]
    return replace(table, classes=classes, prob=table.prob[:, place], label=label)


def _sets(fitted: Calibration, table: Predictions, cells: Sequence[str] | None, notes: list[str]) -> NDArray[np.bool_]:
    """(N, C) the sets of the table's column, or those that follow from its probabilities."""
    expected = prediction_sets(table.prob, fitted.quantiles)
    if cells is None:
        notes.append(f"the table has no column {SETS}; its sets follow from its probabilities and the model's quantile")
        return expected
    names = [frozenset(filter(None, cell.split("|"))) for cell in cells]
    unknown = sorted(frozenset().union(*names) - set(table.classes))
    if unknown:
        raise InputError(f"column {SETS} names '{unknown[0]}', which is none of {', '.join(table.classes)}")
    stated = np.array([[name in own_names for name in table.classes] for own_names in names])
    _check_same(SETS, int((stated != expected).any(axis=1).sum()), len(table), notes)
    return stated


def _called(
    fitted: Calibration, table: Predictions, cells: Sequence[str] | None, notes: list[str]
) -> NDArray[np.bool_]:
    """(N,) whether each image is called positive, by the table's column or by the frozen threshold."""
    expected = decide(table.prob[:, 1], fitted.threshold or 0.0)
    if cells is None:
        notes.append(f"the table has no column {DECISION}; its probabilities were compared with the model's threshold")
        return expected
    unknown = next((cell for cell in cells if cell not in table.classes), None)
    if unknown is not None:
        raise InputError(f"column {DECISION} has '{unknown}', which is none of {', '.join(table.classes)}")
    stated = np.array([cell == table.classes[1] for cell in cells])
    _check_same(DECISION, int((stated != expected).sum()), len(table), notes)
    return stated


def _check_same(column: str, others: int, rows: int, notes: list[str]) -> None:
    """The column is what this model makes of these probabilities; a few rows may differ by rounding."""
    if others > MOST_OTHERS * rows:
        raise InputError(
            f"column {column} differs in {others} of {rows} rows from what this model makes of the probabilities "
            "beside it; name the bundle that made this table, or predict again with this one"
        )
    if others:
        notes.append(
            f"column {column} differs in {others} of {rows} rows from what the model makes of the probabilities beside "
            "it (rounded probabilities?); the column was taken"
        )
