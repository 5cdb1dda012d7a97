"""The robustness card: how far a bundle's answers hold when tiles are not as it knew them; its record and its files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterstain.audit.own_fold import part_of_model
from counterstain.cohort.cohort import Cohort
from counterstain.cohort.split import Split
from counterstain.errors import GateError, InputError
from counterstain.evaluation.calibration import Calibration, read_calibration
from counterstain.evaluation.intervals import FEW_PATIENTS
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.thresholds import is_stated
from counterstain.files import StrPath, hash_file, hash_json, read_record, write_csv, write_json
from counterstain.images.store import Store, build_store
from counterstain.learning.bundle import SUMS, Bundle, with_classes_of
from counterstain.learning.device import device_for, prepare_device
from counterstain.learning.model_choice import title_of
from counterstain.learning.predictor import Predictor, load_predictor, read_tile_bundle
from counterstain.progress import Progress
from counterstain.reports.robustness_report import write_card
from counterstain.robustness.budget import Budget, check_budget, judge_budget, read_budget
from counterstain.robustness.examples import write_examples
from counterstain.robustness.losses import (
    Evaluation,
    Evaluator,
    judge_of,
    measures_of,
    rotation_record,
    site_record,
    step_record,
)
from counterstain.robustness.measurement import choose_images, measure, penultimate, site_setting
from counterstain.robustness.site_probe import PROBE_IMAGES, probe_sites
from counterstain.robustness.trials import ROTATION, Setting, Step, Trial, choose_trials, steps_of, tile_mpp
from counterstain.unfinished import open_unfinished
from counterstain.version import __version__

__all__ = ["SCHEMA", "check_limits", "robustness_card"]

SCHEMA = "counterstain.robustness/1"
CONFIDENCE = 0.95  # of every interval of the card
RECORD, PAGE = "robustness.json", "robustness.html"


@dataclass(frozen=True, eq=False)
class _TriedImages:
    """The images that are tried: cohort and rows of the store in the same order, and what their tiles are like."""

    bundle: Bundle
    cohort: Cohort
    store: Store
    rows: NDArray[np.int64]
    mpp: NDArray[np.float64] | None
    offered: int
    notes: list[str] = field(default_factory=list)

    @property
    def sites(self) -> int:
        return len(set(self.cohort.table["site"]) - {""})


def robustness_card(
    folder: Path,
    cohort: Cohort,
    out: Path,
    *,
    splits: Split | StrPath | None = None,
    part: str = "test",
    fold: str | None = None,
    budget: Path | None = None,
    sample: int | None = None,
    only: Sequence[str] = (),
    runtime: str = "auto",
    precision: str = "fp32",
    device: str = "cpu",
    seen: Callable[[Cohort], Sequence[str]] | None = None,
    talk: Progress | None = None,
) -> dict[str, Any]:
    """Try a bundle on every image of a cohort, degraded in every way; write the card; return its record.

    Written to `out`: robustness.json, robustness.csv (one row per number), examples.png and robustness.html. Stopped
    at any moment, the same call resumes from what was predicted; of a card that is whole it returns the record.

    Args:
        folder: of the bundle.
        cohort: of the bundle's classes.
        out: a folder without a card of anything else.
        splits, part: one part of a split of the cohort or of its file, where not all of it is meant.
        fold: of that split, as "repeat-fold"; by default the model's own.
        budget: a file of limits, see budget.Budget.
        sample: at most so many images, evenly over the patients.
        only: names of trials, where not all are wanted; see trials.TRIALS, and "rotation".
        runtime, precision: see load_predictor; device: "auto", "cpu" or "cuda".
        seen: what to tell a reader of the images that are tried, such as that the model was trained on them.
        talk: told what is done, and how far the predictions are.

    Raises:
        InputError: If the bundle is damaged, classes differ, the part is empty, `out` has another card, or the budget
            or `only` asks for what cannot be tried on this cohort.
        GateError: After everything is written, if a limit of the budget is not met; one line a limit.
    """
    talk = talk or Progress()
    known = _known_card(out, hash_file(folder / SUMS)) if (out / RECORD).exists() else None
    limits = read_budget(budget) if budget is not None else None
    material = _material(folder, cohort, out, splits, part, fold, sample, talk)
    trials, trial_notes = choose_trials(mpp_known=material.mpp is not None, sites=material.sites, only=only)
    rotation = not only or ROTATION in only
    if limits is not None:
        measures = measures_of(material.bundle.classes)
        check_budget(limits, trials, rotation=rotation, sites=material.sites, measures=measures)
    key = _key(folder, material, limits, only=only, asked=("" if splits is None else part, runtime, precision, device))
    if known is not None:
        return _finish(out, known, key, talk)
    unfinished = open_unfinished(out, key)
    calibration, threshold, threshold_words = _threshold(folder, material.bundle)
    judge = judge_of(_images(material), calibration, threshold)
    steps = steps_of(list(trials.values()), rotation=rotation)
    chosen = prepare_device(device=device_for(runtime, device), precision="fp32").device
    store, rows, ways = material.store, material.rows, 1 + len(steps)
    predictor = load_predictor(folder, runtime=runtime, precision=precision, device=chosen, images=len(rows) * ways)
    talk.say(f"predicting {len(rows):,} images in {ways} ways, by {predictor.runtime} on {chosen}")
    setting = site_setting(store, rows, list(material.cohort.table["site"]), material.mpp)
    progress = None if talk.step is None else partial(talk.step, "predicting")
    prob = measure(predictor.probabilities, store, rows, steps, setting, unfinished=unfinished, progress=progress)
    talk.say("scoring")
    clean = judge.judged(prob[0])
    overlap = () if seen is None else seen(material.cohort)
    record: dict[str, Any] = {
        "schema": SCHEMA, "counterstain": __version__, "made_of": key,
        "bundle": _bundle_record(folder, material.bundle, predictor),
        "cohort": _cohort_record(material, part if splits is not None else None),
        "threshold": {"value": threshold if judge.images.positive else None, "words": threshold_words},
        **_scores(judge, clean, list(trials.values()), steps, prob[1:], rotation=rotation),
        "notes": [*overlap, *material.notes, *trial_notes, *_notes(judge)],
    }  # fmt: skip
    if not only:
        record["site_probe"], why = _probe(material, predictor, judge)
        record["notes"] += [why] if why else []
    if limits is not None and budget is not None:
        record["budget"] = {"file": budget.name, **judge_budget(limits, record)}
    _write(out, record, material, setting, trials, clean)
    unfinished.forget()
    check_limits(record)
    return record


def _scores(
    judge: Evaluator,
    clean: Evaluation,
    trials: Sequence[Trial],
    steps: Sequence[Step],
    prob: NDArray[np.float64],
    *,
    rotation: bool,
) -> dict[str, Any]:
    """What the predictions of the degraded tiles come to; the probe and the budget are added later."""
    turned = [judge.judged(step_prob) for step, step_prob in zip(steps, prob, strict=True) if step.trial is None]
    return {
        "unit": judge.images.unit,
        "clean": clean.scores(),
        "curves": [_curve(judge, clean, trial, steps, prob) for trial in trials],
        "rotation": rotation_record(judge, clean, turned) if rotation else None,
        "sites": site_record(clean),
        "site_probe": None,
        "budget": None,
    }


def _key(
    folder: Path, material: _TriedImages, limits: Budget | None, *, only: Sequence[str], asked: Sequence[str]
) -> str:
    """The hash of all that a card depends on."""
    table = material.cohort.table
    described = {name: list(map(str, table[name])) for name in ("image_path", "patient_id", "site", "label", "mpp")}
    return hash_json({
        "schema": SCHEMA, "counterstain": __version__, "bundle": hash_file(folder / SUMS), "cohort": described,
        "data": material.store.data_hash, "only": sorted(only), "asked": list(asked),
        "budget": None if limits is None else limits.model_dump(mode="json"),
    })  # fmt: skip


def _known_card(out: Path, sums: str) -> dict[str, Any]:
    """The record of a card that is there, which must be of this bundle."""
    record = read_record(out / RECORD, SCHEMA)
    if record.get("bundle", {}).get("sha256") != sums:
        raise InputError(f"{out} holds a robustness card of another model; name another folder with --out")
    return record


def _finish(out: Path, record: dict[str, Any], key: str, talk: Progress) -> dict[str, Any]:
    """A card whose record is there: its page is drawn if that was still missing."""
    if record.get("made_of") != key:
        raise InputError(
            f"{out} holds a robustness card of other images or other settings; name another folder with --out"
        )
    talk.say(f"the card in {out} already exists for the same model, images and settings")
    if not (out / PAGE).is_file():
        write_card(out)
    open_unfinished(out, key).forget()
    check_limits(record)
    return record


def check_limits(record: Mapping[str, object]) -> None:
    """Refuse the record of a card whose budget is not met.

    Raises:
        GateError: One line per limit that is not met.
    """
    budget: Any = record["budget"]
    if budget is not None and not budget["met"]:
        failed = [row["words"] for row in budget["limits"] if not row["met"]]
        heading = f"{len(failed)} of {len(budget['limits'])} limits of {budget['file']} are not met"
        raise GateError("\n  ".join([heading, *failed]))


# -------------------------------------------------------------------------------------------------------- what is tried


def _material(
    folder: Path,
    cohort: Cohort,
    out: Path,
    splits: Split | StrPath | None,
    part: str,
    fold: str | None,
    sample: int | None,
    talk: Progress,
) -> _TriedImages:
    bundle = read_tile_bundle(folder)
    cohort = with_classes_of(bundle, cohort, images="the cohort has", model=str(folder))
    cohort = part_of_model(folder, cohort, splits, part, stamp=bundle.stamp, fold=fold)
    if sample is not None and sample < 1:
        raise InputError(f"--sample is {sample}; 1 or more is needed, or leave it out for all")
    offered = len(cohort)
    cohort = cohort.subset(choose_images(cohort, sample))
    store = build_store(cohort, out.parent / "store", tile_px=bundle.tile_px, fit=bundle.fit, progress=talk.stored)
    stored = set(store.image)
    cohort = cohort.subset(np.array([name in stored for name in cohort.image]))
    rows = store.rows(cohort.image)
    mpp = tile_mpp(cohort, store, rows, fit=bundle.fit)
    notes = [f"{image} was skipped: {reason}" for image, reason in store.set_aside]
    if len(cohort) + len(store.set_aside) < offered:
        notes.insert(0, f"a sample of {len(cohort):,} of {offered:,} images, balanced over patients")
    if mpp is not None and bundle.mpp is not None and not np.allclose(mpp, bundle.mpp, rtol=0.05):
        mpp_range = f"{mpp.min():.3g} to {mpp.max():.3g}" if np.ptp(mpp) > 1e-3 else f"{mpp.mean():.3g}"
        notes.append(
            f"the bundle was trained at {bundle.mpp:g} µm/px, these tiles have {mpp_range}: the clean scores already "
            "carry an error of scale"
        )
    return _TriedImages(bundle, cohort, store, rows, mpp, offered, notes)


def _images(material: _TriedImages) -> Predictions:
    """The table of the images; its probabilities are to be exchanged for those predicted."""
    table, classes = material.cohort.table, material.bundle.classes
    return Predictions(
        image=tuple(table["image_path"]),
        patient=material.cohort.patient,
        slide=tuple(table["slide_id"]),
        site=tuple(table["site"]),
        label=material.cohort.label_index,
        prob=np.full((len(table), len(classes)), 1 / len(classes)),
        classes=classes,
    )


def _threshold(folder: Path, bundle: Bundle) -> tuple[Calibration | None, float, str]:
    """The bundle's calibration, the threshold of its decisions, and where that is from."""
    calibration = read_calibration(folder)
    if len(bundle.classes) != 2:
        return calibration, 0.5, "the most probable class is called"
    if calibration is None or calibration.threshold is None:
        return calibration, 0.5, "0.5: the bundle has no threshold"
    value, rule = calibration.threshold, calibration.threshold_rule
    if is_stated(rule):
        return calibration, value, f"{value:.3g}, stated when the model was trained, in the bundle"
    chosen = f"chosen on validation {calibration.unit}s by '{rule}' and frozen in the bundle"
    return calibration, value, f"{value:.3g}, {chosen}"


