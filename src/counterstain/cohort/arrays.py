"""Images that are rows of one array in a file: PCam's HDF5 pairs and MedMNIST's .npz. Nothing is unpickled."""

import re
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterstain.cohort.cohort_columns import clean_ids, clean_numbers
from counterstain.errors import InputError, first_line
from counterstain.tables import read_cells

__all__ = ["array_shape", "read_hdf5", "read_npz", "unlabelled_rows"]

MOST_LABELS = 50_000_000
# What the readers of .npz raise for damage; an array's header is a Python literal, which has its own errors.
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, tokenize.TokenError, SyntaxError, NotImplementedError)
_PAIRS = (("x", "y"), ("images", "labels"), ("data", "labels"))
_IMAGES = re.compile(r"x|images|data|[a-z]+_images")
_SPLIT_IN_NAME = re.compile(r"(?:^|_)(train|valid|val|test)(?:_|$)")


def read_hdf5(root: Path, files: Sequence[str]) -> dict[str, list[object]]:
    """The rows of HDF5 files, as columns of a cohort: PCam's `…_x.h5` + `…_y.h5`, or one file with both arrays.

    The split is read from the file's name; slide and place from `…_meta.csv` where that lies beside it. Images are
    named "file.h5#x/12".

    Raises:
        InputError: If a file is damaged, has no labels or other labels than images.
    """
    columns: dict[str, list[Any]] = {"image_path": [], "label": [], "slide_id": [], "x": [], "y": [], "split": []}
    for file in files:
        stem = re.sub(r"\.(h5|hdf5)$", "", file, flags=re.IGNORECASE)
        if stem.endswith("_y"):
            if f"{stem[:-2]}_x" not in {re.sub(r"\.(h5|hdf5)$", "", other, flags=re.IGNORECASE) for other in files}:
                raise InputError(
                    f"{file} has labels, but there is no {Path(stem).name[:-2]}_x.h5 with the images beside it"
                )
            continue
        key, labels = _hdf5_labels(root, file, stem)
        count = len(labels)
        split = _SPLIT_IN_NAME.search(Path(stem).name.removesuffix("_x"))
        meta = _meta(root / f"{stem.removesuffix('_x')}_meta.csv", count)
        columns["image_path"] += [f"{file}#{key}/{row}" for row in range(count)]
        columns["label"] += labels
        columns["split"] += [split.group(1) if split else ""] * count
        for name in ("slide_id", "x", "y"):
            columns[name] += meta[name]
    return columns


def _hdf5_labels(root: Path, file: str, stem: str) -> tuple[str, list[str]]:
    """The key of the images and their labels."""
    import h5py

    pair = f"{stem[:-2]}_y{Path(file).suffix}" if stem.endswith("_x") else ""
    try:
        with h5py.File(root / file, "r") as images, h5py.File(root / (pair or file), "r") as labels:
            for image_key, label_key in _PAIRS:
                rows, values = _array(h5py, images, image_key), _array(h5py, labels, label_key)
                if rows is not None and values is not None:
                    _check_shapes(file, rows.shape, values.shape, values.dtype)
                    return image_key, _words(np.asarray(values))
            keys = ", ".join(sorted({*images, *labels})) or "nothing"
    except FileNotFoundError:
        raise InputError(f"{file} has images, but there is no {Path(pair).name} with their labels beside it") from None
    except (OSError, RuntimeError, KeyError, ValueError) as error:  # what HDF5 makes of a damaged inside
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file} or its labels cannot be read as HDF5 ({first_line(error)})") from None
    raise InputError(f"{file} holds {keys}; needed: x and y (or images and labels), or a pair …_x.h5 and …_y.h5")


def _array(h5py: Any, file: Any, key: str) -> Any:
    """A data set that is held in the file itself; None for anything else, links to other files among it."""
    if key not in file or isinstance(file.get(key, getlink=True), h5py.ExternalLink):
        return None
    array = file[key]
    plain = isinstance(array, h5py.Dataset) and not array.is_virtual and not array.external
    return array if plain else None


def _check_shapes(file: str, images: tuple[int, ...], labels: tuple[int, ...], dtype: Any) -> None:
    if len(images) not in (3, 4):
        raise InputError(f"{file}: the images are an array of shape {images}; needed: (N, H, W) or (N, H, W, channels)")
    if dtype.kind not in "iub":
        raise InputError(f"{file}: the labels are {dtype}; needed: whole numbers, one per image")
    size = int(np.prod(labels, dtype=object))
    if size != images[0] or size > MOST_LABELS:
        several = len(labels) > 1 and labels[0] == images[0]
        why = "several labels per image are not supported" if several else "there must be one label per image"
        raise InputError(f"{file}: {images[0]} images and labels of shape {labels}; {why}")


def _words(labels: NDArray[Any]) -> list[str]:
    return [str(int(value)) for value in labels.ravel()]


