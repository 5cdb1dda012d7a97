"""Predictions: ids, true labels and probabilities of one model on one set of images; all that evaluation ever reads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.evaluation.rows import RowName
from counterstain.records import html_of, json_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PROBABILITY_MEASURES", "Place", "Predictions", "align", "check_names", "check_prob", "concatenate"]
__all__ += ["take_rows"]

Place = Callable[[int], str]  # words for where a row stands
PositiveFrom = Literal["given", "only probability column", "column order", "name order"]

# What only probabilities can be scored by; undefined for a table of predicted classes alone.
PROBABILITY_MEASURES = ("auroc", "auprc", "loss", "brier", "sensitivity_at_95_specificity")
SUM_TOLERANCE = 1e-3  # tables of other tools are often rounded to three or four digits


@dataclass(frozen=True, eq=False, kw_only=True)
class Predictions:
    """One model's output on one set of images.

    image:   N unique names
    patient: N names; images of one patient are not independent. Where patients are unknown: the image names again.
    slide, site: N names, "" where unknown
    label:   (N,) int64, index into classes
    prob:    (N, C) float64, rows sum to 1 (to 1e-3: other tools round)
    classes: C >= 2 names, in column order of prob; of two classes the positive one is the last
    notes:   what a reader of this table should be told, one line each
    positive_from: what made the last class the positive one
    rows_are: what the names in `image` are, see rows.rows_named; "row": the table names nothing, its rows are numbered
    own_patients: the ids were given and equal the image names: each image is its own patient, rather than of an unknown
    ordered: the classes are grades, from the lowest to the highest: agreement can be weighted by their distance
    hard:    prob is 0 or 1, since the table has predicted classes alone: scores of probabilities are ignored

    Raises:
        InputError: On a size that differs, a name twice, a label out of range, a probability that is none.
    """

    image: tuple[str, ...]
    patient: tuple[str, ...]
    slide: tuple[str, ...]
    site: tuple[str, ...]
    label: NDArray[np.int64]
    prob: NDArray[np.float64]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())
    positive_from: PositiveFrom = "column order"
    rows_are: RowName = "image"
    own_patients: bool = False
    hard: bool = False
    ordered: bool = False

    def __post_init__(self) -> None:
        """Own, freeze and check the arrays."""
        label = _whole_numbers(self.label)
        prob = _numbers(self.prob)
        for array in (label, prob):
            array.setflags(write=False)
        object.__setattr__(self, "label", label)
        object.__setattr__(self, "prob", prob)
        for name in ("image", "patient", "slide", "site", "classes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _check_sizes(self)
        check_names(self.image, lambda row: f"row {row + 1}")
        check_prob(prob, lambda row: f"image '{self.image[row]}'")

    def __len__(self) -> int:
        return len(self.image)

    def __repr__(self) -> str:
        return f"Predictions({self.summary()[:170]})"

    def _repr_html_(self) -> str:
        return html_of(self.summary(), self.notes)

    def summary(self) -> str:
        """Counts in a line: images, patients, classes."""
        counts = np.bincount(self.label, minlength=len(self.classes))
        per_class = ", ".join(f"{count} {name}" for count, name in zip(counts, self.classes, strict=True))
        whose = f" of {len(self.patient_codes[0])} patients" if self.unit == "patient" else ""
        return f"{len(self)} {self.rows_are}s{whose}: {per_class}"

    def to_frame(self) -> "pd.DataFrame":
        """One row per image: image_path, patient_id, slide_id, site, label, prob_<class>…, as in predictions.csv."""
        import pandas as pd

        patient = self.patient if self.unit == "patient" else ("",) * len(self)
        columns: dict[str, Sequence[object]] = {
            "image_path": self.image, "patient_id": patient, "slide_id": self.slide, "site": self.site,
            "label": [self.classes[k] for k in self.label],
        }  # fmt: skip
        columns |= {f"prob_{name}": self.prob[:, k].tolist() for k, name in enumerate(self.classes)}
        return pd.DataFrame(columns)

    def to_json(self, path: Path | str | None = None) -> str:
        """The table as JSON text, one object per row; with a path it is also written there."""
        rows = self.to_frame().to_dict(orient="records")
        return json_text({"classes": self.classes, "rows": rows, "notes": self.notes}, path)

    @property
    def unit(self) -> str:
        """What is independent of what: "patient", or "image" where patients are unknown."""
        return "image" if self.patient == self.image and self.rows_are != "patient" else "patient"

    @cached_property
    def patient_codes(self) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """The patients' names, sorted, and the (N,) place of each image's patient among them."""
        return name_codes(self.patient)

    @property
    def positive(self) -> str | None:
        """The positive class of two; None for more."""
        return self.classes[-1] if len(self.classes) == 2 else None


def _whole_numbers(label: Any) -> NDArray[np.int64]:
    """The labels, which are places among the classes: 0.7 is none, and a name is none."""
    array = np.asarray(label)
    if array.dtype.kind in "iu":
        return np.array(array, dtype=np.int64)
    values = np.asarray(array, dtype=object).ravel()
    odd = [value for value in values if not (isinstance(value, (int, float, np.number)) and float(value).is_integer())]
    if odd:
        raise InputError(f"label {odd[0]!r} is no whole number; an index into the classes, from 0 on, was needed")
    return np.array(array, dtype=np.int64)


def _numbers(prob: Any) -> NDArray[np.float64]:
    try:
        return np.array(prob, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"prob is no array of numbers ({error}); one row per image and one column per class") from None


def _check_sizes(table: Predictions) -> None:
    """Every column has N >= 1 entries, prob has C columns, labels are among the classes."""
    n = len(table.image)
    if n == 0:
        raise InputError("the prediction table has no rows; at least one image is needed")
    if len(table.classes) < 2 or len(set(table.classes)) < len(table.classes):
        raise InputError(f"classes are {list(table.classes)}; at least two different ones are needed")
    if table.prob.shape != (n, len(table.classes)):
        raise InputError(f"prob has shape {table.prob.shape}; {(n, len(table.classes))} was needed: images, classes")
    if table.label.shape != (n,):
        raise InputError(f"label has shape {table.label.shape}; {(n,)} was needed, one for each image")
    for name in ("patient", "slide", "site"):
        if len(getattr(table, name)) != n:
            raise InputError(f"{name} has {len(getattr(table, name))} entries; {n} were needed, one for each image")
    if table.label.min() < 0 or table.label.max() >= len(table.classes):
        row = int(np.flatnonzero((table.label < 0) | (table.label >= len(table.classes)))[0])
        raise InputError(
            f"label of image '{table.image[row]}' is {table.label[row]}; an index into the {len(table.classes)} "
            "classes was needed"
        )
    for name in ("image", "patient", "slide", "site"):
        values = getattr(table, name)
        if not set(map(type, values)) <= {str, np.str_}:  # one look at each, for tables of millions of rows
            _refuse_missing(name, values)
    if "" in table.patient:
        row = table.patient.index("")
        raise InputError(f"image '{table.image[row]}' has no patient; name one for every image, or leave all out")


def _refuse_missing(name: str, values: Sequence[Any]) -> None:
    for row, value in enumerate(values):
        if value is None or (isinstance(value, float) and value != value):
            unknown = "'' where it is unknown" if name in ("slide", "site") else "a name for every image"
            raise InputError(f"{name} of row {row + 1} is missing ({value}); write {unknown}")


def check_names(names: Sequence[str], where: Place) -> None:
    """No name is empty or there twice."""
    if len(set(names)) == len(names) and "" not in names:
        return
    first_row: dict[str, int] = {}
    for row, name in enumerate(names):
        if name == "":
            raise InputError(f"{where(row)} has no image name; give every image its own")
        if name in first_row:
            raise InputError(
                f"image '{name}' is there twice ({where(first_row[name])} and {where(row)}); one row per image is "
                "needed. If these are folds or seeds, give each its own table."
            )
        first_row[name] = row


def check_prob(prob: NDArray[np.float64], where: Place) -> None:
    """Every value is a finite probability and every row sums to 1."""
    finite = np.isfinite(prob).all(axis=1)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        value = prob[row][~np.isfinite(prob[row])][0]
        count = int((~finite).sum())
        raise InputError(
            f"probability of {where(row)} is {value} ({count} of {len(prob)} rows); "
            "a number from 0 to 1 was needed. Look at what the model made of these images."
        )
    total = prob.sum(axis=1)
    bad = np.abs(total - 1) > SUM_TOLERANCE
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"probabilities of {where(row)} sum to {total[row]:.6g}, not 1 ({int(bad.sum())} of {len(prob)} rows). "
            "If these are logits, apply softmax before writing the file."
        )
    outside = ((prob < 0) | (prob > 1 + 1e-6)).any(axis=1)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        value = next(v for v in prob[row] if v < 0 or v > 1)
        raise InputError(
            f"probability of {where(row)} is {value:.6g}; from 0 to 1 was needed. "
            "If these are logits, apply softmax before writing the file."
        )


def name_codes(names: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The distinct names, sorted, and the (N,) place of each among them."""
    distinct = tuple(sorted(set(names)))
    place = {name: k for k, name in enumerate(distinct)}
    code = np.fromiter(map(place.__getitem__, names), dtype=np.int64, count=len(names))
    code.setflags(write=False)
    return distinct, code


