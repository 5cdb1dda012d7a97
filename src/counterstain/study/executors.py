"""Where the trainings of a study are done: in processes of this machine, or by the workers of a dask cluster.

Only names travel: a worker reads the study, the cohort and the tile store from the shared file system itself, checks
that they are the ones that it was meant to find, and leaves its files in the run's folder.
"""

import functools
import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import CancelledError, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, replace
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from counterstain.errors import InputError
from counterstain.files import hash_json, write_bytes
from counterstain.learning.config import TrainingConfig
from counterstain.learning.device import prepare_device
from counterstain.progress import Progress, TrainingProgress
from counterstain.study.environment import environment, settled
from counterstain.study.prepare import PreparedStudy, prepare
from counterstain.study.study_config import read_study
from counterstain.study.trainings import HELD, Outcome, Send, train_one

__all__ = ["RemoteJob", "check_engine", "sender", "settle_threads", "train_order"]

# How often a training may fail for another reason than its inputs, such as a file system that did not answer.
RETRIES = 2
REACH_S = 10


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


def check_engine(*, jobs: int, scheduler: str | None) -> None:
    """Refuse at once what could only fail later: numbers, a missing package, a scheduler that does not answer.

    Raises:
        InputError: If jobs is below 1, both are asked for, or nothing listens at the scheduler's address.
    """
    if jobs < 1:
        raise InputError(f"jobs is {jobs}; it must be 1 or more")
    if scheduler is None:
        return
    if jobs > 1:
        raise InputError(
            f"jobs is {jobs} and there is a scheduler: its workers decide how many run at once; leave jobs out"
        )
    _distributed()
    parts = urlsplit(scheduler)
    if parts.scheme not in ("tcp", "tls") or not parts.hostname or not _port(scheduler):
        raise InputError(f"scheduler is '{scheduler}'; give the address that it prints, such as tcp://host:8786")
    try:
        socket.create_connection((parts.hostname, _port(scheduler)), REACH_S).close()
    except OSError as error:
        raise InputError(f"no dask scheduler answers at {scheduler} ({error}); start one: dask scheduler") from None


