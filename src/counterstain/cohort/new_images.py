"""Images to be predicted: one, several, a folder, a table or a container, with labels where they have any."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from counterstain.cohort.arrays import unlabelled_rows
from counterstain.cohort.cohort import Cohort
from counterstain.cohort.cohort_columns import (
    COLUMNS,
    MISSING_LABEL,
    NUMBER_COLUMNS,
    choose_columns,
    clean_ids,
    clean_numbers,
)
from counterstain.cohort.companions import without_masks
from counterstain.cohort.finding_columns import present_cells, single_labels
from counterstain.cohort.image_files import CONTAINER_SUFFIXES, IMAGE_SUFFIXES, ImageFiles, find_images
from counterstain.cohort.image_paths import place_images, recorded_root
from counterstain.cohort.layouts import named_options, read_folder
from counterstain.cohort.manifest import check_files, is_own_table
from counterstain.cohort.patterns import fill_by_pattern
from counterstain.cohort.reading_options import NamingOptions
from counterstain.errors import InputError
from counterstain.id_cells import visible
from counterstain.run_folder import record_path
from counterstain.tables import read_table

__all__ = ["NewImages", "read_new_images"]

_KINDS = "PNG, JPEG, TIFF or BMP pictures, .h5 or .npz containers"


@dataclass(frozen=True, eq=False)
class NewImages:
    """Images as a trained model is given them; what a cohort must know of them may be missing here.

    table:   one row per image, columns as those of a Cohort; label is "" where it is not known
    root:    the folder that image_path is relative to
    notes:   how they were read, and what was not used
    skipped: (path, reason) of files that were found and left out
    present: (N, K) 0 or 1, which of a model's K findings each image has; None where that isn't known
    """

    table: pd.DataFrame
    root: Path
    notes: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    present: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.table)

    @property
    def image(self) -> tuple[str, ...]:
        """(N,) names, relative to root."""
        return tuple(self.table["image_path"].tolist())

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """(N,) whether the image has a label."""
        return np.array(self.table["label"] != "", dtype=np.bool_)

    def subset(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "NewImages":
        """These rows (numbers or a mask), in this order."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        present = None if self.present is None else self.present[index]
        return replace(self, table=self.table.iloc[index].reset_index(drop=True), present=present)


def read_new_images(
    sources: Sequence[Path],
    classes: Sequence[str],
    *,
    columns: Mapping[str, str] | None = None,
    root: Path | str | None = None,
    features: bool = False,
    findings: Sequence[str] = (),
    **naming: Unpack[NamingOptions],
) -> NewImages:
    """The images of one source or several, for a model of these classes.

    A folder's subfolders (and the file names of known data sets) give labels where all of them are classes of the
    model; a table does by its column. Otherwise the images have none, which a note says.

    Args:
        sources: pictures, folders, containers; or one CSV or Parquet table of them.
        classes: of the model.
        columns: of a table, {our column: its column}; see tables.read_table.
        root: of a table, the folder that its image paths count from; by default see image_paths.place_images.
        features: the images are feature files (.h5), one per slide; a container is then one of them.
        findings: of a model of several findings; where a table has a column of 0 and 1 for each, `present` is known.
        **naming: layout, pattern, task, magnification and follow_links, see layouts.read_folder. Where a layout or a
            task is named, a folder that does not follow it is refused. A pattern fills ids that are not known.

    Raises:
        InputError: If a source does not exist or holds no image, a table is named beside others, or its labels are not
            the model's classes.

    Example:
        >>> read_new_images([Path("slides.txt")], ["benign", "malignant"])
        Traceback (most recent call last):
            ...
        counterstain.errors.InputError: slides.txt does not exist; name pictures, a folder, a table or a container
    """
    for source in sources:
        if not source.exists():
            raise InputError(f"{source} does not exist; name pictures, a folder, a table or a container")
        if is_own_table(table := record_path(source, "cohort.csv")):
            raise InputError(f"{source} is a run, and its pictures are figures; name its images, {table}")
    home = None if root is None else Path(root)
    tables = [source for source in sources if source.is_file() and not _is_pixels(source)]
    if tables and len(sources) > 1:
        raise InputError(f"{tables[0]} is a table and was named beside other sources; name it alone")
    option = "columns are" if columns else "root is"
    if (columns or (root is not None and not naming.get("follow_links"))) and not tables:
        raise InputError(f"{option} of a CSV or Parquet table; {sources[0]} is none")
    if tables and (unused := named_options(naming)):
        raise InputError(f"{unused[0]} is for a folder's file names; {tables[0]} is a table, whose columns say it all")
    if tables:
        images = _of_table(tables[0], classes, columns or {}, home, findings)
    else:
        parts = [_of_features(source) if features else _of_path(source, classes, home, naming) for source in sources]
        images = parts[0] if len(parts) == 1 else _joined(parts)
    pattern = naming.get("pattern")
    return images if pattern is None else _filled(images, pattern, str(sources[0]), classes)


