"""One training outside a study, over the files between the stages."""

from pathlib import Path
from typing import Unpack

import numpy as np

from counterstain.cohort.cohort import Cohort
from counterstain.cohort.layouts import read_images
from counterstain.cohort.reading_options import ReadingOptions
from counterstain.cohort.splitters import Split, check, read_split
from counterstain.errors import InputError
from counterstain.files import StrPath
from counterstain.images.augmentation import Augmentation
from counterstain.images.store import Store, build_store
from counterstain.learning.bag_dataset import refuse_features
from counterstain.learning.bundle import SUMS
from counterstain.learning.checkpoint import forget
from counterstain.learning.config import TrainingConfig
from counterstain.learning.dataset import TileDataset
from counterstain.learning.distributed import joined, leader_first
from counterstain.learning.mil_networks import is_bag_network
from counterstain.learning.networks import unseen
from counterstain.progress import Progress
from counterstain.study.arms import train_arm
from counterstain.study.calibrate import finish_training
from counterstain.study.study_sections import IMAGE_STAMP, CalibrationSection
from counterstain.system import keep_pages

__all__ = ["train_once"]


def train_once(
    images: Cohort | StrPath,
    splits: Split | StrPath,
    out: Path,
    *,
    settings: TrainingConfig,
    augmentation: Augmentation | None = None,
    tile_px: int = 257,
    fit: str = "stretch",
    seed: int = 0,
    fold: str = "0-0",
    unit: str = "patient",
    talk: Progress | None = None,
    **reading: Unpack[ReadingOptions],
) -> bool:
    """Train one network on one division of a cohort; `out` becomes its bundle, with history and predictions.

    A training that was stopped resumes from its last finished epoch when the same call is made again. Where a launcher
    (torchrun, accelerate, srun) has started several processes, they train the one network together.

    Args:
        images: a Cohort, a folder or a manifest; splits: its split, or the splits.csv.
        **reading: how the cohort is read, see layouts.read_images.

    Returns:
        Whether this is the process that wrote; of several, one does.

    Raises:
        InputError: If `out` holds a finished model, the split does not fit the cohort, or the fold is not in it.
    """
    keep_pages()
    with joined(device=settings.device) as world:
        talk = (talk if world.leads else None) or Progress()
        # What is wrong with the input is said once, and the store is built once; the others find it built.
        with leader_first(world):
            if (out / SUMS).exists():
                raise InputError(f"{out} holds a finished model; name another folder with --out")
            cohort = read_images(images, **reading)
            split = read_split(splits, cohort, unit=unit, columns=reading.get("columns"))
            check(split, cohort)
            if is_bag_network(settings.network):
                raise InputError(
                    f"{settings.network} learns from feature files in a study: counterstain run study.yaml"
                )
            refuse_features(cohort)
            store = build_store(cohort, out.parent / "store", tile_px=tile_px, fit=fit, progress=talk.stored)
            material, assignment = _one_fold(cohort, split, store, splits, fold, augmentation, tile_px, fit)
            if line := unseen(settings.network, tile_px):
                talk.say(line)
        trained = talk.trained
        progress = None if trained is None else (lambda step: trained(f"{settings.network} seed {seed}", step))
        train_arm(material, assignment, settings, seed=seed, folder=out, progress=progress, world=world)
        if world.leads:
            finish_training(out, CalibrationSection())
            forget(out)
    return world.leads


def _one_fold(
    cohort: Cohort,
    split: Split,
    store: Store,
    splits: Split | StrPath,
    fold: str,
    augmentation: Augmentation | None,
    tile_px: int,
    fit: str,
) -> tuple[TileDataset, list[str]]:
    """The material of one division of the cohort, and the part of each of its images."""
    names = set(store.image)
    readable = np.array([name in names for name in cohort.image])
    part = next((part for part in split.parts if f"{part.repeat}-{part.fold}" == fold), None)
    if part is None:
        known = ", ".join(f"{part.repeat}-{part.fold}" for part in split.parts)
        where = "the split" if isinstance(splits, Split) else str(splits)
        raise InputError(f"{where} has no fold {fold}; it has {known}")
    stamp = IMAGE_STAMP if split.unit == "image" else ""
    material = TileDataset(
        cohort.subset(readable), store, augmentation or Augmentation(), tile_px, fit, stamp, split.unit
    )
    return material, [assigned for assigned, keep in zip(part.assignment, readable, strict=True) if keep]
