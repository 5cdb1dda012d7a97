"""The cohort: what is studied, one row per image; read from and written to CSV or Parquet."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from counterstain.cohort.cohort_columns import (
    COLUMNS,
    NUMBER_COLUMNS,
    TEXT_COLUMNS,
    label_key,
    split_word,
    unify_labels,
)
from counterstain.cohort.doubtful import doubtful_labels
from counterstain.cohort.image_files import CONTAINER_SUFFIXES
from counterstain.cohort.summary import describe
from counterstain.errors import InputError, suggest
from counterstain.records import html_of, json_text

__all__ = ["COLUMNS", "Cohort", "assemble", "container", "describe", "order_classes"]

_NEGATIVE_WORDS = frozenset(
    {
        *("0", "false", "no", "negative", "neg", "benign", "normal", "healthy", "control", "wildtype", "wild_type"),
        *("wt", "mss", "nontumor", "nontumour", "noncancer", "non_tumor", "non_tumour", "non_cancer", "non_idc"),
        *("non_malignant", "no_tumor", "no_tumour", "no_cancer"),
    }
)


@dataclass(frozen=True, eq=False)
class Cohort:
    """The images of a study and what is known about them.

    table:    one row per image, columns exactly COLUMNS; text is str with "" for missing, mpp (µm/px), x and y
              (level-0 px) are float64 with NaN for missing; the row order is the cohort's order
    classes:  in order; for two classes the positive one is last
    root:     the folder that image_path is relative to (POSIX slashes); "file.h5#x/12" names row 12 of data set "x"
    positive: for two classes the class whose probability is `prob`; None for more
    ordered:  whether the classes are grades, from the lowest to the highest; see with_order
    findings: names of the findings that an image may have several of; () where each image has one label
    present:  (N, K) 1 where an image has a finding; None without findings
    skipped:  (path, reason) of files that were found and left out
    notes:    what a reader should know: how the cohort was read, names that look like twins

    Raises:
        InputError: If anything of this does not hold, an image occurs twice, or there are fewer than two classes.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    root: Path
    positive: str | None = None
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    ordered: bool = False
    findings: tuple[str, ...] = ()
    present: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        shape = None if self.present is None else self.present.shape
        if shape != ((len(self.table), len(self.findings)) if self.findings else None):
            raise InputError(
                f"present has shape {shape} for {len(self.table)} images and {len(self.findings)} findings"
            )
        unknown = [str(name) for name in self.table.columns if name not in COLUMNS]
        absent = [name for name in COLUMNS if name not in self.table.columns]
        if unknown or absent:
            name = unknown[0] if unknown else absent[0]
            raise InputError(f"a cohort's table {'has unknown' if unknown else 'lacks'} column '{name}'"
                             f"{suggest(name, COLUMNS)}")  # fmt: skip
        object.__setattr__(self, "table", self.table[list(COLUMNS)].reset_index(drop=True))
        _check_classes(self.classes, self.positive)
        _check_table(self.table, self.classes)

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        return f"Cohort({self.summary()[:180]})"

    def _repr_html_(self) -> str:
        return html_of(self.summary(), self.notes)

    def summary(self) -> str:
        """Counts in a line: images, patients, classes."""
        counts = np.bincount(self.label_index, minlength=len(self.classes))
        per_class = ", ".join(f"{count} {name}" for count, name in zip(counts, self.classes, strict=True))
        whose = f" of {len(set(self.patient))} patients" if self.has_patients else ""
        return f"{len(self)} images{whose}: {per_class}"

    def to_json(self, path: Path | str | None = None) -> str:
        """The record of `describe` as JSON text; with a path it is also written there."""
        return json_text(describe(self), path)

    @property
    def image(self) -> tuple[str, ...]:
        """(N,) the unique image names, in the cohort's order."""
        return tuple(self.table["image_path"].tolist())

    @property
    def label_index(self) -> NDArray[np.int64]:
        """(N,) the index of each image's label in `classes`."""
        index = {name: number for number, name in enumerate(self.classes)}
        return np.array([index[label] for label in self.table["label"].tolist()], dtype=np.int64)

    @property
    def has_patients(self) -> bool:
        """Whether every image has a patient id."""
        return bool((self.table["patient_id"] != "").all())

    @property
    def patient(self) -> tuple[str, ...]:
        """(N,) the unit that must not be divided: the patient id, or the image's own name where there is none."""
        pairs = zip(self.table["patient_id"].tolist(), self.table["image_path"].tolist(), strict=True)
        return tuple(patient or image for patient, image in pairs)

    def subset(self, rows: Sequence[int] | NDArray[np.int64] | NDArray[np.bool_]) -> "Cohort":
        """The cohort of these rows (numbers or a mask), in this order, with the same classes."""
        index = np.asarray(rows)
        index = np.flatnonzero(index) if index.dtype == np.bool_ else index
        present = None if self.present is None else self.present[index]
        return replace(self, table=self.table.iloc[index], present=present)

    def with_order(self, order: Sequence[str]) -> "Cohort":
        """The cohort with its classes as grades in this order, from the lowest to the highest.

        Raises:
            InputError: If these are not the classes, each once, or only two: two have no order but the positive one.
        """
        if len(self.classes) < 3:
            raise InputError(f"order names {len(order)} classes; grades are three or more, and of two one is positive")
        odd = next((name for name in order if name not in self.classes), None)
        if odd is not None:
            raise InputError(f"order names class '{odd}'{suggest(odd, self.classes)}")
        absent = [name for name in self.classes if name not in order]
        if absent or len(order) != len(self.classes):
            raise InputError(f"order must name each class once; {absent[0] if absent else 'one'} is missing or twice")
        return replace(self, classes=tuple(order), ordered=True)

    def with_positive(self, positive: str) -> "Cohort":
        """The cohort with this one of its two classes as the positive one, which comes last.

        Raises:
            InputError: If it is none of the classes, or there are more than two.
        """
        classes, chosen = order_classes(self.classes, positive)
        notes = tuple(note for note in self.notes if not note.startswith("positive class:"))
        return replace(self, classes=classes, positive=chosen, notes=notes)

    def with_split(self, split: Sequence[str]) -> "Cohort":
        """The cohort with this (N,) split column: train, val, test, test_<name> or ""."""
        return replace(self, table=self.table.assign(split=pd.Series(list(split), dtype=object)))


