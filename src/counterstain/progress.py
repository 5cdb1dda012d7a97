"""Progress of long work: what is reported while a store is built and networks are trained."""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Progress", "TrainingProgress"]


@dataclass(frozen=True)
class TrainingProgress:
    """Where a training stands: after each step, and after each epoch (then with the validation's numbers)."""

    epoch: int
    epochs: int
    seen: int
    images: int
    loss: float
    accuracy: float
    images_per_s: float
    val_loss: float | None = None
    val_accuracy: float | None = None


@dataclass(frozen=True)
class Progress:
    """Where a run tells what it does: lines, and how far the store, each training and other steps have come."""

    say: Callable[[str], None] = lambda line: None
    stored: Callable[[int, int], None] | None = None
    trained: Callable[[str, TrainingProgress], None] | None = None
    step: Callable[[str, int, int], None] | None = None
