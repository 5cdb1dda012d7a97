"""Image paths in tables: read relative to the table or to a root, and written so that the table can be read back."""

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from counterstain.errors import InputError
from counterstain.files import read_json, write_json

__all__ = ["LOCATION", "paths_from_table", "place_images", "recorded_root", "write_location"]

LOCATION = "location.json"
_SCHEMA = "counterstain.location/1"
_DRIVE = re.compile(r"[A-Za-z]:/")


def place_images(paths: Sequence[str], folder: Path, where: str, *, root: Path | None = None) -> tuple[Path, list[str]]:
    """The root folder of a table's images, and each image's name relative to it, with POSIX slashes.

    The root is `root` where given, else the table's own folder. A table whose images all lie elsewhere, by absolute
    paths or by paths with the same number of leading "..", has a root of its own: the folder above all of them.

    Args:
        paths: as they stand in the table.
        folder: the table's folder, from which relative paths count where no root is given.
        where: the table, for messages.
        root: the folder that the paths are relative to.

    Raises:
        InputError: If a path leads out of the root, or only some images lie in the table's folder.
    """
    base = folder if root is None else root
    names = [_plain(path, base) for path in paths]
    if root is None and names and all(map(_is_outside, names)):
        common = _common_root(names, base)
        if common is not None:
            return common
    for row, name in enumerate(names):
        if _is_outside(name):
            raise InputError(
                f"{where} row {row + 1} names {paths[row]}, which is outside the root folder {base}; "
                "give paths relative to it, or name the folder above all images with --root (in a study, cohort.root)"
            )
    return base, names


def _plain(path: str, base: Path) -> str:
    """A path with POSIX slashes and without "." parts, relative where it is absolute but lies in `base`."""
    name = path
    if "\\" in name and not (base / name).exists():
        name = name.replace("\\", "/")  # written on Windows
    home = os.path.abspath(base).rstrip("/") + "/"  # noqa: PTH100 (the table names links unresolved)
    if name.startswith("/") and name.startswith(home):
        name = name[len(home) :]
    if name.startswith(("./", "/")) or "//" in name or "/./" in name:
        name = str(PurePosixPath(name))
    return name


def _is_outside(name: str) -> bool:
    return name.startswith("/") or bool(_DRIVE.match(name)) or (".." in name and ".." in name.split("/"))


def _common_root(names: list[str], base: Path) -> tuple[Path, list[str]] | None:
    """The root of images that all lie outside `base`; None where they have no folder in common."""
    if all(os.path.isabs(name) for name in names):  # noqa: PTH117 (20,000 Path objects cost time)
        if any(".." in name.split("/") for name in names):
            return None
        common = os.path.commonpath([os.path.dirname(name) for name in names])  # noqa: PTH120
        if common == os.path.dirname(common):  # noqa: PTH120 (the whole disk is no folder of images)
            return None
        return Path(common), [os.path.relpath(name, common).replace(os.sep, "/") for name in names]
    parts = [name.split("/") for name in names]
    up = next((k for k, part in enumerate(parts[0]) if part != ".."), len(parts[0]))
    same = all(
        components[:up] == [".."] * up and len(components) > up and ".." not in components[up:] for components in parts
    )
    if not up or not same:
        return None
    root = Path(os.path.realpath(base)).joinpath(*[".."] * up)
    return Path(os.path.normpath(root)), ["/".join(components[up:]) for components in parts]


def paths_from_table(names: Sequence[str], root: Path, table: Path) -> list[str]:
    """Each image's path as a table at `table` writes it: relative to the table's folder, absolute across drives.

    >>> paths_from_table(["benign/1.png"], Path("study/images"), Path("study/cohort.csv"))
    ['images/benign/1.png']
    """
    folder = table.parent
    if table.is_absolute() and table.parts[1:2] in (("dev",), ("proc",)):  # the table goes to a pipe or the screen
        folder = Path()
    try:
        prefix = os.path.relpath(os.path.abspath(root), os.path.abspath(folder))  # noqa: PTH100
        if prefix.startswith(".."):  # which the system follows from where a linked folder really is
            prefix = os.path.relpath(os.path.realpath(root), os.path.realpath(folder))
    except ValueError:  # another drive, on Windows
        prefix = os.path.abspath(root)  # noqa: PTH100
    prefix = prefix.replace(os.sep, "/")
    return list(names) if prefix == "." else [f"{prefix.rstrip('/')}/{name}" for name in names]


def write_location(folder: Path, root: Path) -> None:
    """Record beside a run's cohort.csv, whose names count from the root as all its tables' do, where that root is."""
    prefix = paths_from_table([""], root, folder / LOCATION)[0].rstrip("/")
    write_json(folder / LOCATION, {"schema": _SCHEMA, "root": prefix or "."})


def recorded_root(table: Path) -> Path | None:
    """The root that a run recorded for its cohort.csv; None for every other table."""
    record = table.parent / LOCATION
    if table.name != "cohort.csv" or not record.is_file():
        return None
    location = read_json(record)
    if location.get("schema") != _SCHEMA or not isinstance(location.get("root"), str):
        raise InputError(f"{record} is not a record of image locations; remove it, and name the folder with --root")
    return Path(os.path.normpath(Path(os.path.realpath(table.parent)) / location["root"]))
