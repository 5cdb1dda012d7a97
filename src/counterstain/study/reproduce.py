"""Does a finished run repeat: the same study once more, file by file, and the first place where it differs."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from counterstain.cohort.cohort import Cohort, assemble
from counterstain.cohort.cohort_columns import TEXT_COLUMNS
from counterstain.cohort.splitters import read_split
from counterstain.errors import InputError
from counterstain.files import StrPath, hash_file, read_json, write_bytes
from counterstain.progress import Progress
from counterstain.run_folder import MANIFEST, RECORDS, as_written, record_path
from counterstain.study.environment import environment
from counterstain.study.verify import Verification, verify
from counterstain.tables import read_table

__all__ = ["Reproduction", "reproduce"]

Outcome = Literal["bit-equal", "within the spread", "different"]
NOT_OF_A_STUDY = ("schema", "counterstain", "stamp")
# From what goes in to what comes out, so that the first file that differs is the earliest cause that can be seen.
IN_ORDER = (
    f"{RECORDS}/cohort.csv", f"{RECORDS}/splits.csv", "arms", "predictions", f"{RECORDS}/baselines",
    f"{RECORDS}/scores.json", f"{RECORDS}/comparison.json",
)  # fmt: skip
WITH_TIMES = (".pickle", ".md", ".svg", ".png", ".html", ".log", "SHA256SUMS", "training.json", "bundle.json")


@dataclass(frozen=True)
class Reproduction:
    """What a repeated run says of the first one.

    outcome: "bit-equal": every table, weight and score has the same bytes. "within the spread": they differ, and each
        arm's primary measure moved by no more than `spread`. "different": it moved by more, or nothing can be said
    first_difference: the first file that differs and where, "" where none does
    moved: by arm, how far its primary measure moved
    spread: by arm, twice the standard deviation between its seeds as the first run states it; None with one seed
    environment: what differs in versions, one phrase each
    files: the run's own files against its manifest
    compared: how many files were compared
    """

    outcome: Outcome
    first_difference: str
    moved: dict[str, float]
    spread: dict[str, float | None]
    environment: tuple[str, ...]
    files: Verification
    compared: int

    def __bool__(self) -> bool:
        return self.outcome != "different" and bool(self.files)

    def __repr__(self) -> str:
        return f"Reproduction({self.outcome}, {self.compared} files compared)"

    def summary(self) -> str:
        """What a reader must know, one sentence per line."""
        lines = [self.files.summary()]
        lines += [f"environment: {line}" for line in self.environment] or ["environment: the same versions"]
        if self.outcome == "bit-equal":
            return "\n".join([*lines, f"bit-equal: {self.compared} files have the same bytes"])
        lines.append(f"first difference: {self.first_difference}")
        for arm, moved in self.moved.items():
            spread = self.spread.get(arm)
            context = (
                "the spread between seeds is unknown" if spread is None else f"twice the SD of seeds is {spread:.3f}"
            )
            lines.append(f"{arm}: the primary measure changed by {moved:.4f}; {context}")
        return "\n".join([*lines, self.outcome])

    def record(self) -> dict[str, object]:
        """The same as a record."""
        return {
            "schema": "counterstain.reproduction/1",
            "outcome": self.outcome,
            "first_difference": self.first_difference,
            "moved": self.moved,
            "spread": self.spread,
            "environment": list(self.environment),
            "files": self.files.record(),
            "compared": self.compared,
        }


def reproduce(
    run: StrPath,
    *,
    data: StrPath | None = None,
    arm: str | None = None,
    evaluation: bool = False,
    out: Path | str | None = None,
    talk: Progress | None = None,
) -> Reproduction:
    """Repeat a finished run from its own folder and compare what comes out, byte by byte.

    Args:
        run: the folder of a finished run.
        data: where the images or the manifest lie now; by default where the study said, seen from the run's home.
        arm: repeat this arm's trainings alone.
        evaluation: repeat the evaluation alone, from the run's own predictions; needs no images.
        out: keep the repetition in this new folder; by default it is thrown away.
        talk: where progress is told.

    Raises:
        InputError: If the folder is no finished run, the images are not there, or there is no such arm.
    """
    run, talk = Path(run), talk or Progress()
    if not record_path(run, MANIFEST).is_file():
        raise InputError(
            f"{run} is not a finished run (it has no {RECORDS}/{MANIFEST}); name a folder such as runs/mystudy"
        )
    files = verify(run)
    resolved = read_json(as_written(record_path(run, "resolved.json")))
    if arm is not None and arm not in resolved["arms"]:
        raise InputError(f"{run} has no arm '{arm}'; it has {', '.join(resolved['arms'])}")
    if arm is not None and evaluation:
        raise InputError("--arm repeats trainings and --evaluation repeats none; name one of the two")
    if out is not None and Path(out).exists():
        raise InputError(f"{out} exists; name a new folder for the repeated run")
    with tempfile.TemporaryDirectory(prefix="counterstain-") as scratch:
        place = Path(out) if out is not None else Path(scratch)
        place.mkdir(parents=True, exist_ok=True)
        if evaluation:
            again = _judge_again(run, resolved, place, talk)
        else:
            again = _run_again(run, resolved, place, data, arm, talk)
        return _compare(run, again, files, resolved, arm)


def _study_of(resolved: Mapping[str, Any], arm: str | None) -> dict[str, Any]:
    """The study that a resolved record came from, every default written out; of one arm only if asked."""
    study = {key: value for key, value in resolved.items() if key not in NOT_OF_A_STUDY and value is not None}
    study["name"] = "again"
    study.pop("ledger", None)  # a repetition is no new use of the test part
    if arm is not None:
        study["arms"] = {arm: resolved["arms"][arm]}
        study["comparison"] = {**resolved["comparison"], "pairs": None, "reference": None}
    return study


def _run_again(
    run: Path, resolved: Mapping[str, Any], place: Path, data: StrPath | None, arm: str | None, talk: Progress
) -> Path:
    from counterstain.study.run import run_study

    study = _study_of(resolved, arm)
    home = run.resolve().parent.parent
    images = Path(data).resolve() if data is not None else home / resolved["cohort"]["path"]
    if not images.exists():
        raise InputError(f"{images} does not exist; say where the images or their table are: --data PATH")
    study["cohort"] = {**resolved["cohort"], "path": str(images)}
    if resolved["split"].get("file"):
        study["split"] = {**resolved["split"], "file": str(record_path(run, "splits.csv").resolve())}
    write_bytes(place / "study.yaml", yaml.safe_dump(study, sort_keys=False, allow_unicode=True))
    return run_study(place / "study.yaml", talk=talk)


def _judge_again(run: Path, resolved: Mapping[str, Any], place: Path, talk: Progress) -> Path:
    """The evaluation alone: the run's predictions, cohort and split are read, its images are not."""
    from counterstain.images.augmentation import Augmentation
    from counterstain.learning.dataset import TileDataset
    from counterstain.study.evaluate_run import judge
    from counterstain.study.prepare import PreparedStudy
    from counterstain.study.study_config import parse_study

    study = parse_study(_study_of(resolved, None) | {"name": resolved["name"]}, str(record_path(run, "resolved.json")))
    cohort = _cohort_without_images(run, read_json(as_written(record_path(run, "cohort.json"))).get("positive"))
    split = read_split(
        record_path(run, "splits.csv"), cohort, unit=study.split.unit, val=study.split.val, seed=study.split.seed
    )
    nothing: Any = None  # evaluation reads no tile
    material = TileDataset(cohort, nothing, Augmentation(mode="none"), 0, "", study.stamp, study.split.unit)
    again = place / "runs" / "again"
    shutil.copytree(run / "arms", again / "arms")
    judge(again, PreparedStudy(study, material, split, cohort), talk)
    return again


