"""Reads the tiles of a GeoJSON that slides run wrote, for tests that compare it with other outputs."""

import gzip
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def read_tile_geojson(
    path: Path, *, shift: tuple[int, int] = (0, 0)
) -> tuple[NDArray[np.int64], NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """(N, 2) corners and sizes in level-0 px, and each measurement's (N,) values; `shift` as `origin_of` has it."""
    content = path.read_bytes()
    record = json.loads(gzip.decompress(content) if path.name.endswith(".gz") else content)
    tiles = [item for item in record["features"] if item["properties"].get("objectType") == "tile"]
    rings = np.array([item["geometry"]["coordinates"][0] for item in tiles], np.int64).reshape(-1, 5, 2)
    low, high = rings.min(axis=1), rings.max(axis=1)
    names = tiles[0]["properties"]["measurements"] if tiles else {}
    values = {name: np.array([item["properties"]["measurements"][name] for item in tiles]) for name in names}
    return low + np.array(shift), high - low, values
