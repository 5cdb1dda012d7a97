"""What a cohort consists of, in counts: images, patients, slides and sites, by class."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from counterstain.cohort.cohort import Cohort

__all__ = ["CohortRecord", "Count", "Counts", "count", "describe", "describe_lines", "measure_colour"]

_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F"})
NAMED = 10  # damaged images in the lines of text; the record has all
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")


class Count(TypedDict):
    """Images, and patients where they are known."""

    images: int
    patients: int | None


class Counts(Count):
    """In all and per class."""

    per_class: dict[str, Count]


class CohortRecord(TypedDict):
    """cohort.json, see `describe`; what is not known is None."""

    schema: str
    classes: list[str]
    positive: str | None
    colour_images: int | None
    images: int
    patients: dict[str, Any] | None
    per_class: dict[str, Count]
    slides: int | None
    sites: dict[str, Counts] | None
    splits: dict[str, Counts] | None
    mpp: dict[str, float] | None
    unreadable: list[dict[str, str]] | None
    skipped: list[dict[str, str]]
    notes: list[str]


def count(cohort: "Cohort", rows: Sequence[int] | NDArray[np.int64] | NDArray[np.bool_] | None = None) -> Counts:
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


def describe(
    cohort: "Cohort",
    colour: NDArray[np.bool_] | None = None,
    unreadable: Sequence[tuple[str, str]] | None = None,
) -> CohortRecord:
    """A record of the cohort's counts, as `counterstain cohort` prints it and cohort.json holds it.

    Args:
        cohort: The cohort.
        colour: (N,) whether each image is a colour image, where that is known.
        unreadable: (image, reason) of those that cannot be read, where all were decoded.

    Returns:
        images, colour_images, classes, positive, per_class, patients, slides, sites, splits, mpp, unreadable, skipped,
        notes; what is not known is None.
    """
    table, total = cohort.table, count(cohort)
    return {
        "schema": "counterstain.cohort/1",
        "classes": list(cohort.classes),
        "positive": cohort.positive,
        "colour_images": None if colour is None else int(np.count_nonzero(colour)),
        "images": total["images"],
        "per_class": total["per_class"],
        "patients": _patients(cohort),
        "slides": int(table["slide_id"][table["slide_id"] != ""].nunique()) or None,
        "sites": _parts(cohort, "site"),
        "splits": _parts(cohort, "split"),
        "mpp": _mpp(table["mpp"]),
        "unreadable": None if unreadable is None else [{"path": path, "reason": reason} for path, reason in unreadable],
        "skipped": [{"path": path, "reason": reason} for path, reason in cohort.skipped],
        "notes": list(cohort.notes),
    }


def _patients(cohort: "Cohort") -> dict[str, Any] | None:
    """Patients, images per patient, and the patients whose images are of more than one class."""
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


def _parts(cohort: "Cohort", column: str) -> dict[str, Counts] | None:
    """Counts for each value of a column; None where the column is empty."""
    values = cohort.table[column]
    if (values == "").all():
        return None
    return {value: count(cohort, np.flatnonzero(values == value)) for value in sorted(set(values))}


def _mpp(column: "pd.Series[Any]") -> dict[str, float] | None:
    known = column.dropna()
    if known.empty:
        return None
    return {"min": float(known.min()), "median": float(known.median()), "max": float(known.max()),
            "images_without": len(column) - len(known)}  # fmt: skip


def describe_lines(record: CohortRecord) -> list[str]:
    """The record of `describe` as lines of text: counts, then tables of classes, sites and splits."""
    patients = record["patients"]
    colour = "" if record["colour_images"] is None else f" ({record['colour_images']:,} in colour)"
    lines = [f"images    {record['images']:,}{colour}"]
    if patients is None:
        lines.append("patients  unknown")
    else:
        per_patient = patients["images_each"]
        without = f"; {patients['images_without']} images without" if patients["images_without"] else ""
        lines.append(f"patients  {patients['count']:,} (images each: {per_patient['min']} to {per_patient['max']}, "
                     f"median {per_patient['median']:g}){without}")  # fmt: skip
        several = patients["with_several_classes"]
        if several["count"]:
            lines.append(f"          {several['count']} with images of several classes: {', '.join(several['first'])}")
    if record["slides"]:
        lines.append(f"slides    {record['slides']:,}")
    if record["mpp"]:
        lines.append(f"µm/px     {record['mpp']['min']:g} to {record['mpp']['max']:g}")
    lines += ["", *table_lines("class", record["per_class"], mark=record["positive"])]
    for title, parts in (("site", record["sites"]), ("split", record["splits"])):
        if parts:
            lines += ["", *table_lines(title, parts)]
    if record["unreadable"]:
        lines += ["", f"damaged   {len(record['unreadable'])} of {record['images']:,} images cannot be read:"]
        lines += [f"  {item['path']!r}: {item['reason']}" for item in record["unreadable"][:NAMED]]
        lines += ["  …"] if len(record["unreadable"]) > NAMED else []
    if record["skipped"]:
        lines += ["", f"skipped   {len(record['skipped'])} files:"]
        lines += [f"  {item['path']!r}: {item['reason']}" for item in record["skipped"][:5]]
        lines += ["  …"] if len(record["skipped"]) > 5 else []
    return lines + [f"note      {note}" for note in record["notes"]]


def table_lines(title: str, counts: Mapping[str, Count], *, mark: str | None = None) -> list[str]:
    """One line a name with its images and patients, below a header; the name `mark` is marked as the positive class."""
    names = [f"{name or '(none)'}{' (positive)' if name == mark else ''}" for name in counts]
    width = max(len(title), *map(len, names))
    header = f"{title:<{width}}  {'images':>9}  {'patients':>9}"
    rows = [
        f"{name:<{width}}  {part['images']:>9,}  {'unknown' if part['patients'] is None else part['patients']:>9}"
        for name, part in zip(names, counts.values(), strict=True)
    ]
    return [header, *rows]


def measure_colour(cohort: "Cohort") -> NDArray[np.bool_]:
    """(N,) whether each image is stored in colour, by its header; nothing is decoded.

    A palette image counts as a colour image; one that cannot be opened does not. Rows of a container are in colour
    where their array has three or four channels.
    """
    from counterstain.cohort.arrays import array_shape
    from counterstain.cohort.cohort import container

    arrays: dict[tuple[str, str], bool] = {}
    in_colour = np.zeros(len(cohort), dtype=bool)
    for row, path in enumerate(cohort.table["image_path"]):
        file, address = container(path)
        if not address:
            in_colour[row] = _is_colour(cohort.root / file)
            continue
        array = (file, address.rpartition("/")[0])
        if array not in arrays:
            shape = array_shape(cohort.root, *array)
            arrays[array] = len(shape) == 4 and shape[3] in (3, 4)
        in_colour[row] = arrays[array]
    return in_colour


def _is_colour(path: Path) -> bool:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes and metadata: the decoder judges those
            with Image.open(path, formats=_FORMATS) as image:
                return image.mode not in _GREY_MODES
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
