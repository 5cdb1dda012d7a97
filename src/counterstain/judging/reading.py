"""Prediction tables as CSV: anyone's is read, one form is written."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError, suggest
from counterstain.files import plain_cell, write_csv
from counterstain.judging.predictions import Place, Predictions, RowName, check_names, check_prob

__all__ = ["read_columns", "read_predictions", "write_predictions"]

ALIASES: dict[str, tuple[str, ...]] = {
    "image_path": ("image", "image_id", "path", "file", "filename", "file_name", "tile", "sample", "id", "name"),
    "patient_id": ("patient", "case_id", "case", "subject_id", "subject", "participant_id"),
    "slide_id": ("slide", "wsi", "wsi_id"),
    "site": ("centre", "center", "hospital", "institution", "source_site"),
    "label": ("true_label", "y_true", "label_true", "true_class", "target", "truth", "ground_truth", "class", "y"),
}
PROB_PREFIXES = ("prob_", "probability_", "y_prob_", "p_")
LONE_PROB = ("prob", "probability", "y_prob", "y_score", "score", "p")


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
    one_column = _is_lone(header)
    names, prob = _probabilities(path, header, columns, raw_label, positive, where)
    names, prob = _ordered(path, names, prob, classes, positive)
    check_prob(prob, where)
    label = _label_index(raw_label, names, where)
    image, rows_are, notes = _row_names(path.name, {name: text(name) for name in place}, len(rows))
    check_names(image, where)
    patient = text("patient_id")
    if patient is None:
        patient = image
        notes += (f"{path.name} names no patients; images are taken as independent, which makes intervals too narrow",)
    elif "" in patient:
        raise InputError(f"{where(patient.index(''))} has no patient; name one in every row, or leave the column out")
    blank = ("",) * len(rows)
    return Predictions(
        image=image, patient=patient, slide=text("slide_id") or blank, site=text("site") or blank,
        label=label, prob=prob, classes=names, notes=notes, rows_are=rows_are,
        positive_from="given" if positive or classes else "only probability column" if one_column else "column order",
        own_patients=text("patient_id") == image,
    )  # fmt: skip


def _row_names(
    file: str, known: Mapping[str, tuple[str, ...] | None], rows: int
) -> tuple[tuple[str, ...], RowName, tuple[str, ...]]:
    """What the rows are called, what that is, and a note: by image, else by slide, else by patient where one row each.

    A table that names none of them can be scored, but its rows can't be paired with those of another table.
    """
    images = known["image_path"]
    if images is not None:
        return images, "image", ()
    kinds: tuple[tuple[RowName, str], ...] = (("slide", "slide_id"), ("patient", "patient_id"))
    for what, column in kinds:
        names = known[column]
        if names is not None and "" not in names and len(set(names)) == len(names):
            return names, what, (f"{file} names no images; its rows are taken as {what}s, one row each",)
    numbered = tuple(f"row {row + 2}" for row in range(rows))
    return numbered, "row", (f"{file} names no images; its rows are told apart by their place in the file",)


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


def _is_lone(header: Sequence[str]) -> bool:
    """Whether one column holds the probability of one class, and the other class has none."""
    prefix = next((p for p in PROB_PREFIXES if any(c.startswith(p) and c != p for c in header)), None)
    return prefix is None or sum(c.startswith(prefix) and c != prefix for c in header) == 1


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


def write_predictions(table: Predictions, path: Path, *, extra: Mapping[str, Sequence[str]] | None = None) -> None:
    """Write the one CSV form; floats in their shortest exact form, so equal tables make equal bytes.

    Args:
        table: what to write.
        path: of the CSV.
        extra: further columns by name, N cells each; reading leaves them out.
    """
    more = list((extra or {}).values())
    known = table.unit == "patient" or table.own_patients
    rows = (
        [
            table.image[k],
            table.patient[k] if known else "",
            table.slide[k],
            table.site[k],
            table.classes[label],
            *prob,
            *(cells[k] for cells in more),
        ]
        for k, (label, prob) in enumerate(zip(table.label.tolist(), table.prob.tolist(), strict=True))
    )
    columns = ["image_path", "patient_id", "slide_id", "site", "label", *(f"prob_{name}" for name in table.classes)]
    columns += list(extra or {})
    write_csv(path, columns, rows)


def read_columns(path: Path | str, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Columns of a prediction table as text, row by row: those of `names` that it has, in any case.

    Args:
        path: as for `read_predictions`.
        names: the wanted columns.

    Returns:
        wanted name -> its cells; a column that isn't there is left out.
    """
    header, rows = _read_rows(Path(path))
    low = [column.lower() for column in header]
    return {
        name: tuple(plain_cell(row[low.index(name.lower())]) for row in rows) for name in names if name.lower() in low
    }