# ---------------------------------------------------------------------------------------------------------- the record


def _bundle_record(folder: Path, bundle: Bundle, predictor: Predictor) -> dict[str, Any]:
    return {
        "folder": folder.name,
        "title": title_of(folder),
        "sha256": hash_file(folder / SUMS),
        "network": bundle.network,
        "classes": list(bundle.classes),
        "positive": bundle.classes[-1] if len(bundle.classes) == 2 else None,
        "tile_px": bundle.tile_px,
        "fit": bundle.fit,
        "mpp": bundle.mpp,
        "stamp": bundle.stamp,
        "runtime": predictor.runtime,
    }


def _cohort_record(material: _TriedImages, part: str | None) -> dict[str, Any]:
    cohort, mpp = material.cohort, material.mpp
    counts = np.bincount(cohort.label_index, minlength=len(cohort.classes))
    return {
        "images": len(cohort),
        "of": material.offered,
        "part": part,
        "patients": len(set(cohort.patient)) if cohort.has_patients else None,
        "sites": material.sites,
        "per_class": dict(zip(cohort.classes, counts.tolist(), strict=True)),
        "tile_mpp": None if mpp is None else {"min": float(mpp.min()), "max": float(mpp.max())},
        "data_hash": material.store.data_hash,
    }


def _curve(
    judge: Evaluator, clean: Evaluation, trial: Trial, steps: Sequence[Step], prob: NDArray[np.float64]
) -> dict[str, Any]:
    rows = [
        {"at": step.at, "shown": trial.shown(step.at), **step_record(judge, clean, judge.judged(step_prob))}
        for step, step_prob in zip(steps, prob, strict=True)
        if step.trial is trial
    ]
    return {
        "trial": trial.name,
        "title": trial.title,
        "axis": trial.axis,
        "percent": trial.percent,
        "signed": trial.signed,
        "clean_at": trial.clean,
        "steps": rows,
    }


