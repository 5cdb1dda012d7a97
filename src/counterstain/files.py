"""Files that are either whole or not there: write to a temporary name, sync, rename; read back with a clear refusal."""

import csv
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from counterstain.errors import InputError

__all__ = ["hash_bytes", "hash_file", "hash_json", "read_json", "write_bytes", "write_csv", "write_json", "write_with"]


def write_with(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, sync it and rename it, so that `path` is never half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        # mkstemp makes files that only their owner reads; results are to be shared like any other file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows has no handle on a folder to sync
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes | str) -> None:
    """Write `content` (text as UTF-8) to `path`, whole or not at all."""
    data = content.encode() if isinstance(content, str) else content
    write_with(path, lambda temporary: _fill(temporary, data))


def _fill(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record as JSON with sorted keys; NaN becomes null, as JSON has none."""
    write_bytes(path, json.dumps(_plain(record), indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return _plain(value.tolist())
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return str(value) if isinstance(value, Path) else value


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table: one header line, LF line ends, floats in their shortest exact form, None as an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([["" if cell is None else cell for cell in row] for row in rows])
    write_bytes(path, text.getvalue())


def read_json(path: Path) -> dict[str, Any]:
    """The record in a JSON file.

    Raises:
        InputError: If the file is missing or not JSON.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; name an existing JSON file") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is not JSON ({error}); it was cut off or is another kind of file") from None
    if not isinstance(record, dict):
        raise InputError(f"{path} holds a {type(record).__name__}, not a record {{...}}")
    return record


def hash_bytes(content: bytes) -> str:
    """SHA-256 of the bytes, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_json(record: Mapping[str, Any]) -> str:
    """SHA-256 of a record's canonical JSON: the same for the same values in whatever order."""
    return hash_bytes(json.dumps(_plain(record), sort_keys=True, separators=(",", ":")).encode())
