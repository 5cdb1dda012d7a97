"""Make a believable run folder, as a finished study leaves it, without training anything.

    python tests/reports/make_run.py FOLDER [two|many|stamped|hostile|single]

The labels, probabilities and histories are drawn at random with a fixed seed; scores.json and comparison.json are made
from them by the project's own judging, so that a report of it hangs together.
"""

import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from counterstain.evaluation.arm_scores import score_arms, score_rows
from counterstain.evaluation.beyond_chance import beyond_chance
from counterstain.evaluation.comparison import compare_arms
from counterstain.evaluation.error_record import error_record, shown_images, tile_file
from counterstain.evaluation.influence import influence_record, without_patient
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictions_csv import write_predictions
from counterstain.files import write_bytes, write_csv, write_json

ARMS: dict[str, dict[str, Any]] = {
    "given-32": {"network": "given", "batch": 32, "strength": 1.25},
    "modified-200": {"network": "modified", "batch": 200, "strength": 1.0},
    "given-200": {"network": "given", "batch": 200, "strength": 1.15},
    "modified-32": {"network": "modified", "batch": 32, "strength": 1.3},
}
PARAMETERS = {"given": 135_482, "modified": 1_136_482}
HOSTILE = '"><img src=x onerror=alert(1)>'


def make_run(
    folder: Path,
    *,
    classes: tuple[str, ...] = ("benign", "malignant"),
    arms: tuple[str, ...] = tuple(ARMS),
    seeds: tuple[int, ...] = (0, 1, 2),
    patients: int = 23,
    images_each: int = 18,
    stamp: str = "",
    unit: str = "patient",
    set_aside: tuple[tuple[str, str], ...] = (),
    sites: tuple[str, ...] = ("Site A", "Site B"),
    epochs: int = 40,
    margin: float | None = None,
    pairs: tuple[tuple[str, str], ...] | None = None,
) -> Path:
    """Write a run folder and return it: cohort, split, trainings, predictions, scores and comparison."""
    draw = np.random.default_rng(7)
    patient = [f"P{index:03d}" for index in range(patients) for _ in range(images_each)]
    label = np.array([(index * 7) % len(classes) for index in range(patients) for _ in range(images_each)])
    names = tuple(f"{classes[label[row]][:20]}/{patient[row]}_{row:04d}.png" for row in range(len(patient)))
    site = tuple(sites[int(name[1:]) // 2 % len(sites)] for name in patient)
    split = _assign(patients, len(classes))
    part = np.array([split[int(name[1:])] for name in patient])
    test = np.flatnonzero(part == "test")
    difficulty = draw.normal(0, 0.9, patients)

    def predictions(arm: str) -> Predictions:
        own = np.array([int(patient[row][1:]) for row in test])
        logits = draw.normal(0, 1.0, (len(test), len(classes)))
        logits[np.arange(len(test)), label[test]] += ARMS[arm]["strength"] + difficulty[own]
        prob = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        image = tuple(names[row] for row in test)
        return Predictions(
            image=image,
            patient=tuple(patient[row] for row in test) if unit == "patient" else image,
            slide=("",) * len(test),
            site=tuple(site[row] for row in test),
            label=label[test].astype(np.int64),
            prob=prob,
            classes=classes,
        )

    tables = {arm: [predictions(arm) for _ in seeds] for arm in arms}
    for arm, own in tables.items():
        for seed, table in zip(seeds, own, strict=True):
            write_predictions(table, folder / "predictions" / arm / f"seed-{seed}.csv")
            _write_training(folder / "arms" / arm / f"seed-{seed}" / "fold-0-0", arm, seed, epochs, draw)
    _write_judging(folder, tables, seeds, stamp, margin, pairs)
    _write_protocol(folder, classes, arms, seeds, stamp, unit, margin)
    _write_cohort(folder, names, label, patient, site, part, classes, stamp, unit)
    write_csv(folder / "records" / "set_aside.csv", ("image_path", "reason"), set_aside)
    _write_sheet(folder / "figures" / "augmentation.png", draw)
    return folder


def _assign(patients: int, classes: int) -> list[str]:
    """A part for each patient: of every class about three in five train, one validates, one tests."""
    turns = dict.fromkeys(range(classes), 0)
    out = []
    for index in range(patients):
        klass = (index * 7) % classes
        out.append(("train", "test", "val", "train", "test", "train")[turns[klass] % 6])
        turns[klass] += 1
    return out


def _write_training(folder: Path, arm: str, seed: int, epochs: int, draw: np.random.Generator) -> None:
    last = int(epochs * draw.uniform(0.65, 1.0))
    epoch = np.arange(1, last + 1)
    speed = 9.0 if ARMS[arm]["batch"] == 32 else 16.0
    loss = 0.22 + 0.47 * np.exp(-epoch / speed) + draw.normal(0, 0.008, last)
    val_loss = 0.36 + 0.34 * np.exp(-epoch / speed) + 0.003 * np.maximum(epoch - 18, 0) + draw.normal(0, 0.02, last)
    accuracy = np.clip(0.97 - 0.45 * np.exp(-epoch / speed) + draw.normal(0, 0.006, last), 0, 1)
    val_accuracy = np.clip(0.86 - 0.34 * np.exp(-epoch / speed) + draw.normal(0, 0.018, last), 0, 1)
    columns = [column.tolist() for column in (loss, accuracy, val_loss, val_accuracy)]
    header = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy")
    write_csv(folder / "history.csv", header, zip(epoch.tolist(), *columns, strict=True))
    network, batch = ARMS[arm]["network"], ARMS[arm]["batch"]
    machine = {"device": "cpu", "precision": "bf16", "threads": 2, "allocator": True, "processor": "x86-64",
               "torch": "2.14.1", "pooling": "compiled"}  # fmt: skip
    record = {
        "schema": "counterstain.training/1",
        "settings": {"network": network, "batch": batch, "learning_rate": 1e-4, "epsilon": 1e-7, "epochs": epochs,
                     "patience": 10, "precision": "auto", "device": "auto", "threads": None, "micro_batch": 64},
        "done": {
            "kind": "network", "network": network, "normalisation": None, "stain_augmentation": "none",
            "tiles": {"tile_px": 257, "fit": "stretch", "images": 414, "resized": 414},
            "optimiser": {"name": "Adam", "learning_rate": 1e-4, "weight_decay": 0.0, "schedule": "constant",
                          "batch": batch},
            "stopping": {"epochs": epochs, "patience": 10},
            "augmentation": {"mode": "on_the_fly", "transformations": ["flip", "rotation"]},
        },
        "seed": seed, "machine": machine, "parameters": PARAMETERS[network], "training_images": 252,
        "validation_images": 72, "best_epoch": 1 + int(np.argmin(val_loss)), "last_epoch": last,
        "stopped_early": last < epochs, "stamp": "",
    }  # fmt: skip
    write_json(folder / "training.json", record)
    write_json(folder / "bundle.json", {"provenance": {"data": {"cohort": "c0ffee" * 10 + "abcd"}}})


def _write_judging(
    folder: Path,
    tables: dict[str, list[Predictions]],
    seeds: tuple[int, ...],
    stamp: str,
    margin: float | None,
    pairs: tuple[tuple[str, str], ...] | None,
) -> None:
    scores = score_arms(tables, seeds=dict.fromkeys(tables, seeds), stamp=stamp)
    write_json(folder / "records" / "scores.json", scores)
    write_csv(folder / "scores.csv", *score_rows(scores))
    influence: list[dict[str, Any]] = []
    if len(tables) > 1:
        comparison = compare_arms(tables, stamp=stamp, margin=margin, pairs=pairs)
        write_json(folder / "records" / "comparison.json", comparison)

        def compare_without(patient: str) -> dict[str, Any]:
            cut = {arm: [without_patient(table, patient) for table in own] for arm, own in tables.items()}
            return compare_arms(cut, stamp=stamp, margin=margin, pairs=pairs)

        if next(iter(tables.values()))[0].unit == "patient":
            influence = influence_record(tables, comparison, compare_without)
    write_json(
        folder / "records" / "beyond_chance.json",
        beyond_chance(tables, _baselines(tables), metric="auroc", level="image"),
    )
    record = error_record(tables, influence, stamp=stamp)
    write_json(folder / "records" / "errors.json", record)
    draw = np.random.default_rng(1)
    for name in shown_images(record):
        pixels = draw.integers(0, 60, (48, 48, 3)) + np.array([170, 110, 160])
        _write_png(folder / "records" / "error_tiles" / tile_file(name), pixels.astype(np.uint8))


def _baselines(tables: dict[str, list[Predictions]]) -> dict[str, Predictions]:
    """A weak baseline: what the first arm says, mostly drowned in noise."""
    first = next(iter(tables.values()))[0]
    noise = np.random.default_rng(3).dirichlet(np.ones(len(first.classes)), len(first))
    prob = 0.2 * first.prob + 0.8 * noise
    return {"colour-histogram": replace(first, prob=prob / prob.sum(axis=1, keepdims=True))}


def _write_protocol(
    folder: Path,
    classes: tuple[str, ...],
    arms: tuple[str, ...],
    seeds: tuple[int, ...],
    stamp: str,
    unit: str,
    margin: float | None,
) -> None:
    settings = {"learning_rate": 1e-4, "epsilon": 1e-7, "epochs": 40, "patience": 10, "precision": "auto",
                "device": "auto", "threads": None, "micro_batch": 64}  # fmt: skip
    augmentation = {
        "mode": "on_the_fly", "flip": "both", "flip_probability": 0.5, "quarter_turns": False, "equalise": "luminance",
        "equalise_probability": 0.1, "rotation_deg": 20.0, "rotation_probability": 1.0, "translation": 0.1,
        "translation_probability": 1.0, "shear_deg": 10.0, "shear_probability": 1.0,
    }  # fmt: skip
    method = "legacy_augment_first" if stamp.startswith("LEAK") else "holdout"
    resolved = {
        "schema": "counterstain.study/1",
        "counterstain": "0.1.0",
        "name": "breast-100x",
        "stamp": stamp,
        "cohort": {"path": "images", "layout": "auto", "positive": classes[-1]},
        "split": {"method": method, "unit": unit, "test": 0.2, "val": 0.2, "folds": 5, "repeats": 1, "seed": 0},
        "tiles": {"tile_px": 257, "fit": "stretch", "max_bad": 0.05},
        "augmentation": augmentation,
        "arms": {arm: {"network": ARMS[arm]["network"], "batch": ARMS[arm]["batch"], **settings} for arm in arms},
        "seeds": list(seeds),
        "comparison": {"primary": "auroc", "level": "image", "alpha": 0.05, "margin": margin, "pairs": None},
    }
    write_json(folder / "records" / "resolved.json", resolved)
    write_bytes(folder / "study.yaml", "name: breast-100x\n")
    names = ("flip", "equalise", "rotation", "translation", "shear")
    write_json(
        folder / "records" / "augmentation.json",
        {"schema": "counterstain.augmentation/1", "settings": augmentation, "transformations": list(names),
         "training_images": [252], "images_an_epoch": [252], "stamp": stamp},
    )  # fmt: skip
    libraries = {"torch": "2.14.1", "numpy": "2.4.6", "scipy": "1.17.1", "pillow": "13.0.0"}
    write_json(
        folder / "records" / "environment.json",
        {"schema": "counterstain.environment/1", "counterstain": "0.1.0", "python": "3.11.7", "libraries": libraries},
    )


def _write_cohort(
    folder: Path,
    names: tuple[str, ...],
    label: Any,
    patient: list[str],
    site: tuple[str, ...],
    part: Any,
    classes: tuple[str, ...],
    stamp: str,
    unit: str,
) -> None:
    known = unit == "patient"

    def counted(rows: Any) -> dict[str, Any]:
        def one(chosen: list[int]) -> dict[str, Any]:
            return {"images": len(chosen), "patients": len({patient[r] for r in chosen}) if known else None}

        rows = [int(row) for row in rows]
        per_class = {name: one([r for r in rows if label[r] == index]) for index, name in enumerate(classes)}
        return one(rows) | {"per_class": per_class}

    every = range(len(names))
    total = counted(every)
    patients = len(set(patient))
    record = total | {
        "schema": "counterstain.cohort/1",
        "classes": list(classes),
        "positive": classes[-1] if len(classes) == 2 else None,
        "colour_images": len(names) - 2,
        "patients": None if not known else {
            "count": patients, "images_without": 0,
            "images_each": {"min": 18, "median": 18.0, "max": 18},
            "with_several_classes": {"count": 0, "first": []},
        },
        "slides": 27,
        "sites": {name: counted([r for r in every if site[r] == name]) for name in dict.fromkeys(site)},
        "splits": None,
        "mpp": {"min": 0.5, "median": 0.5, "max": 0.5, "images_without": 0},
        "skipped": [],
        "notes": [],
    }  # fmt: skip
    write_json(folder / "records" / "cohort.json", record)
    rows = zip(names, (classes[index] for index in label), patient, site, strict=True)
    write_csv(folder / "records" / "cohort.csv", ("image_path", "label", "patient_id", "site"), rows)
    write_csv(folder / "records" / "splits.csv", ("image_path", "split"), zip(names, part.tolist(), strict=True))
    counts = {name: counted(np.flatnonzero(part == name)) for name in ("train", "val", "test")}
    parts = [{"repeat": 0, "fold": 0, "unused": 0, "counts": counts}]
    write_json(
        folder / "records" / "split.json",
        {"schema": "counterstain.split/1", "unit": unit, "images": len(names), "parts": parts, "stamp": stamp},
    )


def _write_png(path: Path, pixels: Any) -> None:
    content = BytesIO()
    Image.fromarray(pixels).save(content, format="PNG")
    write_bytes(path, content.getvalue())


def _write_sheet(path: Path, draw: np.random.Generator) -> None:
    """A stand-in for the contact sheet: pink and violet squares."""
    tiles = draw.integers(0, 60, (4, 7, 48, 48, 3)) + np.array([170, 110, 160])
    sheet = np.full((4 * 52, 7 * 52, 3), 255, dtype=np.uint8)
    for row, column in np.ndindex(4, 7):
        sheet[row * 52 : row * 52 + 48, column * 52 : column * 52 + 48] = tiles[row, column]
    _write_png(path, sheet)


KINDS: dict[str, dict[str, Any]] = {
    "two": {"set_aside": (("benign/SOB_B_A-14-22549AB-100-007.png", "the file ends after 1,024 of 4,096 bytes"),)},
    "many": {"classes": ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM"), "patients": 45,
             "arms": ("given-32", "modified-200")},
    "stamped": {"unit": "image", "stamp": "LEAK: images were augmented before an image-level split"},
    "hostile": {"classes": (f"a{HOSTILE}", f"b{HOSTILE}$x^$"), "arms": ("given-32", "modified-200"),
                "sites": (HOSTILE, "'; DROP TABLE slides; --"), "set_aside": ((HOSTILE * 5, HOSTILE),)},
    "single": {"arms": ("given-32",), "seeds": (0,)},
    "margin": {"margin": 0.05, "pairs": (("given-32", "modified-200"),), "patients": 60},
}  # fmt: skip

if __name__ == "__main__":
    make_run(Path(sys.argv[1]), **KINDS[sys.argv[2] if len(sys.argv) > 2 else "two"])
