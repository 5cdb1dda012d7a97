"""What a cohort consists of, in counts: images, patients, slides and sites, by class."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from counterstain.cohort.manifest import Cohort

__all__ = ["colour_by_header", "count", "describe"]

_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F"})
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")


def count(
    cohort: "Cohort", rows: Sequence[int] | NDArray[np.int64] | NDArray[np.bool_] | None = None
) -> dict[str, Any]:
    """Images and patients of these rows (all by default), in all and per class; patients are None where unknown."""
    table = cohort.table if rows is None else cohort.table.iloc[np.asarray(rows)]
    known = cohort.has_patients
    return {
        "images": len(table),
        "patients": int(table["patient_id"].nunique()) if known else None,
        "per_class": {
            name: {"images": len(part), "patients": int(part["patient_id"].nunique()) if known else None}
            for name, part in ((name, table[table["label"] == name]) for name in cohort.classes)
        },
    }


def describe(cohort: "Cohort", colour: NDArray[np.bool_] | None = None) -> dict[str, Any]:
    """A record of the cohort's counts, as `counterstain cohort` prints it and cohort.json holds it.

    Args:
        cohort: The cohort.
        colour: (N,) whether each image is a colour image, where that is known.

    Returns:
        images, colour_images, classes, positive, per_class, patients, slides, sites, splits, mpp, skipped, notes;
        what is not known is None.
    """
    table = cohort.table
    return {
        "schema": "counterstain.cohort/1",
        "classes": list(cohort.classes),
        "positive": cohort.positive,
        "colour_images": None if colour is None else int(np.count_nonzero(colour)),
        **count(cohort),
        "patients": _patients(cohort),
        "slides": int(table["slide_id"][table["slide_id"] != ""].nunique()) or None,
        "sites": _parts(cohort, "site"),
        "splits": _parts(cohort, "split"),
        "mpp": _mpp(table["mpp"]),
        "skipped": [{"path": path, "reason": reason} for path, reason in cohort.skipped],
        "notes": list(cohort.notes),
    }


def _patients(cohort: "Cohort") -> dict[str, Any] | None:
    """Patients, images a patient, and the patients whose images are of more than one class."""
    table = cohort.table[cohort.table["patient_id"] != ""]
    if table.empty:
        return None
    grouped = table.groupby("patient_id")
    images = grouped.size()
    several = grouped["label"].nunique()
    mixed = sorted(several.index[several > 1])
    return {
        "count": len(images),
        "images_without": len(cohort) - len(table),
        "images_each": {"min": int(images.min()), "median": float(images.median()), "max": int(images.max())},
        "with_several_classes": {"count": len(mixed), "first": mixed[:10]},
    }


def _parts(cohort: "Cohort", column: str) -> dict[str, Any] | None:
    """Counts for each value of a column; None where the column is empty."""
    values = cohort.table[column]
    if (values == "").all():
        return None
    return {value: count(cohort, np.flatnonzero(values == value)) for value in sorted(set(values))}


def _mpp(column: "pd.Series[Any]") -> dict[str, Any] | None:
    known = column.dropna()
    if known.empty:
        return None
    return {"min": float(known.min()), "median": float(known.median()), "max": float(known.max()),
            "images_without": len(column) - len(known)}  # fmt: skip


def colour_by_header(cohort: "Cohort") -> NDArray[np.bool_]:
    """(N,) whether each image is a colour image by its header (about 20,000 files a second; nothing is decoded).

    A palette image counts as a colour image; one that cannot be opened counts as none, as do images of more than 2
    dimensions in a container without three channels.
    """
    from PIL import Image, UnidentifiedImageError

    from counterstain.cohort.manifest import container

    result = np.zeros(len(cohort), dtype=bool)
    for row, path in enumerate(cohort.table["image_path"]):
        file, address = container(path)
        if address:
            result[row] = True
            continue
        try:
            with Image.open(cohort.root / file, formats=_FORMATS) as image:
                result[row] = image.mode not in _GREY_MODES
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue
    return result
