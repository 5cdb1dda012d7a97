"""The image files below a folder, and what was found there and left out."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from counterstain.errors import InputError

__all__ = [
    "CONTAINER_SUFFIXES",
    "IMAGE_SUFFIXES",
    "LINKS_WAY_OUT",
    "NOT_AN_IMAGE",
    "PACKED",
    "ImageFiles",
    "find_images",
    "is_system_name",
]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
CONTAINER_SUFFIXES = (".h5", ".hdf5", ".npz")

_JUNK = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "system volume information"})

NOT_AN_IMAGE = "not an image by its name"
PACKED_SUFFIXES = (".gz", ".zip", ".tar", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")
PACKED = "packed: unpack it first"


LINK_OUT = "a link that leads out of the folder"
LINK_TO_FOLDER = "a link to a folder"
LINKS_WAY_OUT = (
    "to follow links inside a folder above all images, give `counterstain cohort … --follow-links --root THAT_FOLDER` "
    "(in a study, cohort.follow_links and cohort.root); or copy what they point to, or name the files in a manifest"
)


@dataclass(frozen=True)
class ImageFiles:
    """What is below a folder, by paths relative to it with POSIX slashes, in the order of the alphabet.

    skipped: (path, reason) of what is not studied: links out of the folder, hidden and system files, other kinds
    links:   those of `skipped` that are links which could be followed
    root:    of the images, where links were followed; None: the folder itself
    real:    {image: its path below that root, without links}, where links were followed
    """

    images: tuple[str, ...]
    containers: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    links: tuple[str, ...] = ()
    root: Path | None = None
    real: Mapping[str, str] = field(default_factory=dict)


def find_images(folder: Path, *, follow_links: bool = False, root: Path | None = None) -> ImageFiles:
    """Every image and container below `folder`, judged by name; nothing is opened, no link out of the root is followed.

    Links to files inside the folder count as files; links to folders are left out, so that no image is found twice.
    With `follow_links` both are followed as long as they stay in `root`, and what was found before is left out.

    Raises:
        InputError: If the folder does not exist or cannot be listed, or does not lie in `root`.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder} {'is not a folder' if folder.exists() else 'does not exist'}; name a folder of images"
        )
    start = Path(os.path.realpath(folder))
    limit = start if root is None or not follow_links else Path(os.path.realpath(root))
    if not start.is_relative_to(limit):
        raise InputError(f"{folder} is not in the root folder {root}; name a folder above all images")
    images: list[str] = []
    containers: list[str] = []
    skipped: list[tuple[str, str]] = []
    entered = {str(start)}
    waiting = [""]
    while waiting:
        within = waiting.pop()
        try:
            with os.scandir(start / within) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            if not within:
                raise InputError(f"{folder} cannot be listed ({error.strerror})") from None
            skipped.append((within, f"cannot be listed ({error.strerror})"))
            continue
        for entry in entries:
            path = f"{within}/{entry.name}" if within else entry.name
            reason = _reason(entry, limit, follow_links)
            if reason:
                skipped.append((_printable(path), reason))
            elif entry.is_dir(follow_symlinks=follow_links):
                real = os.path.realpath(entry.path) if follow_links else entry.path
                if real in entered:
                    skipped.append((path, "a folder that is reached in another way, too"))
                    continue
                entered.add(real)
                waiting.append(path)
            elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                images.append(path)
            elif entry.name.lower().endswith(CONTAINER_SUFFIXES):
                containers.append(path)
            elif entry.name.lower().endswith(PACKED_SUFFIXES):
                skipped.append((path, PACKED))
            else:
                skipped.append((path, NOT_AN_IMAGE))
    links = tuple(sorted(path for path, reason in skipped if reason in (LINK_OUT, LINK_TO_FOLDER)))
    files = ImageFiles(tuple(sorted(images)), tuple(sorted(containers)), tuple(sorted(skipped)), links)
    return _unlinked(files, start, limit) if follow_links else files


def _unlinked(files: ImageFiles, start: Path, root: Path) -> ImageFiles:
    """With each image by its path without links below the root; one that several links lead to is kept once."""
    real: dict[str, str] = {}
    again: list[tuple[str, str]] = []
    targets: set[str] = set()
    for path in files.images:
        target = Path(os.path.realpath(start / path)).relative_to(root).as_posix()
        if target in targets:
            again.append((path, f"the same file as another: {target}"))
            continue
        targets.add(target)
        real[path] = target
    skipped = tuple(sorted((*files.skipped, *again)))
    return replace(files, images=tuple(real), skipped=skipped, root=root, real=real)


def is_system_name(name: str) -> bool:
    """Whether a file or folder is hidden, or made by a system for itself."""
    return name.startswith(".") or name.lower() in _JUNK


def _reason(entry: "os.DirEntry[str]", root: Path, follow_links: bool) -> str:
    """Why an entry is left out before its name is judged; "" where it is not."""
    if is_system_name(entry.name):
        return "hidden or system file"
    if _printable(entry.name) != entry.name:
        return "its name is not valid Unicode; rename it"
    if "\r" in entry.name:
        return "its name holds a carriage return; rename it"
    try:
        if entry.is_symlink():
            target = Path(os.path.realpath(entry.path))
            if not target.is_relative_to(root):
                return LINK_OUT
            mode = entry.stat().st_mode
            if stat.S_ISDIR(mode) and not follow_links:
                return LINK_TO_FOLDER
        else:
            mode = entry.stat(follow_symlinks=False).st_mode
    except OSError as error:
        return f"cannot be accessed ({error.strerror})"
    return "" if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else "neither a file nor a folder"


def _printable(name: str) -> str:
    """The name with bytes that are no text (which the file system passes on as lone surrogates) replaced."""
    return name.encode("utf-8", "replace").decode()
