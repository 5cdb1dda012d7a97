"""What a robustness card costs beside its predictions: degrading a tile, and scoring a step.

    python benchmarks/robustness.py

Degradation: ms a tile of 257 px, one thread, at the weakest and the strongest of a trial's strengths; tiles of the
phantom. Scoring: s a step of made-up predictions, with patients as units and with images. One JSON line.
"""

import json
import time

import numpy as np

from counterstain.evaluation.predictions import Predictions
from counterstain.phantom.tiles import Phantom, draw_tile
from counterstain.robustness.degrade import lab_sums, mean_and_spread
from counterstain.robustness.losses import judge_of, step_record
from counterstain.robustness.trials import TRIALS, Setting

TILES, ROUNDS = 16, 3


def degradations() -> dict[str, list[float]]:
    """Each trial's ms a tile, the best of three rounds, weakest strength first."""
    phantom = Phantom(patients=TILES, tiles_per_patient=1, sites=2)
    tiles = np.stack([draw_tile(phantom, patient, 0).pixels for patient in range(TILES)])
    moments = mean_and_spread(lab_sums(tiles))
    setting = Setting(np.full((TILES, 2), 0.5), moments, moments[::-1])
    found = {}
    for trial in TRIALS.values():
        found[trial.name] = []
        for at in (trial.strengths[0], trial.strengths[-1]):
            taken = []
            for _ in range(ROUNDS):
                began = time.perf_counter()
                trial.apply(tiles, at, setting)
                taken.append(time.perf_counter() - began)
            found[trial.name].append(round(1000 * min(taken) / TILES, 2))
    return found


def scoring(images: int, patients: int | None) -> float:
    """Seconds that one step of so many images takes to be judged."""
    random = np.random.default_rng(0)
    names = tuple(map(str, range(images)))
    owner = names if patients is None else tuple(f"P{p}" for p in random.integers(patients, size=images))
    positive = random.uniform(size=images)
    label = (random.uniform(size=images) < positive).astype(np.int64)
    prob = np.column_stack([1 - positive, positive])
    own = Predictions(
        image=names,
        patient=owner,
        slide=("",) * images,
        site=("",) * images,
        label=label,
        prob=prob,
        classes=("a", "b"),
    )
    judge = judge_of(own, None, 0.5)
    clean = judge.judged(prob)
    moved = np.clip(positive + random.normal(0, 0.1, images), 0, 1)
    began = time.perf_counter()
    step_record(judge, clean, judge.judged(np.column_stack([1 - moved, moved])))
    return round(time.perf_counter() - began, 3)


if __name__ == "__main__":
    seconds = {
        "300 images of 30 patients": scoring(300, 30),
        "20,000 images of 300 patients": scoring(20_000, 300),
        "20,000 images, patients unknown": scoring(20_000, None),
    }
    print(json.dumps({"benchmark": "robustness", "degrading_ms_a_tile": degradations(), "scoring_s_a_step": seconds}))
