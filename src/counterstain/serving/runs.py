"""What a folder of runs holds: found by looking, read from the records, kept while the records stay as they are."""

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from counterstain.errors import InputError
from counterstain.run_folder import LOG, MANIFEST, RECORDS, optional_record, record_path
from counterstain.serving.problems import ServingError

__all__ = ["ArmScore", "RunsFolder", "StudyRow", "state_of"]

State = Literal["finished", "running", "stopped"]
# What a run writes first and last, and while it goes on.
MARKS = (f"{RECORDS}/{MANIFEST}", f"{RECORDS}/resolved.json", LOG)
KEPT = ("scores.json", "comparison.json", "looks.json", MANIFEST)
NAME = re.compile(r"[A-Za-z0-9._ -]{1,100}")
FRESH_S = 120.0


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

    sentence: the verdict of its first comparison, or what is missing; measure: the primary one, with its level.
    stamp: what limits every claim, "" where nothing does; looks: uses of its test part so far, None where unknown.
    changed: time of the last change, seconds since 1970.
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
    changed: float


class RunsFolder:
    """The runs in a folder; the folder itself where it is a run."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise InputError(f"{self.root} is not a folder; name the folder that your runs are in, such as runs")
        self._rows: dict[str, tuple[tuple[int, ...], StudyRow]] = {}

    def folders(self) -> dict[str, Path]:
        """Name -> folder, newest first. Links are not followed, and names that would need escaping are left out."""
        if _is_run(self.root):
            return {self.root.resolve().name: self.root}
        found = [path for path in self.root.iterdir() if _may_be_named(path.name)]
        found = [path for path in found if not path.is_symlink() and path.is_dir() and _is_run(path)]
        return {path.name: path for path in sorted(found, key=_changed, reverse=True)}

    def find(self, name: str) -> Path:
        """The folder of a run.

        Raises:
            ServingError: 404 if there is none of this name.
        """
        if _is_run(self.root):
            found, known = self.root, name == self.root.resolve().name
        else:  # without looking at the others: every tile asks this
            found = self.root / name
            known = _may_be_named(name) and not found.is_symlink() and _is_run(found)
        if not known:
            raise ServingError(
                404, "there is no run of this name in the folder that is served; see the list of studies"
            )
        return found

    def rows(self) -> list[StudyRow]:
        """Every run as a row of the list; a record that has not changed is not read again."""
        made = []
        for name, folder in self.folders().items():
            key = tuple(_stamp_of(record_path(folder, record)) for record in KEPT)
            key += (_stamp_of(folder / LOG), int(state_of(folder) == "running"))
            if self._rows.get(name, ((), None))[0] != key:
                self._rows[name] = key, study_row(name, folder)
            made.append(self._rows[name][1])
        return made


def study_row(name: str, folder: Path) -> StudyRow:
    """A run's row, from its records; one that cannot be read is told in the sentence."""
    records: dict[str, dict[str, Any]] = {}
    trouble = ""
    for record in ("scores", "comparison", "looks", "resolved"):
        try:
            records[record] = optional_record(folder, f"{record}.json")
        except InputError as error:
            records[record], trouble = {}, str(error)
    scores, comparison = records["scores"], records["comparison"]
    state = state_of(folder)
    measure, level = str(comparison.get("primary") or "auroc"), str(comparison.get("level") or "image")
    arms: dict[str, Any] = scores.get("arms") or {}
    pairs: list[dict[str, Any]] = comparison.get("pairs") or []
    waiting = {"running": "Running.", "stopped": "Stopped before it was finished.", "finished": ""}[state]
    words = str(pairs[0]["words"]) if pairs else waiting or "One arm: nothing is compared."
    stamps = [str(record.get("stamp") or "") for record in (records["resolved"], scores, comparison)]
    first: dict[str, Any] = next(iter(arms.values()), {})
    return StudyRow(
        name=name, state=state, sentence=trouble or words, measure=measure, level=level,
        arms=tuple(_score(arm, own, measure, level) for arm, own in arms.items()),
        stamp=next((stamp for stamp in stamps if stamp.startswith("LEAK")), next(filter(None, stamps), "")),
        looks=records["looks"].get("count"), images=first.get("images"), patients=first.get("patients"),
        unit=str(scores.get("unit") or ""), changed=_changed(folder),
    )  # fmt: skip


def state_of(folder: Path) -> State:
    """Whether a run is finished, being written by a process, or was stopped."""
    if record_path(folder, MANIFEST).is_file():
        return "finished"
    held = _is_held(folder / ".lock")
    if held is None:
        held = time.time() - _changed(folder) < FRESH_S
    return "running" if held else "stopped"


def _is_held(lock: Path) -> bool | None:
    """Whether a process holds the lock file; None where the system does not tell. Taking it would be in the way."""
    try:
        inode = lock.stat().st_ino
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    return any(line.split()[-3].endswith(f":{inode}") for line in lines if len(line.split()) >= 8)


def _score(arm: str, own: dict[str, Any], measure: str, level: str) -> ArmScore:
    for score in own.get("scores", ()):
        if score["metric"] == measure and score["level"] == level and score["class"] is None:
            return ArmScore(arm, score["value"], score["low"], score["high"])
    return ArmScore(arm, None, None, None)


def _may_be_named(name: str) -> bool:
    """Whether a run can have this name: one part of a path, and nothing hidden."""
    return NAME.fullmatch(name) is not None and not name.startswith(".")


def _is_run(path: Path) -> bool:
    return any((path / mark).is_file() for mark in MARKS)


def _stamp_of(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _changed(folder: Path) -> float:
    return max(_stamp_of(folder / name) for name in (*MARKS, f"{RECORDS}/scores.json")) / 1e9
