"""The errors of each arm as a record: which test images are worth a look, and which patients the errors are of."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from counterstain.evaluation.metrics import predicted_class
from counterstain.evaluation.predictions import Predictions, align
from counterstain.evaluation.record_types import ArmErrors, ErrorsRecord, ErrorTile

__all__ = [
    "PatientErrors", "error_record", "mean_table", "notable_images", "patient_errors", "shown_images", "tile_file",
]  # fmt: skip

ERRORS_SCHEMA = "counterstain.errors/1"
EACH = 6  # images of a strip
MOST_PATIENTS = 20

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class PatientErrors:
    """One patient's part in the errors of an arm.

    images: of the patient; errors: of them predicted wrong, mean over the seeds; share: of all errors of the arm
    """

    patient: str
    images: int
    errors: float
    share: float


def mean_table(tables: Sequence[Predictions]) -> Predictions:
    """One table with the mean probabilities of several seeds: what their ensemble says.

    Args:
        tables: S >= 1 tables of the same images, in whatever order.
    """
    first = tables[0]
    prob = np.mean([align(first, table)[1].prob for table in tables], axis=0)
    return replace(first, prob=prob, hard=False)


def notable_images(table: Predictions, count: int) -> dict[str, Rows]:
    """Rows of the images that show best what a model does: "wrong", "unsure" and "right", at most `count` of each.

    The call is the most probable class. "wrong" and "right" begin with the highest probability of the call, "unsure"
    with the smallest distance between the two most probable classes. A patient's second image comes after the first
    ones of all others: a strip of one patient shows one patient.
    """
    top = np.sort(table.prob, axis=1)
    called = predicted_class(table.prob)
    wrong = called != table.label
    patient = table.patient_codes[1]
    orders = {"wrong": -top[:, -1], "unsure": top[:, -1] - top[:, -2], "right": -top[:, -1]}
    chosen: dict[str, Rows] = {}
    shown: set[int] = set()
    for name, value in orders.items():
        among = np.flatnonzero({"wrong": wrong, "unsure": np.ones_like(wrong), "right": ~wrong}[name])
        among = np.array([row for row in among.tolist() if row not in shown], dtype=np.int64)
        ranked = among[np.lexsort((among, value[among]))]
        turn = _turns(patient[ranked])
        chosen[name] = ranked[np.lexsort((np.arange(len(ranked)), turn))][:count]
        shown |= set(chosen[name].tolist())
    return chosen


def _turns(patient: Rows) -> Rows:
    """(N,) how many images of the same patient come before each one."""
    counts: dict[int, int] = {}
    turns = []
    for code in patient.tolist():
        turns.append(counts.get(code, 0))
        counts[code] = turns[-1] + 1
    return np.array(turns, dtype=np.int64)


def patient_errors(tables: Sequence[Predictions]) -> list[PatientErrors]:
    """Every patient's errors in an arm's tables, one per seed; the patient with the most comes first."""
    names, code = tables[0].patient_codes
    images = np.bincount(code, minlength=len(names))
    errors = np.zeros(len(names))
    for table in tables:
        table_names, table_code = table.patient_codes
        if table_names != names:
            raise ValueError("the tables are not of the same patients")
        errors += np.bincount(table_code, weights=predicted_class(table.prob) != table.label, minlength=len(names))
    errors /= len(tables)
    total = float(errors.sum())
    order = sorted(range(len(names)), key=lambda k: (-errors[k], names[k]))
    return [
        PatientErrors(names[k], int(images[k]), float(errors[k]), float(errors[k]) / total if total else 0.0)
        for k in order
    ]


def error_record(
    arms: Mapping[str, Sequence[Predictions]],
    influence: Sequence[Mapping[str, object]],
    *,
    unfamiliar: Mapping[str, Mapping[str, float]] | None = None,
    stamp: str = "",
) -> ErrorsRecord:
    """The record errors.json: each arm's share of errors, its most telling images, and the patients with most errors.

    Args:
        arms: arm -> its test tables, one per seed.
        influence: of `influence_record`; [] where patients are unknown or nothing is compared.
        unfamiliar: arm -> image -> share of the trainings that call it unlike their training images; an arm without
            such flags is left out.
        stamp: carried through to the record.
    """
    records: dict[str, ArmErrors] = {}
    for arm, tables in arms.items():
        mean = mean_table(tables)
        rows = notable_images(mean, EACH)
        flags = (unfamiliar or {}).get(arm)
        records[arm] = {
            "images": len(mean),
            "errors": float(np.mean([predicted_class(table.prob) != table.label for table in tables])),
            "unfamiliar": None if flags is None else _unfamiliar(tables, flags),
            "tiles": {name: [_card(mean, row, flags) for row in strip.tolist()] for name, strip in rows.items()},
            "patients": [asdict(row) for row in patient_errors(tables) if row.errors][:MOST_PATIENTS]
            if mean.unit == "patient" else [],
        }  # fmt: skip
    first = next(iter(arms.values()))[0]
    return {
        "schema": ERRORS_SCHEMA, "stamp": stamp, "classes": list(first.classes), "unit": first.unit, "arms": records,
        "influence": list(influence),
    }  # fmt: skip


def _unfamiliar(tables: Sequence[Predictions], flags: Mapping[str, float]) -> dict[str, float | int | None]:
    """How many images most trainings flag, and the share of errors among them and among the others."""
    flagged = np.array([flags.get(image, 0.0) > 0.5 for image in tables[0].image])
    wrong = np.mean([align(tables[0], t)[1].prob.argmax(axis=1) != tables[0].label for t in tables], axis=0)
    return {
        "images": int(flagged.sum()), "share": float(flagged.mean()),
        "errors": float(wrong[flagged].mean()) if flagged.any() else None,
        "errors_of_others": float(wrong[~flagged].mean()) if (~flagged).any() else None,
    }  # fmt: skip


def shown_images(record: ErrorsRecord) -> list[str]:
    """The names of all images that an errors.json shows, each once."""
    strips = (strip for arm_errors in record["arms"].values() for strip in arm_errors["tiles"].values())
    return list(dict.fromkeys(card["image"] for strip in strips for card in strip))


def tile_file(image: str) -> str:
    """The name of an image's tile among those kept for the report: it tells nothing, and fits every file system."""
    return f"{hashlib.sha256(image.encode()).hexdigest()[:16]}.png"


def _card(table: Predictions, row: int, flags: Mapping[str, float] | None) -> ErrorTile:
    """One image with its call; file: the name of its tile."""
    name = table.image[row]
    called = int(predicted_class(table.prob[row : row + 1])[0])
    return {
        "image": name, "patient": table.patient[row] if table.unit == "patient" else "", "site": table.site[row],
        "label": table.classes[table.label[row]], "predicted": table.classes[called],
        "probability": float(table.prob[row, called]), "file": tile_file(name),
        "unfamiliar": None if flags is None else flags.get(name, 0.0) > 0.5,
    }  # fmt: skip
