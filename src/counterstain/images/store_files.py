"""What lies in a tile store's folder, and which store belongs to which images."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

import cv2

from counterstain.cohort.cohort import container
from counterstain.errors import InputError
from counterstain.files import hash_json, read_json, write_csv, write_json
from counterstain.images import resize
from counterstain.images.decode import decoder_version, hash_content, read_content
from counterstain.images.source import BadImage
from counterstain.own_tables import read_rows

__all__ = [
    "SCHEMA",
    "ImageRow",
    "Recipe",
    "StoreRecord",
    "find_store",
    "forget_times",
    "locked",
    "read_record",
    "row_as_now",
    "stat_file",
    "write_record",
]

SCHEMA = "counterstain.store/2"
BUILDING = ".building-"  # how the folder of an unfinished store begins

# A file changed within this time of its being read may change again without its time of change showing it.
_RACY_NS = 2_000_000_000


@dataclass(frozen=True)
class Recipe:
    """What a store is to hold: image names in order, the folder they are relative to, and how they become tiles."""

    images: tuple[str, ...]
    root: Path
    tile_px: int
    fit: str

    def digest(self) -> str:
        """Hash of all but the images' content: the same for stores that differ in nothing else."""
        settings = {
            "tile_px": self.tile_px,
            "fit": "crop, halves to even" if self.fit == "crop" else self.fit,
            "decoder": f"{decoder_version()}, opencv {cv2.__version__}, resampling {resize.VERSION}",
        }
        return hash_json({**settings, "images": list(self.images)})


@dataclass(frozen=True)
class ImageRow:
    """One line of index.csv. Images that were skipped have a reason, and no size."""

    image_path: str
    sha256: str  # of the content; "" where it could not be read
    bytes: int  # of the file (for a row of a container, of the container); -1 where there is none
    mtime_ns: int  # of the file, -1 where there is none or where it was too fresh to be relied on
    height: int = 0
    width: int = 0
    colour: bool = False
    mpp: float = float("nan")
    notes: str = ""
    reason: str = ""
    ctime_ns: int = -1  # when the system last changed the file: an old mtime put on new content leaves it fresh


@dataclass(frozen=True)
class StoreRecord:
    """A finished store: store.json and index.csv."""

    folder: Path
    key: str
    recipe: str  # Recipe.digest()
    tile_px: int
    rows: tuple[ImageRow, ...]
    data_hash: str
    blocks: tuple[str, ...]  # checksums of tiles.npy, see store_check


def key_of(recipe: str, rows: tuple[ImageRow, ...]) -> str:
    """The store's name: 32 hex digits of the hash of the recipe and every image's content."""
    return hash_json({"recipe": recipe, "sha256": [row.sha256 for row in rows]})[:32]


def data_hash_of(rows: tuple[ImageRow, ...]) -> str:
    """SHA-256 over (image name, content) of the images that are kept, sorted by name."""
    kept = sorted((row.image_path, row.sha256) for row in rows if not row.reason)
    return hash_json({"images": [list(pair) for pair in kept]})


def stat_file(root: Path, file: str) -> tuple[int, int, int]:
    """Bytes, time of its content and time of any change (ns) of an image's file; -1 each where there is none."""
    try:
        found = os.stat(os.path.join(root, file))  # noqa: PTH116, PTH118 (20,000 Path objects cost a second)
    except (OSError, ValueError):
        return -1, -1, -1
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def write_record(folder: Path, record: StoreRecord) -> None:
    """Write index.csv, set_aside.csv and, last, store.json: its presence means that the store is complete."""
    _write_index(folder, record.rows)
    write_csv(
        folder / "set_aside.csv",
        ("image_path", "reason"),
        [(row.image_path, row.reason) for row in record.rows if row.reason],
    )
    bad = sum(bool(row.reason) for row in record.rows)
    write_json(
        folder / "store.json",
        {
            "schema": SCHEMA,
            "key": record.key,
            "recipe": record.recipe,
            "tile_px": record.tile_px,
            "images": len(record.rows) - bad,
            "set_aside": bad,
            "data_hash": record.data_hash,
            "blocks": list(record.blocks),
        },
    )


def _write_index(folder: Path, rows: tuple[ImageRow, ...]) -> None:
    names = [field.name for field in fields(ImageRow)]
    write_csv(folder / "index.csv", names, [[getattr(row, name) for name in names] for row in rows])


