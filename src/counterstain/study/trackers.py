"""Writers of three experiment trackers (TensorBoard, MLflow, Weights & Biases), to files alone: nothing is sent."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["TRACKERS", "TrackedTraining", "TrackerWriter", "Values"]

Values = dict[str, float]


@dataclass(frozen=True)
class TrackedTraining:
    """One training as trackers take it: its folder within arms/ as its name, and its settings."""

    name: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class TrackerWriter:
    """Where a run is written to.

    epoch: told a training, the number of an epoch (from 1) and its finite values.
    result: told the scores ("given/auroc" -> value, "…_low" and "…_high" of its interval) and the verdict, at the end.
    """

    epoch: Callable[[TrackedTraining, int, Values], None]
    result: Callable[[Values, str], None]


@contextmanager
def _tensorboard(run: Path, place: Path) -> Iterator[TrackerWriter]:
    from torch.utils.tensorboard import SummaryWriter

    home = place / run.name
    for path in home.rglob("events.out.tfevents.*"):
        path.unlink()  # of this run, written before: two would be drawn over each other
    writers: dict[str, SummaryWriter] = {}

    def begun(training: TrackedTraining) -> SummaryWriter:
        writer = SummaryWriter(str(home / training.name))
        lines = [f"| {name} | {value} |" for name, value in training.settings.items()]
        writer.add_text("settings", "\n".join(["| setting | value |", "|---|---|", *lines]))
        return writer

    def epoch(training: TrackedTraining, number: int, values: Values) -> None:
        if training.name not in writers:
            writers[training.name] = begun(training)
        for name, value in values.items():
            writers[training.name].add_scalar(name, value, number)
        writers[training.name].flush()

    def result(scores: Values, verdict: str) -> None:
        with SummaryWriter(str(home)) as writer:
            for name, value in scores.items():
                writer.add_scalar(f"test/{name}", value, 0)
            writer.add_text("verdict", verdict or "One arm: nothing is compared.")

    try:
        yield TrackerWriter(epoch, result)
    finally:
        for writer in writers.values():
            writer.close()


@contextmanager
def _mlflow(run: Path, place: Path) -> Iterator[TrackerWriter]:
    from mlflow import MlflowClient

    # MLflow no longer writes plain files: a SQLite file holds everything, and artifacts lie beside it.
    client = MlflowClient(tracking_uri=f"sqlite:///{place / 'mlflow.db'}")
    known = client.get_experiment_by_name(run.name)
    experiment = known.experiment_id if known else client.create_experiment(run.name, (place / "artifacts").as_uri())
    ours = {"counterstain.run": run.name}
    for earlier in client.search_runs([experiment]):
        if ours.items() <= earlier.data.tags.items():
            client.delete_run(earlier.info.run_id)  # this run, written before
    parent = client.create_run(experiment, run_name=run.name, tags=ours).info.run_id
    children: dict[str, str] = {}

    def begun(training: TrackedTraining) -> str:
        tags = {**ours, "mlflow.parentRunId": parent}
        child: str = client.create_run(experiment, run_name=training.name, tags=tags).info.run_id
        for key, value in training.settings.items():
            client.log_param(child, key, str(value)[:500])
        return child

    def epoch(training: TrackedTraining, number: int, values: Values) -> None:
        if training.name not in children:
            children[training.name] = begun(training)
        for name, value in values.items():
            client.log_metric(children[training.name], name, value, step=number)

    def result(scores: Values, verdict: str) -> None:
        client.set_tag(parent, "mlflow.note.content", verdict)
        for name, value in scores.items():
            client.log_metric(parent, _plain(name), value)
        for artifact in ("report.html", "scores.csv", "study.yaml"):
            if (run / artifact).is_file():
                client.log_artifact(parent, str(run / artifact))

    ended = "KILLED"
    try:
        yield TrackerWriter(epoch, result)
        ended = "FINISHED"
    finally:
        for run_id in (*children.values(), parent):
            client.set_terminated(run_id, ended)


@contextmanager
def _wandb(run: Path, place: Path) -> Iterator[TrackerWriter]:
    import shutil

    import wandb

    home = place / run.name
    for path in home.glob("wandb/offline-run-*"):
        shutil.rmtree(path)  # of this run, written before
    home.mkdir(parents=True, exist_ok=True)
    quiet = wandb.Settings(silent=True, console="off", x_disable_stats=True, x_disable_meta=True)
    begun: dict[str, Any] = {}

    def started(name: str, settings: Mapping[str, Any]) -> Any:
        """A run of Weights & Biases in files; `wandb sync` sends it where its user wants it."""
        return wandb.init(
            project=run.name, name=name, group=run.name, dir=str(home), mode="offline", config=dict(settings),
            settings=quiet, reinit="create_new",
        )  # fmt: skip

    def epoch(training: TrackedTraining, number: int, values: Values) -> None:
        if training.name not in begun:
            begun[training.name] = started(training.name, training.settings)
        begun[training.name].log(values, step=number)

    def result(scores: Values, verdict: str) -> None:
        tested = started("test", {})
        tested.summary.update({**scores, "verdict": verdict})
        tested.finish()

    try:
        yield TrackerWriter(epoch, result)
    finally:
        for tracked in begun.values():
            tracked.finish()


def _plain(name: str) -> str:
    """A name with the signs that MLflow takes."""
    return "".join(sign if sign.isalnum() or sign in "_-./ " else "_" for sign in name)


# Each takes a run's folder (its name is the run's) and the folder for its files, and forgets what it wrote of this run.
TRACKERS: Mapping[str, Callable[[Path, Path], AbstractContextManager[TrackerWriter]]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
}
