"""The files of one slide: where they lie (WSInfer's layout, which people's scripts know), and the tables among them."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.files import write_with
from counterstain.slides.tile_map import TileMap
from counterstain.slides.tiling import Tiling

__all__ = [
    "UNFINISHED",
    "Paths",
    "Planned",
    "paths_of",
    "read_patches",
    "read_tile_csv",
    "write_patches",
    "write_tile_csv",
]

PATCHES = "counterstain.patches/1"
UNFINISHED = "unfinished"
_CHUNK = 8192  # rows turned into text at a time


@dataclass(frozen=True)
class Paths:
    """The files of one slide within the output folder."""

    mask: Path
    patches: Path
    table: Path
    geojson: Path
    heatmap: Path
    overlay: Path
    record: Path
    partial: Path

    def results(self) -> tuple[Path, ...]:
        """What is made of a slide, its record left out."""
        return self.mask, self.patches, self.table, self.geojson, self.heatmap, self.overlay


def paths_of(out: Path, slide: str, *, compress: bool) -> Paths:
    """Where the files of a slide lie; its record is written last, so that its presence means that they are whole."""
    return Paths(
        mask=out / "masks" / f"{slide}.png",
        patches=out / "patches" / f"{slide}.h5",
        table=out / "model-outputs-csv" / f"{slide}.csv",
        geojson=out / "model-outputs-geojson" / f"{slide}.geojson{'.gz' if compress else ''}",
        heatmap=out / "heatmaps" / f"{slide}.ome.tif",
        overlay=out / "heatmaps" / f"{slide}.png",
        record=out / "slide-records" / f"{slide}.json",
        partial=out / UNFINISHED / f"{slide}.logits",
    )


# ----------------------------------------------------------------------------------------------------- the tiles' table


def write_tile_csv(table: TileMap, path: Path) -> None:
    """Write minx,miny,width,height (level-0 px of the whole slide) and prob_<class> of each tile.

    Numbers are in their shortest exact form: equal tables make equal bytes, and reading gives the same numbers.
    """
    write_with(path, lambda temporary: _fill(temporary, table))


def _fill(path: Path, table: TileMap) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["minx", "miny", "width", "height", *(f"prob_{name}" for name in table.classes)])
        for start in range(0, len(table), _CHUNK):
            rows = slice(start, start + _CHUNK)
            for corner, prob in zip(table.corner[rows].tolist(), table.prob[rows].tolist(), strict=True):
                writer.writerow([*corner, *table.size, *prob])


def read_tile_csv(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """(N, 2) corners, (N, 2) sizes in level-0 px, and (N,) probabilities of each class, of such a table.

    Raises:
        InputError: If it is no such table.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            header, *rows = csv.reader(stream)
        if header[:4] != ["minx", "miny", "width", "height"]:
            raise ValueError(f"its columns are {', '.join(header)}")
        cells = np.array([[float(cell) for cell in row] for row in rows]).reshape(len(rows), len(header))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a table of tiles ({error}); name one that slides run wrote") from None
    places = cells[:, :4].astype(np.int64)
    prob = {name.removeprefix("prob_"): cells[:, 4 + k] for k, name in enumerate(header[4:])}
    return places[:, :2], places[:, 2:], prob


# ------------------------------------------------------------------------------------------------- which tiles are kept


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


def write_patches(tiling: Tiling, path: Path, *, key: str, more: Mapping[str, Any] | None = None) -> None:
    """Write the kept tiles as HDF5: `coords` (N, 2) level-0 px with the tiles' size and scale as its attributes.

    WSInfer reads the file as its own; the attributes beyond its three are ours.

    Args:
        tiling: of the slide.
        path: of the file.
        key: what the plan depends on.
        more: further attributes.
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
        **(more or {}),
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
