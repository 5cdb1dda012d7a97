"""A public cohort into a folder, from its addresses or from files fetched elsewhere; and whether it is still whole."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from counterstain.datasets.catalogue import PublicCohort, RemoteFile, public_cohort
from counterstain.datasets.download import check_file, checksum_of, download
from counterstain.datasets.unpack import is_archive, unpack
from counterstain.errors import InputError
from counterstain.files import read_record, read_text, write_json, write_with
from counterstain.progress import Progress

__all__ = ["FETCHED", "FetchedCohort", "FetchedFile", "fetch_cohort", "gdc_files", "verify_cohort"]

FETCHED, SCHEMA = "fetched.json", "counterstain.fetched/1"
GDC = "https://api.gdc.cancer.gov/data/"


@dataclass(frozen=True)
class FetchedFile:
    """A file of a public cohort on disk.

    state: "whole"; "changed" since it was fetched, or not what is published; "missing"
    published: the publisher's checksum, "" where there is none; sha256: of the file, "" where it is missing
    """

    name: str
    state: str
    published: str
    sha256: str


@dataclass(frozen=True)
class FetchedCohort:
    """A public cohort on disk; true where every file is whole."""

    name: str
    folder: Path
    files: tuple[FetchedFile, ...]
    images: int = 0

    def __bool__(self) -> bool:
        return bool(self.files) and all(file.state == "whole" for file in self.files)

    def __fspath__(self) -> str:
        return str(self.folder)

    def __repr__(self) -> str:
        return f"FetchedCohort({self.summary()})"

    def summary(self) -> str:
        """How many files are whole, and the names of the others."""
        bad = [f"{file.name} {file.state}" for file in self.files if file.state != "whole"]
        unsure = sum(not file.published for file in self.files)
        line = f"{self.name}: {len(self.files) - len(bad)} of {len(self.files)} files whole"
        if unsure:
            line += f" ({unsure} without a published checksum, held to what was first fetched)"
        return f"{line}: {', '.join(bad)}" if bad else line

    def record(self) -> dict[str, object]:
        """As JSON."""
        return {"schema": SCHEMA, "name": self.name, "files": [asdict(file) for file in self.files]}


def fetch_cohort(
    name: str,
    out: Path,
    *,
    source: Path | None = None,
    manifest: Path | None = None,
    unpacked: bool = True,
    talk: Progress | None = None,
) -> FetchedCohort:
    """Fetch a public cohort into a folder, check every file, unpack archives, and write fetched.json.

    What is there and whole already is not fetched again, so the same command resumes after a break.

    Args:
        name: of the list.
        out: the folder; archives lie in it, and what they unpack to in out/images.
        source: a folder with files fetched elsewhere; no address is asked.
        manifest: for tcga, the file that the GDC portal gives: columns id, filename, md5 and size.
        unpacked: unpack archives.
        talk: is told each file, and how far it has come.

    Raises:
        InputError: If a file must be fetched by hand and is not in `source`, cannot be fetched, or is not the
            published one; what was fetched before is kept.
    """
    talk = talk or Progress()
    row = public_cohort(name)
    files = _files_of(row, manifest)
    out.mkdir(parents=True, exist_ok=True)
    recorded = _recorded(out, name)
    fetched = []
    for file in files:
        talk.say(f"{file.name}: {'taking it from ' + str(source) if source is not None else 'fetching'}")
        sha256 = _obtain(row, file, out, source, talk)
        _as_before(file, sha256, recorded)
        fetched.append(FetchedFile(file.name, "whole", file.checksum, sha256))
        earlier = [entry for entry in recorded.values() if entry["name"] not in {done.name for done in fetched}]
        write_json(out / FETCHED, _record(name, fetched, earlier))
    images = 0
    for file in files:
        if unpacked and is_archive(out / file.name):
            talk.say(f"{file.name}: unpacking")
            images += unpack(out / file.name, out / "images")
    return FetchedCohort(name, out, tuple(fetched), images)


def _record(name: str, fetched: Sequence[FetchedFile], earlier: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"schema": SCHEMA, "name": name, "files": [*(asdict(file) for file in fetched), *earlier]}


def _recorded(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    """What fetched.json in a folder says, by file name."""
    if not (folder / FETCHED).exists():
        return {}
    record = read_record(folder / FETCHED, SCHEMA)
    rows = record.get("files")
    if record.get("name") != name or not isinstance(rows, list):
        raise InputError(f"{folder} holds the cohort '{record.get('name')}', not '{name}'; name another folder")
    keys = {"name", "published", "sha256", "state"}
    if not all(
        isinstance(row, dict) and set(row) == keys and all(isinstance(v, str) for v in row.values()) for row in rows
    ):
        raise InputError(f"{folder / FETCHED} is damaged; remove it and fetch again")
    return {row["name"]: row for row in rows}


def _as_before(file: RemoteFile, sha256: str, recorded: dict[str, dict[str, Any]]) -> None:
    """Refuse a file without a published checksum that is not the one fetched first."""
    before = recorded.get(file.name)
    if before is not None and not file.checksum and before["sha256"] != sha256:
        raise InputError(
            f"{file.name} has another SHA-256 ({sha256}) than when it was first fetched ({before['sha256']}); the "
            f"publisher has changed it or it was damaged. Remove {FETCHED} to take it as it is now"
        )


def _files_of(row: PublicCohort, manifest: Path | None) -> tuple[RemoteFile, ...]:
    if row.files:
        if manifest is not None:
            raise InputError(f"--manifest is of tcga; the files of {row.name} are listed")
        return row.files
    if manifest is None:
        raise InputError(
            f"{row.name} is fetched by a manifest: choose slides at {row.page}, press Manifest, and name that file "
            "with --manifest"
        )
    return gdc_files(manifest)


def gdc_files(manifest: Path) -> tuple[RemoteFile, ...]:
    """The files of a manifest that the GDC portal gives: a tab-separated table with id, filename, md5 and size.

    Raises:
        InputError: If it is no such table, or a row is not one.
    """
    lines = read_text(manifest, what="manifest").splitlines()
    header = lines[0].split("\t") if lines else []
    if not {"id", "filename", "md5", "size"} <= set(header):
        raise InputError(
            f"{manifest} has no columns id, filename, md5 and size, separated by tabs; download the manifest of the "
            "GDC portal again"
        )
    files = []
    for number, line in enumerate(lines[1:], 2):
        cells = dict(zip(header, line.split("\t"), strict=False))
        if not line.strip():
            continue
        hashed = re.fullmatch(r"[0-9a-f-]{36}", cells.get("id", "")) and re.fullmatch(
            r"[0-9a-f]{32}", cells.get("md5", "")
        )
        name = cells.get("filename", "")
        if (
            not hashed
            or not cells.get("size", "").isdigit()
            or not re.fullmatch(r"[\w.-]+", name)
            or name.startswith(".")
        ):
            raise InputError(f"{manifest} line {number} is no row of a GDC manifest: {line[:80]!r}")
        files.append(RemoteFile(name, GDC + cells["id"], f"md5:{cells['md5']}", int(cells["size"])))
    if not files:
        raise InputError(f"{manifest} lists no file")
    return tuple(files)


def _obtain(row: PublicCohort, file: RemoteFile, out: Path, source: Path | None, talk: Progress) -> str:
    """Have a file in its folder, and give its SHA-256."""
    target = out / file.name
    if target.is_file() and not _is_wrong(target, file):
        return checksum_of(target, "sha256")
    if source is not None:
        local = source / file.name
        if not local.is_file():
            raise InputError(f"{source} has no {file.name}; put it there as it comes from {row.page}")
        sha256 = check_file(local, file)
        if local.resolve() != target.resolve():
            _copy(local, target)
        return sha256
    if not file.url:
        raise InputError(
            f"{file.name} of {row.name} cannot be fetched by a program: get it from {row.page}, and give its folder "
            "with --from"
        )
    step = talk.step

    def progress(received: int, total: int) -> None:
        if step is not None and total:
            step(file.name, received, total)

    return download(file, out, page=row.page, progress=progress)


def _copy(source: Path, target: Path) -> None:
    def write(temporary: Path) -> None:
        with source.open("rb") as stream, temporary.open("wb") as copy:
            while block := stream.read(1 << 20):
                copy.write(block)

    write_with(target, write)


def _is_wrong(path: Path, file: RemoteFile) -> bool:
    try:
        check_file(path, file)
    except InputError:
        return True
    return False


def verify_cohort(folder: Path) -> FetchedCohort:
    """Hash every file of a fetched cohort against what is published, or against what was first fetched.

    Args:
        folder: that `data fetch` wrote.

    Raises:
        InputError: If it holds no fetched cohort.
    """
    if not (folder / FETCHED).is_file():
        raise InputError(f"{folder} has no {FETCHED}; name the folder that data fetch wrote")
    record = read_record(folder / FETCHED, SCHEMA)
    name = str(record.get("name"))
    files = []
    for listed in _recorded(folder, name).values():
        path = folder / listed["name"]
        if Path(listed["name"]).name != listed["name"]:
            raise InputError(f"{folder / FETCHED} names a place outside its folder: {listed['name']!r}")
        if not path.is_file():
            files.append(FetchedFile(listed["name"], "missing", listed["published"], ""))
            continue
        sha256 = checksum_of(path, "sha256")
        state = "whole" if sha256 == listed["sha256"] else "changed"
        files.append(FetchedFile(listed["name"], state, listed["published"], sha256))
    absent = {file.name for file in public_cohort(name).files} - {file.name for file in files}
    files += [FetchedFile(file, "missing", "", "") for file in sorted(absent)]
    return FetchedCohort(name, folder, tuple(files))
