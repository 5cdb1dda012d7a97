"""Slides read by this process, by several, or by the workers of a dask cluster: one slide per task."""

from collections.abc import Callable, Generator, Mapping
from typing import TypeVar

from counterstain.engine import (
    Engine,
    Task,
    TaskOutcome,
    attempt,
    common_answer,
    connected,
    in_processes,
    on_cluster,
    same_answers,
)
from counterstain.slides.outputs import library_versions
from counterstain.system import threads_per_job
from counterstain.version import __version__

__all__ = ["each_slide", "threads_of"]

Slide = TypeVar("Slide")  # what the work on one slide is called with

_LOST = "a process was killed, perhaps for lack of memory; try fewer --jobs: finished slides are kept"


def threads_of(threads: int | None, engine: Engine) -> int:
    """Threads of the network in each process: what was asked for, else a share of the cores, and 1 on a cluster.

    The last digits of probabilities depend on the number.

    >>> threads_of(None, Engine(scheduler="tcp://host:8786"))
    1
    """
    return threads_per_job(None if engine.scheduler else engine.jobs) if threads is None else threads


def each_slide(
    work: Callable[[Slide], object], orders: Mapping[str, Slide], engine: Engine, *, say: Callable[[str], None]
) -> Generator[TaskOutcome, None, None]:
    """The outcome of `work` for each slide's order, as each ends.

    A killed process of this machine ends the run in one line, and what is finished is kept. On a cluster, the slide of
    a lost worker is taken up by another, and a slide that has lost all that tried it is skipped.

    Args:
        work: a function of this package; its InputError sets a slide aside.
        orders: what it is called with, by name of the slide; with absolute paths where others work.
        engine: who works.
        say: where to tell what is begun.

    Raises:
        InputError: If a process is killed, the scheduler is gone, or workers have other versions than this machine.
    """
    if not orders:
        return
    tasks = {name: Task(name, work, order, engine.time_limit_s) for name, order in orders.items()}
    if engine.scheduler is not None:
        gone = f"{engine.scheduler} is gone; finished slides are kept"
        with connected(engine.scheduler, gone=gone) as client:
            common = common_answer(client, _versions, address=engine.scheduler, gone=gone, say=say)
            same_answers(_versions(), common, "the workers", who="this machine")
            say(f"{len(tasks)} slides sent to {engine.scheduler}")
            yield from on_cluster(client, attempt, tasks, kind="slide", lost=_lost_slide)
    elif engine.elsewhere:
        say(f"{len(tasks)} slides, {engine.jobs} at a time")
        yield from in_processes(attempt, list(tasks.values()), min(engine.jobs, len(tasks)), lost=_LOST)
    else:
        yield from map(attempt, tasks.values())


def _lost_slide(name: str, why: str) -> TaskOutcome:
    return TaskOutcome(name, None, why, 0.0)


def _versions() -> dict[str, str]:
    """What must be the same on all machines: this package, and what reads and computes."""
    return {"counterstain": __version__, **{name: version or "missing" for name, version in library_versions().items()}}
