"""How often is a winner named because one training set suited one arm? Two ways of training, equally good on average.

    python benchmarks/training_luck.py --studies 1000

Each training set favours an arm or not: its AUROC moves by an SD of `--luck` (0.027) for all seeds alike. With one
training set the verdict can't see that, so it says that it is about this training set. With five folds each
has its own luck, and the verdict must pass the corrected t-test over them too.
"""

import argparse
import json
import time

import numpy as np

from counterstain.evaluation.comparison import compare_arms
from counterstain.evaluation.cross_validation import Place, fold_tests
from counterstain.evaluation.predictions import Predictions, concatenate

PER_AUROC = 1.0 / 0.21  # classes 1.6 apart with a noise SD of 1.12 give an AUROC of 0.84, which grows by 0.21 for each


def fold_table(rng: np.random.Generator, lucks: np.ndarray, patients: range, seeds: int) -> list[list[Predictions]]:
    """Tables of one test part, for each arm one for each seed; `lucks` moves each arm's classes apart."""
    count = len(patients)
    size = np.clip(np.round(np.exp(rng.normal(np.log(12), 0.7, count))), 2, 60).astype(int)
    code = np.repeat(np.arange(count), size)
    label = (np.arange(count) % 2)[code].astype(np.int64)
    names = tuple(f"i{patients[0]}-{k}" for k in range(len(code)))
    people, blank = tuple(f"p{patients[k]}" for k in code), ("",) * len(code)
    shared = rng.normal(0, 0.5, count)[code] + rng.normal(0, 0.8, len(code))
    arms = []
    for luck in lucks:
        tables = []
        for _ in range(seeds):
            own = rng.normal(0, 0.15, count)[code] + rng.normal(0, 0.6, len(code))
            score = 1 / (1 + np.exp(-((2 * label - 1) * (1.6 + luck) / 2 + shared + own)))
            tables.append(
                Predictions(image=names, patient=people, slide=blank, site=blank, label=label,
                            prob=np.column_stack([1 - score, score]), classes=("benign", "malignant"))
            )  # fmt: skip
        arms.append(tables)
    return arms


def study(rng: np.random.Generator, *, patients: int, folds: int, seeds: int, luck: float) -> tuple[bool, str]:
    """Whether one study names a winner, and what it says."""
    sd = luck * PER_AUROC
    each = patients // folds
    by_place: dict[str, dict[Place, Predictions]] = {"a": {}, "b": {}}
    for fold in range(folds):
        arms = fold_table(rng, rng.normal(0, sd, 2), range(fold * each, (fold + 1) * each), seeds)
        for name, tables in zip(by_place, arms, strict=True):
            by_place[name] |= {(seed, 0, fold): table for seed, table in enumerate(tables)}
    whole = {
        name: [concatenate([own[seed, 0, fold] for fold in range(folds)]) for seed in range(seeds)]
        for name, own in by_place.items()
    }
    sizes = {(0, fold): (patients - each, each) for fold in range(folds)}
    record = compare_arms(whole, over_folds=fold_tests(by_place, sizes, metrics=["auroc"]))
    return record["pairs"][0]["verdict"] in ("a_better", "b_better"), record["words"]


def main() -> None:
    """Print one line for each cell, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--patients", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--luck", type=float, default=0.027)
    given = parser.parse_args()
    rows, start = [], time.process_time()
    for luck in (0.0, given.luck):
        for folds in (1, 5):
            rng = np.random.default_rng([5, folds, int(1000 * luck)])
            found = [
                study(rng, patients=given.patients, folds=folds, seeds=given.seeds, luck=luck)
                for _ in range(given.studies)
            ]
            rate = float(np.mean([one for one, _ in found]))
            rows.append({"luck": luck, "training_sets": folds, "false": rate})
            example = next((words for named, words in found if named), found[0][1])
            print(f"luck {luck:.3f}  {folds} training sets  false winner {rate:.1%}  {example}", flush=True)
    seconds = time.process_time() - start
    print(json.dumps({"studies": given.studies, "seconds": round(seconds, 1), "rows": rows}))


if __name__ == "__main__":
    main()