def _cohort_without_images(run: Path, positive: str | None) -> Cohort:
    """The run's cohort from its table alone, its images named as splits.csv names them: none of them is opened."""
    table, splits = read_table(record_path(run, "cohort.csv")), read_table(record_path(run, "splits.csv"))
    columns = {name: list(table.text(name, strip=False)) for name in TEXT_COLUMNS}
    names = dict.fromkeys(splits.text("image_path", strip=False))
    ends: dict[str, list[str]] = {}
    for name in names:
        ends.setdefault(name.rpartition("/")[2], []).append(name)
    for row, path in enumerate(columns["image_path"]):
        candidates = [
            name for name in ends.get(path.rpartition("/")[2], []) if path == name or path.endswith("/" + name)
        ]
        columns["image_path"][row] = max(candidates, key=len, default=path)
    return assemble(columns, root=run, positive=positive)


# --------------------------------------------------------------------------------------------------------- comparing


def _compare(run: Path, again: Path, files: Verification, resolved: Mapping[str, Any], arm: str | None) -> Reproduction:
    names = [name for name in _in_order(run, again) if arm is None or name.startswith(f"arms/{arm}/")]
    if not names:
        raise InputError(f"{run} and its repetition have no file in common; was the run moved, or were files deleted?")
    different = [name for name in names if hash_file(run / name) != hash_file(again / name)]
    primary, level = resolved["comparison"]["primary"], resolved["comparison"]["level"]
    before, after = (_primary(place, primary, level) for place in (run, again))
    moved = {name: abs(after[name][0] - before[name][0]) for name in before if name in after}
    spread = {name: before[name][1] for name in moved}
    outcome: Outcome = "bit-equal"
    if different:
        near = moved and all((limit := spread[name]) is not None and moved[name] <= limit for name in moved)
        outcome = "within the spread" if near else "different"
    return Reproduction(
        outcome=outcome,
        first_difference=_first_place(run, again, different[0]) if different else "",
        moved=moved,
        spread=spread,
        environment=tuple(_environment_differences(run)),
        files=files,
        compared=len(names),
    )


