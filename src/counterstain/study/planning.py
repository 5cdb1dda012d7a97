"""What a study would do, before it does it: everything checked, the trainings counted, time and disk estimated."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from counterstain.cohort.split import SplitRecord
from counterstain.cohort.splitters import count_parts
from counterstain.evaluation.format import plural
from counterstain.images.augment import expanded_count
from counterstain.learning.config import TrainingConfig
from counterstain.learning.dataset import TileDataset, examples
from counterstain.learning.device import check_machine
from counterstain.learning.mil_networks import is_bag_network
from counterstain.learning.networks import NETWORKS, check_tile_px, count_parameters
from counterstain.progress import Progress, TrainingProgress
from counterstain.study.arms import fit_arm
from counterstain.study.disk_forecast import DiskForecast, forecast_disk, image_bytes
from counterstain.study.prepare import PreparedStudy, prepare
from counterstain.study.study_config import Study, read_study
from counterstain.study.test_set_uses import ledger_folder
from counterstain.study.trainings import trainings

__all__ = ["check_settings", "plan_lines", "plan_study"]

TRIAL_BATCHES = 3
_VALIDATED_FASTER = 3.0  # a forward pass alone takes about a third of a training step


def check_settings(study: Study, base: Path) -> None:
    """Refuse before any image is read what the training would refuse later: device, precision, threads, tiles, ledger.

    Args:
        study: to be run.
        base: the folder that its paths count from.

    Raises:
        InputError: Naming the setting.
    """
    for name in study.arms:
        settings = study.arm(name)
        check_machine(device=settings.device, precision=settings.precision, threads=settings.threads)
        if settings.network in NETWORKS:
            check_tile_px(settings.network, study.tiles.tile_px)
    ledger_folder(study, base)


class Estimate(DiskForecast):
    """What a study would take: at most so long, images per second of each arm, and what is read and kept."""

    seconds: float
    images_per_s: dict[str, float]


class PlanRecord(TypedDict):
    """See `plan_study`."""

    name: str
    stamp: str
    split: SplitRecord
    set_aside: list[list[str]]
    tiles: int
    rows_are: str
    trainings: list[str]
    estimate: NotRequired[Estimate]


def plan_study(
    path: Path,
    *,
    overrides: dict[str, str] | None = None,
    folder: Path | None = None,
    talk: Progress | None = None,
    trial: bool = True,
) -> PlanRecord:
    """What run_study would do: everything is read and checked as there, and nothing is kept but the tile store.

    Args:
        path, overrides, folder, talk: as for run_study.
        trial: train each arm on three batches, which finds what only training can refuse, and estimate time and disk.

    Returns:
        name, stamp, split, set_aside, tiles, rows_are, trainings; with a trial also estimate: seconds (at most, all
        epochs of all trainings one after another), images_per_s of each arm, and what is read and kept of a disk.

    Raises:
        InputError: For whatever run_study would refuse.
    """
    study = read_study(path, overrides)
    check_settings(study, path.parent)
    talk = talk or Progress()
    prepared = prepare(study, path.parent, store=(folder or path.parent) / "store", talk=talk)
    record: PlanRecord = {
        "name": study.name,
        "stamp": study.stamp,
        "split": count_parts(prepared.split, prepared.material.cohort),
        "set_aside": [list(pair) for pair in prepared.material.store.set_aside],
        "tiles": len(prepared.material.store.image),
        "rows_are": prepared.rows_are,
        "trainings": [f"{arm} seed {seed} fold {part.repeat}-{part.fold}" for arm, seed, part in trainings(prepared)],
    }
    return {**record, "estimate": _estimate(prepared, talk)} if trial else record


@dataclass(frozen=True)
class _Trial:
    """What a few batches of an arm have shown: images per second, and bytes of the trained weights."""

    images_per_s: float
    weight_bytes: int


def _estimate(prepared: PreparedStudy, talk: Progress) -> Estimate:
    study, tried = prepared.study, {}
    store = [] if study.of_bags else [path.stat().st_size for path in _files(prepared.material.store.folder)]
    for name in study.arms:
        talk.say(f"trial: {TRIAL_BATCHES} batches of {name}")
        tried[name] = _try_arm(prepared.material, prepared.split.parts[0].assignment, study.arm(name))
    seconds, tiles_read, weights = 0.0, 0.0, []
    for name, _, part in trainings(prepared):
        settings = study.arm(name)
        training = len(part.rows("train")) * _copies(prepared.material, settings)
        passes = 1 if settings.tune == "frozen" else settings.epochs
        seconds += passes * (training + len(part.rows("val")) / _VALIDATED_FASTER) / tried[name].images_per_s
        tiles_read += passes * (training + len(part.rows("val"))) + len(part.rows("test"))
        weights.append(tried[name].weight_bytes)
    tile_bytes = 0 if study.of_bags else 3 * study.tiles.tile_px**2
    disk = forecast_disk(
        weights,
        arms=len(study.arms),
        store_bytes=sum(store),
        store_files=len(store),
        read_bytes=image_bytes(prepared.material.cohort),
        tile_bytes=int(tiles_read * tile_bytes),
    )
    rates = {name: trial.images_per_s for name, trial in tried.items()}
    return {"seconds": seconds, **disk, "images_per_s": rates}


def _copies(material: TileDataset, settings: TrainingConfig) -> int:
    """Images that an epoch sees for each training image."""
    expands = material.augmentation.mode == "expand" and settings.tune != "frozen"
    return expanded_count(material.augmentation) if expands and not is_bag_network(settings.network) else 1


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _try_arm(material: TileDataset, assignment: Sequence[str], settings: TrainingConfig) -> _Trial:
    """Train an arm on a few batches in a folder of its own, which is thrown away."""
    assigned, label = np.array(assignment, dtype=object), material.cohort.label_index
    count = max(1, TRIAL_BATCHES * settings.batch // _copies(material, settings))
    training = _some(np.flatnonzero(assigned == "train"), label, count)
    validation = _some(np.flatnonzero(assigned == "val"), label, settings.batch)
    steps: list[tuple[int, float]] = []

    def note(progress: TrainingProgress) -> None:
        if progress.val_loss is None:
            steps.append((progress.seen, time.perf_counter()))

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        trained, _ = fit_arm(
            material, examples(material, training), examples(material, validation),
            replace(settings, epochs=1, patience=1), seed=0, folder=Path(folder), progress=note,
        )  # fmt: skip
        took = time.perf_counter() - began
    # The first batch warms up: threads, compiled pooling, the processor's caches.
    if len(steps) > 1:
        rate = (steps[-1][0] - steps[0][0]) / max(steps[-1][1] - steps[0][1], 1e-6)
    else:
        rate = (len(training) + len(validation)) / max(took, 1e-6)
    return _Trial(rate, 4 * count_parameters(trained.network))


def _some(rows: NDArray[np.int64], label: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most so many of these rows, of the classes in turn."""
    order = np.empty(len(rows), dtype=np.int64)
    for value in np.unique(label[rows]):
        members = np.flatnonzero(label[rows] == value)
        order[members] = np.arange(len(members))
    return np.sort(rows[np.lexsort((rows, order))][:most])


