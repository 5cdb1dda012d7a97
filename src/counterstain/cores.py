"""How many cores there are to work on."""

import os

__all__ = ["usable_cores"]


def usable_cores() -> int:
    """Cores that this process may use: those it is bound to, where the system tells, else all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