def _check_classes(classes: tuple[str, ...], positive: str | None) -> None:
    if len(set(classes)) != len(classes):
        raise InputError(f"a class is named twice in {classes}")
    if len(classes) < 2:
        content = f"only one class, '{classes[0]}'" if classes else "no class"
        raise InputError(f"the cohort has {content}; a classifier needs two or more: add images of another class")
    if (len(classes) == 2) != (positive is not None) or positive not in (None, classes[-1]):
        raise InputError(f"positive is {positive!r}; of two classes it is the last of {classes}, of more there is none")


def _check_table(table: pd.DataFrame, classes: tuple[str, ...]) -> None:
    if not len(table):
        raise InputError("the cohort has 0 images; two or more classes of images are needed")
    for name in TEXT_COLUMNS:
        values = table[name].tolist()
        if not all(isinstance(value, str) for value in values):
            row, value = next((row, value) for row, value in enumerate(values) if not isinstance(value, str))
            raise InputError(f"{name} of row {row + 1} is {value!r}, not text")
    for name in NUMBER_COLUMNS:
        numbers = table[name].to_numpy()
        if numbers.dtype != np.float64 or np.isinf(numbers).any():
            raise InputError(f"{name} must be finite float64 numbers with NaN for missing; it is {numbers.dtype}")
    if (table["mpp"] <= 0).any():
        raise InputError(f"mpp is {table['mpp'].min()}; needed: µm per pixel, above 0")
    _check_paths(table["image_path"].tolist())
    known = set(classes)
    for row, label in enumerate(table["label"].tolist()):
        if label not in known:
            path = table["image_path"].iloc[row]
            raise InputError(f"{path} has label '{label}', which is not among the classes {', '.join(classes)}")
    for value in set(table["split"]):
        if split_word(value) != value:
            raise InputError(f"split '{value}' is unknown; needed: train, val, test or test_<name>, or empty")


def _check_paths(paths: list[str]) -> None:
    first_row: dict[str, int] = {}
    for row, path in enumerate(paths):
        if not path:
            raise InputError(f"image {row + 1} has no path; every row names an image")
        if "\r" in path or "\0" in path:  # which CSV files cannot be trusted to carry
            raise InputError(f"{path!r} has a carriage return or a null in its name; rename it")
        if path in first_row:
            twice = len(paths) - len(set(paths))
            raise InputError(
                f"{path} is listed twice (images {first_row[path] + 1} and {row + 1}; {twice} such rows in all); "
                "list each image once"
            )
        first_row[path] = row
        if path.startswith("/") or re.match(r"[A-Za-z]:[\\/]", path) or (".." in path and ".." in path.split("/")):
            raise InputError(f"{path} is not a path inside the root folder; give a path relative to root")


