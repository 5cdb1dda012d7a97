"""Which images of a cohort cannot be read: each is decoded as a study would decode it, and nothing is kept."""

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from counterstain.cohort.cohort import Cohort, container
from counterstain.images.decode import decode_content, read_content
from counterstain.images.source import BadImage
from counterstain.system import usable_cores

__all__ = ["find_unreadable"]

_AT_ONCE = 64  # images that wait for a thread


def find_unreadable(
    cohort: Cohort, *, threads: int | None = None, progress: Callable[[int, int], None] | None = None
) -> tuple[tuple[str, str], ...]:
    """The images that cannot be read, as (image, reason), in the cohort's order.

    Rows of an .h5 or .npz file are not decoded one by one: reading the cohort has looked at their array. Feature files
    hold no images.

    Args:
        cohort: of image files.
        threads: that decode; None takes one per core.
        progress: called with (images done, images in all).
    """
    names = [name for name in cohort.image if not container(name)[1] and not name.endswith(".h5")]
    found: list[tuple[str, str]] = []
    with warnings.catch_warnings(), ThreadPoolExecutor(threads or usable_cores(), "decode") as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            reasons = pool.map(partial(_reason, root=cohort.root), some)
            found += [(name, reason) for name, reason in zip(some, reasons, strict=True) if reason]
            if progress is not None:
                progress(start + len(some), len(names))
    return tuple(found)


def _reason(name: str, root: Path) -> str:
    """Why an image cannot be read, "" where it can."""
    try:
        decode_content(read_content(name, root=root), name)
    except BadImage as error:
        return error.reason
    return ""
