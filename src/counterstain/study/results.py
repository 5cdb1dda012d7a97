"""What handing a model on, and a study's run, leave behind, as objects over their folders and records."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from counterstain.evaluation.comparison_result import Comparison
from counterstain.evaluation.format import plural
from counterstain.evaluation.metric_names import measure_words
from counterstain.evaluation.record_types import ComparisonRecord, ScoresRecord
from counterstain.evaluation.rows import level_of, recorded_rows
from counterstain.evaluation.scores_result import Scores
from counterstain.evaluation.text_tables import shown_interval
from counterstain.files import read_json
from counterstain.records import Record, html_of, json_text, short_repr
from counterstain.run_folder import as_written, optional_record, record_path

if TYPE_CHECKING:
    from counterstain.study.model import Model
    from counterstain.study.planning import PlanRecord

__all__ = ["Export", "FoundRate", "Parity", "SearchResult", "StudyPlan", "StudyRun", "one_arm_words"]


@dataclass(frozen=True)
class Parity:
    """How far an exported format's probabilities are from PyTorch's.

    runtime: its name; difference: the largest of a probability; images_per_s: its speed here; tiles: compared.
    """

    runtime: str
    difference: float
    images_per_s: float
    tiles: int


@dataclass(frozen=True, eq=False, repr=False)
class Export:
    """An exported model: its folder, and the record export.json."""

    folder: Path
    record: Record

    @property
    def parity(self) -> tuple[Parity, ...]:
        """One row per format that was written."""
        rows: Any = self.record["parity"]
        speed: Any = self.record["images_per_s"]
        return tuple(
            Parity(row["runtime"], float(row["difference"]), float(speed[row["runtime"]]), int(row["tiles"]))
            for row in rows
        )

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats written."""
        names: Any = self.record["formats"]
        return tuple(names)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user of the model must be told, one line each."""
        absent: Any = self.record.get("features_absent")
        int8: Any = self.record.get("int8")
        notes = [f"unfamiliar tiles are not flagged: {absent}"] if absent else []
        return (*notes, *([f"8-bit integers: {int8['words']}"] if int8 else []))

    def to_json(self, path: Path | str | None = None) -> str:
        """The record as JSON text; with a path it is also written there."""
        return json_text(self.record, path)

    def summary(self) -> str:
        """The folder, and one line per format with its largest difference from PyTorch."""
        rows = [
            f"  {parity.runtime}: differs by at most {parity.difference:.1e} ({parity.tiles} tiles)"
            for parity in self.parity
        ]
        return "\n".join([str(self.folder), *rows])

    def __fspath__(self) -> str:
        return str(self.folder)

    def __repr__(self) -> str:
        return f"Export({str(self.folder)[-100:]}, {', '.join(self.formats) or 'bundle alone'})"

    def _repr_html_(self) -> str:
        rows = [(parity.runtime, f"{parity.difference:.1e}", f"{parity.images_per_s:.0f}") for parity in self.parity]
        return html_of(str(self.folder), self.notes, ("format", "largest difference", "images/s"), rows)


@dataclass(frozen=True, eq=False, repr=False)
class StudyPlan:
    """What a study would do: everything is read and checked, nothing is trained."""

    record: "PlanRecord"

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.record["name"]

    @property
    def trainings(self) -> tuple[str, ...]:
        """The trainings that the study asks for, one line each."""
        return tuple(self.record["trainings"])

    def to_json(self, path: Path | str | None = None) -> str:
        """The record as JSON text; with a path it is also written there."""
        return json_text(self.record, path)

    def summary(self) -> str:
        """How many trainings, and which."""
        return "\n".join([f"{self.name}: {len(self.trainings)} trainings", *(f"  {name}" for name in self.trainings)])

    def __repr__(self) -> str:
        return f"StudyPlan({self.name[:100]}, {len(self.trainings)} trainings)"

    def _repr_html_(self) -> str:
        return html_of(self.summary())


@dataclass(frozen=True, repr=False)
class StudyRun:
    """A finished run of a study, over its folder."""

    folder: Path

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms."""
        return tuple(read_json(as_written(record_path(self.folder, "scores.json")))["arms"])

    @property
    def scores(self) -> Mapping[str, Scores]:
        """Arm -> its scores on the test part."""
        record = cast(ScoresRecord, read_json(as_written(record_path(self.folder, "scores.json"))))
        return {arm: Scores(record, arm) for arm in record["arms"]}

    @property
    def comparison(self) -> Comparison | None:
        """The comparison of the arms; None where there is only one."""
        record = optional_record(self.folder, "comparison.json")
        return Comparison(cast(ComparisonRecord, record)) if record else None

    @property
    def report(self) -> Path:
        """The page of the run."""
        return self.folder / "report.html"

    @property
    def result(self) -> str:
        """What came out in at most two sentences: the verdict, or of one arm its primary measure with its interval."""
        comparison = optional_record(self.folder, "comparison.json")
        if comparison:
            return str(comparison["words"])
        scores = cast(ScoresRecord, read_json(as_written(record_path(self.folder, "scores.json"))))
        return one_arm_words(scores, optional_record(self.folder, "resolved.json"))

    @property
    def next_commands(self) -> tuple[str, ...]:
        """Three commands for what comes next, which run as they stand."""
        run = shlex.quote(str(self.folder))
        name = shlex.quote(self.folder.name)
        arms = optional_record(self.folder, "resolved.json").get("arms", {})
        networks = [str(arm.get("network")) for arm in arms.values()]
        first = f"counterstain serve {run}"
        # Feature files have no pixels to change.
        if any(network.startswith("mil/") for network in networks):
            return (first, f"counterstain verify {run}", f"counterstain reproduce {run} --evaluation")
        images = f"{run} {run} --splits {shlex.quote(str(record_path(self.folder, 'splits.csv')))}"
        if any(":" in network for network in networks):  # the file of an own network must be named again
            from counterstain.learning.model_choice import choose_model
            from counterstain.learning.own_network import SOURCE

            source = choose_model(self.folder).folder / SOURCE
            images += f" --network-file {shlex.quote(str(source))}" if source.is_file() else ""
        return (
            first,
            f"counterstain explain {images} --out {name}-explanation",
            f"counterstain robustness {images} --out {name}-robustness",
        )

    def model(self, arm: str | None = None, seed: int | None = None, fold: str | None = None) -> "Model":
        """One of the run's trained models; see `load_model`."""
        from counterstain.study.model import load_model

        return load_model(self.folder, arm=arm, seed=seed, fold=fold)

    def to_json(self, path: Path | str | None = None) -> str:
        """Scores and comparison as JSON text; with a path they are also written there."""
        comparison = self.comparison
        record = {
            "run": str(self.folder),
            "scores": read_json(as_written(record_path(self.folder, "scores.json"))),
            "comparison": None if comparison is None else comparison.record,
        }
        return json_text(record, path)

    def summary(self) -> str:
        """The verdict where there is one, and each arm's main scores."""
        comparison = self.comparison
        lines = [] if comparison is None else [comparison.summary()]
        return "\n".join([*lines, *(f"{arm}: {scores.summary()}" for arm, scores in self.scores.items())])

    def __fspath__(self) -> str:
        return str(self.folder)

    def __repr__(self) -> str:
        return f"StudyRun({str(self.folder)[-120:]}, {plural(len(self.arms), 'arm')})"

    def _repr_html_(self) -> str:
        comparison = self.comparison
        parts = [] if comparison is None else [comparison._repr_html_()]
        parts += [html_of(arm) + scores._repr_html_() for arm, scores in self.scores.items()]
        return "".join(parts)


