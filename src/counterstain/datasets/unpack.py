"""Archives into a folder: nothing is written outside it, no link is followed, and a bomb is refused."""

import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from counterstain.errors import InputError
from counterstain.files import refusal

__all__ = ["is_archive", "unpack"]

MOST_RATIO = 200  # of what an archive unpacks to, to its own size; tissue compresses ten times at best
SMALL = 1 << 28  # bytes up to which any ratio is let through
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, NotImplementedError)


def is_archive(path: Path) -> bool:
    """Whether a file is unpacked after it was fetched: .zip, .tar.gz, .tgz, or one file in .gz."""
    return path.name.lower().endswith((".zip", ".gz", ".tgz", ".tar"))


def unpack(archive: Path, folder: Path) -> int:
    """Unpack into a folder and give the number of files; what lies there already is overwritten.

    Raises:
        InputError: If the archive is damaged, names a place outside the folder, or unpacks to far more than it is.
    """
    most = max(SMALL, MOST_RATIO * archive.stat().st_size)
    count = written = 0
    try:
        for name, stream in _members(archive):
            target = folder / _inside(name, archive)
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f"{target.name}.part")
            with partial.open("wb") as out:
                while block := stream.read(1 << 20):
                    written += len(block)
                    if written > most:
                        raise InputError(f"{archive.name} unpacks to more than {most:,} bytes; it is no set of images")
                    out.write(block)
            partial.replace(target)
            count += 1
    except _DAMAGED as error:
        raise InputError(f"{archive.name} is damaged ({error}); remove it and fetch it again") from None
    except OSError as error:
        raise InputError(refusal(error, folder)) from error
    return count


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of every regular file; links, devices and folders are passed over."""
    name = archive.name.lower()
    if name.endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                if not entry.is_dir():
                    with opened.open(entry) as stream:
                        yield entry.filename, stream
    elif name.endswith((".tar.gz", ".tgz", ".tar")):
        with tarfile.open(archive) as packed:
            for member in packed:
                stream_of = packed.extractfile(member) if member.isreg() else None
                if stream_of is not None:
                    with stream_of:
                        yield member.name, stream_of
    else:
        with gzip.open(archive) as stream_of_gz:
            yield archive.name[: -len(".gz")], stream_of_gz  # type: ignore[misc]


def _inside(name: str, archive: Path) -> Path:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[0] or not parts.parts:
        raise InputError(f"{archive.name} names a place outside its folder ({name!r}); it is not to be trusted")
    return Path(*parts.parts)
