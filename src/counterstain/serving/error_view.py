"""What the page of errors draws: confusion per arm and seed, every test image with its probabilities, and how much
each patient weighs in the first comparison."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from counterstain.errors import InputError
from counterstain.evaluation.format import metric_name
from counterstain.evaluation.influence import left_out_differences
from counterstain.evaluation.metrics import confusion, predicted_class, score_table
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.files import plain_values, read_json
from counterstain.run_folder import as_written, optional_record, record_path
from counterstain.serving.pictures import image_id
from counterstain.serving.problems import ServingError

__all__ = ["error_data", "patient_influence"]


@dataclass(frozen=True)
class _Seed:
    name: str
    table: Predictions


def error_data(run: Path) -> dict[str, object]:
    """The data of the page, as JSON values.

    Returns:
        classes; arms: name -> seeds -> {confusion, prob: rounded to 5 decimals, row by row}; images, patients, labels:
        of the rows; rows_are: what they are; influence: see patient_influence, {} where nothing is compared.

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
    scores = read_json(as_written(record_path(run, "scores.json")))
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
        influence |= patient_influence(chosen[0], chosen[1], measure, str(pair["level"]))
    record: dict[str, Any] = plain_values({
        "classes": list(first.classes), "arms": arms, "names": list(first.image),
        "ids": [image_id(name) for name in first.image], "patients": list(first.patient),
        "labels": first.label.tolist(), "by_patient": first.unit == "patient", "influence": influence,
        "rows_are": first.rows_are,
    })  # fmt: skip
    return record


def _seeds(folder: Path, classes: list[str]) -> list[_Seed]:
    files = sorted(folder.glob("*.csv"), key=lambda path: (len(path.name), path.name))
    return [_Seed(path.stem, read_predictions(path, classes=classes)) for path in files]


def patient_influence(
    a: Sequence[Predictions], b: Sequence[Predictions], measure: str, level: str = "image"
) -> dict[str, object]:
    """How the difference of two arms changes when one patient is left out, see influence.left_out_differences.

    Args:
        a, b: the tables of the seeds of each, of the same images.
        measure: of the comparison, such as "auroc"; level: "image", "slide" or "patient".

    Returns:
        difference: with everyone, mean over the seeds; patients: name, images and the difference without them, the
        one that moves it most first. None where a measure is undefined.
    """
    if (measure, None) not in score_table(a[0].label, a[0].prob):
        return {"difference": None, "patients": []}
    overall, without = left_out_differences(a, b, metric=measure, level=level)
    images = Counter(a[0].patient)
    moved = sorted(without, key=lambda name: (-abs(np.nan_to_num(without[name] - overall, nan=np.inf)), name))
    rows = [{"patient": name, "images": images[name], "without": without[name]} for name in moved]
    return {"difference": overall, "patients": rows}