# ------------------------------------------------------------------------------------------------ joining and pooling


def take_rows(table: Predictions, rows: Sequence[int] | NDArray[np.int64]) -> Predictions:
    """The rows of a table by their numbers, in that order."""
    index = np.asarray(rows, dtype=np.int64)
    names: dict[str, Any] = {
        name: tuple(getattr(table, name)[row] for row in index) for name in ("image", "patient", "slide", "site")
    }
    return replace(table, label=table.label[index], prob=table.prob[index], **names)


def _joining_names(a: Predictions, b: Predictions) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """The names by which rows of two tables are the same row, and what they are: images, else slides, else patients."""
    if a.rows_are == b.rows_are != "row":
        return a.image, b.image, a.rows_are
    candidates: tuple[tuple[RowName, tuple[str, ...], tuple[str, ...]], ...] = (
        ("slide", a.slide, b.slide),
        ("patient", a.patient, b.patient),
    )
    for noun, names_a, names_b in candidates:
        if noun == "patient" and "image" in (a.unit, b.unit):
            continue  # where patients are unknown their names are those of the rows
        if all("" not in names and len(set(names)) == len(names) for names in (names_a, names_b)) and set(
            names_a
        ) & set(names_b):
            return names_a, names_b, noun
    raise InputError(
        "the tables can't be paired: "
        + ("they name" if a.rows_are == b.rows_are else "one of them names")
        + " no images, and no slides or patients that stand in one row each, and pairing by the place in the file "
        "would compare different images; give both tables a column image_path (or slide_id)"
    )


