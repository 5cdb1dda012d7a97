"""How results are shown in a terminal: tables and sentences on stdout that fit its width."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console

from counterstain.evaluation.evaluation_tables import evaluation_notes, evaluation_tables
from counterstain.evaluation.format import counted_rows, plural
from counterstain.evaluation.metric_names import ORDER, measure_words
from counterstain.evaluation.record_types import ComparisonRecord, FindingsRecord, ScoresRecord
from counterstain.evaluation.rows import level_words, recorded_rows, recorded_unit, shown_levels
from counterstain.evaluation.text_tables import (
    details_table,
    finding_differences_table,
    finding_scores_table,
    findings_table,
    pairs_table,
    ranking_table,
    several_arms_notes,
    shown_interval,
)
from counterstain.run_folder import as_written, optional_record, record_path
from counterstain.text_table import table_lines, visible, wrapped

if TYPE_CHECKING:
    from counterstain.cohort.cohort import Cohort
    from counterstain.cohort.split import SplitRecord

__all__ = [
    "print_cohort",
    "print_comparison",
    "print_findings",
    "print_next",
    "print_result",
    "print_scores",
    "print_split",
    "print_table",
    "print_wrapped",
]

# The table of calls has the NPV, and the report the patient recognition rate.
SHOWN = tuple(name for name in ORDER if name not in ("npv", "patient_recognition"))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, head: bool = True) -> None:
    """A table on stdout, as wide as it needs to be when stdout is not a terminal; `head` False: names and values.

    The title stands above it on lines of its own, whatever the table's width; in a narrow terminal no value is cut.
    """
    if title:
        print_wrapped(title, bold=True)
    heads = True
    for line in table_lines(columns, rows, _width(200), head=head):
        heads = heads and head and not line.startswith("─")
        _print_line(line, bold=heads)


def _width(width: int) -> int:
    """Columns of the terminal; `width` where stdout is none."""
    return Console().width if sys.stdout.isatty() else width


def _print_line(line: str, *, bold: bool = False) -> None:
    """One line on stdout as it is: names come from the user's files, and brackets in them are no markup."""
    if sys.stdout.isatty():
        Console(highlight=False, soft_wrap=True).print(visible(line), markup=False, style="bold" if bold else None)
    else:
        print(visible(line))


def print_cohort(
    table: "Cohort", *, as_json: bool = False, unreadable: Sequence[tuple[str, str]] | None = None
) -> None:
    """Counts of images, classes, patients and sites, and of images in colour; and those that cannot be read."""
    from counterstain.cohort.summary import describe, describe_lines, measure_colour

    record = describe(table, measure_colour(table), unreadable)
    print(visible(_json(record) if as_json else "\n".join(describe_lines(record))))


def print_split(record: "SplitRecord", *, as_json: bool = False) -> None:
    """Counts of images and patients in each part."""
    from counterstain.cohort.split import split_lines

    print(visible(_json(record) if as_json else "\n".join(split_lines(record))))


def print_result(run: Path, *, as_json: bool = False) -> None:
    """The tables of a finished run; then the result in two sentences, where its report is, and what to do next."""
    from counterstain.files import read_json
    from counterstain.study.results import StudyRun

    scores = cast(ScoresRecord, read_json(as_written(record_path(run, "scores.json"))))
    # A study of one arm has nothing to compare.
    comparison = optional_record(run, "comparison.json") or None
    if as_json:
        print(visible(_json({"run": str(run), "scores": scores, "comparison": comparison})))
        return
    print_scores(scores)
    if findings := optional_record(run, "findings.json"):
        print()
        level = f"{100 * findings['confidence']:g} %"
        print_table(
            f"Findings: AUROC and {level} interval, unit {findings['unit']}; the rest is about any finding",
            *findings_table(cast(FindingsRecord, findings)),
        )
    if comparison is not None:
        print()
        _print_basis(cast(ComparisonRecord, comparison))
    finished = StudyRun(run)
    print()
    print_wrapped(f"Result: {finished.result}")
    if words := optional_record(run, "old_protocol.json").get("words"):
        print_wrapped(f"Beside: {words}")
    print(visible(f"Report: {finished.report}"))
    print_next(finished.next_commands)


def print_next(commands: Sequence[str]) -> None:
    """Commands that come next, which run as they are printed; nothing where there is none."""
    if commands:
        print("Next:")
    for command in commands:
        _print_line(f"  {command}")


def _json(record: Mapping[str, object]) -> str:
    from counterstain.files import plain_values

    return json.dumps(plain_values(record), indent=2, allow_nan=False)


