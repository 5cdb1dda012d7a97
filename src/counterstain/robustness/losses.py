"""From probabilities to claims: paired losses, turned decisions, sites; every interval is over patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.evaluation.calibration import Calibration, apply_calibration
from counterstain.evaluation.degrees_of_freedom import Key, effective_units, score_df
from counterstain.evaluation.intervals import Estimate, Sample, estimate, estimates, sample, units_of, variance_parts
from counterstain.evaluation.metrics import from_confusion, predicted_class
from counterstain.evaluation.paired_difference import difference
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.proportions import clopper_pearson
from counterstain.evaluation.resampling import jackknife_weights
from counterstain.evaluation.subgroups import FEWEST, subgroup_scores
from counterstain.evaluation.thresholds import decide
from counterstain.robustness.degrade import SYMMETRIES

__all__ = [
    "MEASURES",
    "Evaluation",
    "Evaluator",
    "judge_of",
    "measures_of",
    "rotation_record",
    "site_record",
    "step_record",
]

Floats = NDArray[np.float64]

# What a card reports, and under which name evaluation knows it.
MEASURES: dict[str, Key] = {
    "auroc": ("auroc", None),
    "sensitivity": ("recall", None),
    "specificity": ("specificity", None),
    "balanced_accuracy": ("balanced_accuracy", None),
    "accuracy": ("accuracy", None),
}
UNMOVED = 1e-6  # a change of probability that is rounding
TWO_CLASSES = ("auroc", "sensitivity", "specificity", "balanced_accuracy")
MORE_CLASSES = ("auroc", "balanced_accuracy", "accuracy")


@dataclass(frozen=True, eq=False)
class Evaluator:
    """What does not change from one prediction of the images to the next.

    images:    the table whose probabilities are exchanged
    units:     the patients (or images) in the order in which they are left out; code (N,) which of them an image is of
    weights:   (1 + G, K) all units, then without each (or each group) of them
    calibration, threshold: of the bundle
    """

    images: Predictions
    units: tuple[str, ...]
    code: NDArray[np.int64]
    weights: Floats
    calibration: Calibration | None
    threshold: float

    def judged(self, prob: Floats) -> "Evaluation":
        """These probabilities of the same images, calibrated, decided and scored."""
        table = replace(self.images, prob=prob)
        if self.calibration is not None:
            table = apply_calibration(self.calibration, table)
        if len(table.classes) == 2:
            called = decide(table.prob[:, 1], self.threshold).astype(np.int64)
        else:
            called = predicted_class(table.prob)
        return Evaluation(table, called, self._sample(table, called))

    def _sample(self, table: Predictions, called: NDArray[np.int64]) -> Sample:
        """The AUROC of the probabilities, and all that follows from the decisions."""
        ranked = sample([table], self.units, level="image")
        classes, units = len(table.classes), len(self.units)
        cell = self.code * classes**2 + table.label * classes + called
        counts = np.bincount(cell, minlength=units * classes**2).reshape(units, classes, classes).astype(np.float64)
        scores = from_confusion((self.weights @ counts.reshape(units, -1)).reshape(-1, classes, classes))
        # Where a patient was the only one of a class, what is made of all classes is unknown without them.
        complete = ((self.weights @ counts.sum(axis=2)) > 0).all(axis=1)
        freedom = score_df(counts, [None] * (1 if classes == 2 else classes))
        names = measures_of(table.classes)
        values = {key: value[None, :] for key, value in scores.items() if key in map(MEASURES.get, names)}
        area, balanced = MEASURES["auroc"], MEASURES["balanced_accuracy"]
        values[balanced] = np.where(complete, values[balanced], np.nan)
        return Sample(
            values={key: value[:, 0] for key, value in values.items()} | {area: ranked.values[area]},
            left_out={key: value[:, 1:] for key, value in values.items()}
            | {area: np.where(complete[1:], ranked.left_out[area], np.nan)},
            df={key: freedom[key] for key in values} | {area: ranked.df[area]},
            units=units,
            rows=len(table),
            shares=ranked.shares,
            carried=ranked.carried,
        )

    def share(self, values: NDArray[np.generic]) -> dict[str, float]:
        """The mean over images of values in [0, 1], (N,), with its interval over units."""
        units = len(self.units)
        summed = np.bincount(self.code, weights=values, minlength=units)
        images = np.bincount(self.code, minlength=units).astype(np.float64)
        mean = (self.weights @ summed) / (self.weights @ images)
        df = max(effective_units(images) - 1, 1.0)
        return _with_interval(estimate(mean[:1], mean[None, 1:], df, metric="share"))

    def effective_images(self, moved: Floats) -> float:
        """How many independent images these are worth, from how alike they are moved within a unit; (N,) in [0, 1].

        The variance over images over the squared error of the mean, units left out in turn: from the number of units,
        where all of a unit's images are moved alike, to that of images. Infinite where nothing is moved at all: a model
        that does not see a change will not see it in the next patient either.
        """
        if moved.max() <= UNMOVED:
            return float("inf")
        units, images = len(self.units), np.bincount(self.code, minlength=len(self.units)).astype(np.float64)
        mean = (self.weights @ np.bincount(self.code, weights=moved, minlength=units)) / (self.weights @ images)
        error, _ = variance_parts(mean[:1], mean[None, 1:])
        return float(np.clip(moved.var() / error, units, len(moved))) if error > 0 else float(units)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One prediction of all images: calibrated table, (N,) decisions, and the scores with each unit left out."""

    table: Predictions
    called: NDArray[np.int64]
    sample: Sample

    def scores(self) -> dict[str, dict[str, float]]:
        """Every measure with its interval."""
        by_key = estimates(self.sample)
        return {name: _with_interval(by_key[MEASURES[name]]) for name in measures_of(self.table.classes)}


