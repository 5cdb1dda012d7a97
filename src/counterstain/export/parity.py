"""Whether every exported file answers as PyTorch does, on tiles that are the same every time, and how fast each is."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from counterstain.errors import GateError
from counterstain.export.graphs import Run

__all__ = ["BATCHES", "TOLERANCE", "Parity", "check_parity", "fixed_tiles"]

Tiles = NDArray[np.uint8]

BATCHES = (1, 3, 16)
TOLERANCE = 1e-4  # of a probability, in fp32
CLOCKED_S = 0.5  # seconds at most that each runtime is timed for


@dataclass(frozen=True)
class Parity:
    """How one runtime compares with PyTorch.

    runtime: its name; tiles: how many were compared, in batches of 1, 3 and 16; difference: largest of a probability.
    images_per_s: on this machine, in batches of 16.
    """

    runtime: str
    tiles: int
    difference: float
    images_per_s: float


def fixed_tiles(tile_px: int) -> Tiles:
    """(20, tile_px, tile_px, 3) uint8: smooth fields of stain colours, noise, black and white; the same every time."""
    rng = np.random.default_rng(20260101)
    # From glass through eosin to haematoxylin; a field's value picks the colour.
    stops = np.array([[244, 242, 243], [226, 150, 190], [120, 66, 140], [60, 30, 90]], dtype=np.float64)
    tiles = []
    for coarse in (3, 5, 9, 17) * 4:
        field = cv2.resize(rng.random((coarse, coarse)), (tile_px, tile_px), interpolation=cv2.INTER_CUBIC) * 3
        colours = [np.interp(field, np.arange(4), stops[:, channel]) for channel in range(3)]
        tiles.append(np.clip(np.rint(np.stack(colours, axis=-1)), 0, 255).astype(np.uint8))
    noise = rng.integers(0, 256, (2, tile_px, tile_px, 3), dtype=np.uint8)
    plain = [np.full((tile_px, tile_px, 3), grey, dtype=np.uint8) for grey in (0, 255)]
    return np.stack([*tiles, *noise, *plain])


def check_parity(
    runs: Mapping[str, Run],
    reference: Run,
    tiles: Tiles,
    *,
    ungated: tuple[str, ...] = (),
) -> list[Parity]:
    """Every runtime's largest difference from the reference, over the tiles in batches of 1, of 3 and of 16.

    Args:
        runs: by name, what runs each file; the reference itself is timed too, as "torch".
        reference: PyTorch.
        tiles: (N, H, W, 3) uint8, 16 or more.
        ungated: names whose difference is told and not judged, for they do not compute in fp32.

    Raises:
        GateError: If a probability differs by more than TOLERANCE, or is not finite.
    """
    expected = reference(tiles)
    results = []
    for name, run in {"torch": reference, **runs}.items():
        difference = 0.0
        for batch in BATCHES:
            # As many batches of each size as there are tiles for; what is left over is seen in the other sizes.
            for start in range(0, len(tiles) - batch + 1, batch):
                prob = run(tiles[start : start + batch])
                difference = max(difference, float(np.abs(prob - expected[start : start + batch]).max()))
                if not np.isfinite(prob).all():
                    difference = float("inf")
        if name not in ungated and not difference <= TOLERANCE:
            raise GateError(
                f"{name}: a probability differs from PyTorch's by {difference:.2g}, more than {TOLERANCE:g}; "
                "nothing was exported: leave this format out, or try --uncalibrated"
            )
        results.append(Parity(name, len(tiles), difference, _speed(run, tiles[: BATCHES[-1]])))
    return results


def _speed(run: Run, tiles: Tiles) -> float:
    """Images per second; the fastest of a few batches, since others may be at work on this machine."""
    best, until = float("inf"), time.perf_counter() + CLOCKED_S
    while True:
        began = time.perf_counter()
        run(tiles)
        best = min(best, time.perf_counter() - began)
        if time.perf_counter() > until:
            return len(tiles) / best
