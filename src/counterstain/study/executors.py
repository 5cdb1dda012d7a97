"""Where the trainings of a study are done: in processes of this machine, or by the workers of a dask cluster.

Only names travel: a worker reads the study, the cohort and the tile store from the shared file system itself, checks
that they are the ones that it was meant to find, and leaves its files in the run's folder.
"""

import functools
import secrets
import socket
import threading
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from counterstain.engine import common_answer, connected, in_processes, on_cluster, same_answers
from counterstain.errors import InputError
from counterstain.files import hash_json, write_bytes
from counterstain.learning.config import TrainingConfig
from counterstain.progress import Progress, TrainingProgress
from counterstain.study.environment import environment, settled
from counterstain.study.prepare import PreparedStudy, prepare
from counterstain.study.study_config import read_study
from counterstain.study.trainings import HELD, Outcome, Send, train_one
from counterstain.system import threads_per_job

__all__ = ["RemoteJob", "sender", "settle_threads", "train_order"]

_LOST = "a training's process was killed, perhaps for lack of memory; try fewer --jobs: finished trainings are kept"


@dataclass(frozen=True)
class RemoteJob:
    """One training to be done somewhere else: paths and words, never data.

    run:       folder of the run, with its study.yaml; absolute, as are the other paths
    base:      folder that the study's own paths count from
    store:     folder of the tile stores; the one needed is built before any order is given
    overrides: keys of the study that are replaced
    key:       hash of all that the results depend on, as the process that gives the order found it
    name:      of the training
    stop:      file whose presence asks a worker to stop at the end of an epoch
    settled:   what environment.settled must say on the worker; empty where that is this machine
    """

    run: Path
    base: Path
    store: Path
    overrides: tuple[tuple[str, str], ...]
    key: str
    name: str
    stop: Path
    settled: tuple[tuple[str, str], ...] = ()


class _StoppedError(Exception):
    """The process that gave the order no longer wants it."""


def settle_threads(
    path: Path, overrides: Mapping[str, str] | None, *, jobs: int, scheduler: str | None
) -> dict[str, str]:
    """The overrides with a fixed training.threads, so that a training is the same wherever and beside whatever it runs.

    The study's own number is kept; without one it is that of system.threads_per_job.

    Raises:
        InputError: If the study is wrong, or one of its arms asks for all cores.
    """
    fixed = dict(overrides or {})
    study = read_study(path, fixed)
    if study.training.get("threads") is None:
        fixed["training.threads"] = str(threads_per_job(None if scheduler else jobs))
        study = read_study(path, fixed)
    for arm in study.arms:
        if study.arm(arm).threads is None:
            raise InputError(f"arms.{arm}.threads is null, which means another number on each machine; set a number")
    return fixed


def sender(
    *, jobs: int, scheduler: str | None, base: Path, store: Path, overrides: Mapping[str, str] | None
) -> Send | None:
    """Who does the trainings of a run: None for this process, one after the other.

    Args:
        jobs: how many at once, in processes of this machine.
        scheduler: address of a dask scheduler whose workers do them instead.
        base, store, overrides: see RemoteJob.
    """
    if jobs == 1 and scheduler is None:
        return None

    def send(
        run: Path, prepared: PreparedStudy, names: Sequence[str], talk: Progress
    ) -> Generator[Outcome, None, None]:
        if not names:
            return
        run_here = run.absolute()
        stop = run_here / HELD / f"stop-{secrets.token_hex(4)}"
        key, settings = hash_json(prepared.key()), tuple((overrides or {}).items())
        orders = [
            RemoteJob(run_here, base.absolute(), store.absolute(), settings, key, name, stop=stop) for name in names
        ]
        if scheduler is None:
            talk.say(f"{len(orders)} trainings, {jobs} at a time")
            yield from in_processes(train_order, orders, min(jobs, len(orders)), lost=_LOST)
        else:
            yield from _by_cluster(orders, scheduler, prepared, talk)

    return send


def train_order(order: RemoteJob) -> Outcome:
    """Do one training where this is called; an InputError becomes the outcome's refusal, so that nobody tries again."""
    # Threads and random numbers of torch belong to the process: two trainings in one would disturb each other.
    with _ONE_AT_A_TIME:
        try:
            prepared = _prepared(order.run, order.base, order.store, order.overrides, order.key)
            if order.settled:
                same_answers(dict(order.settled), settled(_arms(prepared)), "the other workers")
            return train_one(
                order.run, prepared, order.name, say=lambda line: None, progress=functools.partial(_heed, order.stop)
            )
        except (InputError, _StoppedError) as error:
            return Outcome(order.name, 0.0, refusal=str(error))


_ONE_AT_A_TIME = threading.Lock()


def _heed(stop: Path, progress: TrainingProgress) -> None:
    """After an epoch, whose checkpoint is written, see whether to stop."""
    if progress.val_loss is not None and stop.exists():
        raise _StoppedError("stopped")


@functools.lru_cache(maxsize=1)
def _prepared(run: Path, base: Path, store: Path, overrides: tuple[tuple[str, str], ...], key: str) -> PreparedStudy:
    """The study as the process that gives the orders sees it; read once for all trainings of one process."""
    prepared = prepare(read_study(run / "study.yaml", dict(overrides), base=base), base, store=store, talk=Progress())
    if hash_json(prepared.key()) != key:
        raise InputError(
            f"{socket.gethostname()} found another cohort, split or study at {base} than the machine that started the "
            f"run; share one file system, let it settle, and run again"
        )
    return prepared


def _by_cluster(
    orders: Sequence[RemoteJob], address: str, prepared: PreparedStudy, talk: Progress
) -> Generator[Outcome, None, None]:
    """Do the trainings on the workers of a dask cluster; the one of a lost worker is taken up by another."""
    gone = f"{address} is gone, or has dropped the trainings; finished trainings are kept"
    with connected(address, gone=gone) as client:
        common = common_answer(client, settled, _arms(prepared), address=address, gone=gone, say=talk.say)
        local = environment()
        same_answers({"counterstain": local["counterstain"], **local["libraries"]}, common, "this machine")
        talk.say(f"{len(orders)} trainings sent to {address}")
        jobs = {order.name: replace(order, settled=tuple(common.items())) for order in orders}
        yield from on_cluster(client, train_order, jobs, kind="training", stop=lambda: write_bytes(orders[0].stop, ""))


def _arms(prepared: PreparedStudy) -> dict[str, TrainingConfig]:
    return {name: prepared.study.arm(name) for name in prepared.study.arms}
