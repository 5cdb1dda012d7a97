"""How many cores there are to work on, and how threads on them wait for each other."""

import os

__all__ = ["usable_cores", "wait_shortly"]


def usable_cores() -> int:
    """Cores that this process may use: those it is bound to, where the system tells, else all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def wait_shortly() -> None:
    """Let the threads of a step spin only for a moment until the last of them is done, and then sleep.

    By default they spin many times longer. On an idle machine that is no faster, and beside other programs, waiting
    threads take up the core that the last one needs. What the user has set stands. OpenMP reads it when PyTorch is
    imported, so this package says it when it is imported itself.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "50000")
