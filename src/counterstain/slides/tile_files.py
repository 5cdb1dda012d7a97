"""The files of a slide's tiles: the table of their probabilities, and the patches that are to be read."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.files import write_with
from counterstain.slides.tile_predictions import FLAGS, TilePredictions
from counterstain.slides.tiling import Tiling
from counterstain.tables import read_table

__all__ = [
    "Planned",
    "read_patches",
    "read_tile_csv",
    "read_tile_flags",
    "read_tile_predictions",
    "write_patches",
    "write_tile_csv",
]

PATCHES = "counterstain.patches/1"
_PLACE = ("minx", "miny", "width", "height")
_CHUNK = 8192  # rows turned into text at a time


def write_tile_csv(table: TilePredictions, path: Path) -> None:
    """Write minx,miny,width,height (level-0 px of the whole slide) and prob_<class> of each tile, then its flags: 0, 1.

    Numbers are in their shortest exact form: equal tables make equal bytes, and reading gives the same numbers.
    """
    write_with(path, lambda temporary: _fill(temporary, table))


def _fill(path: Path, table: TilePredictions) -> None:
    flags = np.stack([*table.flags.values(), np.zeros(len(table), bool)], axis=1).astype(int)[:, :-1]
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*_PLACE, *(f"prob_{name}" for name in table.classes), *table.flags])
        for start in range(0, len(table), _CHUNK):
            rows = slice(start, start + _CHUNK)
            parts = (part[rows].tolist() for part in (table.corner, table.prob, flags))
            for corner, prob, flag in zip(*parts, strict=True):
                writer.writerow([*corner, *table.size, *prob, *flag])


def read_tile_csv(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """(N, 2) corners, (N, 2) sizes in level-0 px, and (N,) probabilities of each class, of such a table.

    Raises:
        InputError: If it is no such table.
    """
    cells = _read_tiles(path)
    corner, size = (np.stack([cells[name] for name in names], axis=1) for names in (_PLACE[:2], _PLACE[2:]))
    prob = {name.removeprefix("prob_"): column for name, column in cells.items() if name.startswith("prob_")}
    return corner.astype(np.int64), size.astype(np.int64), prob


def read_tile_predictions(
    path: Path,
    *,
    extent: Sequence[int],
    mpp: Sequence[float],
    classes: Sequence[str] | None = None,
    threshold: float | None = None,
) -> TilePredictions:
    """The tiles of a slide from such a table, which is named after it; see TilePredictions.

    Args:
        path: of the table.
        extent, mpp, threshold: what the table does not hold.
        classes: their order; by default that of the table's columns.
    """
    corner, size, prob = read_tile_csv(path)
    names = tuple(classes or prob)
    x, y, width, height = extent
    return TilePredictions(
        slide=path.stem, classes=names, corner=corner, size=(int(size[0, 0]), int(size[0, 1])),
        prob=np.stack([prob[name] for name in names], axis=1), extent=(x, y, width, height), mpp=(mpp[0], mpp[1]),
        threshold=threshold,
    )  # fmt: skip


def read_tile_flags(path: Path) -> dict[str, NDArray[np.bool_]]:
    """(N,) flags of the tiles of such a table, by the names of tile_predictions.FLAGS; those that it has.

    Raises:
        InputError: If it is no such table.
    """
    cells = _read_tiles(path)
    return {name: cells[name] != 0 for name in FLAGS if name in cells}


def _read_tiles(path: Path) -> dict[str, NDArray[np.float64]]:
    """The columns of such a table as numbers."""
    table = read_table(path, kind="table of tiles")
    if table.header[:4] != _PLACE:
        names = ", ".join(table.header)
        raise InputError(f"{path} is not a table of tiles (its columns are {names}); name one that slides run wrote")
    cells = {}
    for name in table.header:
        cells[name], odd = table.numbers(name)
        if odd.any() or np.isnan(cells[name]).any():
            row = int(np.flatnonzero(odd | np.isnan(cells[name]))[0])
            raise InputError(
                f"{path} is not a table of tiles (line {table.line(row)} has {name} '{table.cell(name, row)}'); name "
                "one that slides run wrote"
            )
    return cells


@dataclass(frozen=True, eq=False)
class Planned:
    """Which tiles of a slide are to be read, as its patches file says.

    key:    what the plan depends on
    cells:  (N, 2) column and row in the whole grid
    coords: (N, 2) top left corners, level-0 px
    """

    key: str
    cells: NDArray[np.int64]
    coords: NDArray[np.int64]


def write_patches(tiling: Tiling, path: Path, *, key: str) -> None:
    """Write the kept tiles as HDF5: `coords` (N, 2) level-0 px with the tiles' size and scale as its attributes.

    WSInfer reads the file as its own; the attributes beyond its three are ours.

    Args:
        tiling: of the slide.
        path: of the file.
        key: what the plan depends on.
    """
    attributes = {
        "schema": PATCHES,
        "key": key,
        "name": path.stem,
        # As WSInfer has them: the side of a tile in level-0 px, whole, and that it is counted on level 0.
        "patch_size": max(1, round(tiling.tile_level0_px[0])),
        "patch_level": 0,
        "tile_px": tiling.tile_px,
        "tile_level0_px": np.array(tiling.tile_level0_px, np.float64),
        "patch_spacing_um_px": tiling.mpp,
        "mpp": np.array(tiling.actual_mpp, np.float64),
        "overlap": tiling.overlap,
        "level": tiling.level,
    }
    write_with(path, lambda temporary: _fill_patches(temporary, tiling, attributes))


def _fill_patches(path: Path, tiling: Tiling, attributes: Mapping[str, Any]) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        coords = file.create_dataset("coords", data=tiling.coords, dtype="<i8", track_times=False)
        file.create_dataset("cells", data=tiling.cells, dtype="<i8", track_times=False)
        for name in sorted(attributes):
            coords.attrs[name] = attributes[name]


def read_patches(path: Path) -> Planned | None:
    """The plan in a patches file; None where there is none, or it is none of ours."""
    import h5py

    if not path.is_file():
        return None
    try:
        with h5py.File(path, "r") as file:
            coords = file["coords"]
            if coords.attrs.get("schema") != PATCHES:
                return None
            return Planned(str(coords.attrs["key"]), file["cells"][:], coords[:])
    except (OSError, KeyError):
        return None
