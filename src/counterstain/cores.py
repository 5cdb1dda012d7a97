"""How many cores there are to work on, and how threads on them wait for each other."""

import os

__all__ = ["default_threads", "usable_cores", "wait_shortly"]


def usable_cores() -> int:
    """Cores that this process may use: those it is bound to, where the system tells, else all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_threads() -> int:
    """Threads of a training or prediction that names none: OMP_NUM_THREADS where it is set, else all usable cores."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(asked) if asked.isascii() and asked.isdigit() and int(asked) > 0 else usable_cores()


def wait_shortly() -> None:
    """Let the threads of a step spin only for a moment until the last of them is done, and then sleep.

    By default they spin many times longer. On an idle machine that is no faster, and beside other programs, waiting
    threads take up the core that the last one needs. What the user has set stands. OpenMP reads it when PyTorch is
    imported, so the command line says it first of all.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "50000")
