"""Slides read by several processes, or by a cluster, leave the bytes that one process leaves."""

import shutil
import signal
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from cohort_runs import contents, make_bundle, write_slide

from counterstain.errors import InputError
from counterstain.slides import slide_workers
from counterstain.slides.infer_cohort import Engine, SlidesProgress, run_slides
from counterstain.slides.infer_slide import InferenceOptions
from counterstain.slides.outputs import SlideJob, paths_of
from counterstain.slides.slide_workers import SlideOutcome, SlideTask, read_task, threads_of

READING = InferenceOptions(batch=4, workers=2, threads=1, runtime="torch")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four slides, one of them damaged."""
    folder = tmp_path_factory.mktemp("slides")
    for number in range(3):
        write_slide(folder / f"S{number}.tif", number)
    (folder / "damaged.tif").write_bytes((folder / "S0.tif").read_bytes()[:3000])
    return folder


@pytest.fixture(scope="module")
def by_one(bundle: Path, slides: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("one")
    run_slides(bundle, [slides], out, READING)
    return contents(out)


@pytest.mark.parametrize(
    ("options", "jobs", "scheduler", "threads"),
    [
        (READING, 4, None, 1),
        (replace(READING, threads=None), 1000, None, 1),
        (replace(READING, threads=None), 1, "tcp://host:1", 1),
        (replace(READING, threads=3), 1, "tcp://host:1", 3),
    ],
)
def test_threads_are_settled_before_anything_is_sent(
    options: InferenceOptions, jobs: int, scheduler: str | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert threads_of(options, jobs=jobs, scheduler=scheduler) == threads


def test_jobs_and_a_scheduler_are_checked_first(bundle: Path, slides: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="jobs is 0"):
        run_slides(bundle, [slides], tmp_path, READING, engine=Engine(jobs=0))
    with pytest.raises(InputError, match="scheduler is 'nowhere'"):
        run_slides(bundle, [slides], tmp_path, READING, engine=Engine(scheduler="nowhere"))


@pytest.mark.slow
def test_two_processes_leave_the_bytes_of_one(
    bundle: Path, slides: Path, by_one: dict[str, bytes], tmp_path: Path
) -> None:
    lines: list[str] = []
    result = run_slides(
        bundle, [slides], tmp_path, READING, engine=Engine(jobs=2), talk=SlidesProgress(say=lines.append)
    )
    assert contents(tmp_path) == by_one
    assert [name for name, _, _ in result.failures] == ["damaged"]
    assert "4 slides, 2 at a time" in lines
    assert any(line.startswith("S1 (") and "tiles in" in line for line in lines)


def test_a_slide_that_hangs_is_set_aside_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    monkeypatch.setattr(slide_workers, "_read", lambda task: never.wait(60))
    outcome = read_task(task_of("stuck", time_limit_s=0.05))
    never.set()
    assert outcome.record is None
    assert "longer than its time limit of 0.05 s" in outcome.refusal


def test_within_its_time_a_slide_has_its_own_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slide_workers, "_read", lambda task: SlideOutcome(task.job.name, {"tiles": 1}, "", 0.1))
    assert read_task(task_of("quick", time_limit_s=30)).record == {"tiles": 1}


def test_a_fault_of_ours_is_no_damaged_slide(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(task: SlideTask) -> SlideOutcome:
        raise AssertionError("a fault in the program")

    monkeypatch.setattr(slide_workers, "_read", broken)
    with pytest.raises(AssertionError, match="a fault in the program"):
        read_task(task_of("any", time_limit_s=30))


def task_of(name: str, *, time_limit_s: float) -> SlideTask:
    job = SlideJob(Path(f"{name}.tif"), name, paths_of(Path("out"), name, compress=False), "key")
    return SlideTask(Path("model"), job, READING, 0.5, "torch", 1, time_limit_s=time_limit_s)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_cluster_leaves_the_bytes_of_one_though_a_worker_is_killed(
    bundle: Path,
    slides: Path,
    by_one: dict[str, bytes],
    cluster: tuple[str, list[subprocess.Popen[bytes]]],
    tmp_path: Path,
) -> None:
    address, workers = cluster
    killed: list[str] = []

    def say(line: str) -> None:
        if "tiles in" in line and not killed:
            killed.append(line)
            workers[0].send_signal(signal.SIGKILL)

    result = run_slides(
        bundle, [slides], tmp_path / "out", READING, engine=Engine(scheduler=address), talk=SlidesProgress(say=say)
    )
    assert killed
    assert contents(tmp_path / "out") == by_one
    assert set(result.records) == {"S0", "S1", "S2"}
    shutil.rmtree(tmp_path / "out")
