"""How work is shown in a terminal: lines and progress bars on stderr, tables on stdout."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

if TYPE_CHECKING:
    from counterstain.learning.training import Progress
    from counterstain.study.inputs import Talk

__all__ = ["print_table", "say", "talking"]


def say(line: str) -> None:
    """One line of talk, on stderr."""
    print(line, file=sys.stderr, flush=True)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout, as wide as it needs to be when stdout is not a terminal."""
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold", pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=index == 0)
    for row in rows:
        # Names come from the user's files: brackets in them are not markup.
        table.add_row(*(cell.replace("[", r"\[") for cell in row))
    console.print(table)


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

    def trained(self, label: str, progress: "Progress") -> None:
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
def talking() -> Iterator["Talk"]:
    """A Talk that shows bars with time left where stderr is a terminal, and plain lines where it is not."""
    from counterstain.study.inputs import Talk

    if not sys.stderr.isatty():
        yield Talk(say=say, stored=_sparse(), trained=_epoch_lines)
        return
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}"),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        shown = _Shown(bars)
        yield Talk(say=lambda line: console.print(line, markup=False), stored=shown.stored, trained=shown.trained)


def _sparse() -> Callable[[int, int], None]:
    """Images read so far, at every tenth part."""
    last = [0]

    def stored(done: int, total: int) -> None:
        tenth = 10 * done // max(total, 1)
        if tenth > last[0] and total >= 1000:
            say(f"  read {done} of {total} images")
        last[0] = tenth

    return stored


def _epoch_lines(label: str, progress: "Progress") -> None:
    if progress.val_loss is not None and (progress.epoch % 10 == 0 or progress.epoch == 1):
        say(
            f"  {label} epoch {progress.epoch}: loss {progress.loss:.4f} accuracy {progress.accuracy:.3f} "
            f"val_loss {progress.val_loss:.4f} val_accuracy {progress.val_accuracy:.3f} "
            f"{progress.images_per_s:,.0f} images/s"
        )
