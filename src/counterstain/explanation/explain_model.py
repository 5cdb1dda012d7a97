"""The whole explanation of a model on a part of a cohort: its record, its tiles and its page."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from counterstain.audit.own_fold import part_of_model
from counterstain.cohort.cohort import Cohort
from counterstain.cohort.split import Split
from counterstain.errors import GateError, InputError
from counterstain.evaluation.calibration import Calibration, apply_calibration, read_calibration
from counterstain.evaluation.metrics import predicted_class
from counterstain.evaluation.predictions import Predictions
from counterstain.explanation.embedding import Embedding, check_projection, features_of, project
from counterstain.explanation.pointing_game import plan_composites, play
from counterstain.explanation.saliency import BLUR_SHARE, Explainer, make_explainer, sensitivity
from counterstain.explanation.sanity_checks import Trial, check_curves, check_random_weights, check_reach, check_turns
from counterstain.explanation.selection import judge_ability, pick_gallery, spread
from counterstain.files import StrPath, hash_file, hash_json, read_record, write_bytes, write_csv, write_json
from counterstain.images.store import Store, build_store, read_batch
from counterstain.learning.bundle import SUMS, with_classes_of
from counterstain.learning.checkpoint import digest_of
from counterstain.learning.device import prepare_device
from counterstain.learning.model_choice import title_of
from counterstain.learning.predictor import Predictor, load_predictor
from counterstain.records import Json
from counterstain.reports.explanation_report import PAGE, RECORD, SCHEMA, write_page
from counterstain.unfinished import Unfinished, open_unfinished
from counterstain.version import __version__

__all__ = ["ExplanationOptions", "explain", "explain_bundle"]

BATCH = 64
WORDING = "Maps show where the score is sensitive, never why: a highlighted region is neither a finding nor a reason."


@dataclass(frozen=True, kw_only=True)
class ExplanationOptions:
    """What is made.

    method: of saliency.METHODS.
    each: tiles a row of the gallery.
    trials: tiles that the maps are tried on, and composites of the pointing game.
    embedding: "pca" or "umap"; points: tiles on it at most.
    seed: of everything drawn.
    """

    method: str = "hirescam"
    each: int = 8
    trials: int = 32
    embedding: str = "pca"
    points: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("each", 1), ("trials", 4), ("points", 3), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; it must be {least} or more")


def explain_bundle(
    bundle: Path,
    cohort: Cohort,
    out: Path,
    *,
    settings: ExplanationOptions,
    splits: Split | StrPath | None = None,
    part: str = "test",
    fold: str | None = None,
    device: str = "cpu",
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Json]:
    """`explain` for the model in a bundle's folder, on a cohort or on one part of a split of it.

    Args:
        bundle: folder of the trained model.
        cohort: the images, with the bundle's classes in whatever order.
        out: where to; the tile store is made beside it.
        settings: method and counts.
        splits, part: explain only this part of a split or of its splits.csv.
        fold: of the split, as "repeat-fold"; by default the model's own.
        device: "auto", "cpu" or "cuda".
        say, progress: told each step, and how far the tile store has come.

    Raises:
        InputError: If the bundle is damaged, its classes are not the cohort's, or the part is empty; see `explain`.
        GateError: See `explain`.
    """
    machine = prepare_device(device=device, precision="fp32")
    predictor = load_predictor(bundle, device=machine.device)
    model = predictor.bundle
    cohort = with_classes_of(model, cohort, images="the images have", model=str(bundle))
    cohort = part_of_model(bundle, cohort, splits, part, stamp=model.stamp, fold=fold)
    if splits is None:
        say("no --splits: these may be images that the model was trained on")
    store = build_store(cohort, out.parent / "store", tile_px=model.tile_px, fit=model.fit, progress=progress)
    for image, reason in store.set_aside:
        say(f"skipped: {image}: {reason}")
    source = {
        "bundle": bundle.name,
        "title": title_of(bundle),
        "bundle_hash": hash_file(bundle / SUMS),
        "cohort": cohort.root.name,
        "part": part if splits is not None else "",
    }
    return explain(
        predictor, cohort, store, out, settings=settings, source=source, say=say,
        calibration=read_calibration(bundle),
    )  # fmt: skip


def explain(
    predictor: Predictor,
    cohort: Cohort,
    store: Store,
    out: Path,
    *,
    settings: ExplanationOptions,
    calibration: Calibration | None = None,
    source: Mapping[str, object] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Json]:
    """Write explanation.json, embedding.csv, tiles/, overlays/, figures and explanation.html into `out`.

    Where the model cannot be told from one that guesses, the record and the page say so and hold no map. Stopped at
    any moment, the same call resumes after the last finished step; of a whole explanation it returns the record.

    Args:
        predictor: the trained model.
        cohort: the images to explain it on; those that the store has skipped are left out.
        store: of their tiles.
        out: a folder without an explanation of anything else.
        settings: method and counts.
        calibration: of the bundle, so that the probabilities are those of its predictions.
        source: what the record should say of where the bundle and the images came from.
        say: told each step.

    Raises:
        InputError: If `out` holds another explanation, or a setting is wrong.
        GateError: If the model cannot be told from one that guesses; the record is written first.
    """
    check_projection(settings.embedding)
    cohort = cohort.subset(np.isin(np.array(cohort.image, dtype=object), np.array(store.image, dtype=object)))
    key = _key(predictor, cohort, store, calibration, settings)
    if (out / RECORD).exists():
        return _finish(out, key, say)
    unfinished = open_unfinished(out, key)
    explainer = make_explainer(predictor, settings.method)
    table, features = _predict(predictor, cohort, store, calibration, settings, unfinished)
    ability = judge_ability(table)
    rows = store.rows(table.image)
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "counterstain": __version__,
        "made_of": key,
        "wording": WORDING,
        "stamp": predictor.bundle.stamp,
        "network": predictor.bundle.network,
        "classes": list(table.classes),
        "settings": asdict(settings),
        "source": dict(source or {}) | {"data": store.data_hash},
        "images": len(table),
        "patients": len(set(table.patient)) if table.unit == "patient" else None,
        "ability": asdict(ability),
        "layer": None if explainer.layer is None else asdict(explainer.layer),
        "cells": explainer.side,
        "blur_sigma_px": BLUR_SHARE * predictor.bundle.tile_px,
        "gallery": [],
        "validity": None,
        "embedding": None,
    }
    if ability.reason:
        write_json(out / RECORD, record)
        return _finish(out, key, say)
    say(f"maps: {settings.method}, {explainer.side} × {explainer.side} cells")
    record["gallery"] = unfinished.record("gallery", lambda: _gallery(explainer, table, store, rows, out, settings))
    record["validity"] = _validity(explainer, table, store, rows, settings, say, unfinished)
    say("embedding")
    record["embedding"] = _embed(features, table, out, settings)
    write_json(out / RECORD, record)
    return _finish(out, key, say)


def _key(
    predictor: Predictor, cohort: Cohort, store: Store, calibration: Calibration | None, settings: ExplanationOptions
) -> str:
    """The hash of all that an explanation depends on."""
    described = {name: list(map(str, cohort.table[name])) for name in ("image_path", "patient_id", "site", "label")}
    return hash_json({
        "schema": SCHEMA, "counterstain": __version__, "weights": digest_of(predictor.network.state_dict()),
        "data": store.data_hash, "bundle": predictor.bundle.record(), "cohort": described, "settings": asdict(settings),
        "calibration": None if calibration is None else calibration.to_record(),
    })  # fmt: skip


def _finish(out: Path, key: str, say: Callable[[str], None]) -> dict[str, Any]:
    """An explanation whose record is there: its page is drawn if that is still missing, and the gate asked."""
    record = read_record(out / RECORD, SCHEMA)
    if record.get("made_of") != key:
        raise InputError(
            f"{out} holds an explanation of another model, other images or other settings; name another folder with "
            "--out"
        )
    if (out / PAGE).is_file():
        say(f"the explanation in {out} already exists for the same model, images and settings")
    else:
        write_page(out)
    open_unfinished(out, key).forget()
    if reason := record["ability"]["reason"]:
        raise GateError(
            f"no map is shown: {reason}. Explain it on more patients, or train a better model; the record is "
            f"{out / RECORD}"
        )
    return record


# --------------------------------------------------------------------------------------------------------- predictions


def _predict(
    predictor: Predictor,
    cohort: Cohort,
    store: Store,
    calibration: Calibration | None,
    settings: ExplanationOptions,
    unfinished: Unfinished,
) -> tuple[Predictions, dict[int, NDArray[np.float32]]]:
    """The predictions of every readable image, and the features of those that become points, by row."""
    table = cohort.table
    rng = np.random.default_rng([settings.seed, 3])
    chosen = set(spread(rng.permutation(len(cohort)).tolist(), cohort.patient, settings.points))
    prob: list[NDArray[np.float64]] = []
    features: dict[int, NDArray[np.float32]] = {}
    rows = store.rows(cohort.image)
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        prob.append(
            unfinished.array(f"probabilities-{start:09d}", partial(_of_rows, predictor.probabilities, store, batch))
        )
        points = [row for row in range(start, start + len(batch)) if row in chosen]
        if points:
            make = partial(_of_rows, partial(features_of, predictor), store, rows[points])
            values = unfinished.array(f"features-{start:09d}", make)
            features |= dict(zip(points, values, strict=True))
    predictions = Predictions(
        image=cohort.image, patient=cohort.patient, slide=tuple(table["slide_id"]), site=tuple(table["site"]),
        label=cohort.label_index, prob=np.concatenate(prob), classes=cohort.classes,
    )  # fmt: skip
    return predictions if calibration is None else apply_calibration(calibration, predictions), features


def _of_rows(work: Callable[[NDArray[np.uint8]], NDArray[Any]], store: Store, rows: NDArray[np.int64]) -> NDArray[Any]:
    """What is computed from the tiles in these rows."""
    return work(read_batch(store, rows))


# ------------------------------------------------------------------------------------------------------------- gallery


def _gallery(
    explainer: Explainer,
    table: Predictions,
    store: Store,
    rows: NDArray[np.int64],
    out: Path,
    settings: ExplanationOptions,
) -> list[dict[str, Any]]:
    """The picked tiles with their maps, and their pixels under tiles/; the map is of the predicted class."""
    picked = pick_gallery(table, each=settings.each)
    every = sorted({row for chosen in picked.values() for row in chosen})
    tiles = read_batch(store, rows[every])
    predicted = predicted_class(table.prob)
    maps = dict(zip(every, sensitivity(explainer, tiles, predicted[every]), strict=True))
    files = {row: f"{number:03d}.png" for number, row in enumerate(every, 1)}
    for row, tile in zip(every, tiles, strict=True):
        _, code = cv2.imencode(".png", tile[:, :, ::-1])
        write_bytes(out / "tiles" / files[row], code.tobytes())
    return [
        {"section": section, "tiles": [_card(table, row, maps[row], files[row]) for row in chosen]}
        for section, chosen in picked.items()
    ]


def _card(table: Predictions, row: int, map_: NDArray[np.float64], file: str) -> dict[str, Any]:
    predicted = int(table.prob[row].argmax())
    return {
        "file": file,
        "image": table.image[row],
        "patient": table.patient[row] if table.unit == "patient" else "",
        "site": table.site[row],
        "label": table.classes[table.label[row]],
        "predicted": table.classes[predicted],
        "probability": float(table.prob[row, predicted]),
        "map": np.round(map_ / (map_.max() or 1.0), 4),
    }


# ------------------------------------------------------------------------------------------------------------ validity


def _validity(
    explainer: Explainer,
    table: Predictions,
    store: Store,
    rows: NDArray[np.int64],
    settings: ExplanationOptions,
    say: Callable[[str], None],
    unfinished: Unfinished,
) -> dict[str, Any]:
    """All checks of the maps, on tiles spread over the patients."""
    rng = np.random.default_rng([settings.seed, 4])
    chosen = spread(rng.permutation(len(table)).tolist(), table.patient, settings.trials)
    patient = tuple(table.patient[row] for row in chosen)
    trial = Trial(read_batch(store, rows[chosen]), predicted_class(table.prob)[chosen], patient)
    maps = unfinished.array("maps", lambda: sensitivity(explainer, trial.tiles, trial.target))
    say(f"random weights, {len(chosen)} tiles")
    record: dict[str, Any] = {
        "tiles": len(chosen),
        "patients": len(set(patient)),
        "reach": unfinished.record("reach", lambda: check_reach(explainer, trial)),
        "blank_maps": int((np.ptp(maps, axis=(1, 2)) == 0).sum()),
        "random_weights": unfinished.record(
            "random_weights", lambda: check_random_weights(explainer, trial, maps, seed=settings.seed)
        ),
    }
    say("insertion and deletion")
    record["curves"] = unfinished.record("curves", lambda: check_curves(explainer, trial, maps, seed=settings.seed))
    say("quarter turns")
    record["turns"] = unfinished.record("turns", lambda: check_turns(explainer, trial, maps))
    say("pointing game")
    plan = plan_composites(table, count=settings.trials, seed=settings.seed)
    record["pointing"] = None
    if plan is not None:
        needed = sorted({int(row) for row in (*plan.ground, *plan.guest, *plan.stand_in)})
        tiles = dict(zip(needed, read_batch(store, rows[needed]), strict=True))
        record["pointing"] = unfinished.record("pointing", lambda: play(explainer, table, plan, tiles))
    return record


# ----------------------------------------------------------------------------------------------------------- embedding


def _embed(
    features: dict[int, NDArray[np.float32]], table: Predictions, out: Path, settings: ExplanationOptions
) -> dict[str, Any]:
    """embedding.csv, and what the record says of it."""
    order = sorted(features)
    embedding: Embedding = project(np.stack([features[row] for row in order]), settings.embedding, seed=settings.seed)
    predicted = predicted_class(table.prob)
    columns = ("image_path", "patient_id", "site", "label", "predicted", "probability", "x", "y")
    lines = [
        (
            table.image[row], table.patient[row] if table.unit == "patient" else "", table.site[row],
            table.classes[table.label[row]], table.classes[predicted[row]], float(table.prob[row, predicted[row]]),
            *map(float, place),
        )
        for row, place in zip(order, embedding.places, strict=True)
    ]  # fmt: skip
    write_csv(out / "embedding.csv", columns, lines)
    return {
        "method": embedding.method,
        "tiles": len(order),
        "features": embedding.features,
        "variance": list(embedding.variance),
    }
