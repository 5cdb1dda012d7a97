"""Anyone's table of several findings per image: for each finding a truth, a probability, and perhaps a call."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from counterstain.columns import check_columns, find_column, name_key, present
from counterstain.errors import InputError
from counterstain.evaluation.finding_scores import FindingPredictions
from counterstain.files import StrPath
from counterstain.tables import Table, read_table, table_of_frame

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FindingColumns", "find_findings", "holds_findings", "read_finding_table"]

_IDS = ("image_path", "patient_id", "slide_id", "site")
_PROBABILITY = re.compile(r"(?i)^(prob|proba|probability|y_prob|score|finding)[ _.-]+")
_TRUTHS = ("label_{}", "{}_label", "true_{}", "{}_true", "gt_{}", "{}")
_CALLS = ("decision_{}", "has_{}", "call_{}", "pred_{}", "predicted_{}")
_BITS = {"1": 1, "1.0": 1, "true": 1, "yes": 1, "0": 0, "0.0": 0, "false": 0, "no": 0}


@dataclass(frozen=True)
class FindingColumns:
    """One finding's columns: its truth, its probability, and its call ("" where there is none)."""

    finding: str
    label: str
    prob: str
    call: str


def find_findings(header: Sequence[str]) -> list[FindingColumns]:
    """The findings of a table, by the names of its columns: each has a truth and a probability of its own.

    Example:
        >>> [one.finding for one in find_findings(["image", "label_mass", "prob_mass", "label_oedema", "prob_oedema"])]
        ['mass', 'oedema']
    """
    plain = {name_key(name): name for name in header}

    def first(forms: Sequence[str], finding: str, but: str) -> str:
        keys = [name_key(form.format(finding)) for form in forms]
        return next((plain[key] for key in keys if plain.get(key, but) != but), "")

    findings = []
    for name in header:
        finding = _PROBABILITY.sub("", name)
        if finding != name and (truth := first(_TRUTHS, finding, name)):
            findings.append(FindingColumns(finding, truth, name, first(_CALLS, finding, name)))
    return findings


def holds_findings(table: Table, columns: Mapping[str, str]) -> bool:
    """Whether a table has several findings and no one label, and its user asks for none."""
    if "label" in columns or present("label", table.header):
        return False
    return len(find_findings(table.header)) > 1


def read_finding_table(
    source: "StrPath | pd.DataFrame", *, columns: Mapping[str, str] | None = None
) -> FindingPredictions:
    """The predictions of several findings per image, from a CSV or Parquet table or a data frame.

    Args:
        source: with a column of truths (0/1, yes/no) and one of probabilities for each finding: label_<finding> and
            prob_<finding>; decision_<finding> where there are calls. Without patients each image is its own.
        columns: {our column: the table's} of image_path, patient_id, slide_id and site.

    Raises:
        InputError: If there are fewer than two findings, or a cell is missing or no such value.
    """
    table = (
        read_table(Path(source), kind="prediction table")
        if isinstance(source, (str, os.PathLike))
        else table_of_frame(source)
    )
    path, columns = str(table.path), dict(columns or {})
    findings = find_findings(table.header)
    if len(findings) < 2:
        raise InputError(
            f"{path} has no two findings, each with a truth and a probability: label_<finding> and prob_<finding> are "
            f"needed; it has {', '.join(table.header)}"
        )
    if not len(table):
        raise InputError(f"{path} has a header but no rows; one row per image is needed")
    check_columns(columns, _IDS, table.header, path)
    place = {noun: find_column(noun, table.header, columns, path) for noun in _IDS}
    blank = ("",) * len(table)
    ids = {noun: table.text(name) if name else blank for noun, name in place.items()}
    image = ids["image_path"] if place["image_path"] else tuple(f"row {k + 1}" for k in range(len(table)))
    if len(set(image)) < len(image):
        import pandas as pd

        twice = image[int(pd.Index(image).duplicated().argmax())]
        raise InputError(f"{path} lists {twice} twice; one row per image is needed")
    called = (
        np.stack([_bits(table, finding.call) for finding in findings], 1)
        if all(finding.call for finding in findings)
        else None
    )
    return FindingPredictions(
        image=image, patient=tuple(owner or name for owner, name in zip(ids["patient_id"], image, strict=True)),
        slide=ids["slide_id"], site=ids["site"],
        label=np.stack([_bits(table, finding.label) for finding in findings], 1),
        prob=np.stack([_probabilities(table, finding.prob) for finding in findings], 1),
        findings=tuple(finding.finding for finding in findings), called=called,
    )  # fmt: skip


def _bits(table: Table, name: str) -> NDArray[np.int64]:
    cells = [cell.lower() for cell in table.text(name)]
    odd = next((row for row, cell in enumerate(cells) if cell not in _BITS), None)
    if odd is not None:
        raise InputError(
            f"'{name}' in row {table.line(odd)} of {table.path} is '{cells[odd]}'; 0 or 1 is needed. Leave out rows "
            "of which it is unknown"
        )
    return np.array([_BITS[cell] for cell in cells], dtype=np.int64)


def _probabilities(table: Table, name: str) -> NDArray[np.float64]:
    values, bad = table.numbers(name)
    odd = np.flatnonzero(bad | ~np.isfinite(values))
    if len(odd):
        row = int(odd[0])
        raise InputError(
            f"'{name}' in row {table.line(row)} of {table.path} is '{table.cell(name, row)}'; a number is needed"
        )
    return values
