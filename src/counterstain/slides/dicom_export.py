"""Results of `slides run` on DICOM slides as DICOM files, one folder per slide, and sent to a server."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from counterstain.errors import InputError, suggest
from counterstain.evaluation.calibration import Calibration, calibrate, read_calibration
from counterstain.files import hash_bytes, hash_file, read_json, read_record, write_with
from counterstain.learning.bundle import SUMS, Bundle, read_bundle
from counterstain.records import short_repr
from counterstain.slides.dicom_results import (
    ClassCode,
    ReadBy,
    class_maps,
    class_regions,
    class_report,
    read_source,
    uid_of,
)
from counterstain.slides.dicomweb import send_instances
from counterstain.slides.outputs import RECORD, RUN, paths_of
from counterstain.slides.slide_files import slide_name
from counterstain.slides.tile_files import read_tile_predictions
from counterstain.slides.tile_predictions import TilePredictions

__all__ = ["DicomResults", "read_codes", "write_dicom_results"]


@dataclass(frozen=True)
class DicomResults:
    """What was written, and sent.

    out: folder
    files: heat map, regions and report of each slide, by its name
    failures: (slide, reason) of each that was skipped
    sent_to: address that all files were stored at; "" where none was named
    """

    out: Path
    files: Mapping[str, tuple[Path, ...]]
    failures: tuple[tuple[str, str], ...]
    sent_to: str = ""

    def __fspath__(self) -> str:
        return str(self.out)

    def __repr__(self) -> str:
        return short_repr(self)


def read_codes(codes: Mapping[str, str], classes: Sequence[str]) -> dict[str, ClassCode]:
    """Codes of classes, given as VALUE^SCHEME^MEANING.

    >>> read_codes({"tumour": "108369006^SCT^Neoplasm"}, ["benign", "tumour"])
    {'tumour': ClassCode(value='108369006', scheme='SCT', meaning='Neoplasm')}

    Raises:
        InputError: If a class is unknown, or a code has not three parts that fit.
    """
    by_class = {}
    for name, code in codes.items():
        if name not in classes:
            raise InputError(
                f"a code is given for class '{name}', which the model does not have{suggest(name, classes)}"
            )
        parts = [part.strip() for part in code.split("^")]
        if len(parts) != 3 or not all(parts) or len(parts[1]) > 16 or len(parts[2]) > 64:
            raise InputError(f"the code of {name} is '{code}'; give VALUE^SCHEME^MEANING, as 108369006^SCT^Neoplasm")
        by_class[name] = ClassCode(*parts)
    return by_class


def write_dicom_results(
    bundle_folder: Path,
    slides: Sequence[Path],
    maps: Path,
    out: Path,
    *,
    codes: Mapping[str, str] | None = None,
    algorithm: str | None = None,
    send: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> DicomResults:
    """Write the results of each slide as DICOM files into a folder of its name, and send them.

    They are heatmap.dcm (of more than two classes heatmap-1.dcm …), regions.dcm and report.dcm.
    The same results make the same files, with the same UIDs: what is sent again is the same instance.

    Args:
        bundle_folder: the model that read the slides.
        slides: finest levels of DICOM slides.
        maps: folder that `slides run` wrote.
        out: folder for the files.
        codes: {class: VALUE^SCHEME^MEANING}; a class without one gets a private code.
        algorithm: its name, which every object states; by default the network's.
        send: address of a DICOMweb server.
        say: told what was skipped, and sent.

    Raises:
        InputError: If `maps` is no such folder or of another model, or the server refuses.
    """
    bundle = read_bundle(bundle_folder)
    class_codes = read_codes(codes or {}, bundle.classes)
    settings = read_record(maps / "slides_run.json", RUN)["settings"]
    sha256 = hash_file(bundle_folder / SUMS)
    if settings["model"] != sha256:
        raise InputError(f"{maps} was made with another model than {bundle_folder}; name the one that made it")
    calibration = read_calibration(bundle_folder) if settings["calibrated"] else None
    pooling, of_slides = _pooling(maps)
    files: dict[str, tuple[Path, ...]] = {}
    failures = []
    for path in slides:
        name = slide_name(path)
        try:
            table, record, when = _read_results(maps, name, bundle, calibration, compress=settings["compress"])
            source = read_source(path)
            _check_size(source, record, path, maps)
        except InputError as error:
            failures.append((name, str(error)))
            say(f"{name} is skipped: {error}")
            continue
        by = ReadBy(
            name=algorithm or bundle.network,
            version=sha256[:12],
            sha256=sha256,
            pooling=pooling,
            when=when,
            codes=class_codes,
        )
        prob, called = _of_slide(record["pooled"][pooling], bundle, of_slides)
        files[name] = _write(source, table, prob, called, by, out / name)
        if send is not None:
            send_instances(send, files[name])
            say(f"{name}: sent")
    return DicomResults(out, files, tuple(failures), send or "")


def _pooling(maps: Path) -> tuple[str, Calibration | None]:
    """How slides are scored: as `slides run` chose it where it was given a truth, else the mean of their tiles."""
    path = maps / "slide-scores" / "pooling.json"
    if not path.is_file():
        return "mean", None
    record = read_json(path)
    fitted = record["calibration"]
    return record["pooling"], None if fitted is None else Calibration.from_record(fitted)


def _read_results(
    maps: Path, name: str, bundle: Bundle, calibration: Calibration | None, *, compress: bool
) -> tuple[TilePredictions, dict[str, Any], datetime]:
    """Tiles, record, and when the slide was read."""
    paths = paths_of(maps, name, compress=compress)
    if not paths.record.is_file():
        raise InputError(f"{maps} has no results of {name}; read it first with slides run")
    record = read_record(paths.record, RECORD)
    table = paths.table.relative_to(maps).as_posix()
    if not paths.table.is_file() or hash_file(paths.table) != record["files"].get(table):
        raise InputError(f"{paths.table} is not what was written; read the slide again with slides run")
    tiles = read_tile_predictions(
        paths.table, classes=bundle.classes, extent=record["extent"], mpp=record["mpp"],
        threshold=calibration.threshold if calibration else None,
    )  # fmt: skip
    return tiles, record, datetime.fromtimestamp(int(paths.record.stat().st_mtime))


def _check_size(source: Any, record: Mapping[str, Any], path: Path, maps: Path) -> None:
    size_px = [int(source.TotalPixelMatrixColumns), int(source.TotalPixelMatrixRows)]
    if size_px != list(record["size_px"]):
        raise InputError(
            f"{path} has {size_px} px, and what {maps} has of this name {record['size_px']}; name that slide"
        )


def _of_slide(pooled: Sequence[float], bundle: Bundle, fitted: Calibration | None) -> tuple[list[float], int]:
    """The slide's probabilities and its class: by the threshold frozen with the pooling, else the most probable."""
    prob = np.array([pooled], np.float64)
    if fitted is not None:
        prob = calibrate(fitted, prob, bundle.classes)
        if fitted.threshold is not None:
            return prob[0].tolist(), int(prob[0, 1] >= fitted.threshold)
    return prob[0].tolist(), int(prob[0].argmax())


def _write(
    source: Any, table: TilePredictions, prob: Sequence[float], called: int, by: ReadBy, folder: Path
) -> tuple[Path, ...]:
    """The files of one slide. Their UIDs stand for all that is in them."""
    content = (
        source.SOPInstanceUID,
        by,
        table.threshold,
        hash_bytes(table.corner.tobytes() + table.prob.tobytes()),
        prob,
    )
    uids = {kind: uid_of(kind, *content) for kind in ("heatmap", "regions", "report")}
    heat = class_maps(source, table, by, uids["heatmap"])
    datasets = {
        **{f"heatmap{f'-{number}' * (len(heat) > 1)}": class_map for number, class_map in enumerate(heat, start=1)},
        "regions": class_regions(source, table, by, uids["regions"]),
        "report": class_report(source, table.classes, prob, called, by, uids["report"]),
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = tuple(folder / f"{kind}.dcm" for kind in datasets)
    for path, data in zip(paths, datasets.values(), strict=True):
        write_with(path, partial(data.save_as, enforce_file_format=True))
    return paths
