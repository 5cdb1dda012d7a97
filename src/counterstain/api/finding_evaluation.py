"""Several findings per image: every finding of one model, or of several, in one call."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from counterstain.api.sources import listed_sources
from counterstain.errors import InputError, says_arguments
from counterstain.evaluation.finding_scores import FindingPredictions, finding_rows, score_findings
from counterstain.evaluation.findings_csv import read_finding_table
from counterstain.evaluation.findings_result import FindingScores
from counterstain.evaluation.from_arrays import Source
from counterstain.evaluation.table_evaluation import ARM
from counterstain.files import write_csv, write_json

__all__ = ["evaluate_findings"]


@says_arguments
def evaluate_findings(
    predictions: Path | str | Sequence[Path | str] | Mapping[str, Path | str | Sequence[Path | str]],
    *,
    columns: Mapping[str, str] | None = None,
    confidence: float = 0.95,
    out: Path | str | None = None,
) -> FindingScores:
    """Scores of every finding and of their mean, with intervals over patients; of several models their differences.

    The commands `evaluate` and `compare` do this where a table has several findings and no one label.

    Args:
        predictions: a table with label_<finding> and prob_<finding> columns, or several, one for each seed of one
            model; or {name: tables} of several models, compared in AUROC (p of single findings after Holm).
        columns: {our column: the table's} of image_path, patient_id, slide_id and site.
        confidence: of the intervals.
        out: a folder for findings.json and findings.csv.

    Raises:
        InputError: If a table can't be read, or they are not of the same images and findings.
    """
    if not 0.5 < confidence < 1:
        raise InputError(f"confidence is {confidence}; a level between 0.5 and 1 was needed, say 0.95")
    models = predictions if isinstance(predictions, Mapping) else {ARM: predictions}
    tables = {name: [read_finding_table(_path(one), columns=columns) for one in listed_sources(own)]
              for name, own in models.items()}  # fmt: skip
    first = next(iter(tables.values()))[0]
    aligned = {name: [_like(first, one, name) for one in own] for name, own in tables.items()}
    record = score_findings(aligned, alpha=1 - confidence)
    if out is not None:
        write_json(Path(out) / "findings.json", record)
        write_csv(Path(out) / "findings.csv", *finding_rows(record))
    return FindingScores(record)


def _path(source: Source) -> Path | str:
    if not isinstance(source, (str, Path)):
        raise InputError(f"a {type(source).__name__} was given; tables of findings are read from files")
    return source


def _like(first: FindingPredictions, table: FindingPredictions, name: str) -> FindingPredictions:
    """The table with rows and findings in the order of the first."""
    if set(table.image) != set(first.image) or set(table.findings) != set(first.findings):
        what = "findings" if set(table.findings) != set(first.findings) else "images"
        raise InputError(f"a table of '{name}' has other {what} than the first table; the same ones are needed")
    return table.in_order(first.image, first.findings)
