"""Scores of several findings per image as an object: each finding's and their mean's, over the record findings.json."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from counterstain.errors import InputError, suggest
from counterstain.evaluation.finding_scores import MEAN, finding_rows
from counterstain.evaluation.format import counted_rows
from counterstain.evaluation.metric_names import canonical_measure
from counterstain.evaluation.record_types import FindingsRecord
from counterstain.evaluation.scores_result import Score
from counterstain.evaluation.text_tables import finding_scores_table, shown_interval
from counterstain.records import html_of, json_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FindingScores"]


@dataclass(frozen=True, eq=False, repr=False)
class FindingScores:
    """Scores of every finding and of their mean, with intervals over patients; of several models also differences.

    record: findings.json.
    """

    record: FindingsRecord

    @property
    def findings(self) -> tuple[str, ...]:
        """Names of the findings."""
        return tuple(row["finding"] for row in self.record["findings"])

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models."""
        return tuple(self.record["seeds"])

    @property
    def unit(self) -> str:
        """What the intervals take as independent: "patient" or "image"."""
        return self.record["unit"]

    def score(self, finding: str | None = None, metric: str = "auroc", model: str | None = None) -> Score:
        """One score; by default the mean over all findings of the first model.

        Raises:
            InputError: If there is no such finding, measure or model.
        """
        label, arm = MEAN if finding is None else finding, model or self.models[0]
        rows = self.record["scores"]
        for noun, name, known in (
            ("finding", label, [*self.findings, MEAN]),
            ("model", arm, list(self.models)),
        ):
            if name not in known:
                raise InputError(f"{noun} is '{name}'{suggest(name, known)}")
        measure = canonical_measure(metric, list(dict.fromkeys(row["metric"] for row in rows)), noun="measure")
        row = next(r for r in rows if (r["arm"], r["finding"], r["metric"]) == (arm, label, measure))
        return Score(measure, "image", None, row["value"], row["low"], row["high"], self.record["confidence"])

    def to_frame(self) -> "pd.DataFrame":
        """The rows of findings.csv: arm, finding, metric, value with its interval, images, units, seeds, unit."""
        import pandas as pd

        header, rows = finding_rows(self.record)
        return pd.DataFrame(rows, columns=list(header))

    def to_json(self, path: Path | str | None = None) -> str:
        """The record as JSON text; with a path it is also written there."""
        return json_text(self.record, path)

    def summary(self) -> str:
        """One line per finding and for their mean: AUROC with its interval, of each model."""
        wide = max(map(len, [*self.findings, MEAN]))
        return "\n".join([self._head(), *(f"  {name:<{wide}} {self._cells(name)}" for name in [*self.findings, MEAN])])

    def _cells(self, finding: str) -> str:
        scores = [self.score(finding, model=model) for model in self.models]
        return "  ".join(shown_interval(score.value, score.low, score.high) for score in scores)

    def _head(self) -> str:
        patients = self.record["units"] if self.unit == "patient" else None
        counts = counted_rows(self.record["images"], "image", patients)
        return f"{counts}; AUROC and {100 * self.record['confidence']:g} % interval, unit {self.unit}"

    def __repr__(self) -> str:
        return f"FindingScores({len(self.findings)} findings, mean AUROC {self.score()}, unit {self.unit})"

    def _repr_html_(self) -> str:
        parts = [html_of(self._head())]
        for model in self.models:
            head, rows = finding_scores_table(self.record, model)
            parts.append(html_of(model, (), tuple(head), [tuple(row) for row in rows]))
        return "".join(parts)
