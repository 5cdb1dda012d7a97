"""One file from its address to its place: resumed where it was cut off, checked before it stands under its name."""

import hashlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from counterstain.datasets.catalogue import RemoteFile
from counterstain.errors import InputError
from counterstain.files import refusal

__all__ = ["check_file", "checksum_of", "download"]

TRIES = 3  # where a connection breaks; each resumes from the bytes that came before
TIMEOUT_S = 60
_BLOCK = 1 << 20
PIECE = 1 << 16  # read at once: what a broken connection loses at most
Step = Callable[[int, int], None]


def checksum_of(path: Path, kind: str) -> str:
    """The checksum of a file, as "md5:…" or "sha256:…".

    Args:
        path: of the file.
        kind: md5 or sha256.
    """
    digest = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return f"{kind}:{digest.hexdigest()}"


def check_file(path: Path, file: RemoteFile) -> str:
    """The SHA-256 of a file on disk, after its size and its published checksum were found right.

    Raises:
        InputError: If it is another file, or only a part of it.
    """
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        raise InputError(
            f"{path.name} has {size:,} bytes, {file.size:,} are published; it was cut off or is another version"
        )
    if file.checksum:
        kind = file.checksum.partition(":")[0]
        actual = checksum_of(path, kind)
        if actual != file.checksum:
            raise InputError(
                f"{path.name} has {actual}, published is {file.checksum}; it was damaged on its way or "
                "is another version"
            )
        if kind == "sha256":
            return actual
    return checksum_of(path, "sha256")


def download(file: RemoteFile, folder: Path, *, page: str, progress: Step | None = None) -> str:
    """Fetch a file into a folder by pooch, and give its SHA-256; what came before a cut is kept and resumed from.

    Args:
        file: what to fetch; it has an address.
        folder: where it is to lie.
        page: where the user can look when the address fails.
        progress: called with (bytes here, bytes in all; 0 unknown).

    Raises:
        InputError: If the address fails, the connection stays cut, the disk is too small, or the bytes are wrong.
    """
    import pooch

    part = folder / f"{file.name}.part"

    def fetch(url: str, output: Any, _: object) -> None:
        _fetch_with_retries(url, part, page=page, progress=progress)
        shutil.move(part, Path(output))

    folder.mkdir(parents=True, exist_ok=True)
    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(file.url, known_hash=file.checksum or None, fname=file.name, path=folder, downloader=fetch)
    except ValueError as error:
        if isinstance(error, InputError) or "hash" not in str(error):
            raise
        raise InputError(
            f"{file.name} does not have the published checksum {file.checksum}; nothing was kept. It was damaged on "
            f"its way, or has changed at {page}: fetch it again, and if that fails compare the checksum on that page"
        ) from None
    return check_file(folder / file.name, file)


def _fetch_with_retries(url: str, part: Path, *, page: str, progress: Step | None) -> None:
    import requests

    # What a connection that breaks is told by; a cut shows as ChunkedEncodingError.
    broken = (
        requests.exceptions.ConnectionError,
        requests.exceptions.Timeout,
        requests.exceptions.ChunkedEncodingError,
    )
    for again in range(TRIES):
        try:
            _fetch(url, part, page=page, progress=progress)
            return
        except broken as error:
            have = part.stat().st_size if part.exists() else 0
            if again == TRIES - 1:
                raise InputError(
                    f"the connection to {url} broke {TRIES} times ({type(error).__name__}), after {have:,} bytes; they "
                    "are kept, and the same command resumes from there. Without a network: --from FOLDER takes files "
                    f"fetched elsewhere from {page}"
                ) from None
            time.sleep(again)
        except requests.exceptions.RequestException as error:
            raise InputError(f"{url} cannot be fetched ({error}); look at {page}") from None
        except OSError as error:
            raise InputError(refusal(error, part)) from error


def _fetch(url: str, part: Path, *, page: str, progress: Step | None) -> None:
    """The rest of a file into its .part; a server that does not know ranges sends all of it again."""
    import requests

    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-", "Accept-Encoding": "identity"} if have else {"Accept-Encoding": "identity"}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
        if answer.status_code == 416:  # nothing is left, or what is here is longer: begin again
            part.unlink()
            raise requests.exceptions.ConnectionError("the part on disk does not fit the file")
        if not answer.ok:
            raise InputError(
                f"{answer.url} answered {answer.status_code} ({answer.reason}); look at {page}, fetch the file by hand "
                "and give its folder with --from"
            )
        goes_on = answer.status_code == 206
        remaining = int(answer.headers.get("Content-Length", 0))
        total = (have if goes_on else 0) + remaining if remaining else 0
        free = shutil.disk_usage(part.parent).free
        if remaining > free:
            raise InputError(
                f"{part.name.removesuffix('.part')} needs {remaining:,} bytes, {free:,} are free; free some space"
            )
        received = have if goes_on else 0
        with part.open("ab" if goes_on else "wb") as out:
            for block in answer.iter_content(PIECE):
                out.write(block)
                received += len(block)
                if progress is not None:
                    progress(received, total)
        if total and received != total:
            raise requests.exceptions.ChunkedEncodingError(f"{received} of {total} bytes")
