"""What a study works on: its cohort, its split, and its tiles, read and checked before anything is trained."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from counterstain.cohort.cohort import Cohort
from counterstain.cohort.layouts import read_images
from counterstain.cohort.manifest import read_manifest
from counterstain.cohort.site_splitters import leave_one_site_out, site_preserved_folds
from counterstain.cohort.splitters import Split, check, folds, holdout, official, read_split
from counterstain.errors import InputError
from counterstain.evaluation.rows import RowName, rows_named
from counterstain.files import hash_json
from counterstain.images.augmentation import Augmentation
from counterstain.images.store import Store, build_store
from counterstain.learning.bag_dataset import BagStore, open_bags, refuse_features
from counterstain.learning.build import start_network
from counterstain.learning.dataset import TileDataset
from counterstain.learning.networks import count_parameters, unseen
from counterstain.learning.own_network import is_own, receptive_field
from counterstain.progress import Progress
from counterstain.study.legacy import expand_cohort
from counterstain.study.study_config import Study

__all__ = ["PreparedStudy", "prepare", "read_cohort", "split_cohort"]

TABLES = (".csv", ".tsv", ".parquet", ".pq")


@dataclass(frozen=True)
class PreparedStudy:
    """A study with its cohort, tiles and split in hand, before anything is trained."""

    study: Study
    material: TileDataset
    split: Split
    full: Cohort

    @property
    def rows_are(self) -> RowName:
        """What one row of its cohort and tables is: "image", or of feature files "slide", "patient" or "bag"."""
        cohort = self.material.cohort
        image = tuple(cohort.table["image_path"])
        patient = cohort.patient if self.study.split.unit == "patient" else image
        return rows_named(image, tuple(cohort.table["slide_id"]), patient)

    def key(self) -> dict[str, object]:
        """All that the results depend on."""
        parts = [(part.repeat, part.fold, hash_json({"": list(part.assignment)})) for part in self.split.parts]
        return {"study": self.study.resolved(), "data": self.material.store.data_hash, "split": parts}


def read_cohort(study: Study, base: Path) -> Cohort:
    """The study's cohort; a relative path counts from `base`, the folder of the study's file."""
    options = study.cohort.model_dump(exclude={"path", "root", "order", "findings"})
    root = None if study.cohort.root is None else base / study.cohort.root
    if study.cohort.findings:
        table_options = {key: options[key] for key in ("columns", "splits", "pattern")}
        return read_manifest(base / study.cohort.path, root=root, findings=study.cohort.findings, **table_options)
    cohort = read_images(base / study.cohort.path, root=root, **options)
    return cohort if study.cohort.order is None else cohort.with_order(study.cohort.order)


def split_cohort(study: Study, cohort: Cohort, base: Path, *, aside: Sequence[str] = ()) -> Split:
    """The study's split of its cohort, checked: no patient on two sides, every class in every part.

    Args:
        study: its split section.
        cohort: of the readable images.
        base: the folder that split.file counts from.
        aside: images that a split file may list though they were skipped.
    """
    section = study.split
    if section.file is not None:
        split = read_split(
            base / section.file, cohort, unit=section.unit, val=section.val, seed=section.seed, aside=aside
        )
    elif section.method == "folds":
        split = folds(
            cohort,
            k=section.folds,
            repeats=section.repeats,
            val=section.val,
            unit=section.unit,
            seed=section.seed,
        )
    elif section.method == "sites":
        split = leave_one_site_out(cohort, val=section.val, unit=section.unit, seed=section.seed)
    elif section.method == "site_folds":
        split = site_preserved_folds(cohort, k=section.folds, val=section.val, unit=section.unit, seed=section.seed)
    elif section.method == "official":
        split = official(cohort, val=section.val, unit=section.unit, seed=section.seed)
    else:
        split = holdout(cohort, test=section.test, val=section.val, unit=section.unit, seed=section.seed)
    check(split, cohort)
    return split


def _check_comparison(study: Study, classes: int) -> None:
    """Refuse what the comparison asks of two classes where there are more."""
    section = study.comparison
    if classes == 2:
        return
    if section.thresholds == "frozen":
        raise InputError(
            f"comparison.thresholds is frozen, but there are {classes} classes; a threshold is for two. "
            "Write `thresholds: half` there, or leave it out"
        )
    if "npv" in (section.primary, *section.co_primary):
        raise InputError(
            f"comparison asks for the NPV, but there are {classes} classes; the NPV is the precision of calling one of "
            "two classes negative. Take `precision` (the mean over the classes), or another measure"
        )


def prepare(study: Study, base: Path, *, store: Path, talk: Progress) -> PreparedStudy:
    """Read the cohort, decode its images once, split what is left; refuses here what cannot be studied."""
    cohort = read_cohort(study, base)
    talk.say(
        f"cohort: {len(cohort)} {'feature files' if study.of_bags else 'images'}, classes {', '.join(cohort.classes)}"
    )
    _check_comparison(study, len(cohort.classes))
    if study.split.method == "legacy_augment_first":
        cohort = expand_cohort(cohort, study, store, talk.stored)
        talk.say(f"legacy protocol: expanded to {len(cohort)} images BEFORE the split")
    # A split that cannot be made is told before an hour of decoding; the one used is made of the readable images.
    split_cohort(study, cohort, base)
    tiles = _build_store(study, cohort, store, talk)
    names = set(tiles.image)
    readable = cohort.subset(np.array([name in names for name in cohort.image]))
    split = split_cohort(study, readable, base, aside=[name for name, _ in tiles.set_aside])
    for network in dict.fromkeys(study.arm(name).network for name in study.arms):
        if line := unseen(network, study.tiles.tile_px):
            talk.say(line)
    for line in own_words(study, len(readable.classes)):
        talk.say(line)
    augmentation: Augmentation = study.augmentation
    if study.split.method == "legacy_augment_first" or study.of_bags:
        augmentation = Augmentation(mode="none")
    if isinstance(tiles, BagStore):
        readable = replace(readable, notes=(*readable.notes, _bag_words(tiles)))
    side, fit = (0, "features") if study.of_bags else (study.tiles.tile_px, study.tiles.fit)
    material = TileDataset(readable, tiles, augmentation, side, fit, study.stamp, study.split.unit)
    return PreparedStudy(study, material, split, cohort)


def own_words(study: Study, classes: int) -> Iterator[str]:
    """A line for each own network: parameters and receptive field; each is built and tried, before an hour of work."""
    reported = set()
    for name in study.arms:
        settings = study.arm(name)
        if not is_own(settings.network):
            continue
        network, _ = start_network(settings, classes=classes, tile_px=study.tiles.tile_px, seed=0)
        side = receptive_field(network, study.tiles.tile_px)
        reach = "not known" if side is None else f"{side} px of {study.tiles.tile_px}"
        line = f"network {settings.network}: {count_parameters(network):,} parameters, receptive field {reach}"
        if line not in reported:
            reported.add(line)
            yield line


def _bag_words(bags: BagStore) -> str:
    low, high = int(bags.count.min()), int(bags.count.max())
    of = f" of {bags.encoder}" if bags.encoder else ""
    return f"each row is a feature file: {low:,} to {high:,} tiles with {bags.width} features{of}"


def _build_store(study: Study, cohort: Cohort, folder: Path, talk: Progress) -> Store | BagStore:
    began = time.perf_counter()
    section = study.tiles
    if study.of_bags:
        bags = open_bags(cohort, folder, max_bad=section.max_bad, progress=talk.stored)
        aside = f", {len(bags.set_aside)} skipped" if bags.set_aside else ""
        talk.say(f"bags: {len(bags.image)}{aside}; {_bag_words(bags)}")
        return bags
    refuse_features(cohort)
    store = build_store(
        cohort, folder, tile_px=section.tile_px, fit=section.fit, max_bad=section.max_bad, progress=talk.stored
    )
    aside = f", {len(store.set_aside)} skipped" if store.set_aside else ""
    if store.rebuilt:
        talk.say(f"tiles: rebuilt, because {store.rebuilt}")
    talk.say(f"tiles: {len(store.image)} of {section.tile_px} px in {time.perf_counter() - began:.1f} s{aside}")
    side = int(np.median(store.size_px.max(axis=1)))
    if 2 * side <= section.tile_px:
        talk.say(
            f"tiles: the images have {side} px and are enlarged to {section.tile_px}, which adds nothing to them; a "
            f"tiles.tile_px near {side} is faster, and a network may need the larger one"
        )
    return store
