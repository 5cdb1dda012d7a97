"""Where an image comes from: a regular file under a root folder, found and opened without following a trap."""

import os
import stat
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from counterstain.cohort.cohort import container
from counterstain.errors import InputError

__all__ = ["BadImage", "Source", "locate", "open_source"]


class BadImage(InputError):  # noqa: N818 (what is bad is the image)
    """One image that cannot be used, with the reason in one line; a store skips it and continues.

    name:   the image as it was asked for
    reason: what was found and what is needed, without the name
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


@dataclass(frozen=True)
class Source:
    """One image: `path` is its file on disk, `address` the place inside a container ("x/12") or ""."""

    name: str
    path: str
    address: str


def locate(source: str | Path, root: Path | None) -> Source:
    """Where `source` lies; nothing is opened.

    Args:
        source: a path, or "file.h5#x/12" for row 12 of array "x" of a container; relative to `root` if that is given.
        root: the folder that must hold the file once links are followed; None trusts the path.

    Raises:
        BadImage: If the file is missing, lies outside `root`, or its links go in circles.
    """
    name = str(source)
    file, address = container(name)
    path = file if root is None else os.path.join(root, file)  # noqa: PTH118 (20,000 Path objects cost a second)
    try:
        folder, last = os.path.split(path)
        if last in ("", ".", "..") or stat.S_ISLNK(os.lstat(path).st_mode):
            real = os.path.realpath(path, strict=True)
        else:
            real = _real_folder(folder) + last
        inside = root is None or real.startswith(_real_folder(os.fspath(root)))
    except FileNotFoundError:
        raise BadImage(name, "does not exist; correct its path or leave it out of the cohort") from None
    except (OSError, ValueError) as error:  # links in a circle, a name too long, a NUL in the name
        raise BadImage(name, f"cannot be found ({_why(error)})") from None
    if not inside:
        raise BadImage(name, f"leads out of the cohort's folder, to {real}; copy the file into it")
    return Source(name, real, address)


@lru_cache(maxsize=1024)
def _real_folder(folder: str) -> str:
    """The folder with links followed and a closing slash; following them for every image costs a tenth of decoding it.

    Should a folder be linked elsewhere while the program runs, the old place is read: never one that was not looked at.
    """
    return os.path.join(os.path.realpath(folder, strict=True), "")  # noqa: PTH118


def open_source(source: Source) -> BinaryIO:
    """The file of `source`, open for reading. Never waits: a named pipe or a device is refused before it is opened.

    Raises:
        BadImage: If it is not a regular file, is empty, or may not be read.
    """
    try:
        found = os.stat(source.path)  # noqa: PTH116
        if not stat.S_ISREG(found.st_mode):
            raise BadImage(source.name, f"is a {_kind(found.st_mode)}, not an image file")
        if found.st_size == 0:
            raise BadImage(source.name, "is empty (0 bytes); copy it again from its origin")
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        return os.fdopen(os.open(source.path, flags), "rb")
    except OSError as error:
        raise BadImage(source.name, f"cannot be opened ({_why(error)})") from None


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "folder"), (stat.S_ISFIFO, "named pipe"), (stat.S_ISSOCK, "socket"))
    return next((word for test, word in kinds if test(mode)), "device")


def _why(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)).lower()
