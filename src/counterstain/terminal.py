"""How work is shown in a terminal: lines and progress bars on stderr, tables on stdout."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from counterstain.evaluation.evaluation_tables import evaluation_notes, evaluation_tables
from counterstain.evaluation.format import counted_rows, plural
from counterstain.evaluation.metric_names import ORDER, measure_words
from counterstain.evaluation.text_tables import (
    details_table,
    pairs_table,
    ranking_table,
    several_arms_notes,
    shown_interval,
)
from counterstain.run_folder import optional_record, record_path
from counterstain.text_table import table_lines, wrapped

if TYPE_CHECKING:
    from counterstain.cohort.cohort import Cohort
    from counterstain.progress import Progress, TrainingProgress

__all__ = [
    "print_cohort",
    "print_comparison",
    "print_result",
    "print_scores",
    "print_split",
    "print_table",
    "progress_bars",
    "say",
    "talking",
]

# The table of calls has the NPV, and the report the patient recognition rate.
SHOWN = tuple(name for name in ORDER if name not in ("npv", "patient_recognition"))
STEP_S = 5.0  # between two lines on one piece of work, where stderr is no terminal


def say(line: str) -> None:
    """One line of talk, on stderr."""
    print(line, file=sys.stderr, flush=True)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, head: bool = True) -> None:
    """A table on stdout, as wide as it needs to be when stdout is not a terminal; `head` False: names and values.

    The title stands above it on lines of its own, whatever the table's width; in a narrow terminal no value is cut.
    """
    if title:
        _print_wrapped(title, bold=True)
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
        Console(highlight=False, soft_wrap=True).print(line, markup=False, style="bold" if bold else None)
    else:
        print(line)


def print_cohort(
    table: "Cohort", *, as_json: bool = False, unreadable: Sequence[tuple[str, str]] | None = None
) -> None:
    """Counts of images, classes, patients and sites, and of images in colour; and those that cannot be read."""
    from counterstain.cohort.summary import describe, describe_lines, measure_colour

    record = describe(table, measure_colour(table), unreadable)
    print(_json(record) if as_json else "\n".join(describe_lines(record)))


def print_split(record: Mapping[str, object], *, as_json: bool = False) -> None:
    """Counts of images and patients in each part."""
    from counterstain.cohort.split import split_lines

    print(_json(record) if as_json else "\n".join(split_lines(dict(record))))


def print_result(run: Path, *, as_json: bool = False) -> None:
    """The tables and the verdict of a finished run, and where its report is."""
    from counterstain.files import read_json

    scores = read_json(record_path(run, "scores.json"))
    # A study of one arm has nothing to compare.
    comparison = optional_record(run, "comparison.json") or None
    if as_json:
        print(_json({"run": str(run), "scores": scores, "comparison": comparison}))
        return
    print_scores(scores)
    if comparison is not None:
        print_comparison(comparison)
    print(f"Report:  {run / 'report.html'}")


def _json(record: Mapping[str, Any]) -> str:
    from counterstain.files import plain_values

    return json.dumps(plain_values(record), indent=2, allow_nan=False)


def print_scores(record: Mapping[str, Any], *, as_json: bool = False) -> None:
    """The scores of every arm with their intervals: one row per measure, one column per arm; one table per level."""
    if as_json:
        print(_json(record))
        return
    arms: Mapping[str, Any] = record["arms"]
    first = next(iter(arms.values()))
    counts = counted_rows(first["images"], record.get("rows_are", "image"), first["patients"])
    unit = record["unit"] if record["unit"] == "patient" else record.get("rows_are", "image")
    level_words = f"{100 * record['confidence']:g} %"
    # Anyone's tables need not be of a test part, nor the trainings of different seeds.
    part, tables = ("", "table") if "decision" in record else ("test part, ", "seed")
    for level in ("image", "slide", "patient"):
        found = {
            arm: {score["metric"]: score for score in own["scores"] if score["level"] == level and not score["class"]}
            for arm, own in arms.items()
        }
        metrics = [metric for metric in SHOWN if any(metric in scores for scores in found.values())]
        if not metrics:
            continue
        rows = [
            [measure_words(metric), *(_interval(scores.get(metric)) for scores in found.values())] for metric in metrics
        ]
        heads = [f"{arm} ({plural(len(own['seeds']), tables)})" for arm, own in arms.items()]
        title = f"{level.capitalize()} level: value and {level_words} interval, unit {unit}, {part}{counts}"
        print_table(title, [f"of {record['positive'] or 'all classes'}", *heads], rows)
    for table in evaluation_tables(record):
        print_table(table.title, table.head, table.rows)
        for note in table.notes:
            _print_wrapped(note)
    notes = [note for own in arms.values() for note in own["warnings"]] + evaluation_notes(record)
    seen = [f"seen before: {line}" for line in record.get("seen", {}).get("words", ())]
    _print_notes(record, [*notes, *seen, *record.get("looks", ())])


def print_comparison(record: Mapping[str, Any], *, as_json: bool = False) -> None:
    """The verdict, and below it what it rests on: of two arms in detail, of more the best on top."""
    if as_json:
        print(_json(record))
        return
    _print_wrapped(f"Verdict: {record['words']}")
    print()
    pairs = [pair for pair in record["pairs"] if pair["primary"]]
    if len(record["pairs"]) == 1:
        print_table("", *details_table(record, pairs[0]), head=False)
    elif _pair_by_pair(record, pairs):
        print_table(f"Difference in {_endpoint(record)}, unit {record['unit']}", *pairs_table(record, pairs))
    else:
        print_table(f"{_endpoint(record)}, the best on top, unit {record['unit']}", *ranking_table(record))
    if len(record["pairs"]) > 1:
        for line in several_arms_notes(record, pairs):
            _print_wrapped(line)
    _print_notes(record, record["warnings"])


def _print_wrapped(line: str, *, bold: bool = False) -> None:
    """A sentence on stdout, broken at words where stdout is a terminal; whole where a program reads it."""
    for part in wrapped(line, _width(10_000)):
        _print_line(part, bold=bold)


def _pair_by_pair(record: Mapping[str, Any], pairs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether pairs are told one by one: where a ranking of the arms by one measure isn't what was asked."""
    asked = record["hypothesis"] != "difference" or record["reference"] is not None or bool(record["co_primary"])
    return asked or len(pairs) < len(record["pairs"])


