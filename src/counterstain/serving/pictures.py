"""The pictures of a run's cohort: known by opaque ids from its own table, decoded again, never sent as the file is."""

import hashlib
import re
import stat
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from counterstain.cohort.cohort import container
from counterstain.cohort.image_paths import recorded_root
from counterstain.errors import InputError
from counterstain.images.decode import decode
from counterstain.images.source import BadImage
from counterstain.run_folder import optional_record, record_path
from counterstain.serving.problems import ServingError
from counterstain.tables import Table, read_table

__all__ = ["SMALL_PX", "TileTable", "check_inside", "decoded", "image_id", "jpeg", "read_tiles", "tile_picture"]

SMALL_PX = 192
COLUMNS = ("label", "patient_id", "slide_id", "site", "mpp", "x", "y")
ID = re.compile(r"[0-9a-f]{16}")
DECODING = threading.BoundedSemaphore(2)  # an image of 50 megapixels takes 400 MB while it is decoded


def image_id(name: str) -> str:
    """The opaque id of an image: 16 hex digits that say nothing of its path.

    >>> image_id("benign/P01_1.png")
    'a07e1e0417fc04b0'
    """
    return hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


@dataclass(frozen=True, eq=False)
class Coded:
    """A column of few different values.

    values: the different ones, sorted; code: (N,) which of them stands in each row.
    """

    values: tuple[str, ...]
    code: NDArray[np.int32]

    def __getitem__(self, row: int) -> str:
        return self.values[int(self.code[row])]


@dataclass(frozen=True, eq=False)
class TileTable:
    """The cohort of a run, one row per image.

    root: folder that image paths count from; image: names; column: label, patient_id, …, split.
    row: opaque id -> row.
    """

    root: Path
    image: tuple[str, ...]
    column: dict[str, Coded]
    row: dict[str, int]

    def find(self, identity: str) -> str:
        """The image with an id.

        Raises:
            ServingError: 404 if no image of this cohort has it.
        """
        if not ID.fullmatch(identity) or identity not in self.row:
            raise ServingError(404, "no image of this cohort has this id")
        return self.image[self.row[identity]]


def read_tiles(run: Path) -> TileTable:
    """The cohort and split of a run; read again only after the files have changed.

    Raises:
        ServingError: 404 if the run has no cohort, 422 if it cannot be read.
    """
    table = record_path(run, "cohort.csv")
    if not table.is_file():
        raise ServingError(404, "this run has no cohort yet")
    splits = record_path(run, "splits.csv")
    stamps = [path.stat().st_mtime_ns if path.is_file() else 0 for path in (table, splits)]
    try:
        return _read_tiles(run, *stamps)
    except InputError as error:
        raise ServingError(422, f"the cohort of this run cannot be read: {error}") from None


@lru_cache(4)
def _read_tiles(run: Path, *_: int) -> TileTable:
    table = read_table(record_path(run, "cohort.csv"), kind="cohort")
    if "image_path" not in table.columns:
        raise InputError("it has no column image_path")
    image = table.text("image_path", strip=False)
    column = {name: _coded(table, name) for name in COLUMNS}
    column["split"] = _parts(record_path(run, "splits.csv"), image) or _coded(table, "split")
    return TileTable(_root(run), image, column, {image_id(name): at for at, name in enumerate(image)})


def _coded(table: Table, name: str) -> Coded:
    """A column of a table; one that it lacks is empty."""
    if name not in table.columns:
        return Coded(("",), np.zeros(len(table), np.int32))
    values, code = table.distinct(name, strip=False)
    return _sorted_codes(values, code)


def _sorted_codes(values: Sequence[str], code: NDArray[np.int64]) -> Coded:
    order = sorted(range(len(values)), key=values.__getitem__)
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    return Coded(tuple(values[k] for k in order), place[code])


def _parts(path: Path, image: tuple[str, ...]) -> Coded | None:
    """The part or fold of every image; None without a file of them."""
    if not path.is_file():
        return None
    table = read_table(path, kind="split")
    values = table.text("split") if "split" in table.columns else [f"fold {fold}" for fold in table.text("fold")]
    part: dict[str, str] = {}
    for name, value in zip(table.text("image_path", strip=False), values, strict=True):
        part.setdefault(name, value)  # of a cross-validation an image is in several folds: the first is shown
    place: dict[str, int] = {}
    code = np.array([place.setdefault(part.get(name, ""), len(place)) for name in image], np.int64)
    return _sorted_codes(list(place), code)


def _root(run: Path) -> Path:
    """Where the run says that its images are; an older run says it in its study alone, whose folder is two above."""
    recorded = recorded_root(record_path(run, "cohort.csv"))
    if recorded is not None:
        return recorded
    resolved: dict[str, Any] = optional_record(run, "resolved.json")
    cohort = resolved.get("cohort") or {}
    path = run.resolve().parent.parent / str(cohort.get("root") or cohort.get("path") or ".")
    return path if path.is_dir() else path.parent


def check_inside(root: Path, name: str) -> Path:
    """The file of an image below `root`, with no link on the way.

    Raises:
        ServingError: 404 if it is not there, 403 if it is a link, leads out, or is no plain file.
    """
    file, _ = container(name)
    parts = Path(file).parts
    if not parts or Path(file).is_absolute() or ".." in parts or "\0" in file:
        raise ServingError(403, "this image is not below the cohort's folder; it is not served")
    at = root
    for part in parts:
        at = at / part
        try:
            mode = at.lstat().st_mode
        except OSError:
            raise ServingError(404, "the file of this image is gone, or cannot be read") from None
        if stat.S_ISLNK(mode):
            raise ServingError(403, "a link leads to this image; links are not followed")
    if not stat.S_ISREG(mode):
        raise ServingError(403, "this image is no plain file")
    return at


def tile_picture(root: Path, name: str, *, full: bool = False) -> bytes:
    """An image as JPEG: its pixels alone, none of what else the file holds; small, or in its own size.

    Raises:
        ServingError: If the file is not served (see check_inside) or cannot be read (422).
    """
    path = check_inside(root, name)
    return _picture(root, name, path.stat().st_mtime_ns, full)


def decoded(root: Path, name: str) -> NDArray[np.uint8]:
    """(H, W, 3) pixels of an image that may be served.

    Raises:
        ServingError: If it may not, see check_inside.
        BadImage: If it cannot be read.
    """
    check_inside(root, name)
    with DECODING:
        return decode(name, root=root).pixels


@lru_cache(1024)
def _picture(root: Path, name: str, _: int, full: bool) -> bytes:
    try:
        with DECODING:
            pixels = decode(name, root=root).pixels
            return jpeg(pixels if full else fitted(pixels, SMALL_PX))
    except (BadImage, InputError) as error:
        raise ServingError(422, f"this image cannot be read: {getattr(error, 'reason', error)}") from None


def fitted(pixels: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """(H, W, 3) no larger than `side_px` on its longer side; a smaller one stays as it is."""
    factor = side_px / max(pixels.shape[:2])
    if factor >= 1:
        return pixels
    size = tuple(max(1, round(length * factor)) for length in pixels.shape[1::-1])
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def jpeg(pixels: NDArray[np.uint8], quality: int = 92) -> bytes:
    """(H, W, 3) uint8 RGB as a JPEG file."""
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError(f"no JPEG could be made of {pixels.shape}")
    return data.tobytes()
