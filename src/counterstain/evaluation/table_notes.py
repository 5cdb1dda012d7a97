"""What a reader of a prediction table must know of it, and the parts of a split that must not be scored together."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from counterstain.columns import present, spelled_alike, unused_ids
from counterstain.errors import InputError
from counterstain.evaluation.predictions import Predictions
from counterstain.tables import Table

__all__ = ["certain_note", "check_parts", "hard_note", "models_note", "near_ids_note", "positive_notes", "unused_note"]

MODELS = ("fold", "seed", "repeat", "model", "run")  # columns that tell the rows of one model from another's
FEW = 10  # rows, of which all may be certain

_CHOSEN_BY = {"column order": "its column is the last", "name order": "its name comes last in order"}


def check_parts(table: Table) -> tuple[str, ...]:
    """A note where all rows are of the training part.

    Raises:
        InputError: If rows of the training part stand among others: a score of both says nothing of either.
    """
    for name in present("split", table.header):
        parts = [part for part in table.distinct(name)[0] if part]
        train = [part for part in parts if part.lower().startswith("train")]
        if train and len(train) < len(parts):
            other_part = next(part for part in parts if part not in train)
            raise InputError(
                f"{table.path} has rows of '{train[0]}' and of '{other_part}' in its column '{name}'; a score of both "
                "says nothing of either. Keep the rows of one part, or remove the column if no model was trained on "
                "any row"
            )
        if train:
            words_of = f"all rows of {table.path.name} are of '{train[0]}' by its column '{name}'"
            return (f"{words_of}: what is scored is how well the model remembers",)
    return ()


def near_ids_note(file: str, patient: tuple[str, ...]) -> tuple[str, ...]:
    """A note on ids that differ in case, spaces and separators alone: they may be one patient who is counted twice."""
    pair = " and ".join(next(iter(spelled_alike(patient)), ()))
    start = f"{file} has patient ids that differ in case, spaces or separators alone, such as {pair}; each counts as a "
    return (f"{start}patient of its own: if they are one, write them alike",) if pair else ()


def unused_note(table: Table, used: Collection[str]) -> tuple[str, ...]:
    """A note on columns that look like ids and served for nothing, so that none is passed over in silence."""
    unused = unused_ids(table.header, set(used))
    if not unused:
        return ()
    return (
        f"columns of {table.path.name} that look like ids and were not used: {', '.join(unused)}; "
        f"say what they are with --columns, such as patient_id={unused[0]}",
    )


def positive_notes(table: Predictions, subject: str) -> list[str]:
    """That nobody said which class is the positive one, where only an order chose it; `subject`: how to name it."""
    if table.positive is None or table.positive_from not in _CHOSEN_BY:
        return []
    why = _CHOSEN_BY[table.positive_from]
    return [f"{subject} is the positive class only because {why}; say which one is meant with --positive"]


def certain_note(file: str, prob: NDArray[np.float64], label: NDArray[np.int64]) -> tuple[str, ...]:
    """A note where probabilities are but 0 and 1: they were decisions once, or they are the labels themselves."""
    if len(prob) < FEW or not np.isin(prob, (0.0, 1.0)).all():
        return ()
    if (prob.argmax(axis=1) == label).all():
        return (f"the probabilities of {file} are 0 and 1, and each row's 1 is its label: are these the labels again?",)
    return (
        f"the probabilities of {file} are 0 and 1, as decisions are: AUROC, calibration and log loss say no more than "
        "accuracy does; score the probabilities that the model gave",
    )


def models_note(table: Table) -> tuple[str, ...]:
    """A note where a column tells that the rows are of several models: their probabilities have no common scale."""
    for name in table.header:
        if name.strip().lower() in MODELS and (count := len([cell for cell in table.distinct(name)[0] if cell])) > 1:
            return (
                f"{table.path.name} has rows of {count} models by its column '{name}', scored as one: probabilities of "
                "several models need not be comparable; give each its own table",
            )
    return ()


def hard_note(file: str, column: str) -> str:
    return (
        f"{file} has predicted classes ('{column}') and no probabilities: AUROC, AUPRC, log loss, Brier score and "
        "sensitivity at 95 % specificity can't be computed"
    )
