"""A cohort of slides read by several processes, or by the workers of a dask cluster: one slide a task."""

import functools
import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from counterstain.engine import common_answer, connected, in_processes, on_cluster, same_answers
from counterstain.errors import InputError
from counterstain.learning.bundle import read_bundle
from counterstain.slides.infer_slide import InferenceOptions, Model, plan_slide, read_slide
from counterstain.slides.outputs import SlideJob
from counterstain.system import usable_cores

__all__ = ["SlideOutcome", "SlideTask", "read_elsewhere", "read_task", "threads_of"]


@dataclass(frozen=True)
class SlideTask:
    """One slide to be planned and read somewhere else: paths and settings, never pixels.

    bundle: folder of the model, absolute, as are the paths of `job`
    settings: how slides are read
    runtime, threads: as the process that gives the orders has settled them
    time_limit_s: seconds after which the slide is set aside; None waits for ever
    """

    bundle: Path
    job: SlideJob
    settings: InferenceOptions
    mpp: float
    runtime: str
    threads: int
    time_limit_s: float | None = None


@dataclass(frozen=True)
class SlideOutcome:
    """What became of a slide: its record, or the reason why it was set aside; and how long it took."""

    name: str
    record: dict[str, Any] | None
    refusal: str
    seconds: float


def threads_of(settings: InferenceOptions, *, jobs: int, scheduler: str | None) -> int:
    """Threads of the network in each process: what was asked for, else a share of the cores, and 1 on a cluster.

    The last digits of probabilities depend on the number.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if settings.threads is not None:
        return settings.threads
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return 1 if scheduler else max(1, usable_cores() // jobs)


def read_elsewhere(
    tasks: Sequence[SlideTask], *, jobs: int, scheduler: str | None, say: Callable[[str], None]
) -> Generator[SlideOutcome, None, None]:
    """The outcome of each task, in the order in which they end.

    A killed process of this machine ends the run in one line, and what is finished is kept. On a cluster, the slide of
    a lost worker is taken up by another, and a slide that has lost all that tried it is set aside.

    Raises:
        InputError: If a process is killed, the scheduler is gone, or workers have other versions than this machine.
    """
    if scheduler is None:
        say(f"{len(tasks)} slides, {jobs} at a time")
        yield from in_processes(
            read_task, tasks, min(jobs, len(tasks)),
            lost="a process was killed, perhaps for lack of memory; try fewer --jobs: finished slides are kept",
        )  # fmt: skip
        return
    with connected(scheduler, gone=f"{scheduler} is gone; finished slides are kept") as client:
        common = common_answer(client, _versions, address=scheduler, say=say)
        same_answers(_versions(), common, "the workers", who="this machine")
        say(f"{len(tasks)} slides sent to {scheduler}")
        named = {task.job.name: task for task in tasks}
        yield from on_cluster(client, read_task, named, kind="slide", lost=_lost)


def _lost(name: str, why: str) -> SlideOutcome:
    return SlideOutcome(name, None, why, 0.0)


def read_task(task: SlideTask) -> SlideOutcome:
    """Plan and read one slide where this is called; an InputError, or too long a time, becomes its refusal."""
    if task.time_limit_s is None:
        return _read(task)
    ended: Future[SlideOutcome] = Future()

    def work() -> None:
        try:
            ended.set_result(_read(task))
        except BaseException as error:  # noqa: BLE001 (raised again where the result is waited for)
            ended.set_exception(error)

    # A thread that hangs in a reader can't be stopped. It is left behind: it waits for a disk and costs nothing.
    threading.Thread(target=work, daemon=True, name=f"slide {task.job.name}").start()
    try:
        return ended.result(task.time_limit_s)
    except TimeoutError:
        why = f"it took longer than its time limit of {task.time_limit_s:g} s; the same command tries it again"
        return SlideOutcome(task.job.name, None, why, task.time_limit_s)


def _read(task: SlideTask) -> SlideOutcome:
    began = time.perf_counter()
    try:
        model = _model(task.bundle, replace(task.settings, mpp_table=None), task.runtime, task.threads)
        plan_slide(task.job, task.settings, mpp=task.mpp, tile_px=model.tile_px)
        record = read_slide(task.job, task.settings, model, mpp=task.mpp)
    except InputError as error:
        return SlideOutcome(task.job.name, None, str(error), time.perf_counter() - began)
    return SlideOutcome(task.job.name, record, "", time.perf_counter() - began)


@functools.lru_cache(maxsize=1)
def _model(folder: Path, settings: InferenceOptions, runtime: str, threads: int) -> Model:
    """The model, loaded once for all slides of one process."""
    from counterstain.slides.slide_model import load_slide_model

    chosen = replace(settings, runtime=runtime, threads=threads)
    return load_slide_model(folder, read_bundle(folder), chosen)[0]


def _versions() -> dict[str, str]:
    """What must be the same on all machines: this package and what computes."""
    from importlib import metadata

    from counterstain.version import __version__

    names = ("torch", "numpy", "opencv-python-headless", "tifffile", "imagecodecs", "openslide-python")
    return {"counterstain": __version__, **{name: metadata.version(name) for name in names}}
