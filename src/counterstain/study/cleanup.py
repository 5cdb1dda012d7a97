"""What a folder of studies no longer needs: decoded tiles, which are made again, and runs that a newer one replaced."""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from counterstain.errors import InputError
from counterstain.files import StrPath
from counterstain.records import json_text
from counterstain.study.run_list import changed_at, is_run, state_of

__all__ = ["Cleanup", "Removable", "clean"]

STORE = "store.json"
DEEPEST = 4


@dataclass(frozen=True)
class Removable:
    """A folder that can go: "store" or "run", its size, and why nothing is lost by it, or what is."""

    path: str
    kind: Literal["store", "run"]
    size: int
    reason: str


@dataclass(frozen=True, repr=False)
class Cleanup:
    """What can be removed, and what was kept though it was asked for; `removed` says whether it is gone."""

    folder: Path
    found: tuple[Removable, ...]
    kept: tuple[str, ...]
    removed: bool

    @property
    def size(self) -> int:
        """Bytes of all that can go."""
        return sum(item.size for item in self.found)

    def __repr__(self) -> str:
        return f"Cleanup({len(self.found)} folders, {shown_bytes(self.size)}{', removed' if self.removed else ''})"

    def summary(self) -> str:
        """One line per folder, then what is kept, and the sum."""
        verb = "removed" if self.removed else "can be removed"
        lines = [f"{item.kind} {item.path}: {shown_bytes(item.size)}; {item.reason}" for item in self.found]
        lines += [f"kept: {line}" for line in self.kept]
        counted = f"{len(self.found)} folder{'' if len(self.found) == 1 else 's'}"
        return "\n".join([*lines, f"{counted}, {shown_bytes(self.size)} {verb}" if self.found else "nothing to remove"])

    def record(self) -> dict[str, object]:
        """The same as a record."""
        return {
            "schema": "counterstain.cleanup/1",
            "folder": str(self.folder),
            "found": [asdict(item) for item in self.found],
            "kept": list(self.kept),
            "bytes": self.size,
            "removed": self.removed,
        }

    def to_json(self, path: Path | str | None = None) -> str:
        """The record as JSON text; with a path it is also written there."""
        return json_text(self.record(), path)


def shown_bytes(size: int) -> str:
    """A size in the unit that suits it.

    >>> shown_bytes(900), shown_bytes(2_500_000), shown_bytes(3 * 10**9)
    ('900 bytes', '2.5 MB', '3.0 GB')
    """
    if size < 1000:
        return f"{size} bytes"
    for unit, factor in (("kB", 10**3), ("MB", 10**6), ("GB", 10**9)):
        if size < 1000 * factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size / 10**12:.1f} TB"


def clean(
    folder: StrPath = ".", *, stores: bool = True, runs: bool = True, keep: int = 1, yes: bool = False
) -> Cleanup:
    """Find tile stores and replaced runs in a folder of studies and below; remove them only where `yes` says so.

    A store is a cache: the next run decodes its images again. Of the finished runs of one study (name, name-2, …) the
    newest `keep` stay. What is not finished is never touched, and neither is a store beside a run in progress.

    Args:
        folder: of a study, or one above.
        stores, runs: which of both.
        keep: how many of the finished runs of each study stay.
        yes: remove them.

    Raises:
        InputError: If there is no such folder, or `keep` is below 1.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; name the folder of a study, with runs/ and store/ in it")
    if keep < 1:
        raise InputError(f"keep is {keep}; one run or more of each study stays")
    removable: list[Removable] = []
    kept: list[str] = []
    for home in _homes(root, DEEPEST):
        run_folders = [path for path in _folders(home / "runs") if is_run(path)] if (home / "runs").is_dir() else []
        running = [path for path in run_folders if state_of(path) == "running"]
        if stores:
            removable += _stores(home / "store", kept, running)
        if runs:
            removable += _replaced(run_folders, keep)
    if yes:
        for item in removable:
            shutil.rmtree(item.path)
    return Cleanup(root, tuple(removable), tuple(kept), removed=yes and bool(removable))


def _homes(folder: Path, depth: int) -> Iterator[Path]:
    """Folders that have runs/ or store/ in them, as far as they may be entered."""
    if not os.access(folder, os.R_OK | os.X_OK):
        return
    if (folder / "runs").is_dir() or (folder / "store").is_dir():
        yield folder
    for path in _folders(folder) if depth > 1 else ():
        if path.name not in ("runs", "store") and not is_run(path):
            yield from _homes(path, depth - 1)


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder, none of them a link or hidden."""
    try:
        entries = sorted(folder.iterdir())
    except PermissionError:
        return []
    return [path for path in entries if path.is_dir() and not path.is_symlink() and not path.name.startswith(".")]


def _stores(folder: Path, kept: list[str], running: list[Path]) -> Iterator[Removable]:
    """The stores of tiles in store/; a folder without our mark is not one of them."""
    for path in _folders(folder) if folder.is_dir() and not folder.is_symlink() else ():
        if not (path / STORE).is_file():
            continue
        if running:
            kept.append(f"{path}, which {running[0]} may be reading")
        else:
            yield Removable(str(path), "store", _size(path), "decoded images; a run that needs them makes them again")


def _replaced(runs: list[Path], keep: int) -> Iterator[Removable]:
    """Finished runs of which the same study has `keep` newer ones."""
    finished = {path.name: path for path in runs if state_of(path) == "finished"}
    studies: dict[str, list[Path]] = {}
    for name, path in finished.items():
        base = re.sub(r"-\d+$", "", name)
        studies.setdefault(base if base in finished else name, []).append(path)
    for paths in studies.values():
        newest = sorted(paths, key=lambda path: (changed_at(path), len(path.name), path.name), reverse=True)
        for path in newest[keep:]:
            yield Removable(
                str(path), "run", _size(path), f"{newest[0].name} is newer; its models and report go with it"
            )


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() or path.is_symlink())
