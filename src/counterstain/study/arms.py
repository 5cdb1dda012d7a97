"""One training of one arm: fit on the training part, stop on the validation part, predict the rest once."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from counterstain.audit.training_set import MEMBERS, member_record
from counterstain.errors import InputError
from counterstain.evaluation.finding_scores import write_findings
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictions_csv import write_predictions
from counterstain.files import hash_json, write_csv, write_json
from counterstain.images.store import Store, read_batch
from counterstain.learning.appearance import LOOKS
from counterstain.learning.bag_dataset import BagStore
from counterstain.learning.bag_loop import train_bags
from counterstain.learning.build import layout_of
from counterstain.learning.bundle import SUMS, Bundle, write_bundle
from counterstain.learning.config import TrainingConfig
from counterstain.learning.dataset import TileDataset, examples, predict_rows, table_of
from counterstain.learning.distributed import ALONE, World
from counterstain.learning.findings_network import FindingsNetwork
from counterstain.learning.loader import Examples
from counterstain.learning.loop import Trained, train
from counterstain.learning.objective import objective_of
from counterstain.learning.ood_statistics import (
    STATISTICS,
    fit_ood_statistics,
    read_ood_statistics,
    write_ood_statistics,
)
from counterstain.learning.predictor import predict_logits
from counterstain.learning.probe_loop import train_probe
from counterstain.learning.stain_pipeline import fit_staining
from counterstain.learning.training_state import write_history
from counterstain.learning.unfamiliar import listening, measure_distances
from counterstain.progress import TrainingProgress
from counterstain.study.finding_predictions import predict_findings, raw_findings
from counterstain.study.training_record import training_record

__all__ = ["DISTANCES", "fit_arm", "member_tiles", "train_arm"]


def train_arm(
    material: TileDataset,
    assignment: Sequence[str],
    settings: TrainingConfig,
    *,
    seed: int,
    folder: Path,
    progress: Callable[[TrainingProgress], None] | None = None,
    world: World = ALONE,
) -> list[Path]:
    """Train one arm with one seed on one division of the cohort; write everything it leaves behind.

    Args:
        material: cohort, tiles and augmentation.
        assignment: (N,) part of each of the cohort's images: train, val, test, test_<name> or "".
        settings: of the training.
        seed: of weights, order, augmentation and dropout.
        folder: gets history, training.json, the bundle and raw_<part>.csv: probabilities before any calibration.
        progress, world: see loop.train.

    Returns:
        The files written, all the same bytes for the same inputs on one machine; [] in a process that does not lead.
    """
    parts = np.asarray(assignment, dtype=object)
    folder.mkdir(parents=True, exist_ok=True)
    training = examples(material, np.flatnonzero(parts == "train"))
    validation = examples(material, np.flatnonzero(parts == "val"))
    trained, predict = fit_arm(
        material, training, validation, settings, seed=seed, folder=folder, progress=progress, world=world
    )
    if not world.leads:
        return []
    write_history(folder, trained.history)
    record = training_record(
        trained, settings, seed=seed, processes=world.size, stamp=material.stamp, tiles=_tiles(material),
        training_images=len(training), validation_images=len(validation),
    )  # fmt: skip
    write_json(folder / "training.json", record)
    # The images that chose the epoch were seen, too.
    write_json(folder / MEMBERS, _members(material, np.flatnonzero((parts == "train") | (parts == "val"))))
    _write_statistics(folder, material, training, validation, trained, settings)
    write_bundle(folder, _bundle(trained, settings, material, training, seed), trained.network)
    for part in sorted({part for part in assignment if part.startswith(("val", "test"))}):
        rows = np.flatnonzero(parts == part)
        with _hearing(trained.network, folder) as batches:
            table = predict(rows)
        write_predictions(table, folder / f"raw_{part}.csv")
        if part.startswith("test"):
            _write_distances(folder, part, table, batches)
        if isinstance(trained.network, FindingsNetwork):
            write_findings(predict_findings(material, rows, trained, settings), folder / raw_findings(part))
    # The checkpoint stays until the caller has recorded that this training is done, and forgets it.
    files = (path for path in folder.iterdir() if path.is_file())
    # The hashes of the bundle are written again once it is calibrated.
    return sorted(path for path in files if path.name != SUMS and not path.name.startswith((".", "checkpoint")))


def fit_arm(
    material: TileDataset,
    training: Examples,
    validation: Examples,
    settings: TrainingConfig,
    *,
    seed: int,
    folder: Path,
    progress: Callable[[TrainingProgress], None] | None = None,
    world: World = ALONE,
) -> tuple[Trained, Callable[[NDArray[np.int64]], Predictions]]:
    """The trained model, and what predicts images of the cohort with it, as train_arm but without writing results."""
    classes = material.outputs
    if isinstance(material.store, BagStore):
        trained, of_rows = train_bags(
            material.store, training, validation, classes=classes, settings=settings, seed=seed, progress=progress
        )
        return trained, lambda chosen: table_of(material, chosen, of_rows(material.rows(chosen)))
    staining = fit_staining(material.tiles, training.row, settings)
    if settings.tune == "frozen":
        trained, of_rows, tried = train_probe(
            material.tiles, training, validation, classes=classes, settings=settings, staining=staining,
            fit=material.fit, seed=seed, progress=progress,
        )  # fmt: skip
        if world.leads:
            write_csv(folder / "probe.csv", ("setting", "val_loss"), tried)
        return trained, lambda chosen: table_of(material, chosen, of_rows(material.rows(chosen)))
    trained = train(
        material.tiles, training, validation, classes=classes, settings=settings,
        augmentation=material.augmentation, seed=seed, folder=folder, progress=progress, world=world,
        staining=staining, objective=objective_of(settings, material.cohort.classes, training.label),
    )  # fmt: skip
    if material.cohort.findings:
        trained = replace(trained, network=FindingsNetwork(trained.network, material.cohort.findings).eval())
    return trained, lambda chosen: predict_rows(
        material, chosen, trained.network, scale=settings.scale, device=trained.machine.device, staining=staining
    )


DISTANCES = "distances_"  # and the part: files of how far its images lie from the training images
FAMILIAR = 2000  # tiles at most of either part that the statistics of features are made from


def _write_statistics(
    folder: Path,
    material: TileDataset,
    training: Examples,
    validation: Examples,
    trained: Trained,
    settings: TrainingConfig,
) -> None:
    """What the features of training tiles look like, for whoever predicts with this model; nothing of bags or few."""
    path = folder / STATISTICS
    path.unlink(missing_ok=True)
    if isinstance(material.store, BagStore):
        return

    def features(part: Examples) -> NDArray[np.float64]:
        rows = np.unique(part.row)
        rows = rows[np.linspace(0, len(rows) - 1, min(FAMILIAR, len(rows))).astype(np.int64)]
        with listening(trained.network) as batches:
            predict_logits(
                trained.network, material.tiles, rows, scale=settings.scale, device=trained.machine.device,
                staining=trained.staining,
            )  # fmt: skip
        return np.concatenate(batches).astype(np.float64)

    try:
        write_ood_statistics(fit_ood_statistics(features(training), features(validation), looks=LOOKS), path)
    except InputError:  # too few tiles for a limit, or no last layer: predict says that nothing is flagged
        return


@contextmanager
def _hearing(network: nn.Module, folder: Path) -> Iterator[list[NDArray[np.float32]]]:
    """The features of whatever is predicted meanwhile; none where there are no statistics to hold them against."""
    if not (folder / STATISTICS).is_file():
        yield []
        return
    with listening(network) as batches:
        yield batches


def _write_distances(folder: Path, part: str, table: Predictions, batches: Sequence[NDArray[np.float32]]) -> None:
    """distances_<part>.csv: how far each test image lies from the training images, and whether beyond the limit.

    Written where every image passed the network just now: a probe's features were computed before.
    """
    path = folder / f"{DISTANCES}{part}.csv"
    path.unlink(missing_ok=True)
    if sum(len(batch) for batch in batches) != len(table):
        return
    statistics = read_ood_statistics(folder / STATISTICS)
    distance = measure_distances(batches, statistics)
    flags = ("yes" if far else "no" for far in distance > statistics.limit)
    write_csv(path, ("image_path", "distance", "unfamiliar"), zip(table.image, distance.tolist(), flags, strict=True))


def member_tiles(material: TileDataset, stored: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    """The tiles in these rows of the store, one by one; none of bags."""
    if isinstance(material.store, Store):
        for row in stored:
            yield read_batch(material.store, np.array([row]))[0]


def _members(material: TileDataset, rows: NDArray[np.int64]) -> dict[str, Any]:
    """The salted hashes of these images; the salt follows from the data, so that a run can be made again."""
    table = material.cohort.table.iloc[rows]
    names = tuple(table["image_path"])
    stored = material.store.rows(names)
    return member_record(
        salt=hash_json({"data": material.store.data_hash, "images": list(names)})[:16],
        patient=tuple(table["patient_id"]),
        image=names,
        file=[material.store.content[row] for row in stored],
        tiles=member_tiles(material, stored),
    )


def _tiles(material: TileDataset) -> dict[str, Any]:
    """How images became tiles, and how many had to be changed for it; {} of bags."""
    if isinstance(material.store, BagStore):
        return {}
    side = material.tile_px
    size_px = material.store.size_px[material.store.rows(material.cohort.image)]
    resized = int((np.asarray(size_px) != side).any(axis=1).sum())
    return {"tile_px": side, "fit": material.fit, "images": len(size_px), "resized": resized}


def _bundle(trained: Trained, settings: TrainingConfig, material: TileDataset, training: Examples, seed: int) -> Bundle:
    provenance = {
        "settings": asdict(settings),
        "augmentation": asdict(material.augmentation),
        "seed": seed,
        "machine": asdict(trained.machine),
        "weights": trained.weights,
        "data": {"cohort": material.store.data_hash, "training": training.digest()},
    }
    return Bundle(
        network=settings.network,
        classes=material.cohort.classes,
        tile_px=material.tile_px,
        fit=material.fit,
        scale=settings.scale,
        mpp=material.mpp,
        stamp=material.stamp,
        layout=layout_of(trained.network, trained.head),
        staining=trained.staining,
        provenance=provenance,
    )
