"""The columns of a cohort, their cells as labels, ids and numbers, and the words of a split."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from counterstain.columns import check_columns, find_column, quoted
from counterstain.errors import InputError
from counterstain.id_cells import SPREADSHEET_ERRORS, plain_ids, visible
from counterstain.tables import MISSING, parse_number

__all__ = ["COLUMNS", "MISSING_SITE", "NUMBER_COLUMNS", "TEXT_COLUMNS", "choose_columns", "clean_ids", "clean_labels"]
__all__ += ["clean_numbers", "label_key", "rename_splits", "split_word", "unify_labels"]

MPP_RANGE = (0.01, 100.0)  # µm per px: anything else is in nm or mm, or no microscope's

COLUMNS = ("image_path", "label", "patient_id", "slide_id", "site", "mpp", "x", "y", "split")
NUMBER_COLUMNS = ("mpp", "x", "y")
TEXT_COLUMNS = tuple(name for name in COLUMNS if name not in NUMBER_COLUMNS)

# A class may be called "NA" or "none", and "NA" is a real site code of TCGA.
MISSING_SITE = frozenset({"", "nan", "n/a", "null", "<na>"})
MISSING_LABEL = MISSING_SITE | SPREADSHEET_ERRORS | {"?", "??", "???"}

_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "tune", "tuning", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("external", "ext", "external_test", "external_val", "external_validation"), "test_external"),
}
_SPLIT_ENDS = re.compile(r"_?(?:data|images?|imgs?|tiles?|patches|part|split)?_?(?:set)?$")


def _plain(name: str) -> str:
    return re.sub(r"[\s\-]+", "_", unicodedata.normalize("NFC", name).strip().lower())


def choose_columns(
    header: Sequence[str],
    columns: Mapping[str, str] | None,
    *,
    where: str,
    needed: Sequence[str] = ("image_path", "label"),
    hint: Callable[[], str] = str,
) -> dict[str, str]:
    """Which column of a table serves which column of the cohort, as {cohort column: the table's}.

    The user's own `columns` win; then a column of the cohort's own name; then its aliases, however they are spelled.
    A cohort column that `columns` maps to "" is left empty.

    Args:
        header: the table's columns.
        columns: the user's own choice.
        where: the table, for messages.
        needed: the cohort columns without which it is no such table.
        hint: what its cells tell where there is no label, "" if nothing.

    Raises:
        InputError: If a name in `columns` does not exist, two aliases stand for one column, or a needed one is missing.
    """
    columns = dict(columns or {})
    check_columns(columns, COLUMNS, header, where)
    chosen = {}
    for noun in COLUMNS:
        column = find_column(noun, header, columns, where)
        if column:
            chosen[noun] = column
    for noun in needed:
        if noun not in chosen:
            if noun == "label" and (advice := hint()):
                raise InputError(f"{where} has no column for label; {advice}")
            raise InputError(
                f"{where} has no column for {noun}; it has {quoted(header)}. Rename one to '{noun}', or say, in a "
                f"study, columns: {{{noun}: <its name>}}, in a command, --columns {noun}=<its name>"
            )
    return chosen


def split_word(value: str) -> str | None:
    """A split's name in our words: train, val, test, test_<name> or "" (in no part); None where it is none of them.

    >>> [split_word(name) for name in ("Training", "train_set", "TestImages", "External", "test_b", "tumour", "")]
    ['train', 'train', 'test', 'test_external', 'test_b', None, '']
    """
    plain = _plain(value)
    if not plain:
        return ""
    part = _SPLIT_WORDS.get(_SPLIT_ENDS.sub("", plain, count=1))
    if part is None and plain.startswith("test_") and len(plain) > len("test_"):
        return plain
    return part


def rename_splits(values: Sequence[str], splits: Mapping[str, str] | None, *, where: str) -> list[str]:
    """The split column in our words, renamed by `splits` first, e.g. {"valid": "test"}; "" stays "" (in no part).

    Raises:
        InputError: If a value is no known split, or `splits` names one that does not occur.
    """
    splits = dict(splits or {})
    distinct = sorted(set(values))
    for old, new in splits.items():
        if old not in distinct:
            raise InputError(f"splits: {where} has no split '{old}'; it has {quoted(distinct) or 'none'}")
        if split_word(new) is None:
            raise InputError(f"splits: '{old}' is to be '{new}'; needed: train, val, test or test_<name>")
    parts = {}
    for value in distinct:
        part = split_word(splits.get(value, value))
        if part is None:
            raise InputError(
                f"{where} has split '{value}'; needed: train, val, test or test_<name>. "
                f"Rename it there or, in a study, with splits: {{{value}: test}}; or leave the column out with "
                "columns: {split: ''} (in a command, --columns split=)"
            )
        parts[value] = part
    return [parts[value] for value in values]


def clean_labels(values: Sequence[str], where: str) -> list[str]:
    """(N,) labels without spaces at their ends and without characters that nobody sees.

    Raises:
        InputError: If one is missing.
    """
    cleaned = {value: visible(value) for value in set(values)}
    labels = [cleaned[value] for value in values]
    empty = [row for row, label in enumerate(labels) if label.lower() in MISSING_LABEL]
    if empty:
        raise InputError(
            f"{where} row {empty[0] + 1} has no label ({values[empty[0]]!r}; {len(empty)} such rows); "
            "give every image a label, or remove the row"
        )
    return labels


def unify_labels(labels: Sequence[str]) -> tuple[list[str], list[str]]:
    """Labels of which those that differ only in what `label_key` ignores are one, spelled as most are; notes of that.

    >>> unify_labels(["benign", "Benign ", "benign", "tumour"])[0], unify_labels(["1", "1", "1.0"])[0]
    (['benign', 'benign', 'benign', 'tumour'], ['1', '1', '1'])
    """
    spellings: dict[str, Counter[str]] = {}
    for label, number in Counter(labels).items():
        spellings.setdefault(label_key(label), Counter())[label] += number
    chosen: dict[str, str] = {}
    notes = []
    for counts in spellings.values():
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0] != item[0].strip(), item[0]))
        chosen.update(dict.fromkeys(counts, ordered[0][0]))
        if len(ordered) > 1:
            listing = " and ".join(f"{label!r} ({number})" for label, number in ordered)
            notes.append(
                f"labels {listing} are one class, {ordered[0][0]!r}: they differ only in case, spaces, - or _, or a "
                "'.0'"
            )
    return [chosen[label] for label in labels], notes


def label_key(label: str) -> str:
    """What spellings of one label share: all but case, spaces, "-" and "_" beside a letter, a whole number's ".0".

    >>> label_key("non-tumor") == label_key("Non_Tumor") == label_key("non tumor"), label_key("-1"), label_key("3-4")
    (True, '-1', '3-4')
    """
    plain = "".join(unicodedata.normalize("NFKC", visible(label)).casefold().split())
    plain = re.sub(r"(?<=[^\W\d_])[-_]+(?=[^\W_])|(?<=[^\W_])[-_]+(?=[^\W\d_])", "", plain)
    return re.sub(r"^([+-]?\d+)\.0+$", r"\1", plain)


def clean_ids(
    values: Sequence[str] | None, count: int, missing: frozenset[str] = MISSING, *, subject: str = "an id"
) -> list[str]:
    """(N,) ids as `plain_ids` gives them, "" for missing ones; N times "" where there is no column.

    Raises:
        InputError: If a spreadsheet has spoilt one; `subject` says of which column and table.
    """
    return [""] * count if values is None else plain_ids(values, missing, lambda row: f"{subject} of row {row + 1}")


def clean_numbers(values: Sequence[str] | None, count: int, noun: str, where: str) -> NDArray[np.float64]:
    """(N,) numbers, NaN for missing ones.

    Raises:
        InputError: If a cell is no finite number, or no microscope has that µm/px.
    """
    numbers = np.full(count, np.nan)
    for row, value in enumerate(values or ()):
        number = parse_number(value)
        if number is None:
            raise InputError(f"{where} row {row + 1}: {noun} is '{value}'; needed: a number, or empty")
        if np.isinf(number) or (noun == "mpp" and (number < MPP_RANGE[0] or number > MPP_RANGE[1])):
            needed = f"µm per px, from {MPP_RANGE[0]:g} to {MPP_RANGE[1]:g}" if noun == "mpp" else "a finite number"
            raise InputError(f"{where} row {row + 1}: {noun} is {value.strip()}; needed: {needed}")
        numbers[row] = number
    return numbers
