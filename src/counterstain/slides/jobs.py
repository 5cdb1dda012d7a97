"""Which slides are to be read, what their results depend on, and whether they are there already."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterstain.errors import InputError
from counterstain.files import hash_file, hash_json, read_json, read_record, write_json
from counterstain.slides.guarded import require_readers
from counterstain.slides.outputs import Paths, paths_of
from counterstain.slides.slide_files import find_slides, slide_name

__all__ = ["RECORD", "RUN", "Job", "agree", "find_jobs", "finished", "write_record"]

RECORD = "counterstain.slide/1"
RUN = "counterstain.slides-run/1"
_STAMP_BYTES = 1 << 20


@dataclass(frozen=True)
class Job:
    """One slide to be read.

    path:  its file
    name:  what its files are called
    paths: of its files
    key:   hash of all that its results depend on
    """

    path: Path
    name: str
    paths: Paths
    key: str


def find_jobs(
    slides: Sequence[Path | str],
    out: Path,
    settings: Mapping[str, Any],
    *,
    compress: bool,
    recursive: bool | None = False,
    say: Callable[[str], None] = lambda line: None,
) -> list[Job]:
    """A job for each slide, in the order given; of a folder, for each slide in it, in order of name.

    Args:
        slides: files, and folders of them.
        out: folder of the results.
        settings: all that results depend on beside the slide.
        compress: whether GeoJSON is compressed.
        recursive, say: as in `find_slides`.

    Raises:
        InputError: If there is no slide at a path, or two slides would write the same files.
    """
    require_readers()
    found = find_slides([Path(place) for place in slides], recursive=recursive, say=say)
    if not found:
        raise InputError("no slides were given; name files, or a folder of them")
    jobs = []
    for path in found:
        name = slide_name(path)
        key = hash_json({"settings": settings, "slide": name, "stamp": _stamp(path)})
        jobs.append(Job(path, name, paths_of(out, name, compress=compress), key))
    return jobs


def _stamp(path: Path) -> str:
    """What tells a slide from its next version: its size, and the hash of its first and last MiB."""
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            content = stream.read(_STAMP_BYTES)
            stream.seek(max(0, size - _STAMP_BYTES))
            return f"{size} {hashlib.sha256(content + stream.read()).hexdigest()}"
    except OSError as error:  # told where the slide is opened
        return f"unreadable: {error.strerror}"


def agree(path: Path, settings: Mapping[str, Any]) -> None:
    """Write down what the results of a folder are made with, or check that it is what was written before.

    Raises:
        InputError: If the folder has results made with something else, and what differs.
    """
    settings = json.loads(json.dumps(settings))  # as they come back from the file: lists, no tuples
    if not path.is_file():
        write_json(path, {"schema": RUN, "settings": settings})
        return
    known = read_record(path, RUN).get("settings")
    if not isinstance(known, dict):
        raise InputError(f"{path} has no settings: it was changed after it was written; take another folder")
    different = [name for name in settings if known.get(name) != settings[name]]
    if different:
        name = different[0]
        raise InputError(
            f"{path.parent} has results with {name} {known.get(name)}, and {settings[name]} is asked for; "
            "take another --out, or the same settings"
        )


def finished(job: Job) -> dict[str, Any] | None:
    """The record of a slide whose results are there and whole; None where it is to be read.

    Raises:
        InputError: If the folder has results of another slide of this name.
    """
    if not job.paths.record.is_file():
        return None
    record = read_json(job.paths.record)
    if record.get("schema") != RECORD or record.get("key") != job.key:
        raise InputError(
            f"{job.paths.record} is of another slide called {job.name}, or of this one before it was changed; take "
            "another --out, or remove that record to have the slide read again"
        )
    folder = job.paths.record.parent.parent
    for name, expected in record["files"].items():
        if not (folder / name).is_file() or hash_file(folder / name) != expected:
            return None
    return record


def write_record(job: Job, record: Mapping[str, Any]) -> None:
    """Write a slide's record, last of its files: its presence means that the others are whole."""
    folder = job.paths.record.parent.parent
    files = {path.relative_to(folder).as_posix(): hash_file(path) for path in job.paths.results() if path.is_file()}
    write_json(job.paths.record, {"schema": RECORD, "key": job.key, "slide": job.name, **record, "files": files})
