"""Which image is used for what: the parts of a split, what makes them valid, their counts and their file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from counterstain.cohort.cohort import Cohort
from counterstain.cohort.summary import Count, Counts, count, table_lines
from counterstain.errors import InputError, first_names
from counterstain.files import write_csv
from counterstain.records import html_of, json_text

__all__ = [
    "UNITS",
    "Fold",
    "Split",
    "check",
    "check_leak",
    "count_by_unit",
    "count_parts",
    "few_names",
    "label_columns",
    "require_patients",
    "split_lines",
    "write_split",
]

UNITS = ("patient", "image")


@dataclass(frozen=True)
class Fold:
    """One division of all images: the only one of a hold-out (repeat 0, fold 0), or one fold of one repeat.

    assignment: (N,) "train", "val", "test", "test_<name>", or "" for an image that is in none.
    """

    repeat: int
    fold: int
    assignment: tuple[str, ...]

    def rows(self, name: str) -> NDArray[np.int64]:
        """The row numbers of the images in the part of this name, ascending."""
        return np.flatnonzero(np.array(self.assignment, dtype=object) == name)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its parts that have images: train, val, test, then test_<name> by the alphabet."""
        order = {"train": 0, "val": 1, "test": 2}
        return tuple(sorted(set(self.assignment) - {""}, key=lambda name: (order.get(name, 3), name)))

    @property
    def train(self) -> NDArray[np.int64]:
        """Row numbers of the images to learn from."""
        return self.rows("train")

    @property
    def val(self) -> NDArray[np.int64]:
        """Row numbers of the images to choose with: when to stop, thresholds, calibration."""
        return self.rows("val")

    @property
    def test(self) -> NDArray[np.int64]:
        """Row numbers of the images to report on; where there is no part "test", those of every part "test_…"."""
        if "test" in self.names:
            return self.rows("test")
        return np.flatnonzero([name.startswith("test") for name in self.assignment])

    def __repr__(self) -> str:
        counts = ", ".join(f"{self.assignment.count(name)} {name}" for name in self.names)
        return f"Fold(repeat {self.repeat}, fold {self.fold}: {counts[:120]})"


