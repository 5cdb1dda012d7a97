"""What a model says of images without labels: calls, what backs them, their table and their sheet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterstain.cohort.new_images import NewImages
from counterstain.cohort.reading_options import ImageOptions
from counterstain.cohort.split import Split
from counterstain.evaluation.finding_scores import FindingPredictions, score_findings
from counterstain.evaluation.record_types import FindingsRecord, ScoresRecord
from counterstain.evaluation.rows import file_word
from counterstain.files import StrPath, write_csv
from counterstain.images.contact_sheet import CalledTile, called_sheet
from counterstain.learning.model_choice import ModelChoice
from counterstain.slides.tile_predictions import colours
from counterstain.study.contact_sheets import save_sheet

__all__ = ["Predicted", "PredictionOptions", "draw_sheet", "write_predicted"]


@dataclass(frozen=True, kw_only=True)
class PredictionOptions:
    """How images are to be predicted.

    arm, seed, fold: of a run, instead of the best on validation data; see choose_model.
    ensemble:   average the seeds of a run's arm.
    splits, part: only this part of a split or of its splits.csv, whose images are all labelled.
    split_fold: of a split with several folds, this one as "repeat-fold"; by default the model's own.
    runtime, precision: see runtimes.choose_runtime.
    device:     "auto", "cpu" or "cuda"; models of whole slides are on the processor.
    attention:  of a model of whole slides: folder for the weight of every tile.
    reading:    how the images are read, see read_new_images.
    sheet:      picture of the images with their calls, see called_sheet.
    """

    arm: str | None = None
    seed: int | None = None
    fold: str | None = None
    ensemble: bool = False
    splits: Split | StrPath | None = None
    part: str = "test"
    split_fold: str | None = None
    runtime: str = "auto"
    precision: str = "fp32"
    device: str = "auto"
    attention: Path | None = None
    reading: ImageOptions = field(default_factory=lambda: ImageOptions())
    sheet: Path | None = None


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Predicted:
    """What a model says of images, one entry per image that could be read.

    images:   the images, in order; classes: of the model, the positive one of two last
    prob:     (N, C) calibrated probabilities; spread: (N,) standard deviation over an ensemble's members of the
              probability of the called class, None for one model
    call:     (N,) class index, the one call; rule: by which it was made
    sets:     (N, C) which classes can't be ruled out; None where the model was not calibrated
    sets_hold: whether they were fitted on enough patients to rule anything out
    seen:     (N,) whether the very image was in training; None where the model does not know
    distance: (N,) Mahalanobis distance from the training features, unfamiliar: (N,) beyond the limit; None where the
              model has no such statistics
    findings: of a model of several findings, finding -> (N,) calibrated probability and (N,) whether it is called at
              its frozen threshold (None for an ensemble, which has none); {} for any other model
    set_aside: (image, reason) of those that could not be read
    scores:   the record of score_arms on the labelled images; None where none is labelled
    threshold: from which probability on the positive class is called; None where the most probable class is
    choice:   the models that answered
    """

    images: NewImages
    classes: tuple[str, ...]
    prob: NDArray[np.float64]
    call: NDArray[np.int64]
    rule: str
    sets: NDArray[np.bool_] | None
    sets_hold: bool
    spread: NDArray[np.float64] | None
    seen: NDArray[np.bool_] | None
    distance: NDArray[np.float64] | None
    unfamiliar: NDArray[np.bool_] | None
    set_aside: tuple[tuple[str, str], ...]
    scores: ScoresRecord | None
    out: Path
    choice: ModelChoice
    findings: Mapping[str, tuple[NDArray[np.float64], NDArray[np.bool_] | None]] = field(default_factory=dict)
    threshold: float | None = None

    def __len__(self) -> int:
        return len(self.call)

    def __fspath__(self) -> str:
        return str(self.out)

    def __repr__(self) -> str:
        return f"Predicted({self.summary()[:180]})"

    @property
    def unambiguous(self) -> NDArray[np.bool_] | None:
        """(N,) whether exactly one class can't be ruled out; None where that is not known."""
        return self.sets.sum(axis=1) == 1 if self.sets is not None and self.sets_hold else None

    def summary(self) -> str:
        """One line: "8 images: 5 malignant, 3 benign; 1 can't be told; 0 seen in training; 2 unlike the training"."""
        counts = np.bincount(self.call, minlength=len(self.classes))
        order = sorted(range(len(self.classes)), key=lambda k: (-counts[k], -k))
        parts = [", ".join(f"{counts[k]} {self.classes[k]}" for k in order)]
        if self.unambiguous is not None:
            parts.append(f"{int((~self.unambiguous).sum())} can't be told")
        parts.append(
            "overlap with training images unknown" if self.seen is None else f"{self.seen.sum()} seen in training"
        )
        if self.unfamiliar is not None:
            parts.append(f"{self.unfamiliar.sum()} unlike the training images")
        if self.set_aside:
            parts.append(f"{len(self.set_aside)} could not be read")
        counted = [f"{name} {called.sum()}" for name, (_, called) in self.findings.items() if called is not None]
        if counted:
            parts.append(f"findings: {', '.join(counted)}")
        noun = file_word(self.images.image) + ("" if len(self) == 1 else "s")
        return f"{len(self)} {noun}: {'; '.join(parts)}"

    @property
    def finding_scores(self) -> FindingsRecord | None:
        """The record of score_findings, of a model of several findings on images of which they are known."""
        table, present = self.images.table, self.images.present
        if present is None or not self.findings:
            return None
        called = [calls for _, calls in self.findings.values() if calls is not None]  # an ensemble has none
        ids = zip(table["patient_id"], table["image_path"], strict=True)
        predictions = FindingPredictions(
            image=self.images.image, patient=tuple(patient or image for patient, image in ids),
            slide=tuple(table["slide_id"]), site=tuple(table["site"]), label=present,
            prob=np.stack([prob for prob, _ in self.findings.values()], 1), findings=tuple(self.findings),
            called=np.stack(called, 1).astype(np.int64) if called else None,
        )  # fmt: skip
        return score_findings({"model": [predictions]})

    @property
    def called_words(self) -> str:
        """How the calls at the threshold do, where the scores, which are of the most probable class, don't say it."""
        labelled = self.images.labelled
        if self.threshold is None or not labelled.any():
            return ""
        truth, called = np.array(self.images.table["label"][labelled] == self.classes[1]), self.call[labelled] == 1
        rates = [
            f"{name} {right[rows].mean():.3f} ({right[rows].sum()} of {rows.sum()})"
            for name, rows, right in (("sensitivity", truth, called), ("specificity", ~truth, ~called))
            if rows.any()
        ]
        return (
            f"The calls, made at the threshold: {', '.join(rates)}; the tables above predict the most probable class."
        )

    def record(self) -> dict[str, object]:
        """The counts as JSON."""
        return {
            "schema": "counterstain.predicted/1",
            "predictions": str(self.out),
            "images": len(self),
            "calls": {name: int((self.call == k).sum()) for k, name in enumerate(self.classes)},
            "decision_rule": self.rule,
            "findings": {
                name: None if called is None else int(called.sum()) for name, (_, called) in self.findings.items()
            },
            "cannot_be_told": None if self.unambiguous is None else int((~self.unambiguous).sum()),
            "seen_in_training": None if self.seen is None else int(self.seen.sum()),
            "unfamiliar": None if self.unfamiliar is None else int(self.unfamiliar.sum()),
            "set_aside": [list(pair) for pair in self.set_aside],
            "scores": self.scores,
            "finding_scores": self.finding_scores,
            "summary": self.summary(),
        }


