"""How often is a winner named where there is none? Two equal training procedures, clustered images, several seeds.

    python benchmarks/false_claims.py --studies 2000

A study has `patients` patients with uneven numbers of images, two arms with `seeds` trainings each. The score of an
image is the sum of the class, how hard its patient is for everyone, how that patient suits the arm, how the patient
suits this one training, how good this training became, and noise shared and not shared between models. Both arms draw
from the same distributions, so every winner is a false claim. With --effect the first arm is better: that is power.
With --fixed the two models are fixed and equally good, one table each, and only the patients are drawn at random.
Beside the verdict stands McNemar's test over images between the first seeds, as it is commonly done.
"""

import argparse
import json
import time

import numpy as np

from counterstain.evaluation.intervals import sample, units_of
from counterstain.evaluation.paired_difference import difference
from counterstain.evaluation.paired_tests import mcnemar
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.verdict import Question, verdict

SCENES = {  # standard deviations on the probit scale: patient x arm, patient x training, training
    "calm seeds": (0.30, 0.15, 0.03),
    "lively seeds": (0.20, 0.20, 0.15),
    "only seeds": (0.0, 0.10, 0.25),
}
SEPARATION, PATIENT, SHARED_NOISE, OWN_NOISE = 1.6, 0.5, 0.8, 0.6
METRICS = ("auroc", "accuracy")


def simulate_study(
    rng: np.random.Generator,
    *,
    patients: int,
    seeds: int,
    scene: str,
    effect: float = 0.0,
    prevalence: float = 0.5,
    fixed: bool = False,
) -> tuple[list[Predictions], list[Predictions]]:
    """Prediction tables of two arms on the same patients; the first arm's classes lie `effect` further apart."""
    by_arm, by_training, training = SCENES[scene]
    training = 0.0 if fixed else training  # two fitted models that are equally good, on patients drawn at random
    size = np.clip(np.round(np.exp(rng.normal(np.log(12), 0.7, patients))), 2, 60).astype(int)
    code = np.repeat(np.arange(patients), size)
    malignant = rng.random(patients) < prevalence
    malignant[:2], malignant[2:4] = True, False
    label = malignant[code].astype(np.int64)
    side = 2 * label - 1
    shared = rng.normal(0, PATIENT, patients)[code] + rng.normal(0, SHARED_NOISE, len(code))
    names = tuple(f"image-{k}" for k in range(len(code)))
    people = tuple(f"patient-{k}" for k in code)
    blank = ("",) * len(code)
    arms: tuple[list[Predictions], list[Predictions]] = ([], [])
    for number, arm in enumerate(arms):
        suits = rng.normal(0, by_arm, patients)
        for _ in range(seeds):
            apart = SEPARATION + (effect if number == 0 else 0.0) + 2 * rng.normal(0, training)
            own = (suits + rng.normal(0, by_training, patients))[code] + rng.normal(0, OWN_NOISE, len(code))
            score = 1 / (1 + np.exp(-(side * apart / 2 + shared + own + rng.normal(0, training))))
            arm.append(
                Predictions(
                    image=names, patient=people, slide=blank, site=blank, label=label,
                    prob=np.column_stack([1 - score, score]), classes=("benign", "malignant"),
                )
            )  # fmt: skip
    return arms


def judge_study(arms: tuple[list[Predictions], list[Predictions]], *, fixed: bool = False) -> dict[str, bool]:
    """Was a winner named: by the project's rule on each metric, and by McNemar over the images of the first seeds."""
    names = units_of(arms[0][:1])
    a, b = (sample(own, names, level="image") for own in arms)
    out = {}
    for metric in METRICS:
        found = difference(a, b, (metric, None))
        asked = Question(metric=metric, claim="models" if fixed else "procedures")
        kind = verdict(found, asked, seeds=len(arms[0]), p_adjusted=found.p)
        out[metric] = kind in ("a_better", "b_better")
    right = [own[0].prob.argmax(axis=1) == own[0].label for own in arms]
    out["mcnemar over images"] = mcnemar(int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())).p < 0.05
    return out


def rates(
    *, patients: int, seeds: int, scene: str, studies: int, effect: float = 0.0, seed: int = 0, fixed: bool = False
) -> dict[str, float]:
    """Share of simulated studies in which a winner was named, for each way of judging."""
    rng = np.random.default_rng([seed, patients, seeds, sorted(SCENES).index(scene)])
    named = [
        judge_study(
            simulate_study(rng, patients=patients, seeds=seeds, scene=scene, effect=effect, fixed=fixed), fixed=fixed
        )
        for _ in range(studies)
    ]
    return {key: float(np.mean([one[key] for one in named])) for key in named[0]}


def main() -> None:
    """Print one line for each cell, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--effect", type=float, default=0.0)
    parser.add_argument("--patients", type=int, nargs="+", default=[15, 30, 100])
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 5])
    parser.add_argument("--scenes", nargs="+", default=list(SCENES))
    parser.add_argument("--fixed", action="store_true", help="two fixed models, one table each, no training drawn anew")
    given = parser.parse_args()
    rows = []
    start = time.perf_counter()
    for scene in given.scenes:
        for patients in given.patients:
            for seeds in [1] if given.fixed else given.seeds:
                found = rates(
                    patients=patients, seeds=seeds, scene=scene, studies=given.studies, effect=given.effect,
                    fixed=given.fixed,
                )  # fmt: skip
                rows.append({"scene": scene, "patients": patients, "seeds": seeds, **found})
                shown = "  ".join(f"{key} {value:.1%}" for key, value in found.items())
                print(f"{scene:13} {patients:4} patients {seeds} seeds   {shown}", flush=True)
    seconds = time.perf_counter() - start
    print(json.dumps({"studies": given.studies, "effect": given.effect, "seconds": round(seconds, 1), "rows": rows}))


if __name__ == "__main__":
    main()
