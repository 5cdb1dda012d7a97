"""How often is equivalence or non-inferiority declared where the true difference is the margin? And where it is none?

    python benchmarks/near_ceiling.py --studies 4000

Two models on the same patients. In the scenes called "margin" they truly differ by exactly the margin, so that each
"equivalent" and each "not inferior" is false: at most 5 % and 2.5 % of studies may say so. In those called "equal" they
do not differ, and the same shares are power. Patients are right or wrong as a whole ("whole"), or images are drawn from
a beta distribution of each patient ("images", with their intraclass correlation). An AUROC's patients fail as a whole
by being ranked beyond all of the other class, or its scores are normal with a part that the patient's images share.
"""

import argparse
import json
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from counterstain.evaluation.degrees_of_freedom import class_shares, effective_units, score_df, whole_patients
from counterstain.evaluation.intervals import Sample
from counterstain.evaluation.metrics import from_confusion
from counterstain.evaluation.paired_difference import difference
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.resampling import left_out_totals

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SHARES = {"accuracy": None, "recall": 1, "specificity": 0}  # the class that stands in the denominator; None: all images


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


def f1_of(right: float, prevalence: float) -> float:
    """The F1 of a model that is right on this share of either class."""
    hits = right * prevalence
    return 2 * hits / (2 * hits + 1 - right)


def mcc_of(right: float, prevalence: float) -> float:
    """The MCC of a model that is right on this share of either class."""
    called = right * prevalence + (1 - right) * (1 - prevalence)
    return float((2 * right - 1) * np.sqrt(prevalence * (1 - prevalence) / (called * (1 - called))))


SCENES = (
    Scene("margin: 100 % against 95 %, whole", "accuracy", 1.0, 0.95, 0.05),
    Scene("margin: 100 % against 95 %, whole, 1 image", "accuracy", 1.0, 0.95, 0.05, images=(1, 1)),
    Scene("margin: 100 % against 95 %, whole, 50 images", "accuracy", 1.0, 0.95, 0.05, images=(50, 50)),
    Scene("margin: 100 % against 98 %, whole", "accuracy", 1.0, 0.98, 0.02),
    Scene("margin: 98 % against 93 %, whole", "accuracy", 0.98, 0.93, 0.05),
    Scene("margin: 98 % against 93 %, whole, 1 image", "accuracy", 0.98, 0.93, 0.05, images=(1, 1)),
    Scene("margin: 95 % against 90 %, whole, 12 images", "accuracy", 0.95, 0.90, 0.05, images=(12, 12)),
    Scene("margin: 0.99 against 0.94, images, 0.6", "accuracy", 0.99, 0.94, 0.05, 0.6),
    Scene("margin: 0.99 against 0.94, images, 0.3", "accuracy", 0.99, 0.94, 0.05, 0.3),
    Scene("margin: 0.99 against 0.94, images, 0.1, 50 images", "accuracy", 0.99, 0.94, 0.05, 0.1, images=(50, 50)),
    Scene("margin: 0.99 against 0.94, images, 0.05", "accuracy", 0.99, 0.94, 0.05, 0.05),
    Scene("margin: 0.90 against 0.85, images, 0.1", "accuracy", 0.90, 0.85, 0.05, 0.1),
    Scene("margin: 0.99 against 0.94, images, 0.3, 3 seeds", "accuracy", 0.99, 0.94, 0.05, 0.3, seeds=3),
    Scene("margin: 0.99 against 0.94, images, 0.1, 3 seeds", "accuracy", 0.99, 0.94, 0.05, 0.1, seeds=3),
    Scene("margin: sensitivity 100 % against 95 %, whole, prevalence 0.2", "recall", 1, 0.95, 0.05, prevalence=0.2),
    Scene("margin: sensitivity 0.99 against 0.94, prevalence 0.2", "recall", 0.99, 0.94, 0.05, 0.3, prevalence=0.2),
    Scene("margin: sensitivity 100 % against 95 %, whole, prevalence 0.05", "recall", 1, 0.95, 0.05, prevalence=0.05),
    Scene("margin: specificity 100 % against 95 %, whole", "specificity", 1.0, 0.95, 0.05),
    Scene(
        "margin: specificity 100 % against 95 %, whole, prevalence 0.1", "specificity", 1, 0.95, 0.05, prevalence=0.1
    ),
    Scene("margin: balanced accuracy 0.99 against 0.94", "balanced_accuracy", 0.99, 0.94, 0.05, 0.3),
    Scene("margin: balanced accuracy 100 % against 95 %, whole", "balanced_accuracy", 1.0, 0.95, 0.05),
    Scene("margin: the same, prevalence 0.2", "balanced_accuracy", 1.0, 0.95, 0.05, prevalence=0.2),
    Scene("margin: the same, prevalence 0.05", "balanced_accuracy", 1.0, 0.95, 0.05, prevalence=0.05),
    Scene("margin: AUROC 1 against 0.94, whole", "auroc", 1.0, 0.97**2, 1 - 0.97**2),
    Scene("margin: AUROC 1 against 0.94, whole, prevalence 0.2", "auroc", 1, 0.97**2, 1 - 0.97**2, prevalence=0.2),
    Scene("margin: AUROC 1 against 0.94, whole, prevalence 0.05", "auroc", 1, 0.97**2, 1 - 0.97**2, prevalence=0.05),
    Scene("margin: AUROC 1 against 0.94", "auroc", 1.0, 0.94, 0.06, 0.3),
    Scene("margin: AUROC 0.98 against 0.93", "auroc", 0.98, 0.93, 0.05, 0.3),
    Scene("margin: AUROC 0.98 against 0.93, prevalence 0.2", "auroc", 0.98, 0.93, 0.05, 0.3, prevalence=0.2),
    Scene("margin: F1 100 % against 95 %, whole", "f1", 1.0, 0.95, 1 - f1_of(0.95, 0.5)),
    Scene("margin: F1, the same, prevalence 0.2", "f1", 1, 0.95, 1 - f1_of(0.95, 0.2), prevalence=0.2),
    Scene("margin: MCC 100 % against 95 %, whole", "mcc", 1.0, 0.95, 1 - mcc_of(0.95, 0.5)),
    Scene("margin: MCC, the same, prevalence 0.2", "mcc", 1, 0.95, 1 - mcc_of(0.95, 0.2), prevalence=0.2),
    Scene("equal: 100 %", "accuracy", 1.0, 1.0, 0.05),
    Scene("equal: 98 %, whole", "accuracy", 0.98, 0.98, 0.05),
    Scene("equal: 0.99, images, 0.1", "accuracy", 0.99, 0.99, 0.05, 0.1),
    Scene("equal: 0.90, images, 0.1", "accuracy", 0.90, 0.90, 0.05, 0.1),
    Scene("equal: 0.80, images, 0.1, margin 0.1", "accuracy", 0.80, 0.80, 0.1, 0.1),
    Scene("equal: sensitivity 0.99, images, 0.1", "recall", 0.99, 0.99, 0.1, 0.1),
    Scene("equal: balanced accuracy 0.99, images, 0.1", "balanced_accuracy", 0.99, 0.99, 0.05, 0.1),
    Scene("equal: AUROC 0.98", "auroc", 0.98, 0.98, 0.05, 0.3),
    Scene("equal: AUROC 0.90, margin 0.1", "auroc", 0.90, 0.90, 0.1, 0.3),
)


