"""Tiles of a slide decoded ahead by threads while a network works on those before; few batches are ever held."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from counterstain.slides.info import Slide, reading
from counterstain.slides.tiling import Tiling, read_tiles
from counterstain.system import usable_cores

__all__ = ["batch_size", "read_ahead", "stream_logits"]

Tiles = NDArray[np.uint8]
Open = Callable[[], Slide]

_BATCH, _BATCH_BYTES = 64, 6 << 20


def batch_size(tile_px: int) -> int:
    """How many tiles are decoded and predicted together: 64, or as many as fit into 6 MiB.

    A network's first layers hold some forty times the bytes of its tiles.
    """
    return max(1, min(_BATCH, _BATCH_BYTES // (3 * tile_px**2)))


def read_ahead(
    open_slide: Open, tiling: Tiling, batches: Iterator[NDArray[np.int64]], *, workers: int | None = None
) -> Iterator[Tiles]:
    """The tiles of each batch, in order, decoded by threads that each hold a handle of their own.

    One batch more than there are threads is decoded or waits at any moment: memory does not grow with the slide, and a
    slow consumer holds the decoders back.

    Args:
        open_slide: opens the slide; called once a thread.
        tiling: where the tiles are.
        batches: (B,) rows of the tiling, each.
        workers: threads; None is one for each usable core.

    Raises:
        InputError: What the reader says of a damaged slide, when its batch's turn comes.
    """
    count = workers or usable_cores()
    per_thread, opened = threading.local(), list[Slide]()

    def decode(rows: NDArray[np.int64]) -> Tiles:
        if not hasattr(per_thread, "slide"):
            per_thread.slide = open_slide()
            opened.append(per_thread.slide)
        with reading(tiling.path, OSError):
            return read_tiles(per_thread.slide, tiling, rows)

    pool = ThreadPoolExecutor(count, "decode")
    coming: deque[Future[Tiles]] = deque()
    try:
        for rows in batches:
            coming.append(pool.submit(decode, rows))
            if len(coming) > count:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for slide in opened:
            slide.close()


def stream_logits(
    open_slide: Open,
    tiling: Tiling,
    batches: Iterator[NDArray[np.int64]],
    logits: Callable[[Tiles], NDArray[np.float32]],
    *,
    workers: int | None = None,
) -> Iterator[NDArray[np.float32]]:
    """(B, C) logits of each batch, in order; see `read_ahead`."""
    for tiles in read_ahead(open_slide, tiling, batches, workers=workers):
        yield logits(tiles)
