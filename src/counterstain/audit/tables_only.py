"""An audit of tables alone: no image is opened, and neither PyTorch nor OpenCV is needed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Unpack

from counterstain.audit.findings import AuditRecord
from counterstain.audit.report import audit_lines, table_record
from counterstain.cohort.cohort import Cohort
from counterstain.cohort.layouts import read_images
from counterstain.cohort.reading_options import ReadingOptions
from counterstain.cohort.splitters import Fold, Split, read_divisions, unit_of
from counterstain.files import StrPath, write_json

__all__ = ["audit_tables", "split_to_audit"]


def audit_tables(
    images: Cohort | StrPath,
    splits: Split | StrPath | None,
    out: Path,
    *,
    unit: str = "patient",
    distinct_ids: bool = False,
    **reading: Unpack[ReadingOptions],
) -> tuple[AuditRecord, list[str]]:
    """Audit a cohort's table, and its split where one is given; write audit.json to `out`.

    Args:
        images: a Cohort, a manifest, or a folder, whose names alone are read.
        splits: the split or its splits.csv; without it the cohort's own split column, and without that only the cohort
            is audited.
        out: gets audit.json.
        unit: that the splits.csv kept together.
        distinct_ids: patient ids that nearly agree are of different patients.
        **reading: see read_images.

    Returns:
        The record, and its lines of text.

    Raises:
        InputError: If the cohort or the split can't be read.
    """
    cohort = read_images(images, **reading)
    split = split_to_audit(splits, cohort, unit, (), reading.get("columns"))
    record = table_record(cohort, split, distinct_ids=distinct_ids)
    write_json(out / "audit.json", record)
    return record, audit_lines(record)


def split_to_audit(
    splits: Split | StrPath | None,
    cohort: Cohort,
    unit: str,
    aside: Sequence[str],
    columns: Mapping[str, str] | None = None,
) -> Split | None:
    """The split as it is, leaks and all: what `check` would refuse is here to be found."""
    if splits is not None:
        parts = read_divisions(splits, cohort, aside=aside, columns=columns)
        return Split(cohort.image, parts, unit_of(splits, unit))
    assignment = tuple(cohort.table["split"])
    if "train" not in assignment or not any(part.startswith("test") for part in assignment):
        return None
    return Split(cohort.image, (Fold(0, 0, assignment),), unit)
