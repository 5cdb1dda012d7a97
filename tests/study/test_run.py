"""A study from images to its report; what is done is not done again; a stopped run ends in the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from counterstain.errors import InputError
from counterstain.files import hash_file, read_json
from counterstain.progress import Progress, TrainingProgress
from counterstain.study.prepare import prepare
from counterstain.study.run import UNTRACKED, plan_study, run_study
from counterstain.study.study_config import read_study

ONE_SEED = {"seeds": "[0]"}


def contents(run: Path) -> dict[str, str]:
    """SHA-256 of every file of a run that must be reproducible, by its path."""
    files = (path for path in run.rglob("*") if path.is_file() and path.name not in (*UNTRACKED, ".lock"))
    return {path.relative_to(run).as_posix(): hash_file(path) for path in files}


class Listener:
    """Counts trainings and keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.epochs: list[str] = []

    def talk(self) -> Progress:
        return Progress(say=self.lines.append, trained=self._trained)

    def _trained(self, label: str, progress: TrainingProgress) -> None:
        if progress.val_loss is not None:
            self.epochs.append(label)


def test_what_a_network_does_not_see_is_told_once_for_each(study: Path) -> None:
    listener = Listener()
    wanted = read_study(study, {"tiles.tile_px": "224"})
    prepare(wanted, study.parent, store=study.parent / "store", talk=listener.talk())
    told = [line.split(" network")[0] for line in listener.lines if "sees the upper left 189 × 189 px" in line]
    assert told == ["note: of a tile of 224 px the given", "note: of a tile of 224 px the modified"]


def test_a_study_ends_in_a_report_and_is_not_done_twice(study: Path) -> None:
    first, second = Listener(), Listener()
    run = run_study(study, talk=first.talk())
    made = contents(run)
    assert len(first.epochs) == 2 * 2 * 2
    expected = {
        "README.md", "report.html", "scores.csv", "study.yaml", "records/resolved.json", "records/cohort.csv",
        "records/cohort.json", "records/set_aside.csv", "records/splits.csv", "records/split.json",
        "records/augmentation.json", "records/environment.json", "records/scores.json", "records/comparison.json",
        "records/audit.json", "records/stages/judging.json",
        "figures/augmentation.png", "predictions/given-8/seed-0.csv", "predictions/modified-16/seed-1.csv",
        "arms/given-8/seed-0/fold-0-0/history.csv", "arms/given-8/seed-0/fold-0-0/history.pickle",
        "arms/given-8/seed-0/fold-0-0/model.safetensors", "arms/given-8/seed-0/fold-0-0/SHA256SUMS",
    }  # fmt: skip
    assert expected <= set(made)
    assert not [name for name in made if "checkpoint" in name or name.endswith(".inputs.json")]
    # Results on top, and nothing else: what a program reads is in records/.
    assert {path.name for path in run.iterdir() if not path.name.startswith(".")} == {
        "README.md", "report.html", "scores.csv", "study.yaml", "run.log", "progress.svg", "figures", "predictions",
        "arms", "records",
    }  # fmt: skip
    assert read_json(run / "records" / "run.json")["files"] == made
    assert run_study(study, talk=second.talk()) == run
    assert second.epochs == []
    assert contents(run) == made


@pytest.mark.slow
def test_a_changed_study_leaves_the_finished_run_alone_and_takes_over_what_holds(study: Path) -> None:
    run = run_study(study, overrides=ONE_SEED)
    made = contents(run)
    listener = Listener()
    other = run_study(study, overrides={"seeds": "[0, 1]"}, talk=listener.talk())
    assert other.name == "small-2"
    assert contents(run) == made
    # Only the second seed was trained, and the first one's weights are the same file.
    assert len(listener.epochs) == 2 * 2
    weights = "arms/given-8/seed-0/fold-0-0/model.safetensors"
    assert hash_file(other / weights) == made[weights]
    assert read_json(other / "records" / "scores.json")["arms"]["given-8"]["seeds"] == [0, 1]


@pytest.mark.slow
def test_an_arm_that_is_dropped_leaves_nothing_behind(study: Path) -> None:
    both = run_study(study, overrides={**ONE_SEED, "training.epochs": "1"})
    study.write_text(study.read_text().replace("  modified-16: {network: modified, batch: 16}\n", ""))
    listener = Listener()
    run = run_study(study, overrides={**ONE_SEED, "training.epochs": "1"}, talk=listener.talk())
    assert listener.epochs == []
    assert [name for name in contents(run) if "modified-16" in name] == []
    assert [name for name in contents(both) if "modified-16" in name]
    assert list(read_json(run / "records" / "scores.json")["arms"]) == ["given-8"]
    assert not (run / "records" / "comparison.json").exists()


