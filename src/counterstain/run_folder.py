"""Where a study's run keeps what: results on top, records for programs in one folder below them."""

import time
from pathlib import Path
from typing import Any

from counterstain.files import read_json

__all__ = ["LOG", "MANIFEST", "RECORDS", "append_log", "optional_record", "record_path"]

RECORDS = "records"
# Written last: where it stands, the run is finished.
MANIFEST = "run.json"
LOG = "run.log"


def record_path(run: Path, name: str) -> Path:
    """Where a run keeps the record of this file name.

    >>> record_path(Path("runs/demo"), "scores.json").as_posix()
    'runs/demo/records/scores.json'
    """
    return run / RECORDS / name


def optional_record(run: Path, name: str) -> dict[str, Any]:
    """The JSON record of this file name, such as comparison.json; {} where the run has none.

    Raises:
        InputError: If the file is there and damaged.
    """
    path = record_path(run, name)
    return read_json(path) if path.is_file() else {}


def append_log(run: Path, line: str) -> None:
    """Add a line with the time (UTC) to the run's log; one write, so that lines of several processes do not mix."""
    with (run / LOG).open("a", encoding="utf-8") as stream:
        stream.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {line}\n")
