"""What a model says of images whose truth need not be known: probabilities, decisions, prediction sets, distances."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.evaluation.format import plural
from counterstain.evaluation.predictions import Predictions, check_prob
from counterstain.evaluation.rows import file_word, rows_named
from counterstain.records import Record, html_of, json_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ModelOutput"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ModelOutput:
    """A model's answers, one row per image.

    image: N names: the paths that were given, or "tile 0", "tile 1", …
    classes: C names, in the order of the columns of prob; of two the positive one is the last.
    prob: (N, C) float64, calibrated as the model says; rows sum to 1.
    called: (N,) class index at the frozen threshold; None without a threshold (or with more than two classes).
    in_set: (N, C) whether a class is in the image's prediction set; None without a calibration.
    distance: (N,) Mahalanobis distance of the features from the training tiles'; None where the model has no
        statistics of them. distance_limit: 99 % of tiles like the training tiles lie within it.
    threshold: of the positive class's probability.
    skipped: (name, reason) of images that could not be read.
    notes: what limits every claim, one line each.

    Raises:
        InputError: On a size that differs or a probability that is none.
    """

    image: tuple[str, ...]
    classes: tuple[str, ...]
    prob: NDArray[np.float64]
    called: NDArray[np.int64] | None = None
    in_set: NDArray[np.bool_] | None = None
    distance: NDArray[np.float64] | None = None
    threshold: float | None = None
    distance_limit: float | None = None
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n, c = len(self.image), len(self.classes)
        shapes = {"prob": (n, c), "called": (n,), "in_set": (n, c), "distance": (n,)}
        for name, needed in shapes.items():
            array = getattr(self, name)
            if array is not None and array.shape != needed:
                raise InputError(f"{name} has shape {array.shape}; {needed} was needed: images, classes")
        check_prob(self.prob, lambda row: f"image '{self.image[row]}'")

    def __len__(self) -> int:
        return len(self.image)

    @cached_property
    def predicted(self) -> tuple[str, ...]:
        """The most probable class of each image."""
        return tuple(self.classes[k] for k in self.prob.argmax(axis=1))

    @cached_property
    def decision(self) -> tuple[str, ...] | None:
        """The class of each image at the model's frozen threshold; None where it has none."""
        return None if self.called is None else tuple(self.classes[k] for k in self.called)

    @cached_property
    def prediction_sets(self) -> tuple[tuple[str, ...], ...] | None:
        """The classes that cannot be ruled out for each image; None without a calibration."""
        if self.in_set is None:
            return None
        names = np.array(self.classes, dtype=object)
        return tuple(tuple(str(name) for name in names[row]) for row in self.in_set)

    @cached_property
    def unfamiliar(self) -> NDArray[np.bool_] | None:
        """(N,) whether an image is farther from the training tiles than 99 % of tiles like them; None if unknown."""
        if self.distance is None or self.distance_limit is None:
            return None
        beyond: NDArray[np.bool_] = self.distance > self.distance_limit
        return beyond

    @property
    def calls(self) -> tuple[str, ...]:
        """One class per image: the decision at the frozen threshold, else the most probable class."""
        return self.predicted if self.decision is None else self.decision

    @property
    def rule(self) -> str:
        """How `calls` are made: "prob_malignant >= 0.41", or "most probable class"."""
        if self.called is None or self.threshold is None:
            return "most probable class"
        return f"prob_{self.classes[-1]} >= {self.threshold:.6g}"

    def with_truth(
        self,
        label: Sequence[str] | NDArray[np.str_],
        *,
        patient: Sequence[str] | None = None,
        slide: Sequence[str] | None = None,
        site: Sequence[str] | None = None,
    ) -> Predictions:
        """The probabilities beside the true class names, for `evaluate` and `compare`.

        Args:
            label: N class names.
            patient, slide, site: N names; without patients the image is the unit.

        Raises:
            InputError: If a label is none of the classes, or a size differs.
        """
        place = {name: k for k, name in enumerate(self.classes)}
        unknown = next((str(name) for name in label if str(name) not in place), None)
        if unknown is not None:
            raise InputError(f"a label is '{unknown}'; the model's classes are {', '.join(self.classes)}")
        blank = ("",) * len(self)
        patients = tuple(patient) if patient is not None else self.image
        slides = tuple(slide) if slide is not None else blank
        return Predictions(
            image=self.image,
            patient=patients,
            slide=slides,
            site=tuple(site) if site is not None else blank,
            label=np.array([place[str(name)] for name in label], dtype=np.int64),
            prob=self.prob,
            classes=self.classes,
            rows_are=rows_named(self.image, slides, patients),
        )

    def to_frame(self) -> "pd.DataFrame":
        """One row per image: image_path, prob_<class>…, decision and its rule; prediction_set and distance if known."""
        import pandas as pd

        columns: dict[str, Sequence[object]] = {"image_path": self.image}
        columns |= {f"prob_{name}": self.prob[:, k].tolist() for k, name in enumerate(self.classes)}
        columns |= {"decision": self.calls, "decision_rule": [self.rule] * len(self)}
        if self.prediction_sets is not None:
            columns["prediction_set"] = ["|".join(names) for names in self.prediction_sets]
        if self.distance is not None and self.unfamiliar is not None:
            columns |= {"distance": self.distance.tolist(), "unfamiliar": self.unfamiliar.tolist()}
        return pd.DataFrame(columns)

    @property
    def record(self) -> Record:
        """As JSON holds it."""
        return {
            "schema": "counterstain.model_output/1",
            "classes": list(self.classes),
            "threshold": self.threshold,
            "decision_rule": self.rule,
            "distance_limit": self.distance_limit,
            "images": [
                {
                    "image": name,
                    "prob": self.prob[row].tolist(),
                    "decision": self.calls[row],
                    "prediction_set": None if self.prediction_sets is None else list(self.prediction_sets[row]),
                    "distance": None if self.distance is None else float(self.distance[row]),
                }
                for row, name in enumerate(self.image)
            ],
            "skipped": [list(pair) for pair in self.skipped],
            "notes": list(self.notes),
        }

    def to_json(self, path: Path | str | None = None) -> str:
        """The record as JSON text; with a path it is also written there."""
        return json_text(self.record, path)

    def summary(self) -> str:
        """A sentence: how many images of each class, how many are undecided, unfamiliar or skipped."""
        counts = [f"{self.calls.count(name)} {name}" for name in self.classes if name in self.calls]
        parts = [f"{plural(len(self), file_word(self.image))}: {', '.join(counts)}"]
        if self.in_set is not None:
            several = int((self.in_set.sum(axis=1) != 1).sum())
            parts.append(f"{several} with more than one class, or none, in the prediction set")
        if self.unfamiliar is not None:
            parts.append(f"{int(self.unfamiliar.sum())} unlike the training tiles")
        if self.skipped:
            parts.append(f"{len(self.skipped)} could not be read")
        return "; ".join(parts)

    def __repr__(self) -> str:
        return f"ModelOutput({self.summary()[:150]})"

    def _repr_html_(self) -> str:
        return html_of(self.summary(), self.notes)
