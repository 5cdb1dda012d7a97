"""A trained model handed on: one folder for every runtime, proven to answer alike, with all that must be known."""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from counterstain.errors import GateError, InputError, suggest
from counterstain.export.graphs import (
    INT8,
    ONNX,
    OPENVINO,
    TORCHSCRIPT,
    Calibrated,
    Run,
    SlideGraph,
    TileGraph,
    check_packages,
    open_onnx,
    open_openvino,
    write_int8,
    write_onnx,
    write_openvino,
    write_torchscript,
)
from counterstain.export.model_card import LICENCE, is_unlisted, licence_text, write_card
from counterstain.export.parity import TOLERANCE, check_parity, fixed_tiles
from counterstain.export.wsinfer import CONFIG, check_wsinfer, open_wsinfer, wsinfer_config
from counterstain.files import check_writable, hash_file, read_json, read_record, write_bytes, write_json
from counterstain.learning.bundle import (
    CALIBRATION,
    CARD,
    COMPANIONS,
    RECORD,
    SUMS,
    WEIGHTS,
    Bundle,
    load_network,
    read_bundle,
    read_sums,
)
from counterstain.learning.mil_networks import is_bag_network
from counterstain.learning.ood_statistics import STATISTICS, OodStatistics, write_ood_statistics
from counterstain.learning.runtimes import softmax, torch_runtime
from counterstain.records import Json
from counterstain.signatures import SUFFIX
from counterstain.version import __version__

__all__ = ["EXPORT", "FORMATS", "ExportContent", "check_export", "export_model", "possible_formats", "read_export"]

SCHEMA = "counterstain.export/1"
EXPORT = "export.json"
FORMATS = ("wsinfer", "onnx", "openvino")
_FILES = {
    "wsinfer": (CONFIG, TORCHSCRIPT),
    "onnx": (ONNX,),
    "openvino": (OPENVINO, OPENVINO.replace(".xml", ".bin")),
    "int8": (INT8, INT8.replace(".xml", ".bin")),
}

Tiles = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class ExportContent:
    """What is exported beside the bundle itself, and what is known of the model beyond it.

    formats: of FORMATS.
    mpp: µm/px of the tiles, where the bundle does not know it.
    calibration: the record of the bundle's calibration.json, None for none; clip: of probabilities, when it was fitted.
    calibrated: whether the exported graphs calibrate.
    colours: (r, g, b) of each class.
    tiles: (N, tile_px, tile_px, 3) uint8 of the run's cohort, compared beside the fixed ones.
    quantise: (N, tile_px, tile_px, 3) uint8 training tiles that set the ranges of 8-bit integers; None for no int8.
    judge_int8: what the 8-bit model loses, from what runs it and what runs PyTorch; a record with "words".
    familiar: statistics of features, or why there are none.
    licence: of the model, as its owner says; hashes: of data and split, by name.
    scores: of this one model on the test part of its study: an arm of score_arms' record, and the study's "name".
    """

    formats: tuple[str, ...] = FORMATS
    mpp: float | None = None
    calibration: Mapping[str, Any] | None = None
    clip: float = 1e-7
    calibrated: bool = True
    colours: Sequence[tuple[int, int, int]] = ()
    tiles: Tiles | None = None
    quantise: Tiles | None = None
    judge_int8: Callable[[Run, Run], Mapping[str, Any]] | None = None
    familiar: OodStatistics | str = "no tiles were given to learn from what is familiar"
    licence: str = ""
    hashes: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in self.formats:
            if name not in FORMATS:
                raise InputError(f"no format is called '{name}'{suggest(name, FORMATS)}")


def possible_formats(bundle: Bundle) -> tuple[str, ...]:
    """The formats that this model of tiles can be exported to, with the packages that are installed here."""
    formats = []
    for name in FORMATS if bundle.staining.recipe is None else ():
        with suppress(InputError):
            check_packages((name,))
            if name == "wsinfer":
                check_wsinfer(bundle)
            formats.append(name)
    return tuple(formats)