def _with_interval(score: Estimate) -> dict[str, float]:
    return {"value": score.value, "low": score.low, "high": score.high}


def measures_of(classes: Sequence[str]) -> tuple[str, ...]:
    """The names of the measures for so many classes; of more than two there is no sensitivity."""
    return TWO_CLASSES if len(classes) == 2 else MORE_CLASSES


def judge_of(images: Predictions, calibration: Calibration | None, threshold: float) -> Evaluator:
    """The judge of these images.

    Raises:
        InputError: If they are of one patient, or a class has no image, so that nothing could be said of others.
    """
    units = units_of([images])
    if len(units) < 2:
        raise InputError(
            f"all {len(images)} images are of patient '{units[0]}'; how far a model can be trusted with other patients "
            "needs two at least, and two of each class"
        )
    counts = np.bincount(images.label, minlength=len(images.classes))
    if not counts.all():
        absent = images.classes[int(np.flatnonzero(counts == 0)[0])]
        raise InputError(f"no image is of class '{absent}'; give images of every class, or another part of the split")
    place = {name: k for k, name in enumerate(units)}
    code = np.array([place[name] for name in images.patient], dtype=np.int64)
    weights = np.concatenate([np.ones((1, len(units))), jackknife_weights(len(units))])
    return Evaluator(images, units, code, weights, calibration, threshold)


# --------------------------------------------------------------------------------------------------------- the records


def step_record(judge: Evaluator, clean: Evaluation, degraded: Evaluation) -> dict[str, object]:
    """What one step did: each measure with its paired difference to the clean tiles, and how decisions moved.

    Where leaving out any patient changes nothing, none having turned, the interval is the exact one for none of as many
    images as these are worth: that none of a hundred turned does not say that none of a thousand would.
    """
    moved = _moved(clean, degraded)
    worth = judge.effective_images(moved)
    counts = np.bincount(clean.table.label) / len(moved)
    # The share of the images whose turning each measure would feel the most.
    felt = {"auroc": counts.min(), "sensitivity": counts[-1], "specificity": counts[0], "accuracy": 1.0,
            "balanced_accuracy": counts.min() * len(counts)}  # fmt: skip
    scores = {}
    for name in measures_of(clean.table.classes):
        key = MEASURES[name]
        change = difference(degraded.sample, clean.sample, key)
        low, high = change.low, change.high
        if change.se_patient == 0:
            half = _none_of(worth * felt[name])
            low, high = change.difference - half, change.difference + half
        scores[name] = {"value": change.value_a, "difference": change.difference, "low": low, "high": high}
    return {
        "scores": scores,
        "flipped": _share(judge, degraded.called != clean.called, worth),
        "moved": _share(judge, moved, worth),
    }


