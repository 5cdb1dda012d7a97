"""The files of a run over slides: where they lie, which are done, and how each is written and read."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from platform import python_version

from counterstain.engine import Task, attempt
from counterstain.errors import InputError
from counterstain.files import hash_file, hash_json, read_json, read_record, write_json
from counterstain.slides.guarded import require_readers
from counterstain.slides.slide_files import find_slides, slide_name
from counterstain.version import __version__

__all__ = [
    "RECORD",
    "RUN",
    "UNFINISHED",
    "Paths",
    "SlideJob",
    "agree",
    "find_jobs",
    "finished",
    "library_versions",
    "paths_of",
    "write_metadata",
    "write_record",
]

UNFINISHED = "unfinished"


@dataclass(frozen=True)
class Paths:
    """The files of one slide within the output folder."""

    mask: Path
    patches: Path
    table: Path
    geojson: Path
    heatmap: Path
    overlay: Path
    record: Path
    partial: Path

    def results(self) -> tuple[Path, ...]:
        """What is made of a slide, its record left out."""
        return self.mask, self.patches, self.table, self.geojson, self.heatmap, self.overlay


def paths_of(out: Path, slide: str, *, compress: bool) -> Paths:
    """Where the files of a slide lie; its record is written last, so that its presence means that they are whole."""
    return Paths(
        mask=out / "masks" / f"{slide}.png",
        patches=out / "patches" / f"{slide}.h5",
        table=out / "model-outputs-csv" / f"{slide}.csv",
        geojson=out / "model-outputs-geojson" / f"{slide}.geojson{'.gz' if compress else ''}",
        heatmap=out / "heatmaps" / f"{slide}.ome.tif",
        overlay=out / "heatmaps" / f"{slide}.png",
        record=out / "slide-records" / f"{slide}.json",
        partial=out / UNFINISHED / f"{slide}.logits",
    )


RECORD = "counterstain.slide/1"
RUN = "counterstain.slides-run/1"
_STAMP_BYTES = 1 << 20
_STAMP_S = 10  # that a slide may take for them, where there is a time limit


@dataclass(frozen=True)
class SlideJob:
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

    def absolute(self) -> "SlideJob":
        """The same with absolute paths: another process may have started in another folder."""
        places = {field.name: getattr(self.paths, field.name).absolute() for field in fields(Paths)}
        return replace(self, path=self.path.absolute(), paths=Paths(**places))


def find_jobs(
    slides: Sequence[Path | str],
    out: Path,
    settings: Mapping[str, object],
    *,
    compress: bool,
    recursive: bool | None = False,
    time_limit_s: float | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[SlideJob]:
    """A job for each slide, in the order given; of a folder, for each slide in it, in order of name.

    Args:
        slides: files, and folders of them.
        out: folder of the results.
        settings: all that results depend on beside the slide.
        compress: whether GeoJSON is compressed.
        recursive, say: as in `find_slides`.
        time_limit_s: of a slide; one that does not answer for ten seconds is then left to whoever reads it.

    Raises:
        InputError: If there is no slide at a path, or two slides would write the same files.
    """
    require_readers()
    files = find_slides([Path(place) for place in slides], recursive=recursive, say=say)
    if not files:
        raise InputError("no slides were given; name files, or a folder of them")
    jobs = []
    for path in files:
        name = slide_name(path)
        limit = None if time_limit_s is None else min(time_limit_s, _STAMP_S)
        stamp = attempt(Task(name, _stamp, path, limit)).result
        key = hash_json({"settings": settings, "slide": name, "stamp": stamp})
        jobs.append(SlideJob(path, name, paths_of(out, name, compress=compress), key))
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


def agree(path: Path, settings: Mapping[str, object]) -> None:
    """Write down what the results of a folder are made with, or check that it is what was written before.

    Raises:
        InputError: If the folder has results made with something else, and what differs.
    """
    settings = json.loads(json.dumps(settings))  # as they come back from the file: lists, no tuples
    if not path.is_file():
        write_json(path, {"schema": RUN, "settings": settings})
        return
    agreed = read_record(path, RUN).get("settings")
    if not isinstance(agreed, dict):
        raise InputError(f"{path} has no settings: it was changed after it was written; use another folder")
    different = [name for name in settings if agreed.get(name) != settings[name]]
    if different:
        name = different[0]
        raise InputError(
            f"{path.parent} has results with {name} {agreed.get(name)}, and {settings[name]} is asked for; "
            "take another --out, or the same settings"
        )


def finished(job: SlideJob) -> dict[str, object] | None:
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


def write_record(job: SlideJob, record: Mapping[str, object]) -> None:
    """Write a slide's record, last of its files: its presence means that the others are whole."""
    folder = job.paths.record.parent.parent
    files = {path.relative_to(folder).as_posix(): hash_file(path) for path in job.paths.results() if path.is_file()}
    write_json(job.paths.record, {"schema": RECORD, "key": job.key, "slide": job.name, **record, "files": files})


METADATA = "counterstain.slides-run-metadata/1"
LIBRARIES = ("torch", "numpy", "openslide-python", "openslide-bin", "tifffile", "imagecodecs", "opencv-python-headless")


def write_metadata(
    out: Path,
    *,
    began: datetime,
    bundle: Path,
    settings: Mapping[str, object],
    slides: Mapping[str, str],
    records: Mapping[str, Mapping[str, object]],
    failures: Sequence[tuple[str, str, str]],
    seconds: Mapping[str, float],
) -> Path:
    """Write run_metadata_<time>.json: the one file that differs each time; returns its path."""
    path = out / f"run_metadata_{began:%Y%m%dT%H%M%S%fZ}.json"
    aside = {name for name, _, _ in failures}
    states = {
        name: {
            "path": file,
            "state": "skipped" if name in aside else "read" if name in seconds else "read before",
            "tiles": records[name]["tiles"] if name in records else None,
            "seconds": seconds.get(name),
        }
        for name, file in slides.items()
    }
    write_json(
        path,
        {
            "schema": METADATA,
            "counterstain": __version__,
            "python": python_version(),
            "libraries": library_versions(),
            "command": sys.argv,
            "began": began.isoformat(),
            "ended": datetime.now(UTC).isoformat(),
            "bundle": str(bundle),
            "bundle_sha256sums": hash_file(bundle / "SHA256SUMS"),
            "settings": dict(settings),
            "slides": states,
            "failures": [list(row) for row in failures],
        },
    )
    return path


def library_versions() -> dict[str, str | None]:
    """Version of each library that results depend on; None where it is not installed."""
    return {name: _version(name) for name in LIBRARIES}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
