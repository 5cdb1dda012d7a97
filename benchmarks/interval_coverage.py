"""Do 95 % intervals hold the truth in 95 of 100 studies? Beta-binomial patients, uneven sizes, one table a study.

    python benchmarks/interval_coverage.py --studies 1000

Each patient has their own sensitivity and specificity, drawn from Beta distributions with an intraclass correlation;
numbers of images are log-normal. Classes are mixed within a patient (a patient's own prevalence is drawn too) or
belong to the whole patient. The score is uniform above or below 0.5, so that the true AUROC is the mean of sensitivity
and specificity, and every truth is known exactly. Beside the interval stands Wilson's over images, as is common.
"""

import argparse
import json
import time

import numpy as np

from counterstain.judging.intervals import estimates, sample, units_of
from counterstain.judging.predictions import Predictions
from counterstain.judging.proportions import wilson

SENSITIVITY, SPECIFICITY = 0.80, 0.88
METRICS = ("accuracy", "recall", "specificity", "auroc")


def beta(rng: np.random.Generator, mean: float, icc: float, size: int) -> np.ndarray:
    """Draws with this mean and intraclass correlation."""
    return rng.beta(mean * (1 - icc) / icc, (1 - mean) * (1 - icc) / icc, size)


def simulate_table(
    rng: np.random.Generator, *, patients: int, prevalence: float, mixed: bool, icc: float
) -> tuple[Predictions, dict[str, float]]:
    """One study's predictions and the true scores."""
    size = np.clip(np.round(np.exp(rng.normal(np.log(15), 0.8, patients))), 1, 120).astype(int)
    code = np.repeat(np.arange(patients), size)
    if mixed:
        label = rng.random(len(code)) < beta(rng, prevalence, 0.2, patients)[code]
    else:
        label = (rng.random(patients) < prevalence)[code]
    own = np.where(label, beta(rng, SENSITIVITY, icc, patients)[code], beta(rng, SPECIFICITY, icc, patients)[code])
    called = label == (rng.random(len(code)) < own)
    score = (rng.random(len(code)) + called) / 2
    table = Predictions(
        image=tuple(map(str, range(len(code)))), patient=tuple(f"p{k}" for k in code), slide=("",) * len(code),
        site=("",) * len(code), label=label.astype(np.int64), prob=np.column_stack([1 - score, score]),
        classes=("benign", "malignant"),
    )  # fmt: skip
    truth = {
        "accuracy": prevalence * SENSITIVITY + (1 - prevalence) * SPECIFICITY,
        "recall": SENSITIVITY,
        "specificity": SPECIFICITY,
        "auroc": (SENSITIVITY + SPECIFICITY) / 2,
    }
    return table, truth


def cover(
    *, patients: int, prevalence: float, mixed: bool, icc: float, studies: int, seed: int = 0
) -> dict[str, dict[str, float]]:
    """For each score how often the interval holds the truth, its mean width, and how often there is an interval."""
    rng = np.random.default_rng([seed, patients, round(prevalence * 100), int(mixed), round(icc * 100)])
    hit: dict[str, list[bool]] = {metric: [] for metric in (*METRICS, "accuracy, Wilson over images")}
    width: dict[str, list[float]] = {metric: [] for metric in hit}
    for _ in range(studies):
        table, truth = simulate_table(rng, patients=patients, prevalence=prevalence, mixed=mixed, icc=icc)
        found = estimates(sample([table], units_of([table]), level="image"))
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
    }  # fmt: skip


def main() -> None:
    """Print one line for each cell, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--patients", type=int, nargs="+", default=[15, 30, 60, 100, 200])
    parser.add_argument("--prevalence", type=float, nargs="+", default=[0.1, 0.3, 0.5])
    parser.add_argument("--icc", type=float, nargs="+", default=[0.1])
    given = parser.parse_args()
    rows = []
    start = time.perf_counter()
    for mixed in (True, False):
        for patients in given.patients:
            for prevalence in given.prevalence:
                for icc in given.icc:
                    cell = {"mixed": mixed, "patients": patients, "prevalence": prevalence, "icc": icc}
                    found = cover(**cell, studies=given.studies)
                    rows.append(cell | found)
                    shown = "  ".join(f"{metric} {100 * own['covered']:.1f}" for metric, own in found.items())
                    kind = "mixed  " if mixed else "patient"
                    print(f"{kind} {patients:4} patients  prevalence {prevalence}  icc {icc}   {shown}", flush=True)
    print(json.dumps({"studies": given.studies, "seconds": round(time.perf_counter() - start, 1), "rows": rows}))


if __name__ == "__main__":
    main()
