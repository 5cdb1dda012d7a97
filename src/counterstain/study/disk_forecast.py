"""What a study does to a disk, before it does it: what is read, what is kept, the most that lies there meanwhile."""

from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

from counterstain.cohort.cohort import Cohort, container

__all__ = ["DiskForecast", "forecast_disk", "image_bytes"]

# Measured by benchmarks/traffic.py and on the demo; images of some hundred test patients, one pair of figures an arm.
_BESIDE_WEIGHTS = 400_000  # of a training's histories, records and predictions
_BY_ARM = 4_000_000  # figures, tables and tiles of an arm in the report
_FILES, _FILES_BY_ARM, _FILES_BY_TRAINING = 45, 35, 17
_CHECKPOINT = 4  # weights, the best of them, and two moments of Adam: in units of the weights


class DiskForecast(TypedDict):
    """Bytes and files of a study.

    disk_bytes: what is kept, the tile store included
    peak_bytes: the most that lies there meanwhile, one training at a time
    files:      how many are kept
    read_bytes: of the images, read once
    tile_bytes: what the epochs read of the tile store at most, from memory where it fits
    """

    disk_bytes: int
    peak_bytes: int
    files: int
    read_bytes: int
    tile_bytes: int


def forecast_disk(
    weights: Iterable[int],
    *,
    arms: int,
    store_bytes: int,
    store_files: int,
    read_bytes: int,
    tile_bytes: int,
) -> DiskForecast:
    """What a study of such trainings will read and leave.

    Args:
        weights: bytes of the trained weights of each training.
        arms: of the study.
        store_bytes, store_files: of the tile store.
        read_bytes: of the images.
        tile_bytes: read of the store by all epochs.

    >>> forecast_disk([540_000] * 2, arms=1, store_bytes=3_950_000, store_files=4, read_bytes=0, tile_bytes=0)["files"]
    118
    """
    sizes = list(weights)
    kept = store_bytes + sum(sizes) + _BESIDE_WEIGHTS * len(sizes) + _BY_ARM * arms
    return DiskForecast(
        disk_bytes=kept,
        peak_bytes=kept + _CHECKPOINT * max(sizes, default=0),
        files=store_files + _FILES + _FILES_BY_ARM * arms + _FILES_BY_TRAINING * len(sizes),
        read_bytes=read_bytes,
        tile_bytes=tile_bytes,
    )


def image_bytes(cohort: Cohort) -> int:
    """Bytes of the files that a cohort's images lie in."""
    files = dict.fromkeys(container(path)[0] for path in cohort.table["image_path"])
    return sum(path.stat().st_size for path in (Path(cohort.root) / file for file in files) if path.is_file())
