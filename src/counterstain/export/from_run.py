"""A run's model handed on: which of its trainings, the tiles it knew, and what the study says about it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterstain.audit.privacy import find_identifiers
from counterstain.cohort.cohort import Cohort, assemble
from counterstain.cohort.cohort_columns import clean_numbers
from counterstain.cohort.layouts import read_images
from counterstain.cohort.splitters import read_split
from counterstain.errors import InputError
from counterstain.evaluation.arm_scores import score_arms
from counterstain.evaluation.calibration import read_calibration, use_warnings
from counterstain.evaluation.intervals import sample, units_of
from counterstain.evaluation.metrics import PROB_CLIP
from counterstain.evaluation.paired_difference import difference
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.export.exported_model import FORMATS, ExportContent, check_export, export_model
from counterstain.export.graphs import Run
from counterstain.files import StrPath, hash_file, read_json
from counterstain.images.augmentation import Augmentation
from counterstain.images.store import Store, build_store, open_store, read_batch
from counterstain.images.store_files import Recipe, read_record
from counterstain.images.tensor import to_tensor
from counterstain.learning.appearance import LOOKS
from counterstain.learning.bundle import Bundle, load_network, read_bundle, with_classes_of
from counterstain.learning.dataset import TileDataset, table_of
from counterstain.learning.model_choice import choose_model, names_of, title_of
from counterstain.learning.ood_statistics import (
    STATISTICS,
    OodStatistics,
    fit_ood_statistics,
    read_ood_statistics,
    seen_of,
)
from counterstain.progress import Progress
from counterstain.records import Json
from counterstain.run_folder import MANIFEST, as_written, optional_record, record_path
from counterstain.slides.tile_predictions import colours
from counterstain.tables import read_cells

__all__ = ["ExportOptions", "export"]

BATCH = 64
MOST_NAMED = 20  # of what could name a patient, before a model is handed on
COMPARED, QUANTISED, FAMILIAR = 16, 300, 2000  # tiles at most: of the parity check, of int8's ranges, of the features
_EVERY = 5  # of the patients of a cohort without parts, every fifth is held out


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What to export, and of what.

    arm, seed, fold: of a run, where it has several trainings.
    formats: of export.exported_model.FORMATS.
    mpp: µm/px of the tiles, where the model does not know it.
    calibrated: whether the exported graphs calibrate.
    int8: whether to make an 8-bit OpenVINO model; calibrate: cohort of its ranges and its loss, else the run's own.
    cohort: of the training tiles, where a bundle is exported without its run.
    licence: of the model, such as apache-2.0.
    """

    arm: str | None = None
    seed: int | None = None
    fold: str | None = None
    formats: tuple[str, ...] = FORMATS
    mpp: float | None = None
    calibrated: bool = True
    int8: bool = False
    calibrate: Cohort | StrPath | None = None
    cohort: Cohort | StrPath | None = None
    licence: str = ""


