"""Progress of long work: what is reported while a store is built and networks are trained, and an epoch in one line."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

__all__ = ["Pace", "Progress", "SlideProgress", "SlidesProgress", "TrainingProgress", "duration", "epoch_line"]


@dataclass(frozen=True)
class TrainingProgress:
    """Where a training stands: after each step, and after each epoch (then with the validation's numbers).

    rows: what is counted and timed: "images", or "bags" of features.
    """

    epoch: int
    epochs: int
    seen: int
    images: int
    loss: float
    accuracy: float
    images_per_s: float
    val_loss: float | None = None
    val_accuracy: float | None = None
    rows: str = "images"

    @property
    def share(self) -> float:
        """Share of all epochs that is done, in [0, 1]."""
        return (self.epoch - 1 + self.seen / max(self.images, 1)) / max(self.epochs, 1)


@dataclass(frozen=True)
class Progress:
    """Where a run tells what it does: lines, and how far the store, each training and other steps have come.

    busy: names work of unknown length while it lasts; the line of its label is said, too.
    """

    say: Callable[[str], None] = lambda line: None
    stored: Callable[[int, int], None] | None = None
    trained: Callable[[str, TrainingProgress], None] | None = None
    step: Callable[[str, int, int], None] | None = None
    busy: Callable[[str], AbstractContextManager[None]] | None = None

    def working_on(self, label: str) -> AbstractContextManager[None]:
        """A context in which this is being done.

        >>> with Progress(say=print).working_on("report: figures"):
        ...     pass
        report: figures
        """
        if self.busy is not None:
            return self.busy(label)
        self.say(label)
        return nullcontext()


@dataclass
class Pace:
    """How long a training can still take, by the pace since it was first seen: a resumed one starts in the middle."""

    clock: Callable[[], float] = time.monotonic
    _first: dict[str, tuple[float, float]] = field(default_factory=dict)

    def seconds_left(self, label: str, progress: TrainingProgress) -> float | None:
        """Seconds until the last epoch, if no early stop comes before; None where nothing is known yet."""
        began, share = self._first.setdefault(label, (self.clock(), progress.share))
        done = progress.share - share
        return None if done <= 0 else (self.clock() - began) / done * (1 - progress.share)


def duration(seconds: float) -> str:
    """A span of time in the one unit that suits it.

    >>> duration(8.2), duration(95), duration(5400)
    ('8 s', '2 min', '1.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def epoch_line(progress: TrainingProgress, seconds_left: float | None, width: int | None = None) -> str:
    """An epoch in one line: losses, accuracies, speed and the time left; as long as the width allows.

    Args:
        progress: after the epoch, with the validation's numbers.
        seconds_left: see Pace; None leaves it out.
        width: columns at most; None for the longest form.

    >>> epoch = TrainingProgress(3, 28, 64, 64, 0.61, 0.7, 812.0, 0.64, 0.65)
    >>> epoch_line(epoch, None)
    'epoch  3 of 28: loss 0.6100, accuracy 0.700; validation loss 0.6400, accuracy 0.650; 812 images/s'
    >>> epoch_line(epoch, 95, 78)
    'epoch  3/28  loss 0.610 val 0.640  acc 0.700 val 0.650  812 img/s  ≤ 2 min'
    """
    number = f"{progress.epoch:{len(str(progress.epochs))}}"
    loss, accuracy = progress.loss, progress.accuracy
    val_loss = math.nan if progress.val_loss is None else progress.val_loss
    val_accuracy = math.nan if progress.val_accuracy is None else progress.val_accuracy
    rate = progress.images_per_s
    time_left = "" if seconds_left is None or progress.epoch >= progress.epochs else duration(seconds_left)
    short_rows = {"images": "img"}.get(progress.rows, progress.rows)
    short = [f"epoch {number}/{progress.epochs}", f"loss {loss:.3f} val {val_loss:.3f}"]
    short += [
        f"acc {accuracy:.3f} val {val_accuracy:.3f}",
        f"{rate:,.0f} {short_rows}/s",
        f"≤ {time_left}" if time_left else "",
    ]
    forms: Sequence[str] = (
        f"epoch {number} of {progress.epochs}: loss {loss:.4f}, accuracy {accuracy:.3f}; validation loss "
        f"{val_loss:.4f}, accuracy {val_accuracy:.3f}; {rate:,.0f} {progress.rows}/s"
        + (f"; at most {time_left} left" if time_left else ""),
        f"epoch {number} of {progress.epochs}  loss {loss:.3f} val {val_loss:.3f}  accuracy {accuracy:.3f} val "
        f"{val_accuracy:.3f}  {rate:,.0f} {progress.rows}/s" + (f"  ≤ {time_left} left" if time_left else ""),
        "  ".join(filter(None, short)),
        "  ".join(filter(None, [*short[:3], short[4]])),
        "  ".join(short[:2]),
    )
    return next((form for form in forms if width is None or len(form) <= width), forms[-1])


@dataclass(frozen=True)
class SlideProgress:
    """How far a run has come, told after each batch.

    slide, number, slides: the slide at work, which it is (from 1), and of how many
    done, tiles: of this slide
    all_done, all_tiles: of all slides that are read in this run
    """

    slide: str
    number: int
    slides: int
    done: int
    tiles: int
    all_done: int
    all_tiles: int


@dataclass(frozen=True)
class SlidesProgress:
    """Where a run tells what it does: lines, how many slides are planned, and how far it has come."""

    say: Callable[[str], None] = lambda line: None
    planned: Callable[[int, int], None] = lambda done, total: None
    progress: Callable[[SlideProgress], None] = lambda progress: None
