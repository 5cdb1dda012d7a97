"""Scores as an object: each measure with its interval, unit and n, over the record scores.json."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from counterstain.errors import InputError, as_arguments, suggest
from counterstain.evaluation.arm_scores import score_rows
from counterstain.evaluation.evaluation_tables import evaluation_notes
from counterstain.evaluation.format import counted_rows
from counterstain.evaluation.metric_names import ORDER, canonical_measure, measure_words
from counterstain.evaluation.record_types import ArmRecord, ScoresRecord
from counterstain.evaluation.rows import level_of, recorded_rows, recorded_unit
from counterstain.evaluation.table_evaluation import evaluation_rows
from counterstain.evaluation.text_tables import levelled_interval, shown_interval
from counterstain.records import html_of, json_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Score", "Scores"]


@dataclass(frozen=True)
class Score:
    """One measure with its interval.

    metric: its name in the records; level: "image", "slide" or "patient"; of: the class, None for the positive one of
        two or the mean over more.
    value: None where it is undefined; low, high: ends of the interval over patients, None where there is none.
    confidence: of that interval.
    """

    metric: str
    level: str
    of: str | None
    value: float | None
    low: float | None
    high: float | None
    confidence: float = 0.95

    def __float__(self) -> float:
        return float("nan") if self.value is None else self.value

    def __str__(self) -> str:
        return levelled_interval(self.value, self.low, self.high, self.confidence)


@dataclass(frozen=True, eq=False, repr=False)
class Scores:
    """Every score of one model, with intervals over patients.

    `scores["auroc"]` is a `Score`; the field's other names are understood ("sensitivity", "auc").

    record: scores.json; arm: whose scores of it.
    """

    record: ScoresRecord
    arm: str = "model"

    @property
    def _arm_record(self) -> ArmRecord:
        return self.record["arms"][self.arm]

    def __iter__(self) -> Iterator[Score]:
        for row in self._arm_record["scores"]:
            ends = (row["value"], row["low"], row["high"])
            yield Score(row["metric"], row["level"], row["class"], *ends, self.confidence)

    def __getitem__(self, metric: str) -> Score:
        return self.at(metric)

    def at(self, metric: str, *, level: str = "image", of: str | None = None) -> Score:
        """One score.

        Args:
            metric: its name or a known alias.
            level: "image" (the rows, whatever they are), "slide" or "patient".
            of: a class; None for the positive one of two, or the mean over more.

        Raises:
            InputError: If there is no such score.
        """
        level = level_of(level, recorded_rows(self.record))
        by_metric = {score.metric: score for score in self if score.level == level and score.of == of}
        if not by_metric and level not in self.levels:
            raise InputError(f"level is '{level}'{suggest(level, self.levels)}")
        if not by_metric and of not in self.classes:
            raise InputError(f"of is '{of}'{suggest(str(of), self.classes)}")
        if not by_metric:
            raise InputError(f"of two classes only the positive one is scored; evaluate again with positive='{of}'")
        return by_metric[canonical_measure(metric, list(by_metric), noun="measure")]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the measures at image level."""
        return tuple(score.metric for score in self if score.level == "image" and score.of is None)

    @property
    def levels(self) -> tuple[str, ...]:
        """What is scored: "image", and "slide" and "patient" where they are known."""
        return tuple(dict.fromkeys(score.level for score in self))

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in order."""
        return tuple(self.record["classes"])

    @property
    def positive(self) -> str | None:
        """The positive class of two; None for more."""
        return self.record["positive"]

    @property
    def unit(self) -> str:
        """What the intervals take as independent: "patient" or "image"."""
        return self.record["unit"]

    @property
    def confidence(self) -> float:
        """Confidence level of the intervals, 0.95 by default."""
        return self.record["confidence"]

    @property
    def images(self) -> int:
        """How many images."""
        return self._arm_record["images"]

    @property
    def patients(self) -> int | None:
        """How many patients; None where they are unknown."""
        return self._arm_record["patients"]

    @property
    def threshold(self) -> float | None:
        """The threshold at which calls are scored; None for the most probable class, or one for each seed."""
        decision = self.record.get("decision")
        values = None if decision is None else decision["thresholds"]
        return float(values[0]) if values is not None and len(set(values)) == 1 else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must be told, one line each."""
        stamp = self.record["stamp"]
        notes = [*self._arm_record["warnings"], *evaluation_notes(self.record)]
        notes += [f"seen before: {line}" for line in self.record.get("seen", {}).get("words", ())]
        notes += self.record.get("looks", [])
        return tuple(map(as_arguments, dict.fromkeys([*([stamp] if stamp else []), *notes])))

    def to_frame(self) -> "pd.DataFrame":
        """The rows of scores.csv: arm, level, metric, class, value with its interval, images, patients, seeds, unit."""
        import pandas as pd

        header, rows = evaluation_rows(self.record) if "decision" in self.record else score_rows(self.record)
        frame = pd.DataFrame(rows, columns=list(header))
        return frame[frame["arm"] == self.arm].reset_index(drop=True)

    def to_json(self, path: Path | str | None = None) -> str:
        """The record as JSON text; with a path it is also written there."""
        return json_text(self.record, path)

    def summary(self) -> str:
        """The main measures at image level with their intervals, one line each, below what they rest on."""
        rows = self._rows()
        wide = max((len(name) for name, _ in rows), default=0)
        return "\n".join([self._head(), *(f"  {name:<{wide}} {cell}" for name, cell in rows)])

    def _head(self) -> str:
        return f"{self._counts()}; value and {100 * self.confidence:g} % interval, unit {recorded_unit(self.record)}"

    def _counts(self) -> str:
        return counted_rows(self.images, recorded_rows(self.record), self.patients)

    def _rows(self) -> list[tuple[str, str]]:
        by_metric = {score.metric: score for score in self if score.level == "image" and score.of is None}
        return [
            (
                measure_words(name, self.positive),
                shown_interval(by_metric[name].value, by_metric[name].low, by_metric[name].high),
            )
            for name in ORDER
            if name in by_metric
        ]

    def __repr__(self) -> str:
        first = self.metrics[0] if "auroc" not in self.metrics else "auroc"
        return f"Scores({first} {self[first]}, {self._counts()}, unit {recorded_unit(self.record)})"

    def _repr_html_(self) -> str:
        return html_of(self._head(), self.notes, ("measure", "value and interval"), self._rows())
