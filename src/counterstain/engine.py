"""Work done elsewhere: by processes of this machine, or by the workers of a dask cluster; the same promises for both.

Only names travel. A task is a function of this package and an order: paths and words, never data. Workers see the same
files, and leave theirs beside those of the process that gives the orders.
"""

import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import active_children, get_context, parent_process
from typing import Any, TypeVar
from urllib.parse import urlsplit

from counterstain.errors import InputError

__all__ = [
    "Engine",
    "Task",
    "TaskOutcome",
    "attempt",
    "check_engine",
    "common_answer",
    "connected",
    "in_processes",
    "on_cluster",
    "same_answers",
]

Order = TypeVar("Order")
Result = TypeVar("Result")

# How often a task may fail for another reason than its inputs, such as a file system that did not answer.
RETRIES = 2
REACH_S = 10


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Who does the tasks: this process one after the other, or several processes.

    jobs: processes of this machine, one task each at a time
    scheduler: address of a dask scheduler whose workers do them instead, such as tcp://host:8786
    time_limit_s: seconds after which a task is skipped; None: no limit
    """

    jobs: int = 1
    scheduler: str | None = None
    time_limit_s: float | None = None

    @property
    def elsewhere(self) -> bool:
        """Whether other processes do them."""
        return self.jobs > 1 or self.scheduler is not None


@dataclass(frozen=True)
class Task:
    """One task: `work` is called with `order`, both of which can be sent to another process."""

    name: str
    work: Callable[[Any], Any]
    order: Any
    time_limit_s: float | None = None


@dataclass(frozen=True)
class TaskOutcome:
    """What became of a task: its result, or the reason why there is none; and how long it took."""

    name: str
    result: Any
    refusal: str
    seconds: float


def attempt(task: Task) -> TaskOutcome:
    """Do a task where this is called; an InputError, or too long a time, becomes its refusal."""
    if task.time_limit_s is None:
        return _attempt(task)
    ended: Future[TaskOutcome] = Future()

    def work() -> None:
        try:
            ended.set_result(_attempt(task))
        except BaseException as error:  # noqa: BLE001 (raised again where the result is waited for)
            ended.set_exception(error)

    # A thread that hangs in a reader can't be stopped. It is left behind: it waits for a disk and costs nothing.
    threading.Thread(target=work, daemon=True, name=task.name).start()
    try:
        return ended.result(task.time_limit_s)
    except TimeoutError:
        if ended.done():  # a TimeoutError of the task's own
            raise
        why = f"it took longer than its time limit of {task.time_limit_s:g} s; the same command tries it again"
        return TaskOutcome(task.name, None, why, task.time_limit_s)


def _attempt(task: Task) -> TaskOutcome:
    began = time.perf_counter()
    try:
        result, refusal = task.work(task.order), ""
    except InputError as error:
        result, refusal = None, str(error)
    return TaskOutcome(task.name, result, refusal, time.perf_counter() - began)


def check_engine(*, jobs: int, scheduler: str | None, time_limit_s: float | None = None) -> None:
    """Refuse at once what could only fail later: numbers, a missing package, a scheduler that does not answer.

    Raises:
        InputError: If jobs is below 1, both are asked for, the time limit is no time, or nothing listens at the
            scheduler's address.
    """
    if time_limit_s is not None and not time_limit_s > 0:
        raise InputError(f"time_limit is {time_limit_s:g}; it must be more than 0 seconds, or left out")
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


def in_processes(
    work: Callable[[Order], Result], orders: Sequence[Order], jobs: int, *, lost: str
) -> Generator[Result, None, None]:
    """Each order's result as it is done by one of `jobs` processes of this machine, which end with this one.

    Args:
        work: a function that a new process can import.
        orders: what is to be done; they are pickled.
        jobs: how many at once.
        lost: what is said, after "was killed", where a process was.

    Raises:
        InputError: If a process was killed.
    """
    others = {child.pid for child in active_children()}
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_start_process)
    ended = False
    try:
        for future in as_completed([pool.submit(work, order) for order in orders]):
            yield future.result()
        ended = True
    except BrokenProcessPool:
        raise InputError(lost) from None
    finally:
        if not ended:  # a task may last for hours, and nobody waits for it any more
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


@contextmanager
def connected(address: str, *, gone: str) -> Iterator[Any]:
    """A dask client of the scheduler at `address`.

    Raises:
        InputError: `gone`, if the scheduler cannot be reached or is lost while its client is used.
    """
    distributed = _distributed()
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # a scheduler's end is told in one line
    try:
        client = distributed.Client(address, timeout=f"{REACH_S}s", set_as_default=False)
    except OSError:  # whatever of the network
        raise InputError(gone) from None
    with client:
        try:
            yield client
        except (CancelledError, distributed.comm.CommClosedError):
            raise InputError(gone) from None


def on_cluster(
    client: Any,
    work: Callable[[Order], Result],
    orders: Mapping[str, Order],
    *,
    kind: str,
    stop: Callable[[], None] = lambda: None,
    lost: Callable[[str, str], Result] | None = None,
) -> Generator[Result, None, None]:
    """Each order's result as a worker of the cluster has it; what a lost worker was at is taken up by another.

    Args:
        client: see `connected`.
        work: a function that workers can import.
        orders: what is to be done, by name.
        kind: of the tasks, a word for the scheduler's page.
        stop: called where this is left before its end: tells the workers to stop.
        lost: the result, by name and reason, of an order that has lost every worker that tried it; None refuses.

    Raises:
        InputError: If an order has lost every worker that tried it, and `lost` is None.
    """
    distributed = _distributed()
    token = secrets.token_hex(4)  # a key that was used before would give the old result
    futures = [
        client.submit(work, order, key=(f"counterstain-{kind}", name, token), pure=False, retries=RETRIES)
        for name, order in orders.items()
    ]
    ended = False
    try:
        for future in distributed.as_completed(futures, loop=client.loop):
            try:
                result = future.result()
            except distributed.KilledWorker as error:
                name, why = error.task[1], _lost_workers(kind, error)
                if lost is None:
                    raise InputError(why) from None
                result = lost(name, why)
            yield result
        ended = True
    finally:
        if not ended:
            stop()
            if client.status == "running":
                client.cancel(futures)


def common_answer(
    client: Any,
    question: Callable[..., dict[str, str]],
    *arguments: object,
    address: str,
    gone: str,
    say: Callable[[str], None],
) -> dict[str, str]:
    """What all workers that are there answer, if they agree among each other.

    Raises:
        InputError: If they differ, or none answers; `gone`, if the scheduler is lost meanwhile.
    """
    try:
        if not client.scheduler_info()["workers"]:
            say(f"{address} has no worker yet; waiting for the first")
        client.wait_for_workers(1)
        replies: dict[str, Any] = client.run(question, *arguments, on_error="return")
    except OSError:  # whatever of the network
        raise InputError(gone) from None
    for answer in replies.values():
        if isinstance(answer, InputError):
            raise answer
    answers = {worker: answer for worker, answer in replies.items() if isinstance(answer, dict)}
    if not answers:
        raise InputError(
            f"no worker could report its installed versions: {next(iter(replies.values()), 'all are lost')!r}"
        )
    (first, common), *others = answers.items()
    for worker, answer_of_worker in others:
        same_answers(common, answer_of_worker, first, who=worker)
    return common


def _lost_workers(kind: str, error: Any) -> str:
    """What is said of a task that lost every worker that tried it, by dask's KilledWorker."""
    return (
        f"{kind} {error.task[1]} has lost every worker that tried it ({error.allowed_failures + 1} of them, perhaps "
        f"for lack of memory); see the workers' logs. Finished {kind}s are kept"
    )


def same_answers(expected: Mapping[str, str], answer: Mapping[str, str], source: str, who: str = "a worker") -> None:
    """Refuse results computed with different versions or precisions: they would differ for the wrong reason."""
    for name, value in expected.items():
        if answer.get(name) != value:
            raise InputError(
                f"{name} is {answer.get(name)} on {who}, but {value} on {source}; install the same versions, and set "
                "the same device and precision (in a study training.device and training.precision)"
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
