"""A run in an experiment tracker, from the run's own records: after the fact, or epoch by epoch while it runs."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from typing import Any

from counterstain.errors import InputError, suggest
from counterstain.evaluation.format import natural
from counterstain.extras import missing_package
from counterstain.files import StrPath, read_json
from counterstain.run_folder import MANIFEST, optional_record, record_path
from counterstain.study.trackers import TRACKERS, TrackedTraining, TrackerWriter, Values
from counterstain.study.training_curves import CURVES, read_history

__all__ = ["TRACKERS", "check_tracker", "publish", "tracked"]

EVERY_S = 2.0  # between two looks at the records of a run in progress


def publish(run: StrPath, to: str, *, out: Path | str | None = None) -> Path:
    """Write a finished run to a tracker's files; the same run may be written to several.

    Args:
        run: folder of a finished run.
        to: "tensorboard", "mlflow" or "wandb".
        out: folder for the tracker's files; by default tracking/<to> beside runs/.

    Returns:
        The folder.

    Raises:
        InputError: If the run is not finished, the tracker is unknown, or its package is not installed.
    """
    run = Path(run)
    check_tracker(to)
    if not record_path(run, MANIFEST).is_file():
        raise InputError(f"{run} is not a finished run; name a folder such as runs/mystudy")
    place = _place(run, to) if out is None else Path(out)
    with _writer(run, to, place) as writer:
        _tell_epochs(run, [writer], {})
        writer.result(_scores(run), _verdict(run))
    return place


def check_tracker(to: str) -> None:
    """Refuse an unknown tracker, or one whose package is not installed, before anything long is done."""
    if to not in TRACKERS:
        raise InputError(f"there is no tracker '{to}'{suggest(to, TRACKERS)}")
    if find_spec(to) is None:
        raise missing_package(ModuleNotFoundError(name=to), "publish")


@contextmanager
def tracked(run: Path, track: Sequence[str]) -> Iterator[dict[str, Path]]:
    """While the block runs, each epoch goes to these trackers as it ends, and after it the results.

    The histories in the run's folder are followed by a thread: trainings are not touched, wherever they run, and a
    resumed run is written from its first epoch.

    Args:
        run: the run's folder.
        track: names of trackers.

    Yields:
        {tracker: the folder of its files}.
    """
    places = {name: _place(run, name) for name in track}
    if not places:
        yield places
        return
    with ExitStack() as stack:
        writers = [stack.enter_context(_writer(run, name, place)) for name, place in places.items()]
        reported: dict[str, int] = {}
        before = {path: path.stat().st_mtime_ns for path in _histories(run)}
        ended = Event()

        def follow() -> None:
            while not ended.wait(EVERY_S):
                _tell_epochs(run, writers, reported, unchanged=before)

        thread = Thread(target=follow, name="counterstain trackers", daemon=True)
        thread.start()
        try:
            yield places
        finally:
            ended.set()
            thread.join()
            _tell_epochs(run, writers, reported, unchanged=before)
        _tell_epochs(run, writers, reported)
        for writer in writers:
            writer.result(_scores(run), _verdict(run))


def _place(run: Path, to: str) -> Path:
    return run.resolve().parent.parent / "tracking" / to


@contextmanager
def _writer(run: Path, to: str, place: Path) -> Iterator[TrackerWriter]:
    place.mkdir(parents=True, exist_ok=True)
    with TRACKERS[to](run.resolve(), place.resolve()) as writer:
        yield writer


def _histories(run: Path) -> list[Path]:
    paths = natural(path.relative_to(run).as_posix() for path in (run / "arms").glob("*/seed-*/fold-*/history.csv"))
    return [run / path for path in paths]


def _tell_epochs(
    run: Path,
    writers: Sequence[TrackerWriter],
    reported: dict[str, int],
    *,
    unchanged: Mapping[Path, int] | None = None,
) -> None:
    """Tell every epoch that is in the records and wasn't told yet; `reported` has how many were, by training.

    unchanged: history -> its time when the run began. Until it changes it may be of other settings, about to be
    replaced, or of a training that is finished.
    """
    settings = optional_record(run, "resolved.json").get("arms", {})
    for path in _histories(run):
        with suppress(FileNotFoundError):  # a training that begins again removes it
            if path.stat().st_mtime_ns == (unchanged or {}).get(path):
                continue
        name = path.parent.relative_to(run / "arms").as_posix()
        training = TrackedTraining(name, _settings(settings, name))
        history = read_history(path)
        epochs = list(zip(*(history[curve] for curve in CURVES), strict=True))
        for number, values in enumerate(epochs[reported.get(name, 0) :], start=reported.get(name, 0) + 1):
            finite = {curve: value for curve, value in zip(CURVES, values, strict=True) if math.isfinite(value)}
            for writer in writers:
                writer.epoch(training, number, finite)
        reported[name] = max(reported.get(name, 0), len(epochs))


def _settings(arms: Mapping[str, Any], name: str) -> dict[str, Any]:
    arm, seed, _ = name.split("/")
    return {**arms.get(arm, {}), "arm": arm, "seed": int(seed.removeprefix("seed-"))}


def _verdict(run: Path) -> str:
    return str(optional_record(run, "comparison.json").get("words") or "")


def _scores(run: Path) -> Values:
    """Every image-level score of every arm that is a number."""
    scores: Values = {}
    for arm, arm_record in read_json(record_path(run, "scores.json"))["arms"].items():
        for score in arm_record["scores"]:
            if score["level"] != "image" or score["class"] is not None:
                continue
            name = f"{arm}/{score['metric']}"
            for end, value in (("", score["value"]), ("_low", score["low"]), ("_high", score["high"])):
                if value is not None:
                    scores[name + end] = float(value)
    return scores
