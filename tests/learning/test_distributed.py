"""Several processes train one model as one would: the same batches, masks, numbers and epochs, and no image twice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from counterstain.cohort.cohort import Cohort
from counterstain.cohort.manifest import read_manifest
from counterstain.cohort.splitters import holdout, write_split
from counterstain.errors import InputError
from counterstain.learning.checkpoint import load_checkpoint
from counterstain.learning.distributed import World, _first_host, find_world, share
from counterstain.learning.networks import build_network, dropout_masks
from counterstain.phantom.tiles import Phantom, write_phantom

# One network, 127 px, a batch of 16 whose last one is smaller; the launcher's processes get one thread each.
IN_DOUBLE = (str(Path(__file__).with_name("train_in_double.py")),)
OPTIONS = ("--tile-px", "127", "--batch", "16", "--threads", "1")


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 32])
def test_shares_are_all_rows_once_in_order_and_even(size: int, count: int) -> None:
    shares = [np.arange(count)[share(count, World(rank, size))] for rank in range(size)]
    assert np.concatenate(shares).tolist() == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_process_finds_its_place_by_what_the_launcher_says() -> None:
    assert find_world({}) == World()
    torchrun = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    assert find_world(torchrun) == World(3, 4, 1, 2)
    step = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1"}
    assert find_world(step | {"SLURM_STEP_TASKS_PER_NODE": "4(x2)"}) == World(5, 8, 1, 4)
    # A batch job that has not been split into tasks by srun is one process.
    assert find_world({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}) == World()
    with pytest.raises(InputError, match="WORLD_SIZE"):
        find_world({"RANK": "0"})


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("a1", "a1"), ("a1,a2", "a1"), ("node[03-05,9]", "node03"), ("node[3,5]", "node3"), ("a1,node[03-05]", "a1")],
)
def test_the_first_host_of_a_list_of_slurm(nodes: str, first: str) -> None:
    assert _first_host(nodes) == first


@pytest.mark.parametrize("name", ["given", "modified"])
def test_masks_are_those_that_one_process_draws(name: str) -> None:
    """A batch of 10 in pieces of 4: what dropout does to ones, piece after piece, layer after layer."""
    network = build_network(name, classes=2, tile_px=127, seed=0)
    torch.manual_seed(5)
    drawn = dropout_masks(network, 10, 4, "cpu")
    torch.manual_seed(5)
    for start in (0, 4, 8):
        rows = slice(start, min(start + 4, 10))
        for layer in range(len(network.dense)):
            ones = torch.ones(rows.stop - rows.start, drawn.shape[2])
            assert torch.equal(drawn[layer, rows], network.dropout(ones))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of drawn tiles and its split beside it."""
    folder = tmp_path_factory.mktemp("drawn")
    write_phantom(Phantom(patients=16, tiles_per_patient=5, tile_px=127, difficulty=0.0, seed=1), folder)
    table: Cohort = read_manifest(folder / "cohort.csv")
    write_split(holdout(table, test=0.2, val=0.3, unit="patient", seed=0), folder / "splits.csv")
    return folder


def command(cohort: Path, out: Path, *more: str) -> list[str]:
    return ["train", str(cohort / "cohort.csv"), str(cohort / "splits.csv"), "--out", str(out), *OPTIONS, *more]


def launch(
    words: list[str], processes: int, program: Sequence[str] = ("-m", "counterstain")
) -> "subprocess.Popen[str]":
    start = [sys.executable]
    if processes > 1:
        # The launcher looks every ten seconds: on a busy machine it would otherwise end the one that is left unheard.
        start += ["-m", "torch.distributed.run", "--standalone", "--monitor-interval", "10"]
        start += ["--nproc-per-node", str(processes)]
    environ = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [*start, *program, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ
    )


def train(words: list[str], processes: int, program: Sequence[str] = ("-m", "counterstain")) -> str:
    process = launch(words, processes, program)
    _, talk = process.communicate(timeout=240)
    assert process.returncode == 0, talk
    return talk


def history(folder: Path) -> np.ndarray:
    return np.loadtxt(folder / "history.csv", delimiter=",", skiprows=1, ndmin=2)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["given", "modified"])
def test_two_processes_end_where_one_does(cohort: Path, tmp_path: Path, network: str) -> None:
    """In double precision, where only rounding of 1e-16 is between them, so that the bound holds on every processor.

    In fp32 no such bound exists: Adam divides each gradient by its own size, and where one is nearly 0 the order of a
    sum decides its sign. Processors with wider registers sum in another order (1.3e-5 was seen with AMX).
    """
    own = ("--network", network, "--epochs", "1", "--precision", "fp32")
    train(command(cohort, tmp_path / "one", *own), 1, IN_DOUBLE)
    talk = train(command(cohort, tmp_path / "two", *own), 2, IN_DOUBLE)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert tensor.dtype == torch.float64
        assert torch.allclose(tensor, two[name], rtol=0, atol=1e-12), name
    assert history(tmp_path / "two") == pytest.approx(history(tmp_path / "one"), abs=1e-6)  # its losses are of fp32
    first, second = ((tmp_path / name / "predictions.csv").read_text().splitlines() for name in ("one", "two"))
    assert len(first) == len(second)
    assert talk.count("epoch 1 of ") == 1  # one of them talks
    assert json.loads((tmp_path / "two" / "training.json").read_text())["machine"]["processes"] == 2


@pytest.mark.slow
def test_what_is_wrong_with_the_input_is_said_once(cohort: Path, tmp_path: Path) -> None:
    """By the leading process, while the others wait for it."""
    process = launch(command(cohort, tmp_path / "model", "--fold", "3-3"), 2)
    out, talk = process.communicate(timeout=400)
    assert process.returncode != 0 and out == ""
    assert [line for line in talk.splitlines() if line.startswith("counterstain:")] == [
        f"counterstain: {cohort / 'splits.csv'} has no fold 3-3; it has 0-0"
    ]


@pytest.mark.slow
def test_both_processes_stop_at_the_same_epoch(cohort: Path, tmp_path: Path) -> None:
    """With so high a rate the validation loss soon fails to improve; a process that went on alone would hang.

    In double precision: in fp32 Adam turns rounding into steps, and after some epochs the loss of one process and that
    of two need not fail to improve at the same one.
    """
    own = ("--epochs", "12", "--patience", "1", "--precision", "fp32", "--learning-rate", "5e-3")
    train(command(cohort, tmp_path / "one", *own), 1, IN_DOUBLE)
    train(command(cohort, tmp_path / "two", *own), 2, IN_DOUBLE)
    assert len(history(tmp_path / "one")) == len(history(tmp_path / "two")) < 12


@pytest.mark.slow
def test_a_dead_process_ends_the_run_and_leaves_the_last_epoch(cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    words = command(cohort, out, "--epochs", "40", "--patience", "40", "--precision", "fp32")
    process = launch(words, 2)
    deadline = time.monotonic() + 120
    while not (out / "checkpoint.safetensors").is_file():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    _, talk = process.communicate(timeout=90)
    assert process.returncode != 0
    assert any(
        line.startswith("counterstain: process ") and "has lost another process" in line for line in talk.splitlines()
    )
    kept = load_checkpoint(out)
    assert kept is not None
    epochs = len(kept.record["history"]["loss"])
    assert epochs >= 1
    # The same command goes on from there, also as one process.
    train(command(cohort, out, "--epochs", "40", "--patience", "40", "--precision", "fp32"), 1)
    assert history(out)[:epochs, 1] == pytest.approx(kept.record["history"]["loss"])
    assert len(history(out)) == 40
