"""The learning-rate range test: the loss while the rate rises from step to step, and the rate that follows from it."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.images.augmentation import Augmentation
from counterstain.images.store import Store
from counterstain.learning.config import TrainingConfig
from counterstain.learning.device import prepare_device
from counterstain.learning.distributed import ALONE
from counterstain.learning.loader import Batch, Examples, TileLoader, batches, feed
from counterstain.learning.networks import seen_side
from counterstain.learning.objective import PLAIN, Objective
from counterstain.learning.optimiser import set_phase
from counterstain.learning.stain_pipeline import UNSTAINED, StainPipeline
from counterstain.learning.training_state import start_state
from counterstain.learning.training_step import take_step

__all__ = ["HIGHEST", "LOWEST", "RateCurve", "loss_by_rate", "smooth", "suggest_rate"]

LOWEST, HIGHEST = 1e-5, 1.0
KEEP = 0.9  # share of the running mean that the loss of one more batch leaves
DIVERGED = 4.0  # times the smallest loss, at which the test ends


@dataclass(frozen=True)
class RateCurve:
    """What the test measured.

    rate: (S,) learning rate of each step; loss: (S,) mean loss of its batch; smoothed: (S,) running mean of it.
    suggested: a learning rate; None where the loss never fell clearly.
    """

    rate: NDArray[np.float64]
    loss: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    suggested: float | None


def loss_by_rate(
    store: Store,
    training: Examples,
    *,
    classes: int,
    settings: TrainingConfig,
    augmentation: Augmentation,
    seed: int,
    steps: int,
    staining: StainPipeline = UNSTAINED,
    objective: Objective = PLAIN,
    progress: Callable[[int, int], None] | None = None,
) -> RateCurve:
    """Train from the first weights with a rate that rises exponentially from 1e-5 to 1, and watch the loss.

    The batches, their order and augmentation are those of a training with this seed. The test ends early once the
    smoothed loss is four times its minimum.

    Args:
        store, training, classes, settings, augmentation, staining, objective: as in loop.train; the learning rate,
            schedule and epochs of the settings are not used.
        seed: of weights, order and augmentation.
        steps: from the lowest rate to the highest; at least 20.
        progress: called with steps done and in all.

    Raises:
        InputError: If there are too few steps, or the arm trains no network by gradient steps.

    Source:
        Smith 2017, WACV, arXiv:1506.01186 (section 3.3).
    """
    if steps < 20:
        raise InputError(f"steps is {steps}; a curve needs 20 or more")
    machine = prepare_device(
        device=settings.device, precision=settings.precision, threads=settings.threads, network=settings.network
    )
    state = start_state(settings, machine, classes=classes, tile_px=int(store.tiles.shape[1]), seed=seed)
    side = seen_side(state.network)
    source = feed(store, training, settings, augmentation, machine, ALONE, staining=staining, seed=seed, side=side)
    set_phase(state.network, settings, 1)
    state.network.train()
    ratios = [group["lr"] / settings.learning_rate for group in state.optimiser.param_groups]
    rates = np.geomspace(LOWEST, HIGHEST, steps)
    losses: list[float] = []
    for number, (rate, batch) in enumerate(zip(rates, _endless(source), strict=False), start=1):
        for group, ratio in zip(state.optimiser.param_groups, ratios, strict=True):
            group["lr"] = rate * ratio
        total, _ = take_step(state, batch.tiles, batch.label, settings, machine, objective=objective, mixed=batch.mixed)
        loss = float(total) / batch.size
        if not math.isfinite(loss):
            break
        losses.append(loss)
        if progress is not None:
            progress(number, steps)
        smoothed = smooth(np.array(losses))
        if smoothed[-1] > DIVERGED * smoothed.min():
            break
    loss_array = np.array(losses)
    smoothed = smooth(loss_array)
    rates = rates[: len(losses)]
    return RateCurve(rates, loss_array, smoothed, suggest_rate(rates, smoothed))


def _endless(source: TileLoader) -> Iterator[Batch]:
    epoch = 1
    while True:
        yield from batches(source, epoch=epoch)
        epoch += 1


def smooth(loss: NDArray[np.float64]) -> NDArray[np.float64]:
    """(S,) running mean with weights that fall by 0.9 with each step back, corrected for its start (as Adam's).

    Example:
        >>> smooth(np.array([1.0, 2.0])).round(4).tolist()
        [1.0, 1.5263]
    """
    out = np.empty(len(loss))
    mean = 0.0
    for step, value in enumerate(loss.tolist(), start=1):
        mean = KEEP * mean + (1 - KEEP) * value
        out[step - 1] = mean / (1 - KEEP**step)
    return out


def suggest_rate(rate: NDArray[np.float64], smoothed: NDArray[np.float64]) -> float | None:
    """A tenth of the rate at which the smoothed loss is smallest; None where it fell by less than a twentieth.

    At the minimum the loss is about to rise, so the rate there is too high; a tenth of it is a common rule of thumb
    (L. N. Smith & N. Topin 2018, arXiv:1708.07120, use the maximum itself for the peak of a cycle).

    Args:
        rate: (S,) rising; smoothed: (S,) loss.

    Example:
        >>> suggest_rate(np.array([1e-4, 1e-3, 1e-2, 1e-1]), np.array([0.7, 0.6, 0.4, 2.0]))
        0.001
    """
    if not len(smoothed):
        return None
    best = int(np.argmin(smoothed))
    if smoothed[best] > 0.95 * smoothed[0]:
        return None
    return float(rate[best]) / 10
