"""The pointing game: a quarter of one class's tile in a tile of another; does the map's highest cell lie in it?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterstain.evaluation.metrics import predicted_class
from counterstain.evaluation.predictions import Predictions
from counterstain.explanation.saliency import Explainer, sensitivity
from counterstain.explanation.sanity_checks import clustered_mean
from counterstain.explanation.selection import spread

__all__ = ["Composites", "compose", "plan_composites", "play"]

Integers = NDArray[np.int64]
QUARTERS = ((0, 0), (0, 1), (1, 0), (1, 1))  # (row, column) of a quarter, from the top left


@dataclass(frozen=True)
class Composites:
    """Which tiles make which composites; each of length N.

    ground, guest, stand_in: rows of the table: the tile that is covered in part, the tile of the target class whose
        quarter covers it, and a tile of the ground's own class whose quarter covers it in the control.
    quarter: index into QUARTERS; target: class index of the guest.
    """

    ground: Integers
    guest: Integers
    stand_in: Integers
    quarter: Integers
    target: Integers


def plan_composites(table: Predictions, *, count: int, seed: int) -> Composites | None:
    """Composites of tiles that the model gets right, guests and grounds of different patients.

    Of two classes the target is the positive one: what makes a tile negative need not be anywhere. Of more, every
    class is the target in turn. Every quarter of the tile is used as often as every other.

    Returns:
        None where there are not enough tiles of two classes that are predicted right.
    """
    rng = np.random.default_rng([seed, 2])
    right = np.flatnonzero(predicted_class(table.prob) == table.label)
    shuffled = rng.permutation(right)
    classes = len(table.classes)
    pools = {
        label: spread(shuffled[table.label[shuffled] == label].tolist(), table.patient, count)
        for label in range(classes)
    }
    rows: list[tuple[int, int, int, int]] = []
    for number in range(count):
        target = 1 if classes == 2 else number % classes
        tiles = _composite_of(table, pools, target, number)
        if tiles is not None:
            rows.append((*tiles, target))
    if not rows:
        return None
    ground, guest, stand_in, targets = np.array(rows, dtype=np.int64).T
    quarter = rng.permutation(np.arange(len(rows)) % len(QUARTERS))
    return Composites(ground, guest, stand_in, quarter, targets)


def _composite_of(
    table: Predictions, pools: dict[int, list[int]], target: int, number: int
) -> tuple[int, int, int] | None:
    """Ground, guest and stand-in of one composite: guest and stand-in of other patients than the ground."""
    others = [label for label in pools if label != target and len(pools[label]) > 1]
    if not others or not pools[target]:
        return None
    guest = pools[target][number % len(pools[target])]
    grounds = pools[others[number % len(others)]]
    rotated = grounds[number % len(grounds) :] + grounds[: number % len(grounds)]
    ground = next((row for row in rotated if table.patient[row] != table.patient[guest]), None)
    if ground is None:
        return None
    stand_in = next((row for row in rotated if table.patient[row] != table.patient[ground]), None)
    return None if stand_in is None else (ground, guest, stand_in)


def compose(ground: NDArray[np.uint8], guest: NDArray[np.uint8], quarter: Integers) -> NDArray[np.uint8]:
    """(N, H, W, 3) the grounds, each with one quarter taken from the guest's same place."""
    composite = ground.copy()
    half = ground.shape[1] // 2
    for row, index in enumerate(quarter):
        down, right = QUARTERS[index]
        window = (slice(half, None) if down else slice(half), slice(half, None) if right else slice(half))
        composite[row][window] = guest[row][window]
    return composite


def play(
    explainer: Explainer, table: Predictions, plan: Composites, tiles: dict[int, NDArray[np.uint8]]
) -> dict[str, object]:
    """How often the highest cell of the target's map lies in the quarter that holds the target's tissue.

    A cell lies in a quarter where at least half of it does, along both sides; the cells that do are the chance of a
    blind hit. The control covers the same quarter with tissue of the ground's own class: seams and another patient's
    stain are there as well, so that hits beyond chance in the control are not won by the class.

    Args:
        explainer: whose maps play.
        table: of the plan's rows.
        plan: of plan_composites.
        tiles: row of the table -> (tile_px, tile_px, 3) uint8.

    Source: Zhang et al. 2018, IJCV 126:1084, doi:10.1007/s11263-017-1059-x (pointing game); Böhle et al. 2021, CVPR,
        doi:10.1109/CVPR46437.2021.00990 (on a grid of tiles of different classes).
    """
    ground = np.stack([tiles[row] for row in plan.ground])
    inside = np.stack([in_quarter(explainer.side, index) for index in plan.quarter])
    record: dict[str, Any] = {
        "composites": len(plan.ground),
        "chance": float(inside.mean()),
        "targets": sorted({table.classes[index] for index in plan.target}),
    }
    for name, rows in (("hits", plan.guest), ("control_hits", plan.stand_in)):
        composites = compose(ground, np.stack([tiles[row] for row in rows]), plan.quarter)
        maps = sensitivity(explainer, composites, plan.target)
        hit, share = point(maps, inside)
        patients = [table.patient[row] for row in rows]
        record[name] = clustered_mean(hit, patients, share=True).record()
        record[name.replace("hits", "mass_inside")] = clustered_mean(share, patients, share=True).record()
        prob = explainer.predictor.probabilities(composites)[np.arange(len(composites)), plan.target]
        if name == "hits":
            by_quarter = [hit[plan.quarter == index] for index in range(len(QUARTERS))]
            record["by_quarter"] = [float(hits.mean()) if len(hits) else None for hits in by_quarter]
        record[name.replace("hits", "probability")] = float(prob.mean())
    return record


def in_quarter(side: int, quarter: int) -> NDArray[np.bool_]:
    """(side, side) which cells of a grid lie in a quarter of it by at least half of their height and width."""
    middle = (np.arange(side) + 0.5) / side
    halves = (middle <= 0.5, middle >= 0.5)
    down, right = QUARTERS[quarter]
    return np.outer(halves[down], halves[right])


def point(maps: NDArray[np.float64], inside: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N,) whether the highest cell of each map lies inside, and which share of the map's sum does; 0 of a blank map.

    Of equally high cells the share that lies inside counts, so that chance stays chance.
    """
    top = (maps == maps.max(axis=(1, 2), keepdims=True)) & (maps > 0)
    counts, sums = top.sum(axis=(1, 2)), maps.sum(axis=(1, 2))
    hit = np.divide((top & inside).sum(axis=(1, 2)), counts, out=np.zeros(len(maps)), where=counts > 0)
    share = np.divide((maps * inside).sum(axis=(1, 2)), sums, out=np.zeros(len(maps)), where=sums > 0)
    return hit, share
