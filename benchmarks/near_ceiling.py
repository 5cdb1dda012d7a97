"""How often is equivalence or non-inferiority declared where the true difference is the margin? And where it is none?

    python benchmarks/near_ceiling.py --studies 4000

Two fitted models on the same patients. In the scenes called "margin" they truly differ by exactly the margin, so that
each "equivalent" and each "not inferior" is false: at most 5 % and 2.5 % of studies may say so. In those called
"equal" they do not differ, and the same shares are power. Patients are right or wrong as a whole ("whole"), or images
are drawn from a beta distribution of each patient ("images", with their intraclass correlation).
"""

import argparse
import json
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from counterstain.judging.intervals import sample, units_of
from counterstain.judging.paired_difference import difference
from counterstain.judging.predictions import Predictions


@dataclass(frozen=True)
class Scene:
    """Two models: how often each is right (of an AUROC: its area), on what kind of patient, and the margin."""

    name: str
    metric: str
    a: float
    b: float
    margin: float
    correlation: float = 1.0  # of a patient's images; 1: right or wrong as a whole
    images: tuple[int, int] = (1, 50)  # fewest and most of a patient
    prevalence: float = 0.5
    seeds: int = 1


SCENES = (
    Scene("margin: 100 % against 95 %, whole", "accuracy", 1.0, 0.95, 0.05),
    Scene("margin: 100 % against 98 %, whole", "accuracy", 1.0, 0.98, 0.02),
    Scene("margin: 98 % against 93 %, whole", "accuracy", 0.98, 0.93, 0.05),
    Scene("margin: 95 % against 90 %, whole, 12 images", "accuracy", 0.95, 0.90, 0.05, images=(12, 12)),
    Scene("margin: 0.99 against 0.94, images, 0.3", "accuracy", 0.99, 0.94, 0.05, 0.3),
    Scene("margin: 0.99 against 0.94, images, 0.05", "accuracy", 0.99, 0.94, 0.05, 0.05),
    Scene("margin: 0.90 against 0.85, images, 0.1", "accuracy", 0.90, 0.85, 0.05, 0.1),
    Scene("margin: sensitivity 0.99 against 0.94, prevalence 0.2", "recall", 0.99, 0.94, 0.05, 0.3, prevalence=0.2),
    Scene("margin: specificity 1 against 0.95, whole", "specificity", 1.0, 0.95, 0.05),
    Scene("margin: balanced accuracy 0.99 against 0.94", "balanced_accuracy", 0.99, 0.94, 0.05, 0.3),
    Scene("margin: balanced accuracy 100 % against 95 %, whole", "balanced_accuracy", 1.0, 0.95, 0.05),
    Scene("margin: AUROC 1 against 0.94", "auroc", 1.0, 0.94, 0.06, 0.3),
    Scene("margin: AUROC 0.98 against 0.93", "auroc", 0.98, 0.93, 0.05, 0.3),
    Scene("margin: 0.99 against 0.94, 3 seeds", "accuracy", 0.99, 0.94, 0.05, 0.3, seeds=3),
    Scene("equal: 98 %, whole", "accuracy", 0.98, 0.98, 0.05),
    Scene("equal: 0.99, images, 0.1", "accuracy", 0.99, 0.99, 0.05, 0.1),
    Scene("equal: 0.90, images, 0.1", "accuracy", 0.90, 0.90, 0.05, 0.1),
    Scene("equal: 0.80, images, 0.1, margin 0.1", "accuracy", 0.80, 0.80, 0.1, 0.1),
    Scene("equal: AUROC 0.98", "auroc", 0.98, 0.98, 0.05, 0.3),
    Scene("equal: AUROC 0.90, margin 0.1", "auroc", 0.90, 0.90, 0.1, 0.3),
)


