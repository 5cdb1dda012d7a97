"""The one reader of tables that users bring: CSV in any common dialect and encoding, and Parquet."""

import codecs
import csv
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError, first_line
from counterstain.files import plain_cell
from counterstain.run_folder import as_written
from counterstain.table_columns import (
    MISSING,
    Column,
    any_cell,
    column_of,
    distinct_cells,
    frame_columns,
    has_arrow,
    numbers_of,
    parse_number,
    text_of_values,
    tuple_of,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MISSING", "Table", "parse_number", "read_cells", "read_table", "table_of_frame"]

MOST_BYTES = 2 << 30  # of a file, and of the text that a Parquet file unpacks to
MOST_CELLS = 500_000_000

_SEPARATORS = ",;\t|"
_CHUNK = 50_000  # rows that are held as Python objects at once

# First bytes of files that are no text, and the way out.
_OTHER_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "an Excel workbook or a .zip", "save the sheet as 'CSV UTF-8', or unpack the archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "save the sheet as 'CSV UTF-8'"),
    (b"\x1f\x8b", "compressed by gzip", "unpack it first: gunzip {name}"),
    (b"BZh", "compressed by bzip2", "unpack it first: bunzip2 {name}"),
    (b"\xfd7zXZ", "compressed by xz", "unpack it first: unxz {name}"),
    (b"(\xb5/\xfd", "compressed by zstd", "unpack it first: unzstd {name}"),
    (b"\x89HDF", "an HDF5 file", "write its table as CSV"),
    (b"\x93NUMPY", "a NumPy array", "write it as CSV, with a header line"),
    (b"SQLite format 3", "an SQLite database", "write its table as CSV"),
    (b"version https://git-lfs", "a pointer of Git LFS", "fetch the file itself: git lfs pull"),
    (b"%PDF", "a PDF", "give the table as CSV"),
    (b"\x80\x02", "a Python pickle", "write its table as CSV; pickles are never opened, because they can run programs"),
    (b"\x80\x03", "a Python pickle", "write its table as CSV; pickles are never opened, because they can run programs"),
    (b"\x80\x04", "a Python pickle", "write its table as CSV; pickles are never opened, because they can run programs"),
    (b"\x80\x05", "a Python pickle", "write its table as CSV; pickles are never opened, because they can run programs"),
    (b"{", "JSON", "write it as CSV, one row per image"),
    (b"[{", "JSON", "write it as CSV, one row per image"),
    (b"<", "HTML or XML", "save the table as CSV"),
)


