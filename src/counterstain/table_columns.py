"""Columns of text: of Arrow where pyarrow is installed, which is fast for millions of rows, else tuples of Python."""

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError, first_line

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = [
    "MISSING",
    "Column",
    "any_cell",
    "column_of",
    "distinct_cells",
    "frame_columns",
    "has_arrow",
    "numbers_of",
    "parse_number",
    "text_of_value",
    "text_of_values",
    "tuple_of",
]

Column: TypeAlias = "pa.ChunkedArray | tuple[str, ...]"

MISSING = frozenset({"", "nan", "na", "n/a", "none", "null", "<na>"})


def has_arrow() -> bool:
    """Whether pyarrow is installed; without it tables are read more slowly, and Parquet not at all."""
    try:
        return find_spec("pyarrow") is not None
    except ValueError:  # a module that was kept from being imported has no specification
        return False


def column_of(cells: Iterable[str]) -> Column:
    """A column of these cells."""
    if not has_arrow():
        return tuple(cells)
    import pyarrow as pa

    return pa.array(list(cells), pa.large_string())


def tuple_of(column: Column, *, strip: bool) -> tuple[str, ...]:
    """The N cells; equal cells are one object, so a column of few values takes little memory."""
    if isinstance(column, tuple):
        unique: dict[str, str] = {}
        return tuple(unique.setdefault(cell, cell) for cell in (_stripped(column) if strip else column))
    import pyarrow.compute as pc

    column = pc.utf8_trim_whitespace(column) if strip else column
    first = column.slice(0, 1000)
    if pc.count_distinct(first).as_py() == len(first):  # names: looking for equal ones would only cost time
        return tuple(column.to_pylist())
    values, codes = distinct_cells(column, strip=False)
    return tuple(np.array(values, dtype=object)[codes])


def distinct_cells(column: Column, *, strip: bool) -> tuple[list[str], NDArray[np.int64]]:
    """The different cells in order of appearance, and (N,) which of them stands in each row."""
    if isinstance(column, tuple):
        places: dict[str, int] = {}
        codes = [places.setdefault(cell, len(places)) for cell in (_stripped(column) if strip else column)]
        return list(places), np.array(codes, dtype=np.int64)
    import pyarrow.compute as pc

    coded = (pc.utf8_trim_whitespace(column) if strip else column).combine_chunks().dictionary_encode()
    return coded.dictionary.to_pylist(), _buffer(coded.indices, np.int32).astype(np.int64)


def numbers_of(column: Column) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(N,) numbers, NaN for missing ones, and (N,) which cells are text that is no number; see `parse_number`."""
    quick = None if isinstance(column, tuple) else _quick_numbers(column)
    if quick is not None:
        return quick, np.zeros(len(column), dtype=bool)
    cells, codes = distinct_cells(column, strip=True)
    parsed = [parse_number(cell) for cell in cells]
    values = np.array([np.nan if value is None else value for value in parsed], dtype=np.float64)
    return values[codes], np.array([value is None for value in parsed], dtype=bool)[codes]


def _quick_numbers(column: Any) -> NDArray[np.float64] | None:
    """The numbers by Arrow; None where a cell is written in another way than it knows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = pc.utf8_trim_whitespace(column)
    comma = r"^[+-]?\d*,\d+([eE][+-]?\d+)?$|^[+-]?\d+([eE][+-]?\d+)?$"
    if pc.any(pc.match_substring(column, ",")).as_py() and pc.all(pc.match_substring_regex(column, comma)).as_py():
        column = pc.replace_substring(column, ",", ".")
    try:
        return _plain_numbers(pc.cast(column, pa.float64()))
    except pa.ArrowInvalid:
        return None


def _plain_numbers(column: Any) -> NDArray[np.float64]:
    """(N,) float64, NaN where a value is missing."""
    if column.null_count:
        return np.array(column.to_pylist(), dtype=np.float64)
    return np.concatenate([_buffer(chunk, np.float64) for chunk in column.chunks] or [np.zeros(0)])


def _buffer(array: Any, kind: Any) -> NDArray[Any]:
    """The values of an array without missing ones. Its own way to NumPy imports pandas first."""
    return np.frombuffer(array.buffers()[1], kind)[array.offset : array.offset + len(array)]


def any_cell(column: Column, *, holds: str | None = None) -> bool:
    """Whether a cell holds the text `holds`; without it, whether any cell is not empty."""
    if isinstance(column, tuple):
        return any(cell if holds is None else holds in cell for cell in column)
    import pyarrow.compute as pc

    return bool(pc.any(pc.not_equal(column, "") if holds is None else pc.match_substring(column, holds)).as_py())


def _stripped(cells: Sequence[str]) -> list[str]:
    return [cell.strip() for cell in cells]


def parse_number(text: str) -> float | None:
    """The number in a cell: NaN where it is missing, None where it is no number.

    >>> parse_number("0,25"), parse_number(" 7e-3"), parse_number("85 %"), parse_number("1.234,5"), parse_number("wide")
    (0.25, 0.007, 85.0, None, None)
    """
    plain = text.strip().removesuffix("%").rstrip()
    if plain.lower() in MISSING:
        return float("nan")
    if plain.count(",") == 1 and "." not in plain:
        plain = plain.replace(",", ".")
    try:
        return None if "_" in plain else float(plain)
    except ValueError:
        return None


def text_of_value(value: object) -> str:
    """A value of a data frame or a Parquet file as a cell; floats keep every digit, in their shortest exact form."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))  # ids and labels of a column with gaps are stored as 7.0
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def text_of_values(column: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """An Arrow column of any type as text; whole numbers without a point, missing values as ""."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind):
        return pc.fill_null(column.cast(pa.large_string()), "")
    return pa.chunked_array([pa.array([text_of_value(value) for value in column.to_pylist()], pa.large_string())])


def frame_columns(frame: "pd.DataFrame", names: Sequence[str]) -> dict[str, Column]:
    """The columns of a pandas data frame as text, by these names.

    Raises:
        InputError: If a column mixes kinds that can't be told apart.
    """
    if not has_arrow():
        return {name: _frame_cells(frame.iloc[:, k], name) for k, name in enumerate(names)}
    import pyarrow as pa

    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except pa.ArrowException as error:
        raise _mixed(first_line(error)) from None
    return {name: text_of_values(table.column(k)) for k, name in enumerate(names)}


def _frame_cells(series: "pd.Series[Any]", name: str) -> tuple[str, ...]:
    missing = series.isna().tolist()
    values = series.astype(object).tolist()
    kinds = {isinstance(value, (str, bytes)) for value, gone in zip(values, missing, strict=True) if not gone}
    if len(kinds) > 1:
        raise _mixed(f"column '{name}' mixes text and numbers")
    return tuple("" if gone else text_of_value(value) for value, gone in zip(values, missing, strict=True))


def _mixed(reason: str) -> InputError:
    return InputError(
        f"the data frame holds what is neither text nor a number ({reason}); turn that column into text with "
        ".astype(str), or leave it out"
    )
