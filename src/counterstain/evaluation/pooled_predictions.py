"""Predictions pooled over the tiles of a slide or the images of a patient."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.evaluation.predictions import Predictions, name_codes
from counterstain.evaluation.rows import RowName

__all__ = ["pool_patients", "pool_slides", "slide_codes"]


def pool_patients(table: Predictions) -> Predictions:
    """One row per patient: the mean probability over the patient's images, in order of first appearance.

    A patient whose images carry more than one label has no label of their own and is left out, with a note.

    Raises:
        InputError: If no patient is left.
    """
    return _pool(table, table.patient_codes[1], "patient")


def pool_slides(table: Predictions) -> Predictions:
    """One row per slide, as `pool_patients` does for patients; a slide that two patients share is two.

    Raises:
        InputError: If an image has no slide, or no slide is left.
    """
    if "" in table.slide:
        raise InputError(f"image '{table.image[table.slide.index('')]}' has no slide; there is no slide level to score")
    return _pool(table, slide_codes(table), "slide")


def slide_codes(table: Predictions) -> NDArray[np.int64]:
    """(N,) number of each image's slide; a slide that two patients share is two."""
    patients, patient = table.patient_codes
    code: NDArray[np.int64] = np.unique(name_codes(table.slide)[1] * len(patients) + patient, return_inverse=True)[1]
    return code


def _pool(table: Predictions, code: NDArray[np.int64], noun: RowName) -> Predictions:
    """One row for each code, of which none is left out, with the patient of its first image."""
    k = int(code.max()) + 1
    first = np.empty(k, dtype=np.int64)
    first[code[::-1]] = np.arange(len(code))[::-1]  # of several the last one stays, and that is the first image
    count = np.bincount(code, minlength=k).astype(float)
    prob = np.column_stack([np.bincount(code, weights=column, minlength=k) / count for column in table.prob.T])
    low = np.full(k, len(table.classes), dtype=np.int64)
    high = np.full(k, -1, dtype=np.int64)
    np.minimum.at(low, code, table.label)
    np.maximum.at(high, code, table.label)
    mixed = low != high
    keep = np.flatnonzero(~mixed)[np.argsort(first[~mixed], kind="stable")]
    if keep.size == 0:
        raise InputError(
            f"every {noun} has {table.rows_are}s of more than one class; there is no {noun} level to score"
        )
    notes = table.notes
    if mixed.any():
        mixed_words = f"{int(mixed.sum())} of {k} {noun}s have {table.rows_are}s of more than one class"
        notes += (f"{mixed_words} and no {noun}-level score",)
    rows = first[keep].tolist()
    patient = tuple(table.patient[r] for r in rows)
    slide = tuple(table.slide[r] if noun == "slide" else "" for r in rows)
    slide_names = tuple(f"{name} of {owner}" for name, owner in zip(slide, patient, strict=True))
    return replace(
        table, image=slide_names if noun == "slide" else patient, patient=patient, slide=slide,
        site=tuple(table.site[r] for r in rows), label=high[keep], prob=prob[keep], notes=notes, rows_are=noun,
        own_patients=False,
    )  # fmt: skip
