"""Every training of a study: which there are, where they lie, and doing those that are not done yet."""

import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from counterstain.cohort.splitters import Fold
from counterstain.errors import InputError
from counterstain.evaluation.metrics import predicted_class
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.files import hash_json, read_json, write_json
from counterstain.learning.checkpoint import forget, load_checkpoint
from counterstain.progress import Pace, Progress, TrainingProgress, duration, epoch_line
from counterstain.run_folder import append_log, record_path
from counterstain.study.arms import train_arm
from counterstain.study.calibrate import finish_training
from counterstain.study.completion import STAGES, is_done, lock, mark_done
from counterstain.study.prepare import PreparedStudy
from counterstain.study.study_sections import CalibrationSection
from counterstain.study.training_curves import draw_curves

__all__ = ["HELD", "Outcome", "Send", "train_all", "train_one", "training_place", "trainings"]

# In the run's folder, while there is training: one lock for each training, since more than one machine may be at it.
HELD = ".trainings"


@dataclass(frozen=True)
class Outcome:
    """How one training ended, as it is told to the process that asked for it.

    name:    its folder within arms/
    seconds: that it took, from the checkpoint on if there was one
    where:   host and process, "" for the process that asked
    resumed: whether it resumed from a checkpoint
    refusal: the line of an InputError that stopped it, "" if none did
    """

    name: str
    seconds: float
    where: str = ""
    resumed: bool = False
    refusal: str = ""


# Does the named trainings of a run, wherever and in whatever order, and gives each one's outcome once it has ended.
Send = Callable[[Path, PreparedStudy, Sequence[str], Progress], Generator[Outcome, None, None]]


def trainings(prepared: PreparedStudy) -> Iterable[tuple[str, int, Fold]]:
    """Every training of the study: arm, seed and division of the cohort, the arms of one seed after another."""
    return (
        (arm, seed, part)
        for seed in prepared.study.seeds
        for part in prepared.split.parts
        for arm in prepared.study.arms
    )


def training_place(arm: str, seed: int, part: Fold) -> str:
    """The folder of one training, within arms/."""
    return f"{arm}/seed-{seed}/fold-{part.repeat}-{part.fold}"


def train_all(run: Path, prepared: PreparedStudy, talk: Progress, send: Send | None = None) -> None:
    """Train what is not trained yet, and calibrate every training on its own validation part.

    Args:
        run: the run's folder.
        prepared: the study.
        talk: where progress is told.
        send: does the trainings; None for one after the other in this process.

    Raises:
        InputError: For whatever the user must mend, wherever it was found.
    """
    named = {training_place(*training): training for training in trainings(prepared)}
    numbers = {name: f"training {number} of {len(named)}, {name}" for number, name in enumerate(named, start=1)}
    _drop_others(run, named)
    todo = []
    for name, training in named.items():
        if is_done(run, f"arms/{name}", _inputs(prepared, *training)):
            _finish(run / "arms" / name, prepared.study.calibration)  # its settings may have changed since
            talk.say(f"{numbers[name]}: done before")
        else:
            todo.append(name)
    began, places = time.perf_counter(), set[str]()
    with closing((send or _one_after_the_other)(run, prepared, todo, talk)) as outcomes:
        for done, outcome in enumerate(outcomes, start=1):
            if outcome.refusal:
                raise InputError(outcome.refusal)
            record = read_json(run / "arms" / outcome.name / "training.json")
            places |= {outcome.where} - {""}
            time_left = (time.perf_counter() - began) / done * (len(todo) - done)
            talk.say(
                f"{numbers[outcome.name]}: {_ended(record)}, "
                f"{outcome.seconds:.0f} s{_how(outcome)}"
                # Of trainings side by side, the first to end say nothing yet of how many end in a minute.
                f"{_left(time_left) if done > len(places) else ''}"
            )
            for line in never_called(read_predictions(run / "arms" / outcome.name / "raw_val.csv")):
                talk.say(f"{outcome.name}: {line}")
    shutil.rmtree(run / HELD, ignore_errors=True)
    _draw(run, prepared)


def train_one(
    run: Path,
    prepared: PreparedStudy,
    name: str,
    *,
    say: Callable[[str], None],
    progress: Callable[[TrainingProgress], None] | None = None,
) -> Outcome:
    """Do one training of a run from where it was stopped, alone; what another process has done is not done again.

    Args:
        run: the run's folder.
        prepared: the study.
        name: of the training, see training_place.
        say: told when another process holds this training and is waited for.
        progress: see loop.train.
    """
    arm, seed, part = next(training for training in trainings(prepared) if training_place(*training) == name)
    folder, inputs = run / "arms" / name, _inputs(prepared, arm, seed, part)
    began = time.perf_counter()
    with _alone(run, name, say):
        resumed = False
        if not is_done(run, f"arms/{name}", inputs):
            _clear_stale(folder, inputs)
            resumed = load_checkpoint(folder) is not None
            settings = prepared.study.arm(arm)
            written = train_arm(
                prepared.material, part.assignment, settings, seed=seed, folder=folder,
                progress=_watched(run, prepared, name, progress),
            )  # fmt: skip
            mark_done(run, f"arms/{name}", inputs, written)
        _finish(folder, prepared.study.calibration)
    where = f"{socket.gethostname()} process {os.getpid()}"
    return Outcome(name, time.perf_counter() - began, where=where, resumed=resumed)


