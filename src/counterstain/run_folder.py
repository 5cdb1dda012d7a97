"""Where a study's run keeps what: results on top, records for programs in one folder below them."""

import functools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from counterstain.errors import InputError
from counterstain.files import hash_file, is_hash_row, read_json

__all__ = ["LOG", "MANIFEST", "RECORDS", "append_log", "as_written", "listed_hashes", "optional_record", "record_path"]

RECORDS = "records"
# Written last: where it stands, the run is finished.
MANIFEST = "run.json"
LOG = "run.log"
DEEPEST = 6  # folders between a file of a run and the run: arms/<arm>/seed-0/fold-0-0/<file>


def record_path(run: Path, name: str) -> Path:
    """Where a run keeps the record of this file name.

    >>> record_path(Path("runs/demo"), "scores.json").as_posix()
    'runs/demo/records/scores.json'
    """
    return run / RECORDS / name


def optional_record(run: Path, name: str) -> dict[str, Any]:
    """The JSON record of this file name, such as comparison.json; {} where the run has none.

    Raises:
        InputError: If it is damaged, or a finished run lists it and it has changed or is missing.
    """
    path = as_written(record_path(run, name))
    return read_json(path) if path.is_file() else {}


def listed_hashes(run: Path) -> Mapping[str, str]:
    """SHA-256 by the name of a file within the run, as run.json of a finished run lists them.

    Raises:
        InputError: If there is no such list, or it was changed.
    """
    path = record_path(run, MANIFEST)
    try:
        state = path.stat()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); name the folder of a finished run") from None
    return _listed(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=32)  # a page asks for every record that it shows
def _listed(path: Path, changed: int, size: int) -> Mapping[str, str]:
    record = read_json(path)
    files = record.get("files")
    if not isinstance(files, dict) or not all(is_hash_row(name, digest) for name, digest in files.items()):
        raise InputError(
            f"{path} does not list files with hashes: it was changed after it was written; remove it and run the study "
            "again: what is whole stays as it is"
        )
    return dict(files)


def as_written(path: Path) -> Path:
    """The path, where it is not a finished run's, or still the file that the run wrote.

    Raises:
        InputError: If the run lists it, and it has changed or is missing.
    """
    absolute = path.absolute()
    above = list(absolute.parents)[:DEEPEST]
    depth = next((k for k, folder in enumerate(above) if record_path(folder, MANIFEST).is_file()), None)
    if depth is None:
        return path
    run, run_as_named = above[depth], [*path.parents, *above[len(path.parents) :]][depth]
    expected = listed_hashes(run).get(absolute.relative_to(run).as_posix())
    if expected is None or (path.is_file() and hash_file(path) == expected):
        return path
    state = "has changed since the run was finished" if path.exists() else "is missing from a finished run"
    raise InputError(
        f"{path} {state}; put back the file that was written, or remove {record_path(run_as_named, MANIFEST)} and run "
        "the study again to rewrite it (a table of your own belongs outside of the run)"
    )


def append_log(run: Path, line: str) -> None:
    """Add a line with the time (UTC) to the run's log; one write, so that lines of several processes do not mix."""
    with (run / LOG).open("a", encoding="utf-8") as stream:
        stream.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {line}\n")
