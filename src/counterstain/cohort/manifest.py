"""The cohort's table as a CSV or Parquet file: read with its images checked, and written."""

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from counterstain.cohort.cohort import Cohort, assemble, container
from counterstain.cohort.cohort_columns import (
    COLUMNS,
    MISSING_SITE,
    NUMBER_COLUMNS,
    choose_columns,
    clean_ids,
    clean_labels,
    clean_numbers,
    rename_splits,
)
from counterstain.cohort.doubtful import one_hot_words
from counterstain.cohort.finding_columns import ANY, read_present, single_labels
from counterstain.cohort.image_paths import paths_from_table, place_images, recorded_root
from counterstain.cohort.patterns import fill_by_pattern
from counterstain.errors import InputError, first_names, says_arguments
from counterstain.files import refusal, write_csv, write_with
from counterstain.id_cells import counting_ids
from counterstain.tables import MISSING, Table, read_table

__all__ = ["check_files", "is_own_table", "read_manifest", "write_cohort"]


def read_manifest(
    path: Path | str,
    *,
    root: Path | str | None = None,
    positive: str | None = None,
    columns: Mapping[str, str] | None = None,
    splits: Mapping[str, str] | None = None,
    pattern: str | None = None,
    findings: Sequence[str] = (),
) -> Cohort:
    """The cohort of a CSV or Parquet manifest, one row per image.

    Args:
        path: a CSV or Parquet table with a header; see tables.read_table.
        root: The folder that image paths are relative to; by default the manifest's own, see image_paths.place_images.
        positive: The class of two whose probability is reported.
        columns: {cohort column: manifest column}, where the names are not known ones; "" leaves a column out.
        splits: {manifest's split: ours}, e.g. {"valid": "test"}; applied before the known words.
        pattern: A regular expression for image paths, whose named groups fill what the table leaves empty.
        findings: Columns of 0 and 1, instead of one label per image; see cohort.finding_columns.

    Raises:
        InputError: If the file cannot be read, columns are missing or ambiguous, a label is empty, an image is listed
            twice, missing or outside the root, or there are fewer than two classes.
    """
    path = Path(path)
    table_root = recorded_root(path) if root is None else Path(root)
    table = read_table(path, kind="manifest")
    present = read_present(table, findings) if findings else None
    labelled = present is not None or (pattern is not None and "(?P<label>" in pattern)
    needed = ("image_path",) if labelled else ("image_path", "label")
    chosen = choose_columns(table.header, columns, where=path.name, needed=needed, hint=lambda: _one_hot(table))
    cells = {noun: list(table.text(name, strip=False)) for noun, name in chosen.items()}
    if not cells["image_path"]:
        raise InputError(f"{path.name} has a header and no rows; it needs one row per image")
    base, names = place_images(cells["image_path"], path.parent, path.name, root=table_root)
    if pattern is not None:
        cells = fill_by_pattern({**cells, "image_path": names}, pattern, path.name)
    if present is not None:
        cells["label"], positive = single_labels(present), ANY
    cleaned: dict[str, Any] = {"image_path": names}
    cleaned["label"] = clean_labels(cells["label"], path.name)
    for noun in ("patient_id", "slide_id"):
        cleaned[noun] = clean_ids(cells.get(noun), len(cleaned["label"]), subject=f"{path.name}: {noun}")
    cleaned["site"] = clean_ids(cells.get("site"), len(cleaned["label"]), MISSING_SITE)
    for noun in NUMBER_COLUMNS:
        cleaned[noun] = clean_numbers(cells.get(noun), len(cleaned["label"]), noun, path.name)
    for noun, partner in (("x", "y"), ("y", "x")):
        if noun in cells and partner not in cells:
            raise InputError(f"{path.name} has {noun} and no {partner}; give both, or leave the column out")
    if "split" in cells:
        values = ["" if value.strip().lower() in MISSING else value.strip() for value in cells["split"]]
        cleaned["split"] = rename_splits(values, splits, where=path.name)
    elif splits:
        raise InputError(f"splits: {path.name} has no column for the split")
    unused = [name for name in table.header if name not in chosen.values() and name not in findings]
    notes = [*table.notes]
    if unused:
        unused_names = ", ".join(name or "(one without a name)" for name in unused)
        notes.append(f"columns of {path.name} that were not used: {unused_names}")
    notes += counting_ids(cleaned["patient_id"])
    cohort = assemble(cleaned, root=base, positive=positive, notes=notes)
    if present is not None:
        cohort = replace(cohort, findings=tuple(findings), present=present)
    check_files(cohort)
    return cohort


