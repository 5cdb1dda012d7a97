"""The runs in a folder, each with its state, its verdict and its primary measures: from the records alone."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from counterstain.errors import InputError
from counterstain.evaluation.metric_names import measure_words
from counterstain.evaluation.rows import recorded_rows
from counterstain.evaluation.text_tables import shown_interval
from counterstain.files import StrPath
from counterstain.records import html_of, json_text
from counterstain.run_folder import LOG, MANIFEST, RECORDS, optional_record, record_path

__all__ = ["ArmScore", "RunList", "State", "StudyRow", "changed_at", "changed_ns", "is_run", "list_runs", "state_of"]
__all__ += ["study_row"]

State = Literal["finished", "running", "stopped"]
# What a run writes first and last, and while it runs.
MARKS = (f"{RECORDS}/{MANIFEST}", f"{RECORDS}/resolved.json", LOG)
FRESH_S = 120.0
DEEPEST = 4  # folders below the one that is named, in which runs are looked for


@dataclass(frozen=True)
class ArmScore:
    """The primary measure of one arm: value and interval, None where undefined."""

    arm: str
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class StudyRow:
    """One run in the list of studies.

    sentence: the verdict, or what is missing; measure: the primary one, with its level.
    stamp: what limits every claim, "" where nothing does; looks: uses of its test part so far, None where unknown.
    rows_are: what `images` counts, see evaluation.rows; changed: time of the last change, seconds since 1970.
    """

    name: str
    state: State
    sentence: str
    measure: str
    level: str
    arms: tuple[ArmScore, ...]
    stamp: str
    looks: int | None
    images: int | None
    patients: int | None
    unit: str
    rows_are: str
    changed: float


@dataclass(frozen=True, repr=False)
class RunList:
    """The runs in a folder, newest first."""

    folder: Path
    rows: tuple[StudyRow, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __fspath__(self) -> str:
        return str(self.folder)

    def __repr__(self) -> str:
        return f"RunList({str(self.folder)[-100:]}, {len(self)} runs)"

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows, one per run and arm; what stands for the run stands in its first row."""
        rows = []
        for row in self.rows:
            about = [row.name, time.strftime("%Y-%m-%d %H:%M", time.localtime(row.changed))]
            measure = measure_words(row.measure) + ("" if row.level == "image" else f" ({row.level})")
            for place, arm in enumerate(row.arms or (None,)):
                value = "–" if arm is None else f"{shown_interval(arm.value, arm.low, arm.high)}"
                label = row.state if arm is None else arm.arm
                rows.append([*(about if not place else ("", "")), label, measure if arm and not place else "", value])
        return ["run", "changed", "arm", "measure", "value and 95 % interval"], rows

    def summary(self) -> str:
        """One line per run: its name and its verdict, or how far it is."""
        if not self.rows:
            return f"{self.folder} has no run"
        return "\n".join(f"{row.name}: {row.sentence}" + (f" {row.stamp}." if row.stamp else "") for row in self.rows)

    def to_json(self, path: Path | str | None = None) -> str:
        """The list as JSON text; with a path it is also written there."""
        return json_text(self.record(), path)

    def record(self) -> dict[str, object]:
        """The list as a record."""
        return {"schema": "counterstain.runs/1", "folder": str(self.folder), "runs": [asdict(row) for row in self.rows]}

    def _repr_html_(self) -> str:
        header, rows = self.table()
        return html_of("", (), header, rows) + html_of(self.summary())


def list_runs(folder: StrPath) -> RunList:
    """Every run in a folder or in folders below it, newest first; the folder itself where it is a run.

    Raises:
        InputError: If there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; name the folder that your runs are in, such as runs")
    if is_run(root):
        return RunList(root, (study_row(root.resolve().name, root),))
    paths = sorted(_runs_below(root, DEEPEST), key=changed_at, reverse=True)
    return RunList(root, tuple(study_row(path.relative_to(root).as_posix(), path) for path in paths))


def _runs_below(folder: Path, depth: int) -> Iterator[Path]:
    """Runs in a folder and below; links are not followed, and no run is looked for inside another."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except PermissionError:
        return
    for entry in entries:
        if entry.name.startswith(".") or not entry.is_dir(follow_symlinks=False):
            continue
        path = Path(entry.path)
        if is_run(path):
            yield path
        elif depth > 1:
            yield from _runs_below(path, depth - 1)


def study_row(name: str, folder: Path) -> StudyRow:
    """A run's row, from its records; one that cannot be read is told in the sentence."""
    records: dict[str, dict[str, Any]] = {}
    trouble = ""
    for record in ("scores", "comparison", "looks", "resolved"):
        try:
            records[record] = optional_record(folder, f"{record}.json")
        except InputError as error:
            records[record], trouble = {}, str(error)
    scores, comparison, section = records["scores"], records["comparison"], records["resolved"].get("comparison") or {}
    state = state_of(folder)
    measure = str(comparison.get("primary") or section.get("primary") or "auroc")
    level = str(comparison.get("level") or section.get("level") or "image")
    arms: dict[str, Any] = scores.get("arms") or {}
    waiting = {"running": "Running.", "stopped": "Stopped before it was finished.", "finished": ""}[state]
    sentence = str(comparison.get("words") or waiting or "One arm: nothing is compared.")
    stamps = [str(record.get("stamp") or "") for record in (records["resolved"], scores, comparison)]
    first: dict[str, Any] = next(iter(arms.values()), {})
    return StudyRow(
        name=name, state=state, sentence=trouble or sentence, measure=measure, level=level,
        arms=tuple(_score(arm, arm_record, measure, level) for arm, arm_record in arms.items()),
        stamp=next((stamp for stamp in stamps if stamp.startswith("LEAK")), next(filter(None, stamps), "")),
        looks=records["looks"].get("count"), images=first.get("images"), patients=first.get("patients"),
        unit=str(scores.get("unit") or ""), rows_are=recorded_rows(scores), changed=changed_at(folder),
    )  # fmt: skip


def state_of(folder: Path) -> State:
    """Whether a run is finished, being written by a process, or was stopped."""
    if record_path(folder, MANIFEST).is_file():
        return "finished"
    locked = _is_held(folder / ".lock")
    if locked is None:
        locked = time.time() - changed_at(folder) < FRESH_S
    return "running" if locked else "stopped"


def _is_held(lock: Path) -> bool | None:
    """Whether a process holds the lock file; None where the system does not tell. Taking it would be in the way."""
    try:
        inode = lock.stat().st_ino
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    return any(line.split()[-3].endswith(f":{inode}") for line in lines if len(line.split()) >= 8)


def _score(arm: str, arm_record: Mapping[str, Any], measure: str, level: str) -> ArmScore:
    scores: Sequence[Mapping[str, Any]] = arm_record.get("scores", ())
    for score in scores:
        if score["metric"] == measure and score["level"] == level and score["class"] is None:
            return ArmScore(arm, score["value"], score["low"], score["high"])
    return ArmScore(arm, None, None, None)


def is_run(path: Path) -> bool:
    """Whether a folder is a run's, finished or not; one that may not be entered is none."""
    return os.access(path, os.X_OK) and any((path / mark).is_file() for mark in MARKS)


def changed_at(folder: Path) -> float:
    """When a run's records were last written, seconds since 1970; 0 where there are none."""
    return max(changed_ns(folder / name) for name in (*MARKS, f"{RECORDS}/scores.json")) / 1e9


def changed_ns(path: Path) -> int:
    """When a file was last written, ns since 1970; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
