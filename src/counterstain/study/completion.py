"""What was done already: a stage's record says what went in and what came out, and is trusted only while both hold."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from counterstain.errors import InputError
from counterstain.files import hash_file, hash_json, read_json, write_json
from counterstain.run_folder import record_path

__all__ = ["STAGES", "file_hashes", "is_done", "lock", "mark_done"]

STAGES = "stages"


def file_hashes(run: Path, files: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of each file, by its path within the run."""
    return {path.relative_to(run).as_posix(): hash_file(path) for path in sorted(files)}


def is_done(run: Path, stage: str, inputs: Mapping[str, object]) -> bool:
    """Whether this stage ended with these inputs, and its outputs are still the files it wrote.

    A stage whose own record is damaged is done again.
    """
    path = record_path(run, f"{STAGES}/{stage}.json")
    try:
        record = read_json(path)
    except InputError:  # there is none, or it is damaged
        return False
    outputs = record.get("outputs")
    return (
        isinstance(outputs, dict)
        and record.get("inputs") == hash_json(inputs)
        and all((run / name).is_file() and hash_file(run / name) == digest for name, digest in outputs.items())
    )


def mark_done(run: Path, stage: str, inputs: Mapping[str, object], outputs: Iterable[Path]) -> None:
    """Record that a stage ended; written last, so that a stage stopped half-way is done again."""
    record = {"schema": "counterstain.stage/1", "inputs": hash_json(inputs), "outputs": file_hashes(run, outputs)}
    write_json(record_path(run, f"{STAGES}/{stage}.json"), record)


if sys.platform == "win32":
    import msvcrt

    def _take(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _take(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def lock(run: Path) -> Iterator[None]:
    """Hold the run folder for this process; the system lets go of it when the process ends, however it ends.

    Raises:
        InputError: If another process holds it.
    """
    run.mkdir(parents=True, exist_ok=True)
    handle = os.open(run / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _take(handle)
    except OSError:
        os.close(handle)
        raise InputError(
            f"{run} is being written by another process; wait for it, or give this run another name"
        ) from None
    try:
        yield
    finally:
        os.close(handle)