def check_export(source: Path, to: Path, handover: ExportContent) -> Bundle:
    """The bundle as it would be exported; refuses what cannot be, before any long work.

    Raises:
        InputError: If `to` is there already, a package is missing, or the model does not fit a format.
    """
    bundle = _with_mpp(read_bundle(source), handover.mpp)
    if is_bag_network(bundle.network):
        raise InputError(f"{source} is a model of bags of features ({bundle.network}); export is for models of tiles")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise InputError(f"{to} is there already; name another folder with --out")
    check_writable(to)
    check_packages((*handover.formats, *(("int8",) if handover.quantise is not None else ())))
    if "wsinfer" in handover.formats:
        check_wsinfer(bundle)
    recipe = bundle.staining.recipe
    if recipe is not None and handover.formats:
        raise InputError(
            f"this model normalises stain ({recipe.method}), which no graph can do; train without "
            f"normalisation, or export with --formats none (asked: {', '.join(handover.formats)})"
        )
    if handover.calibration is not None and tuple(handover.calibration["classes"]) != bundle.classes:
        raise InputError(
            f"{source / CALIBRATION} is of the classes {', '.join(handover.calibration['classes'])}, the model's are "
            f"{', '.join(bundle.classes)}; it is of another model"
        )
    return bundle


def export_model(source: Path, to: Path, handover: ExportContent) -> dict[str, Json]:
    """Write a bundle's export to the folder `to`: whole, or not at all.

    Every file is run on fixed tiles, and on the cohort's where they are given, in batches of 1, 3 and 16.

    Args:
        source: folder of a bundle.
        to: a folder that is not there, or is empty.
        handover: what to export.

    Returns:
        The record of export.json, and under "images_per_s" how fast each runtime is here, which no file says: two
        exports of one model are the same bytes.

    Raises:
        InputError: See check_export.
        GateError: If a runtime's probability differs from PyTorch's by more than 1e-4; then nothing is written.
    """
    bundle = check_export(source, to, handover)
    _, network = load_network(source)
    staging = to.with_name(f".{to.name}.unfinished")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        record = _fill(staging, source, bundle, network, handover)
        if to.exists():
            to.rmdir()
        staging.replace(to)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return record


def _with_mpp(bundle: Bundle, mpp: float | None) -> Bundle:
    if mpp is None:
        return bundle
    if not 0.01 <= mpp <= 100:
        raise InputError(f"--mpp is {mpp:g}; it is in µm per px, such as 0.5")
    if bundle.mpp is not None and abs(bundle.mpp - mpp) > 1e-9:
        raise InputError(f"--mpp is {mpp:g}, but the model was trained on tiles of {bundle.mpp:g} µm/px; leave it out")
    return replace(bundle, mpp=mpp)


def _fill(folder: Path, source: Path, bundle: Bundle, network: nn.Module, handover: ExportContent) -> dict[str, Any]:
    fitted = handover.calibration if handover.calibrated else None
    calibrated = Calibrated(
        fitted["method"] if fitted else "none", fitted["parameters"] if fitted else {}, handover.clip
    )
    for name in (WEIGHTS, *(name for name in COMPANIONS if (source / name).is_file())):
        write_bytes(folder / name, (source / name).read_bytes())
    write_json(folder / RECORD, bundle.record())
    graph = TileGraph(network, bundle, calibrated).eval()
    facts = _facts(source, bundle, handover)
    runs = _write_graphs(folder, bundle, graph, handover, facts)
    reference = _reference(network, calibrated, bundle)
    tiles = fixed_tiles(bundle.tile_px)
    if handover.tiles is not None and len(handover.tiles):
        tiles = np.concatenate([tiles, handover.tiles])
    parity = check_parity(runs, reference, tiles, ungated=("int8",))
    rates = {row.runtime: row.images_per_s for row in parity}
    _check_other_sizes({name: run for name, run in runs.items() if name != "int8"}, graph)
    int8_loss = None
    if "int8" in runs and handover.judge_int8 is not None:
        int8_loss = dict(handover.judge_int8(runs["int8"], reference))
    record = facts | {
        "formats": {name: list(_FILES[name]) for name in runs},
        "tolerance": TOLERANCE,
        "parity": [{"runtime": row.runtime, "tiles": row.tiles, "difference": row.difference} for row in parity],
        "int8": int8_loss,
    }
    if isinstance(handover.familiar, OodStatistics):
        write_ood_statistics(handover.familiar, folder / STATISTICS)
    write_json(folder / EXPORT, record)
    write_bytes(folder / CARD, write_card(bundle, record, handover.scores))
    if is_unlisted(handover.licence):
        write_bytes(folder / LICENCE, licence_text(record["licence"]["model"], record["licence"]["backbone"]))
    names = sorted(path.name for path in folder.iterdir())
    for name in names:  # those that exporters wrote may not have reached the disk
        with (folder / name).open("rb") as stream:
            os.fsync(stream.fileno())
    write_bytes(folder / SUMS, "".join(f"{hash_file(folder / name)}  {name}\n" for name in names))
    return record | {"images_per_s": rates}


