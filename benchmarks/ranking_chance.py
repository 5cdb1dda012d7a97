"""Is the chance that a ranking is false what it says? True differences are drawn from the prior, studies from them.

    python benchmarks/ranking_chance.py --studies 4000

Each study draws the true accuracies of two arms (on the measure's scale; their difference has the SD `--sd`), then
patients of uneven size with a difficulty that both arms share, and calls for each image. Printed: the mean of the
stated chance, the share of rankings that are false, and both in three bins of the stated chance. `flat` is half of the
two-sided p, which stood here before.
"""

import argparse
import itertools
import json
import time

import numpy as np
from near_ceiling import Study, counted

from counterstain.evaluation.paired_difference import difference
from counterstain.evaluation.ranking import pair_chance

BINS = ((0.0, 0.05), (0.05, 0.2), (0.2, 1.0))
KEY = ("accuracy", None)


def draw_arms(
    rng: np.random.Generator, true: np.ndarray, patients: int, seeds: int, training: float
) -> tuple[Study, list[np.ndarray]]:
    """Images, and scores of arms with these true accuracies; patients are as hard for all arms, images are called."""
    size = np.clip(np.round(np.exp(rng.normal(np.log(12), 0.7, patients))), 2, 60).astype(int)
    code = np.repeat(np.arange(patients), size)
    label = (np.arange(patients) % 2)[code].astype(np.int64)
    hard = rng.normal(0, 0.5, patients)[code] + rng.normal(0, 0.8, len(code))
    arms = []
    for accuracy in true:
        own = []
        for _ in range(seeds):
            # The sum of the three normals has the SD 1.11, so that its share below the cut is the true accuracy.
            score = hard + rng.normal(0, 0.6, len(code))
            own_accuracy = np.clip(accuracy + rng.normal(0, training), 0.5, 0.995)
            cut = _normal_quantile(own_accuracy) * np.sqrt(0.5**2 + 0.8**2 + 0.6**2)
            called = np.where(score < cut, label, 1 - label)
            own.append(0.1 + 0.8 * called)
        arms.append(np.stack(own))
    return Study(code, label, arms[0], arms[1]), arms


def _normal_quantile(share: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(share))


def study(rng: np.random.Generator, *, patients: int, seeds: int, sd: float, training: float) -> dict[str, float]:
    """One study: the stated chance that the ranking is false, half of p, and whether it is."""
    true = np.clip(0.85 + rng.normal(0, sd / np.sqrt(2), 2), 0.55, 0.985)
    images, drawn = draw_arms(rng, true, patients, seeds, training)
    a, b = (counted(images, own, "accuracy") for own in drawn)
    found = difference(a, b, KEY)
    stated = pair_chance(a, b, found, KEY, alpha=0.05, prior_sd=sd)
    return {"stated": stated, "flat": found.p / 2, "false": float((found.difference > 0) != (true[0] > true[1]))}


def shares(stated: np.ndarray, false: np.ndarray) -> dict[str, object]:
    """Stated mean and share false, over all and in bins."""
    kept = np.isfinite(stated)
    stated, false = stated[kept], false[kept]
    cells: dict[str, object] = {"stated": float(stated.mean()), "false": float(false.mean())}
    cells["below 0.05"] = float((stated < 0.05).mean())
    for low, high in BINS:
        inside = (stated >= low) & (stated < high)
        if inside.any():
            cells[f"{low:g}-{high:g}"] = [float(stated[inside].mean()), float(false[inside].mean()), int(inside.sum())]
    return cells


def main() -> None:
    """Print one line for each cell, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--studies", type=int, default=4000)
    parser.add_argument("--sd", type=float, nargs="+", default=[0.02, 0.04, 0.08])
    parser.add_argument("--patients", type=int, nargs="+", default=[30, 100])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--training", type=float, default=0.0, help="SD of a training's accuracy around its arm's")
    given = parser.parse_args()
    rows, start = [], time.process_time()
    for sd, patients, seeds in itertools.product(given.sd, given.patients, given.seeds):
        rng = np.random.default_rng([7, patients, seeds, 2, int(1000 * sd)])
        training = given.training if seeds > 1 else 0.0
        found = [study(rng, patients=patients, seeds=seeds, sd=sd, training=training) for _ in range(given.studies)]
        column = {key: np.array([one[key] for one in found]) for key in found[0]}
        cells = {name: shares(column[name], column["false"]) for name in ("stated", "flat")}
        rows.append({"sd": sd, "patients": patients, "seeds": seeds, "training": training, **cells})
        text = "  ".join(f"{name}: {own['stated']:.3f} false {own['false']:.3f}" for name, own in cells.items())
        print(f"SD {sd:.2f} {patients:4} patients {seeds} seeds  {text}", flush=True)
    seconds = time.process_time() - start
    print(json.dumps({"studies": given.studies, "seconds": round(seconds, 1), "rows": rows}))


if __name__ == "__main__":
    main()
