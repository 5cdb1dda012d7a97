"""What a run over slides leaves beside the slides' own files: their scores as tables, and how it was made."""

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import Any

from counterstain.errors import InputError
from counterstain.files import hash_file, write_csv, write_json
from counterstain.judging.calibration import apply_calibration
from counterstain.judging.predictions import Predictions, pool_patients
from counterstain.judging.reading import write_predictions
from counterstain.slides.slide_scores import POOLINGS, Truth, choose_pooling, slide_table
from counterstain.version import __version__

__all__ = ["write_metadata", "write_scores"]

METADATA = "counterstain.slides-run-metadata/1"
SCORES = "slide-scores"
LIBRARIES = ("torch", "numpy", "openslide-python", "openslide-bin", "tifffile", "imagecodecs", "opencv-python-headless")


def write_scores(
    out: Path,
    records: Mapping[str, Mapping[str, Any]],
    classes: Sequence[str],
    truth: Truth | None,
    pooling: str,
) -> list[str]:
    """Write the folder slide-scores; returns what a reader should be told.

    slides.csv has every slide under every pooling, as pooled. With a truth, pooling.json says which was taken and its
    calibration, and for each part predictions.csv (of another part than test: predictions_<part>.csv) has a row a
    slide and patients.csv a row a patient, both in the one form that `evaluate` and `compare` read.

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
    chosen = choose_pooling(pooled, truth, classes, asked=pooling)
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
    """One row a patient: the mean over its slides; what could not be pooled is told."""
    try:
        pooled = pool_patients(table)
    except InputError:
        return [f"every patient has slides of several classes: there is no {path.name}"]
    write_predictions(pooled, path)
    return [note for note in pooled.notes if note not in table.notes]


def write_metadata(
    out: Path,
    *,
    began: datetime,
    bundle: Path,
    settings: Mapping[str, Any],
    slides: Mapping[str, str],
    records: Mapping[str, Mapping[str, Any]],
    failures: Sequence[tuple[str, str, str]],
    seconds: Mapping[str, float],
) -> Path:
    """Write run_metadata_<time>.json: the one file that differs each time; returns its path."""
    path = out / f"run_metadata_{began:%Y%m%dT%H%M%S%fZ}.json"
    aside = {name for name, _, _ in failures}
    states = {
        name: {
            "path": file,
            "state": "set aside" if name in aside else "read" if name in seconds else "read before",
            "tiles": records[name]["tiles"] if name in records else None,
            "seconds": seconds.get(name),
        }
        for name, file in slides.items()
    }
    write_json(
        path,
        {
            "schema": METADATA,
            "counterstain": __version__,
            "python": python_version(),
            "libraries": {name: _version(name) for name in LIBRARIES},
            "command": sys.argv,
            "began": began.isoformat(),
            "ended": datetime.now(UTC).isoformat(),
            "bundle": str(bundle),
            "bundle_sha256sums": hash_file(bundle / "SHA256SUMS"),
            "settings": dict(settings),
            "slides": states,
            "failures": [list(row) for row in failures],
        },
    )
    return path


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
