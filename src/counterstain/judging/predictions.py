"""Predictions: ids, true labels and probabilities of one model on one set of images; all that judging ever reads."""

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError, suggest
from counterstain.files import write_csv

__all__ = ["Predictions", "align", "concatenate", "pool_patients", "read_predictions", "write_predictions"]

Place = Callable[[int], str]  # words for where a row stands

SUM_TOLERANCE = 1e-3  # tables of other tools are often rounded to three or four digits

ALIASES: dict[str, tuple[str, ...]] = {
    "image_path": ("image", "image_id", "path", "file", "filename", "file_name", "tile", "sample", "id", "name"),
    "patient_id": ("patient", "case_id", "case", "subject_id", "subject", "participant_id"),
    "slide_id": ("slide", "wsi", "wsi_id"),
    "site": ("centre", "center", "hospital", "institution", "source_site"),
    "label": ("true_label", "y_true", "label_true", "true_class", "target", "truth", "ground_truth", "class", "y"),
}
PROB_PREFIXES = ("prob_", "probability_", "y_prob_", "p_")
LONE_PROB = ("prob", "probability", "y_prob", "y_score", "score", "p")


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

    def __post_init__(self) -> None:
        """Own, freeze and check the arrays."""
        label = np.array(self.label, dtype=np.int64)
        prob = np.array(self.prob, dtype=np.float64)
        for array in (label, prob):
            array.setflags(write=False)
        object.__setattr__(self, "label", label)
        object.__setattr__(self, "prob", prob)
        for name in ("image", "patient", "slide", "site", "classes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _check_sizes(self)
        _check_names(self.image, lambda row: f"row {row + 1}")
        _check_prob(prob, lambda row: f"image '{self.image[row]}'")

    def __len__(self) -> int:
        return len(self.image)

    @property
    def unit(self) -> str:
        """What is independent of what: "patient", or "image" where patients are unknown."""
        return "image" if self.patient == self.image else "patient"

    @property
    def positive(self) -> str | None:
        """The positive class of two; None for more."""
        return self.classes[-1] if len(self.classes) == 2 else None


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
    if "" in table.patient:
        row = table.patient.index("")
        raise InputError(f"image '{table.image[row]}' has no patient; name one for every image, or leave all out")


def _check_names(names: Sequence[str], where: Place) -> None:
    """No name is empty or there twice."""
    if len(set(names)) == len(names) and "" not in names:
        return
    seen: dict[str, int] = {}
    for row, name in enumerate(names):
        if name == "":
            raise InputError(f"{where(row)} has no image name; give every image its own")
        if name in seen:
            raise InputError(
                f"image '{name}' is there twice ({where(seen[name])} and {where(row)}); one row an image is needed. "
                "If these are folds or seeds, give each its own table."
            )
        seen[name] = row


def _check_prob(prob: NDArray[np.float64], where: Place) -> None:
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


# ---------------------------------------------------------------------------------------------- reading and writing


def read_predictions(
    path: Path | str, *, classes: Sequence[str] | None = None, positive: str | None = None
) -> Predictions:
    """Anyone's prediction table as Predictions.

    Columns are found by name: `label` (or true_label, y_true, target, ...) and `prob_<class>` for each class are
    needed; `image_path`, `patient_id`, `slide_id` and `site` (or their other names) are taken where they are. A table
    of two classes may have one probability column; its class is in its name (`prob_malignant`) or is `positive`.

    Args:
        path: CSV with one header line, UTF-8.
        classes: The classes in the wanted order; default: the order of the columns.
        positive: Of two classes the positive one, which is put last; default: the last.

    Raises:
        InputError: With file, row (line 1 is the header) and value, where anything is missing, double or no number.
    """
    path = Path(path)
    header, rows = _read_rows(path)
    place = {name: _find(header, name) for name in ALIASES}
    if place["label"] is None:
        raise InputError(f"{path} has no column 'label' (or y_true, true_label, target); it has {', '.join(header)}")
    columns = list(zip(*rows, strict=True))

    def where(row: int) -> str:
        return f"row {row + 2} of {path}"

    def text(name: str) -> tuple[str, ...] | None:
        at = place[name]
        found = None if at is None else tuple(cell.strip() for cell in columns[at])
        return found if found is not None and any(found) else None

    raw_label = text("label") or ("",) * len(rows)
    names, prob = _probabilities(path, header, columns, raw_label, positive, where)
    names, prob = _ordered(path, names, prob, classes, positive)
    _check_prob(prob, where)
    label = _label_index(raw_label, names, where)
    notes: tuple[str, ...] = ()
    image = text("image_path")
    if image is None:
        image = tuple(f"row {row + 2}" for row in range(len(rows)))
        notes += (f"{path.name} names no images; its rows are told apart by their place in the file",)
    _check_names(image, where)
    patient = text("patient_id")
    if patient is None:
        patient = image
        notes += (f"{path.name} names no patients; images are taken as independent, which makes intervals too narrow",)
    elif "" in patient:
        raise InputError(f"{where(patient.index(''))} has no patient; name one in every row, or leave the column out")
    blank = ("",) * len(rows)
    return Predictions(
        image=image, patient=patient, slide=text("slide_id") or blank, site=text("site") or blank,
        label=label, prob=prob, classes=names, notes=notes,
    )  # fmt: skip


def _read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a CSV, each row as wide as the header."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [row for row in csv.reader(stream) if row]
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; name an existing prediction table") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; name a prediction table (CSV)") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a CSV in UTF-8 ({error}); export the table as CSV") from None
    if not rows:
        raise InputError(f"{path} is empty; a header line and one row an image are needed")
    header = [name.strip() for name in rows[0]]
    doubled = next((name for name in header if header.count(name) > 1), None)
    if doubled is not None:
        raise InputError(f"{path} has column '{doubled}' twice; remove or rename one")
    if len(rows) == 1:
        raise InputError(f"{path} has a header but no rows; one row an image is needed")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise InputError(
                f"row {number} of {path} has {len(row)} cells, the header {len(header)}; the file was cut off, or a "
                "name with a comma is not quoted"
            )
    return header, rows[1:]


