"""Do the 95 % intervals of calibration measures, NPV and likelihood ratios hold the truth? Patients of one class each.

    python benchmarks/calibration_intervals.py --studies 1000

A patient has a class, a difficulty of their own (normal on the log odds) and a log-normal number of images. The
model's log odds are too extreme by a factor and moved, so that no measure is at its ideal value. The truth is the same
measure on 60,000 other patients. One JSON line per number of patients: how often each interval holds the truth, and how
often there is one.
"""

import argparse
import json

import numpy as np

from counterstain.evaluation.calibration_measures import calibration_measures
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictive_values import predictive_values
from counterstain.evaluation.smoothed_reliability import smoothed_reliability

PREVALENCE = 0.05  # at which PPV and NPV are wanted


def simulate_table(rng: np.random.Generator, *, patients: int, share: float) -> Predictions:
    """One study's predictions."""
    size = np.clip(np.round(np.exp(rng.normal(np.log(10), 0.6, patients))), 1, 60).astype(int)
    code = np.repeat(np.arange(patients), size)
    label = (rng.random(patients) < share)[code].astype(np.int64)
    z = np.where(label == 1, 1.0, -1.0) + rng.normal(0, 0.6, patients)[code] + rng.normal(0, 1.0, len(code))
    prob = 1 / (1 + np.exp(-(1.8 * z - 0.4)))
    return Predictions(
        image=tuple(map(str, range(len(code)))), patient=tuple(f"p{k}" for k in code), slide=("",) * len(code),
        site=("",) * len(code), label=label, prob=np.column_stack([1 - prob, prob]), classes=("benign", "malignant"),
    )  # fmt: skip


def measure(table: Predictions, resamples: int) -> dict[str, dict[str, float | None]]:
    """Every measure of one table with its interval."""
    found = predictive_values([table], [table.prob[:, 1] >= 0.5], prevalence=PREVALENCE)
    calibration = calibration_measures([table])
    at = found["at_prevalence"]
    return {
        "oe": calibration["oe"],
        "in_the_large": calibration["in_the_large"],
        "slope": calibration["slope"],
        "ici": smoothed_reliability([table], resamples=resamples)["ici"],
        "npv": found["npv"],
        "lr_positive": found["lr_positive"],
        "lr_negative": found["lr_negative"],
        "ppv_at_prevalence": at["ppv"],
        "npv_at_prevalence": at["npv"],
    }


def cover(*, patients: int, share: float, studies: int, truth: dict[str, float], seed: int) -> dict[str, object]:
    """Percent of the studies whose interval holds the truth, and in which there was an interval."""
    rng = np.random.default_rng([seed, patients, int(100 * share)])
    held: dict[str, list[bool]] = {name: [] for name in truth}
    for _ in range(studies):
        for name, one in measure(simulate_table(rng, patients=patients, share=share), 500).items():
            low, high = one["low"], one["high"]
            if low is not None:
                held[name].append(low <= truth[name] and (high is None or truth[name] <= high))
    return {
        "patients": patients,
        "share": share,
        "studies": studies,
        "held": {name: round(100 * float(np.mean(values)), 1) for name, values in held.items()},
        "with_interval": {name: round(100 * len(values) / studies, 1) for name, values in held.items()},
    }


def main() -> None:
    """One line per number of patients and share of positive patients."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--patients", type=int, nargs="+", default=[20, 50, 200])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.2, 0.5])
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for share in given.shares:
        large = simulate_table(np.random.default_rng(99), patients=60_000, share=share)
        truth = {name: float(one["value"] or 0.0) for name, one in measure(large, 2).items()}
        for patients in given.patients:
            found = cover(patients=patients, share=share, studies=given.studies, truth=truth, seed=given.seed)
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
