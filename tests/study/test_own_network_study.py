"""An arm with a network of the user's: trained, stopped and resumed, side by side, judged, exported; or refused."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from make_study import make_images
from safetensors.torch import load_file
from typer.testing import CliRunner

from counterstain.cli import app
from counterstain.errors import InputError
from counterstain.export.exported_model import read_export
from counterstain.files import hash_file, read_json
from counterstain.learning import own_network
from counterstain.learning.own_network import SOURCE
from counterstain.progress import Progress, TrainingProgress
from counterstain.study.results import StudyRun
from counterstain.study.run import run_study
from counterstain.study.study_config import read_study

NETS = """\
from torch import nn


class SmallNet(nn.Module):
    def __init__(self, classes, width=8):
        super().__init__()
        self.maps = nn.Sequential(
            nn.Conv2d(3, width, 5, 2), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, 2), nn.ReLU(),
        )
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(width, classes)

    def forward(self, tiles):
        return self.head(self.dropout(self.maps(tiles).mean((2, 3))))
"""
STUDY = """\
name: own
cohort: {path: images/cohort.csv}
tiles: {tile_px: 64}
training: {epochs: 3, learning_rate: 1e-2, precision: fp32, threads: 1, batch: 8}
audit: {gate: "off", baselines: false}
arms:
  small: {network: "my_nets.py:SmallNet"}
  wide: {network: "my_nets.py:SmallNet", network_settings: {width: 16}}
seeds: [0]
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    make_images(folder / "images", patients=24, each=4)
    (folder / "study.yaml").write_text(STUDY)
    (folder / "my_nets.py").write_text(NETS)
    return folder


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return []


@pytest.fixture(scope="module")
def run(home: Path, lines: list[str]) -> Path:
    return run_study(home / "study.yaml", talk=Progress(say=lines.append))


def weights(run: Path, arm: str = "small") -> Path:
    return run / "arms" / arm / "seed-0" / "fold-0-0" / "model.safetensors"


def test_the_run_knows_the_source(run: Path, home: Path, lines: list[str]) -> None:
    sha256 = hash_file(home / "my_nets.py")
    assert {arm["network_sha256"] for arm in read_json(run / "records" / "resolved.json")["arms"].values()} == {sha256}
    folder = weights(run).parent
    assert (folder / SOURCE).read_text() == NETS
    record = read_json(folder / "training.json")
    # 5×5 at stride 2, then 3×3: 5 + 2·2 = 9 px.
    assert record["done"]["own"]["receptive_field_px"] == 9
    assert record["parameters"] == (8 * 3 * 25 + 8) + 16 + (8 * 8 * 9 + 8) + (8 * 2 + 2)
    assert any("network my_nets.py:SmallNet: 1,226 parameters, receptive field 9 px of 64" in line for line in lines)
    assert (folder / "calibration.json").is_file()
    assert load_file(weights(run, "wide"))["body.head.weight"].shape == (2, 16)
    assert "my_nets.py:SmallNet" in (run / "report.html").read_text(encoding="utf-8")


def test_a_stopped_training_goes_on_to_the_same_bytes(run: Path, home: Path, tmp_path: Path) -> None:
    ended = [0]

    def stop(label: str, progress: TrainingProgress) -> None:
        ended[0] += progress.val_loss is not None
        if ended[0] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(home / "study.yaml", folder=tmp_path, talk=Progress(trained=stop))
    again = run_study(home / "study.yaml", folder=tmp_path)
    for arm in ("small", "wide"):
        assert hash_file(weights(again, arm)) == hash_file(weights(run, arm))


def test_a_changed_file_is_another_study_and_a_pinned_one_is_refused(run: Path, home: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(home, copy, ignore=shutil.ignore_patterns("runs", "store"))
    sha256 = hash_file(home / "my_nets.py")
    pinned = {"arms.small.network_sha256": sha256}
    assert read_study(copy / "study.yaml", pinned).arm("small").network_sha256 == sha256
    (copy / "my_nets.py").write_text(NETS.replace("0.2", "0.3"))
    assert read_study(copy / "study.yaml").arm("small").network_sha256 != sha256
    with pytest.raises(InputError, match="it was changed since"):
        read_study(copy / "study.yaml", pinned)
    with pytest.raises(InputError, match=r"network_settings are of a network of your own"):
        read_study(copy / "study.yaml", {"arms.small.network": "given", "arms.small.network_settings": "{width: 3}"})


@pytest.mark.slow
def test_processes_side_by_side_make_the_same_bytes(run: Path, home: Path, tmp_path: Path) -> None:
    beside = run_study(home / "study.yaml", folder=tmp_path, jobs=2)
    for arm in ("small", "wide"):
        assert hash_file(weights(beside, arm)) == hash_file(weights(run, arm))


@pytest.mark.slow
def test_dask_workers_make_the_same_bytes(run: Path, home: Path, tmp_path: Path) -> None:
    """Each worker is a process that has never seen the file: the study names it, so it may run it."""
    distributed = pytest.importorskip("distributed")
    quiet = {"silence_logs": 50, "dashboard_address": None}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=True, **quiet) as cluster:
        there = run_study(home / "study.yaml", folder=tmp_path, scheduler=cluster.scheduler_address)
    for arm in ("small", "wide"):
        assert hash_file(weights(there, arm)) == hash_file(weights(run, arm))


