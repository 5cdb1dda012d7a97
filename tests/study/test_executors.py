"""Trainings done elsewhere, in processes or by a cluster, leave the bytes that one after the other leaves here."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from counterstain.engine import check_engine
from counterstain.errors import InputError
from counterstain.files import hash_file, hash_json, read_json, write_bytes
from counterstain.progress import Progress
from counterstain.study.completion import lock
from counterstain.study.environment import settled
from counterstain.study.executors import RemoteJob, settle_threads, train_order
from counterstain.study.prepare import PreparedStudy, prepare
from counterstain.study.run import run_study
from counterstain.study.study_config import read_study
from counterstain.study.trainings import HELD, train_one
from counterstain.system import threads_per_job, usable_cores

FIRST = "given-8/seed-0/fold-0-0"
QUICK = {"seeds": "[0]", "training.epochs": "1"}
RUN = [sys.executable, "-m", "counterstain.cli", "run"]
# A process of its own does not inherit that warnings are errors; dask's own commands would end on one of theirs.
ENVIRONMENT = {**os.environ, "PYTHONWARNINGS": "default"}


def hashes(run: Path) -> dict[str, str]:
    """SHA-256 of every file of a finished run, as its manifest has them, once these are seen to hold."""
    files: dict[str, str] = read_json(run / "records" / "run.json")["files"]
    assert {name: hash_file(run / name) for name in files} == files
    assert not (run / HELD).exists()
    return files


@pytest.fixture
def prepared(study: Path) -> PreparedStudy:
    """The small study with its store built."""
    return prepare(read_study(study, QUICK), study.parent, store=study.parent / "store", talk=Progress())


def order_of(study: Path, prepared: PreparedStudy) -> RemoteJob:
    run = study.parent / "runs" / "small"
    write_bytes(run / "study.yaml", study.read_bytes())
    home = study.parent
    key = hash_json(prepared.key())
    return RemoteJob(run, home, home / "store", tuple(QUICK.items()), key, FIRST, stop=run / HELD / "stop")


def test_without_a_number_the_cores_are_shared_out(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study.write_text(study.read_text().replace(", threads: 1", ""))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = usable_cores()
    assert settle_threads(study, {"seeds": "[0]"}, jobs=1, scheduler=None)["training.threads"] == str(cores)
    assert settle_threads(study, None, jobs=cores, scheduler=None) == {"training.threads": "1"}
    assert settle_threads(study, None, jobs=10 * cores, scheduler=None) == {"training.threads": "1"}
    assert settle_threads(study, None, jobs=1, scheduler="tcp://host:1") == {"training.threads": "1"}


@pytest.mark.parametrize("scheduler", [None, "tcp://host:1"])
def test_omp_num_threads_is_of_each_process_as_for_slides(
    study: Path, scheduler: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.write_text(study.read_text().replace(", threads: 1", ""))
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert settle_threads(study, None, jobs=1000, scheduler=scheduler) == {"training.threads": "5"}


def test_the_studys_own_number_of_threads_is_kept(study: Path) -> None:
    assert settle_threads(study, None, jobs=2, scheduler=None) == {}
    asked = {"training.threads": "3"}
    assert settle_threads(study, asked, jobs=2, scheduler=None) == asked


def test_an_arm_that_takes_what_cores_there_are_is_refused(study: Path) -> None:
    with pytest.raises(InputError, match=r"arms.given-8.threads is null"):
        settle_threads(study, {"arms.given-8.threads": "null"}, jobs=2, scheduler=None)


@pytest.mark.parametrize(
    ("jobs", "scheduler", "words"),
    [
        (0, None, "jobs is 0"),
        (2, "tcp://localhost:1", "leave jobs out"),
        (1, "localhost:8786", "such as tcp://host:8786"),
        (1, "tcp://localhost", "such as tcp://host:8786"),
        (1, "tcp://localhost:1", "no dask scheduler answers at tcp://localhost:1"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_read(jobs: int, scheduler: str | None, words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_engine(jobs=jobs, scheduler=scheduler)
    with pytest.raises(InputError, match=words):
        run_study("no-such-study.yaml", jobs=jobs, scheduler=scheduler)


def test_without_the_package_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install 'counterstain\[cluster\]'"):
        check_engine(jobs=1, scheduler="tcp://localhost:1")


def test_a_worker_that_finds_another_study_refuses(study: Path, prepared: PreparedStudy) -> None:
    order = order_of(study, prepared)
    outcome = train_order(replace(order, key="another"))
    assert "found another cohort, split or study" in outcome.refusal
    assert not (order.run / "arms").exists()


def test_a_worker_with_other_versions_refuses(study: Path, prepared: PreparedStudy) -> None:
    order = order_of(study, prepared)
    here = settled({name: prepared.study.arm(name) for name in prepared.study.arms})
    assert train_order(replace(order, settled=tuple(here.items()))).refusal == ""
    other = train_order(replace(order, settled=tuple((here | {"arm given-8": "cpu bf16"}).items())))
    assert other.refusal.startswith("arm given-8 is cpu fp32 on a worker, but cpu bf16 on the other workers")
    pooled = train_order(replace(order, settled=tuple((here | {"pooling of arm given-8": "by hand"}).items())))
    assert pooled.refusal.startswith("pooling of arm given-8 is ") and "but by hand on the other" in pooled.refusal


def test_a_stopped_training_is_taken_up_from_its_checkpoint(study: Path, prepared: PreparedStudy) -> None:
    order = replace(order_of(study, prepared), overrides=(("seeds", "[0]"), ("training.epochs", "2")))
    prepared = prepare(read_study(study, dict(order.overrides)), order.base, store=order.store, talk=Progress())
    order = replace(order, key=hash_json(prepared.key()))
    write_bytes(order.stop, "")
    assert train_order(order).refusal == "stopped"
    assert (order.run / "arms" / FIRST / "checkpoint.safetensors").is_file()
    order.stop.unlink()
    outcome = train_order(order)
    assert (outcome.refusal, outcome.resumed) == ("", True)
    assert read_json(order.run / "arms" / FIRST / "training.json")["last_epoch"] == 2


def test_a_training_that_another_process_holds_is_waited_for_and_not_done_twice(
    study: Path, prepared: PreparedStudy
) -> None:
    run = study.parent / "runs" / "small"
    lines: list[str] = []
    said = threading.Event()

    def say(line: str) -> None:
        lines.append(line)
        said.set()

    with lock(run / HELD / FIRST):
        second = threading.Thread(target=train_one, args=(run, prepared, FIRST), kwargs={"say": say})
        second.start()
        assert said.wait(60)
        assert not (run / "arms" / FIRST).exists()
    second.join()
    assert lines == [f"{FIRST}: another process is training it; waiting"]
    weights = run / "arms" / FIRST / "model.safetensors"
    before = weights.stat().st_mtime_ns
    assert not train_one(run, prepared, FIRST, say=say).resumed
    assert weights.stat().st_mtime_ns == before


@pytest.mark.slow
def test_two_at_a_time_leave_the_same_bytes_as_one_after_the_other(study: Path, tmp_path: Path) -> None:
    study.write_text(study.read_text().replace(", threads: 1", ""))
    lines: list[str] = []
    two = run_study(study, folder=tmp_path / "two", jobs=2, talk=Progress(say=lines.append))
    threads = str(threads_per_job(2))
    one = run_study(study, folder=tmp_path / "one", overrides={"training.threads": threads})
    assert hashes(two) == hashes(one)
    assert "4 trainings, 2 at a time" in lines
    assert len([line for line in lines if "best epoch" in line and " process " in line]) == 4
    ends = [line.endswith(" left") for line in lines if "best epoch" in line]
    # Known once a process has done its second, which of 4 trainings by 2 processes is so at the third.
    assert (ends[0], ends[2], ends[3]) == (False, True, False)
    assert read_json(two / "records" / "resolved.json")["arms"]["given-8"]["threads"] == int(threads)


@pytest.mark.slow
def test_what_the_user_must_mend_in_a_process_elsewhere_ends_the_run_in_one_line(study: Path) -> None:
    with pytest.raises(InputError, match="the loss is nan in epoch 1"):
        run_study(study, jobs=2, overrides={"seeds": "[0]", "training.learning_rate": "1e30"})


@pytest.mark.slow
def test_a_killed_process_is_told_in_one_line_and_the_run_goes_on_from_there(study: Path, tmp_path: Path) -> None:
    epochs = ["--set", "training.epochs=4", "--set", "seeds=[0]"]
    command = [*RUN, str(study), "--jobs", "2", *epochs, "--folder", str(tmp_path / "killed")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    await_checkpoints(tmp_path / "killed", 1, process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        process.kill()
        pytest.skip("this system does not list a process's children")
    trainers = [int(pid) for pid in children.read_text().split() if b"spawn_main" in command_line(int(pid))]
    os.kill(trainers[0], signal.SIGKILL)
    talk = process.communicate()[1]
    assert process.returncode == 2, talk
    assert talk.splitlines()[-1].startswith("counterstain: a training's process was killed")
    whole = run_study(study, folder=tmp_path / "whole", overrides={"training.epochs": "4", "seeds": "[0]"})
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=ENVIRONMENT)
    assert "from its checkpoint on" in done.stderr
    assert hashes(tmp_path / "killed" / "runs" / "small") == hashes(whole)


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def await_checkpoints(home: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Return once `count` trainings below `home` have a whole epoch behind them."""
    until = time.monotonic() + 400
    while len(list(home.glob("runs/*/arms/*/*/*/checkpoint.safetensors"))) < count:
        assert process.poll() is None, "the run ended before it could be disturbed"
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow
def test_a_killed_workers_training_is_taken_up_by_the_other_and_ends_in_the_same_bytes(
    study: Path, tmp_path: Path, cluster: tuple[str, list[subprocess.Popen[bytes]]]
) -> None:
    address, workers = cluster
    epochs = ["--set", "training.epochs=8"]
    command = [*RUN, study.name, "--scheduler", address, *epochs, "--folder", "there"]
    # With relative paths: the workers run in another folder.
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=study.parent)
    await_checkpoints(study.parent / "there", 2, process)
    workers[0].kill()
    talk = process.communicate()[1]
    assert process.returncode == 0, talk
    ends = [line for line in talk.splitlines() if "best epoch" in line]
    assert len(ends) == 4
    assert any(f"process {workers[1].pid} from its checkpoint on" in line for line in ends), talk
    whole = run_study(study, folder=tmp_path / "here", overrides={"training.epochs": "8"})
    assert hashes(study.parent / "there" / "runs" / "small") == hashes(whole)


@pytest.mark.slow
def test_what_the_user_must_mend_on_a_worker_ends_the_run_in_one_line_and_exit_code_2(
    study: Path, cluster: tuple[str, list[subprocess.Popen[bytes]]]
) -> None:
    command = [*RUN, str(study), "--scheduler", cluster[0], "--set", "training.learning_rate=1e30"]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("counterstain: the loss is nan in epoch 1")
    assert "Traceback" not in done.stderr