def _probe(material: _TriedImages, predictor: Predictor, judge: Evaluator) -> tuple[dict[str, Any] | None, str]:
    if material.sites < 2:
        return None, ""
    chosen = choose_images(material.cohort, PROBE_IMAGES)
    features = penultimate(predictor, material.store, material.rows[chosen])
    if features is None:
        return None, "the network has no last linear layer whose input could be probed for the site"
    images = judge.images
    columns: dict[str, Any] = {
        name: tuple(getattr(images, name)[row] for row in chosen) for name in ("image", "patient", "slide", "site")
    }
    return probe_sites(features, replace(images, label=images.label[chosen], prob=images.prob[chosen], **columns))


def _notes(judge: Evaluator) -> list[str]:
    """What the intervals cannot say."""
    images, units = judge.images, len(judge.units)
    notes = []
    if images.unit == "image":
        notes.append("patients are unknown: images are treated as independent, so intervals are too narrow")
    elif units < FEW_PATIENTS:
        notes.append(f"only {units} patients (fewer than {FEW_PATIENTS}): intervals are wide")
    for number, name in enumerate(images.classes):
        of_class = {patient for patient, label in zip(images.patient, images.label, strict=True) if label == number}
        if len(of_class) < 2:
            notes.append(
                f"class '{name}' has one {images.unit} only: what rests on it has no interval, and no limit is met"
            )
    return notes


