"""The files of a run over slides: where they lie, which are done, and how each is written and read."""

import csv
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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.evaluation.calibration import apply_calibration
from counterstain.evaluation.predictions import Predictions, pool_patients
from counterstain.evaluation.predictions_csv import write_predictions
from counterstain.files import hash_file, hash_json, read_json, read_record, write_csv, write_json, write_with
from counterstain.slides.guarded import require_readers
from counterstain.slides.slide_files import find_slides, slide_name
from counterstain.slides.slide_scores import POOLINGS, Truth, choose_pooling, slide_table
from counterstain.slides.tile_predictions import FLAGS, TilePredictions
from counterstain.slides.tiling import Tiling
from counterstain.tables import read_table
from counterstain.version import __version__

__all__ = [
    "RECORD",
    "RUN",
    "UNFINISHED",
    "Paths",
    "Planned",
    "SlideJob",
    "agree",
    "find_jobs",
    "finished",
    "library_versions",
    "paths_of",
    "read_patches",
    "read_tile_csv",
    "read_tile_flags",
    "write_metadata",
    "write_patches",
    "write_record",
    "write_scores",
    "write_tile_csv",
]

PATCHES = "counterstain.patches/1"
UNFINISHED = "unfinished"
_PLACE = ("minx", "miny", "width", "height")
_CHUNK = 8192  # rows turned into text at a time


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


# ----------------------------------------------------------------------------------------------------- the tiles' table


def write_tile_csv(table: TilePredictions, path: Path) -> None:
    """Write minx,miny,width,height (level-0 px of the whole slide) and prob_<class> of each tile, then its flags: 0, 1.

    Numbers are in their shortest exact form: equal tables make equal bytes, and reading gives the same numbers.
    """
    write_with(path, lambda temporary: _fill(temporary, table))


def _fill(path: Path, table: TilePredictions) -> None:
    flags = np.stack([*table.flags.values(), np.zeros(len(table), bool)], axis=1).astype(int)[:, :-1]
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*_PLACE, *(f"prob_{name}" for name in table.classes), *table.flags])
        for start in range(0, len(table), _CHUNK):
            rows = slice(start, start + _CHUNK)
            parts = (part[rows].tolist() for part in (table.corner, table.prob, flags))
            for corner, prob, flag in zip(*parts, strict=True):
                writer.writerow([*corner, *table.size, *prob, *flag])