def _write_graphs(
    folder: Path, bundle: Bundle, graph: TileGraph, handover: ExportContent, facts: Mapping[str, Any]
) -> dict[str, Run]:
    """Write every format's files; what runs each, opened from the file."""
    runs: dict[str, Run] = {}
    if "wsinfer" in handover.formats:
        write_torchscript(SlideGraph(graph), folder / TORCHSCRIPT, tile_px=bundle.tile_px)
        names = ("calibration", "calibrated", "colours", "features", "hashes", "licence", "positive")
        write_json(folder / CONFIG, wsinfer_config(bundle, {name: facts[name] for name in names}))
        runs["wsinfer"] = open_wsinfer(folder)
    wants_openvino = "openvino" in handover.formats
    if "onnx" in handover.formats or wants_openvino or handover.quantise is not None:
        write_onnx(graph, folder / ONNX, _metadata(facts))
    if "onnx" in handover.formats:
        runs["onnx"] = open_onnx(folder / ONNX)
    if wants_openvino or handover.quantise is not None:
        write_openvino(folder / ONNX, folder / OPENVINO)
    if wants_openvino:
        runs["openvino"] = open_openvino(folder / OPENVINO)
    if handover.quantise is not None:
        write_int8(folder / OPENVINO, folder / INT8, handover.quantise)
        runs["int8"] = open_openvino(folder / INT8)
    # What was only a step on the way to another format.
    for name, files in _FILES.items():
        if name not in runs:
            for path in (path for file in files for path in folder.glob(f"{file}*")):
                path.unlink()
    return runs


def _metadata(facts: Mapping[str, Any]) -> dict[str, str]:
    """What a graph says of its model, each value as JSON but for plain texts."""
    metadata = {name: facts[name] for name in ("counterstain", "classes", "positive", "tile_px", "mpp", "calibrated")}
    metadata |= {"weights_sha256": facts["hashes"]["weights"], "licence": facts["licence"]["model"] or "not stated"}
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in metadata.items()
        if value is not None
    }


def _reference(network: nn.Module, calibrated: nn.Module, bundle: Bundle) -> Run:
    """PyTorch as this package predicts with it, and the calibration after."""
    infer = torch_runtime(network, scale=bundle.scale)

    def run(tiles: Tiles) -> NDArray[np.float64]:
        with torch.inference_mode():
            logs = calibrated(torch.from_numpy(infer(tiles)))
        return softmax(logs.numpy())

    return run


