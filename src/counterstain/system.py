"""The machine: how many cores there are, how threads wait for each other, and how memory is kept."""

import ctypes
import os
import sys

__all__ = ["default_threads", "keep_pages", "threads_per_job", "usable_cores", "wait_shortly"]


def usable_cores() -> int:
    """Cores that this process may use: those it is bound to, where the system tells, else all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_threads() -> int:
    """Threads of a training or prediction that names none: OMP_NUM_THREADS where it is set, else all usable cores."""
    return _threads_asked() or usable_cores()


def threads_per_job(jobs: int | None) -> int:
    """Threads of each of `jobs` processes of this machine, or (None) of one on a cluster, whose machines may differ.

    OMP_NUM_THREADS where it is set, else the usable cores divided among the processes, and 1 on a cluster.
    """
    return _threads_asked() or (1 if jobs is None else max(1, usable_cores() // jobs))


def _threads_asked() -> int:
    """OMP_NUM_THREADS, or its first number; 0 where it is not set, or no number."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(asked) if asked.isascii() and asked.isdigit() else 0


def wait_shortly() -> None:
    """Let the threads of a step spin only for a moment until the last of them is done, and then sleep.

    By default they spin many times longer. On an idle machine that is no faster, and beside other programs, waiting
    threads take up the core that the last one needs. What the user has set stands. OpenMP reads it when PyTorch is
    imported, so the command line says it first of all.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "50000")


def keep_pages() -> bool:
    """Tell glibc to keep freed memory, so that its pages are not faulted in again; True if it was told.

    Pixels of an image, activations of a training step: tens of MB are freed and asked for again. By default glibc maps
    and unmaps each of them, and the zeroing of fresh pages costs more than a third of a training step, and a quarter of
    decoding. Process-wide; other C libraries are left alone, and so is this one where COUNTERSTAIN_ALLOCATOR is
    "default".
    """
    if sys.platform != "linux" or os.environ.get("COUNTERSTAIN_ALLOCATOR") == "default":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch reads it: large pages for its tensors
    m_trim_threshold, m_top_pad, m_mmap_threshold = -1, -2, -3
    settings = {m_mmap_threshold: 1 << 30, m_trim_threshold: (1 << 31) - 1, m_top_pad: 64 << 20}
    return all(mallopt(option, value) == 1 for option, value in settings.items())
