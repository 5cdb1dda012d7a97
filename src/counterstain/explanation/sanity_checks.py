"""Whether a map can be trusted: against randomised weights, by removing what it marks, and under quarter turns."""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from counterstain.evaluation.intervals import limits, variance_parts
from counterstain.evaluation.proportions import clopper_pearson
from counterstain.explanation.saliency import BATCH, Explainer, blur, cell_edges, log_odds, sensitivity

__all__ = [
    "Mean",
    "Trial",
    "check_curves",
    "check_random_weights",
    "check_reach",
    "check_turns",
    "clustered_mean",
    "correlation",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CURVE_STEPS = 16  # shares of the tile at which the curves are read
DRAWS = 2  # of random weights, and of random orders
CONFIDENCE = 0.95  # of the intervals of means
MOST_ALIKE = 0.5  # rank correlation up to which a map of random weights counts as another map


@dataclass(frozen=True)
class Trial:
    """The tiles that maps are tried on: (N, tile_px, tile_px, 3) uint8, the class explained, and whose they are."""

    tiles: NDArray[np.uint8]
    target: Integers
    patient: tuple[str, ...]


@dataclass(frozen=True)
class Mean:
    """A mean over tiles with its interval over patients; NaN limits where the patients are too few."""

    value: float
    low: float
    high: float
    tiles: int
    units: int

    def record(self) -> dict[str, object]:
        """As JSON."""
        return asdict(self)


def clustered_mean(values: Floats, patient: Sequence[str], *, share: bool = False) -> Mean:
    """The mean of one number per tile, with a 95 % t-interval from leaving out each patient in turn.

    Args:
        values: (N,) of the tiles.
        patient: (N,) whose they are.
        share: whether the numbers are shares or hits of 0 or 1; their interval is made on the logit scale and stays in
            [0, 1]. Where all are 0, or all 1, it is the exact one of as many hits as there are patients.
    """
    from scipy.special import stdtrit

    names, code = np.unique(np.array(patient), return_inverse=True)
    units, value = len(names), float(values.mean())
    if share and units > 1 and value in (0.0, 1.0):
        low, high = clopper_pearson(units * value, units, confidence=CONFIDENCE)
        return Mean(value, low, high, len(values), units)
    if units < 2:
        return Mean(value, float("nan"), float("nan"), len(values), units)
    sums, counts = np.bincount(code, weights=values), np.bincount(code)
    left_out = (sums.sum() - sums) / (counts.sum() - counts)
    variance, _ = variance_parts(np.array([value]), left_out[None])
    half = float(stdtrit(units - 1, 0.5 + CONFIDENCE / 2)) * variance**0.5
    low, high = limits(value, half, "accuracy") if share else (value - half, value + half)
    return Mean(value, low, high, len(values), units)


def correlation(a: Floats, b: Floats, *, ranks: bool = False) -> Floats:
    """(N,) correlation of each pair of maps (N, h, w), of their cells' ranks where asked for.

    0 where one of the two is the same everywhere: it says nothing that the other could agree with.
    """
    from scipy.stats import rankdata

    flat = [maps.reshape(len(maps), -1) for maps in (a, b)]
    if ranks:
        flat = [rankdata(rows, axis=1) for rows in flat]
    left, right = (rows - rows.mean(axis=1, keepdims=True) for rows in flat)
    below = np.sqrt((left**2).sum(axis=1) * (right**2).sum(axis=1))
    out: Floats = np.divide((left * right).sum(axis=1), below, out=np.zeros(len(left)), where=below > 1e-30)
    return out


# --------------------------------------------------------------------------------------------------------------- reach


def check_reach(explainer: Explainer, trial: Trial) -> dict[str, object]:
    """The part of the tile that the score depends on at all: what lies outside can never be marked, nor diagnosed.

    Convolutions with strides and poolings that do not divide a tile evenly leave out its right and lower margin.

    Returns:
        The rectangle in px (left, top, right, bottom; the latter two not included) around all pixels that have moved
        the score of any trial tile, and its share of the tile.
    """
    network, side = explainer.predictor.network, trial.tiles.shape[1]
    network.eval()
    touched = np.zeros((side, side), dtype=bool)
    for start in range(0, len(trial.tiles), BATCH):
        piece = slice(start, start + BATCH)
        inputs = explainer.predictor.to_tensor(trial.tiles[piece]).requires_grad_()
        with torch.enable_grad():
            score = log_odds(network(inputs), torch.from_numpy(trial.target[piece]).to(inputs.device)).sum()
            (gradient,) = torch.autograd.grad(score, inputs)
        touched |= (gradient != 0).any(dim=1).any(dim=0).cpu().numpy()
    if not touched.any():
        return {"box_px": [0, 0, 0, 0], "share": 0.0}
    rows, columns = np.flatnonzero(touched.any(axis=1)), np.flatnonzero(touched.any(axis=0))
    left, top, right, bottom = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    return {"box_px": [left, top, right, bottom], "share": (right - left) * (bottom - top) / side**2}


# ---------------------------------------------------------------------------------------------------- random weights


def check_random_weights(explainer: Explainer, trial: Trial, maps: Floats, *, seed: int) -> dict[str, object]:
    """Similarity of the maps after weights are randomised: of the last layer, of the later half, of all of them.

    A map that stays as it was does not depend on what the network has learnt: it would be as convincing for a network
    that knows nothing.

    Args:
        explainer: of the network as it was trained.
        trial: what to try on.
        maps: (N, side, side) of the trial's tiles.
        seed: of the drawing.

    Returns:
        For each stage the mean rank correlation with its interval, and whether it passes: for all weights, the
        interval's upper end must be below MOST_ALIKE.

    Source: Adebayo et al. 2018, NeurIPS, arXiv:1810.03292.
    """
    network = explainer.predictor.network
    names = [name for name, module in network.named_modules() if list(module.parameters(recurse=False))]
    stages = {"the last layer": names[-1:], "the later half": names[len(names) // 2 :], "all layers": names}
    similarity = {stage: np.zeros((DRAWS, len(maps))) for stage in stages}
    blank = dict.fromkeys(stages, 0)
    for draw in range(DRAWS):
        for stage, chosen in stages.items():
            redrawn = draw_weights(network, chosen, seed=seed + draw)
            randomised = replace(explainer, predictor=replace(explainer.predictor, network=redrawn))
            randomised_maps = sensitivity(randomised, trial.tiles, trial.target)
            similarity[stage][draw] = correlation(maps, randomised_maps, ranks=True)
            blank[stage] += int((np.ptp(randomised_maps, axis=(1, 2)) == 0).sum())
    records = [
        {"layers": stage, "similarity": (mean := clustered_mean(values.mean(axis=0), trial.patient)).record(),
         "blank_maps": blank[stage], "maps": DRAWS * len(maps),
         "passed": bool(np.isfinite(mean.high) and mean.high < MOST_ALIKE)}
        for stage, values in similarity.items()
    ]  # fmt: skip
    return {"measure": "rank correlation", "most": MOST_ALIKE, "draws": DRAWS, "stages": records,
            "passed": records[-1]["passed"]}  # fmt: skip


def draw_weights(network: nn.Module, names: Sequence[str], *, seed: int) -> nn.Module:
    """A copy of the network whose named modules have weights as they were before any training.

    A module that knows how to draw its weights does so; loose parameters (tokens, positions, scales) are shuffled.
    """
    redrawn = copy.deepcopy(network)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for name in names:
            module = redrawn.get_submodule(name)
            draw = getattr(module, "reset_parameters", None)
            if callable(draw):
                draw()
                continue
            for parameter in module.parameters(recurse=False):
                order = torch.randperm(parameter.numel())
                parameter.copy_(parameter.flatten()[order.to(parameter.device)].view_as(parameter))
    return redrawn


# --------------------------------------------------------------------------------------------- insertion and deletion


def check_curves(explainer: Explainer, trial: Trial, maps: Floats, *, seed: int) -> dict[str, object]:
    """Insertion and deletion: the class's probability while cells appear on, or vanish into, the blurred tile.

    A map that marks what the score rests on makes the probability rise early when its highest cells are put back
    first, and fall early when they are taken away first. Two orders say what is early: a random one, and that of
    another patient's map, which is as smooth and as centred as the map itself but knows nothing of the tile.

    Returns:
        The mean curves, and the gain in area over each other order with its interval: positive is better than it.

    Source: Petsiuk et al. 2018, BMVC, arXiv:1806.07421; there against a blurred tile for insertion alone.
    """
    rng = np.random.default_rng([seed, 1])
    cells = maps[0].size
    borrowed = _tiles_of_next_patient(trial.patient)
    ranked = [_cells_by_value(map_, rng) for map_ in maps]
    orders = {
        "map": [ranked],
        "random": [[rng.permutation(cells) for _ in maps] for _ in range(DRAWS)],
        "another patient's map": [[ranked[row] for row in borrowed]],
    }
    baseline = blur(trial.tiles)
    curves = {
        kind: {
            name: np.mean([_curve(explainer, trial, baseline, order, kind) for order in tried], axis=0)
            for name, tried in orders.items()
        }
        for kind in ("insertion", "deletion")
    }
    record: dict[str, Any] = {"share": np.linspace(0, 1, CURVE_STEPS + 1), "kinds": []}
    for kind, by_order in curves.items():
        area = {name: np.trapezoid(values, dx=1 / CURVE_STEPS, axis=1) for name, values in by_order.items()}
        sign = 1 if kind == "insertion" else -1
        gains = {
            name: clustered_mean(sign * (area["map"] - area[name]), trial.patient)
            for name in by_order
            if name != "map"
        }  # fmt: skip
        record["kinds"].append({
            "kind": kind,
            "curves": {name: values.mean(axis=0) for name, values in by_order.items()},
            "area": {name: float(values.mean()) for name, values in area.items()},
            "gain": {name: gain.record() for name, gain in gains.items()},
            "passed": bool(gains["random"].low > 0),
        })  # fmt: skip
    return record | {"passed": all(entry["passed"] for entry in record["kinds"])}


def _cells_by_value(map_: Floats, rng: np.random.Generator) -> Integers:
    """The cells from the highest to the lowest, equals in random order."""
    shuffled = rng.permutation(map_.size)
    order: Integers = shuffled[np.argsort(-map_.ravel()[shuffled], kind="stable")]
    return order


def _tiles_of_next_patient(patient: Sequence[str]) -> list[int]:
    """For each tile the next tile of another patient; of one patient alone, the next tile."""
    count = len(patient)
    return [
        next(
            (row % count for row in range(tile + 1, tile + count) if patient[row % count] != patient[tile]),
            (tile + 1) % count,
        )
        for tile in range(count)
    ]


def _curve(
    explainer: Explainer, trial: Trial, baseline: NDArray[np.uint8], orders: Sequence[Integers], kind: str
) -> Floats:
    """(N, CURVE_STEPS + 1) probability of each tile's class as the first cells of its order change sides."""
    side = explainer.side
    edges = cell_edges(trial.tiles.shape[1], side)
    sizes = np.diff(edges)
    counts = np.rint(np.linspace(0, side**2, CURVE_STEPS + 1)).astype(np.int64)
    out = np.empty((len(orders), CURVE_STEPS + 1))
    for row, order in enumerate(orders):
        rank = np.empty(side**2, dtype=np.int64)
        rank[order] = np.arange(side**2)
        place = np.repeat(np.repeat(rank.reshape(side, side), sizes, axis=0), sizes, axis=1)
        first = place[None] < counts[:, None, None]
        shown = first if kind == "insertion" else ~first
        tiles = np.where(shown[..., None], trial.tiles[row], baseline[row])
        out[row] = explainer.predictor.probabilities(tiles)[:, trial.target[row]]
    return out


# ------------------------------------------------------------------------------------------------------- quarter turns


def check_turns(explainer: Explainer, trial: Trial, maps: Floats) -> dict[str, object]:
    """How well the maps of turned tiles, turned back, agree with those of the tiles; tissue has no upright side.

    Returns:
        The mean correlation over the three quarter turns with its interval, that of each turn, and by how much the
        class's probability moves.
    """
    before = explainer.predictor.probabilities(trial.tiles)[np.arange(len(maps)), trial.target]
    agreed, moved = [], []
    for turns in (1, 2, 3):
        turned = np.ascontiguousarray(np.rot90(trial.tiles, turns, axes=(1, 2)))
        turned_back = np.rot90(sensitivity(explainer, turned, trial.target), -turns, axes=(1, 2))
        agreed.append(correlation(maps, turned_back))
        after = explainer.predictor.probabilities(turned)[np.arange(len(maps)), trial.target]
        moved.append(np.abs(after - before))
    return {
        "correlation": clustered_mean(np.mean(agreed, axis=0), trial.patient).record(),
        "by_turn": [float(values.mean()) for values in agreed],
        "probability_moved": float(np.mean(moved)),
    }