@dataclass(frozen=True, eq=False)
class Table:
    """A table file as it was written: N rows of text, by column.

    path:    of the file
    columns: {name: (N,) column of text}, in the file's order; see table_columns
    lines:   (N,) the line of the file on which each row starts; None: row k stands on line k + 2
    notes:   what a reader should know of how it was read
    """

    path: Path
    columns: dict[str, Column]
    lines: NDArray[np.int64] | None = None
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    @property
    def header(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(self.columns)

    def line(self, row: int) -> int:
        """The line of the file on which a row stands; the header is line 1."""
        return row + 2 if self.lines is None else int(self.lines[row])

    def cell(self, name: str, row: int) -> str:
        """One cell, without spaces at its ends."""
        return str(self.columns[name][row]).strip()

    def text(self, name: str, *, strip: bool = True) -> tuple[str, ...]:
        """The N cells of a column; equal cells are one object, so a column of few values takes little memory."""
        return tuple_of(self.columns[name], strip=strip)

    def distinct(self, name: str, *, strip: bool = True) -> tuple[list[str], NDArray[np.int64]]:
        """The different cells of a column in order of appearance, and (N,) which of them stands in each row."""
        return distinct_cells(self.columns[name], strip=strip)

    def numbers(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(N,) numbers of a column, NaN for missing ones, and (N,) which cells are text that is no number.

        A decimal comma and a percent sign are understood; see `parse_number`.
        """
        return numbers_of(self.columns[name])


def read_cells(path: Path, *, kind: str = "table") -> dict[str, list[str]]:
    """The columns of a table as lists of text, as they stand in the file; see `read_table`."""
    table = read_table(path, kind=kind)
    return {name: list(table.text(name, strip=False)) for name in table.header}


def table_of_frame(frame: "pd.DataFrame") -> Table:
    """A pandas data frame as the table that reading it back from a file would give; an index with a name is a column.

    Messages name it "the data frame", and count its rows from 0.

    Raises:
        InputError: If a column's name stands there twice, or a column mixes kinds that can't be told apart.
    """
    has_index = any(name is not None for name in frame.index.names)
    frame = frame.reset_index() if has_index else frame
    names = list(map(str, frame.columns))
    _refuse_repeated(names, "the data frame")
    columns = frame_columns(frame, names)
    return _checked(Table(Path("the data frame"), columns, lines=np.arange(len(frame))), guarded=False)


def read_table(path: Path, *, kind: str = "table") -> Table:
    """A table of text from CSV (comma, semicolon, tab or bar; UTF-8, UTF-16 or Windows-1252) or Parquet.

    The separator is the one that the header has most of. What is a formula's guard in a cell (`'=1+1`) is taken off.

    Args:
        path: a regular file: a pipe or a device is refused, never waited for.
        kind: what it is to be, for messages: "manifest", "prediction table".

    Raises:
        InputError: If the file is missing, is no such table, is larger than 2 GiB, or its rows differ in length; or if
            it is a finished run's and no longer what the run wrote.
    """
    path = Path(path)
    content = _read_bytes(path, kind)
    as_written(path)
    if content[:4] == b"PAR1" or path.suffix.lower() in (".parquet", ".pq"):
        table = _read_parquet(path)
    else:
        data, notes = _as_utf8(content, path)
        table = _read_csv(path, data, notes)
    return _checked(table, guarded=b"'" in content)


# --------------------------------------------------------------------------------------------------------- the file


def _read_bytes(path: Path, kind: str) -> bytes:
    """The content of a regular file, at most MOST_BYTES of it; opening never waits for a pipe's other end."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; name an existing {kind} (CSV or Parquet)") from None
    except PermissionError:
        if not path.is_dir():  # Windows refuses to open a folder
            raise
        raise InputError(f"{path} is a folder; name a {kind} (CSV or Parquet)") from None
    except OSError as error:
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is no file but {_special(path)}; save the {kind} to a file") from None
        raise InputError(f"{path} can't be opened ({error.strerror}); name an existing {kind}") from None
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        if stat.S_ISDIR(mode):
            raise InputError(f"{path} is a folder; name a {kind} (CSV or Parquet)")
        raise InputError(f"{path} is no file but {_special(path)}; save the {kind} to a file and name that")
    with os.fdopen(handle, "rb") as stream:
        content = stream.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise InputError(f"{path} is larger than {MOST_BYTES >> 30} GiB; divide it, or leave out columns and rows")
    return content


def _special(path: Path) -> str:
    mode = path.stat().st_mode
    kinds = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"))
    return next((name for test, name in kinds if test(mode)), "a socket")


def _as_utf8(content: bytes, path: Path) -> tuple[bytes, tuple[str, ...]]:
    """The text of a CSV as UTF-8 without a byte order mark, and what was assumed."""
    for start, kind, way_out in _OTHER_KINDS:
        if content.startswith(start):
            raise InputError(f"{path.name} is not a CSV but {kind}; {way_out.format(name=path.name)}")
    coding = _encoding(content)
    notes: tuple[str, ...] = ()
    if coding is None:
        raise InputError(f"{path.name} is not a CSV: it is no text; save the table as 'CSV UTF-8'")
    if coding == "cp1252":
        notes = (f"{path.name} is not UTF-8; read as Windows-1252 (Latin-1): check names with accents",)
    text = content if coding == "utf-8" else content.decode(coding).encode()
    return text.removeprefix(codecs.BOM_UTF8), notes


def _encoding(content: bytes) -> str | None:
    """The first encoding that the bytes are valid in; None where they are no text in any."""
    guesses = ["utf-8", "cp1252"]
    zeros = [content[first:4000:2].count(0) for first in (0, 1)]
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        guesses = ["utf-16"]
    elif max(zeros) > 0.2 * len(content[:4000]):  # in UTF-16 every second byte of Latin text is 0
        guesses = ["utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"]
    for coding in guesses:
        try:
            text = content.decode(coding)
        except UnicodeDecodeError:
            continue
        # Almost any bytes are valid in Windows-1252: those of an image or a model hold control characters, too.
        control = r"\x00" if coding != "cp1252" else r"[\x00-\x08\x0e-\x1f]"
        return None if re.search(control, text) else coding
    return None


# ---------------------------------------------------------------------------------------------------------- dialects


def _read_csv(path: Path, data: bytes, notes: tuple[str, ...]) -> Table:
    """A CSV's columns: by Arrow where nothing is quoted, else by Python's reader."""
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")  # line ends of old Macs
    declared = re.match(rb"sep=(.)\r?\n", data)  # a line that Excel writes and understands
    if declared:
        data = data[declared.end() :]
    first = data[: data.find(b"\n") + 1 or len(data)].decode()
    separator = declared[1].decode() if declared else max(_SEPARATORS, key=_outside_quotes(first).count)
    table = None if declared or not has_arrow() or not _is_plain(data) else _by_arrow(path, data, separator, notes)
    return table or _by_python(path, data.decode(), separator, notes, skipped=int(bool(declared)))


def _is_plain(data: bytes) -> bool:
    """Whether nothing is quoted, no line is empty, and lines end in one way: then Arrow reads what Python would."""
    returns = data.count(b"\r") if b"\r" in data else 0
    empty = data.startswith((b"\n", b"\r\n")) or b"\n\n" in data or (returns > 0 and b"\n\r\n" in data)
    return b'"' not in data and not empty and (returns == 0 or returns == data.count(b"\r\n"))


def _outside_quotes(line: str) -> str:
    return re.sub(r'"[^"]*"', "", line)


def _by_arrow(path: Path, data: bytes, separator: str, notes: tuple[str, ...]) -> Table | None:
    """The table by Arrow's reader; None where it has no rows, repeats a name, or is refused: Python's says why."""
    import pyarrow as pa
    import pyarrow.csv as arrow_csv

    end = data.find(b"\n") + 1
    header = [name.strip() for name in data[:end].decode().split(separator)]
    if not 0 < end < len(data) or len(set(header)) != len(header):
        return None
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(pa.py_buffer(memoryview(data)[end:])),
            read_options=arrow_csv.ReadOptions(column_names=header, use_threads=False),
            parse_options=arrow_csv.ParseOptions(delimiter=separator, quote_char=False, double_quote=False),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.large_string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowException:
        return None
    return Table(path, dict(zip(header, table.columns, strict=True)), None, notes)


def _by_python(path: Path, text: str, separator: str, notes: tuple[str, ...], *, skipped: int) -> Table:
    """The table by Python's reader, which knows where each row starts."""
    # newline="" semantics: the csv module must see the line ends itself, as a quoted name may hold one.
    reader = csv.reader(_lines(text), delimiter=separator, strict=True)
    header: list[str] = []
    chunks: list[list[Column]] = []
    starts: list[int] = []
    waiting: list[list[str]] = []
    try:
        before = 0
        for row in reader:
            start, before = before + 1 + skipped, reader.line_num
            if not row:
                continue
            if not header:
                header = [name.strip() for name in row]
                continue
            if len(row) != len(header):
                raise InputError(
                    f"{path.name} line {start} has {len(row)} cells, the header {len(header)}; the file was cut off, "
                    f"or a name or number that holds the separator {separator!r} is not quoted"
                )
            waiting.append(row)
            starts.append(start)
            if len(waiting) == _CHUNK:
                chunks.append(_columns_of(waiting))
                waiting = []
    except csv.Error as error:
        raise InputError(f"{path.name} line {reader.line_num + skipped} is not CSV ({error})") from None
    chunks.append(_columns_of(waiting) if waiting else [])
    return Table(path, _named(path, header, [chunk for chunk in chunks if chunk]), np.array(starts, np.int64), notes)


def _columns_of(rows: Sequence[Sequence[str]]) -> list[Column]:
    return [column_of(cells) for cells in zip(*rows, strict=True)]


def _joined(chunks: Sequence[Column]) -> Column:
    """One column of several pieces of it."""
    if not has_arrow():
        return tuple(cell for chunk in chunks for cell in chunk)
    import pyarrow as pa

    return pa.chunked_array(list(chunks), pa.large_string())


def _named(path: Path, header: list[str], chunks: Sequence[list[Column]]) -> dict[str, Column]:
    """The columns by name; columns without a name and without a cell (a trailing separator) are left out."""
    if not header:
        raise InputError(f"{path.name} is empty; it needs a header and one row per image")
    columns = [_joined([chunk[k] for chunk in chunks]) for k in range(len(header))]
    kept = [k for k, name in enumerate(header) if name or any_cell(columns[k])]
    _refuse_repeated([header[k] for k in kept], path.name)
    return {header[k]: columns[k] for k in kept}


def _refuse_repeated(names: Sequence[str], where: str) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"{where} has two columns named '{repeated[0]}'; rename or remove one of them")


def _lines(text: str) -> Iterator[str]:
    """The lines with their ends, divided at newlines only (str.splitlines also divides at Unicode separators)."""
    begin = 0
    while begin < len(text):
        end = text.find("\n", begin) + 1 or len(text)
        yield text[begin:end]
        begin = end


def _checked(table: Table, *, guarded: bool) -> Table:
    """The table with the guards of formulas taken off, unless its first line is data rather than a header."""
    number = next((name for name in table.header if re.fullmatch(r"[+-]?\d*[.,]\d+([eE][+-]?\d+)?", name)), None)
    if number is not None:
        raise InputError(
            f"{table.path.name} has no header line: it starts with {', '.join(table.header[:5])}; write the columns' "
            "names above it, such as image_path,label,prob_benign,prob_malignant"
        )
    if not guarded:
        return table
    columns = {}
    for name, column in table.columns.items():
        if any_cell(column, holds="'"):
            column = _joined([column_of(plain_cell(cell) for cell in tuple_of(column, strip=False))])
        columns[plain_cell(name)] = column
    return Table(table.path, columns, table.lines, table.notes)


# ----------------------------------------------------------------------------------------------------------- Parquet


def _read_parquet(path: Path) -> Table:
    """The columns of a Parquet file as text; whole numbers without a point, missing values as ""."""
    if not has_arrow():
        raise InputError(
            f"{path.name} is a Parquet file, and pyarrow, which reads them, is not installed; "
            "pip install 'counterstain[parquet]', or write the table as CSV"
        )
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        parquet = pq.ParquetFile(path)
        head = parquet.metadata
        unpacked = sum(head.row_group(k).total_byte_size for k in range(head.num_row_groups))
        if unpacked > MOST_BYTES or head.num_rows * max(head.num_columns, 1) > MOST_CELLS:
            raise InputError(
                f"{path.name} unpacks to {unpacked:,} bytes in {head.num_rows:,} rows of {head.num_columns} columns; "
                f"at most {MOST_BYTES >> 30} GiB and {MOST_CELLS:,} cells are read. Leave out columns and rows."
            )
        table = parquet.read()
        table.validate(full=True)  # offsets and UTF-8, which reading takes as they are
        names = list(map(str, table.column_names))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name} is not a Parquet file, or a damaged one ({first_line(error)})") from None
    _refuse_repeated(names, path.name)
    return Table(path, {name: text_of_values(table.column(k)) for k, name in enumerate(names)})