def _endpoint(record: Mapping[str, Any]) -> str:
    names = record["co_primary"] or [record["primary"]]
    positive = record["positive"]
    words = " and ".join(measure_words(name, positive, several=positive is None) for name in names)
    return words if record["level"] == "image" else f"{words} at {record['level']} level"


def _print_notes(record: Mapping[str, Any], notes: Iterable[str]) -> None:
    for note in dict.fromkeys([*([record["stamp"]] if record["stamp"] else []), *notes]):
        _print_wrapped(f"Note: {note}")


def _interval(score: Mapping[str, Any] | None) -> str:
    return "–" if score is None else shown_interval(score["value"], score["low"], score["high"])


@dataclass
class _Shown:
    """The bars on the screen by their label."""

    bars: Bars
    tasks: dict[str, TaskID] = field(default_factory=dict)

    def stored(self, done: int, total: int) -> None:
        if "store" not in self.tasks:
            self.tasks["store"] = self.bars.add_task("reading images", total=total, detail="")
        self.bars.update(self.tasks["store"], completed=done, total=total)
        if done == total:
            self.bars.remove_task(self.tasks.pop("store"))

    def step(self, label: str, done: int, total: int) -> None:
        if label not in self.tasks:
            self.tasks[label] = self.bars.add_task(label, total=total, detail="")
        self.bars.update(self.tasks[label], completed=done, total=total)
        if done >= total:
            self.bars.remove_task(self.tasks.pop(label))

    def trained(self, label: str, progress: "TrainingProgress") -> None:
        if label not in self.tasks:
            for task in self.tasks.values():
                self.bars.remove_task(task)
            self.tasks = {label: self.bars.add_task(label, total=progress.epochs * progress.images, detail="")}
        detail = f"loss {progress.loss:.3f} accuracy {progress.accuracy:.3f} {progress.images_per_s:,.0f} images/s"
        if progress.val_loss is not None:
            detail += f" | val loss {progress.val_loss:.3f} accuracy {progress.val_accuracy:.3f}"
        completed = (progress.epoch - 1) * progress.images + progress.seen
        name = f"{label}  epoch {progress.epoch} of at most {progress.epochs}"
        self.bars.update(self.tasks[label], completed=completed, detail=detail, description=name)


@contextmanager
def progress_bars(*more: ProgressColumn) -> Iterator[tuple[Bars, Callable[[str], None]]]:
    """Bars on stderr with counts and the time left, and what says a line above them.

    Args:
        more: columns at the end of each bar.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, *more, console=console, transient=True) as bars:
        yield bars, lambda line: console.print(line, markup=False)


@contextmanager
def talking() -> Iterator["Progress"]:
    """A Progress that shows bars with time left where stderr is a terminal, and plain lines where it is not."""
    from counterstain.progress import Progress

    if not sys.stderr.isatty():
        yield Progress(say=say, stored=_sparse(), trained=_epoch_lines, step=_sparse_steps())
        return
    with progress_bars(TextColumn("{task.fields[detail]}")) as (bars, tell):
        shown = _Shown(bars)
        yield Progress(say=tell, stored=shown.stored, trained=shown.trained, step=shown.step)


def _sparse() -> Callable[[int, int], None]:
    """Images read so far, at every tenth part."""
    last = [0]

    def stored(done: int, total: int) -> None:
        tenth = 10 * done // max(total, 1)
        if tenth > last[0] and total >= 1000:
            say(f"  read {done} of {total} images")
        last[0] = tenth

    return stored


def _sparse_steps() -> Callable[[str, int, int], None]:
    """What is being done, some seconds apart: short work is not told."""
    import time

    last = [time.monotonic()]

    def step(label: str, done: int, total: int) -> None:
        if done < total and time.monotonic() - last[0] > STEP_S:
            last[0] = time.monotonic()
            say(f"  {label}: {done:,} of {total:,}")

    return step


def _epoch_lines(label: str, progress: "TrainingProgress") -> None:
    if progress.val_loss is not None and (progress.epoch % 10 == 0 or progress.epoch == 1):
        say(
            f"  {label} epoch {progress.epoch}: loss {progress.loss:.4f} accuracy {progress.accuracy:.3f} "
            f"val_loss {progress.val_loss:.4f} val_accuracy {progress.val_accuracy:.3f} "
            f"{progress.images_per_s:,.0f} images/s"
        )