def read_tile_csv(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """(N, 2) corners, (N, 2) sizes in level-0 px, and (N,) probabilities of each class, of such a table.

    Raises:
        InputError: If it is no such table.
    """
    cells = _read_tiles(path)
    corner, size = (np.stack([cells[name] for name in names], axis=1) for names in (_PLACE[:2], _PLACE[2:]))
    prob = {name.removeprefix("prob_"): column for name, column in cells.items() if name.startswith("prob_")}
    return corner.astype(np.int64), size.astype(np.int64), prob


def read_tile_flags(path: Path) -> dict[str, NDArray[np.bool_]]:
    """(N,) flags of the tiles of such a table, by the names of tile_predictions.FLAGS; those that it has.

    Raises:
        InputError: If it is no such table.
    """
    cells = _read_tiles(path)
    return {name: cells[name] != 0 for name in FLAGS if name in cells}


def _read_tiles(path: Path) -> dict[str, NDArray[np.float64]]:
    """The columns of such a table as numbers."""
    table = read_table(path, kind="table of tiles")
    if table.header[:4] != _PLACE:
        found = ", ".join(table.header)
        raise InputError(f"{path} is not a table of tiles (its columns are {found}); name one that slides run wrote")
    cells = {}
    for name in table.header:
        cells[name], odd = table.numbers(name)
        if odd.any() or np.isnan(cells[name]).any():
            row = int(np.flatnonzero(odd | np.isnan(cells[name]))[0])
            raise InputError(
                f"{path} is not a table of tiles (line {table.line(row)} has {name} '{table.cell(name, row)}'); name "
                "one that slides run wrote"
            )
    return cells


# ------------------------------------------------------------------------------------------------- which tiles are kept


@dataclass(frozen=True, eq=False)
class Planned:
    """Which tiles of a slide are to be read, as its patches file says.

    key:    what the plan depends on
    cells:  (N, 2) column and row in the whole grid
    coords: (N, 2) top left corners, level-0 px
    """

    key: str
    cells: NDArray[np.int64]
    coords: NDArray[np.int64]


def write_patches(tiling: Tiling, path: Path, *, key: str, more: Mapping[str, object] | None = None) -> None:
    """Write the kept tiles as HDF5: `coords` (N, 2) level-0 px with the tiles' size and scale as its attributes.

    WSInfer reads the file as its own; the attributes beyond its three are ours.

    Args:
        tiling: of the slide.
        path: of the file.
        key: what the plan depends on.
        more: further attributes.
    """
    attributes = {
        "schema": PATCHES,
        "key": key,
        "name": path.stem,
        # As WSInfer has them: the side of a tile in level-0 px, whole, and that it is counted on level 0.
        "patch_size": max(1, round(tiling.tile_level0_px[0])),
        "patch_level": 0,
        "tile_px": tiling.tile_px,
        "tile_level0_px": np.array(tiling.tile_level0_px, np.float64),
        "patch_spacing_um_px": tiling.mpp,
        "mpp": np.array(tiling.actual_mpp, np.float64),
        "overlap": tiling.overlap,
        "level": tiling.level,
        **(more or {}),
    }
    write_with(path, lambda temporary: _fill_patches(temporary, tiling, attributes))


def _fill_patches(path: Path, tiling: Tiling, attributes: Mapping[str, Any]) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        coords = file.create_dataset("coords", data=tiling.coords, dtype="<i8", track_times=False)
        file.create_dataset("cells", data=tiling.cells, dtype="<i8", track_times=False)
        for name in sorted(attributes):
            coords.attrs[name] = attributes[name]


def read_patches(path: Path) -> Planned | None:
    """The plan in a patches file; None where there is none, or it is none of ours."""
    import h5py

    if not path.is_file():
        return None
    try:
        with h5py.File(path, "r") as file:
            coords = file["coords"]
            if coords.attrs.get("schema") != PATCHES:
                return None
            return Planned(str(coords.attrs["key"]), file["cells"][:], coords[:])
    except (OSError, KeyError):
        return None


RECORD = "counterstain.slide/1"
RUN = "counterstain.slides-run/1"
_STAMP_BYTES = 1 << 20


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
        places = {one.name: getattr(self.paths, one.name).absolute() for one in fields(Paths)}
        return replace(self, path=self.path.absolute(), paths=Paths(**places))


def find_jobs(
    slides: Sequence[Path | str],
    out: Path,
    settings: Mapping[str, object],
    *,
    compress: bool,
    recursive: bool | None = False,
    say: Callable[[str], None] = lambda line: None,
) -> list[SlideJob]:
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
    known = read_record(path, RUN).get("settings")
    if not isinstance(known, dict):
        raise InputError(f"{path} has no settings: it was changed after it was written; use another folder")
    different = [name for name in settings if known.get(name) != settings[name]]
    if different:
        name = different[0]
        raise InputError(
            f"{path.parent} has results with {name} {known.get(name)}, and {settings[name]} is asked for; "
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
SCORES = "slide-scores"
LIBRARIES = ("torch", "numpy", "openslide-python", "openslide-bin", "tifffile", "imagecodecs", "opencv-python-headless")


def write_scores(
    out: Path,
    records: Mapping[str, Mapping[str, Any]],
    classes: Sequence[str],
    truth: Truth | None,
    pooling: str,
) -> list[str]:
    """Write the folder slide-scores; returns what a reader should be told.

    slides.csv has every slide under every pooling, as pooled. With a truth, pooling.json says which was taken and its
    calibration, and for each part predictions.csv (of another part than test: predictions_<part>.csv) has one row per
    slide and patients.csv one row per patient, both in the one form that `evaluate` and `compare` read.

    Args:
        out: folder of the run.
        records: of the finished slides, by name.
        classes: of the model.
        truth: labels, patients and parts.
        pooling: "auto" or a name of POOLINGS.
    """
    pooled = {name: record["pooled"] for name, record in records.items()}
    rows = [(name, records[name]["tiles"], way, *pooled[name][way]) for name in sorted(records) for way in POOLINGS]
    columns = ("slide_id", "tiles", "pooling", *(f"prob_{name}" for name in classes))
    write_csv(out / SCORES / "slides.csv", columns, rows)
    if truth is None or not records:
        return []
    chosen = choose_pooling(pooled, truth, classes, asked=pooling)
    write_json(out / SCORES / "pooling.json", chosen.record())
    unknown = sorted(set(records) - set(truth.part))
    notes = [f"slides are scored by {chosen.pooling}", *chosen.notes]
    if unknown:
        notes.append(
            f"{len(unknown)} slides are not in the table of truth ({unknown[0]}, …) and in no prediction table"
        )
    for part in sorted({part for part in truth.part.values() if part}):
        table = slide_table(pooled, truth, classes, pooling=chosen.pooling, part=part)
        if table is None:
            continue
        if chosen.calibration is not None:
            table = apply_calibration(chosen.calibration, table)
        suffix = "" if part == "test" else f"_{part}"
        write_predictions(table, out / SCORES / f"predictions{suffix}.csv")
        notes += _write_patients(table, out / SCORES / f"patients{suffix}.csv")
    return notes


def _write_patients(table: Predictions, path: Path) -> list[str]:
    """One row per patient: the mean over its slides; what could not be pooled is told."""
    try:
        pooled = pool_patients(table)
    except InputError:
        return [f"every patient has slides of several classes: there is no {path.name}"]
    write_predictions(pooled, path)
    return [note for note in pooled.notes if note not in table.notes]


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
            "state": "set aside" if name in aside else "read" if name in seconds else "read before",
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
