"""Prediction tables as CSV: anyone's is read, one form is written."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from counterstain.columns import columns_option, name_key
from counterstain.errors import InputError, says_arguments, suggest
from counterstain.evaluation.prediction_columns import NOUNS, Layout, find_layout
from counterstain.evaluation.predictions import Place, PositiveFrom, Predictions, check_names, check_prob
from counterstain.evaluation.probability_columns import (
    ProbabilityColumns,
    read_numbers,
    rescaled,
    same_class,
)
from counterstain.evaluation.rows import RowName, rows_named
from counterstain.evaluation.table_notes import (
    certain_note,
    check_parts,
    hard_note,
    models_note,
    near_ids_note,
    unused_note,
)
from counterstain.files import StrPath, write_csv
from counterstain.id_cells import counting_ids, plain_ids
from counterstain.tables import MISSING, Table, read_table

__all__ = ["columns_of", "predictions_of", "read_columns", "read_predictions", "write_predictions"]

_SITES_MISSING = MISSING - {"na", "none"}  # "NA" is a site of TCGA


@says_arguments
def read_predictions(
    path: StrPath,
    *,
    classes: Sequence[str] | None = None,
    positive: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Predictions:
    """Anyone's prediction table as Predictions.

    Columns are found by name: the truth in `label` (or true_label, y_true, target, ...) is needed, and a probability
    for each class in `prob_<class>` or in what other tools call it; `image_path`, `patient_id`, `slide_id` and `site`
    (or their other names) are taken where they are. A table of two classes may have one probability column; its class
    is in its name (`prob_malignant`) or is `positive`. A table of predicted classes alone is read as such (`hard`).
    Percent and probabilities rounded to two decimals are understood, with a note. See docs/tables.md.

    Args:
        path: CSV or Parquet; see tables.read_table.
        classes: The classes in the wanted order; default: the order of the columns.
        positive: Of two classes the positive one, which is put last; default: the last.
        columns: {our column: the table's}, where the names are not known ones: {"label": "GT", "prob_malignant": "S"};
            "" leaves a column out.

    Raises:
        InputError: With file, row (line 1 is the header) and value, where anything is missing, double or no number; and
            where it can't be told whether a column is the truth or the model's own call.
    """
    return predictions_of(
        read_table(Path(path), kind="prediction table"), classes=classes, positive=positive, columns=columns
    )


def predictions_of(
    table: Table,
    *,
    classes: Sequence[str] | None = None,
    positive: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Predictions:
    """A table that is read already as Predictions; see `read_predictions`."""
    path = table.path
    if not len(table):
        raise InputError(f"{path} has a header but no rows; one row per image is needed")
    parts = check_parts(table)
    layout = find_layout(table, dict(columns or {}))

    def where(row: int) -> str:
        return f"row {table.line(row)} of {path}"

    cells, codes = table.distinct(layout.place["label"])
    _check_labels(cells, codes, where)
    notes = (*table.notes, *parts, *models_note(table))
    if layout.prob is None:
        calls, called = table.distinct(layout.place["predicted"])
        names, prob = _as_certain(cells, calls, called)
        notes += (hard_note(path.name, layout.place["predicted"]),)
    else:
        names, prob, more = _probabilities(table, layout.prob, cells, positive, where)
        notes += more
    positive = next((name for name in names if positive is not None and same_class(name, positive)), positive)
    names, prob = _ordered(path, names, prob, classes, positive)
    check_prob(prob, where)
    label = _label_index(cells, codes, names, where)
    notes += () if layout.prob is None else certain_note(path.name, prob, label)
    ids = {noun: _ids(table, layout.place, noun) for noun in NOUNS if noun != "label"}
    image, rows_are, more = _row_names(path.name, ids, len(table), table)
    notes += more
    check_names(image, where)
    patient = ids["patient_id"]
    if patient is None:
        patient = image
        notes += (f"{path.name} names no patients; say which column does with --columns patient_id=<its name>",)
    elif "" in patient:
        raise InputError(f"{where(patient.index(''))} has no patient; name one in every row, or leave the column out")
    else:
        notes += (*near_ids_note(path.name, patient), *counting_ids(patient))
    notes += unused_note(table, {*layout.place.values(), *(layout.prob.columns if layout.prob is not None else ())})
    blank = ("",) * len(table)
    return Predictions(
        image=image, patient=patient, slide=ids["slide_id"] or blank, site=ids["site"] or blank,
        label=label, prob=prob, classes=names, notes=notes, rows_are=rows_are,
        positive_from=_positive_from(layout, given=bool(positive or classes)),
        own_patients=ids["patient_id"] == image, hard=layout.prob is None,
    )  # fmt: skip


def _positive_from(layout: Layout, *, given: bool) -> PositiveFrom:
    """What made the last class the positive one; predicted classes have no columns and stand in order of name."""
    if given:
        return "given"
    if layout.prob is None:
        return "name order"
    return "only probability column" if len(layout.prob.columns) == 1 and not layout.prob.lists else "column order"


# ------------------------------------------------------------------------------------------------ the columns' cells


def _ids(table: Table, place: Mapping[str, str], noun: str) -> tuple[str, ...] | None:
    """The ids in a column, "" for missing ones; None where there is no column, or empty in it."""
    name = place[noun]
    if not name:
        return None
    if noun == "image_path":
        cells = table.text(name)
        return cells if any(cells) else None
    values, codes = table.distinct(name)
    missing = _SITES_MISSING if noun == "site" else MISSING
    first = np.unique(codes, return_index=True)[1]  # a value's first row
    plain = plain_ids(values, missing, lambda value: f"{noun} in row {table.line(int(first[value]))} of {table.path}")
    return tuple(np.array(plain, dtype=object)[codes]) if any(plain) else None


def _row_names(
    file: str, ids: Mapping[str, tuple[str, ...] | None], rows: int, table: Table
) -> tuple[tuple[str, ...], RowName, tuple[str, ...]]:
    """What the rows are called, what that is, and a note: by image, else by slide, else by patient where one row each.

    A table that names none of them can be scored, but its rows can't be paired with those of another table.
    """
    images = ids["image_path"]
    if images is not None:
        return images, rows_named(images, ids["slide_id"] or ("",) * rows, ids["patient_id"] or images), ()
    kinds: tuple[tuple[RowName, str], ...] = (("slide", "slide_id"), ("patient", "patient_id"))
    for noun, column in kinds:
        names = ids[column]
        if names is not None and "" not in names and len(set(names)) == len(names):
            return names, noun, (f"{file} names no images; its rows are taken as {noun}s, one row each",)
    numbered = tuple(f"row {table.line(row)}" for row in range(rows))
    return numbered, "row", (f"{file} names no images; its rows are told apart by their place in the file",)


def _as_certain(
    labels: Sequence[str], calls: Sequence[str], called: NDArray[np.int64]
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Predicted classes as probabilities 0 and 1; the classes are those of the truth and the calls, in order."""
    names: list[str] = []
    for name in (cell.removesuffix(".0") if cell.removesuffix(".0").isdigit() else cell for cell in [*labels, *calls]):
        if name and not any(same_class(name, known) for known in names):
            names.append(name)
    names.sort(key=lambda name: (not name.replace(".", "", 1).isdigit(), name.zfill(20) if name.isdigit() else name))
    index = [next((k for k, known in enumerate(names) if same_class(name, known)), -1) for name in calls]
    chosen = np.array(index, dtype=np.int64)[called]
    prob = np.zeros((len(called), len(names)))
    prob[np.flatnonzero(chosen >= 0), chosen[chosen >= 0]] = 1.0
    return tuple(names), prob


def _check_labels(cells: Sequence[str], codes: NDArray[np.int64], where: Place) -> None:
    """Every row has a true class."""
    if "" in cells:
        empty = np.flatnonzero(codes == cells.index(""))
        raise InputError(
            f"label in {where(int(empty[0]))} is empty ({len(empty)} of {len(codes)} rows); the true class is needed "
            "in each row: fill it in, or leave out the rows without one"
        )


def _probabilities(
    table: Table, source: ProbabilityColumns, labels: Sequence[str], positive: str | None, where: Place
) -> tuple[tuple[str, ...], NDArray[np.float64], tuple[str, ...]]:
    """Class names and (N, C) probabilities, the second column of a lone one added, and notes."""
    prob, classes = read_numbers(table, source, where)
    prob, notes = rescaled(table, source, prob)
    names = tuple(_spelled(name, labels) for name in classes)
    if len(names) > 1:
        return names, prob, notes
    path, column, distinct = table.path, source.columns[0], sorted(set(labels))
    name = names[0] or (_spelled(positive, labels) if positive is not None else "")
    if not name:
        raise InputError(
            f"{path} has one probability column, '{column}', and labels {', '.join(distinct[:5])}; "
            f"say whose probability it is with positive (in a command, --positive {distinct[-1]})"
        )
    others = [label for label in distinct if not same_class(label, name)]
    if not others:
        raise InputError(
            f"{path} has one probability column, for '{name}', and every label is '{name}': the other class has no "
            "name. Add the column prob_<class> of the other class"
        )
    if len(others) != 1:
        raise InputError(
            f"{path} has one probability column, for '{name}', but {len(others)} other labels "
            f"({', '.join(others[:5])}); give one column prob_<class> for each class, or say whose "
            f"probability it is with {columns_option(f'prob_{distinct[-1]}', column)}"
        )
    p = prob[:, 0]
    outside = np.flatnonzero((p < 0) | (p > 1))
    if outside.size:
        row = int(outside[0])
        raise InputError(
            f"probability in {where(row)} is {p[row]:.6g}; from 0 to 1 was needed. "
            "If these are logits, apply the sigmoid before writing the file."
        )
    return (others[0], name), np.column_stack([1 - p, p]), notes


def _spelled(name: str, labels: Sequence[str]) -> str:
    """The class as the labels spell it, if they do in one way; 1 and not a spreadsheet's 1.0."""
    if name in labels:
        return name
    alike = [label for label in labels if same_class(label, name)]
    return alike[0] if len(alike) == 1 and not alike[0].endswith(".0") else name


def _ordered(
    path: Path,
    names: tuple[str, ...],
    prob: NDArray[np.float64],
    classes: Sequence[str] | None,
    positive: str | None,
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Classes and columns in the wanted order: `classes` where given, and of two the positive one last."""
    order = list(classes) if classes is not None else list(names)
    if sorted(order) != sorted(names):
        raise InputError(f"{path} has the classes {', '.join(names)}; {', '.join(order)} were needed")
    if positive is not None:
        if positive not in order:
            raise InputError(f"positive class '{positive}' is not in {path}{suggest(positive, names)}")
        if len(order) > 2:
            raise InputError(f"{path} has {len(order)} classes; a positive class is for two. Leave positive out.")
        order = [name for name in order if name != positive] + [positive]
    return tuple(order), prob[:, [names.index(name) for name in order]]


def _label_index(
    cells: Sequence[str], codes: NDArray[np.int64], names: Sequence[str], where: Place
) -> NDArray[np.int64]:
    """(N,) class index of each row, from its different label cells and which of them stands where."""
    exact = {name: k for k, name in enumerate(names)}
    index = [exact.get(cell, next((k for k, name in enumerate(names) if same_class(cell, name)), -1)) for cell in cells]
    if -1 in index:
        bad = cells[index.index(-1)]
        row = int(np.flatnonzero(codes == index.index(-1))[0])
        hint = ""
        if all(name.isdigit() for name in names):
            hint = f". Say which class is which: --columns prob_{bad}=<the column of class {names[0]}>, and so on"
        raise InputError(
            f"label in {where(row)} is '{bad}', which has no probability column{suggest(bad, names)}{hint}"
        )
    return np.array(index, dtype=np.int64)[codes]


@says_arguments
def write_predictions(table: Predictions, path: StrPath, *, extra: Mapping[str, Sequence[str]] | None = None) -> None:
    """Write the one CSV form; floats in their shortest exact form, so equal tables make equal bytes.

    Args:
        table: what to write.
        path: of the CSV.
        extra: further columns by name, N cells each; reading leaves them out.
    """
    further = list((extra or {}).values())
    has_patients = table.unit == "patient" or table.own_patients
    pooled = table.rows_are == "patient" and table.image == table.patient  # rows that name no image, only a patient
    rows = (
        [
            "" if pooled else table.image[k],
            table.patient[k] if has_patients else "",
            table.slide[k],
            table.site[k],
            table.classes[label],
            *prob,
            *(cells[k] for cells in further),
        ]
        for k, (label, prob) in enumerate(zip(table.label.tolist(), table.prob.tolist(), strict=True))
    )
    columns = ["image_path", "patient_id", "slide_id", "site", "label", *(f"prob_{name}" for name in table.classes)]
    columns += list(extra or {})
    write_csv(Path(path), columns, rows)


def read_columns(path: StrPath, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Columns of a prediction table as text, row by row: those of `names` that it has, however they are spelled.

    Args:
        path: as for `read_predictions`.
        names: the wanted columns.

    Returns:
        wanted name -> its cells; a column that isn't there is left out.
    """
    return columns_of(read_table(Path(path), kind="prediction table"), names)


def columns_of(table: Table, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Columns of a table that is read already; see `read_columns`."""
    by_key = {name_key(name): name for name in reversed(table.header)}
    return {name: table.text(by_key[name_key(name)]) for name in names if name_key(name) in by_key}