def _watched(
    run: Path, prepared: PreparedStudy, name: str, report: Callable[[TrainingProgress], None] | None
) -> Callable[[TrainingProgress], None]:
    """Shows each step, and after each epoch writes its line to the run's log and redraws the curves."""
    pace = Pace()
    due = 0.0

    def watch(progress: TrainingProgress) -> None:
        nonlocal due
        time_left = pace.seconds_left(name, progress)
        if progress.val_loss is not None:
            append_log(run, f"{name}: {epoch_line(progress, time_left)}")
            began = time.monotonic()
            # With many trainings and short epochs not each time: drawing takes at most 2 % of the time.
            if began >= due:
                _draw(run, prepared)
                due = time.monotonic() + 50 * (time.monotonic() - began)
        if report is not None:
            report(progress)

    return watch


def _draw(run: Path, prepared: PreparedStudy) -> None:
    names = [training_place(*training) for training in trainings(prepared)]
    draw_curves(run, names, {arm: prepared.study.arm(arm).epochs for arm in prepared.study.arms})


def _one_after_the_other(
    run: Path, prepared: PreparedStudy, names: Sequence[str], talk: Progress
) -> Generator[Outcome, None, None]:
    """Do the trainings here, showing each one's steps."""
    numbered = {
        training_place(*training): (number, training) for number, training in enumerate(trainings(prepared), start=1)
    }
    for name in names:
        number, (arm, seed, part) = numbered[name]
        label = f"training {number} of {len(numbered)}: {arm}, seed {seed}"
        progress = None if talk.trained is None else _labelled(talk.trained, label, part)
        outcome = train_one(run, prepared, name, say=talk.say, progress=progress)
        yield Outcome(name, outcome.seconds, resumed=outcome.resumed)


def _inputs(prepared: PreparedStudy, arm: str, seed: int, part: Fold) -> dict[str, Any]:
    """All that one training depends on, but the machine."""
    study, material = prepared.study, prepared.material
    resolved = study.resolved()
    graded = {"order": list(material.cohort.classes)} if material.cohort.ordered else {}
    return graded | {
        "arm": resolved["arms"][arm],
        "seed": seed,
        "augmentation": resolved["augmentation"],
        "tiles": resolved["tiles"],
        "stamp": study.stamp,
        "data": material.store.data_hash,
        "assignment": hash_json({"": dict(zip(material.cohort.image, part.assignment, strict=True))}),
        "cohort": hash_json({"": material.cohort.table.drop(columns="split").to_csv()}),
    }


@contextmanager
def _alone(run: Path, name: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold one training: a process that was given up for lost, but lives and still writes, is waited for."""
    with ExitStack() as stack:
        announced = False
        while True:
            try:
                stack.enter_context(lock(run / HELD / name))
                break
            except InputError:
                if not announced:
                    say(f"{name}: another process is training it; waiting")
                announced = True
                time.sleep(0.5)
        yield


def _drop_others(run: Path, names: Mapping[str, Any]) -> None:
    """Remove trainings that are no longer of the study, and what is redrawn from all of them."""
    for folder in (run / "arms").glob("*/*/*"):
        name = folder.relative_to(run / "arms").as_posix()
        if name not in names:
            with lock(run / HELD / name):
                shutil.rmtree(folder)
                record_path(run, f"{STAGES}/arms/{name}.json").unlink(missing_ok=True)
    for folder in sorted((run / "arms").glob("*/*")) + sorted((run / "arms").glob("*")):
        if not any(folder.iterdir()):
            folder.rmdir()
    shutil.rmtree(run / "predictions", ignore_errors=True)


def _finish(folder: Path, calibration: CalibrationSection) -> None:
    """Calibrate a training that has ended, and drop what was only needed to resume it."""
    finish_training(folder, calibration)
    forget(folder)
    (folder / ".inputs.json").unlink(missing_ok=True)


def never_called(table: Predictions) -> list[str]:
    """A line for each class that is the most probable one of no validation image, though some are of it."""
    called = np.bincount(predicted_class(table.prob), minlength=len(table.classes))
    true = np.bincount(table.label, minlength=len(table.classes))
    return [
        f"no validation {table.rows_are} is predicted '{name}' by the most probable class, though {true[k]} of "
        f"{len(table)} are; a longer training may help, or class_weights: balanced or sampler: balanced "
        "(docs/uneven-classes.md)"
        for k, name in enumerate(table.classes)
        if true[k] and not called[k]
    ]


def _ended(record: Mapping[str, Any]) -> str:
    """What a training came to: the best of its epochs, or what a probe took."""
    probe = record.get("done", {}).get("probe")
    if probe:
        return f"{probe['kind']} probe, {probe['taken']} of {probe['tried']} tried"
    return f"best epoch {record['best_epoch']} of {record['last_epoch']}"


def _how(outcome: Outcome) -> str:
    return (f" on {outcome.where}" if outcome.where else "") + (" from its checkpoint on" if outcome.resumed else "")


def _left(seconds: float) -> str:
    return f"; about {duration(seconds)} left" if seconds else ""


def _labelled(
    report: Callable[[str, TrainingProgress], None], label: str, part: Fold
) -> Callable[[TrainingProgress], None]:
    if part.repeat or part.fold:
        label += f", fold {part.repeat}-{part.fold}"
    return lambda progress: report(label, progress)


def _clear_stale(folder: Path, inputs: dict[str, Any]) -> None:
    """Keep a stopped training only if it was of these very inputs; what another study left is of no use."""
    note = folder / ".inputs.json"
    digest = hash_json(inputs)
    if folder.exists() and not (note.is_file() and json.loads(note.read_text()) == {"inputs": digest}):
        shutil.rmtree(folder)
    write_json(note, {"inputs": digest})
