"""Several processes that train one model: who is one of how many, who takes which rows, and sums over all of them."""

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

import torch
from torch import Tensor
from torch import distributed as dist

from counterstain.errors import InputError

__all__ = ["ALONE", "World", "find_world", "joined", "leader_first", "share", "sum_over"]

PATIENCE_S = 600  # how long a process waits for the others before it gives up
STORE_PATIENCE_S = 7 * 24 * 3600  # the same while the leading one decodes a cohort


@dataclass(frozen=True)
class World:
    """One process among `size`, the rank-th (from 0); local: which of those on its own machine, of local_size."""

    rank: int = 0
    size: int = 1
    local: int = 0
    local_size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and talks."""
        return self.rank == 0


ALONE = World()


def find_world(environ: Mapping[str, str]) -> World:
    """What the launcher says of this process: torchrun's (and accelerate's) variables, or those of a SLURM step.

    Raises:
        InputError: If a variable is missing or is no number.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    if "RANK" not in environ:
        if "SLURM_STEP_ID" not in environ or environ.get("SLURM_NTASKS", "1") == "1":
            return ALONE
        names = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE")
    values = []
    for name in names:
        value = environ.get(name, "1" if name == "LOCAL_WORLD_SIZE" else "")
        value = value.partition("(")[0].partition(",")[0]  # SLURM writes 4(x2): four tasks on each of two machines
        if not value.isdigit():
            raise InputError(f"{name} is '{environ.get(name, '')}', which is not a number; start with torchrun or srun")
        values.append(int(value))
    return World(*values)


@contextmanager
def joined(*, device: str = "auto") -> Iterator[World]:
    """Join the other processes that a launcher has started, if it has; gloo on processors, NCCL on GPUs.

    Raises:
        InputError: If the others cannot be reached.
    """
    world = find_world(os.environ)
    if world.size == 1:
        yield ALONE
        return
    on_gpus = device != "cpu" and torch.cuda.is_available()
    if on_gpus:
        if world.local >= torch.cuda.device_count():
            raise InputError(
                f"{world.local_size} processes were started for {torch.cuda.device_count()} GPUs; start one per GPU"
            )
        torch.cuda.set_device(world.local)
    if "MASTER_ADDR" not in os.environ:
        nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_JOB_NODELIST", "127.0.0.1")
        os.environ["MASTER_ADDR"] = _first_host(nodes)
    # Two jobs on one machine must not meet at one port.
    os.environ.setdefault("MASTER_PORT", str(20000 + int(os.environ.get("SLURM_JOB_ID", "9500")) % 20000))
    try:
        dist.init_process_group(
            "nccl" if on_gpus else "gloo",
            rank=world.rank,
            world_size=world.size,
            timeout=timedelta(seconds=PATIENCE_S),
        )
    except RuntimeError as error:
        raise InputError(
            f"process {world.rank + 1} of {world.size} cannot reach {os.environ['MASTER_ADDR']}: {_reason(error)}"
        ) from None
    try:
        yield world
    finally:
        dist.destroy_process_group()


def _first_host(nodes: str) -> str:
    """node[03-05,9] begins with node03, and a1,node[03-05] with a1."""
    name, _, rest = nodes.partition(",")[0].partition("[")
    return name + rest.rstrip("]").partition("-")[0]


def share(count: int, world: World) -> slice:
    """The rows of `count` that this process takes: contiguous, as even as can be, none twice; empty where too few."""
    return slice(count * world.rank // world.size, count * (world.rank + 1) // world.size)


def sum_over(values: Tensor, world: World) -> Tensor:
    """The sum of `values` over all processes, in place: the same bytes in each of them.

    Raises:
        InputError: If another process is gone.
    """
    if world.size > 1:
        try:
            dist.all_reduce(values)
        except RuntimeError as error:
            raise _left_alone(world, error) from None
    return values


@contextmanager
def leader_first(world: World) -> Iterator[None]:
    """The leading process does what is inside while the others wait, however long; then they do it.

    Where the leading one fails, it alone says why, and the others end without a word.

    Raises:
        InputError: If the leading process is gone.
    """
    if world.size == 1:
        yield
        return
    group = cast(dist.ProcessGroup, dist.new_group(backend="gloo", timeout=timedelta(seconds=STORE_PATIENCE_S)))
    done = torch.zeros(1)
    try:
        if not world.leads:
            try:
                dist.all_reduce(done, group=group)
            except RuntimeError as error:
                raise _left_alone(world, error) from None
            if not done:
                time.sleep(2)  # a launcher ends all when one has ended: the leading one speaks first
                raise SystemExit(2)
        yield
        done += 1
    finally:
        if world.leads:
            dist.all_reduce(done, group=group)


def _left_alone(world: World, error: RuntimeError) -> InputError:
    return InputError(
        f"process {world.rank + 1} of {world.size} has lost another process ({_reason(error)}); the last whole epoch "
        "is kept, start the same command again to resume from it"
    )


def _reason(error: RuntimeError) -> str:
    """The first line, without the place in torch's own source that it begins with."""
    message = re.sub(r"^\[[^\]]*\]\s*", "", str(error))
    return (message.splitlines() or [type(error).__name__])[0][:160]
