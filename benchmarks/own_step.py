"""This project's training step by itself, as its loop takes it: the one place here that reaches into the loop."""

import time
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from torch.utils.flop_counter import FlopCounterMode

from counterstain.learning import training_state, training_step
from counterstain.learning.config import TrainingConfig
from counterstain.learning.device import Device, prepare_device
from counterstain.learning.networks import TileNetwork

__all__ = ["gflop_of", "make_step", "rate_of"]


def make_step(precision: str, *, tile_px: int, batch: int, whole: bool = False) -> tuple[Callable[[int], None], Device]:
    """A function that takes the n-th step of the given network on batches held in memory, and the machine it is on.

    whole: of every tile all that the network is said to do, also what its answer does not depend on.
    """
    settings = TrainingConfig(batch=batch, precision=precision, device="cpu")
    machine = prepare_device(device="cpu", precision=precision, network=settings.network)
    state = training_state.start_state(settings, machine, classes=2, tile_px=tile_px, seed=0)
    state.network.train()
    cast(TileNetwork, state.network).whole = whole
    rng = np.random.default_rng(0)
    batches: list[Any] = [
        (rng.integers(0, 256, (batch, tile_px, tile_px, 3), dtype=np.uint8), rng.integers(0, 2, batch))
        for _ in range(4)
    ]

    def step(number: int) -> None:
        float(training_step.take_step(state, *batches[number % 4], settings, machine)[0])

    return step, machine


def gflop_of(step: Callable[[int], None]) -> float:
    """Multiplications and additions of one step's convolutions and dense layers, as PyTorch counts them, in 10⁹."""
    with FlopCounterMode(display=False) as counter:
        step(0)
    return float(counter.get_total_flops()) / 1e9


def rate_of(step: Callable[[int], None], *, steps: int, batch: int) -> float:
    """Images per second over so many steps."""
    began = time.perf_counter()
    for number in range(steps):
        step(number)
    return steps * batch / (time.perf_counter() - began)
