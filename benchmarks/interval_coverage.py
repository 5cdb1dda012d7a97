"""Do 95 % intervals hold the truth in 95 of 100 studies? Beta-binomial patients, uneven sizes, one table a study.

    python benchmarks/interval_coverage.py --studies 1000
    python benchmarks/interval_coverage.py --studies 2000 --patients 20 30 60 --prevalence 0.5 --steepness 0 0.5 1

Each patient has their own sensitivity and specificity, drawn from Beta distributions with an intraclass correlation;
numbers of images are log-normal. Classes are mixed within a patient (a patient's own prevalence is drawn too) or
belong to the whole patient. The score is uniform above or below 0.5, so that the true AUROC is the mean of sensitivity
and specificity, and every truth is known exactly. Beside the interval stands Wilson's over images, as is common.
With --steepness the log odds of a patient's sensitivity and specificity fall by so much for e times the images, so that
size goes with difficulty; "told" is the share of studies in which that is noticed.
"""

import argparse
import itertools
import json
import time

import numpy as np

from counterstain.evaluation.intervals import estimates, sample, units_of
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.proportions import wilson

SENSITIVITY, SPECIFICITY = 0.80, 0.88
METRICS = ("accuracy", "recall", "specificity", "auroc")


def beta(rng: np.random.Generator, mean: float | np.ndarray, icc: float, size: int) -> np.ndarray:
    """Draws with this mean and intraclass correlation."""
    return rng.beta(mean * (1 - icc) / icc, (1 - mean) * (1 - icc) / icc, size)


def sizes(rng: np.random.Generator, patients: int) -> np.ndarray:
    """Images of each patient."""
    return np.clip(np.round(np.exp(rng.normal(np.log(15), 0.8, patients))), 1, 120).astype(int)


def by_size(mean: float, size: np.ndarray, steepness: float) -> np.ndarray:
    """The expected sensitivity (or specificity) of patients with so many images."""
    odds = np.log(mean / (1 - mean)) - steepness * (np.log(size) - np.log(15))
    return np.asarray(1 / (1 + np.exp(-odds)))


def true_scores(prevalence: float, steepness: float) -> dict[str, float]:
    """The scores over all images of the population, sizes drawn a million times where they matter."""
    if steepness == 0:
        sensitivity, specificity = SENSITIVITY, SPECIFICITY
    else:
        size = sizes(np.random.default_rng(1), 1_000_000)
        sensitivity, specificity = (
            float((size * by_size(mean, size, steepness)).sum() / size.sum()) for mean in (SENSITIVITY, SPECIFICITY)
        )
    return {
        "accuracy": prevalence * sensitivity + (1 - prevalence) * specificity,
        "recall": sensitivity,
        "specificity": specificity,
        "auroc": (sensitivity + specificity) / 2,
    }


def simulate_table(
    rng: np.random.Generator, *, patients: int, prevalence: float, mixed: bool, icc: float, steepness: float = 0.0
) -> Predictions:
    """One study's predictions."""
    size = sizes(rng, patients)
    code = np.repeat(np.arange(patients), size)
    if mixed:
        label = rng.random(len(code)) < beta(rng, prevalence, 0.2, patients)[code]
    else:
        label = (rng.random(patients) < prevalence)[code]
    means = [by_size(mean, size, steepness) for mean in (SENSITIVITY, SPECIFICITY)]
    own = np.where(label, *(beta(rng, mean, icc, patients)[code] for mean in means))
    called = label == (rng.random(len(code)) < own)
    score = (rng.random(len(code)) + called) / 2
    return Predictions(
        image=tuple(map(str, range(len(code)))), patient=tuple(f"p{k}" for k in code), slide=("",) * len(code),
        site=("",) * len(code), label=label.astype(np.int64), prob=np.column_stack([1 - score, score]),
        classes=("benign", "malignant"),
    )  # fmt: skip


def cover(
    *, patients: int, prevalence: float, mixed: bool, icc: float, studies: int, steepness: float = 0.0, seed: int = 0
) -> dict[str, dict[str, float]]:
    """For each score how often the interval holds the truth, its mean width, and how often there is an interval.

    "told": how often it is noticed that size goes with difficulty.
    """
    truth, told = true_scores(prevalence, steepness), 0
    rng = np.random.default_rng([seed, patients, round(prevalence * 100), int(mixed), round(icc * 100)])
    hit: dict[str, list[bool]] = {metric: [] for metric in (*METRICS, "accuracy, Wilson over images")}
    width: dict[str, list[float]] = {metric: [] for metric in hit}
    for _ in range(studies):
        table = simulate_table(
            rng, patients=patients, prevalence=prevalence, mixed=mixed, icc=icc, steepness=steepness
        )  # fmt: skip
        drawn = sample([table], units_of([table]), level="image")
        told += drawn.by_size is not None and drawn.by_size.detected
        found = estimates(drawn)
        limits = {metric: (found[metric, None].low, found[metric, None].high) for metric in METRICS}
        right = int((table.prob.argmax(axis=1) == table.label).sum())
        limits["accuracy, Wilson over images"] = wilson(right, len(table))
        for metric, (low, high) in limits.items():
            if np.isfinite(low):
                hit[metric].append(low <= truth[metric.split(",")[0]] <= high)
                width[metric].append(high - low)
    return {
        metric: {
            "covered": float(np.mean(hit[metric])), "width": float(np.mean(width[metric])),
            "defined": len(hit[metric]) / studies,
        } for metric in hit
    } | {"told": {"covered": told / studies}}  # fmt: skip


def main() -> None:
    """Print one line for each cell, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--patients", type=int, nargs="+", default=[15, 30, 60, 100, 200])
    parser.add_argument("--prevalence", type=float, nargs="+", default=[0.1, 0.3, 0.5])
    parser.add_argument("--icc", type=float, nargs="+", default=[0.1])
    parser.add_argument("--steepness", type=float, nargs="+", default=[0.0])
    given = parser.parse_args()
    rows = []
    start = time.perf_counter()
    for mixed in (True, False):
        for patients in given.patients:
            for prevalence in given.prevalence:
                for icc, steepness in itertools.product(given.icc, given.steepness):
                    cell = {
                        "mixed": mixed, "patients": patients, "prevalence": prevalence, "icc": icc,
                        "steepness": steepness,
                    }  # fmt: skip
                    found = cover(**cell, studies=given.studies)
                    rows.append(cell | found)
                    shown = "  ".join(f"{metric} {100 * own['covered']:.1f}" for metric, own in found.items())
                    kind = "mixed  " if mixed else "patient"
                    head = f"{kind} {patients:4} patients  prevalence {prevalence}  icc {icc}  "
                    print(f"{head}{f'steepness {steepness}  ' if steepness else ''} {shown}", flush=True)
    print(json.dumps({"studies": given.studies, "seconds": round(time.perf_counter() - start, 1), "rows": rows}))


if __name__ == "__main__":
    main()