def settle_threads(
    path: Path, overrides: Mapping[str, str] | None, *, jobs: int, scheduler: str | None
) -> dict[str, str]:
    """The overrides with a fixed training.threads, so that a training is the same wherever and beside whatever it runs.

    The study's own number is kept. Without one it is this machine's cores divided by jobs, and 1 on a cluster, whose
    machines may differ.

    Raises:
        InputError: If the study is wrong, or one of its arms asks for all cores.
    """
    found = dict(overrides or {})
    study = read_study(path, found)
    if study.training.get("threads") is None:
        cores = prepare_device(device="cpu").threads
        found["training.threads"] = str(1 if scheduler else max(1, cores // jobs))
        study = read_study(path, found)
    for arm in study.arms:
        if study.arm(arm).threads is None:
            raise InputError(f"arms.{arm}.threads is null, which is another number on each machine; write a number")
    return found


def sender(
    *, jobs: int, scheduler: str | None, base: Path, store: Path, overrides: Mapping[str, str] | None
) -> Send | None:
    """Who does the trainings of a run: None for this process, one after the other.

    Args:
        jobs: how many at once, in processes of this machine.
        scheduler: address of a dask scheduler whose workers do them instead.
        base, store, overrides: see Order.
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
            yield from _by_processes(orders, min(jobs, len(orders)), talk)
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
                _agree(dict(order.settled), settled(_arms(prepared)), "the other workers")
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
    found = prepare(read_study(run / "study.yaml", dict(overrides), base=base), base, store=store, talk=Progress())
    if hash_json(found.key()) != key:
        raise InputError(
            f"{socket.gethostname()} finds another cohort, split or study at {base} than the machine that started the "
            f"run; share one file system, let it settle, and run again"
        )
    return found


def _by_processes(orders: Sequence[RemoteJob], jobs: int, talk: Progress) -> Generator[Outcome, None, None]:
    """Do the trainings in `jobs` processes of this machine."""
    talk.say(f"{len(orders)} trainings, {jobs} at a time")
    others = {child.pid for child in active_children()}
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_start_process)
    ended = False
    try:
        for future in as_completed([pool.submit(train_order, order) for order in orders]):
            yield future.result()
        ended = True
    except BrokenProcessPool:
        raise InputError(
            "a training's process was killed, perhaps for want of memory; try fewer --jobs: what is trained is kept"
        ) from None
    finally:
        if not ended:  # a training lasts for hours, and nobody waits for it any more
            for child in active_children():
                if child.pid not in others:
                    child.terminate()
        pool.shutdown(cancel_futures=True)


def _start_process() -> None:
    """Leave Ctrl-C to the process that gives the orders, and end with it however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:

        def watch() -> None:
            parent.join()
            os._exit(1)  # at whatever moment: files are whole or not there

        threading.Thread(target=watch, daemon=True, name="watch").start()


def _by_cluster(
    orders: Sequence[RemoteJob], address: str, prepared: PreparedStudy, talk: Progress
) -> Generator[Outcome, None, None]:
    """Do the trainings on the workers of a dask cluster; the one of a lost worker is taken up by another."""
    distributed = _distributed()
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # a scheduler's end is told in one line below
    gone = f"{address} has gone, or has dropped the trainings; what is trained is kept"
    with ExitStack() as stack:
        try:
            client = stack.enter_context(distributed.Client(address, timeout=f"{REACH_S}s", set_as_default=False))
            common = _common(client, address, prepared, talk)
        except OSError:  # whatever of the network; from here on it may also be of a worker's disk
            raise InputError(gone) from None
        talk.say(f"{len(orders)} trainings sent to {address}")
        try:
            yield from _submitted(client, [replace(order, settled=tuple(common.items())) for order in orders])
        except distributed.KilledWorker as error:
            raise InputError(
                f"training {error.task[1]} has lost every worker that tried it ({error.allowed_failures + 1} of them, "
                f"perhaps for want of memory); see the workers' logs. What is trained is kept"
            ) from None
        except (CancelledError, distributed.comm.CommClosedError):
            raise InputError(gone) from None


def _submitted(client: Any, orders: Sequence[RemoteJob]) -> Generator[Outcome, None, None]:
    """Each training's outcome once it has ended; the rest are told to stop where this is left before its end."""
    token = secrets.token_hex(4)  # a key that was used before would give the old result
    futures = [
        client.submit(train_order, order, key=("counterstain-training", order.name, token), pure=False, retries=RETRIES)
        for order in orders
    ]
    ended = False
    try:
        for future in _distributed().as_completed(futures, loop=client.loop):
            yield future.result()
        ended = True
    finally:
        if not ended:
            write_bytes(orders[0].stop, "")
            if client.status == "running":
                client.cancel(futures)


def _arms(prepared: PreparedStudy) -> dict[str, TrainingConfig]:
    return {name: prepared.study.arm(name) for name in prepared.study.arms}


def _common(client: Any, address: str, prepared: PreparedStudy, talk: Progress) -> dict[str, str]:
    """What all workers that are there say of themselves, if they agree among each other and with this machine."""
    if not client.scheduler_info()["workers"]:
        talk.say(f"{address} has no worker yet; waiting for the first")
    client.wait_for_workers(1)
    found: dict[str, Any] = client.run(settled, _arms(prepared), on_error="return")
    for answer in found.values():
        if isinstance(answer, InputError):
            raise answer
    answers = {worker: answer for worker, answer in found.items() if isinstance(answer, dict)}
    if not answers:
        raise InputError(f"no worker could say what it has installed: {next(iter(found.values()), 'all are lost')!r}")
    (first, common), *rest = answers.items()
    for worker, own in rest:
        _agree(common, own, first, who=worker)
    here = environment()
    _agree({"counterstain": here["counterstain"], **here["libraries"]}, common, "this machine")
    return common


def _agree(wanted: Mapping[str, str], own: Mapping[str, str], other: str, who: str = "a worker") -> None:
    """Arms that were trained with different versions or precisions would be compared for the wrong reason."""
    for name, value in wanted.items():
        if own.get(name) != value:
            raise InputError(
                f"{name} is {own.get(name)} on {who}, but {value} on {other}; install the same versions, or set "
                f"training.device and training.precision in the study"
            )


def _port(address: str) -> int | None:
    try:
        return urlsplit(address).port
    except ValueError:
        return None


def _distributed() -> Any:
    try:
        import distributed
    except ImportError:
        raise InputError("--scheduler needs dask.distributed: pip install 'counterstain[cluster]'") from None
    return distributed
