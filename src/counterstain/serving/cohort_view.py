"""What the page of the cohort draws: every image's row, column by column, small enough for 100,000 of them."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from counterstain.serving.pictures import TileTable, read_tiles

__all__ = ["FACETS", "cohort_bytes", "cohort_data"]

FACETS = {"label": "Class", "patient_id": "Patient", "site": "Site", "split": "Part"}


def cohort_data(run: Path) -> dict[str, object]:
    """The rows of a run's cohort.

    Returns:
        ids and names of the images; facets: column -> {values, codes}: the different values, and for each image which
        of them it has; more: the other columns that are filled, as they stand.
    """
    return _data(read_tiles(run))


def cohort_bytes(run: Path) -> bytes:
    """The same as JSON, kept as long as the cohort's files stay as they are."""
    return _bytes(read_tiles(run))


@lru_cache(2)
def _bytes(table: TileTable) -> bytes:  # by identity: read_tiles returns the same object while the files are the same
    return json.dumps(_data(table), ensure_ascii=False, separators=(",", ":")).encode()


def _data(table: TileTable) -> dict[str, Any]:
    facets = {name: {"values": table.column[name].values, "codes": table.column[name].code.tolist()} for name in FACETS}
    more = {
        name: [column[row] for row in range(len(table.image))]
        for name in ("slide_id", "mpp", "x", "y")
        if (column := table.column[name]).values != ("",)
    }
    return {"ids": list(table.row), "names": table.image, "facets": facets, "titles": FACETS, "more": more}
