"""Runs in experiment trackers: what they read back is what the records say; nothing is sent anywhere."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import make_run
import pytest
from typer.testing import CliRunner

from counterstain.cli import app
from counterstain.errors import InputError
from counterstain.files import read_json, write_json
from counterstain.progress import Progress, TrainingProgress
from counterstain.study import publish as publish_module
from counterstain.study.publish import TRACKERS, publish
from counterstain.study.run import run_study
from counterstain.study.trackers import TrackerWriter
from counterstain.study.training_curves import read_history


@pytest.fixture
def run(tmp_path: Path) -> Path:
    made = make_run.make_run(tmp_path / "runs" / "breast", arms=("given-32", "modified-200"), seeds=(0, 1), epochs=3)
    write_json(made / "records" / "run.json", {"files": {}})
    return made


def auroc(run: Path, arm: str) -> float:
    scores = read_json(run / "records" / "scores.json")["arms"][arm]["scores"]
    return next(s["value"] for s in scores if (s["metric"], s["level"], s["class"]) == ("auroc", "image", None))


@pytest.mark.slow
def test_tensorboard_reads_back_every_epoch(run: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):  # published again, it is not drawn twice
        place = publish(run, "tensorboard")
    assert place == run.parent.parent / "tracking" / "tensorboard"
    name = "given-32/seed-1/fold-0-0"
    read = EventAccumulator(str(place / "breast" / name)).Reload()
    expected = read_history(run / "arms" / name / "history.csv")
    for curve, values in expected.items():
        events = read.Scalars(curve)
        assert [event.step for event in events] == list(range(1, len(values) + 1)) and len(values) > 1
        assert [event.value for event in events] == pytest.approx(values, rel=1e-6)
    tested = EventAccumulator(str(place / "breast")).Reload()
    assert tested.Scalars("test/given-32/auroc")[-1].value == pytest.approx(auroc(run, "given-32"), rel=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_reads_back_scores_curves_and_settings(run: Path) -> None:
    pytest.importorskip("mlflow")
    place = publish(run, "mlflow")
    with sqlite3.connect(place / "mlflow.db") as base:
        metrics = dict(base.execute("select key, value from latest_metrics where key like '%auroc'"))
        epochs = base.execute("select count(*) from metrics where key = 'val_loss'").fetchone()[0]
        networks = {row[0] for row in base.execute("select value from params where key = 'network'")}
    assert metrics["given-32/auroc"] == pytest.approx(auroc(run, "given-32"))
    assert epochs == sum(len(read_history(path)["loss"]) for path in run.glob("arms/*/*/*/history.csv")) > 4
    assert networks == {"given", "modified"}
    assert list((place / "artifacts").rglob("scores.csv"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_wandb_writes_files_alone(run: Path) -> None:
    pytest.importorskip("wandb")
    place = publish(run, "wandb")
    assert len(list(place.rglob("offline-run-*/*.wandb"))) == 2 * 2 + 1


@pytest.mark.parametrize("to", TRACKERS)
def test_a_tracker_that_is_not_installed_is_named_before_anything_is_done(
    to: str, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("counterstain.study.publish.find_spec", lambda name: None)
    with pytest.raises(InputError, match=rf"pip install 'counterstain\[{to}\]'"):
        run_study(study, track=[to])
    assert not (study.parent / "runs").exists()


def test_an_unknown_tracker_and_an_unfinished_run_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no tracker 'mlfow'; did you mean 'mlflow'"):
        publish(run, "mlfow")
    (run / "records" / "run.json").unlink()
    installed = next((name for name in TRACKERS if find_spec(name)), None)
    if installed is not None:
        assert CliRunner().invoke(app, ["publish", str(run), "--to", installed]).exit_code == 2


def test_each_epoch_is_told_while_the_run_goes_on(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the third epoch of a training ends, its first is in the tracker; stopped and resumed, all of them are."""
    opened: list[list[tuple[str, int]]] = []
    results: list[tuple[dict[str, float], str]] = []

    @contextmanager
    def tracker(run: Path, place: Path) -> Iterator[TrackerWriter]:
        told: list[tuple[str, int]] = []
        opened.append(told)
        yield TrackerWriter(
            lambda training, number, values: told.append((training.name, number)),
            lambda scores, verdict: results.append((scores, verdict)),
        )

    monkeypatch.setitem(publish_module.TRACKERS, "fake", tracker)
    monkeypatch.setattr(publish_module, "find_spec", lambda name: True)
    monkeypatch.setattr(publish_module, "EVERY_S", 0.01)

    def watch(label: str, progress: TrainingProgress) -> None:
        if progress.val_loss is not None and progress.epoch == 3:
            end = time.monotonic() + 20
            while not any(number == 1 for _, number in opened[-1]):
                assert time.monotonic() < end, "the first epoch is not told while the training goes on"
                time.sleep(0.01)
            raise KeyboardInterrupt

    longer = {"training.epochs": "4", "training.patience": "4", "seeds": "[0]"}
    with pytest.raises(KeyboardInterrupt):
        run_study(study, overrides=longer, track=["fake"], talk=Progress(trained=watch))
    assert opened[0] and not results
    run = run_study(study, overrides=longer, track=["fake"])
    expected = [
        (path.parent.relative_to(run / "arms").as_posix(), number)
        for path in sorted(run.glob("arms/*/*/*/history.csv"))
        for number in range(1, len(read_history(path)["loss"]) + 1)
    ]
    assert sorted(opened[1]) == sorted(expected) and len(expected) > 4
    ((scores, verdict),) = results
    assert scores["given-8/auroc"] == auroc(run, "given-8") and verdict
    # A finished run is written as a whole, from the same records.
    run_study(study, overrides=longer, track=["fake"])
    assert sorted(opened[2]) == sorted(expected) and results[1] == results[0]