@dataclass(frozen=True, eq=False)
class _Known:
    """Tiles with their labels and parts, and where they are from."""

    material: TileDataset
    part: NDArray[np.object_]
    name: str

    def rows(self, part: str, most: int) -> NDArray[np.int64]:
        """At most so many rows of a part, evenly taken; "" is all."""
        rows = np.flatnonzero([word.startswith(part) for word in self.part])
        if len(rows) > most:
            rows = rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]
        return rows.astype(np.int64)

    def tiles(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(N, tile_px, tile_px, 3) of the cohort's rows."""
        return read_batch(self.material.tiles, self.material.rows(rows))


def export(source: Path, to: Path, options: ExportOptions, talk: Progress | None = None) -> dict[str, Json]:
    """Export a bundle, or one training of a run, to the folder `to`; see export.exported_model.export_model.

    Returns:
        See export.exported_model.export_model.

    Raises:
        InputError: If there is no such training, or it cannot be exported as asked.
        GateError: If an exported file does not answer as PyTorch does.
    """
    talk = talk or Progress()
    choice = choose_model(source, arm=options.arm, seed=options.seed, fold=options.fold)
    if choice.words:
        talk.say(choice.words)
    folder, run = choice.folder, choice.run
    bundle = read_bundle(folder)
    fitted = read_calibration(folder)
    handover = ExportContent(
        formats=options.formats,
        mpp=options.mpp,
        calibration=None
        if fitted is None
        else fitted.to_record() | {"notes": list(use_warnings(fitted, bundle.stamp))},
        clip=PROB_CLIP,
        calibrated=options.calibrated,
        colours=colours(bundle.classes),
        licence=options.licence,
        hashes={}
        if run is None
        else {"split": hash_file(record_path(run, "splits.csv")), "cohort": hash_file(record_path(run, "cohort.csv"))},
        scores=None if run is None else _scores(folder, calibrated=options.calibrated and fitted is not None),
    )
    for identifier in find_identifiers(folder).found[:MOST_NAMED]:
        talk.say(f"could name a patient: {identifier.kind} {identifier.text} ({identifier.where} of {identifier.file})")
    check_export(folder, to, handover)  # before any tile is decoded
    known: _Known | str
    if options.cohort is not None:
        known = _of_cohort(options.cohort, bundle, to, talk)
    else:
        known = "it was exported without its cohort" if run is None else _of_run(run, folder, bundle)
    statistics = folder / STATISTICS
    if isinstance(known, _Known):
        handover = replace(handover, tiles=known.tiles(known.rows("", COMPARED)))
    if options.cohort is None and statistics.is_file():
        handover = replace(handover, familiar=read_ood_statistics(statistics))
    else:
        handover = replace(handover, familiar=_familiar(folder, known) if isinstance(known, _Known) else known)
    if options.int8:
        basis = known if options.calibrate is None else _of_cohort(options.calibrate, bundle, to, talk)
        if not isinstance(basis, _Known):
            raise InputError("8-bit integers need tiles to set their ranges by; name a cohort with --calibrate")
        handover = _with_int8(handover, basis)
        check_export(folder, to, handover)
    return export_model(folder, to, handover)


# -------------------------------------------------------------------------------------------------------- known tiles


def _of_run(run: Path, folder: Path, bundle: Bundle) -> _Known | str:
    """The run's own cohort, from its store; or why it cannot be had."""
    record = optional_record(run, MANIFEST)
    cohort = _cohort_of(run, bundle)
    store = _store_of(run.resolve().parent.parent / "store", str(record.get("data", "")), bundle)
    if store is None:
        return "the run's tile store is not there any more; name its images with --cohort"
    stored = set(store.image)
    cohort = cohort.subset(np.array([name in stored for name in cohort.image]))
    repeat, number = (int(word) for word in names_of(folder)[2].split("-"))
    split = read_split(
        record_path(run, "splits.csv"), cohort, unit="image", aside=[name for name, _ in store.set_aside]
    )
    part = next(part for part in split.parts if (part.repeat, part.fold) == (repeat, number))
    unit = str(read_json(as_written(record_path(run, "split.json"))).get("unit", "patient"))
    return _Known(_material(cohort, store, bundle, unit), np.array(part.assignment, dtype=object), f"run {run.name}")


def _cohort_of(run: Path, bundle: Bundle) -> Cohort:
    """The cohort of a run's table; its images need not be there, since its tiles are."""
    path = record_path(run, "cohort.csv")
    raw: dict[str, Any] = dict(read_cells(path))
    for name in ("mpp", "x", "y"):
        raw[name] = clean_numbers(raw.get(name), len(raw["label"]), name, path.name)
    two = bundle.classes[-1] if len(bundle.classes) == 2 else None
    return replace(assemble(raw, root=run, positive=two), classes=bundle.classes)


def _store_of(stores: Path, data: str, bundle: Bundle) -> Store | None:
    """The finished store of this data, cut as the bundle says."""
    for marker in sorted(stores.glob("*/store.json")):
        head = read_json(marker)
        if head.get("data_hash") != data or head.get("tile_px") != bundle.tile_px:
            continue
        record = read_record(marker.parent)
        images = tuple(row.image_path for row in record.rows)
        if Recipe(images, stores, bundle.tile_px, bundle.fit).digest() == record.recipe:
            return open_store(marker.parent)
    return None


def _of_cohort(images: Cohort | StrPath, bundle: Bundle, to: Path, talk: Progress) -> _Known:
    """A cohort's tiles, and its own parts; where it has none, every fifth patient is held out."""
    name = "the cohort" if isinstance(images, Cohort) else str(images)
    cohort = read_images(images, positive=bundle.classes[-1] if len(bundle.classes) == 2 else None)
    cohort = with_classes_of(bundle, cohort, images=f"{name} has", model="the model")
    store = build_store(cohort, to.parent / "store", tile_px=bundle.tile_px, fit=bundle.fit, progress=talk.stored)
    stored = set(store.image)
    cohort = cohort.subset(np.array([name in stored for name in cohort.image]))
    part = cohort.table["split"].to_numpy(dtype=object)
    if not {"train", "val"} <= set(part):
        talk.say(f"{name} has no train and val parts: every {_EVERY}th patient is held out")
        place = {name: number for number, name in enumerate(sorted(set(cohort.patient)))}
        part = np.array(["val" if place[name] % _EVERY == 0 else "train" for name in cohort.patient], dtype=object)
    return _Known(_material(cohort, store, bundle, "patient"), part, name)


def _material(cohort: Cohort, store: Store, bundle: Bundle, unit: str) -> TileDataset:
    return TileDataset(cohort, store, Augmentation(mode="none"), bundle.tile_px, bundle.fit, bundle.stamp, unit)


def _familiar(folder: Path, known: _Known) -> OodStatistics | str:
    """Statistics of the training part's features, the limit from the validation part; or why there are none."""
    bundle, network = load_network(folder)

    def features(part: str) -> NDArray[np.float64]:
        rows = known.rows(part, FAMILIAR)
        batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
        parts = [
            seen_of(
                network,
                lambda tiles: to_tensor(bundle.staining.for_all(tiles), scale=bundle.scale),
                known.tiles(batch),
            )
            for batch in batches
        ]
        return np.concatenate(parts) if parts else np.empty((0, 1))

    try:
        return fit_ood_statistics(features("train"), features("val"), looks=LOOKS)
    except InputError as error:
        return str(error)


# ---------------------------------------------------------------------------------------------------------------- int8


def _with_int8(handover: ExportContent, basis: _Known) -> ExportContent:
    rows = basis.rows("val", len(basis.part))
    if not len(rows):
        raise InputError(f"{basis.name} has no validation part, on which the loss of 8-bit integers is measured")

    def judge(quantised: Run, reference: Run) -> Mapping[str, object]:
        tables = [_predicted(basis, rows, run) for run in (quantised, reference)]
        return _loss(tables[0], tables[1], basis.name)

    return replace(handover, quantise=basis.tiles(basis.rows("train", QUANTISED)), judge_int8=judge)


def _predicted(basis: _Known, rows: NDArray[np.int64], run: Run) -> Predictions:
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    return table_of(basis.material, rows, np.concatenate([run(basis.tiles(batch)) for batch in batches]))


def _loss(quantised: Predictions, reference: Predictions, name: str) -> dict[str, Any]:
    """What the 8-bit model loses in AUROC against PyTorch on the same images, its interval over patients."""
    names = units_of([quantised, reference])
    loss = difference(
        sample([reference], names, level="image"), sample([quantised], names, level="image"), ("auroc", None)
    )
    largest = float(np.abs(quantised.prob - reference.prob).max())
    interval = f"95 % interval {loss.low:.4f} to {loss.high:.4f}"
    if not np.isfinite(loss.low):
        interval = "no interval: too few patients of a class"
    counted = f"{len(reference)} images of {len(names)} {reference.unit}s, the validation part of {name}"
    summary = (
        f"AUROC {loss.value_b:.4f} where PyTorch has {loss.value_a:.4f}, a loss of {loss.difference:.4f} "
        f"({interval}; {counted}); a probability changes by {largest:.2g} at most"
    )
    return {
        "auroc": loss.value_b,
        "auroc_torch": loss.value_a,
        "loss": loss.difference,
        "low": loss.low,
        "high": loss.high,
        "images": len(reference),
        "units": len(names),
        "unit": reference.unit,
        "cohort": name,
        "largest_change": largest,
        "words": summary,
    }


# ---------------------------------------------------------------------------------------------------------- the card


def _scores(folder: Path, *, calibrated: bool) -> dict[str, Any] | None:
    """Scores of this model on its test part, calibrated as the exported graphs are; None without a test part."""
    path = folder / ("predictions.csv" if calibrated else "raw_test.csv")
    if not path.is_file():
        return None
    arm = names_of(folder.resolve())[0]
    judged = score_arms({arm: [read_predictions(path, classes=read_bundle(folder).classes)]})
    return {"name": title_of(folder), **judged["arms"][arm]}