def order_classes(labels: Iterable[str], positive: str | None = None) -> tuple[tuple[str, ...], str | None]:
    """The distinct labels in order (numbers by value), and the positive one of two, which comes last.

    Where `positive` is not given, the class that is no plain word for "negative" (benign, normal, 0, …) is taken, or
    else the last in the alphabet.

    Raises:
        InputError: If `positive` is no class, or is given for more than two classes.
    """
    classes = sorted(set(labels), key=_natural)
    if positive is not None and positive not in classes:
        raise InputError(f"positive class '{positive}' is not among the labels{suggest(positive, classes)}")
    if len(classes) != 2:
        if positive is not None and len(classes) > 2:
            raise InputError(
                f"positive is '{positive}', but there are {len(classes)} classes; it is for two classes only"
            )
        return tuple(classes), None
    if positive is None:
        affirmed = [name for name in classes if re.sub(r"[\s\-]+", "_", name.lower()) not in _NEGATIVE_WORDS]
        positive = affirmed[0] if len(affirmed) == 1 else classes[-1]
    return tuple(sorted(classes, key=lambda name: name == positive)), positive


def _natural(label: str) -> list[tuple[int, int, str]]:
    pieces = [piece for piece in re.split(r"([0-9]+)", label) if piece]
    return [(0, int(piece), piece) if piece.isascii() and piece.isdigit() else (1, 0, piece) for piece in pieces]


def assemble(
    columns: Mapping[str, Sequence[object] | NDArray[np.float64]],
    *,
    root: Path,
    positive: str | None = None,
    skipped: Iterable[tuple[str, str]] = (),
    notes: Iterable[str] = (),
) -> Cohort:
    """A Cohort of whatever columns are there ((N,) each; `image_path` and `label` at least); the rest is missing.

    Raises:
        InputError: If the rows do not make a cohort.
    """
    images = list(columns["image_path"])
    labels, merged = unify_labels([str(name) for name in columns["label"]])
    if positive is not None and positive not in labels:  # another spelling of a class is that class
        positive = next((label for label in labels if label_key(label) == label_key(positive)), positive)
    columns = {**columns, "label": labels}
    data: dict[str, NDArray[Any]] = {}
    for name in COLUMNS:
        if name in NUMBER_COLUMNS:
            data[name] = np.array(columns.get(name, np.full(len(images), np.nan)), dtype=np.float64)
        else:
            data[name] = np.array(columns.get(name, [""] * len(images)), dtype=object)
    # Text as plain objects: pandas would take it for its own string type, which its next version may change.
    table = pd.DataFrame({name: pd.Series(values, dtype=values.dtype) for name, values in data.items()})
    if not images:
        raise InputError(f"0 usable images in {root}; two or more classes of images are needed")
    classes, positive_class = order_classes(table["label"], positive)
    if positive_class != positive:
        merged = [*merged, f"positive class: '{positive_class}' (assumed; set positive for the other)"]
    notes = (*notes, *merged, *doubtful_labels(labels), *_twin_notes(images))
    return Cohort(table, classes, root, positive_class, tuple(skipped), notes)


def _twin_notes(paths: Sequence[str]) -> list[str]:
    """Names that differ in letter case or in Unicode form alone: on another machine they are one file."""
    first_spelling: dict[str, str] = {}
    twins = []
    for path in paths:
        plain = path.casefold() if path.isascii() else unicodedata.normalize("NFC", path).casefold()
        if plain in first_spelling:
            twins.append(f"{first_spelling[plain]!r} and {path!r}")
        first_spelling[plain] = path
    more = f" and {len(twins) - 3} more pairs" if len(twins) > 3 else ""
    return [f"names that differ only in letter case or Unicode form: {'; '.join(twins[:3])}{more}"] if twins else []


def container(image_path: str) -> tuple[str, str]:
    """The file of an image and its address inside it: ("a.h5", "x/12") for "a.h5#x/12", and "" for a plain image."""
    file, mark, address = image_path.rpartition("#")
    if mark and file.lower().endswith(CONTAINER_SUFFIXES):
        return file, address
    return image_path, ""
