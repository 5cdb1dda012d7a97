"""A finished run as its folder holds it: all that a report is made of, read once, nothing computed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, cast

from counterstain.errors import InputError
from counterstain.evaluation.format import natural
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.evaluation.record_types import ScoreRow, ScoresRecord
from counterstain.evaluation.rows import level_of, recorded_rows
from counterstain.files import hash_file, read_json
from counterstain.own_tables import read_rows
from counterstain.run_folder import RECORDS, as_written, optional_record, record_path

__all__ = ["FittedTraining", "RunRecord", "TrainingRun", "find_score", "part_order", "primary", "read_run"]

HISTORY = ("loss", "accuracy", "val_loss", "val_accuracy")
LATER = (
    "audit", "baselines", "beyond_chance", "errors", "in_use", "subgroups", "decision_curve", "looks", "procedures",
    "slide", "findings", "old_protocol",
)  # fmt: skip
INPUTS = ("resolved.json", "cohort.csv", "splits.csv", "scores.json", "comparison.json")
HASHED = ("study.yaml", *(f"{RECORDS}/{name}" for name in INPUTS))


class FittedTraining(TypedDict, total=False):
    """What in_use.json says of one training: what was fitted or chosen on the validation part, and remarks."""

    parameters: Mapping[str, object]
    threshold: float | None
    qhat: float | None
    notes: list[str]


@dataclass(frozen=True)
class TrainingRun:
    """One training of one arm.

    history: loss, accuracy, val_loss and val_accuracy, one number per epoch (epochs count from 1).
    record: training.json: settings, done, machine, parameters, best_epoch, last_epoch; {} where it is missing.
    data_hash: SHA-256 of the cohort's tiles, as the bundle has it; "" where there is none.
    probe: of a frozen arm, candidate -> validation loss, in the order in which they were tried.
    """

    arm: str
    seed: int
    fold: str
    history: Mapping[str, tuple[float, ...]]
    record: Mapping[str, Any]
    data_hash: str
    probe: Mapping[str, float] = field(default_factory=dict)

    @property
    def has_epochs(self) -> bool:
        """Whether it went through epochs that a curve can show; a probe on frozen features did not."""
        return (self.record.get("done") or {}).get("kind") != "probe"

    @property
    def epochs(self) -> int:
        """How many epochs were trained."""
        return len(self.history["val_loss"])

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights were kept: that of the lowest validation loss, the first of several."""
        loss = self.history["val_loss"]
        return int(self.record.get("best_epoch") or 1 + loss.index(min(loss)))


@dataclass(frozen=True)
class RunRecord:
    """Every record of a run folder that a report shows; an absent optional one is {} or ().

    arms: in the order in which the study compares them.
    set_aside: image and reason.
    predictions: arm -> the test predictions, one table per seed, with the seed's file name.
    hashes: file -> SHA-256.
    contact_sheet: PNG bytes of the augmentation's contact sheet, or None.
    audit, baselines, beyond_chance, errors, in_use, subgroups, decision_curve, looks, procedures, slide, findings,
        old_protocol: the JSON files of these names.
    error_tiles: file name -> PNG bytes of the tiles that errors.json shows.
    slide_picture: PNG bytes of a slide and a model's map of it, or None.
    """

    folder: Path
    resolved: Mapping[str, Any]
    cohort: Mapping[str, Any]
    set_aside: tuple[tuple[str, str], ...]
    split: Mapping[str, Any]
    augmentation: Mapping[str, Any]
    environment: Mapping[str, Any]
    trainings: tuple[TrainingRun, ...]
    scores: ScoresRecord
    comparison: Mapping[str, Any]
    predictions: Mapping[str, tuple[Predictions, ...]]
    arms: tuple[str, ...]
    hashes: Mapping[str, str]
    contact_sheet: bytes | None
    audit: Mapping[str, Any] = field(default_factory=dict)
    baselines: Mapping[str, Any] = field(default_factory=dict)
    beyond_chance: Mapping[str, Any] = field(default_factory=dict)
    errors: Mapping[str, Any] = field(default_factory=dict)
    error_tiles: Mapping[str, bytes] = field(default_factory=dict)
    in_use: Mapping[str, Any] = field(default_factory=dict)
    subgroups: Mapping[str, Any] = field(default_factory=dict)
    decision_curve: Mapping[str, Any] = field(default_factory=dict)
    looks: Mapping[str, Any] = field(default_factory=dict)
    procedures: Mapping[str, Any] = field(default_factory=dict)
    slide: Mapping[str, Any] = field(default_factory=dict)
    findings: Mapping[str, Any] = field(default_factory=dict)
    old_protocol: Mapping[str, Any] = field(default_factory=dict)
    slide_picture: bytes | None = None

    @property
    def rows_are(self) -> str:
        """What one row of its tables is: "image", or of bags of features "slide", "patient" or "bag"."""
        named = recorded_rows(self.scores)
        bags = any((training.record.get("done") or {}).get("kind") == "bags" for training in self.trainings)
        return "slide" if bags and named == "image" else named  # runs of earlier versions did not record it

    @property
    def trainings_in_use(self) -> list[FittedTraining]:
        """What in_use.json says of each training: its calibration, threshold and prediction sets; all arms together."""
        arms = (self.in_use.get("arms") or {}).values()
        return [training for arm in arms for training in arm.get("trainings") or ()]

    @property
    def rows(self) -> str:
        """Several of them: "images"."""
        return f"{self.rows_are}s"

    @property
    def stamp(self) -> str:
        """What limits every claim of this run, or ""; the strictest of what its records say."""
        records = (self.resolved, self.scores, self.comparison, self.split)
        stamps = [str(record.get("stamp") or "") for record in records]
        return next((stamp for stamp in stamps if stamp.startswith("LEAK")), next(filter(None, stamps), ""))