def simulate(rng: np.random.Generator, scene: Scene, patients: int) -> tuple[list[Predictions], list[Predictions]]:
    """The tables of both models, one for each seed."""
    low, high = scene.images
    size = np.clip(np.round(np.exp(rng.normal(np.log(12), 0.7, patients))), low, high).astype(int)
    code = np.repeat(np.arange(patients), size)
    positive = rng.random(patients) < scene.prevalence
    positive[:2], positive[2:4] = True, False
    label = positive[code].astype(np.int64)
    ids = tuple(f"image-{k}" for k in range(len(code)))
    people = tuple(f"patient-{k}" for k in code)
    blank = ("",) * len(code)
    arms: tuple[list[Predictions], list[Predictions]] = ([], [])
    for rate, arm in zip((scene.a, scene.b), arms, strict=True):
        by_patient = None
        for _ in range(scene.seeds):
            if scene.metric == "auroc":
                score = _ranked(rng, rate, scene.correlation, code, label, patients)
            else:
                by_patient = _chances(rng, rate, scene.correlation, patients) if by_patient is None else by_patient
                right = rng.random(len(code)) < by_patient[code]
                score = np.where(right == (label == 1), 0.9, 0.1)
            arm.append(
                Predictions(
                    image=ids, patient=people, slide=blank, site=blank, label=label,
                    prob=np.column_stack([1 - score, score]), classes=("benign", "malignant"),
                )
            )  # fmt: skip
    return arms


def _chances(rng: np.random.Generator, rate: float, correlation: float, patients: int) -> NDArray[np.float64]:
    """How often each patient's images are right."""
    if rate >= 1 or correlation >= 1:
        return (rng.random(patients) < rate).astype(np.float64)
    spread = (1 - correlation) / correlation
    return rng.beta(rate * spread, (1 - rate) * spread, patients)


def _ranked(
    rng: np.random.Generator,
    area: float,
    correlation: float,
    code: NDArray[np.int64],
    label: NDArray[np.int64],
    patients: int,
) -> NDArray[np.float64]:
    """Scores of two normal classes with this area, `correlation` of their variance being the patient's."""
    from scipy.special import ndtr, ndtri

    apart = 40.0 if area >= 1 else float(ndtri(area)) * np.sqrt(2)
    shared = rng.normal(0, np.sqrt(correlation), patients)[code]
    noise = shared + rng.normal(0, np.sqrt(1 - correlation), len(code))
    found: NDArray[np.float64] = ndtr((noise + (label - 0.5) * apart) / 10)
    return found


def rates(scene: Scene, patients: int, studies: int) -> tuple[float, float]:
    """Share of the studies that are called equivalent at 5 %, and B not inferior at 2.5 %."""
    rng = np.random.default_rng([patients, studies, sum(scene.name.encode())])
    equivalent = noninferior = 0
    for _ in range(studies):
        a, b = simulate(rng, scene, patients)
        names = units_of(a[:1])
        found = difference(
            sample(b, names, level="image"), sample(a, names, level="image"), (scene.metric, None), margin=scene.margin
        )
        equivalent += found.p_equivalence < 0.05
        noninferior += found.p_noninferior < 0.025
    return equivalent / studies, noninferior / studies


def main() -> None:
    """Print one row of a Markdown table for each scene, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--studies", type=int, default=4000)
    parser.add_argument("--patients", type=int, nargs="+", default=[10, 20, 50, 200])
    parser.add_argument("--scenes", nargs="+", default=[""], help="words that a scene's name begins with")
    given = parser.parse_args()
    rows = []
    start = time.process_time()
    print("| scene | margin | " + " | ".join(f"{count} patients" for count in given.patients) + " |", flush=True)
    for scene in SCENES:
        if not scene.name.startswith(tuple(given.scenes)):
            continue
        found = {count: rates(scene, count, given.studies) for count in given.patients}
        cells = (f"{100 * equal:.1f} / {100 * below:.1f}" for equal, below in found.values())
        print(f"| {scene.name} | ±{scene.margin:g} | " + " | ".join(cells) + " |", flush=True)
        rows.append({"scene": scene.name, "margin": scene.margin, "rates": found})
    print(json.dumps({"studies": given.studies, "seconds": round(time.process_time() - start, 1), "rows": rows}))


if __name__ == "__main__":
    main()