def _check_other_sizes(runs: Mapping[str, Run], graph: TileGraph) -> None:
    """Larger, smaller and oblong tiles against PyTorch; what lies half-way between two greys may fall either way."""

    def reference(tiles: Tiles) -> NDArray[np.float64]:
        with torch.inference_mode():
            return np.asarray(graph(torch.from_numpy(tiles)).numpy(), dtype=np.float64)

    side = graph.tile_px
    for height, width in ((side * 2, side * 2), (side + 31, side + 8), (side - 9, side + 20)):
        tiles = np.stack([cv2.resize(tile, (width, height)) for tile in fixed_tiles(side)])
        for name, run in runs.items():
            difference = float(np.abs(run(tiles[:4]) - reference(tiles[:4])).max())
            if not difference <= 10 * TOLERANCE:
                raise GateError(
                    f"{name}: for tiles of {width} × {height} px a probability differs from PyTorch's by "
                    f"{difference:.2g}, more than {10 * TOLERANCE:g}; nothing was exported: leave this format out"
                )


def _facts(source: Path, bundle: Bundle, handover: ExportContent) -> dict[str, Any]:
    """What export.json says of the model itself."""
    fitted, familiar = handover.calibration, handover.familiar
    has_statistics = isinstance(familiar, OodStatistics)
    hashes = {
        "weights": hash_file(source / WEIGHTS),
        "bundle it was made from": hash_file(source / RECORD),
        **{f"data ({name})": value for name, value in dict(bundle.provenance.get("data", {})).items()},
        **handover.hashes,
    }
    return {
        "schema": SCHEMA,
        "counterstain": __version__,
        "classes": list(bundle.classes),
        "positive": bundle.classes[-1] if len(bundle.classes) == 2 else None,
        "colours": {name: list(rgb) for name, rgb in zip(bundle.classes, handover.colours, strict=False)},
        "tile_px": bundle.tile_px,
        "mpp": bundle.mpp,
        "mpp_given": handover.mpp is not None,
        "calibration": None if fitted is None else dict(fitted),
        "calibrated": fitted is not None and handover.calibrated,
        "features": familiar.record() if isinstance(familiar, OodStatistics) else None,
        "features_absent": None if has_statistics else familiar,
        "licence": {"model": handover.licence, "backbone": dict(bundle.provenance.get("weights") or {})},
        "hashes": hashes,
        "input": "onnx, openvino, int8: (B, H, W, 3) uint8 RGB; wsinfer: (B, 3, H, W) float of 0…1",
        "output": "onnx, openvino, int8: (B, classes) probabilities; wsinfer: (B, classes) logits, for a softmax",
    }


def read_export(folder: Path) -> tuple[Bundle, dict[str, object]]:
    """The bundle and the record of an exported folder, every file of it checked; no code in it is run.

    Raises:
        InputError: If a file is missing, changed or unlisted, the folder is of another version, or its parts disagree
            about the classes.
    """
    _check_sums(folder)
    bundle = read_bundle(folder)
    record = read_record(folder / EXPORT, SCHEMA)
    class_lists = {EXPORT: record.get("classes")}
    if (folder / CONFIG).is_file():
        class_lists[CONFIG] = read_json(folder / CONFIG).get("class_names")
    if (folder / CALIBRATION).is_file():
        class_lists[CALIBRATION] = read_json(folder / CALIBRATION).get("classes")
    for name, classes in class_lists.items():
        if not isinstance(classes, list) or tuple(classes) != bundle.classes:
            differing = sorted(set(bundle.classes) ^ {str(label) for label in classes or ()}) or list(bundle.classes)
            raise InputError(
                f"{folder / name} and {RECORD} do not name the same classes in the same order (see '{differing[0]}'); "
                "export the model again"
            )
    return bundle, record


def _check_sums(folder: Path) -> None:
    """The list of hashes is read strictly: it names every file of the folder, and no other."""
    listed = read_sums(folder)
    present = {path.name for path in folder.iterdir() if path.name not in (SUMS, SUMS + SUFFIX)}
    for name in sorted(present ^ set(listed)):
        raise InputError(f"{folder} {'lacks' if name in listed else f'has, beside what {SUMS} lists,'} {name}")
    for name, expected in listed.items():
        if hash_file(folder / name) != expected:
            raise InputError(f"{folder / name} is not the file that was written (its SHA-256 differs); copy it again")
