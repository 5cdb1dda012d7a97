"""Train, validation and test parts by patient: hold-out, folds, or the official ones; read back from splits.csv."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from counterstain.cohort.allocation import deal
from counterstain.cohort.cohort import Cohort
from counterstain.cohort.cohort_columns import rename_splits
from counterstain.cohort.split import (
    Fold,
    Split,
    check,
    check_leak,
    count_by_unit,
    count_parts,
    few_names,
    label_columns,
    split_lines,
    write_split,
)
from counterstain.columns import find_column
from counterstain.errors import InputError, says_arguments
from counterstain.files import StrPath
from counterstain.tables import Table, read_table

__all__ = [
    "Fold",
    "Split",
    "check",
    "count_parts",
    "draw_missing_val",
    "folds",
    "holdout",
    "official",
    "read_divisions",
    "read_split",
    "split_lines",
    "unit_of",
    "write_split",
]


def holdout(cohort: Cohort, *, test: float = 0.2, val: float = 0.2, unit: str = "patient", seed: int = 0) -> Split:
    """One train/val/test division; `test` is a share of all images, `val` a share of the rest.

    The same seed gives the same division, whatever the order of the rows. Every class is in every part.

    Raises:
        InputError: If patients are unknown (unit "patient"), or a class has too few of them.
    """
    _check_share(test, "test")
    _check_share(val, "val")
    names, unit_row, counts = count_by_unit(cohort, unit)
    shares = {"train": (1 - test) * (1 - val), "val": (1 - test) * val, "test": test}
    _require(cohort, names, counts, unit, 3, "train, val and test each need one")
    part = _deal(cohort, names, counts, unit, list(shares.values()), _rng(seed, "holdout"))
    assignment = np.array(list(shares), dtype=object)[part]
    split = Split(cohort.image, (Fold(0, 0, tuple(assignment[unit_row])),), unit)
    check(split, cohort)
    return split


def folds(
    cohort: Cohort, *, k: int = 5, repeats: int = 1, val: float = 0.2, unit: str = "patient", seed: int = 0
) -> Split:
    """Grouped k-fold cross-validation: each image is tested once per repeat; `val` is a share of each training side.

    Every class is in every fold's train, val and test. The same seed gives the same folds, whatever the row order.

    Raises:
        InputError: If patients are unknown (unit "patient"), or a class has too few of them.
    """
    _check_share(val, "val")
    if k < 2 or repeats < 1:
        raise InputError(f"folds: k is {k} and repeats {repeats}; needed: k of 2 or more and repeats of 1 or more")
    names, unit_row, counts = count_by_unit(cohort, unit)
    # A class needs a unit in each fold, and two outside any fold: one for train and one for val.
    needed = max(k, math.ceil(2 * k / (k - 1)))
    why = f"{k} folds with train, val and test need {needed}; take fewer folds,"
    _require(cohort, names, counts, unit, needed, why)
    most = (counts > 0).sum(axis=0) - 2
    parts = []
    dealt: list[NDArray[np.int64]] = []
    for repeat in range(repeats):
        rng = _rng(seed, "folds", repeat)
        fold_of = _deal(cohort, names, counts, unit, [1 / k] * k, rng, most_units=most, known=dealt, vary=repeat > 0)
        dealt.append(fold_of)
        for fold in range(k):
            assignment = np.full(len(names), "test", dtype=object)
            side = np.flatnonzero(fold_of != fold)
            chosen = _deal(cohort, names, counts, unit, [1 - val, val], _rng(seed, "val", repeat, fold), among=side)
            assignment[side] = np.array(["train", "val"], dtype=object)[chosen]
            parts.append(Fold(repeat, fold, tuple(assignment[unit_row])))
    split = Split(cohort.image, tuple(parts), unit)
    check(split, cohort)
    return split


@says_arguments
def official(cohort: Cohort, *, val: float = 0.2, unit: str = "patient", seed: int = 0) -> Split:
    """The split of the cohort's own `split` column; where it has no val, that share of train is taken for it.

    Raises:
        InputError: If the column has no train or no test part, divides a patient, or lacks a class in a part.
    """
    assignment = list(cohort.table["split"])
    present = sorted(set(assignment) - {""})
    if "train" not in present or not any(part.startswith("test") for part in present):
        raise InputError(
            f"the cohort's split column names {', '.join(present) or 'nothing'}; needed: train and test. "
            "Rename one with splits (say {val: test}), or let a hold-out or folds be drawn"
        )
    names, unit_row, counts = count_by_unit(cohort, unit)
    as_written = Split(cohort.image, (Fold(0, 0, tuple(assignment)),), unit)
    check_leak(as_written, cohort)
    if "val" not in present:
        _check_share(val, "val")
        train = np.array(assignment, dtype=object) == "train"
        side = np.unique(unit_row[train])
        inside = np.zeros_like(counts)
        np.add.at(inside, (unit_row[train], label_columns(cohort)[train]), 1)
        _require(cohort, names, inside, unit, 2, "train and val (a part of the official train) each need one")
        chosen = _deal(cohort, names, inside, unit, [1 - val, val], _rng(seed, "official"), among=side)
        is_val = np.zeros(len(names), dtype=bool)
        is_val[side] = chosen == 1
        assignment = [
            "val" if part == "train" and is_val[row] else part for part, row in zip(assignment, unit_row, strict=True)
        ]
    split = Split(cohort.image, (Fold(0, 0, tuple(assignment)),), unit)
    check(split, cohort)
    return split


def _check_share(share: float, name: str) -> None:
    if not 0 < share < 1:
        raise InputError(f"{name} is {share}; needed: a share between 0 and 1, such as 0.2")


def _rng(seed: int, purpose: str, *more: int) -> np.random.Generator:
    """A stream of its own for each seed and purpose."""
    if seed < 0:
        raise InputError(f"seed is {seed}; needed: 0 or more")
    return np.random.default_rng([seed, *purpose.encode(), *more])


def _require(cohort: Cohort, names: Sequence[str], counts: NDArray[np.int64], unit: str, needed: int, why: str) -> None:
    """Refuse a class with fewer than `needed` units."""
    for column, name in enumerate(sorted(cohort.classes)):
        having = [names[int(row)] for row in np.flatnonzero(counts[:, column])]
        if len(having) < needed:
            raise InputError(
                f"class '{name}' has {few_names(having, unit)}; {why.rstrip(',')}"
                f"{',' if why.endswith(',') else ':'} add {unit}s, merge it with another class, or leave it out"
            )


def _deal(
    cohort: Cohort,
    names: Sequence[str],
    counts: NDArray[np.int64],
    unit: str,
    shares: Sequence[float],
    rng: np.random.Generator,
    *,
    among: NDArray[np.int64] | None = None,
    most_units: NDArray[np.int64] | None = None,
    known: Sequence[NDArray[np.int64]] = (),
    vary: bool = False,
) -> NDArray[np.int64]:
    """`deal`, or the refusal that names the scarcest class. The units `among` (all by default) are dealt."""
    inside = counts if among is None else counts[among]
    part = deal(inside, shares, rng, most_units=most_units, known=known, vary=vary)
    if part is None:
        scarcest = int(np.argmin((inside > 0).sum(axis=0)))
        rows = np.flatnonzero(inside[:, scarcest]) if among is None else among[np.flatnonzero(inside[:, scarcest])]
        raise InputError(
            f"no split into {len(shares)} parts was found that has every class in every part; the scarcest is "
            f"class '{sorted(cohort.classes)[scarcest]}' with {few_names([names[int(row)] for row in rows], unit)}: "
            f"add {unit}s, merge it with another class, leave it out, or ask for fewer parts"
        )
    return part


@says_arguments
def read_split(
    path: Split | StrPath,
    cohort: Cohort,
    *,
    unit: str = "patient",
    val: float = 0.2,
    seed: int = 0,
    aside: Collection[str] = (),
    columns: Mapping[str, str] | None = None,
) -> Split:
    """The split of a CSV as `write_split` makes it, or of one without val, which is then drawn from train.

    Args:
        path, cohort, aside, columns: see `read_divisions`.
        unit: that is kept together; a Split knows its own.
        val, seed: of a validation part that the file lacks; see `draw_missing_val`.

    Raises:
        InputError: If the file is no split of this cohort, or `check` refuses it.
    """
    parts = read_divisions(path, cohort, aside=aside, columns=columns)
    unit = unit_of(path, unit)
    as_written = Split(cohort.image, parts, unit)
    check_leak(as_written, cohort)
    split = replace(
        as_written, parts=tuple(draw_missing_val(cohort, part, val=val, unit=unit, seed=seed) for part in parts)
    )
    check(split, cohort)
    return split


def unit_of(splits: Split | StrPath | None, unit: str) -> str:
    """The unit that was kept together: a Split's own, else the one that is named.

    Raises:
        InputError: If images are named as the unit of a Split that was made by patient.
    """
    if not isinstance(splits, Split):
        return unit
    if unit not in ("patient", splits.unit):
        raise InputError(f"unit is '{unit}', and the split was made by {splits.unit}; leave it out")
    return splits.unit


def read_divisions(
    path: Split | StrPath,
    cohort: Cohort,
    *,
    aside: Collection[str] = (),
    columns: Mapping[str, str] | None = None,
) -> tuple[Fold, ...]:
    """The divisions of a CSV as they stand there: nothing is drawn, and leaks and missing classes are not looked for.

    Columns: image_path,split; image_path,repeat,fold,split; or image_path,fold (the fold that tests the image), or
    what `columns` maps to these where it has such a column; their other names are known, too. Images of the cohort
    that the file does not list are in no part.

    Args:
        path: of the file; or a Split, whose images are found by their names.
        cohort: whose images it names.
        aside: images that may be in the file though they are not in the cohort, since they could not be read.
        columns: {our column: the file's}.

    Raises:
        InputError: If the file is no split of this cohort.
    """
    row_of = {name: row for row, name in enumerate(cohort.image)}
    if isinstance(path, Split):
        return _divisions_of(path, row_of, set(aside))
    where = Path(path).name
    table = _split_columns(read_table(Path(path), kind="split"), cohort, dict(columns or {}), where)
    gone = set(aside) - set(row_of)
    kept = [row for row, name in enumerate(table["image_path"]) if name not in gone]
    table = {name: [values[row] for row in kept] for name, values in table.items()}
    stranger = next((name for name in table["image_path"] if name not in row_of), None)
    if stranger is not None:
        raise InputError(f"{where} names {stranger}, which is not in the cohort; the split is of other images")
    rows = [row_of[name] for name in table["image_path"]]
    if "fold" not in table:
        assignment = _place(rows, rename_splits(table["split"], None, where=where), len(cohort), where)
        return (Fold(0, 0, tuple(assignment)),)
    repeat = _whole(table["repeat"], where) if "repeat" in table else [0] * len(rows)
    fold = _whole(table["fold"], where)
    if "split" in table:
        assignment = rename_splits(table["split"], None, where=where)
        by_part: dict[tuple[int, int], tuple[list[int], list[str]]] = {}
        for key, row, part in zip(zip(repeat, fold, strict=True), rows, assignment, strict=True):
            listed = by_part.setdefault(key, ([], []))
            listed[0].append(row)
            listed[1].append(part)
        placed = {key: _place(*listed, len(cohort), where) for key, listed in by_part.items()}
    else:
        placed = _fold_numbers(cohort, rows, repeat, fold, where)
    return tuple(Fold(number, index, tuple(assignment)) for (number, index), assignment in sorted(placed.items()))


def _divisions_of(split: Split, row_of: Mapping[str, int], aside: Collection[str]) -> tuple[Fold, ...]:
    """A split's divisions for the rows of another cohort; images that the split does not have are in no part."""
    stranger = next((name for name in split.image if name not in row_of and name not in aside), None)
    if stranger is not None:
        raise InputError(f"the split names {stranger}, which is not in the cohort; the split is of other images")
    divisions = []
    for part in split.parts:
        assignment = [""] * len(row_of)
        for name, word in zip(split.image, part.assignment, strict=True):
            if name in row_of:
                assignment[row_of[name]] = word
        divisions.append(replace(part, assignment=tuple(assignment)))
    return tuple(divisions)


def draw_missing_val(cohort: Cohort, part: Fold, *, val: float = 0.2, unit: str = "patient", seed: int = 0) -> Fold:
    """A division with its val, or with the share `val` of its train taken for it: by unit, differently in each fold.

    Raises:
        InputError: If there is no train to take it from, patients are unknown, or a class has too few.
    """
    if "val" in part.assignment:
        return part
    number = seed + 1_000_003 * part.repeat + 1009 * part.fold
    return replace(
        part,
        assignment=official(cohort.with_split(part.assignment), val=val, unit=unit, seed=number).parts[0].assignment,
    )


def _split_columns(table: Table, cohort: Cohort, columns: Mapping[str, str], where: str) -> dict[str, list[str]]:
    """The columns of a split by our names, with images named as the cohort names them."""
    nouns = ("image_path", "repeat", "fold", "split")
    # A command's --columns speaks of the cohort and of the split: what isn't in this table is of the other.
    columns = {noun: name for noun, name in columns.items() if noun in nouns and name in table.header}
    chosen = {noun: find_column(noun, table.header, columns, where) for noun in nouns}
    for noun in ("image_path", "fold" if chosen["fold"] else "split"):
        if not chosen[noun]:
            raise InputError(
                f"{where} has no column '{noun}'; needed: image_path,split or image_path,repeat,fold,split. "
                f"It has {', '.join(table.header)}; rename one, or say --columns {noun}=<its name>"
            )
    cells = {noun: list(table.text(name, strip=noun != "image_path")) for noun, name in chosen.items() if name}
    images = set(cohort.image)
    root = f"{Path(cohort.root).absolute().as_posix()}/"
    for row, name in enumerate(cells["image_path"]):
        if not name.strip():
            raise InputError(f"{where} line {table.line(row)} names no image; name one, or remove the line")
        if name not in images:  # as a manifest's paths are read: Windows' slashes, "./", and absolute ones
            cells["image_path"][row] = name.strip().replace("\\", "/").removeprefix("./").removeprefix(root)
    return cells


def _whole(values: Sequence[str], where: str) -> list[int]:
    wrong = next((value for value in values if not (value.isascii() and value.isdigit())), None)
    if wrong is not None:
        raise InputError(f"{where} has repeat or fold '{wrong}'; needed: whole numbers from 0")
    return [int(value) for value in values]


def _place(rows: Sequence[int], assignment: Sequence[str], count: int, where: str) -> list[str]:
    if len(set(rows)) != len(rows):
        raise InputError(f"{where} lists an image twice in one part ({len(rows) - len(set(rows))} such rows)")
    placed = [""] * count
    for row, part in zip(rows, assignment, strict=True):
        placed[row] = part
    return placed


def _fold_numbers(
    cohort: Cohort, rows: Sequence[int], repeat: Sequence[int], fold: Sequence[int], where: str
) -> dict[tuple[int, int], list[str]]:
    """Each fold's train and test, from the number of the fold that tests each image."""
    placed: dict[tuple[int, int], list[str]] = {}
    for number in sorted(set(repeat)):
        chosen = [(row, f) for row, r, f in zip(rows, repeat, fold, strict=True) if r == number]
        tested = _place([row for row, _ in chosen], [str(f) for _, f in chosen], len(cohort), where)
        for index in sorted({f for _, f in chosen}):
            placed[number, index] = ["test" if f == str(index) else "train" if f else "" for f in tested]
    return placed