def _filled(images: NewImages, pattern: str, where: str, classes: Sequence[str]) -> NewImages:
    """The images with what the pattern finds in their names, where nothing is known of it."""
    table = images.table
    cells = {
        noun: ["" if value == "" or value != value else str(value) for value in table[noun]] for noun in table.columns
    }
    filled = fill_by_pattern(cells, pattern, where)
    unknown = next((label for label in filled["label"] if label and label not in classes), None)
    if unknown is not None:
        raise InputError(f"pattern finds the label '{unknown}', but the model was trained on {', '.join(classes)}")
    columns: dict[str, Any] = {**filled}
    for noun in NUMBER_COLUMNS:
        columns[noun] = pd.to_numeric(pd.Series(filled[noun]))
    return replace(images, table=table.assign(**columns))


def _is_pixels(path: Path) -> bool:
    return path.name.lower().endswith((*IMAGE_SUFFIXES, *CONTAINER_SUFFIXES))


def _of_path(source: Path, classes: Sequence[str], home: Path | None, naming: NamingOptions) -> NewImages:
    """A picture, a container, or a folder of both."""
    if source.is_file() and source.name.lower().endswith(IMAGE_SUFFIXES):
        return NewImages(_frame({"image_path": [source.name]}), source.parent)
    if source.is_file():
        files = ImageFiles((), (source.name,), ())
        root = source.parent
    else:
        files = without_masks(find_images(source, follow_links=bool(naming.get("follow_links")), root=home))
        root = files.root or source
    if not files.images and not files.containers:
        raise InputError(f"{source} holds no image; needed: {_KINDS}")
    labelled, why = _labelled(source, classes, home, naming)
    if labelled is not None:
        return labelled
    names = [
        *(files.real.get(name, name) for name in files.images),
        *(name for file in files.containers for name in unlabelled_rows(root, file)),
    ]
    if not names:
        raise InputError(f"{source} holds no image; needed: {_KINDS}")
    notes = (f"no labels were read: {why}",) if why else ()
    return NewImages(_frame({"image_path": names}), root, notes, files.skipped)


def _of_features(source: Path) -> NewImages:
    """Feature files: one, or those below a folder."""
    files = ImageFiles((), (source.name,), ()) if source.is_file() else find_images(source)
    if not files.containers:
        raise InputError(f"{source} holds no feature file (.h5), which this model of whole slides takes")
    root = source.parent if source.is_file() else source
    return NewImages(_frame({"image_path": list(files.containers)}), root, (), files.skipped)


def _labelled(
    source: Path, classes: Sequence[str], home: Path | None, naming: NamingOptions
) -> tuple[NewImages | None, str]:
    """The cohort that the source is, if its labels are the model's; or why it is none ("" for a flat folder)."""
    try:
        cohort = read_folder(source, root=home, **naming)
    except InputError as error:
        if any(name != "follow_links" for name in named_options(naming)):
            raise  # a layout that was asked for is not given up in silence
        if naming.get("pattern") is not None:
            return None, str(error)
        return _one_class(source, classes, str(error))
    odd = [name for name in cohort.classes if name not in classes]
    if odd:
        return None, f"'{odd[0]}' is no class of the model ({', '.join(classes)})"
    notes = tuple(note for note in cohort.notes if not note.startswith("positive class"))
    return NewImages(cohort.table, cohort.root, notes, cohort.skipped), ""


def _one_class(source: Path, classes: Sequence[str], why: str) -> tuple[NewImages | None, str]:
    """A folder of folders, each a class of the model, that is no cohort since there is one of them."""
    if not source.is_dir():
        return None, why
    files = without_masks(find_images(source))
    firsts = {name.split("/")[0] if "/" in name else "" for name in files.images}
    if firsts == {""}:
        return None, ""
    if files.containers or len(firsts) != 1 or not firsts <= set(classes):
        return None, why
    label = firsts.pop()
    frame = _frame({"image_path": list(files.images), "label": [label] * len(files.images)})
    return NewImages(frame, source, (f"every image is in the folder of one class, '{label}'",), files.skipped), ""


