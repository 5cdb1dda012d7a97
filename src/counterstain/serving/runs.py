"""What a folder of runs holds: found by looking, read from the records, kept while the records stay as they are."""

import re
from pathlib import Path

from counterstain.errors import InputError
from counterstain.run_folder import LOG, MANIFEST, record_path
from counterstain.serving.problems import ServingError
from counterstain.study.run_list import StudyRow, changed_at, changed_ns, is_run, state_of, study_row

__all__ = ["RunsFolder"]

KEPT = ("scores.json", "comparison.json", "looks.json", MANIFEST)
NAME = re.compile(r"[A-Za-z0-9._ -]{1,100}")


class RunsFolder:
    """The runs in a folder; the folder itself where it is a run."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise InputError(f"{self.root} is not a folder; name the folder that your runs are in, such as runs")
        self._rows: dict[str, tuple[tuple[int, ...], StudyRow]] = {}

    def folders(self) -> dict[str, Path]:
        """Name -> folder, newest first. Links are not followed, and names that would need escaping are left out."""
        if is_run(self.root):
            return {self.root.resolve().name: self.root}
        paths = [path for path in self.root.iterdir() if _may_be_named(path.name)]
        paths = [path for path in paths if not path.is_symlink() and path.is_dir() and is_run(path)]
        return {path.name: path for path in sorted(paths, key=changed_at, reverse=True)}

    def find(self, name: str) -> Path:
        """The folder of a run.

        Raises:
            ServingError: 404 if there is none of this name.
        """
        if is_run(self.root):
            folder, known = self.root, name == self.root.resolve().name
        else:  # without looking at the others: every tile asks this
            folder = self.root / name
            known = _may_be_named(name) and not folder.is_symlink() and is_run(folder)
        if not known:
            raise ServingError(
                404, "there is no run of this name in the folder that is served; see the list of studies"
            )
        return folder

    def rows(self) -> list[StudyRow]:
        """Every run as a row of the list; a record that has not changed is not read again."""
        rows = []
        for name, folder in self.folders().items():
            key = tuple(changed_ns(record_path(folder, record)) for record in KEPT)
            key += (changed_ns(folder / LOG), int(state_of(folder) == "running"))
            if self._rows.get(name, ((), None))[0] != key:
                self._rows[name] = key, study_row(name, folder)
            rows.append(self._rows[name][1])
        return rows


def _may_be_named(name: str) -> bool:
    """Whether a run can have this name: one part of a path, and nothing hidden."""
    return NAME.fullmatch(name) is not None and not name.startswith(".")