@dataclass(frozen=True, eq=False)
class Study:
    """Images in the order of their patients: (N,) patient and class, for each model (S, N) scores of its seeds."""

    code: Integers
    label: Integers
    a: Floats
    b: Floats


def simulate(rng: np.random.Generator, scene: Scene, patients: int) -> Study:
    """One study of two models."""
    low, high = scene.images
    size = np.clip(np.round(np.exp(rng.normal(np.log(12), 0.7, patients))), low, high).astype(int)
    code = np.repeat(np.arange(patients), size)
    positive = rng.random(patients) < scene.prevalence
    positive[:2], positive[2:4] = True, False
    label = positive[code].astype(np.int64)
    arms = []
    for rate in (scene.a, scene.b):
        chance = _chances(rng, rate, scene.correlation, patients)
        scores = []
        for _ in range(scene.seeds):
            if scene.metric == "auroc":
                scores.append(_ranked(rng, rate, scene.correlation, code, label, patients))
            else:
                right = rng.random(len(code)) < chance[code]
                scores.append(np.where(right == (label == 1), 0.9, 0.1))
        arms.append(np.stack(scores))
    return Study(code, label, *arms)


def tables(study: Study, scores: Floats) -> list[Predictions]:
    """The prediction tables of one model, one for each seed."""
    blank = ("",) * len(study.code)
    return [
        Predictions(
            image=tuple(f"image-{k}" for k in range(len(study.code))),
            patient=tuple(f"patient-{k:03}" for k in study.code), slide=blank, site=blank, label=study.label,
            prob=np.column_stack([1 - score, score]), classes=("benign", "malignant"),
        ) for score in scores
    ]  # fmt: skip


def counted(study: Study, scores: Floats, metric: str) -> Sample:
    """What `sample` makes of `tables`, for one metric: many times faster, since nothing else is scored."""
    if metric in SHARES:
        return _counted_share(study, scores, metric)
    patients = int(study.code[-1]) + 1
    values, left_out, freedom = [], [], []
    for score in scores:
        cell = study.code * 4 + study.label * 2 + (score > 0.5)
        counts = np.bincount(cell, minlength=patients * 4).reshape(patients, 2, 2).astype(np.float64)
        if metric == "auroc":
            value, without, pairs = _areas(study, score, counts)
            freedom.append(score_df(counts, [pairs])[metric, None])
        else:
            whole = counts.sum(axis=0)
            both = from_confusion(np.concatenate([whole[None], whole - counts]))[metric, None]
            value, without = both[0], both[1:]
            freedom.append(score_df(counts, [None])[metric, None])
        values.append(value)
        left_out.append(without)
    key = (metric, None)
    return Sample(
        values={key: np.array(values)}, left_out={key: np.stack(left_out)}, df={key: float(np.mean(freedom))},
        units=patients, rows=len(study.code), shares=frozenset(), whole=whole_patients(counts),
        carried=class_shares(left_out_totals(counts.sum(axis=2))),
    )  # fmt: skip


