"""Tables that this package wrote, read back: whatever became of the file, a table or one line."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from counterstain.errors import InputError
from counterstain.files import plain_cell
from counterstain.run_folder import as_written

__all__ = ["read_rows"]


def read_rows(path: Path, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """The rows of a CSV that `write_csv` wrote, cells as they were before; a missing cell is "".

    Args:
        path: of the file.
        columns: that it must have; others are given, too.

    Raises:
        InputError: If it cannot be read, is not UTF-8 or not CSV, lacks a column, or is a finished run's and no longer
            what the run wrote: it was changed, or cut off.
    """
    as_written(path)
    changed = "it was changed after it was written"
    try:
        text = path.read_bytes().decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), restkey="", restval="")
        rows = [{name: plain_cell(cell) for name, cell in row.items() if isinstance(cell, str)} for row in reader]
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (at byte {error.start}); {changed}") from None
    except csv.Error as error:
        raise InputError(f"{path} is not CSV ({error}); {changed}") from None
    missing = next((name for name in columns if name not in (reader.fieldnames or ())), None)
    if missing is not None:
        raise InputError(f"{path} has no column '{missing}'; {changed}")
    return rows
