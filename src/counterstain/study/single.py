"""One training or one prediction outside a study, over the files between the stages."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from counterstain.audit.membership import MEMBERS, overlap, read_members
from counterstain.cohort.manifest import Cohort
from counterstain.cohort.split import Split, check, only_part, read_split
from counterstain.errors import InputError
from counterstain.judging.calibration import read_calibration, use_warnings
from counterstain.judging.predictions import Predictions
from counterstain.learning.bags import BagStore, open_bags
from counterstain.learning.bundle import SUMS, Bundle, load_network, with_classes_of
from counterstain.learning.checkpoint import forget
from counterstain.learning.distributed import joined, leader_first
from counterstain.learning.machine import prepare_machine
from counterstain.learning.mil import is_bag_network
from counterstain.learning.networks import unseen
from counterstain.learning.runtimes import TRIAL_TILES, check_runtime, choose_runtime
from counterstain.learning.settings import Training
from counterstain.memory import keep_pages
from counterstain.pixels.augment import Augmentation
from counterstain.pixels.store import Store, build_store, read_batch
from counterstain.study.arms import Material, member_tiles, predict_rows, table_of, train_arm
from counterstain.study.bags import predict_bags, write_attention
from counterstain.study.calibrating import finish_training, write_calibrated
from counterstain.study.inputs import Talk, read_images, refuse_features
from counterstain.study.protocol import IMAGE_STAMP, CalibrationSection

__all__ = ["predict_once", "train_once"]


def train_once(
    images: Path,
    splits: Path,
    out: Path,
    *,
    settings: Training,
    augmentation: Augmentation | None = None,
    tile_px: int = 257,
    fit: str = "stretch",
    seed: int = 0,
    fold: str = "0-0",
    unit: str = "patient",
    positive: str | None = None,
    columns: Mapping[str, str] | None = None,
    talk: Talk | None = None,
) -> bool:
    """Train one network on one division of a cohort; `out` becomes its bundle, with history and predictions.

    A training that was stopped goes on from its last finished epoch when the same call is made again. Where a launcher
    (torchrun, accelerate, srun) has started several processes, they train the one network together.

    Returns:
        Whether this is the process that wrote; of several, one does.

    Raises:
        InputError: If `out` holds a finished model, the split does not fit the cohort, or the fold is not in it.
    """
    keep_pages()
    with joined(device=settings.device) as world:
        talk = (talk if world.leads else None) or Talk()
        # What is wrong with the input is said once, and the store is built once; the others find it built.
        with leader_first(world):
            if (out / SUMS).exists():
                raise InputError(f"{out} holds a finished model; name another folder with --out")
            cohort = read_images(images, positive=positive, columns=columns)
            split = read_split(splits, cohort, unit=unit, columns=columns)
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
        shown = talk.trained
        progress = None if shown is None else (lambda step: shown(f"{settings.network} seed {seed}", step))
        train_arm(material, assignment, settings, seed=seed, folder=out, progress=progress, world=world)
        if world.leads:
            finish_training(out, CalibrationSection())
            forget(out)
    return world.leads


def _one_fold(
    cohort: Cohort,
    split: Split,
    store: Store,
    splits: Path,
    fold: str,
    augmentation: Augmentation | None,
    tile_px: int,
    fit: str,
) -> tuple[Material, list[str]]:
    """The material of one division of the cohort, and the part of each of its images."""
    names = set(store.image)
    kept = np.array([name in names for name in cohort.image])
    part = next((part for part in split.parts if f"{part.repeat}-{part.fold}" == fold), None)
    if part is None:
        known = ", ".join(f"{part.repeat}-{part.fold}" for part in split.parts)
        raise InputError(f"{splits} has no fold {fold}; it has {known}")
    stamp = IMAGE_STAMP if split.unit == "image" else ""
    material = Material(cohort.subset(kept), store, augmentation or Augmentation(), tile_px, fit, stamp, split.unit)
    return material, [word for word, keep in zip(part.assignment, kept, strict=True) if keep]


def predict_once(
    bundle: Path,
    images: Path,
    out: Path,
    *,
    splits: Path | None = None,
    part: str = "test",
    runtime: str = "auto",
    precision: str = "fp32",
    attention: Path | None = None,
    columns: Mapping[str, str] | None = None,
    talk: Talk | None = None,
) -> None:
    """Predict the images of a cohort, or one part of its split, with a trained bundle; write predictions.csv.

    Probabilities are calibrated as the bundle says, and its threshold and prediction sets are applied. Where the model
    has seen an image or a patient before, it is said. So is what ran the network: "auto" takes the fastest runtime
    that is installed and agrees with torch, see runtimes.choose_runtime.

    A bundle of a network of bags takes a manifest of feature files; torch in fp32 runs it. With `attention` it also
    writes the weight of every tile to that folder, see bags.write_attention.

    Raises:
        InputError: If the bundle is damaged, the cohort's classes are not the bundle's, the part is empty, or the
            runtime asked for is not there.
    """
    talk = talk or Talk()
    check_runtime(runtime, precision)
    prepare_machine(device="cpu", precision="fp32")
    known, network = load_network(bundle)
    two = known.classes[-1] if len(known.classes) == 2 else None
    cohort = read_images(images, positive=two, columns=columns)
    cohort = with_classes_of(known, cohort, images=f"{images} has", model=str(bundle))
    cohort = only_part(cohort, splits, part, columns=columns)
    store: Store | BagStore
    if is_bag_network(known.network):
        width = int(known.layout["width"])
        store = open_bags(cohort, out.parent / "store", width=width, progress=talk.stored)
    else:
        refuse_features(cohort)
        if attention is not None:
            raise InputError(
                f"{bundle} is a model of tiles ({known.network}); attention is of networks of bags (mil/…)"
            )
        store = build_store(cohort, out.parent / "store", tile_px=known.tile_px, fit=known.fit, progress=talk.stored)
    names = set(store.image)
    chosen = np.flatnonzero([name in names for name in cohort.image]).astype(np.int64)
    material = Material(cohort, store, Augmentation(mode="none"), known.tile_px, known.fit, known.stamp)
    for line in _seen_before(bundle, material, chosen):
        talk.say(f"seen before: {line}")
    if isinstance(store, BagStore):
        table = table_of(material, chosen, predict_bags(network, store, material.rows(chosen)))
    else:
        table = _predict_tiles(material, chosen, known, network, runtime, precision, talk)
    fitted = read_calibration(bundle)
    for line in () if fitted is None else use_warnings(fitted, known.stamp):
        talk.say(f"calibration: {line}")
    write_calibrated(table, fitted, out)
    if attention is not None:
        files = [cohort.root / cohort.image[row] for row in chosen]
        write_attention(bundle, files, attention)
    for image, reason in store.set_aside:
        talk.say(f"set aside: {image}: {reason}")


def _predict_tiles(
    material: Material,
    chosen: NDArray[np.int64],
    known: Bundle,
    network: nn.Module,
    runtime: str,
    precision: str,
    talk: Talk,
) -> Predictions:
    """The predictions by what runs the network fastest, or by what was asked for; it is said which."""
    sample = known.staining.for_all(read_batch(material.tiles, material.rows(chosen[:TRIAL_TILES])))
    taken = choose_runtime(network, sample, scale=known.scale, images=len(chosen), asked=runtime, precision=precision)
    for line in taken.lines:
        talk.say(line)
    blank: list[int] = []
    staining = replace(known.staining, passed=blank.append)
    table = predict_rows(material, chosen, network, scale=known.scale, infer=taken.infer, staining=staining)
    if sum(blank):
        talk.say(
            f"stain: {sum(blank)} of {len(chosen)} tiles have too little tissue to be normalised and pass as they are"
        )
    return table


def _seen_before(bundle: Path, material: Material, chosen: np.ndarray) -> tuple[str, ...]:
    """What of these images the bundle's model was trained on, in words; nothing where the bundle does not know."""
    if not (bundle / MEMBERS).is_file():
        return ()
    table, store = material.cohort.table.iloc[chosen], material.store
    names = tuple(table["image_path"])
    rows = store.rows(names)
    found = overlap(
        read_members(bundle),
        patient=tuple(table["patient_id"]),
        image=names,
        file=[store.content[row] for row in rows],
        tiles=member_tiles(material, rows),
    )
    return found.words
