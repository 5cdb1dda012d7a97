"""The image files below a folder, and what was found there and left out."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from counterstain.errors import InputError

__all__ = ["CONTAINER_SUFFIXES", "IMAGE_SUFFIXES", "NOT_AN_IMAGE", "PACKED", "Found", "find_images"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
CONTAINER_SUFFIXES = (".h5", ".hdf5", ".npz")

_JUNK = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "system volume information"})

NOT_AN_IMAGE = "not an image by its name"
PACKED_SUFFIXES = (".gz", ".zip", ".tar", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")
PACKED = "packed: unpack it first"


@dataclass(frozen=True)
class Found:
    """What is below a folder, by paths relative to it with POSIX slashes, in the order of the alphabet.

    skipped: (path, reason) of what is not studied: links out of the folder, hidden and system files, other kinds
    """

    images: tuple[str, ...]
    containers: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]


def find_images(folder: Path) -> Found:
    """Every image and container below `folder`, judged by name; nothing is opened, no link out of it is followed.

    Links to files inside the folder count as files; links to folders are left out, so that no image is found twice.

    Raises:
        InputError: If the folder does not exist or cannot be listed.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder} {'is not a folder' if folder.exists() else 'does not exist'}; name a folder of images"
        )
    root = Path(os.path.realpath(folder))
    images: list[str] = []
    containers: list[str] = []
    skipped: list[tuple[str, str]] = []
    waiting = [""]
    while waiting:
        within = waiting.pop()
        try:
            with os.scandir(root / within) as listing:
                entries = list(listing)
        except OSError as error:
            if not within:
                raise InputError(f"{folder} cannot be listed ({error.strerror})") from None
            skipped.append((within, f"cannot be listed ({error.strerror})"))
            continue
        for entry in entries:
            path = f"{within}/{entry.name}" if within else entry.name
            reason = _reason(entry, root)
            if reason:
                skipped.append((_printable(path), reason))
            elif entry.is_dir(follow_symlinks=False):
                waiting.append(path)
            elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                images.append(path)
            elif entry.name.lower().endswith(CONTAINER_SUFFIXES):
                containers.append(path)
            elif entry.name.lower().endswith(PACKED_SUFFIXES):
                skipped.append((path, PACKED))
            else:
                skipped.append((path, NOT_AN_IMAGE))
    return Found(tuple(sorted(images)), tuple(sorted(containers)), tuple(sorted(skipped)))


def _reason(entry: "os.DirEntry[str]", root: Path) -> str:
    """Why an entry is left out before its name is judged; "" where it is not."""
    if entry.name.startswith(".") or entry.name.lower() in _JUNK:
        return "hidden or system file"
    if _printable(entry.name) != entry.name:
        return "its name is not valid Unicode; rename it"
    if "\r" in entry.name:
        return "its name holds a carriage return; rename it"
    try:
        if entry.is_symlink():
            target = Path(os.path.realpath(entry.path))
            if not target.is_relative_to(root):
                return "a link that leads out of the folder"
            mode = entry.stat().st_mode
            if stat.S_ISDIR(mode):
                return "a link to a folder"
        else:
            mode = entry.stat(follow_symlinks=False).st_mode
    except OSError as error:
        return f"cannot be looked at ({error.strerror})"
    return "" if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else "neither a file nor a folder"


def _printable(name: str) -> str:
    """The name with bytes that are no text (which the file system passes on as lone surrogates) replaced."""
    return name.encode("utf-8", "replace").decode()
