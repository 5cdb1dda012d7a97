"""How long work is shown on stderr: lasting lines, and below them what is being done now; in a pipe, lines alone."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from counterstain.progress import Pace, Progress, TrainingProgress, duration, epoch_line
from counterstain.text_table import one_line, wrapped

__all__ = ["progress_bars", "say", "talking"]

STEP_S = 5.0  # between two lines on one piece of work, where stderr is no terminal
LONG_S = 1.0  # work that took longer says how long


def say(line: str) -> None:
    """One line of talk: on stderr, and in a notebook where its results are, since stderr is a red box there."""
    stream, text = sys.stdout if "ipykernel" in sys.modules else sys.stderr, one_line(line)
    for part in _hung(text, Console(stderr=True).width) if stream.isatty() else [text]:
        print(part, file=stream, flush=True)


class _Share(ProgressColumn):
    """How much of a task is done: its count while that is short, else per cent; nothing where its length is unknown."""

    def render(self, task: Task) -> Text:
        """The cell of one task."""
        if task.total is None:
            return Text("")
        counted = f"{task.completed:,.0f}/{task.total:,.0f}"
        return Text(counted if len(counted) <= 11 and not task.fields.get("percent") else f"{task.percentage:.0f} %")


class _Elapsed(ProgressColumn):
    """Time left of a task whose length is known; of any other, the time since it began."""

    max_refresh = 0.5

    def __init__(self) -> None:
        super().__init__()
        self._left = TimeRemainingColumn(compact=True)

    def render(self, task: Task) -> Text:
        """The cell of one task."""
        if task.total is None:
            return Text(f"{task.elapsed or 0:.0f} s")
        return Text.assemble(self._left.render(task), " left")


@contextmanager
def progress_bars(*more: ProgressColumn) -> Iterator[tuple[Bars, Callable[[str], None]]]:
    """Bars on stderr with counts and the time left, and what says a line above them.

    A bar fits any width: its label is cut at its end, and its bar becomes shorter.

    Args:
        more: columns at the end of each bar.
    """
    console = Console(stderr=True, highlight=False)
    label = Column(no_wrap=True, overflow="ellipsis", ratio=2)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False, table_column=label),
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        _Share(table_column=Column(no_wrap=True, justify="right")),
        _Elapsed(),
    )

    def tell(line: str) -> None:
        for part in _hung(one_line(line), console.width):
            console.print(part, markup=False, soft_wrap=True)

    with Bars(*columns, *more, console=console, transient=True, expand=True) as bars:
        yield bars, tell


def _hung(line: str, width: int) -> list[str]:
    """A line broken at words, its further parts set in from its first."""
    indent = len(line) - len(line.lstrip())
    first, *rest = wrapped(line, width) if len(line) > width else [line]
    if not rest:
        return [first]
    parts = wrapped(line.strip(), width - indent - 2)
    return [" " * indent + parts[0], *(" " * (indent + 2) + part for part in parts[1:])]


@dataclass
class _Shown:
    """The bars on the screen by their label, and what says a line above them."""

    bars: Bars
    tell: Callable[[str], None]
    tasks: dict[str, TaskID] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)
    training: str = ""

    def stored(self, done: int, total: int) -> None:
        self.step("reading images", done, total)

    def step(self, label: str, done: int, total: int) -> None:
        if label not in self.tasks:
            self.tasks[label] = self.bars.add_task(label, total=total)
        self.bars.update(self.tasks[label], completed=done, total=total)
        if done >= total:
            self.bars.remove_task(self.tasks.pop(label))

    def trained(self, label: str, progress: TrainingProgress) -> None:
        if label != self.training:
            self.training = label
            self.tell(label)
        time_left = self.pace.seconds_left(label, progress)
        ended = progress.val_loss is not None
        if ended:
            self.tell(f"  {epoch_line(progress, time_left, self.bars.console.width - 3)}")
        done = (progress.epoch - 1) * progress.images + progress.seen
        if label not in self.tasks:
            self.tasks[label] = self.bars.add_task("", total=None, percent=True)
        name = f"{label}: epoch {min(progress.epoch + ended, progress.epochs)} of {progress.epochs}"
        total = progress.epochs * progress.images
        self.bars.update(self.tasks[label], completed=done, total=total, description=name)
        if ended and progress.epoch == progress.epochs:
            self.bars.remove_task(self.tasks.pop(label))

    def say(self, line: str) -> None:
        # A training that stopped early has no last epoch: its bar goes with the next line that is said.
        for label in [label for label in self.tasks if label == self.training]:
            self.bars.remove_task(self.tasks.pop(label))
        self.tell(line)

    @contextmanager
    def busy(self, label: str) -> Iterator[None]:
        began, task = time.monotonic(), self.bars.add_task(label, total=None)
        try:
            yield
        finally:
            self.bars.remove_task(task)
        took = time.monotonic() - began
        self.say(f"{label} ({duration(took)})" if took > LONG_S else label)


@contextmanager
def talking() -> Iterator[Progress]:
    """A Progress that shows bars with time left where stderr is a terminal, and plain lines where it is not."""
    if not sys.stderr.isatty():
        yield Progress(say=say, stored=_sparse(), trained=_epoch_lines(), step=_sparse_steps())
        return
    with progress_bars() as (bars, tell):
        shown = _Shown(bars, tell)
        busy: Callable[[str], AbstractContextManager[None]] = shown.busy
        yield Progress(say=shown.say, stored=shown.stored, trained=shown.trained, step=shown.step, busy=busy)


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
    last = [time.monotonic()]

    def step(label: str, done: int, total: int) -> None:
        if done < total and time.monotonic() - last[0] > STEP_S:
            last[0] = time.monotonic()
            say(f"  {label}: {done:,} of {total:,}")

    return step


def _epoch_lines() -> Callable[[str, TrainingProgress], None]:
    """Each training by its name, and below it a line per epoch."""
    pace, last = Pace(), [""]

    def trained(label: str, progress: TrainingProgress) -> None:
        time_left = pace.seconds_left(label, progress)
        if progress.val_loss is None:
            return
        if label != last[0]:
            last[0] = label
            say(label)
        say(f"  {epoch_line(progress, time_left)}")

    return trained