@pytest.mark.slow
def test_an_interrupted_run_goes_on_and_ends_in_the_same_bytes(study: Path, tmp_path: Path) -> None:
    whole = contents(run_study(study, folder=tmp_path / "whole", overrides=ONE_SEED))
    for moment in (1, 3, 6):
        steps = [0]

        def stop(label: str, progress: TrainingProgress, steps: list[int] = steps, moment: int = moment) -> None:
            steps[0] += 1
            if steps[0] == moment:
                raise KeyboardInterrupt

        home = tmp_path / f"stopped-{moment}"
        with pytest.raises(KeyboardInterrupt):
            run_study(study, folder=home, overrides=ONE_SEED, talk=Progress(trained=stop))
        assert contents(run_study(study, folder=home, overrides=ONE_SEED)) == whole


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(study: Path, tmp_path: Path) -> None:
    """kill -9 at six moments, among them starting up, decoding, training, saving and reporting."""
    command = [sys.executable, "-m", "counterstain.cli", "run", str(study), "--set", "seeds=[0]", "--folder"]
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    began = time.monotonic()
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True, env=environment)
    length = time.monotonic() - began
    whole = contents(tmp_path / "whole" / "runs" / "small")
    draw = random.Random(0)
    home = tmp_path / "killed"
    killed = 0
    for part in range(6):
        process = subprocess.Popen(
            [*command, str(home)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )
        time.sleep(length * (part + draw.random()) / 6)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed >= 2
    subprocess.run([*command, str(home)], check=True, capture_output=True, env=environment)
    assert contents(home / "runs" / "small") == whole


def test_folds_test_every_patient_once(study: Path) -> None:
    run = run_study(study, overrides={**ONE_SEED, "split.method": "folds", "split.folds": "2", "training.epochs": "1"})
    lines = (run / "predictions" / "given-8" / "seed-0.csv").read_text().splitlines()
    assert len(lines) == 1 + 48
    assert len({line.split(",")[0] for line in lines[1:]}) == 48
    assert read_json(run / "records" / "scores.json")["arms"]["given-8"]["patients"] == 12
    comparison = read_json(run / "records" / "comparison.json")
    assert comparison["training_sets"] == 2
    assert "The corrected t-test over the 2 training sets must say the same" in comparison["rule"]
    assert "corrected t-test over training sets" in comparison["pairs"][0]["method"]


def test_co_primary_endpoints_at_frozen_thresholds(study: Path) -> None:
    asked = {"comparison.co_primary": "[sensitivity, specificity]", "comparison.thresholds": "frozen",
             "comparison.detect": "0.1"}  # fmt: skip
    run = run_study(study, overrides={**ONE_SEED, "training.epochs": "1", **asked})
    comparison = read_json(run / "records" / "comparison.json")
    assert comparison["co_primary"] == ["recall", "specificity"]
    in_use = read_json(run / "records" / "in_use.json")["arms"]
    pair = comparison["pairs"][0]
    for arm, key in ((pair["a"], "value_a"), (pair["b"], "value_b")):
        decided = {score["metric"]: score["value"] for score in in_use[arm]["decision"]["scores"]}
        assert [part[key] for part in pair["endpoints"]] == pytest.approx([decided["recall"], decided["specificity"]])
    assert not any("column is the last" in note for note in comparison["warnings"])  # the cohort says which is positive


def test_a_study_of_the_npv_compares_and_reports_it(study: Path) -> None:
    run = run_study(study, overrides={**ONE_SEED, "training.epochs": "1", "comparison.primary": "NPV"})
    comparison = read_json(run / "records" / "comparison.json")
    values = {arm: {score["metric"]: score["value"] for score in own["scores"] if score["level"] == "image"}
              for arm, own in read_json(run / "records" / "scores.json")["arms"].items()}  # fmt: skip
    pair = comparison["pairs"][0]
    assert comparison["primary"] == "npv"
    assert [pair["value_a"], pair["value_b"]] == [values[pair["a"]]["npv"], values[pair["b"]]["npv"]]
    assert "NPV, image level, test part" in (run / "report.html").read_text()


@pytest.mark.parametrize(
    ("asked", "words"),
    [({"thresholds": "frozen"}, "a threshold is for two"), ({"primary": "npv"}, "asks for the NPV"),
     ({"co_primary": "[sensitivity, NPV]"}, "asks for the NPV")],
)  # fmt: skip
def test_what_needs_two_classes_is_refused_before_images_are_read(
    study: Path, asked: dict[str, str], words: str
) -> None:
    table = study.parent / "images" / "cohort.csv"
    lines = table.read_text().splitlines()
    label = lines[0].split(",").index("label")
    rows = [line.split(",") for line in lines[1:]]
    for row in rows[::3]:
        row[label] = "third"
    table.write_text("\n".join([lines[0], *(",".join(row) for row in rows)]) + "\n")
    with pytest.raises(InputError, match=f"{words}.*3 classes|3 classes.*{words}"):
        run_study(study, overrides={f"comparison.{key}": value for key, value in asked.items()})


def test_bad_images_are_set_aside_and_listed(study: Path) -> None:
    bad = study.parent / "images" / "a" / "P00-0.png"
    bad.write_bytes(b"")
    run = run_study(study, overrides={**ONE_SEED, "training.epochs": "1"})
    assert "a/P00-0.png" in (run / "records" / "set_aside.csv").read_text()
    assert "a/P00-0.png" not in (run / "records" / "cohort.csv").read_text()
    # The page lets long names break after a slash, with a tag that is not part of the name.
    assert "a/P00-0.png" in (run / "report.html").read_text().replace("<wbr>", "")


def test_without_patients_the_unit_must_be_said(study: Path) -> None:
    table = study.parent / "images" / "cohort.csv"
    table.write_text("\n".join(",".join(line.split(",")[:2]) for line in table.read_text().splitlines()) + "\n")
    with pytest.raises(InputError, match="unit: image"):
        run_study(study)
    run = run_study(study, overrides={**ONE_SEED, "split.unit": "image", "training.epochs": "1"})
    assert read_json(run / "records" / "scores.json")["stamp"].startswith("image-level")
    assert "image-level" in (run / "report.html").read_text()


def test_planning_trains_nothing(study: Path) -> None:
    plan = plan_study(study)
    assert len(plan["trainings"]) == 4
    assert not (study.parent / "runs").exists()


def test_one_arm_is_scored_and_nothing_is_compared(study: Path) -> None:
    text = study.read_text().replace("  modified-16: {network: modified, batch: 16}\n", "")
    study.write_text(text)
    run = run_study(study, overrides={**ONE_SEED, "training.epochs": "1"})
    assert list(read_json(run / "records" / "scores.json")["arms"]) == ["given-8"]
    assert not (run / "records" / "comparison.json").exists()
