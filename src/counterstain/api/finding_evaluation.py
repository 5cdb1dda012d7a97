"""Several findings per image: every finding of one model, or of several, in one call."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Union

from counterstain.errors import InputError, says_arguments
from counterstain.evaluation.finding_scores import FindingPredictions, finding_rows, score_findings
from counterstain.evaluation.findings_csv import read_finding_table
from counterstain.evaluation.findings_result import FindingScores
from counterstain.evaluation.from_arrays import is_frame
from counterstain.evaluation.table_evaluation import ARM
from counterstain.files import write_csv, write_json

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["evaluate_findings"]

FindingTable = Union[str, os.PathLike[str], "pd.DataFrame"]
FindingTables = FindingTable | Sequence[FindingTable]


@says_arguments
def evaluate_findings(
    predictions: FindingTables | Mapping[str, FindingTables],
    *,
    columns: Mapping[str, str] | None = None,
    confidence: float = 0.95,
    out: Path | str | None = None,
) -> FindingScores:
    """Scores of every finding and of their mean, with intervals over patients; of several models their differences.

    The commands `evaluate` and `compare` do this where a table has several findings and no one label.

    Args:
        predictions: a table (a path or a data frame) with label_<finding> and prob_<finding> columns, or several, one
            for each seed of one model; or {name: tables} of several models, compared in AUROC (p of single findings
            after Holm).
        columns: {our column: the table's} of image_path, patient_id, slide_id and site.
        confidence: of the intervals.
        out: a folder for findings.json and findings.csv.

    Raises:
        InputError: If a table can't be read, or they are not of the same images and findings.
    """
    if not 0.5 < confidence < 1:
        raise InputError(f"confidence is {confidence}; a level between 0.5 and 1 was needed, say 0.95")
    if out is not None and Path(out).suffix:
        raise InputError(
            f"--out is {out}; several findings have no page; name a folder, which gets findings.json, .csv"
        )
    models = predictions if isinstance(predictions, Mapping) else {ARM: predictions}
    tables = {name: [_table(one, columns) for one in _listed(own)] for name, own in models.items()}
    if not tables or not all(tables.values()):
        raise InputError("no predictions were given; name at least one table of each model")
    first = next(iter(tables.values()))[0]
    aligned = {name: [_like(first, one, name) for one in own] for name, own in tables.items()}
    record = score_findings(aligned, alpha=1 - confidence)
    if out is not None:
        write_json(Path(out) / "findings.json", record)
        write_csv(Path(out) / "findings.csv", *finding_rows(record))
    return FindingScores(record)


def _listed(tables: FindingTables) -> list[FindingTable]:
    """One table or several as a list."""
    return list(tables) if isinstance(tables, Sequence) and not isinstance(tables, str) else [tables]


def _table(source: FindingTable, columns: Mapping[str, str] | None) -> FindingPredictions:
    if isinstance(source, (str, os.PathLike)) or is_frame(source):
        return read_finding_table(source, columns=columns)
    raise InputError(
        f"a {type(source).__name__} was given; a path or a data frame with label_<finding> and prob_<finding> is needed"
    )


def _like(first: FindingPredictions, table: FindingPredictions, name: str) -> FindingPredictions:
    """The table with rows and findings in the order of the first."""
    if set(table.image) != set(first.image) or set(table.findings) != set(first.findings):
        differing = "findings" if set(table.findings) != set(first.findings) else "images"
        raise InputError(f"a table of '{name}' has other {differing} than the first table; the same ones are needed")
    return table.in_order(first.image, first.findings)