def align(a: Predictions, b: Predictions) -> tuple[Predictions, Predictions]:
    """Both tables with b's rows and columns in a's order.

    Rows are the same row where they name the same image; where a table names none, the same slide; else the same
    patient, if each patient has one row.

    Raises:
        InputError: If rows can't be told apart, or they differ in images, true labels, classes or patients; with counts
            and an example.
    """
    if a is b:
        return a, b
    if set(a.classes) != set(b.classes):
        raise InputError(
            f"one table has the classes {', '.join(a.classes)}, the other {', '.join(b.classes)}; "
            "only models of the same task can be compared"
        )
    if a.classes != b.classes:
        b = replace(
            b,
            classes=a.classes,
            prob=b.prob[:, [b.classes.index(name) for name in a.classes]],
            label=np.array([a.classes.index(name) for name in b.classes])[b.label],
        )
    names_a, names_b, noun = _joining_names(a, b)
    if names_a != names_b:
        place = {name: k for k, name in enumerate(names_b)}
        missing = [name for name in names_a if name not in place]
        extra = sorted(set(names_b) - set(names_a))
        if missing or extra:
            example = f"'{(missing or extra)[0]}' is in the {'first' if missing else 'second'} only"
            raise InputError(
                f"the tables share {len(a) - len(missing)} {noun}s, but {len(missing)} are in the first only and "
                f"{len(extra)} in the second only ({example}); compare models on the same test {noun}s"
            )
        b = take_rows(b, [place[name] for name in names_a])
    if a.rows_are != b.rows_are:
        b = replace(b, image=a.image, rows_are=a.rows_are, patient=a.image if b.unit == "image" else b.patient)
    different = np.flatnonzero(a.label != b.label)
    if different.size:
        k = int(different[0])
        raise InputError(
            f"the tables disagree on the true label of {different.size} of {len(a)} {a.rows_are}s: '{a.image[k]}' is "
            f"{a.classes[a.label[k]]} in the first, {a.classes[b.label[k]]} in the second; mend the labels first"
        )
    if a.patient != b.patient:
        if "image" in (a.unit, b.unit):  # one tool wrote no patients: what the other knows holds for both
            with_patients = a if a.unit == "patient" else b
            return replace(a, patient=with_patients.patient), replace(b, patient=with_patients.patient)
        k = next(k for k, pair in enumerate(zip(a.patient, b.patient, strict=True)) if pair[0] != pair[1])
        raise InputError(
            f"the tables disagree on the patient of '{a.image[k]}': '{a.patient[k]}' and '{b.patient[k]}'; "
            "mend the patient ids first"
        )
    return a, b


def concatenate(parts: Sequence[Predictions]) -> Predictions:
    """The test predictions of several folds as one table, in the order given.

    Raises:
        InputError: If there are none, their classes differ, an image was tested twice, or only some name patients.
    """
    if not parts:
        raise InputError("no prediction tables were given; at least one is needed")
    first = parts[0]
    if len(parts) == 1:
        return first
    for part in parts[1:]:
        if part.classes != first.classes:
            raise InputError(f"folds have the classes {first.classes} and {part.classes}; the same ones are needed")
        if part.unit != first.unit:
            raise InputError("some folds name patients and others do not; name them in all or none")

    def joined(name: str) -> tuple[str, ...]:
        return tuple(cell for part in parts for cell in getattr(part, name))

    return replace(
        first, image=joined("image"), patient=joined("patient"), slide=joined("slide"), site=joined("site"),
        label=np.concatenate([part.label for part in parts]), prob=np.concatenate([part.prob for part in parts]),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )  # fmt: skip