def one_arm_words(scores: ScoresRecord, resolved: Mapping[str, Any]) -> str:
    """The primary measure of the only arm in one sentence, and that nothing is compared.

    Args:
        scores: scores.json; resolved: the study as resolved.json has it.
    """
    arm, arm_record = next(iter(scores["arms"].items()))
    section = resolved.get("comparison", {})
    rows_are = recorded_rows(scores)
    metric, level = section.get("primary", "auroc"), level_of(section.get("level", "image"), rows_are)
    matches = (s for s in arm_record["scores"] if (s["metric"], s["level"], s["class"]) == (metric, level, None))
    score = next(matches, None)
    measure = measure_words(metric, scores.get("positive"), several=scores.get("positive") is None)
    value = "undefined" if score is None else shown_interval(score["value"], score["low"], score["high"])
    cases = plural(arm_record["images"], rows_are)
    if scores["unit"] == "patient" and rows_are != "patient":
        cases = f"{plural(arm_record['patients'], 'patient')} ({cases})"
    return (
        f"{arm}: {measure} {value} ({100 * scores['confidence']:g} % interval) on {cases} with "
        f"{plural(len(arm_record['seeds']), 'seed')}. With one arm, nothing is compared."
    )


@dataclass(frozen=True)
class FoundRate:
    """What the test found.

    arm: whose; rate, loss: lists, one per step; suggested: a learning rate, None where the loss never fell clearly.
    current: the arm's own learning rate; figure: the drawn curve, a PNG.
    """

    arm: str
    rate: list[float]
    loss: list[float]
    suggested: float | None
    current: float
    figure: Path

    def __repr__(self) -> str:
        return short_repr(self)

    def summary(self) -> str:
        """One line: the suggested rate beside the arm's own, or that none follows from the curve."""
        if self.suggested is None:
            return (
                f"arm {self.arm}: the loss did not fall clearly at any rate, so none is suggested; take more --steps, "
                f"or look at the data (now {self.current:g})"
            )
        return f"arm {self.arm}: learning_rate {self.suggested:.2g} is suggested (now {self.current:g})"


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    best: the best of the settings that were searched; val_loss: theirs, on the validation patients.
    expected: val_loss corrected for having been chosen among so many; see `optimism`. None for a single trial.
    trials, pruned: how many ended and were stopped early; seconds: of all of them together.
    study: the file of the study with these settings, to be run once.
    """

    best: Record
    val_loss: float
    expected: float | None
    trials: int
    pruned: int
    seconds: float
    study: Path

    def __fspath__(self) -> str:
        return str(self.study)

    def __repr__(self) -> str:
        return short_repr(self)