def _write(
    out: Path,
    record: dict[str, Any],
    material: _TriedImages,
    setting: Setting,
    trials: Mapping[str, Trial],
    clean: Evaluation,
) -> None:
    """The record comes last but for the page, which is drawn from it alone."""
    out.mkdir(parents=True, exist_ok=True)
    example = write_examples(out / "examples.png", material.store, material.rows, setting, trials, clean)
    record["example"] = example
    write_csv(out / "robustness.csv", *card_rows(record))
    write_json(out / RECORD, record)
    write_card(out)


def card_rows(record: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """The record as a long table: a row a number, with the interval of its difference or of its value."""
    columns = ("trial", "at", "measure", "value", "difference", "low", "high", "interval_of", "confidence")

    def plain(trial: str, at: object, measure: str, score: Mapping[str, Any]) -> tuple[Any, ...]:
        return (trial, at, measure, score["value"], None, score["low"], score["high"], "value")

    rows = [plain("clean", None, name, score) for name, score in record["clean"].items()]
    for curve in record["curves"]:
        for step in curve["steps"]:
            for name, score in step["scores"].items():
                values = (score["value"], score["difference"], score["low"], score["high"], "difference")
                rows.append((curve["trial"], step["at"], name, *values))
            rows += [plain(curve["trial"], step["at"], name, step[name]) for name in ("flipped", "moved")]
    if record["rotation"] is not None:
        measures = ("flipped", "any_flipped", "moved", "largest_moved")
        rows += [plain(ROTATION, None, name, record["rotation"][name]) for name in measures]
    for site in (record["sites"] or {"sites": ()})["sites"]:
        rows += [plain("site", site["site"], name, score) for name, score in (site["scores"] or {}).items()]
    if record["site_probe"] is not None:
        rows.append(plain("site_probe", None, "balanced_accuracy", record["site_probe"]["balanced_accuracy"]))
    # A number that does not exist is an empty cell.
    return columns, [
        tuple(None if isinstance(cell, float) and cell != cell else cell for cell in (*row, CONFIDENCE)) for row in rows
    ]