def _find(header: Sequence[str], name: str) -> int | None:
    """Place of the column that holds `name` under its own or another tool's name; its own name first."""
    low = [column.lower().replace(" ", "_") for column in header]
    for candidate in (name, *ALIASES[name]):
        if candidate in low:
            return low.index(candidate)
    return None


def _probabilities(
    path: Path,
    header: Sequence[str],
    columns: Sequence[tuple[str, ...]],
    raw_label: Sequence[str],
    positive: str | None,
    where: Place,
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Class names and (N, C) probabilities, the second column of a lone one added."""
    prefix = next((p for p in PROB_PREFIXES if any(c.startswith(p) and c != p for c in header)), None)
    found = [(c[len(prefix) :], k) for k, c in enumerate(header) if prefix and c.startswith(prefix) and c != prefix]
    lone = next((k for k, c in enumerate(header) if c.lower() in LONE_PROB), None)
    if not found and lone is None:
        raise InputError(
            f"{path} has no probability columns; prob_<class> for each class was needed; it has {', '.join(header)}"
        )
    if len(found) > 1:
        return tuple(name for name, _ in found), np.column_stack(
            [_numbers(columns[k], header[k], where) for _, k in found]
        )
    name, at = found[0] if found else (positive, lone)
    known = sorted(set(raw_label))
    if name is None:
        raise InputError(
            f"{path} has one probability column, '{header[at or 0]}', and labels {', '.join(known[:5])}; "
            "say whose probability it is with positive"
        )
    others = [label for label in known if _as_class(label, (name,)) != name]
    if len(others) != 1:
        raise InputError(
            f"{path} has one probability column, for '{name}', but {len(others)} other labels "
            f"({', '.join(others[:5]) or 'none'}); give one column prob_<class> for each class"
        )
    p = _numbers(columns[at or 0], header[at or 0], where)
    outside = np.flatnonzero((p < 0) | (p > 1))
    if outside.size:
        row = int(outside[0])
        raise InputError(
            f"probability in {where(row)} is {p[row]:.6g}; from 0 to 1 was needed. "
            "If these are logits, apply the sigmoid before writing the file."
        )
    return (others[0], name), np.column_stack([1 - p, p])


def _numbers(cells: Sequence[str], column: str, where: Place) -> NDArray[np.float64]:
    """Cells as floats; NaN stays NaN (it is refused with its row later), text is refused here."""
    try:
        return np.array([float(cell) for cell in cells])
    except ValueError:
        row = next(k for k, cell in enumerate(cells) if not _is_number(cell))
        shown = f"'{cells[row]}'" if cells[row].strip() else "empty"
        raise InputError(f"{column} in {where(row)} is {shown}; a probability from 0 to 1 was needed") from None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _ordered(
    path: Path,
    names: tuple[str, ...],
    prob: NDArray[np.float64],
    classes: Sequence[str] | None,
    positive: str | None,
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Classes and columns in the wanted order: `classes` where given, and of two the positive one last."""
    wanted = list(classes) if classes is not None else list(names)
    if sorted(wanted) != sorted(names):
        raise InputError(f"{path} has the classes {', '.join(names)}; {', '.join(wanted)} were needed")
    if positive is not None:
        if positive not in wanted:
            raise InputError(f"positive class '{positive}' is not in {path}{suggest(positive, names)}")
        if len(wanted) > 2:
            raise InputError(f"{path} has {len(wanted)} classes; a positive class is for two. Leave positive out.")
        wanted = [name for name in wanted if name != positive] + [positive]
    return tuple(wanted), prob[:, [names.index(name) for name in wanted]]


def _as_class(cell: str, names: Sequence[str]) -> str:
    """The class a label cell names: itself, or 1 for a spreadsheet's 1.0."""
    if cell not in names and cell.endswith(".0") and cell[:-2] in names:
        return cell[:-2]
    return cell


def _label_index(cells: Sequence[str], names: Sequence[str], where: Place) -> NDArray[np.int64]:
    """Class index of each label cell."""
    index = {name: k for k, name in enumerate(names)}
    index |= {cell: index[_as_class(cell, names)] for cell in set(cells) if _as_class(cell, names) in index}
    try:
        return np.array([index[cell] for cell in cells], dtype=np.int64)
    except KeyError as error:
        bad = str(error.args[0])
        row = list(cells).index(bad)
        shown = f"'{bad}'" if bad else "empty"
        raise InputError(
            f"label in {where(row)} is {shown}, which has no probability column{suggest(bad, names)}"
        ) from None


def write_predictions(table: Predictions, path: Path) -> None:
    """Write the one CSV form; floats in their shortest exact form, so equal tables make equal bytes."""
    known = table.unit == "patient"
    rows = (
        [table.image[k], table.patient[k] if known else "", table.slide[k], table.site[k], table.classes[label], *prob]
        for k, (label, prob) in enumerate(zip(table.label.tolist(), table.prob.tolist(), strict=True))
    )
    columns = ["image_path", "patient_id", "slide_id", "site", "label", *(f"prob_{name}" for name in table.classes)]
    write_csv(path, columns, rows)


# ------------------------------------------------------------------------------------------------ joining and pooling


def _take(table: Predictions, rows: Sequence[int]) -> Predictions:
    """The rows of a table, in that order."""
    return replace(
        table,
        image=tuple(table.image[k] for k in rows),
        patient=tuple(table.patient[k] for k in rows),
        slide=tuple(table.slide[k] for k in rows),
        site=tuple(table.site[k] for k in rows),
        label=table.label[list(rows)],
        prob=table.prob[list(rows)],
    )


def align(a: Predictions, b: Predictions) -> tuple[Predictions, Predictions]:
    """Both tables with b's rows and columns in a's order.

    Raises:
        InputError: If they differ in images, true labels, classes or patients; with counts and an example.
    """
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
    if a.image != b.image:
        place = {name: k for k, name in enumerate(b.image)}
        missing = [name for name in a.image if name not in place]
        extra = sorted(set(b.image) - set(a.image))
        if missing or extra:
            example = f"'{(missing or extra)[0]}' is in the {'first' if missing else 'second'} only"
            raise InputError(
                f"the tables share {len(a) - len(missing)} images, but {len(missing)} are in the first only and "
                f"{len(extra)} in the second only ({example}); compare models on the same test images"
            )
        b = _take(b, [place[name] for name in a.image])
    different = np.flatnonzero(a.label != b.label)
    if different.size:
        k = int(different[0])
        raise InputError(
            f"the tables disagree on the true label of {different.size} of {len(a)} images: '{a.image[k]}' is "
            f"{a.classes[a.label[k]]} in the first, {a.classes[b.label[k]]} in the second; mend the labels first"
        )
    if a.patient != b.patient:
        if "image" in (a.unit, b.unit):  # one tool wrote no patients: what the other knows holds for both
            known = a if a.unit == "patient" else b
            return replace(a, patient=known.patient), replace(b, patient=known.patient)
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
        notes=_unique(note for part in parts for note in part.notes),
    )  # fmt: skip


