"""The tables of scores and comparison as plain rows and text, for a terminal, a page or a log."""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["as_text", "comparison_table", "score_table_rows", "shown", "shown_interval"]

SHOWN = ("accuracy", "balanced_accuracy", "recall", "specificity", "precision", "f1", "mcc", "auroc", "auprc", "loss")

Rows = list[list[str]]


def shown(value: float | None, digits: int = 3) -> str:
    """A score as text; what is undefined is "undefined", never 0."""
    return "undefined" if value is None or value != value else f"{value:.{digits}f}"


def shown_interval(value: float | None, low: float | None, high: float | None, digits: int = 3) -> str:
    """ "0.812 [0.701, 0.889]"; without an interval "0.812 [no interval]"."""
    if value is None or value != value:
        return "undefined"
    if low is None or low != low or high is None or high != high:
        return f"{value:.{digits}f} [no interval]"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def score_table_rows(
    record: Mapping[str, Any], *, metrics: Sequence[str] = SHOWN, level: str = "image"
) -> tuple[list[str], Rows]:
    """Header and rows, one an arm: each metric with its interval, then n images, n patients and seeds.

    Args:
        record: scores.json.
        metrics: the columns, in order; those of the positive class or the macro mean.
        level: "image" or "patient".
    """
    header = ["arm", *metrics, "images", "patients", "seeds"]
    rows = []
    for arm, own in record["arms"].items():
        by_name = {s["metric"]: s for s in own["scores"] if s["class"] is None and s["level"] == level}
        cells = [
            shown_interval(by_name[m]["value"], by_name[m]["low"], by_name[m]["high"]) if m in by_name else "-"
            for m in metrics
        ]
        patients = "unknown" if own["patients"] is None else str(own["patients"])
        rows.append([arm, *cells, str(own["images"]), patients, str(len(own["seeds"]))])
    return header, rows


def comparison_table(record: Mapping[str, Any]) -> tuple[list[str], Rows]:
    """Header and rows, one a pair: difference with its interval, p, chance of a false ranking, and the verdict."""
    header = ["pair", "metric", "difference", "p (adjusted)", "chance of a false ranking", "verdict"]
    rows = []
    for pair in record["pairs"]:
        rows.append(
            [
                f"{pair['a']} - {pair['b']}" + ("" if pair["primary"] else " (exploratory)"),
                f"{pair['metric']} ({pair['level']})",
                shown_interval(pair["difference"], pair["low"], pair["high"]),
                _shown_p(pair["p_adjusted"]),
                _shown_p(pair["probability_false"]),
                _verdict(pair),
            ]
        )
    return header, rows


def _shown_p(p: float | None) -> str:
    if p is None or p != p:
        return "undefined"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _verdict(pair: Mapping[str, Any]) -> str:
    needed = pair["patients_needed"]
    words = {
        "a_better": f"{pair['a']} is better",
        "b_better": f"{pair['b']} is better",
        "equivalent": "equivalent within the margin",
        "noninferior": f"{pair['a']} is not inferior by the margin",
        "noninferiority_not_shown": "non-inferiority not shown",
        "equivalence_not_shown": "equivalence not shown",
        "no_evidence": "no evidence of a difference" + (f" (about {needed:,} needed)" if needed else ""),
        "not_enough_runs": "not enough runs to claim",
    }
    return words[pair["verdict"]]


def as_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns lined up with two spaces between, a rule under the header, no trailing blanks."""
    widths = [max(len(row[k]) for row in (header, *rows)) for k in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()

    return "\n".join([line(header), "  ".join("-" * width for width in widths), *(line(row) for row in rows)])
