"""Are the files of a finished run, a model or an export still those that were written?"""

from dataclasses import dataclass
from pathlib import Path

from counterstain.cohort.image_paths import LOCATION
from counterstain.errors import InputError
from counterstain.files import hash_file, read_sums, refusal
from counterstain.run_folder import LOG, MANIFEST, RECORDS, listed_hashes, record_path

__all__ = ["Verification", "verify"]

SUMS = "SHA256SUMS"
SHOWN = 5  # names in a summary
NOT_LISTED = (LOG, LOCATION, SUMS, MANIFEST)


@dataclass(frozen=True)
class Verification:
    """What `verify` found; true where every listed file is whole.

    place: the folder
    intact: how many files are as their list says
    changed, missing: files whose bytes differ from the list, or that are gone
    added: files that no list names; they are told, and are no fault

    Example:
        >>> found = Verification("run", 12, ("scores.json",), (), ())
        >>> bool(found), found.summary()
        (False, 'run: 12 files are intact, 1 has changed (scores.json)')
    """

    place: str
    intact: int
    changed: tuple[str, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]

    def __bool__(self) -> bool:
        return not self.changed and not self.missing

    def __repr__(self) -> str:
        state = "whole" if self else f"{len(self.changed)} changed, {len(self.missing)} missing"
        return f"Verification({self.intact} intact; {state})"

    def summary(self) -> str:
        """One sentence with the counts, and the first names of what is wrong."""
        words = [f"{self.intact} {'file is' if self.intact == 1 else 'files are'} intact"]
        for names, one, several in (
            (self.changed, "has changed", "have changed"),
            (self.missing, "is missing", "are missing"),
            (self.added, "is not listed", "are not listed"),
        ):
            if names:
                words.append(f"{len(names)} {one if len(names) == 1 else several} ({_first(names)})")
        return f"{self.place}: {', '.join(words)}"

    def record(self) -> dict[str, object]:
        """The same as a record."""
        return {
            "schema": "counterstain.verification/1",
            "place": self.place,
            "whole": bool(self),
            "intact": self.intact,
            "changed": list(self.changed),
            "missing": list(self.missing),
            "added": list(self.added),
        }


def _first(names: tuple[str, ...]) -> str:
    more = "" if len(names) <= SHOWN else f" and {len(names) - SHOWN} more"
    return ", ".join(names[:SHOWN]) + more


def verify(folder: Path | str) -> Verification:
    """Hash every file of a finished run (records/run.json) or of a model or export (SHA256SUMS) against its list.

    Args:
        folder: of a run, a bundle or an export.

    Raises:
        InputError: If the folder has neither list: it is none of the three, or it was not finished.
    """
    folder = Path(folder)
    if record_path(folder, MANIFEST).is_file():
        listed = listed_hashes(folder)
    elif (folder / SUMS).is_file():
        listed = read_sums(folder / SUMS)
    else:
        raise InputError(
            f"{folder} has neither {RECORDS}/{MANIFEST} nor {SUMS}; name the folder of a finished run, a model or an "
            "export"
        )
    whole = {name: _whole(folder, name, digest) for name, digest in listed.items()}
    changed = tuple(name for name, state in whole.items() if state is False)
    missing = tuple(name for name, state in whole.items() if state is None)
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    added = sorted(name for name in there - set(listed) if not _is_ours(name))
    return Verification(str(folder), len(listed) - len(changed) - len(missing), changed, missing, tuple(added))


def _is_ours(name: str) -> bool:
    """Whether a file that no list names is one that we leave out of it: logs, locks and the lists themselves."""
    last = name.rpartition("/")[2]
    return last in NOT_LISTED or last.startswith(".")


def _whole(folder: Path, name: str, digest: str) -> bool | None:
    """Whether a file's bytes are those listed; None where there is none."""
    path = folder / name
    try:
        return hash_file(path) == digest if path.is_file() else None
    except OSError as error:
        raise InputError(refusal(error, path)) from None