def _in_order(run: Path, again: Path) -> Iterator[str]:
    """Files of both that must be equal, causes first."""
    for top in IN_ORDER:
        paths = [run / top] if (run / top).is_file() else sorted((run / top).rglob("*"))
        for path in sorted(paths, key=lambda path: (path.parent, path.name != "history.csv", path.name)):
            name = path.relative_to(run).as_posix()
            if path.is_file() and not name.endswith(WITH_TIMES) and (again / name).is_file():
                yield name


def _first_place(run: Path, again: Path, name: str) -> str:
    """Where two files part: the line of a text, or only the name of a binary one."""
    if not name.endswith((".csv", ".json")):
        return name
    first, second = (
        (place / name).read_text(encoding="utf-8", errors="replace").splitlines() for place in (run, again)
    )
    for number, (a, b) in enumerate(zip(first, second, strict=False), start=1):
        if a != b:
            return f"{name}, line {number}: {_short(a)} became {_short(b)}"
    return f"{name}: {len(first)} lines became {len(second)}"


def _short(line: str) -> str:
    return repr(line if len(line) <= 60 else f"{line[:57]}…")


def _primary(place: Path, primary: str, level: str) -> dict[str, tuple[float, float | None]]:
    """By arm: the primary measure, and twice the standard deviation between its seeds; None with fewer than two."""
    if not record_path(place, "scores.json").is_file():
        return {}
    by_arm: dict[str, tuple[float, float | None]] = {}
    for arm, record in read_json(as_written(record_path(place, "scores.json")))["arms"].items():
        for score in record["scores"]:
            is_primary = (score["metric"], score["level"], score["class"]) == (primary, level, None)
            if is_primary and score["value"] is not None:
                values = [value for value in score["per_seed"] if value is not None]
                by_arm[arm] = (float(score["value"]), _twice_sd(values))
    return by_arm


def _twice_sd(values: Sequence[float]) -> float | None:
    import numpy as np

    return None if len(values) < 2 else 2 * float(np.std(values, ddof=1))


def _environment_differences(run: Path) -> Iterator[str]:
    path, current = record_path(run, "environment.json"), environment()
    before = read_json(path)
    if not isinstance(before.get("libraries"), dict) or not {"counterstain", "python"} <= before.keys():
        raise InputError(f"{path} is not the record of a machine; it was changed after the run wrote it")
    rows = {name: (before[name], current[name]) for name in ("counterstain", "python")}
    rows |= {name: (version, current["libraries"].get(name)) for name, version in before["libraries"].items()}
    for name, (old, new) in rows.items():
        if old != new:
            yield f"{name} {old} became {new or 'missing'}"