def test_another_process_runs_no_code_until_the_file_is_named(run: Path, home: Path, tmp_path: Path) -> None:
    words = ["predict", str(run), str(home / "images"), "--arm", "small", "--out", str(tmp_path / "p.csv")]
    kept = dict(own_network._LOADED)
    own_network._LOADED.clear()
    try:
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 2 and "not run unbidden" in result.stderr
        assert f"--network-file {weights(run).parent / SOURCE}" in result.stderr
        result = CliRunner().invoke(app, [*words, "--network-file", str(weights(run).parent / SOURCE)])
        assert result.exit_code == 0, result.output
    finally:
        own_network._LOADED.update(kept)
    assert "--network-file" in result.stdout.split("Next:")[1]


@pytest.mark.slow
def test_the_other_verbs_take_it(run: Path, home: Path, tmp_path: Path) -> None:
    """robustness, explain, features, and an export whose files answer as PyTorch does."""
    cohort = str(home / "images" / "cohort.csv")
    for words in (
        ["robustness", str(run), cohort, "--arm", "small", "--only", "blur_px", "--sample", "8"],
        ["explain", str(run), cohort, "--arm", "small", "--trials", "4"],
        ["features", str(run), cohort, "--arm", "small", "--fit", "stretch", "--columns", "slide_id=patient_id"],
    ):
        result = CliRunner().invoke(app, [*words, "--out", str(tmp_path / words[0])])
        assert (result.exit_code in (0, 3) and result.exception is None) or isinstance(result.exception, SystemExit)
        assert result.exit_code in (0, 3), result.output
    to = tmp_path / "export"
    result = CliRunner().invoke(app, ["export", str(run), "--arm", "small", "--out", str(to), "--mpp", "0.5", "--json"])
    assert result.exit_code == 0, result.output
    parity = {row["runtime"]: row["difference"] for row in json.loads(result.stdout)["parity"]}
    assert set(parity) == {"torch", "wsinfer", "onnx", "openvino"} and max(parity.values()) <= 1e-4
    assert (to / SOURCE).is_file()
    read_export(to)


@pytest.mark.slow
def test_two_processes_train_it_together(home: Path, tmp_path: Path) -> None:
    """Batch normalisation and dropout are each process's own, so the weights differ; that both end with one is held."""
    from counterstain.cohort.manifest import read_manifest
    from counterstain.cohort.splitters import holdout, write_split

    write_split(holdout(read_manifest(home / "images" / "cohort.csv"), test=0.2), tmp_path / "splits.csv")
    words = ["train", str(home / "images" / "cohort.csv"), str(tmp_path / "splits.csv"), "--out", str(tmp_path / "m"),
             "--network", "my_nets.py:SmallNet", "--tile-px", "64", "--epochs", "2", "--threads", "1"]  # fmt: skip
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*start, "-m", "counterstain", *words], cwd=home, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "m" / SOURCE).read_text() == NETS


KERAS = """\
import keras


def make(classes):
    return keras.Sequential([
        keras.Input((64, 64, 3)), keras.layers.Conv2D(8, 5, 2, activation="relu"), keras.layers.BatchNormalization(),
        keras.layers.GlobalAveragePooling2D(), keras.layers.Dropout(0.2),
        keras.layers.Dense(classes, activation="softmax"),
    ])
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_keras_model_trains_resumes_predicts_and_is_exported(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setenv("KERAS_TORCH_DEVICE", "cpu")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    pytest.importorskip("keras")
    shutil.copytree(home / "images", tmp_path / "images", ignore=shutil.ignore_patterns("store"))
    (tmp_path / "my_keras.py").write_text(KERAS)
    text = STUDY.split("arms:")[0] + 'arms:\n  k: {network: "my_keras.py:make"}\nseeds: [0]\n'
    (tmp_path / "study.yaml").write_text(text)
    whole = run_study(tmp_path / "study.yaml", folder=tmp_path / "whole")

    def stop(label: str, progress: TrainingProgress) -> None:
        if progress.val_loss is not None and progress.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(tmp_path / "study.yaml", folder=tmp_path / "stopped", talk=Progress(trained=stop))
    again = run_study(tmp_path / "study.yaml", folder=tmp_path / "stopped")
    assert hash_file(weights(again, "k")) == hash_file(weights(whole, "k"))
    result = CliRunner().invoke(
        app, ["predict", str(whole), str(home / "images"), "--out", str(tmp_path / "p.csv"), "--runtime", "torch"]
    )
    assert result.exit_code == 0, result.output
    # Batch normalisation and dropout as in use, not as in training, in every file.
    to = str(tmp_path / "export")
    result = CliRunner().invoke(app, ["export", str(whole), "--arm", "k", "--out", to, "--mpp", "0.5", "--json"])
    assert result.exit_code == 0, result.output
    parity = {row["runtime"]: row["difference"] for row in json.loads(result.stdout)["parity"]}
    assert set(parity) == {"torch", "wsinfer", "onnx", "openvino"} and max(parity.values()) <= 1e-4
    distributed = pytest.importorskip("distributed")
    quiet = {"silence_logs": 50, "dashboard_address": None}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=True, **quiet) as cluster:
        there = run_study(tmp_path / "study.yaml", folder=tmp_path / "dask", scheduler=cluster.scheduler_address)
    assert hash_file(weights(there, "k")) == hash_file(weights(whole, "k"))


def test_what_comes_next_names_the_file(run: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands at the end of the run hold in another process, which may not run the file unbidden."""
    monkeypatch.chdir(home)
    kept = dict(own_network._LOADED)
    own_network._LOADED.clear()
    try:
        for command in StudyRun(run).next_commands[1:]:
            words = shlex.split(command)[1:]
            small = {"explain": ["--trials", "4", "--each", "2"], "robustness": ["--sample", "8", "--only", "blur_px"]}
            done = CliRunner().invoke(app, [*words, *small[words[0]]])
            assert done.exit_code in (0, 3), done.output
    finally:
        own_network._LOADED.update(kept)
