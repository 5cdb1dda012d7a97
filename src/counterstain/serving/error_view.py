"""What the page of errors draws: confusion per arm and seed, every test image with its probabilities, and how much
each patient weighs in the first comparison."""

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from counterstain.errors import InputError
from counterstain.evaluation.format import metric_name
from counterstain.evaluation.metrics import confusion, predicted_class, score_table
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.files import plain_values, read_json
from counterstain.run_folder import optional_record, record_path
from counterstain.serving.pictures import image_id
from counterstain.serving.problems import ServingError

__all__ = ["error_data", "patient_influence"]

HIGHER_IS_WORSE = ("loss", "brier")


@dataclass(frozen=True)
class _Seed:
    name: str
    table: Predictions


def error_data(run: Path) -> dict[str, object]:
    """The data of the page, as JSON values.

    Returns:
        classes; arms: name -> seeds -> {confusion, prob: rounded to 5 decimals, row by row}; images, patients, labels:
        of the rows; influence: see patient_influence, {} where nothing is compared.

    Raises:
        ServingError: 404 if the run has no predictions yet, 422 if they cannot be read.
    """
    arms = sorted(path for path in (run / "predictions").glob("*") if path.is_dir() and not path.is_symlink())
    stamp = max((file.stat().st_mtime_ns for arm in arms for file in arm.glob("*.csv")), default=0)
    if not stamp or not record_path(run, "scores.json").is_file():
        raise ServingError(404, "this run has no test predictions yet; its training is shown under Training")
    try:
        return _error_data(run, stamp)
    except (InputError, csv.Error) as error:
        raise ServingError(422, str(error)) from None


@lru_cache(16)
def _error_data(run: Path, _: int) -> dict[str, Any]:
    scores = read_json(record_path(run, "scores.json"))
    tables = {arm: _seeds(run / "predictions" / arm, scores["classes"]) for arm in scores["arms"]}
    first = next(iter(tables.values()))[0].table
    place = {name: row for row, name in enumerate(first.image)}
    arms: dict[str, dict[str, Any]] = {}
    for arm, seeds in tables.items():
        arms[arm] = {}
        for seed in seeds:
            order = np.argsort([place[name] for name in seed.table.image])
            counts = confusion(seed.table.label, predicted_class(seed.table.prob), len(first.classes))
            arms[arm][seed.name] = {
                "confusion": counts.tolist(), "prob": np.round(seed.table.prob[order], 5).tolist(),
                "called": predicted_class(seed.table.prob)[order].tolist(),
            }  # fmt: skip
    comparison = optional_record(run, "comparison.json")
    pair = (comparison.get("pairs") or [None])[0]
    influence: dict[str, Any] = {}
    if pair is not None and {pair["a"], pair["b"]} <= tables.keys():
        measure = str(comparison["primary"])
        chosen = [[seed.table for seed in tables[pair[side]]] for side in ("a", "b")]
        influence = {"a": pair["a"], "b": pair["b"], "measure": measure, "words": pair["words"]}
        influence["measure_name"] = metric_name(measure)
        influence |= patient_influence(chosen[0], chosen[1], measure)
    return {
        "classes": list(first.classes), "arms": arms, "names": list(first.image),
        "ids": [image_id(name) for name in first.image], "patients": list(first.patient),
        "labels": first.label.tolist(), "by_patient": first.unit == "patient", "influence": influence,
    }  # fmt: skip


def _seeds(folder: Path, classes: list[str]) -> list[_Seed]:
    files = sorted(folder.glob("*.csv"), key=lambda path: (len(path.name), path.name))
    return [_Seed(path.stem, read_predictions(path, classes=classes)) for path in files]


def patient_influence(a: list[Predictions], b: list[Predictions], measure: str) -> dict[str, Any]:
    """How the difference of two arms, in a measure of images, changes when one patient is left out.

    Args:
        a, b: the tables of the seeds of each, of the same images.
        measure: of score_table, such as "auroc".

    Returns:
        difference: with everyone, mean over the seeds; patients: name, images and the difference without them, the
        one that moves it most first. None where a measure is undefined.
    """
    known = {key[0] for key in score_table(a[0].label, a[0].prob)}
    if measure not in known:
        return {"difference": None, "patients": []}

    def value(tables: list[Predictions], without: str | None) -> float:
        each = []
        for table in tables:
            kept = np.array([name != without for name in table.patient])
            if not kept.any():
                return float("nan")
            each.append(score_table(table.label[kept], table.prob[kept])[measure, None])
        return float(np.mean(each))

    whole = value(a, None) - value(b, None)
    counts: dict[str, int] = {}
    for name in a[0].patient:
        counts[name] = counts.get(name, 0) + 1
    rows = [{"patient": name, "images": n, "without": value(a, name) - value(b, name)} for name, n in counts.items()]
    rows.sort(key=lambda row: -abs(np.nan_to_num(float(str(row["without"])) - whole, nan=np.inf)))
    made: dict[str, Any] = plain_values({"difference": whole, "patients": rows})
    return made
