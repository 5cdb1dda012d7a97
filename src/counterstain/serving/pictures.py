"""The pictures of a run's cohort: known by opaque ids from its own table, decoded anew, never sent as the file is."""

import csv
import hashlib
import re
import stat
import threading
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
from counterstain.files import plain_cell, read_json
from counterstain.images.decode import decode
from counterstain.images.source import BadImage
from counterstain.serving.problems import ServingError

__all__ = ["SMALL_PX", "TileTable", "check_inside", "image_id", "jpeg", "read_tiles", "tile_picture"]

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


@dataclass(frozen=True)
class TileTable:
    """The cohort of a run, one row per image.

    root: folder that image paths count from; image: names; column: label, patient_id, …, split: values of each row.
    row: opaque id -> row.
    """

    root: Path
    image: tuple[str, ...]
    column: dict[str, tuple[str, ...]]
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
        ServingError: 404 if the run has no cohort.
    """
    table = run / "cohort.csv"
    if not table.is_file():
        raise ServingError(404, "this run has no cohort yet")
    splits = run / "splits.csv"
    stamps = [path.stat().st_mtime_ns if path.is_file() else 0 for path in (table, splits)]
    return _read_tiles(run, *stamps)


@lru_cache(8)
def _read_tiles(run: Path, *_: int) -> TileTable:
    rows = _rows(run / "cohort.csv")
    image = tuple(row["image_path"] for row in rows)
    column = {name: tuple(row.get(name) or "" for row in rows) for name in COLUMNS}
    part: dict[str, str] = {}
    for row in _rows(run / "splits.csv"):  # of a cross-validation an image is in several folds: the first is shown
        part.setdefault(row["image_path"], row.get("split") or f"fold {row.get('fold', '')}")
    column["split"] = tuple(part.get(row["image_path"], row.get("split") or "") for row in rows)
    return TileTable(_root(run), image, column, {image_id(name): at for at, name in enumerate(image)})


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return [{name: plain_cell(cell or "") for name, cell in row.items()} for row in csv.DictReader(stream)]


def _root(run: Path) -> Path:
    """Where the run says that its images are; an older run says it in its study alone, whose folder is two above."""
    found = recorded_root(run / "cohort.csv")
    if found is not None:
        return found
    resolved: dict[str, Any] = read_json(run / "resolved.json") if (run / "resolved.json").is_file() else {}
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