@dataclass(frozen=True)
class Split:
    """Which image is used for what.

    `for train, test in split` gives the row numbers of each fold, as scikit-learn's splitters do. The validation images
    are in neither: `for part in split.parts` has them as `part.val`.

    image: (N,) names in the cohort's order
    parts: one of a hold-out; repeats × k of folds
    unit:  what was kept together: "patient", or "image" (then results are stamped "image-level")
    notes: what a reader should know of how it was made
    """

    image: tuple[str, ...]
    parts: tuple[Fold, ...]
    unit: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """How many folds, over all repeats."""
        return len(self.parts)

    def __iter__(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        for part in self.parts:
            yield part.train, part.test

    def summary(self) -> str:
        """One line per fold with its counts of images."""
        head = f"{len(self.image)} images, divided by {self.unit}"
        return "\n".join([head, *(f"  {part!r}" for part in self.parts)])

    def to_json(self, path: Path | str | None = None) -> str:
        """The split as JSON text; with a path it is also written there. `write_split` writes the CSV that is read."""
        parts = [{"repeat": part.repeat, "fold": part.fold, "assignment": part.assignment} for part in self.parts]
        return json_text({"unit": self.unit, "image": self.image, "parts": parts}, path)

    def __repr__(self) -> str:
        first = f", {self.parts[0]!r}" if len(self.parts) == 1 else ""
        folds = "1 fold" if len(self.parts) == 1 else f"{len(self.parts)} folds"
        return f"Split({len(self.image)} images, {folds}, unit {self.unit}{first})"

    def _repr_html_(self) -> str:
        return html_of(self.summary())


def check(split: Split, cohort: Cohort) -> None:
    """Refuse a split that does not fit the cohort, divides a patient, or lacks a class in a part.

    Raises:
        InputError: Naming the image, the patient or the class.
    """
    if split.unit not in UNITS:
        raise InputError(f"unit is '{split.unit}'; needed: patient, or image")
    if split.image != cohort.image:
        unknown = sorted(set(split.image) - set(cohort.image)) or sorted(set(cohort.image) - set(split.image))
        name = unknown[0] if unknown else split.image[0]
        raise InputError(f"the split and the cohort differ in their images or their order ({name}); split it again")
    if not split.parts:
        raise InputError("the split has no parts; needed: train, val and test")
    check_leak(split, cohort)
    labels = np.array(cohort.table["label"], dtype=object)
    for part in split.parts:
        for required in ("train", "val"):
            if required not in part.names:
                raise InputError(f"{_where(part, split)}has no {required} part; needed: train, val and test")
        if not any(name.startswith("test") for name in part.names):
            raise InputError(f"{_where(part, split)}has no test part; needed: train, val and test")
        for name in part.names:
            absent = [label for label in cohort.classes if label not in set(labels[part.rows(name)])]
            if absent:
                raise InputError(
                    f"{_where(part, split)}has no image of class '{absent[0]}' in {name}; "
                    f"{_having(cohort, absent[0])}; every part needs every class"
                )
    if len(split.parts) > 1:
        _check_folds(split)


def _where(part: Fold, split: Split) -> str:
    return f"repeat {part.repeat} fold {part.fold} of the split " if len(split.parts) > 1 else "the split "


def _having(cohort: Cohort, label: str) -> str:
    rows = cohort.table["label"] == label
    if not cohort.has_patients:
        return f"it has {int(rows.sum())} images in all"
    return f"it has {few_names(sorted(set(cohort.table['patient_id'][rows])), 'patient')}"


def check_leak(split: Split, cohort: Cohort) -> None:
    """Refuse a patient on two sides of any part (where the unit is the patient).

    Raises:
        InputError: Naming the first such patient and the parts that it is in.
    """
    if split.unit == "image":
        return
    owner = cohort.patient
    require_patients(cohort)
    for part in split.parts:
        pairs = sorted({pair for pair in zip(owner, part.assignment, strict=True) if pair[1]})
        parts_of: dict[str, list[str]] = {}
        for name, assigned in pairs:
            parts_of.setdefault(name, []).append(assigned)
        leaking = [name for name, parts in parts_of.items() if len(parts) > 1]
        if leaking:
            name, between = leaking[0], " and ".join(parts_of[leaking[0]])
            many = f"{len(leaking)} patient{'' if len(leaking) == 1 else 's'}"
            raise InputError(
                f"{_where(part, split)}divides {many} (first: {name}, in {between}); "
                "put each patient on one side, or write unit: image (--unit image) and have the results stamped "
                "'image-level'"
            )


def _check_folds(split: Split) -> None:
    """Refuse folds in which an image is tested more or less often than once per repeat."""
    for repeat in sorted({part.repeat for part in split.parts}):
        of_repeat = [part for part in split.parts if part.repeat == repeat]
        if len({part.fold for part in of_repeat}) != len(of_repeat):
            raise InputError(f"the split has a fold of repeat {repeat} twice")
        tested = np.sum([np.array(part.assignment, dtype=object) == "test" for part in of_repeat], axis=0)
        wrong = np.flatnonzero(tested != 1)
        if len(wrong):
            raise InputError(f"{split.image[wrong[0]]} is tested {tested[wrong[0]]} times in repeat {repeat} "
                             f"({len(wrong)} such images); needed: once")  # fmt: skip


def few_names(names: Sequence[str], unit: str) -> str:
    """The number and the first names, as "7 patients (P1, P2, P3, P4, P5, …)"."""
    return f"{len(names)} {unit}{'' if len(names) == 1 else 's'}" + (f" ({first_names(names, 5)})" if names else "")


def label_columns(cohort: Cohort) -> NDArray[np.int64]:
    """(N,) class numbers by the alphabet, so that naming another class positive changes no split."""
    column = {name: number for number, name in enumerate(sorted(cohort.classes))}
    return np.array([column[label] for label in cohort.table["label"].tolist()], dtype=np.int64)


def require_patients(cohort: Cohort) -> None:
    """Refuse a cohort with images whose patient is unknown.

    Raises:
        InputError: With their number, and the two ways out.
    """
    if not cohort.has_patients:
        without = cohort.table["image_path"][cohort.table["patient_id"] == ""]
        raise InputError(
            f"{len(without)} of {len(cohort)} images have no patient id (first: {without.iloc[0]}), so patients "
            "cannot be kept apart; give patient_id in a manifest or by a pattern (`counterstain cohort FOLDER "
            "--pattern … --out cohort.csv`), or write unit: image (in a command, --unit image; results are then "
            "stamped 'image-level')"
        )


def count_by_unit(cohort: Cohort, unit: str) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """The units' names by the alphabet, (N,) each image's unit, and (U, K) the units' images in each class."""
    if unit not in UNITS:
        raise InputError(f"unit is '{unit}'; needed: patient, or image")
    if unit == "patient":
        require_patients(cohort)
    owner = cohort.patient if unit == "patient" else cohort.image
    names = sorted(set(owner))
    number = {name: row for row, name in enumerate(names)}
    unit_row = np.array([number[name] for name in owner], dtype=np.int64)
    counts = np.zeros((len(names), len(cohort.classes)), dtype=np.int64)
    np.add.at(counts, (unit_row, label_columns(cohort)), 1)
    return names, unit_row, counts


class PartCounts(TypedDict):
    """One division: counts of each part, and images in none."""

    repeat: int
    fold: int
    unused: int
    counts: dict[str, Counts]


class SplitRecord(TypedDict):
    """split.json, see `count_parts`."""

    schema: str
    unit: str
    images: int
    parts: list[PartCounts]
    notes: NotRequired[list[str]]


def count_parts(split: Split, cohort: Cohort) -> SplitRecord:
    """Images and patients of every part, in all and per class: the record of split.json."""
    record: SplitRecord = {
        "schema": "counterstain.split/1",
        "unit": split.unit,
        "images": len(split.image),
        "parts": [
            {"repeat": part.repeat, "fold": part.fold, "unused": part.assignment.count(""),
             "counts": {name: count(cohort, part.rows(name)) for name in part.names}}
            for part in split.parts
        ],
    }  # fmt: skip
    return {**record, "notes": list(split.notes)} if split.notes else record


def split_lines(record: SplitRecord) -> list[str]:
    """The record of `count_parts` as lines of text: for each part, images and patients in all and per class."""
    lines = [f"split by {record['unit']}: {record['images']:,} images"]
    for part in record["parts"]:
        if len(record["parts"]) > 1:
            lines += ["", f"repeat {part['repeat']} fold {part['fold']}"]
        counts: dict[str, Count] = {}
        for name, total in part["counts"].items():
            counts[name] = total
            counts.update({f"  {name} {label}": of_class for label, of_class in total["per_class"].items()})
        lines += table_lines("part", counts)
        lines += [f"{part['unused']} images are in no part"] if part["unused"] else []
    return lines + [f"note: {note}" for note in record.get("notes", ())]


def write_split(split: Split, path: Path | str) -> None:
    """Write splits.csv: image_path,split; with folds image_path,repeat,fold,split, one row per image and fold."""
    if len(split.parts) == 1:
        write_csv(path, ("image_path", "split"), zip(split.image, split.parts[0].assignment, strict=True))
        return
    rows = (
        (image, part.repeat, part.fold, name)
        for part in split.parts
        for image, name in zip(split.image, part.assignment, strict=True)
    )
    write_csv(path, ("image_path", "repeat", "fold", "split"), rows)
