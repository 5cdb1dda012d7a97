"""The cells of a table file as text, and text as the labels, ids and numbers of a cohort."""

import csv
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError

__all__ = ["MISSING", "MISSING_SITE", "clean_ids", "clean_labels", "clean_numbers", "read_table"]

MISSING = frozenset({"", "nan", "na", "n/a", "none", "null", "<na>"})
# A class may be called "NA" or "none", and "NA" is a real site code of TCGA.
MISSING_LABEL = frozenset({"", "nan", "n/a", "null", "<na>"})
MISSING_SITE = MISSING_LABEL


def read_table(path: Path) -> dict[str, list[str]]:
    """The columns of a CSV or .parquet file as text, in the file's order; missing values of Parquet are "".

    Raises:
        InputError: If the file is missing, is no such table, or its rows differ in length.
    """
    return _read_parquet(path) if path.suffix.lower() in (".parquet", ".pq") else _read_csv(path)


def _read_csv(path: Path) -> dict[str, list[str]]:
    """The columns of a CSV as text, in the file's order."""
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; name an existing manifest (CSV or Parquet)") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; name a manifest (CSV or Parquet)") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} is not UTF-8 text (byte {error.start}); save it as 'CSV UTF-8'") from None
    first = content.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    # newline="" semantics: the csv module must see the line ends itself, as a quoted name may hold one.
    reader = csv.reader(_lines(content), delimiter=separator, strict=True)
    columns: list[list[str]] = []
    header: list[str] = []
    try:
        for row in reader:
            if not row:
                continue
            if not header:
                header = [name.strip() for name in row]
                columns = [[] for _ in header]
                continue
            if len(row) != len(header):
                raise InputError(f"{path.name} line {reader.line_num} has {len(row)} cells, the header {len(header)}")
            for column, cell in zip(columns, row, strict=True):
                column.append(cell)
    except csv.Error as error:
        raise InputError(f"{path.name} line {reader.line_num} is not CSV ({error})") from None
    if not header:
        raise InputError(f"{path.name} is empty; it needs a header and one row an image")
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise InputError(f"{path.name} has two columns named '{repeated[0]}'; rename or remove one of them")
    return dict(zip(header, columns, strict=True))


def _lines(content: str) -> Iterable[str]:
    """The lines with their ends, divided at newlines only (str.splitlines also divides at Unicode separators)."""
    return (line + "\n" for line in content.split("\n"))


def _read_parquet(path: Path) -> dict[str, list[str]]:
    """The columns of a Parquet file as text; whole numbers without a point, missing values as ""."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise InputError(f"{path} does not exist; name an existing manifest (CSV or Parquet)")
    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path.name} is not a Parquet file ({str(error).splitlines()[0]})") from None
    return {str(name): [_text(value) for value in table.column(name).to_pylist()] for name in table.column_names}


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # ids and labels of a column with gaps are stored as 7.0
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def clean_labels(values: Sequence[str], where: str) -> list[str]:
    labels = [unicodedata.normalize("NFC", value).strip() for value in values]
    empty = [row for row, label in enumerate(labels) if label.lower() in MISSING_LABEL]
    if empty:
        raise InputError(
            f"{where} row {empty[0] + 1} has no label ({values[empty[0]]!r}; {len(empty)} such rows); "
            "give every image a label, or remove the row"
        )
    return labels


def clean_ids(values: Sequence[str] | None, count: int, missing: frozenset[str]) -> list[str]:
    texts = (unicodedata.normalize("NFC", value).strip() for value in values or [""] * count)
    return ["" if text.lower() in missing else text for text in texts]


def clean_numbers(values: Sequence[str] | None, count: int, noun: str, where: str) -> NDArray[np.float64]:
    numbers = np.full(count, np.nan)
    for row, value in enumerate(values or ()):
        text = value.strip()
        if text.lower() in MISSING:
            continue
        try:
            number = float(text.replace(",", ".")) if text.count(",") == 1 and "." not in text else float(text)
        except ValueError:
            raise InputError(f"{where} row {row + 1}: {noun} is '{value}'; needed: a number, or nothing") from None
        if not np.isfinite(number) or (noun == "mpp" and number <= 0):
            raise InputError(f"{where} row {row + 1}: {noun} is {text}; needed: a finite number, mpp above 0")
        numbers[row] = number
    return numbers
