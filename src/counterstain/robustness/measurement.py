"""Every prediction that a card needs, in one pass over the tiles: each batch is read once, degraded and predicted."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from counterstain.cohort.cohort import Cohort
from counterstain.images.store import Store, read_batch
from counterstain.learning.build import given_to
from counterstain.learning.predictor import Predictor
from counterstain.robustness.degrade import lab_sums, mean_and_spread
from counterstain.robustness.trials import Setting, Step
from counterstain.system import usable_cores
from counterstain.unfinished import Unfinished

__all__ = ["choose_images", "measure", "penultimate", "site_setting"]

Tiles = NDArray[np.uint8]
Floats = NDArray[np.float64]

BATCH = 64
BLOCK = 2 * BATCH  # tiles whose answers are kept together: what a killed process has lost at most
MOST_MAKERS = 8  # each holds a batch of tiles
SITE_TILES = 200  # of each site, for its mean and spread


def penultimate(predictor: Predictor, store: Store, rows: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """(N, D) what goes into the last linear layer, with one output per class; None where the network has no such layer.

    Args:
        predictor: whose network is run by torch, whatever runs its predictions.
        store: of the tiles.
        rows: (N,) rows of the store.
    """
    classes = len(predictor.bundle.classes)
    layers = predictor.network.modules()
    heads = [layer for layer in layers if isinstance(layer, nn.Linear) and layer.out_features == classes]
    if not heads:
        return None
    parts: list[NDArray[np.float32]] = []
    with torch.inference_mode():
        for start in range(0, len(rows), BATCH):
            tiles = predictor.to_tensor(read_batch(store, rows[start : start + BATCH]))
            parts.append(given_to(heads[-1], predictor.network, tiles).float().cpu().numpy())
    features = np.concatenate(parts) if parts else np.empty((0, 0), np.float32)
    return features if features.ndim == 2 and len(features) == len(rows) else None


def choose_images(cohort: Cohort, images: int | None) -> NDArray[np.int64]:
    """Rows of at most so many images, ascending: every patient gives one before any gives two, and so on.

    Which ones follows from their names alone, so that another order of the rows chooses the same.
    """
    if images is None or images >= len(cohort):
        return np.arange(len(cohort))

    def lot(name: str) -> bytes:
        return hashlib.sha256(name.encode()).digest()

    by_lot = sorted(range(len(cohort)), key=lambda row: lot(cohort.image[row]))
    turn: dict[str, int] = {}
    place = []
    patients = cohort.patient
    for row in by_lot:
        patient = patients[row]
        place.append((turn.setdefault(patient, 0), lot(patient), row))
        turn[patient] += 1
    return np.array(sorted(row for _, _, row in sorted(place)[:images]), dtype=np.int64)


def site_setting(store: Store, rows: NDArray[np.int64], site: Sequence[str], mpp: Floats | None) -> Setting:
    """What the trials must know of the tiles: µm/px, and of two sites or more the colours of its own and of another.

    A site's mean and spread are over all pixels of up to 200 of its tiles, evenly spaced. The other sites take turns:
    the tiles of a site are moved to the next one, the one after it, and so on.

    Args:
        store: of the tiles.
        rows: (N,) rows of the store.
        site: (N,) names; "" where unknown, and then no colours are transferred.
        mpp: (N, 2) or None.
    """
    names = sorted(set(site))
    if len(names) < 2 or "" in names:
        return Setting(mpp)
    code = np.array([names.index(name) for name in site])
    moments = np.stack([_site_moments(store, rows[code == number]) for number in range(len(names))])
    target = np.empty_like(code)
    for number in range(len(names)):
        tiles = np.flatnonzero(code == number)
        target[tiles] = (number + 1 + np.arange(len(tiles)) % (len(names) - 1)) % len(names)
    return Setting(mpp, moments[code], moments[target])


def _site_moments(store: Store, rows: NDArray[np.int64]) -> Floats:
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), SITE_TILES)).round().astype(np.int64))]
    sums = [lab_sums(read_batch(store, chosen[at : at + BATCH])).sum(axis=0) for at in range(0, len(chosen), BATCH)]
    return mean_and_spread(np.sum(sums, axis=0))


def measure(
    probabilities: Callable[[Tiles], Floats],
    store: Store,
    rows: NDArray[np.int64],
    steps: Sequence[Step],
    setting: Setting,
    *,
    unfinished: Unfinished | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Floats:
    """(1 + S, N, C) probabilities of the clean tiles and of every step.

    Other threads degrade the coming batches while one is predicted; only a few are ever in memory.

    Args:
        probabilities: (B, tile_px, tile_px, 3) uint8 to (B, C) float64.
        store: of the tiles.
        rows: (N,) rows of the store.
        steps: S of them.
        setting: of the N tiles.
        unfinished: where the answers so far are, and are put; None to keep none.
        progress: called with (predictions done, predictions in all).
    """
    ways, blocks = 1 + len(steps), []
    for start in range(0, len(rows), BLOCK):
        part = slice(start, min(start + BLOCK, len(rows)))
        before = start * ways

        def tell(done: int, before: int = before) -> None:
            if progress is not None:
                progress(before + done, len(rows) * ways)

        def block(part: slice = part, tell: Callable[[int], None] = tell) -> Floats:
            return _block(probabilities, store, rows[part], steps, setting.rows(part), tell)

        blocks.append(block() if unfinished is None else unfinished.array(f"probabilities-{start:09d}", block))
        tell((part.stop - start) * ways)
    return np.concatenate(blocks, axis=1)


def _block(
    probabilities: Callable[[Tiles], Floats],
    store: Store,
    rows: NDArray[np.int64],
    steps: Sequence[Step],
    setting: Setting,
    tell: Callable[[int], None],
) -> Floats:
    """(1 + S, n, C) of a few batches of tiles."""
    by_step: list[list[Floats]] = [[] for _ in range(1 + len(steps))]
    done = 0
    for number, tiles in _made_ahead(_batches(store, rows, steps, setting)):
        by_step[number].append(probabilities(tiles))
        done += len(tiles)
        tell(done)
    return np.stack([np.concatenate(parts) for parts in by_step])


def _batches(
    store: Store, rows: NDArray[np.int64], steps: Sequence[Step], setting: Setting
) -> Iterator[tuple[int, Callable[[], Tiles]]]:
    """(0 for clean or 1 + step, what makes the tiles), batch by batch; a batch is read once."""
    for start in range(0, len(rows), BATCH):
        tiles = read_batch(store, rows[start : start + BATCH])
        setting_of_batch = setting.rows(slice(start, start + BATCH))
        yield 0, partial(np.asarray, tiles)
        for number, step in enumerate(steps, 1):
            yield number, partial(step.apply, tiles, setting_of_batch)


def _made_ahead(batches: Iterator[tuple[int, Callable[[], Tiles]]]) -> Iterator[tuple[int, Tiles]]:
    """The same made, in their order, by as many threads as there are cores beside this one's."""
    workers = min(max(usable_cores() - 1, 1), MOST_MAKERS)
    with ThreadPoolExecutor(workers, "degrade") as makers:
        coming: deque[tuple[int, Future[Tiles]]] = deque()
        for number, make in batches:
            coming.append((number, makers.submit(make)))
            if len(coming) > workers:
                first, future = coming.popleft()
                yield first, future.result()
        for last, future in coming:
            yield last, future.result()