def print_scores(record: ScoresRecord, *, as_json: bool = False) -> None:
    """The scores of every arm with their intervals: one row per measure, one column per arm; one table per level."""
    if as_json:
        print(visible(_json(record)))
        return
    arms = record["arms"]
    first = next(iter(arms.values()))
    rows_are = recorded_rows(record)
    counts = counted_rows(first["images"], rows_are, first["patients"])
    unit = recorded_unit(record)
    percent = f"{100 * record['confidence']:g} %"
    # Anyone's tables, and a model's new images, need not be of a test part, nor the trainings of different seeds.
    averaged = record.get("averaged", 0)
    part, tables = ("", "table") if "decision" in record else ("" if averaged else "test part, ", "seed")
    for level in shown_levels(rows_are):
        by_arm = {
            arm: {
                score["metric"]: score
                for score in arm_record["scores"]
                if score["level"] == level and not score["class"]
            }
            for arm, arm_record in arms.items()
        }
        metrics = [metric for metric in SHOWN if any(metric in scores for scores in by_arm.values())]
        if not metrics:
            continue
        rows = [
            [measure_words(metric), *(_interval(scores.get(metric)) for scores in by_arm.values())]
            for metric in metrics
        ]
        heads = [
            f"mean of {averaged} seeds" if averaged > 1 else f"{arm} ({plural(len(arm_record['seeds']), tables)})"
            for arm, arm_record in arms.items()
        ]
        if level != "image":
            print()
        title = (
            f"{level_words(level, rows_are).capitalize()}: value and {percent} interval, unit {unit}, {part}{counts}"
        )
        print_table(title, [f"of {record['positive'] or 'all classes'}", *heads], rows)
    for table in evaluation_tables(record):
        print_table(table.title, table.head, table.rows)
        for note in table.notes:
            print_wrapped(note)
    notes = [note for arm_record in arms.values() for note in arm_record["warnings"]] + evaluation_notes(record)
    seen_before = [f"seen before: {line}" for line in record.get("seen", {}).get("words", ())]
    _print_notes(record, [*notes, *seen_before, *record.get("looks", ())])


def print_findings(record: FindingsRecord, *, as_json: bool = False) -> None:
    """The scores of every finding and of their mean, a table for each model; then how the models differ."""
    if as_json:
        print(visible(_json(record)))
        return
    level = f"{100 * record['confidence']:g} %"
    patients = record["units"] if record["unit"] == "patient" else None
    for arm, tables in record["seeds"].items():
        whose = f"{arm} ({plural(tables, 'table')}): " if len(record["seeds"]) > 1 or tables > 1 else ""
        counts = counted_rows(record["images"], "image", patients)
        title = f"{whose}value and {level} interval, unit {record['unit']}, {counts}"
        print_table(title, *finding_scores_table(record, arm))
        print()
    if record["differences"]:
        print_table("Differences; p of single findings after Holm's correction", *finding_differences_table(record))
        print_wrapped("Note: these differences are described, not judged; a verdict is about one finding")
    if record["unit"] == "image":
        print_wrapped("Note: patients are unknown: images are treated as independent, so intervals are too narrow")
    if "recall" not in {row["metric"] for row in record["scores"]}:
        print_wrapped("Note: there are no calls, decision_<finding>, so neither sensitivity nor specificity")


def print_comparison(record: ComparisonRecord, *, as_json: bool = False) -> None:
    """The verdict, and below it what it rests on: of two arms in detail, of more the best on top."""
    if as_json:
        print(visible(_json(record)))
        return
    print_wrapped(f"Verdict: {record['words']}")
    print()
    _print_basis(record)


def _print_basis(record: ComparisonRecord) -> None:
    """What the verdict rests on, and its notes."""
    pairs = [pair for pair in record["pairs"] if pair["primary"]]
    unit = recorded_unit(record)
    if len(record["pairs"]) == 1:
        print_table("", *details_table(record, pairs[0]), head=False)
    elif _pair_by_pair(record, pairs):
        print_table(f"Difference in {_endpoint(record)}, unit {unit}", *pairs_table(record, pairs))
    else:
        print_table(f"{_endpoint(record)}, the best on top, unit {unit}", *ranking_table(record))
    if len(record["pairs"]) > 1:
        for line in several_arms_notes(record, pairs):
            print_wrapped(line)
    _print_notes(record, record["warnings"])


def print_wrapped(line: str, *, bold: bool = False) -> None:
    """A sentence on stdout, broken at words where stdout is a terminal; whole where a program reads it."""
    for part in wrapped(line, _width(10_000)):
        _print_line(part, bold=bold)


def _pair_by_pair(record: Mapping[str, Any], pairs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether pairs are told one by one: where a ranking of the arms by one measure isn't what was asked."""
    other_question = (
        record["hypothesis"] != "difference" or record["reference"] is not None or bool(record["co_primary"])
    )
    return other_question or len(pairs) < len(record["pairs"])


def _endpoint(record: Mapping[str, Any]) -> str:
    names = record["co_primary"] or [record["primary"]]
    positive = record["positive"]
    words = " and ".join(measure_words(name, positive, several=positive is None) for name in names)
    return words if record["level"] == "image" else f"{words} at {record['level']} level"


def _print_notes(record: Mapping[str, Any], notes: Iterable[str]) -> None:
    for note in dict.fromkeys([*([record["stamp"]] if record["stamp"] else []), *notes]):
        print_wrapped(f"Note: {note}")


def _interval(score: Mapping[str, Any] | None) -> str:
    return "–" if score is None else shown_interval(score["value"], score["low"], score["high"])
