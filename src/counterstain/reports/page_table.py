"""A table as a page shows it: cells of words and numbers, each number beside its interval."""

from collections.abc import Mapping
from dataclasses import dataclass

from counterstain.evaluation.format import UNDEFINED, clean, interval, number
from counterstain.evaluation.record_types import ScoreRow

__all__ = ["NO_INTERVAL", "Cell", "Table", "count_heads", "counted", "row_counts", "score_cell", "table_cells"]

NO_INTERVAL = "no interval"


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table: a text, and below it in smaller letters its interval or a remark."""

    text: str
    below: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """A table: head has one text per column; the first cell of each row names it.

    text_columns: those that hold no numbers; inline: what is below a cell stands beside it, as there is room.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    text_columns: frozenset[int] = frozenset({0})
    inline: bool = False


def table_cells(*texts: object) -> tuple[Cell, ...]:
    """A row of cells: what is no Cell yet becomes one, as clean text."""
    return tuple(text if isinstance(text, Cell) else Cell(clean(text)) for text in texts)


def score_cell(score: ScoreRow | Mapping[str, float | None] | None) -> Cell:
    """A value with its interval below it; "undefined" where there is none."""
    if not score or score.get("value") is None:
        return Cell(UNDEFINED)
    return Cell(number(score["value"]), interval(score.get("low"), score.get("high")) or NO_INTERVAL)


def counted(value: float | None) -> str:
    """A count with thousands separators; "unknown" where there is none."""
    return "unknown" if value is None else f"{value:,}"


def count_heads(rows_are: str) -> tuple[str, ...]:
    """The heads above counts of rows and of patients: one of them where each row is a patient."""
    return ("patients",) if rows_are == "patient" else (f"{rows_are}s", "patients")


def row_counts(rows_are: str, rows: int, patients: int | None) -> tuple[str, ...]:
    """The counts below `count_heads`."""
    return (counted(rows),) if rows_are == "patient" else (counted(rows), counted(patients))