def plan_lines(record: PlanRecord, *, jobs: int = 1) -> list[str]:
    """A plan in a few lines of text."""
    parts = record["split"]["parts"]
    counts_text = ", ".join(f"{name} {counts['images']:,}" for name, counts in parts[0]["counts"].items())
    folds = f" (the first of {len(parts)} folds)" if len(parts) > 1 else ""
    rows, parts_are = ("tiles", "images") if record["rows_are"] == "image" else (f"{record['rows_are']}s", "parts")
    aside = f", {len(record['set_aside'])} unreadable and skipped" if record["set_aside"] else ""
    lines = [
        f"plan of {record['name']}: {plural(len(record['trainings']), 'training')}",
        f"{rows:<11}{record['tiles']:,}{aside}",
        f"{parts_are:<11}{counts_text}{folds}",
    ]
    estimate = record.get("estimate")
    if estimate is not None:
        rates = ", ".join(
            f"{name} {rate:,.{0 if rate >= 10 else 1}f}" for name, rate in estimate["images_per_s"].items()
        )
        among = f" in {jobs} jobs" if jobs > 1 else ""
        rate_of, store = ("images", ", including the tile store") if rows == "tiles" else ("bags", "")
        lines += [
            f"speed      {rates} {rate_of} per second, from {TRIAL_BATCHES} batches of each arm",
            f"time       at most {_duration(estimate['seconds'] / jobs)}{among}; less with early stopping",
            f"disk       about {_size(estimate['disk_bytes'])} in {estimate['files']:,} files{store}; "
            f"at most {_size(estimate['peak_bytes'])} meanwhile",
            f"reading    {_size(estimate['read_bytes'])} once"
            + (f", then at most {_size(estimate['tile_bytes'])} of tiles, from memory where they fit" if store else ""),
        ]
    return lines + ([f"stamp      {record['stamp']}"] if record["stamp"] else [])


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def _size(count: float) -> str:
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"