def _none_of(images: float) -> float:
    """The upper limit of a share of which none was seen in so many independent images."""
    return clopper_pearson(0, images)[1] if np.isfinite(images) else 0.0


def _share(judge: Evaluator, values: NDArray[np.generic], worth: float) -> dict[str, float]:
    """The mean of values in [0, 1]; where all are 0, its limit is exact for as many images as these are worth."""
    share = judge.share(values)
    return share if share["value"] > 0 else share | {"low": 0.0, "high": _none_of(worth)}


def _moved(clean: Evaluation, degraded: Evaluation) -> Floats:
    """(N,) how much probability changed its class, in [0, 1]: of two classes the change of the positive one's."""
    moved: Floats = 0.5 * np.abs(degraded.table.prob - clean.table.prob).sum(axis=1)
    return np.minimum(moved, 1.0)


def rotation_record(judge: Evaluator, clean: Evaluation, turned: Sequence[Evaluation]) -> dict[str, object]:
    """How far the seven other symmetries change probabilities and decisions; tissue has no right way up.

    flipped:        share of the decisions, over images and symmetries, that are not those of the tile as it is
    any_flipped:    share of the images of which one symmetry or more is decided otherwise
    moved:          mean change of probability
    largest_moved:  mean over images of the largest of their seven changes
    """
    flipped = np.stack([evaluation.called != clean.called for evaluation in turned]).astype(np.float64)
    moved = np.stack([_moved(clean, evaluation) for evaluation in turned])
    worth = judge.effective_images(moved.max(axis=0))
    return {
        "flipped": _share(judge, flipped.mean(axis=0), worth),
        "any_flipped": _share(judge, flipped.max(axis=0), worth),
        "moved": _share(judge, moved.mean(axis=0), worth),
        "largest_moved": _share(judge, moved.max(axis=0), worth),
        "symmetries": [
            {"name": name, "flipped": float(turns.mean()), "moved": float(change.mean())}
            for name, turns, change in zip(SYMMETRIES[1:], flipped, moved, strict=True)
        ],
    }


def site_record(clean: Evaluation) -> dict[str, object] | None:
    """Scores within each site on the clean tiles, and the worst; None where fewer than two sites are known.

    Sites of fewer than 10 patients are named and not scored.
    """
    table = clean.table
    names = set(table.site) - {""}
    if len(names) < 2:
        return None
    decided = replace(table, prob=np.eye(len(table.classes))[clean.called])
    by_arm = subgroup_scores({"ranked": [table], "decided": [decided]}, by="site")["arms"]
    binary = len(table.classes) == 2
    key_of = {"sensitivity": "recall", "specificity": "specificity", "accuracy": "accuracy"} if binary else {}
    key_of = key_of or {"accuracy": "accuracy"}
    sites = []
    for ranked, site in zip(by_arm["ranked"]["groups"], by_arm["decided"]["groups"], strict=True):
        scores = None
        if ranked["scores"] is not None:
            scores = {"auroc": ranked["scores"]["auroc"]} | {name: site["scores"][key] for name, key in key_of.items()}
        sites.append({"site": site["group"], "images": site["images"], "patients": site["patients"], "scores": scores})
    return {
        "fewest_patients": FEWEST,
        "sites": sites,
        "suppressed": sum(row["scores"] is None for row in sites),
        "images_without_site": table.site.count(""),
        "worst": {name: worst for name in ("auroc", *key_of) if (worst := _worst_site(sites, name)) is not None},
    }


def _worst_site(sites: Sequence[Mapping[str, Any]], measure: str) -> dict[str, Any] | None:
    """The site with the lowest value of a measure, of two or more that have one."""
    scored = [row for row in sites if row["scores"] is not None and np.isfinite(row["scores"][measure]["value"])]
    if len(scored) < 2:
        return None
    worst = min(scored, key=lambda row: float(row["scores"][measure]["value"]))
    return {"site": worst["site"], "of": len(scored), **worst["scores"][measure]}
