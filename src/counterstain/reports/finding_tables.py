"""The report's section on several findings per image: their scores in each arm, and the arms' differences."""

from collections.abc import Mapping
from typing import Any

from counterstain.evaluation.format import clean, metric_name, p_value, plural, signed
from counterstain.reports.page_table import NO_INTERVAL, Cell, Table, score_cell
from counterstain.reports.run_record import RunRecord

__all__ = ["finding_tables", "finding_words"]

SHOWN = ("auroc", "auprc", "recall", "specificity", "brier")


def finding_tables(run: RunRecord) -> list[Table]:
    """One table per arm, one row per finding and one for their mean; then the differences in AUROC.

    [] for a study of one label per image.
    """
    record = run.findings
    if not record:
        return []
    level = f"{100 * float(record['confidence']):g}\u00a0%"
    counts = {
        row["finding"]: f"{plural(row['images'], 'image')} of {plural(row['units'], record['unit'])}"
        if record["unit"] == "patient" else plural(row["images"], "image")
        for row in record["findings"]
    }  # fmt: skip
    tables = []
    for arm in run.arms:
        scores: dict[str, dict[str, Any]] = {}
        for row in record["scores"]:
            if row["arm"] == arm:
                scores.setdefault(row["finding"], {})[row["metric"]] = row
        metrics = [metric for metric in SHOWN if any(metric in by_metric for by_metric in scores.values())]
        rows = [
            (
                Cell(clean(finding), counts.get(finding, ""), strong=finding not in counts),
                *(score_cell(by_metric.get(metric)) for metric in metrics),
            )
            for finding, by_metric in _in_order(scores, list(counts))
        ]
        caption = (
            f"{clean(arm)}: each finding on the test part; {level} intervals with the {record['unit']} as the unit"
        )
        head = ("finding", *(metric_name(metric) for metric in metrics))
        tables.append(Table(caption, head, tuple(rows)))
    if record["differences"]:
        tables.append(_difference_table(record, level))
    return tables


def _in_order(scores: dict[str, dict[str, Any]], known: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """The findings as the study names them, and their mean last."""
    return [(name, scores[name]) for name in (*known, *(name for name in scores if name not in known))]


def _difference_table(record: Mapping[str, Any], level: str) -> Table:
    rows = []
    for row in record["differences"]:
        low, high = row["low"], row["high"]
        limits = NO_INTERVAL if low is None or high is None else f"{signed(low)} to {signed(high)}"
        p = row.get("p_adjusted", row["p"])
        rows.append(
            (
                Cell(f"{clean(row['a'])} − {clean(row['b'])}"),
                Cell(clean(row["finding"]), strong="p_adjusted" not in row),
                Cell(signed(row["difference"]), limits),
                Cell(p_value(p)),
            )
        )
    caption = f"Differences in AUROC, paired by {record['unit']}; {level} intervals; p of single findings after Holm"
    return Table(caption, ("arms", "finding", "difference", "p"), tuple(rows), text_columns=frozenset({0, 1}))


def finding_words(run: RunRecord) -> str:
    """What the section, and the rest of the report, are about; "" without findings."""
    if not run.findings:
        return ""
    return (
        "An image may have several findings. Everything else in this report is about whether it has any: the "
        "probability of any finding is one minus the product of the probabilities of having none of each, calibrated "
        "on the validation part. Here each finding stands by itself, with its own calibration and its own frozen "
        "threshold. The mean of all findings leaves out each patient as a whole, so that its interval allows for "
        "findings that occur together."
    )
