"""Images that are rows of an array in an HDF5 or NumPy file: "file.h5#x/12", "file.npz#train_images/12"."""

import os
import tempfile
import threading
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from counterstain.cohort.arrays import DAMAGED
from counterstain.images.source import BadImage, Source

__all__ = ["read_row"]


class _Rows(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def __getitem__(self, row: int) -> Any: ...


MOST_CHUNK = 1 << 30  # bytes that are unpacked for one row
MOST_RATIO = 100  # of an unpacked array to its file; beyond MOST_CHUNK only
_OPEN_ARRAYS = 8
_open: OrderedDict[tuple[str, int, int, str], _Rows] = OrderedDict()  # the arrays in use, the latest last
_lock = threading.Lock()


def read_row(source: Source, *, max_pixels: int) -> NDArray[np.generic]:
    """One row of a container's array: (H, W) or (H, W, C), numbers as stored, a copy.

    The arrays in use stay open (eight at most) and are shared by all threads; a container that changes on disk is
    reopened. Nothing is unpickled, and links to other files are not followed.

    Raises:
        BadImage: If the address, the container or the shape of its rows is not usable.
    """
    key, _, row_text = source.address.rpartition("/")
    if not key or not (row_text.isascii() and row_text.isdigit()):
        raise BadImage(source.name, 'needs an array and a row behind the "#", as in "file.h5#x/12"')
    rows = _array(source, key)
    if len(rows.shape) not in (3, 4) or rows.dtype.kind not in "uif":
        raise BadImage(
            source.name, f"'{key}' is {_words(rows)}; images are numbers of shape (N, H, W) or (N, H, W, channels)"
        )
    if rows.shape[1] * rows.shape[2] > max_pixels or rows.shape[3:] > (4,):
        raise BadImage(
            source.name,
            f"'{key}' is {_words(rows)}; a row may have {max_pixels:,} pixels of up to 4 channels, the last axis",
        )
    row = int(row_text)
    if row >= rows.shape[0]:
        raise BadImage(source.name, f"'{key}' has {rows.shape[0]:,} rows, numbered from 0")
    try:
        return np.array(rows[row])
    except (OSError, ValueError, RuntimeError) as error:  # what HDF5 raises for damaged chunks
        raise BadImage(source.name, f"row {row} of '{key}' cannot be read ({_first_line(error)})") from None


def _array(source: Source, key: str) -> _Rows:
    try:
        found = os.stat(source.path)  # noqa: PTH116
        address = (source.path, found.st_mtime_ns, found.st_size, key)
        with _lock:
            if address not in _open:
                opener = _open_npz if source.path.lower().endswith(".npz") else _open_hdf5
                _open[address] = opener(source, key)
                while len(_open) > _OPEN_ARRAYS:
                    _open.popitem(last=False)  # closed when its last reader lets go
            _open.move_to_end(address)
            return _open[address]
    except OSError as error:
        raise BadImage(source.name, f"{Path(source.path).name} cannot be opened ({_first_line(error)})") from None


def _open_hdf5(source: Source, key: str) -> _Rows:
    import h5py  # here, for most cohorts are files of images

    # A larger chunk cache than 1 MiB, so that the rows of one chunk are decompressed once when read in order.
    file = h5py.File(source.path, "r", rdcc_nbytes=64 << 20, locking="best-effort")
    # Step by step along hard links: a soft or external link, met half-way, could lead into any other file.
    found: Any = file
    for step in key.encode().split(b"/"):
        named = step not in (b"", b".") and isinstance(found, h5py.Group) and found.id.links.exists(step)
        if not named:
            known = ", ".join(sorted(file)) or "nothing"
            raise BadImage(source.name, f"there is no '{key}' in the file; there is: {known}")
        if found.id.links.get_info(step).type != h5py.h5l.TYPE_HARD:
            raise BadImage(source.name, f"'{key}' is a link; name an array held in this file itself")
        try:
            found = found[step]
        except (KeyError, RuntimeError, OSError) as error:  # what HDF5 makes of a damaged place
            raise BadImage(source.name, f"'{key}' cannot be opened ({_first_line(error)})") from None
    if not isinstance(found, h5py.Dataset) or found.is_virtual or found.external:
        raise BadImage(source.name, f"'{key}' is not an array held in this file itself")
    if int(np.prod(found.chunks or (0,), dtype=object)) * found.dtype.itemsize > MOST_CHUNK:
        raise BadImage(source.name, f"'{key}' is packed in pieces of {found.chunks}; pieces of at most 1 GiB are read")
    return cast(_Rows, found)


def _open_npz(source: Source, key: str) -> _Rows:
    """The array, unpacked once to an unnamed temporary file: rows in any order, and no memory but the page cache."""
    try:
        with zipfile.ZipFile(source.path) as archive:
            if f"{key}.npy" not in archive.namelist():
                known = ", ".join(sorted(name.removesuffix(".npy") for name in archive.namelist()))
                raise BadImage(source.name, f"there is no '{key}' in the file; there is: {known or 'nothing'}")
            with archive.open(f"{key}.npy") as member:
                version = np.lib.format.read_magic(member)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, fortran, dtype = read(member)
                if dtype.hasobject or fortran:
                    raise BadImage(
                        source.name, f"'{key}' holds Python objects or is in Fortran order; save plain numbers"
                    )
                return _unpack(source, key, member, shape, dtype)
    except (*DAMAGED, ValueError, RuntimeError) as error:
        if isinstance(error, BadImage):
            raise
        raise BadImage(source.name, f"{Path(source.path).name} is damaged ({_first_line(error)})") from None


def _unpack(source: Source, key: str, member: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> _Rows:
    wanted = dtype.itemsize
    for length in shape:
        wanted *= length
    packed = os.stat(source.path).st_size  # noqa: PTH116
    if wanted > max(MOST_CHUNK, MOST_RATIO * packed):
        raise BadImage(source.name, f"'{key}' would unpack from {packed:,} bytes to {wanted:,}; no images do")
    with tempfile.TemporaryFile() as file:
        written = 0
        while block := member.read(min(1 << 20, wanted - written + 1)):
            written += file.write(block)
            if written > wanted:
                break
        if written != wanted or not wanted:
            raise BadImage(source.name, f"'{key}' should hold {wanted:,} bytes and does not; the file is damaged")
        file.flush()
        return np.memmap(file, dtype=dtype, mode="r", shape=shape)


def _words(rows: _Rows) -> str:
    return f"{rows.dtype} of shape {tuple(rows.shape)}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
