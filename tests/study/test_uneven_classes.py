"""Uneven classes in a study: told by init, by run and by the methods paragraph; trained alike side by side."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from make_study import make_images

from counterstain.evaluation.predictions import Predictions
from counterstain.files import hash_file, read_json, write_csv
from counterstain.progress import Progress, TrainingProgress
from counterstain.study.init import start_study
from counterstain.study.run import run_study
from counterstain.study.trainings import never_called
from counterstain.tables import read_cells

STUDY = """\
name: uneven
cohort: {path: images/rare.csv}
tiles: {tile_px: 127}
training: {epochs: 2, learning_rate: 1e-3, precision: fp32, threads: 1, batch: 16}
audit: {gate: "off", baselines: false}
arms:
  weighted: {class_weights: {b: 3, a: 1}, label_smoothing: 0.05}
  drawn: {sampler: balanced, focal: 2, mixup: 0.2, cutmix: 1}
seeds: [0]
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """24 patients of 4 tiles; of class b each has one, so that b is 1 in 5."""
    make_images(tmp_path / "images", patients=24)
    cells = read_cells(tmp_path / "images" / "cohort.csv")
    rows = [row for row in zip(*cells.values(), strict=True) if row[1] == "a" or row[0].endswith("-0.png")]
    write_csv(tmp_path / "images" / "rare.csv", tuple(cells), rows)
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path


def test_init_writes_the_line_where_a_class_is_rare(home: Path) -> None:
    start_study(home / "images" / "rare.csv", home / "rare.yaml")
    text = (home / "rare.yaml").read_text()
    assert "class_weights: none   # 'b' is 1 image in 5" in text
    assert yaml.safe_load(text)["training"]["class_weights"] == "none"
    start_study(home / "images" / "cohort.csv", home / "even.yaml")
    assert "class_weights" not in (home / "even.yaml").read_text()


def test_a_class_that_is_never_called_is_told() -> None:
    prob = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3]])
    blank = ("",) * 3
    names = ("x", "y", "z")

    def table(label: list[int]) -> Predictions:
        return Predictions(
            image=names, patient=names, slide=blank, site=blank, label=np.array(label), prob=prob,
            classes=("benign", "malignant"),
        )  # fmt: skip

    (line,) = never_called(table([0, 0, 1]))
    assert "no validation image is predicted 'malignant'" in line and "though 1 of 3 are" in line
    assert never_called(table([0, 0, 0])) == []


def test_the_settings_are_trained_resumed_and_reported(home: Path, tmp_path: Path) -> None:
    run = run_study(home / "study.yaml")
    record = read_json(run / "arms/weighted/seed-0/fold-0-0/training.json")["done"]
    weights = record["objective"]["weights"]
    assert weights[1] / weights[0] == pytest.approx(3)
    assert record["uneven"] == {"class_weights": {"b": 3, "a": 1}, "label_smoothing": 0.05}
    words = (run / "report.html").read_text(encoding="utf-8")
    for clause in (
        "the loss was weighted by class (a 1, b 3)", "labels were smoothed by 0.05", "equally many images of",
        "the focal loss was used (γ = 2)", "by CutMix (α = 1)", "(logit adjustment)",
    ):  # fmt: skip
        assert clause in words

    def stop(label: str, progress: TrainingProgress) -> None:
        if progress.val_loss is not None:
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_study(home / "study.yaml", folder=tmp_path / "stopped", talk=Progress(trained=stop))
    again = run_study(home / "study.yaml", folder=tmp_path / "stopped")
    for arm in ("weighted", "drawn"):
        name = f"arms/{arm}/seed-0/fold-0-0/model.safetensors"
        assert hash_file(again / name) == hash_file(run / name)


@pytest.mark.slow
def test_two_processes_draw_and_mix_as_one(home: Path, tmp_path: Path) -> None:
    """Equal within rounding to one process: weights, draws and mixed pairs are those of the whole batch."""
    import subprocess
    import sys

    from safetensors.torch import load_file

    from counterstain.cohort.manifest import read_manifest
    from counterstain.cohort.splitters import holdout, write_split

    cohort = home / "images" / "rare.csv"
    write_split(holdout(read_manifest(cohort), test=0.2, val=0.3), tmp_path / "splits.csv")
    words = ["train", str(cohort), str(tmp_path / "splits.csv"), "--tile-px", "127", "--epochs", "1", "--threads", "1",
             "--batch", "16", "--precision", "fp32", "--set", "sampler=balanced", "--set", "mixup=0.3", "--set",
             "cutmix=1", "--set", "label_smoothing=0.1"]  # fmt: skip
    for count in (1, 2):
        start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
        done = subprocess.run(
            [*start, "-m", "counterstain", *words, "--out", str(tmp_path / f"m{count}")],
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
    one, two = (load_file(tmp_path / f"m{count}" / "model.safetensors") for count in (1, 2))
    for name, value in one.items():
        np.testing.assert_allclose(two[name].numpy(), value.numpy(), atol=2e-4, err_msg=name)