def write_predicted(predicted: Predicted) -> None:
    """predictions.csv: what is not known has no column."""
    table, names = predicted.images.table, np.array(predicted.classes, dtype=object)
    columns: dict[str, Sequence[Any]] = {
        name: table[name].tolist() for name in ("image_path", "patient_id", "slide_id", "site")
    }
    if predicted.images.labelled.any():
        columns["label"] = table["label"].tolist()
    columns |= {f"prob_{name}": predicted.prob[:, k].tolist() for k, name in enumerate(predicted.classes)}
    columns["decision"] = names[predicted.call].tolist()
    columns["decision_rule"] = [predicted.rule] * len(predicted)
    if predicted.sets is not None:
        columns["prediction_set"] = ["|".join(names[row]) for row in predicted.sets]
    present = predicted.images.present
    for k, (name, (prob, called)) in enumerate(predicted.findings.items()):
        if present is not None:
            columns[f"label_{name}"] = present[:, k].tolist()
        columns[f"finding_{name}"] = prob.tolist()
        if called is not None:
            columns[f"has_{name}"] = ["yes" if has else "no" for has in called]
    if predicted.spread is not None:
        columns["spread"] = predicted.spread.tolist()
    for name, flags in (("seen_in_training", predicted.seen), ("unfamiliar", predicted.unfamiliar)):
        if flags is not None:
            columns[name] = ["yes" if flag else "no" for flag in flags]
    if predicted.distance is not None:
        columns["distance"] = predicted.distance.tolist()
    write_csv(predicted.out, tuple(columns), zip(*columns.values(), strict=True))


def draw_sheet(predicted: Predicted, sample: tuple[NDArray[np.int64], NDArray[np.uint8]], path: Path) -> None:
    """The contact sheet: each image framed in the colour of its call, with the probability and what speaks against."""
    colour = colours(predicted.classes)
    rows, tiles = sample
    captions = []
    for row in rows:
        call = int(predicted.call[row])
        marks = [f"{predicted.classes[call]} {predicted.prob[row, call]:.2f}"]
        if predicted.unambiguous is not None and not predicted.unambiguous[row]:
            marks.append("can't be told")
        if predicted.unfamiliar is not None and predicted.unfamiliar[row]:
            marks.append("unfamiliar")
        if predicted.seen is not None and predicted.seen[row]:
            marks.append("seen in training")
        captions.append(CalledTile(Path(predicted.images.image[row]).name, ", ".join(marks), colour[call]))
    legend = list(zip(predicted.classes, colour, strict=True))
    save_sheet(path, called_sheet(tiles, captions, legend))
