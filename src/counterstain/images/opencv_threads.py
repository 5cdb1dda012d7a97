"""One thread for OpenCV while a batch is shared out among threads of ours, and then what it had before."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import cv2

__all__ = ["one_opencv_thread"]

_lock = threading.Lock()
_inside = 0
_before = 1


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """OpenCV works in the calling thread alone; after the last of those that are inside, as before the first.

    OpenCV's number of threads is the process's, and several threads may be inside at once: only the first one in and
    the last one out change it.
    """
    global _inside, _before
    with _lock:
        if _inside == 0:
            _before = cv2.getNumThreads()
            if _before != 1:
                cv2.setNumThreads(1)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and _before != 1:
                cv2.setNumThreads(_before)