def _of_table(
    path: Path, classes: Sequence[str], columns: Mapping[str, str], root: Path | None, findings: Sequence[str]
) -> NewImages:
    """A manifest whose label column may be missing, or empty in some rows."""
    table = read_table(path, kind="manifest")
    chosen = choose_columns(table.header, columns, where=path.name, needed=("image_path",))
    cells = {noun: list(table.text(name, strip=False)) for noun, name in chosen.items()}
    rows = len(cells["image_path"])
    if not rows:
        raise InputError(f"{path.name} has a header and no rows; it needs one row per image")
    table_root = recorded_root(path) if root is None else root
    base, names = place_images(cells["image_path"], path.parent, path.name, root=table_root)
    cleaned: dict[str, Any] = {"image_path": names}
    repeated = pd.Series(cleaned["image_path"]).duplicated()
    if repeated.any():
        row = int(np.flatnonzero(repeated)[0])
        raise InputError(f"{path.name} lists {cleaned['image_path'][row]} twice; list each image once")
    labels = [visible(value) for value in cells.get("label") or [""] * rows]
    labels = ["" if label.lower() in MISSING_LABEL else label for label in labels]
    odd = next((row for row, label in enumerate(labels) if label and label not in classes), None)
    if odd is not None:
        raise InputError(
            f"{path.name} row {odd + 1} has label '{labels[odd]}', but the model was trained on {', '.join(classes)}; "
            "correct the label, or predict without labels: --columns label="
        )
    cleaned["label"] = labels
    for noun in ("patient_id", "slide_id", "site"):
        cleaned[noun] = clean_ids(cells.get(noun), rows, subject=f"{path.name}: {noun}")
    for noun in NUMBER_COLUMNS:
        cleaned[noun] = clean_numbers(cells.get(noun), rows, noun, path.name)
    present, notes = None, tuple(table.notes)
    if findings and all(name in table.header for name in findings) and "label" not in chosen:
        if any("" in table.text(name) for name in findings):
            notes += (f"no findings were scored: {path.name} leaves some of them empty",)
        else:
            present = present_cells(table, findings)
            cleaned["label"] = single_labels(present)
    images = NewImages(_frame(cleaned), base, notes, present=present)
    check_files(images)
    return images


def _joined(parts: Sequence[NewImages]) -> NewImages:
    """Several sources under the folder that holds them all; an image that two of them name is taken once."""
    roots = [Path(os.path.realpath(part.root)) for part in parts]
    root = Path(os.path.commonpath(roots))
    frames = []
    for part, folder in zip(parts, roots, strict=True):
        prefix = folder.relative_to(root).as_posix()
        names = [name if prefix == "." else f"{prefix}/{name}" for name in part.image]
        frames.append(part.table.assign(image_path=pd.Series(names, dtype=object)))
    table = pd.concat(frames, ignore_index=True)
    skipped = tuple(pair for part in parts for pair in part.skipped)
    notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
    return NewImages(table.drop_duplicates("image_path").reset_index(drop=True), root, notes, skipped)


def _frame(columns: Mapping[str, Any]) -> pd.DataFrame:
    """A table with all columns of a cohort; what is not given is missing."""
    rows = len(columns["image_path"])
    filled = {}
    for name in COLUMNS:
        missing: Any = np.full(rows, np.nan) if name in NUMBER_COLUMNS else [""] * rows
        values = columns.get(name, missing)
        filled[name] = pd.Series(values, dtype=np.float64 if name in NUMBER_COLUMNS else object)
    return pd.DataFrame(filled)


def of_cohort(cohort: Cohort, classes: Sequence[str], findings: Sequence[str] = ()) -> NewImages:
    """A cohort's images, every one of them labelled with a class of the model, or with its findings.

    Raises:
        InputError: If a label is none of the classes.
    """
    if findings and set(findings) <= set(cohort.findings) and cohort.present is not None:
        present = cohort.present[:, [cohort.findings.index(name) for name in findings]]
        return NewImages(cohort.table, cohort.root, cohort.notes, cohort.skipped, present)
    odd = next((name for name in cohort.classes if name not in classes), None)
    if odd is not None and odd in set(cohort.table["label"]):
        raise InputError(f"the cohort has label '{odd}', but the model was trained on {', '.join(classes)}")
    notes = tuple(note for note in cohort.notes if not note.startswith("positive class"))
    return NewImages(cohort.table, cohort.root, notes, cohort.skipped)