def read_record(folder: Path) -> StoreRecord:
    """The record of a finished store.

    Raises:
        InputError: If there is none, it is of another version, or it has been changed.
    """
    head = read_json(folder / "store.json")
    if head.get("schema") != SCHEMA:
        raise InputError(
            f"{folder} is of schema {head.get('schema')!r}, not {SCHEMA}; delete that folder; it is rebuilt"
        )
    try:
        rows = tuple(_parse(line) for line in read_rows(folder / "index.csv"))
        record = StoreRecord(
            folder, str(head["key"]), str(head["recipe"]), int(head["tile_px"]), rows, str(head["data_hash"]),
            tuple(map(str, head["blocks"])),
        )  # fmt: skip
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{folder} is damaged ({error}); delete that folder; it is rebuilt") from None
    if key_of(record.recipe, rows) != record.key or data_hash_of(rows) != record.data_hash:
        raise InputError(f"{folder} is damaged (its index does not fit its key); delete that folder; it is rebuilt")
    return record


def _parse(line: dict[str, str]) -> ImageRow:
    return ImageRow(
        image_path=line["image_path"],
        sha256=line["sha256"],
        bytes=int(line["bytes"]),
        mtime_ns=int(line["mtime_ns"]),
        height=int(line["height"]),
        width=int(line["width"]),
        colour=line["colour"] == "True",
        mpp=float(line["mpp"]),
        notes=line["notes"],
        reason=line["reason"],
        ctime_ns=int(line["ctime_ns"]),
    )


def find_store(folder: Path, recipe: Recipe) -> StoreRecord | None:
    """A finished store of exactly these images as they are now on disk, or None.

    Files whose size and times are as recorded count as unchanged; the others (all, after `forget_times`) are read and
    hashed, and where nothing else has changed the new times are recorded. A record that is damaged counts as none.
    """
    digest = recipe.digest()
    for marker in sorted(folder.glob("*/store.json")):
        if marker.parent.name.startswith(BUILDING):
            continue
        try:
            if read_json(marker).get("recipe") != digest:
                continue
            record = read_record(marker.parent)
        except InputError:
            continue
        stats: dict[str, tuple[int, int, int]] = {}  # by file: a container's thousands of rows are one
        now = tuple(row_as_now(recipe, row, stats) for row in record.rows)
        if [row.sha256 for row in now] != [row.sha256 for row in record.rows]:
            continue
        if now != record.rows:
            _write_index(record.folder, now)
        return replace(record, rows=now)
    return None


def forget_times(folder: Path) -> None:
    """Have every image of all stores in a folder read and hashed again when its store is next asked for.

    For images that may have been replaced without a trace: by equal size and times, on a file system that keeps no
    time of change, or restored from a backup.
    """
    for marker in folder.glob("*/store.json"):
        try:
            record = read_record(marker.parent)
        except InputError:
            continue  # it will not be taken, whatever its times
        _write_index(record.folder, tuple(replace(row, mtime_ns=-1) for row in record.rows))


def row_as_now(recipe: Recipe, row: ImageRow, stats: dict[str, tuple[int, int, int]]) -> ImageRow:
    """An image's row as its file is now: itself where size and times are as recorded, else with a hash made again.

    Args:
        stats: what files were found to be, to be filled and used again: a container's thousands of rows are one.
    """
    file = container(row.image_path)[0]
    size, mtime_ns, ctime_ns = now = stats.get(file) or stats.setdefault(file, stat_file(recipe.root, file))
    if now == (row.bytes, row.mtime_ns, row.ctime_ns) and mtime_ns != -1:
        return row
    sha256 = content_hash(recipe, row.image_path)
    return replace(row, sha256=sha256, bytes=size, mtime_ns=steady(mtime_ns), ctime_ns=steady(ctime_ns))


def content_hash(recipe: Recipe, image: str) -> str:
    """SHA-256 of an image's content, "" where it cannot be read."""
    try:
        return hash_content(read_content(image, root=recipe.root))
    except BadImage:
        return ""


def steady(mtime_ns: int) -> int:
    """A time of change that can be relied on later, or -1 for one so fresh that a further change may not show."""
    return mtime_ns if time.time_ns() - mtime_ns > _RACY_NS else -1


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Hold the folder's lock while building; yields whether it is held (some file systems have none).

    The lock goes with the process, so that a killed builder leaves no lock behind.
    """
    try:
        import fcntl
    except ImportError:  # Windows: builders do the work twice, and the first to finish wins
        yield False
        return
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            held = True
        except OSError:
            held = False
        yield held
    finally:
        os.close(handle)


def sweep(folder: Path, *, keep: Path) -> None:
    """Remove what killed builds of other stores left; only while the folder's lock is held."""
    for left in folder.glob(f"{BUILDING}*"):
        if left != keep:
            shutil.rmtree(left, ignore_errors=True)
