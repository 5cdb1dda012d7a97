"""How long does it take to draw the patients of a large test set anew, all scores each time?

python benchmarks/bootstrap.py --images 20000 --patients 200 --resamples 10000
"""

import argparse
import json
import resource
import time

import numpy as np

from counterstain.evaluation.bootstrap import bootstrap_estimates
from counterstain.evaluation.intervals import estimates, sample, units_of
from counterstain.evaluation.predictions import Predictions


def make_table(images: int, patients: int, seed: int) -> Predictions:
    """Predictions of two classes, images spread unevenly over the patients."""
    rng = np.random.default_rng(seed)
    code = np.sort(rng.choice(patients, images, p=rng.dirichlet(np.full(patients, 2.0))))
    label = rng.integers(0, 2, images)
    p = 1 / (1 + np.exp(-(2 * label - 1) - rng.normal(0, 1, patients)[code] - rng.normal(0, 1, images)))
    return Predictions(
        image=tuple(map(str, range(images))), patient=tuple(f"p{k}" for k in code), slide=("",) * images,
        site=("",) * images, label=label, prob=np.column_stack([1 - p, p]), classes=("benign", "malignant"),
    )  # fmt: skip


def main() -> None:
    """Print one JSON line: seconds of bootstrap and jackknife, all scores, and the peak of memory."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--patients", type=int, default=200)
    parser.add_argument("--resamples", type=int, nargs="+", default=[10_000, 20_000])
    given = parser.parse_args()
    table = make_table(given.images, given.patients, 0)
    names = units_of([table])
    out = {"images": given.images, "patients": len(names), "seconds": {}}
    for resamples in given.resamples:
        start = time.perf_counter()
        found = bootstrap_estimates([table], names, resamples=resamples)
        out["seconds"][f"bootstrap {resamples}"] = round(time.perf_counter() - start, 2)
    start = time.perf_counter()
    estimates(sample([table], names, level="image"))
    out["seconds"]["jackknife"] = round(time.perf_counter() - start, 2)
    out["scores"] = len(found)
    out["peak_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)
    print(json.dumps(out))


if __name__ == "__main__":
    main()