def read_run(run: Path) -> RunRecord:
    """Read a run folder.

    Raises:
        InputError: If the folder, its protocol or its scores are missing, or a file in it is not what it should be.
    """
    if not run.is_dir():
        raise InputError(f"{run} is not a folder; name the folder of a run, such as runs/demo")
    scores = cast(ScoresRecord, read_json(as_written(record_path(run, "scores.json"))))
    comparison = optional_record(run, "comparison.json")
    arms = _arm_order(scores, comparison)
    sheet, picture = run / "figures" / "augmentation.png", run / "figures" / "slide.png"
    return RunRecord(
        folder=run,
        resolved=read_json(as_written(record_path(run, "resolved.json"))),
        cohort=optional_record(run, "cohort.json"),
        set_aside=_read_set_aside(record_path(run, "set_aside.csv")),
        split=optional_record(run, "split.json"),
        augmentation=optional_record(run, "augmentation.json"),
        environment=optional_record(run, "environment.json"),
        trainings=tuple(_read_training(path, run) for arm in arms for path in _history_files(run, arm)),
        scores=scores,
        comparison=comparison,
        predictions={arm: _read_predictions(run / "predictions" / arm, scores) for arm in arms},
        arms=arms,
        hashes={name: hash_file(run / name) for name in HASHED if (run / name).is_file()},
        contact_sheet=sheet.read_bytes() if sheet.is_file() else None,
        slide_picture=picture.read_bytes() if picture.is_file() else None,
        error_tiles={path.name: path.read_bytes() for path in sorted(record_path(run, "error_tiles").glob("*.png"))},
        **{name: optional_record(run, f"{name}.json") for name in LATER},
    )


def _optional(path: Path) -> dict[str, Any]:
    as_written(path)
    return read_json(path) if path.is_file() else {}


def _arm_order(scores: ScoresRecord, comparison: Mapping[str, Any]) -> tuple[str, ...]:
    """Arms as they first stand in the comparison (JSON sorts its keys), then any others."""
    known = natural(scores.get("arms", {}))
    if not known:
        raise InputError(
            "scores.json of this run names no arms; evaluate the run again (`counterstain run study.yaml`)"
        )
    compared = [arm for pair in comparison.get("pairs", ()) for arm in (pair["a"], pair["b"]) if arm in known]
    return tuple(dict.fromkeys([*compared, *known]))


def _read_table(path: Path, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """The named columns of a CSV of ours, row by row."""
    return [tuple(row[name] for name in columns) for row in read_rows(path, columns)]


def _read_set_aside(path: Path) -> tuple[tuple[str, str], ...]:
    rows = _read_table(path, ("image_path", "reason")) if path.is_file() else []
    return tuple((image, reason) for image, reason in rows)


def _history_files(run: Path, arm: str) -> list[Path]:
    files = (path for path in (run / "arms" / arm).glob("seed-*/fold-*/history.csv"))
    order = natural(path.relative_to(run).as_posix() for path in files)
    return [run / name for name in order]


def _read_training(path: Path, run: Path) -> TrainingRun:
    arm, seed, fold = path.parent.relative_to(run / "arms").parts[-3:]
    try:
        columns = list(zip(*(map(float, row) for row in _read_table(path, HISTORY)), strict=True))
        seed_number = int(seed.removeprefix("seed-"))
    except ValueError as error:
        raise InputError(f"{path} is not a training history ({error}); it was changed after the run wrote it") from None
    if not columns:
        raise InputError(f"{path} holds no epoch; train this arm again")
    return TrainingRun(
        arm=arm,
        seed=seed_number,
        fold=fold.removeprefix("fold-"),
        history=dict(zip(HISTORY, columns, strict=True)),
        record=_optional(path.parent / "training.json"),
        data_hash=_data_hash(_optional(path.parent / "bundle.json")),
        probe=_read_probe(path.parent / "probe.csv"),
    )


def _read_probe(path: Path) -> dict[str, float]:
    """The candidates of a probe without the mark of the taken one, which training.json names."""
    rows = _read_table(path, ("setting", "val_loss")) if path.is_file() else []
    try:
        return {name.removesuffix(" (taken)"): float(loss) for name, loss in rows}
    except ValueError as error:
        raise InputError(f"{path} is not a probe's table ({error}); it was changed after the run wrote it") from None


def _data_hash(bundle: Mapping[str, Any]) -> str:
    return str(((bundle.get("provenance") or {}).get("data") or {}).get("cohort") or "")


def _read_predictions(folder: Path, scores: ScoresRecord) -> tuple[Predictions, ...]:
    names = natural(path.name for path in folder.glob("*.csv"))
    return tuple(read_predictions(folder / name, classes=scores["classes"]) for name in names)


def find_score(scores: ScoresRecord, arm: str, metric: str, level: str, klass: str | None = None) -> ScoreRow | None:
    """One arm's score record, or None where it was not made."""
    rows = scores["arms"][arm]["scores"] if arm in scores["arms"] else []
    key = (metric, level, klass)
    return next((score for score in rows if (score["metric"], score["level"], score["class"]) == key), None)


def part_order(names: Sequence[str]) -> list[str]:
    """The parts of a split in the order of their use: train, val, test, then external tests by name."""
    first = [name for name in ("train", "val", "test") if name in names]
    return first + [name for name in natural(names) if name not in first]


def primary(run: RunRecord) -> tuple[str, str]:
    """The metric and level that the verdict is about; AUROC of images where nothing was compared."""
    section = run.comparison or run.resolved.get("comparison") or {}
    return str(section.get("primary") or "auroc"), level_of(str(section.get("level") or "image"), run.rows_are)
