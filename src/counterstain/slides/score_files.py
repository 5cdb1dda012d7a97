"""The folder slide-scores: slides under every pooling, and with a truth the predictions of slides and patients."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from counterstain.errors import InputError
from counterstain.evaluation.calibration import apply_calibration
from counterstain.evaluation.pooled_predictions import pool_patients
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictions_csv import write_predictions
from counterstain.files import write_csv, write_json
from counterstain.slides.slide_scores import POOLINGS, Truth, choose_pooling, slide_table

__all__ = ["write_scores"]

SCORES = "slide-scores"


def write_scores(
    out: Path,
    records: Mapping[str, Mapping[str, Any]],
    classes: Sequence[str],
    truth: Truth | None,
    pooling: str,
) -> list[str]:
    """Write the folder slide-scores; returns what a reader should be told.

    slides.csv has every slide under every pooling, as pooled. With a truth, pooling.json says which was taken and its
    calibration, and for each part predictions.csv (of another part than test: predictions_<part>.csv) has one row per
    slide and patients.csv one row per patient, both in the one form that `evaluate` and `compare` read.

    Args:
        out: folder of the run.
        records: of the finished slides, by name.
        classes: of the model.
        truth: labels, patients and parts.
        pooling: "auto" or a name of POOLINGS.
    """
    pooled = {name: record["pooled"] for name, record in records.items()}
    rows = [(name, records[name]["tiles"], way, *pooled[name][way]) for name in sorted(records) for way in POOLINGS]
    columns = ("slide_id", "tiles", "pooling", *(f"prob_{name}" for name in classes))
    write_csv(out / SCORES / "slides.csv", columns, rows)
    if truth is None or not records:
        return []
    chosen = choose_pooling(pooled, truth, classes, pooling=pooling)
    write_json(out / SCORES / "pooling.json", chosen.record())
    unknown = sorted(set(records) - set(truth.part))
    notes = [f"slides are scored by {chosen.pooling}", *chosen.notes]
    if unknown:
        notes.append(
            f"{len(unknown)} slides are not in the table of truth ({unknown[0]}, …) and in no prediction table"
        )
    for part in sorted({part for part in truth.part.values() if part}):
        table = slide_table(pooled, truth, classes, pooling=chosen.pooling, part=part)
        if table is None:
            continue
        if chosen.calibration is not None:
            table = apply_calibration(chosen.calibration, table)
        suffix = "" if part == "test" else f"_{part}"
        write_predictions(table, out / SCORES / f"predictions{suffix}.csv")
        notes += _write_patients(table, out / SCORES / f"patients{suffix}.csv")
    return notes


def _write_patients(table: Predictions, path: Path) -> list[str]:
    """One row per patient: the mean over its slides; what could not be pooled is told."""
    try:
        pooled = pool_patients(table)
    except InputError:
        return [f"every patient has slides of several classes: there is no {path.name}"]
    write_predictions(pooled, path)
    return [note for note in pooled.notes if note not in table.notes]