def _unique(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))


def pool_patients(table: Predictions) -> Predictions:
    """One row a patient: the mean probability over the patient's images, in order of first appearance.

    A patient whose images carry more than one label has no label of their own and is left out, with a note.

    Raises:
        InputError: If no patient is left.
    """
    names, first, code = np.unique(np.array(table.patient), return_index=True, return_inverse=True)
    k = len(names)
    count = np.bincount(code, minlength=k).astype(float)
    prob = np.column_stack([np.bincount(code, weights=column, minlength=k) / count for column in table.prob.T])
    low = np.full(k, len(table.classes), dtype=np.int64)
    high = np.full(k, -1, dtype=np.int64)
    np.minimum.at(low, code, table.label)
    np.maximum.at(high, code, table.label)
    mixed = low != high
    keep = np.flatnonzero(~mixed)[np.argsort(first[~mixed], kind="stable")]
    if keep.size == 0:
        raise InputError("every patient has images of more than one class; there is no patient level to score")
    notes = table.notes
    if mixed.any():
        notes += (f"{int(mixed.sum())} of {k} patients have images of more than one class and no patient-level score",)
    rows = first[keep].tolist()
    return Predictions(
        image=tuple(table.patient[r] for r in rows), patient=tuple(table.patient[r] for r in rows),
        slide=("",) * len(rows), site=tuple(table.site[r] for r in rows),
        label=high[keep], prob=prob[keep], classes=table.classes, notes=notes,
    )  # fmt: skip
