"""Which column of a prediction table holds what: image, patient, slide, site, true class and probabilities."""

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from counterstain.columns import check_columns, columns_option, find_column, name_key, quoted
from counterstain.errors import InputError
from counterstain.evaluation.findings_csv import find_findings
from counterstain.evaluation.probability_columns import (
    ProbabilityColumns,
    find_probability_columns,
    named_after_target,
)
from counterstain.tables import Table

__all__ = ["NOUNS", "Layout", "find_layout"]

# Names that are said of the truth alone; `label`, `class` and the like are also said of a model's call.
NOUNS = ("image_path", "patient_id", "slide_id", "site", "label")
_TRUTHS = ("y_true", "true_label", "label_true", "ground_truth", "gt", "gt_label", "true_class", "truth", "actual",
           "actual_label", "reference_standard")  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """What each column of a table is: {our name: the table's}, and the probabilities (None: hard calls alone)."""

    place: Mapping[str, str]
    prob: ProbabilityColumns | None


def find_layout(table: Table, columns: dict[str, str]) -> Layout:
    """Which column is what, by the user's word, by name, and by the layouts of known tools.

    Raises:
        InputError: If there is no truth, no prediction, or doubt about which is which.
    """
    path = table.path
    check_columns(columns, (*NOUNS, "predicted", "prob"), table.header, str(path))
    place = {noun: find_column(noun, table.header, columns, str(path)) for noun in NOUNS if noun != "label"}
    place["label"], prob = _truth(table, columns, set(place.values()))
    labels = table.distinct(place["label"])[0]
    free = [name for name in table.header if name not in place.values()]
    only_calls = "predicted" in columns and not any(noun.startswith("prob") for noun in columns)
    prob = None if only_calls else prob or find_probability_columns(table, free, labels, columns)
    place["predicted"] = find_column("predicted", free, columns, str(path)) if prob is None else ""
    _check_truth(table, place["label"], labels, prob, columns)
    if prob is None and place["predicted"] and _holds_fractions(table, place["predicted"]):
        prob = ProbabilityColumns((place["predicted"],), ("",))  # probabilities by the name of a call, as y_pred may be
    if prob is None and not place["predicted"]:
        raise InputError(
            f"{path} has no probability columns; prob_<class> for each class was needed; it has "
            f"{', '.join(table.header)}. Say which they are, such as --columns prob_malignant=<its name>, or "
            "--columns predicted=<its name> for predicted classes alone"
        )
    return Layout(place, prob)


def _truth(table: Table, columns: Mapping[str, str], used: set[str]) -> tuple[str, ProbabilityColumns | None]:
    """The column of true labels; of STAMP's layout the probability columns too."""
    header = [name for name in table.header if name not in used - {""}]
    # CLAM writes the truth as Y; in no prediction table is y a coordinate unless x is there as well.
    extra = () if any(name_key(name) == "x" for name in header) else ("y",)
    label = find_column("label", header, columns, str(table.path), extra=extra)
    if label:
        return label, None
    by_outcome = [name for name in header if name.lower().endswith(("-y_true", "_y_true"))]  # slideflow
    if len(by_outcome) == 1:
        return by_outcome[0], None
    if by_outcome:
        raise InputError(
            f"{table.path} has the truth of {len(by_outcome)} outcomes: {quoted(by_outcome)}; say which with "
            f"{columns_option('label', by_outcome[0])}, and its probabilities with prob_<class>=<name>"
        )
    by_target = named_after_target(table)
    if by_target is not None:
        return by_target
    _refuse_findings(table, header)
    raise InputError(
        f"{table.path} has no column 'label' (or y_true, true_label, target); it has {', '.join(table.header)}. "
        "Predictions without the truth can't be scored: add the true class of each row, or say which column holds it "
        "with --columns label=<its name>"
    )


def _refuse_findings(table: Table, header: Sequence[str]) -> None:
    """Refuse a table of several findings per image, each with a truth and a probability of its own, by name."""
    findings = find_findings(header)
    if findings:
        first = findings[0]
        names = ", ".join(finding.finding for finding in findings[:5])
        raise InputError(
            f"{table.path} has a truth for each of {len(findings)} findings ({names}); evaluate_findings scores all of "
            f"them; one alone is {columns_option('label', first.label)},prob_1={shlex.quote(first.prob)}"
        )


def _check_truth(
    table: Table, label: str, labels: Sequence[str], prob: ProbabilityColumns | None, columns: Mapping[str, str]
) -> None:
    """Refuse a `label` that may be the model's own call, unless the user has said that it is the truth."""
    if "label" in columns or name_key(label) in {name_key(name) for name in _TRUTHS}:
        return
    keys = {name_key(name) for name in _TRUTHS}
    cells = table.text(label)
    for rival in (name for name in table.header if name_key(name) in keys):
        if not _codes_the_same(set(zip(cells, table.text(rival), strict=True))):
            differ = sum(first != second for first, second in zip(cells, table.text(rival), strict=True))
            raise InputError(
                f"{table.path} has '{label}' and '{rival}', which differ in {differ} of {len(cells)} rows: one of them "
                f"is the model's own call. Say which is the truth: {columns_option('label', rival)}"
            )
    if prob is not None and prob.classes == ("",) and "prob" not in columns:
        values, _ = table.numbers(prob.columns[0])
        highest = np.nanmax(values) if np.isfinite(values).any() else 0
        if 1 / max(len(labels), 2) <= np.nanmin(values, initial=np.inf) and highest <= 1:
            raise InputError(
                f"'{prob.columns[0]}' in {table.path} is never below {1 / max(len(labels), 2):g}, so '{label}' looks "
                "like the model's own call and not like the truth (timm's inference.py writes such tables). Add the "
                f"truth and a probability for each class, or say that it is the truth: {columns_option('label', label)}"
            )


def _codes_the_same(pairs: Collection[tuple[str, str]]) -> bool:
    """Whether two columns say the same in two codings, such as 0 and benign; the same words swapped are no coding."""
    ours, theirs = {first for first, _ in pairs}, {second for _, second in pairs}
    same_words = ours == theirs and any(first != second for first, second in pairs)
    return len(pairs) == len(ours) == len(theirs) and not same_words


def _holds_fractions(table: Table, name: str) -> bool:
    values, bad = table.numbers(name)
    return not bad.any() and bool(np.any(values != np.round(values)))
