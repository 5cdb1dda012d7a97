"""A finished run in an experiment tracker (TensorBoard, MLflow, Weights & Biases), written from the run's own records.

Everything is written to files of this machine; nothing is sent anywhere. What the trackers get is what the records say:
settings, the four curves of every training, each arm's scores with their intervals, the verdict, and the report.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from counterstain.errors import InputError, suggest
from counterstain.evaluation.format import natural
from counterstain.extras import missing_package
from counterstain.files import read_json
from counterstain.run_folder import MANIFEST, as_written, optional_record, record_path
from counterstain.study.training_curves import CURVES, read_history

__all__ = ["TRACKERS", "check_tracker", "publish"]

Values = dict[str, float]


@dataclass(frozen=True)
class _Training:
    """One training as trackers take it: a name, settings, and each epoch's four numbers."""

    name: str
    settings: Mapping[str, Any]
    history: Mapping[str, list[float]]

    def epochs(self) -> Iterator[tuple[int, Values]]:
        """(epoch from 1, name -> value), finite values alone."""
        for row, values in enumerate(zip(*(self.history[name] for name in CURVES), strict=True), start=1):
            yield row, {name: value for name, value in zip(CURVES, values, strict=True) if math.isfinite(value)}


@dataclass(frozen=True)
class _Told:
    """A run as trackers take it; scores: "given/auroc" -> value, and "…_low" and "…_high" of its interval."""

    run: Path
    trainings: tuple[_Training, ...]
    scores: Values
    verdict: str


def publish(run: Path | str, to: str, *, out: Path | str | None = None) -> Path:
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
    place = Path(out) if out is not None else run.resolve().parent.parent / "tracking" / to
    place.mkdir(parents=True, exist_ok=True)
    TRACKERS[to](_read(run), place.resolve())
    return place


def check_tracker(to: str) -> None:
    """Refuse an unknown tracker, or one whose package is not installed, before anything long is done."""
    if to not in TRACKERS:
        raise InputError(f"there is no tracker '{to}'{suggest(to, TRACKERS)}")
    if find_spec(to) is None:
        raise missing_package(ModuleNotFoundError(name=to), "publish")


def _read(run: Path) -> _Told:
    settings = optional_record(run, "resolved.json").get("arms", {})
    paths = natural(path.relative_to(run).as_posix() for path in (run / "arms").glob("*/seed-*/fold-*/history.csv"))
    trainings = []
    for path in paths:
        name = Path(path).parent.relative_to("arms").as_posix()
        arm, seed, _ = name.split("/")
        own = {**settings.get(arm, {}), "arm": arm, "seed": int(seed.removeprefix("seed-"))}
        trainings.append(_Training(name, own, read_history(run / path)))
    return _Told(run, tuple(trainings), _scores(run), str(optional_record(run, "comparison.json").get("words") or ""))


def _scores(run: Path) -> Values:
    """Every image-level score of every arm that is a number."""
    found: Values = {}
    for arm, own in read_json(as_written(record_path(run, "scores.json")))["arms"].items():
        for score in own["scores"]:
            if score["level"] != "image" or score["class"] is not None:
                continue
            name = f"{arm}/{score['metric']}"
            for end, value in (("", score["value"]), ("_low", score["low"]), ("_high", score["high"])):
                if value is not None:
                    found[name + end] = float(value)
    return found


def _tensorboard(told: _Told, place: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    for path in (place / told.run.name).rglob("events.out.tfevents.*"):
        path.unlink()  # of this run, published before: two would be drawn over each other
    for training in told.trainings:
        with SummaryWriter(str(place / told.run.name / training.name)) as writer:
            for epoch, values in training.epochs():
                for name, value in values.items():
                    writer.add_scalar(name, value, epoch)
            lines = [f"| {name} | {value} |" for name, value in training.settings.items()]
            writer.add_text("settings", "\n".join(["| setting | value |", "|---|---|", *lines]))
    with SummaryWriter(str(place / told.run.name)) as writer:
        for name, value in told.scores.items():
            writer.add_scalar(f"test/{name}", value, 0)
        writer.add_text("verdict", told.verdict or "One arm: nothing is compared.")


def _mlflow(told: _Told, place: Path) -> None:
    import mlflow

    before = mlflow.get_tracking_uri()
    try:
        _write_mlflow(mlflow, told, place)
    finally:  # it belongs to the process
        mlflow.set_tracking_uri(before)


def _write_mlflow(mlflow: Any, told: _Told, place: Path) -> None:
    # MLflow no longer writes plain files: a SQLite file holds everything, and artifacts lie beside it.
    mlflow.set_tracking_uri(f"sqlite:///{place / 'mlflow.db'}")
    name = told.run.resolve().name
    if mlflow.get_experiment_by_name(name) is None:
        mlflow.create_experiment(name, artifact_location=(place / "artifacts").as_uri())
    mlflow.set_experiment(name)
    with mlflow.start_run(run_name=name, description=told.verdict):
        mlflow.log_metrics({_plain(key): value for key, value in told.scores.items()})
        for artifact in ("report.html", "scores.csv", "study.yaml"):
            if (told.run / artifact).is_file():
                mlflow.log_artifact(str(told.run / artifact))
        for training in told.trainings:
            with mlflow.start_run(run_name=training.name, nested=True):
                mlflow.log_params({key: str(value)[:500] for key, value in training.settings.items()})
                for epoch, values in training.epochs():
                    mlflow.log_metrics(values, step=epoch)


def _wandb(told: _Told, place: Path) -> None:
    import wandb

    name = told.run.resolve().name
    for training in told.trainings:
        with _offline(wandb, place, name, training.name, dict(training.settings)) as own:
            for epoch, values in training.epochs():
                own.log(values, step=epoch)
    with _offline(wandb, place, name, "test", {}) as own:
        own.summary.update({**told.scores, "verdict": told.verdict})


@contextmanager
def _offline(wandb: Any, place: Path, project: str, name: str, settings: dict[str, Any]) -> Iterator[Any]:
    """A run of Weights & Biases in files; `wandb sync` sends it where its user wants it."""
    quiet = wandb.Settings(silent=True, console="off", x_disable_stats=True, x_disable_meta=True)
    own = wandb.init(
        project=project, name=name, group=project, dir=str(place), mode="offline", config=settings, settings=quiet
    )
    try:
        yield own
    finally:
        own.finish()


def _plain(name: str) -> str:
    """A name with the signs that MLflow takes."""
    return "".join(sign if sign.isalnum() or sign in "_-./ " else "_" for sign in name)


TRACKERS: Mapping[str, Callable[[_Told, Path], None]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
}
