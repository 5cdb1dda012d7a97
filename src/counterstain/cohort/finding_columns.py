"""Findings: several 0/1 columns of a table, of which an image may have none, one or more."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError, suggest
from counterstain.tables import Table

__all__ = ["ANY", "NONE", "present_cells", "read_present", "single_labels"]

NONE, ANY = "none", "any finding"  # what an image is called where one label is needed

_YES, _NO = frozenset({"1", "1.0", "true", "yes"}), frozenset({"0", "0.0", "false", "no"})


def read_present(table: Table, findings: Sequence[str]) -> NDArray[np.int64]:
    """(N, K) 1 where an image has a finding, else 0.

    Args:
        table: one row per image.
        findings: K >= 2 names of its columns, which hold 0 and 1 (or yes and no, true and false).

    Raises:
        InputError: If a column is missing or named twice, a cell is anything else, a finding is in all images or in
            none, or every image has one.
    """
    where = table.path.name
    if len(findings) < 2 or len(set(findings)) < len(findings):
        raise InputError(f"cohort.findings are {', '.join(findings)}; two or more different columns are needed")
    for name in findings:
        if name not in table.header:
            raise InputError(f"{where} has no column '{name}'{suggest(name, table.header)}")
    present = present_cells(table, findings)
    for name, count in zip(findings, present.sum(0).tolist(), strict=True):
        if count in (0, len(present)):
            extent = "no image has" if not count else "every image has"
            raise InputError(f"{where}: {extent} finding '{name}'; leave it out of cohort.findings")
    if present.any(axis=1).all():
        raise InputError(f"{where}: every image has a finding; images without any are needed, too")
    return present


def present_cells(table: Table, findings: Sequence[str]) -> NDArray[np.int64]:
    """(N, K) 1 where an image has a finding, else 0, of columns that the table has.

    Raises:
        InputError: If a cell is anything else than 0 and 1, yes and no, true and false.
    """
    columns = []
    for name in findings:
        cells = [cell.strip().lower() for cell in table.text(name)]
        odd = next((row for row, cell in enumerate(cells) if cell not in _YES | _NO), None)
        if odd is not None:
            raise InputError(
                f"finding '{name}' in row {table.line(odd)} of {table.path.name} is '{cells[odd]}'; 0 or 1 is needed. "
                "Leave out images of which it is unknown"
            )
        columns.append([int(cell in _YES) for cell in cells])
    return np.array(columns, dtype=np.int64).T


def single_labels(present: NDArray[np.int64]) -> list[str]:
    """The one label of each image of (N, K): "any finding" or "none"; by it the cohort is split and audited."""
    return [ANY if some else NONE for some in (present.sum(axis=1) > 0).tolist()]
