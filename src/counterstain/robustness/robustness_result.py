"""A robustness card as an object: what each trial costs, over the record robustness.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterstain.errors import InputError, suggest
from counterstain.evaluation.scores_result import Score
from counterstain.records import Record, html_of, json_text
from counterstain.reports.robustness_report import headline

if TYPE_CHECKING:
    import pandas as pd

from counterstain.records import short_repr

__all__ = ["Limit", "Loss", "RobustnessCard"]


@dataclass(frozen=True)
class Loss:
    """One measure under one step of one trial, against the clean images.

    trial: such as "blur"; at: the step's strength, shown: the same in words; metric: the measure.
    value: of the altered images; difference (altered - clean), low, high: with its paired interval; None: undefined.
    flipped: share of decisions that changed.
    """

    trial: str
    at: float
    shown: str
    metric: str
    value: float | None
    difference: float | None
    low: float | None
    high: float | None
    flipped: float


@dataclass(frozen=True)
class Limit:
    """One limit of the budget: whether it is met, and the evidence in words."""

    met: bool
    words: str

    def __repr__(self) -> str:
        return short_repr(self)


@dataclass(frozen=True, eq=False, repr=False)
class RobustnessCard:
    """How far a model's answers hold when tiles differ from the training distribution.

    folder: with robustness.html, robustness.csv and robustness.json; record: the last.
    """

    folder: Path
    record: Record

    @property
    def clean(self) -> Mapping[str, Score]:
        """Measure -> its score on the images as they are."""
        rows: Any = self.record["clean"]
        return {
            name: Score(name, "image", None, score["value"], score["low"], score["high"])
            for name, score in rows.items()
        }

    @property
    def losses(self) -> tuple[Loss, ...]:
        """Every measure under every step of every trial."""
        curves: Any = self.record["curves"]
        return tuple(
            Loss(
                curve["trial"], float(step["at"]), step["shown"], name, score["value"], score["difference"],
                score["low"], score["high"], float(step["flipped"]["value"]),
            )
            for curve in curves
            for step in curve["steps"]
            for name, score in step["scores"].items()
        )  # fmt: skip

    def loss(self, trial: str, metric: str = "auroc") -> tuple[Loss, ...]:
        """The steps of one trial, mild to severe as the record has them.

        Raises:
            InputError: If the trial or the measure is not on the card.
        """
        of_trial = [loss for loss in self.losses if loss.trial == trial]
        if not of_trial:
            raise InputError(f"trial is '{trial}'{suggest(trial, self.trials)}")
        losses = tuple(loss for loss in of_trial if loss.metric == metric)
        if not losses:
            raise InputError(f"measure is '{metric}'{suggest(metric, dict.fromkeys(loss.metric for loss in of_trial))}")
        return losses

    @property
    def trials(self) -> tuple[str, ...]:
        """Names of the trials."""
        curves: Any = self.record["curves"]
        return tuple(str(curve["trial"]) for curve in curves)

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits of the budget; none where none was given."""
        budget: Any = self.record["budget"]
        return () if budget is None else tuple(Limit(bool(row["met"]), row["words"]) for row in budget["limits"])

    @property
    def met(self) -> bool | None:
        """Whether every limit of the budget is met; None where none was given."""
        budget: Any = self.record["budget"]
        return None if budget is None else bool(budget["met"])

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must be told, one line each."""
        rows: Any = self.record["notes"]
        return tuple(map(str, rows))

    @property
    def page(self) -> Path:
        """The card as a page."""
        return self.folder / "robustness.html"

    def to_frame(self) -> "pd.DataFrame":
        """One row per loss, with the attributes of `Loss`."""
        from dataclasses import asdict

        import pandas as pd

        return pd.DataFrame([asdict(loss) for loss in self.losses], columns=list(Loss.__dataclass_fields__))

    def to_json(self, path: Path | str | None = None) -> str:
        """The record as JSON text; with a path it is also written there."""
        return json_text(self.record, path)

    def summary(self) -> str:
        """The headline of the card, and the limits that are not met."""
        failed = [f"  not met: {limit.words}" for limit in self.limits if not limit.met]
        return "\n".join([headline(dict(self.record)), *failed])

    def __fspath__(self) -> str:
        return str(self.folder)

    def __repr__(self) -> str:
        budget = {None: "no budget", True: "budget met", False: "budget not met"}[self.met]
        return f"RobustnessCard({len(self.trials)} trials, {budget}, {str(self.folder)[-80:]})"

    def _repr_html_(self) -> str:
        rows = [
            (loss.trial, loss.shown, "undefined" if loss.difference is None else f"{loss.difference:+.3f}")
            for loss in self.losses
            if loss.metric == "auroc"
        ]
        return html_of(self.summary(), self.notes, ("trial", "step", "change of AUROC"), rows)