def _meta(path: Path, count: int) -> dict[str, list[Any]]:
    """Slide and place from PCam's meta file: wsi, coord_x and coord_y; empty where there is none."""
    columns: dict[str, list[Any]] = {"slide_id": [""] * count, "x": [np.nan] * count, "y": [np.nan] * count}
    if not path.is_file():
        return columns
    cells = read_cells(path)
    rows = len(next(iter(cells.values())))
    if rows != count:
        raise InputError(f"{path.name} has {rows} rows for {count} images; it belongs to another file")
    for name, column in (("x", "coord_x"), ("y", "coord_y")):
        columns[name] = clean_numbers(cells.get(column), count, name, path.name).tolist()
    return {**columns, "slide_id": clean_ids(cells.get("wsi"), count)}


def read_npz(root: Path, files: Sequence[str]) -> dict[str, list[object]]:
    """The rows of MedMNIST files (train_images, train_labels, …), as columns of a cohort, with their official split.

    Images are named "file.npz#train_images/12". Files with `images` and `labels` alone have no split.

    Raises:
        InputError: If a file is damaged, holds Python objects, has no labels or other labels than images.
    """
    columns: dict[str, list[Any]] = {"image_path": [], "label": [], "split": []}
    for file in files:
        headers = _npz_headers(root, file)
        labelled = False
        for split in ("train", "val", "test", ""):
            image_key, label_key = (f"{split}_images", f"{split}_labels") if split else ("images", "labels")
            if image_key not in headers or label_key not in headers:
                continue
            labelled = True
            _check_shapes(f"{file}#{image_key}", headers[image_key][0], *headers[label_key])
            try:
                with np.load(root / file, allow_pickle=False) as arrays:
                    labels = _words(arrays[label_key])
            except (*DAMAGED, ValueError, OSError) as error:
                raise InputError(f"{file}: {label_key} is damaged ({error})") from None
            columns["image_path"] += [f"{file}#{image_key}/{row}" for row in range(len(labels))]
            columns["label"] += labels
            columns["split"] += [split] * len(labels)
        if not labelled:
            raise InputError(
                f"{file} holds {', '.join(sorted(headers)) or 'nothing'}; needed: train_images and train_labels"
            )
    return columns


def _npz_headers(root: Path, file: str) -> dict[str, tuple[tuple[int, ...], Any]]:
    """{array: (shape, dtype)} of an .npz, from the headers alone; arrays of Python objects are left out."""
    headers = {}
    try:
        with zipfile.ZipFile(root / file) as archive:
            for name in archive.namelist():
                if not name.endswith(".npy"):
                    continue
                with archive.open(name) as member:
                    version = np.lib.format.read_magic(member)
                    first_version = version == (1, 0)
                    read_header = (
                        np.lib.format.read_array_header_1_0 if first_version else np.lib.format.read_array_header_2_0
                    )
                    shape, _, dtype = read_header(member)
                    if not dtype.hasobject:
                        promised = int(np.prod(shape, dtype=object)) * dtype.itemsize
                        if promised > archive.getinfo(name).file_size:
                            raise InputError(
                                f"{file}: {name} promises {promised:,} bytes and holds fewer; the file is damaged"
                            )
                        headers[name.removesuffix(".npy")] = (shape, dtype)
    except (*DAMAGED, ValueError, OSError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file} cannot be read as .npz ({first_line(error)})") from None
    return headers


def unlabelled_rows(root: Path, file: str) -> list[str]:
    """The names of a container's images ("file.h5#x/12"), whether or not labels lie beside them.

    Raises:
        InputError: If the file is damaged, or holds no array of images.
    """
    import h5py

    if file.lower().endswith(".npz"):
        shapes = {key: shape for key, (shape, _) in _npz_headers(root, file).items()}
    else:
        try:
            with h5py.File(root / file, "r") as opened:
                arrays = {key: _array(h5py, opened, key) for key in opened}
                shapes = {key: tuple(array.shape) for key, array in arrays.items() if array is not None}
        except (OSError, RuntimeError) as error:
            raise InputError(f"{file} cannot be read as HDF5 ({first_line(error)})") from None
    keys = [key for key, shape in shapes.items() if _IMAGES.fullmatch(key) and len(shape) in (3, 4)]
    if not keys and not file.lower().removesuffix(Path(file).suffix).endswith("_y"):
        content = ", ".join(f"{key} {shape}" for key, shape in sorted(shapes.items())) or "nothing"
        raise InputError(f"{file} holds {content}; needed: images (N, H, W, 3) as x, images, data or …_images")
    return [f"{file}#{key}/{row}" for key in keys for row in range(shapes[key][0])]


def array_shape(root: Path, file: str, key: str) -> tuple[int, ...]:
    """The shape of an array in a container, read from its header; () where it cannot be."""
    import h5py

    try:
        if file.lower().endswith(".npz"):
            return _npz_headers(root, file).get(key, ((), None))[0]
        with h5py.File(root / file, "r") as opened:
            array = _array(h5py, opened, key)
            return () if array is None else tuple(array.shape)
    except (InputError, OSError, RuntimeError, KeyError):
        return ()
