"""Every training of a study: which there are, where they lie, and doing those that are not done yet."""

import json
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from counterstain.cohort.split import Part
from counterstain.files import hash_json, read_json, write_json
from counterstain.learning.checkpoint import forget
from counterstain.learning.training import Progress
from counterstain.study.arms import train_arm
from counterstain.study.calibrating import finish_training
from counterstain.study.inputs import Prepared, Talk
from counterstain.study.stages import STAGES, is_done, mark_done

__all__ = ["train_all", "training_place", "trainings"]


def trainings(prepared: Prepared) -> Iterable[tuple[str, int, Part]]:
    """Every training of the study: arm, seed and division of the cohort, the arms of one seed after another."""
    return (
        (arm, seed, part)
        for seed in prepared.study.seeds
        for part in prepared.split.parts
        for arm in prepared.study.arms
    )


def training_place(arm: str, seed: int, part: Part) -> str:
    """The folder of one training, within arms/."""
    return f"{arm}/seed-{seed}/fold-{part.repeat}-{part.fold}"


def _drop_others(run: Path, names: set[str]) -> None:
    """Remove trainings that are no longer of the study, and what is drawn anew from all of them."""
    for folder in (run / "arms").glob("*/*/*"):
        name = folder.relative_to(run / "arms").as_posix()
        if name not in names:
            shutil.rmtree(folder)
            (run / STAGES / "arms" / f"{name}.json").unlink(missing_ok=True)
    for folder in sorted((run / "arms").glob("*/*")) + sorted((run / "arms").glob("*")):
        if not any(folder.iterdir()):
            folder.rmdir()
    shutil.rmtree(run / "predictions", ignore_errors=True)


def train_all(run: Path, prepared: Prepared, talk: Talk) -> None:
    """Train what is not trained yet, and calibrate every training on its own validation part."""
    study, material = prepared.study, prepared.material
    todo = list(trainings(prepared))
    _drop_others(run, {training_place(*one) for one in todo})
    for number, (arm, seed, part) in enumerate(todo, start=1):
        name = training_place(arm, seed, part)
        resolved = study.resolved()
        inputs = {
            "arm": resolved["arms"][arm],
            "seed": seed,
            "augmentation": resolved["augmentation"],
            "tiles": resolved["tiles"],
            "stamp": study.stamp,
            "data": material.store.data_hash,
            "assignment": hash_json({"": dict(zip(material.cohort.image, part.assignment, strict=True))}),
            "cohort": hash_json({"": material.cohort.table.drop(columns="split").to_csv()}),
        }
        folder = run / "arms" / name
        if is_done(run, f"arms/{name}", inputs):
            finish_training(folder, study.calibration)  # its settings may have changed since
            talk.say(f"training {number} of {len(todo)}, {name}: done before")
            continue
        _clear_stale(folder, inputs)
        began = time.perf_counter()
        shown = talk.trained
        progress = None if shown is None else _labelled(shown, f"{number}/{len(todo)} {arm} seed {seed}", part)
        written = train_arm(material, part.assignment, study.arm(arm), seed=seed, folder=folder, progress=progress)
        mark_done(run, f"arms/{name}", inputs, written)
        finish_training(folder, study.calibration)
        forget(folder)
        (folder / ".inputs.json").unlink()
        record = read_json(folder / "training.json")
        talk.say(
            f"training {number} of {len(todo)}, {name}: best epoch {record['best_epoch']} of {record['last_epoch']}, "
            f"{time.perf_counter() - began:.0f} s"
        )


def _labelled(shown: Callable[[str, Progress], None], label: str, part: Part) -> Callable[[Progress], None]:
    if part.repeat or part.fold:
        label += f" fold {part.repeat}-{part.fold}"
    return lambda progress: shown(label, progress)


def _clear_stale(folder: Path, inputs: dict[str, Any]) -> None:
    """Keep a stopped training only if it was of these very inputs; what another study left is of no use."""
    note = folder / ".inputs.json"
    wanted = hash_json(inputs)
    if folder.exists() and not (note.is_file() and json.loads(note.read_text()) == {"inputs": wanted}):
        shutil.rmtree(folder)
    write_json(note, {"inputs": wanted})