def _one_hot(table: Table) -> str:
    return one_hot_words({name: table.text(name, strip=False) for name in table.header if name})


class _OnDisk(Protocol):
    """Image paths and the folder that they count from."""

    @property
    def table(self) -> pd.DataFrame: ...

    @property
    def root(self) -> Path: ...


def check_files(cohort: _OnDisk) -> None:
    """Refuse a cohort whose files are missing, are no files, or are links that leave the root folder.

    Raises:
        InputError: With the first three and their count.
    """
    files = dict.fromkeys(container(path)[0] for path in cohort.table["image_path"])
    root = Path(os.path.realpath(cohort.root))
    safe_parents: dict[str, bool] = {}
    missing, outside = [], []
    for file in files:
        full = os.path.join(root, file)  # noqa: PTH118 (Path objects would double the time for 20,000 rows)
        try:
            mode = os.lstat(full).st_mode
            if stat.S_ISLNK(mode):
                inside = Path(os.path.realpath(full)).is_relative_to(root)
                mode = os.stat(full).st_mode if inside else mode  # noqa: PTH116
            else:
                inside = True
        except PermissionError as error:
            raise InputError(refusal(error, Path(full))) from None
        except (OSError, ValueError):
            missing.append(file)
            continue
        parent = file.rpartition("/")[0]
        if parent not in safe_parents:
            safe_parents[parent] = Path(os.path.realpath(root / parent)).is_relative_to(root)
        if not (inside and safe_parents[parent]):
            outside.append(file)
        elif not stat.S_ISREG(mode):
            missing.append(file)
    if missing:
        raise InputError(
            f"{len(missing)} of {len(files)} image files do not exist under {cohort.root} ({first_names(missing)}); "
            "correct their paths, or name the folder that they are relative to with --root (in a study, cohort.root)"
        )
    if outside:
        raise InputError(
            f"{len(outside)} of {len(files)} image files are links that lead out of {cohort.root} "
            f"({first_names(outside)}); copy the files, or name the folder above all images with --root (in a study, "
            "cohort.root)"
        )


def is_own_table(path: Path) -> bool:
    """Whether a file is a cohort's table as `write_cohort` writes it, by its header."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.readline(1000).strip() == ",".join(COLUMNS).encode()


@says_arguments
def write_cohort(cohort: Cohort, path: Path | str, *, as_named: bool = False) -> None:
    """Write the cohort's table as CSV, or as Parquet where `path` ends so; missing numbers are empty cells.

    Image paths are written relative to the table, so that it can be read back from where it is.

    Args:
        cohort: to be written.
        path: of the table.
        as_named: write the images' names instead, which count from the cohort's root.
    """
    path, table = Path(path), cohort.table
    if not as_named:
        paths = paths_from_table(cohort.image, cohort.root, path)
        table = table.assign(image_path=pd.Series(paths, dtype=object))
    if path.suffix.lower() in (".parquet", ".pq"):
        write_with(path, lambda temporary: table.to_parquet(temporary, index=False))
        return
    cells = [_cells(table[name]) for name in COLUMNS]
    write_csv(path, COLUMNS, zip(*cells, strict=True))


def _cells(column: "pd.Series[Any]") -> list[object]:
    if column.name not in NUMBER_COLUMNS:
        return list(column)
    return [None if value != value else int(value) if value.is_integer() else value for value in column.tolist()]
