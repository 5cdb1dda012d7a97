"""Is the chance that a ranking is false what it says? True differences are drawn from the prior, studies from them.

    python benchmarks/ranking_chance.py --studies 4000

Each study draws the arms' true accuracies (on the measure's scale; the difference between two has the SD `--sd`),
then patients of uneven size with a difficulty that all arms share, and calls for each image. Printed: the mean of the
stated chance, the share of rankings that are false, and both in three bins of the stated chance; for two arms and for
the best of `--arms`. `flat` is half of the two-sided p, which stood here before. With --equal all arms are equally good
and the prior keeps its SD: how often is the one on top said to be the best nevertheless?
"""

import argparse
import json
import time

import numpy as np

from counterstain.evaluation.intervals import sample, units_of
from counterstain.evaluation.paired_difference import difference
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.ranking import pair_chance, ranking_record
from counterstain.evaluation.verdict import Question

BINS = ((0.0, 0.05), (0.05, 0.2), (0.2, 1.0))
KEY = ("accuracy", None)


def draw_arms(
    rng: np.random.Generator, true: np.ndarray, patients: int, seeds: int, training: float
) -> list[list[Predictions]]:
    """Tables of arms with these true accuracies: each patient's difficulty is shared, calls are made image by image."""
    size = np.clip(np.round(np.exp(rng.normal(np.log(12), 0.7, patients))), 2, 60).astype(int)
    code = np.repeat(np.arange(patients), size)
    label = (np.arange(patients) % 2)[code].astype(np.int64)
    names, people = tuple(f"i{k}" for k in range(len(code))), tuple(f"p{k}" for k in code)
    blank = ("",) * len(code)
    hard = rng.normal(0, 0.5, patients)[code] + rng.normal(0, 0.8, len(code))
    arms = []
    for accuracy in true:
        own: list[Predictions] = []
        for _ in range(seeds):
            # The sum of the three normals has the SD 1.11, so that its share below the cut is the true accuracy.
            score = hard + rng.normal(0, 0.6, len(code))
            own_accuracy = np.clip(accuracy + rng.normal(0, training), 0.5, 0.995)
            cut = _normal_quantile(own_accuracy) * np.sqrt(0.5**2 + 0.8**2 + 0.6**2)
            called = np.where(score < cut, label, 1 - label)
            prob = np.eye(2)[called] * 0.8 + 0.1
            own.append(
                Predictions(image=names, patient=people, slide=blank, site=blank, label=label, prob=prob,
                            classes=("benign", "malignant"))
            )  # fmt: skip
        arms.append(own)
    return arms


def _normal_quantile(share: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(share))


def study(
    rng: np.random.Generator, *, arms: int, patients: int, seeds: int, sd: float, training: float, equal: bool
) -> dict[str, float]:
    """One study: the stated chance for the leading pair and for the best of all, and whether each is false."""
    true = np.clip(0.85 + rng.normal(0, 0 if equal else sd / np.sqrt(2), arms), 0.55, 0.985)
    tables = draw_arms(rng, true, patients, seeds, training)
    names = units_of(tables[0][:1])
    samples = {str(k): sample(own, names, level="image") for k, own in enumerate(tables)}
    claim = "models" if seeds == 1 else "procedures"
    first = difference(samples["0"], samples["1"], KEY)
    rows = []
    for i in range(arms):
        for j in range(i + 1, arms):
            found = difference(samples[str(i)], samples[str(j)], KEY)
            rows.append({"a": str(i), "b": str(j), "verdict": "no_evidence", "also": None, "low": found.low,
                         "high": found.high, "df": found.df})  # fmt: skip
    ranking = ranking_record(samples, rows, Question(metric="accuracy", claim=claim), prior_sd=sd)
    best = int(ranking["arms"][0]["arm"])
    return {
        "pair": pair_chance(samples["0"], samples["1"], first, KEY, alpha=0.05, prior_sd=sd), "flat": first.p / 2,
        "pair_false": float((first.difference > 0) != (true[0] > true[1])),
        "best": float("nan") if ranking["chance_not_best"] is None else ranking["chance_not_best"],
        "best_false": float(true[best] < true.max()),
    }  # fmt: skip


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
    parser.add_argument("--arms", type=int, default=2)
    parser.add_argument("--equal", action="store_true", help="all arms are equally good, whatever the prior says")
    given = parser.parse_args()
    rows, start = [], time.process_time()
    for sd in given.sd:
        for patients in given.patients:
            for seeds in given.seeds:
                rng = np.random.default_rng([7, patients, seeds, given.arms, int(1000 * sd)])
                found = [
                    study(
                        rng,
                        arms=given.arms,
                        patients=patients,
                        seeds=seeds,
                        sd=sd,
                        equal=given.equal,
                        training=given.training if seeds > 1 else 0.0,
                    )
                    for _ in range(given.studies)
                ]
                column = {key: np.array([one[key] for one in found]) for key in found[0]}
                cells = {
                    "pair": shares(column["pair"], column["pair_false"]),
                    "flat": shares(column["flat"], column["pair_false"]),
                    "best": shares(column["best"], column["best_false"]),
                }  # fmt: skip
                rows.append(
                    {
                        "sd": sd,
                        "patients": patients,
                        "seeds": seeds,
                        "arms": given.arms,
                        "training": given.training,
                        **cells,
                    }
                )
                text = "  ".join(
                    f"{k}: stated {v['stated']:.3f} false {v['false']:.3f} below 0.05 {v['below 0.05']:.1%}"
                    for k, v in cells.items()
                )
                print(f"SD {sd:.2f} {patients:4} patients {seeds} seeds {given.arms} arms  {text}", flush=True)
    seconds = time.process_time() - start
    print(json.dumps({"studies": given.studies, "seconds": round(seconds, 1), "rows": rows}))


if __name__ == "__main__":
    main()
