"""Files that are either whole or not there: write to a temporary name, sync, rename; read back with a clear refusal."""

import csv
import errno
import functools
import hashlib
import io
import itertools
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from counterstain.errors import InputError

# A path; or a result of a verb, which stands for the file or folder that it wrote.
StrPath = str | os.PathLike[str]

__all__ = [
    "StrPath",
    "append_row",
    "check_writable",
    "hash_bytes",
    "hash_file",
    "hash_json",
    "is_hash_row",
    "plain_cell",
    "plain_values",
]
__all__ += ["read_json", "read_record", "read_sums", "read_text", "refusal", "safe_cell"]
__all__ += ["write_bytes", "write_csv", "write_json", "write_with"]


def write_with(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, sync it and rename it, so that `path` is never half a file.

    A link is written through, and so is a device or a pipe: neither is replaced by a file.

    Raises:
        InputError: If the system refuses (a full disk, no permission, a folder of that name); `path` is as it was.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if _is_stream(path):
            _pour(path, write)
            return
        target = _target(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace_whole(target, write)
    except OSError as error:
        raise InputError(refusal(error, path)) from error


def _target(path: Path) -> Path:
    """Where a link leads, over however many others.

    Raises:
        OSError: If it leads to itself, on every version of Python.
    """
    try:
        return path.resolve() if path.is_symlink() else path
    except RuntimeError:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None


def _replace_whole(path: Path, write: Callable[[Path], None]) -> None:
    _sweep(path.parent)
    # The name is cut so that a file whose own name is as long as the system allows can still be written.
    prefix = f".{path.name[:40]}{_mark()}{os.getpid()}-"
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=path.suffix[:20])
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


def _is_stream(path: Path) -> bool:
    """Whether writing goes into something that is already there and isn't a file of its own: a device, a pipe."""
    if os.name != "nt" and path.is_absolute() and path.parts[1:2] in (("dev",), ("proc",)):
        return True
    return path.exists() and not path.is_file() and not path.is_dir()


def _pour(path: Path, write: Callable[[Path], None]) -> None:
    """Write to a device or pipe, by way of a file, since writers may seek."""
    with tempfile.TemporaryDirectory() as folder:
        complete = Path(folder) / f"whole{path.suffix}"
        write(complete)
        with complete.open("rb") as source, path.open("wb") as sink:
            shutil.copyfileobj(source, sink)


def _mark() -> str:
    """Marks the temporary files of this machine, of which alone it is known whether their process still runs."""
    return f".writing-{hashlib.sha256(platform.node().encode()).hexdigest()[:8]}-"


@functools.cache  # once per folder: a folder of a hundred thousand tiles is not listed for each of them
def _sweep(folder: Path) -> None:
    """Remove what processes of this machine that are gone left half written in a folder."""
    mark = _mark()
    for entry in os.scandir(folder):
        _, marked, rest = entry.name.partition(mark)
        pid = rest.partition("-")[0]
        if marked and pid.isdigit() and int(pid) != os.getpid() and not _runs(int(pid)):
            Path(entry.path).unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    if os.name == "nt":  # there, os.kill ends a process instead of asking after it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


# What the system's refusals mean to a user, and the way out.
_REFUSALS = {
    errno.ENOSPC: ("no space is left on the disk", "free some space, then give the same command again"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, then give the same command again"),
    errno.EFBIG: ("the file would be larger than is allowed here", "raise the limit (ulimit -f), or write elsewhere"),
    errno.EROFS: ("the disk is read-only", "name a place that can be written to"),
    errno.EACCES: ("permission is denied", "change its permissions, or name another place"),
    errno.EPERM: ("the operation is not permitted", "change its permissions, or name another place"),
    errno.EISDIR: ("a folder of that name is there", "name a file in it, or another name"),
    errno.ENOTDIR: ("there is a file where a folder is needed", "name another place, or move that file away"),
    errno.EEXIST: ("there is a file where a folder is needed", "name another place, or move that file away"),
    errno.ENAMETOOLONG: ("the name is longer than the system allows", "name a shorter one"),
    errno.ELOOP: ("this link leads to itself", "name another place, or remove the link"),
    errno.EMFILE: ("too many files are open", "raise the limit (ulimit -n), then give the same command again"),
    errno.ENFILE: ("too many files are open on this machine", "close other programs, then try again"),
    errno.EIO: ("the disk reported an error", "check the disk before anything else is written to it"),
    errno.ENOMEM: ("there is not enough memory", "close other programs, or ask for smaller batches or fewer workers"),
}


def refusal(error: OSError, path: Path | None = None) -> str:
    """One line for what the system refused: the path, the reason, what is kept, and what to do."""
    code = error.errno or _errno_in(str(error))
    where = path if path is not None else error.filename
    reason, remedy = _REFUSALS.get(code or 0, (error.strerror or str(error) or type(error).__name__, ""))
    problem = f"{where}: {reason}" if where is not None else reason
    return f"{problem}; what was finished before is kept{'; ' + remedy if remedy else ''}"


def _errno_in(text: str) -> int | None:
    """The system's error number in a library's words: HDF5 writes "errno = 28", Rust libraries "os error 28"."""
    match = re.search(r"(?:errno = |os error )(\d+)", text)
    return int(match[1]) if match else None


def check_writable(path: Path, *, folder: bool = False) -> None:
    """Refuse before the long work what would be refused after it: nothing is made that was not there.

    Args:
        path: the file or folder to write; missing folders above it may be made.
        folder: whether it is to be a folder, for which no file, device or pipe can stand.

    Raises:
        InputError: If neither it nor the nearest folder above it can be written to.
    """
    try:
        if folder and (_is_stream(path) or path.is_file()):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if _is_stream(path):
            return
        place = path if path.is_dir() else _target(path).parent
        while not place.is_dir():
            if place.exists():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            place = place.parent
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise InputError(refusal(error, path)) from error


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows has no handle on a folder to sync
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path | str, content: bytes | str) -> None:
    """Write `content` (text as UTF-8) to `path`, whole or not at all."""
    data = content.encode() if isinstance(content, str) else content
    write_with(Path(path), lambda temporary: _fill(temporary, data))


def _fill(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def write_json(path: Path, record: Mapping[str, object]) -> None:
    """Write a record as JSON with sorted keys; NaN becomes null, as JSON has none."""
    write_bytes(
        path, json.dumps(plain_values(record), indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
    )


def plain_values(value: Any) -> Any:
    """A record as JSON has it: mappings, lists, texts and numbers; NaN and infinities are null."""
    if isinstance(value, Mapping):
        return {str(key): plain_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_values(item) for item in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return plain_values(value.tolist())
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return str(value) if isinstance(value, Path) else value


def write_csv(path: Path | str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table: one header line, LF line ends, floats in their shortest exact form, None as an empty cell.

    Text that a spreadsheet would run as a formula gets a leading apostrophe, which `plain_cell` takes off again.
    """
    write_bytes(path, _csv_text(itertools.chain([columns], rows)))


def append_row(path: Path, columns: Sequence[str], row: Sequence[object]) -> None:
    """Add one line to a table, its header before it where the file is new, as write_csv would write them.

    By one write at the end of the file, and on the disk before this returns: two processes do not mix their lines, and
    what was killed has written a line or none.
    """
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        is_new = os.fstat(handle).st_size == 0
        os.write(handle, _csv_text([columns, row] if is_new else [row]).encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def _csv_text(rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    quoted = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        cells = [safe_cell(cell) for cell in row]
        # Python's writer leaves a carriage return unquoted, and a reader takes it for the end of the line.
        (quoted if any(isinstance(cell, str) and "\r" in cell for cell in cells) else writer).writerow(cells)
    return buffer.getvalue()


_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def safe_cell(cell: object) -> object:
    """A cell that no spreadsheet runs as a formula; numbers, also those kept as text, stay as they are.

    >>> safe_cell("=1+1"), safe_cell("-0.5"), safe_cell(-0.5), safe_cell(None)
    ("'=1+1", '-0.5', -0.5, '')

    Source: OWASP, CSV injection.
    """
    if cell is None:
        return ""
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def plain_cell(cell: str) -> str:
    """What a cell that `safe_cell` wrote was before.

    >>> plain_cell("'=1+1"), plain_cell("'quoted'")
    ('=1+1', "'quoted'")
    """
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def read_text(path: Path, *, what: str, largest: int | None = None) -> str:
    """The text of a UTF-8 file, with or without a byte order mark.

    Args:
        path: of the file.
        what: what it should be, for the message: "a JSON file".
        largest: bytes that it may have.

    Raises:
        InputError: If it is missing, no plain file (a pipe has no end), too large, not UTF-8, or the system refuses.
    """
    if not path.is_file():
        state = "is a folder" if path.is_dir() else "is no plain file" if path.exists() else "does not exist"
        raise InputError(f"{path} {state}; name {what}")
    if largest is not None and (size := path.stat().st_size) > largest:
        raise InputError(f"{path} has {size:,} bytes; {what} of at most {largest:,} was needed")
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(refusal(error, path)) from None
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise InputError(
            f"{path} is not UTF-8 (byte {byte:#04x} at {error.start}): it was cut off, is another kind of file, or was "
            f"saved in another encoding; save it as UTF-8"
        ) from None


def read_json(path: Path) -> dict[str, Any]:
    """The record in a JSON file.

    Raises:
        InputError: If the file is missing, not JSON, nested too deeply, or holds something else than a record.
    """
    text = read_text(path, what="an existing JSON file")
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(f"{path} is not JSON ({reason}); it was cut off or is another kind of file") from None
    if not isinstance(record, dict):
        raise InputError(f"{path} holds a {type(record).__name__}, not a record {{...}}")
    return record


def read_record(path: Path, schema: str) -> dict[str, Any]:
    """The record in a JSON file of ours.

    Args:
        path: of the file.
        schema: that it must state, such as "counterstain.bundle/2".

    Raises:
        InputError: If it is missing, damaged, or of another schema.
    """
    record = read_json(path)
    if record.get("schema") != schema:
        raise InputError(f"{path} is of schema {record.get('schema')}; this version reads {schema}")
    return record


def hash_bytes(content: bytes) -> str:
    """SHA-256 of the bytes, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_json(record: Mapping[str, object]) -> str:
    """SHA-256 of a record's canonical JSON: the same for the same values in whatever order."""
    return hash_bytes(json.dumps(plain_values(record), sort_keys=True, separators=(",", ":")).encode())


def read_sums(path: Path) -> dict[str, str]:
    """SHA-256 by file name, as a list such as SHA256SUMS has them; read strictly, byte for byte.

    Raises:
        InputError: If it is missing, or a line is not a hash, two blanks and the name of a file in that folder.
    """
    if not path.is_file():
        raise InputError(f"{path.parent} has no {path.name}; name the folder of a model or an export")
    *lines, tail = path.read_bytes().decode("utf-8", errors="replace").split("\n")
    rows = [(name, digest) for digest, _, name in (line.partition("  ") for line in lines)]
    bad = next((number for number, row in enumerate(rows, start=1) if not is_hash_row(*row)), None)
    if bad is not None or tail or not rows:
        where = f", line {bad}" if bad is not None else ""
        raise InputError(f"{path}{where} is not a hash with a file name; copy the whole folder again")
    return dict(rows)


def is_hash_row(name: str, digest: object) -> bool:
    """Whether this is a SHA-256 and a name below the folder: a list must not make us read elsewhere."""
    inside = bool(name) and not name.startswith(("/", "\\")) and ".." not in Path(name).parts
    return inside and isinstance(digest, str) and len(digest) == 64 and not set(digest) - set("0123456789abcdef")
