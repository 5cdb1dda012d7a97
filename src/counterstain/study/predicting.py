"""A trained model given images, with or without labels: one call per image, and what backs it."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from counterstain.audit.own_fold import part_of_model
from counterstain.audit.training_set import MEMBERS, Overlap, overlap, read_members
from counterstain.cohort.cohort import Cohort
from counterstain.cohort.layouts import read_images
from counterstain.cohort.new_images import NewImages, of_cohort, read_new_images
from counterstain.errors import InputError
from counterstain.evaluation.arm_scores import score_arms
from counterstain.evaluation.calibration import Calibration, calibrate, read_calibration, use_warnings
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.rows import rows_named
from counterstain.images.store import Store, build_store, read_batch
from counterstain.learning.bag_dataset import BagStore, is_feature_file, open_bags
from counterstain.learning.bag_loop import predict_bags, write_attention
from counterstain.learning.bundle import FINDING_CALIBRATION, Bundle, load_network, read_bundle, with_classes_of
from counterstain.learning.device import device_for, prepare_device
from counterstain.learning.mil_networks import is_bag_network
from counterstain.learning.model_choice import ModelChoice, choose_model, ensemble_calibration
from counterstain.learning.ood_statistics import STATISTICS, OodStatistics, read_ood_statistics
from counterstain.learning.predictor import predict_logits
from counterstain.learning.runtimes import (
    TRIAL_TILES,
    RuntimeChoice,
    check_runtime,
    choose_runtime,
    softmax,
    torch_runtime,
)
from counterstain.learning.unfamiliar import listening, measure_distances
from counterstain.progress import Progress
from counterstain.study.calibrate import decided_as, sets_of
from counterstain.study.finding_predictions import answers_of_findings, read_finding_calibration
from counterstain.study.predicted import Predicted, PredictionOptions, draw_sheet, write_predicted

__all__ = ["Predicted", "PredictionOptions", "predict_images"]

FEW = 2_000  # images whose tiles are not worth keeping beside the predictions


def predict_images(
    model: Path,
    sources: Cohort | Sequence[Path],
    out: Path,
    *,
    options: PredictionOptions | None = None,
    talk: Progress | None = None,
) -> Predicted:
    """Predict images with a bundle, an export or a run; write predictions.csv, and the contact sheet where asked.

    No labels are needed; where they are known, the predictions are scored. The table has one row per image: ids, the
    label where one is known, calibrated probabilities, `decision` with `decision_rule`, `prediction_set`, and what
    speaks against believing them: `seen_in_training`, `distance` and `unfamiliar`, `spread` of an ensemble.

    Args:
        model: see choose_model.
        sources: a Cohort; or pictures, folders, a table or containers, see read_new_images; feature files for mil/….
        out: the CSV to write.
        options: how.
        talk: where lines are told.

    Raises:
        InputError: If the model or a source cannot be used, no image can be read, or a setting does not fit.
    """
    options, talk = options or PredictionOptions(), talk or Progress()
    check_runtime(options.runtime, options.precision)
    choice = choose_model(model, arm=options.arm, seed=options.seed, fold=options.fold, ensemble=options.ensemble)
    bundle = read_bundle(choice.folder)
    if choice.words:
        talk.say(choice.words)
    of_slides = is_bag_network(bundle.network)
    if options.attention is not None and not of_slides:
        raise InputError(
            f"{choice.folder} is a model of tiles ({bundle.network}); attention is of networks of bags (mil/…)"
        )
    images = _read(sources, choice.folder, bundle, options, features=of_slides)
    for note in images.notes:
        talk.say(note)
    if of_slides and options.device == "cuda":
        raise InputError(
            f"{bundle.network} is a model of whole slides, which computes on the processor; take device cpu"
        )
    device = "cpu" if of_slides else device_for(options.runtime, options.device)
    options = replace(options, device=prepare_device(device=device, precision="fp32").device)
    with _place_of_store(out, images) as place:
        store = _open(images, bundle, place, of_slides=of_slides, talk=talk)
        names = set(store.image)
        images = images.subset(np.array([name in names for name in images.image]))
        raw, distance = _answers(choice, store, store.rows(images.image), options, talk)
        seen = _seen(choice.folder, images, store)
        findings = answers_of_findings(choice.folders, store, store.rows(images.image), device=options.device)
        sample = _shown(store, images) if options.sheet is not None else None
    fitted = ensemble_calibration(choice) if len(raw) > 1 else read_calibration(choice.folder)
    predicted = _called(choice, bundle, images, raw, fitted, distance, seen, store.set_aside, out)
    predicted = replace(predicted, findings=findings)
    _tell(predicted, bundle, fitted, seen, talk)
    write_predicted(predicted)
    if options.attention is not None:
        write_attention(choice.folder, [images.root / name for name in images.image], options.attention)
    if options.sheet is not None and sample is not None:
        draw_sheet(predicted, sample, options.sheet)
    return predicted


# -------------------------------------------------------------------------------------------------------------- reading


def _read(
    sources: Cohort | Sequence[Path], folder: Path, bundle: Bundle, options: PredictionOptions, *, features: bool
) -> NewImages:
    """The images; of one part of a split where that is asked, and then with the labels that a split is of."""
    findings = tuple(read_finding_calibration(folder)) if (folder / FINDING_CALIBRATION).is_file() else ()
    if options.splits is not None:
        if not isinstance(sources, Cohort) and len(sources) != 1:
            raise InputError(f"--splits belongs to one cohort; {len(sources)} sources were named")
        source = sources if isinstance(sources, Cohort) else sources[0]
        positive = bundle.classes[-1] if len(bundle.classes) == 2 else None
        cohort = read_images(source, positive=positive, **options.reading)
        cohort_name = "the cohort" if isinstance(source, Cohort) else str(source)
        cohort = with_classes_of(bundle, cohort, images=f"{cohort_name} has", model="the model")
        part = part_of_model(
            folder, cohort, options.splits, options.part,
            stamp=bundle.stamp, fold=options.split_fold, columns=options.reading.get("columns"),
        )  # fmt: skip
        images = of_cohort(part, bundle.classes)
    elif isinstance(sources, Cohort):
        images = of_cohort(read_images(sources, **options.reading), bundle.classes, findings)
    else:
        images = read_new_images(sources, bundle.classes, features=features, findings=findings, **options.reading)
    if not features and (feature_file := next((name for name in images.image if is_feature_file(name)), None)):
        raise InputError(f"{feature_file} is a feature file, not an image; {bundle.network} is a model of tiles")
    return images


@contextmanager
def _place_of_store(out: Path, images: NewImages) -> Iterator[Path]:
    """Where the tiles go: beside the predictions if that is where tiles are, or many; else to a folder that goes."""
    beside = out.parent / "store"
    if beside.is_dir() or len(images) > FEW:
        yield beside
        return
    with tempfile.TemporaryDirectory(prefix="counterstain-") as folder:
        yield Path(folder)


def _open(images: NewImages, bundle: Bundle, place: Path, *, of_slides: bool, talk: Progress) -> Store | BagStore:
    """The readable images; any number of the others is skipped, but not all."""
    if of_slides:
        return open_bags(images, place, width=int(bundle.layout["width"]), max_bad=1.0, progress=talk.stored)
    return build_store(images, place, tile_px=bundle.tile_px, fit=bundle.fit, max_bad=1.0, progress=talk.stored)


# ------------------------------------------------------------------------------------------------------------ answering


def _answers(
    choice: ModelChoice, store: Store | BagStore, rows: NDArray[np.int64], options: PredictionOptions, talk: Progress
) -> tuple[list[NDArray[np.float64]], tuple[NDArray[np.float64], OodStatistics] | None]:
    """Each member's (N, C) probabilities before calibration, and the distances by the first one's statistics."""
    prob: list[NDArray[np.float64]] = []
    distance = None
    announced: set[str] = set()  # members differ in their weights: what is said of one is not said again
    for number, folder in enumerate(choice.folders):
        bundle, network = load_network(folder)
        if isinstance(store, BagStore):
            prob.append(predict_bags(network, store, rows))
            continue
        statistics = None
        if number == 0 and (folder / STATISTICS).is_file():
            statistics = read_ood_statistics(folder / STATISTICS)
        logits, distances = _tile_logits(bundle, network, store, rows, statistics, options, talk, announced)
        prob.append(softmax(logits))
        if statistics is not None and distances is not None:
            distance = distances, statistics
    return prob, distance


def _tile_logits(
    bundle: Bundle,
    network: nn.Module,
    store: Store,
    rows: NDArray[np.int64],
    statistics: OodStatistics | None,
    options: PredictionOptions,
    talk: Progress,
    announced: set[str],
) -> tuple[NDArray[np.float32], NDArray[np.float64] | None]:
    """(N, C) logits by the fastest runtime or the one asked for, and (N,) distances where there are statistics.

    announced: what has been said before, the name of a runtime or a sentence; it is added to.
    """
    sample = bundle.staining.for_all(read_batch(store, rows[:TRIAL_TILES]))
    if options.device == "cpu":
        runtime = choose_runtime(
            network, sample, scale=bundle.scale, images=len(rows), runtime=options.runtime, precision=options.precision
        )
    else:
        runtime = _on_device(network.to(options.device), bundle.scale, options)
    if runtime.name not in announced:  # the measured speeds differ each time, the runtime does not
        announced.add(runtime.name)
        for line in runtime.lines:
            talk.say(line)
    blank: list[int] = []
    staining = replace(bundle.staining, passed=blank.append)

    def run(infer: Callable[..., Any] | None) -> NDArray[np.float32]:
        return predict_logits(network, store, rows, scale=bundle.scale, infer=infer, staining=staining)

    distances = None
    if statistics is not None and runtime.name == "torch":
        with listening(network) as features:  # the same pass gives both
            logits = run(runtime.infer)
        distances = measure_distances(features, statistics)
    else:
        logits = run(runtime.infer)
        if statistics is not None:
            with listening(network) as features:
                predict_logits(network, store, rows, scale=bundle.scale, staining=bundle.staining)
            distances = measure_distances(features, statistics)
    note = f"stain: {sum(blank)} of {len(rows)} tiles have too little tissue to be normalised and are used unchanged"
    if sum(blank) and note not in announced:
        announced.add(note)
        talk.say(note)
    return logits, distances


def _on_device(network: nn.Module, scale: str, options: PredictionOptions) -> RuntimeChoice:
    """PyTorch on another device than the processor."""
    infer = torch_runtime(network, scale=scale, device=options.device, precision=options.precision)
    return RuntimeChoice(
        "torch", infer, (f"runtime: torch {torch.__version__}, {options.precision}, {options.device}",)
    )


def _seen(folder: Path, images: NewImages, store: Store | BagStore) -> Overlap | None:
    """What of these images the model was trained on; None where the bundle does not know."""
    if not (folder / MEMBERS).is_file():
        return None
    rows = store.rows(images.image)
    tiles = (read_batch(store, np.array([row]))[0] for row in rows) if isinstance(store, Store) else ()
    return overlap(
        read_members(folder),
        patient=tuple(images.table["patient_id"]),
        image=images.image,
        file=[store.content[row] for row in rows],
        tiles=tiles,
    )


def _called(
    choice: ModelChoice,
    bundle: Bundle,
    images: NewImages,
    raw: Sequence[NDArray[np.float64]],
    fitted: Calibration | None,
    distance: tuple[NDArray[np.float64], OodStatistics] | None,
    seen: Overlap | None,
    set_aside: tuple[tuple[str, str], ...],
    out: Path,
) -> Predicted:
    """The calls and all that backs them."""
    prob = np.mean(raw, axis=0)
    if fitted is not None:
        prob = calibrate(fitted, prob, bundle.classes)
    table = _table(images, prob, bundle.classes)
    call, rule = decided_as(fitted, table)
    spread = None
    if len(raw) > 1:
        members = [
            _calibrated(folder, member, bundle.classes) for folder, member in zip(choice.folders, raw, strict=True)
        ]
        spread = np.std([member[np.arange(len(call)), call] for member in members], axis=0, ddof=1)
    labelled = images.labelled
    in_training = None
    if seen is not None:
        in_training = np.zeros(len(images), dtype=np.bool_)
        in_training[[*seen.rows["file"], *seen.rows["pixels"]]] = True
    return Predicted(
        images=images,
        classes=bundle.classes,
        prob=prob,
        call=call,
        rule=rule,
        sets=None if fitted is None else sets_of(fitted, table),
        sets_hold=fitted is not None and bool(np.isfinite(fitted.quantiles).all()),
        spread=spread,
        seen=in_training,
        distance=None if distance is None else distance[0],
        unfamiliar=None if distance is None else distance[0] > distance[1].limit,
        set_aside=set_aside,
        scores=score_arms(
            {"model": [_labelled(images, prob, bundle.classes, ordered=choice.graded)]},
            stamp=bundle.stamp,
            averaged=len(raw),
        )
        if labelled.any()
        else None,
        threshold=None if fitted is None or len(bundle.classes) != 2 else fitted.threshold,
        out=out,
        choice=choice,
    )


def _calibrated(folder: Path, prob: NDArray[np.float64], classes: tuple[str, ...]) -> NDArray[np.float64]:
    fitted = read_calibration(folder)
    return prob if fitted is None else calibrate(fitted, prob, classes)


def _table(images: NewImages, prob: NDArray[np.float64], classes: tuple[str, ...]) -> Predictions:
    """The probabilities as a table whose labels are ignored: for what looks at probabilities alone."""
    blank = ("",) * len(images)
    return Predictions(
        image=images.image, patient=images.image, slide=blank, site=blank, label=np.zeros(len(images), np.int64),
        prob=prob, classes=classes,
    )  # fmt: skip


def _labelled(images: NewImages, prob: NDArray[np.float64], classes: tuple[str, ...], *, ordered: bool) -> Predictions:
    """The predictions of the images whose label is known."""
    labelled = images.labelled
    table = images.table[labelled]
    patient = tuple(owner or image for owner, image in zip(table["patient_id"], table["image_path"], strict=True))
    names, slides = tuple(table["image_path"]), tuple(table["slide_id"])
    return Predictions(
        image=names, patient=patient, slide=slides, site=tuple(table["site"]),
        label=np.array([classes.index(name) for name in table["label"]], dtype=np.int64), prob=prob[labelled],
        classes=classes, ordered=ordered, positive_from="given", rows_are=rows_named(names, slides, patient),
    )  # fmt: skip


# -------------------------------------------------------------------------------------------------------------- telling


def _tell(
    predicted: Predicted, bundle: Bundle, fitted: Calibration | None, seen: Overlap | None, talk: Progress
) -> None:
    for line in () if seen is None else seen.words:
        talk.say(f"seen before: {line}")
    for line in () if fitted is None else use_warnings(fitted, bundle.stamp):
        talk.say(f"calibration: {line}")
    if fitted is None:  # too few patients for sets are among the notes of a calibration
        talk.say("no prediction sets: the model is not calibrated")
    for image, reason in predicted.set_aside:
        talk.say(f"skipped: {image}: {reason}")


SHOWN = 60  # images on a contact sheet at most


def _shown(store: Store | BagStore, images: NewImages) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Evenly taken images and their tiles."""
    if isinstance(store, BagStore):
        raise InputError("a contact sheet needs images, and this model takes feature files; omit --sheet")
    rows = np.linspace(0, len(images) - 1, min(SHOWN, len(images))).astype(np.int64)
    return rows, read_batch(store, store.rows([images.image[row] for row in rows]))