def _counted_share(study: Study, scores: Floats, metric: str) -> Sample:
    """`counted` for a measure with one denominator, which all seeds share."""
    patients = int(study.code[-1]) + 1
    inside = np.full(len(study.code), True) if SHARES[metric] is None else study.label == SHARES[metric]
    images = np.bincount(study.code, minlength=patients).astype(np.float64)
    below = np.bincount(study.code[inside], minlength=patients).astype(np.float64)
    right = ((scores > 0.5) == (study.label == 1)) & inside
    hits = np.stack([np.bincount(study.code, weights=one, minlength=patients) for one in right])
    total, key = hits.sum(axis=1), (metric, None)
    with np.errstate(invalid="ignore", divide="ignore"):
        left_out = (total[:, None] - hits) / (below.sum() - below)
    return Sample(
        values={key: total / below.sum()}, left_out={key: left_out},
        df={key: max(min(effective_units(below), effective_units(images)) - 1, 1.0)},
        units=patients, rows=len(study.code), shares=frozenset(),
    )  # fmt: skip


def _areas(study: Study, score: Floats, counts: Floats) -> tuple[float, Floats, Floats]:
    """The AUROC, that without each patient, and a matrix with the margins of the rightly ranked pairs of patients.

    Patients are of one class each, so that leaving one out takes away its pairs with all others and nothing twice; the
    degrees of freedom ask for the margins only.
    """
    patients = len(counts)
    negative, positive = study.label == 0, study.label == 1
    by_negative, by_positive = np.sort(score[negative]), np.sort(score[positive])
    below, upto = (np.searchsorted(by_negative, score[positive], side) for side in ("left", "right"))
    upto_above, above = (np.searchsorted(by_positive, score[negative], side) for side in ("left", "right"))
    won = np.bincount(study.code[positive], weights=(below + upto) / 2, minlength=patients)
    lost = np.bincount(
        study.code[negative], weights=len(by_positive) - (upto_above + above) / 2, minlength=patients
    )  # fmt: skip
    own, other = counts[:, 1].sum(axis=1), counts[:, 0].sum(axis=1)
    right = won.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        without = (right - won - lost) / ((own.sum() - own) * (other.sum() - other))
    margins = np.outer(won, lost) / right if right > 0 else np.zeros((patients, patients))
    return float(right / own.sum() / other.sum()), without, margins


def _chances(rng: np.random.Generator, rate: float, correlation: float, patients: int) -> Floats:
    """How often each patient's images are right."""
    if rate >= 1 or correlation >= 1:
        return (rng.random(patients) < rate).astype(np.float64)
    spread = (1 - correlation) / correlation
    return rng.beta(rate * spread, (1 - rate) * spread, patients)


def _ranked(
    rng: np.random.Generator, area: float, correlation: float, code: Integers, label: Integers, patients: int
) -> Floats:
    """Scores in [0, 1] with this area; of correlation 1: patients are ranked right, or beyond the other class."""
    from scipy.special import ndtr, ndtri

    if correlation >= 1:
        side = 2.0 * label - 1
        fails = (rng.random(patients) >= np.sqrt(area))[code]
        found: Floats = 0.5 + np.where(fails, -0.4, 0.1) * side + rng.uniform(-0.05, 0.05, len(code))
        return found
    apart = 40.0 if area >= 1 else float(ndtri(area)) * np.sqrt(2)
    shared = rng.normal(0, np.sqrt(correlation), patients)[code]
    noise = shared + rng.normal(0, np.sqrt(1 - correlation), len(code))
    normal: Floats = ndtr((noise + (label - 0.5) * apart) / 10)
    return normal


def rates(scene: Scene, patients: int, studies: int) -> tuple[float, float]:
    """Share of the studies that are called equivalent at 5 %, and B not inferior at 2.5 %."""
    rng = np.random.default_rng([patients, studies, sum(scene.name.encode())])
    equivalent = noninferior = 0
    for _ in range(studies):
        study = simulate(rng, scene, patients)
        a, b = (counted(study, scores, scene.metric) for scores in (study.a, study.b))
        found = difference(b, a, (scene.metric, None), margin=scene.margin)
        equivalent += found.p_equivalence < 0.05
        noninferior += found.p_noninferior < 0.025
    return equivalent / studies, noninferior / studies


def main() -> None:
    """Print one row of a Markdown table for each scene, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--studies", type=int, default=4000)
    parser.add_argument("--patients", type=int, nargs="+", default=[10, 20, 50, 100, 200])
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
        print(f"| {scene.name} | ±{scene.margin:.3g} | " + " | ".join(cells) + " |", flush=True)
        rows.append({"scene": scene.name, "margin": scene.margin, "rates": found})
    print(json.dumps({"studies": given.studies, "seconds": round(time.process_time() - start, 1), "rows": rows}))


if __name__ == "__main__":
    main()
