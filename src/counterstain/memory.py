"""An allocator that keeps its pages: what is freed and asked for again every moment need not be mapped anew."""

import ctypes
import os
import sys

__all__ = ["keep_pages"]


def keep_pages() -> bool:
    """Tell glibc to keep freed memory, so that its pages are not faulted in anew; True if it was told.

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
