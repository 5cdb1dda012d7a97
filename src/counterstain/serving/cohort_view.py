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
    return _bytes(_Same(read_tiles(run)))


class _Same:
    # A table by its identity: read_tiles returns the same object while the files are the same.
    def __init__(self, table: TileTable) -> None:
        self.table = table

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.table is self.table

    def __hash__(self) -> int:
        return id(self.table)


@lru_cache(4)
def _bytes(key: _Same) -> bytes:
    return json.dumps(_data(key.table), ensure_ascii=False, separators=(",", ":")).encode()


def _data(table: TileTable) -> dict[str, Any]:
    facets = {}
    for name in FACETS:
        values = sorted(set(table.column[name]))
        place = {value: code for code, value in enumerate(values)}
        facets[name] = {"values": values, "codes": [place[value] for value in table.column[name]]}
    more = {name: list(table.column[name]) for name in ("slide_id", "mpp", "x", "y") if any(table.column[name])}
    return {"ids": list(table.row), "names": list(table.image), "facets": facets, "titles": FACETS, "more": more}
