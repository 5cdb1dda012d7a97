"""Slides on a DICOMweb server: fetched once into a cache and read there like files; results are sent back."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from functools import partial
from pathlib import Path
from typing import IO, Any

from counterstain.errors import InputError
from counterstain.files import write_with
from counterstain.slides.dicom import check_dicom, read_dicom_header

__all__ = ["TOKEN", "DicomwebAddress", "cache_folder", "fetch_slides", "is_address", "read_address", "send_instances"]

TOKEN = "COUNTERSTAIN_DICOMWEB_TOKEN"
CACHE = "COUNTERSTAIN_CACHE"
_ADDRESS = re.compile(r"(dicomwebs?):/+([^/].*)")  # a Path keeps one of the two slashes
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_TIMEOUT_S = (10, 600)  # to connect; between two pieces of an answer
_PIECE = 1 << 20
_HEAD = 1 << 16  # the headers of a part are shorter
# Without the last words a server may unpack the pixels: Orthanc does, to RGB decoded by its own JPEG library.
_AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'


@dataclass(frozen=True)
class DicomwebAddress:
    """A server's service, or one study or series of it.

    service: http(s) address of the service; study, series: UIDs, "" for every one
    """

    service: str
    study: str = ""
    series: str = ""


def is_address(place: Path | str) -> bool:
    """Whether it names slides on a server instead of a file.

    >>> is_address("dicomweb://localhost:8042/dicom-web"), is_address("slides/a.svs")
    (True, False)
    """
    return _ADDRESS.fullmatch(_text(place)) is not None


def read_address(place: Path | str) -> DicomwebAddress:
    """The address dicomweb://HOST:PORT/SERVICE[/studies/UID[/series/UID]]; dicomwebs:// for https.

    >>> read_address("dicomwebs://pacs.example/dicom-web/studies/1.2.3")
    DicomwebAddress(service='https://pacs.example/dicom-web', study='1.2.3', series='')

    Raises:
        InputError: If it is none, holds a password, or a UID is no UID.
    """
    match = _ADDRESS.fullmatch(_text(place))
    if match is None:
        raise InputError(
            f"'{_text(place)}' is no address; give dicomweb://HOST:PORT/dicom-web, or dicomwebs:// for https"
        )
    if "@" in match[2].partition("/")[0]:
        raise InputError(
            f"the address holds a name or a password, which records would keep; put it in ~/.netrc, or {TOKEN}"
        )
    service, _, study = match[2].rstrip("/").partition("/studies/")
    study, _, series = study.partition("/series/")
    for uid in (study, series):
        if uid and not _is_uid(uid):
            raise InputError(f"'{uid}' in the address is no UID; give …/studies/UID, or …/studies/UID/series/UID")
    return DicomwebAddress(f"{'https' if match[1] == 'dicomwebs' else 'http'}://{service}", study, series)


def _text(place: Path | str) -> str:
    return place.as_posix() if isinstance(place, Path) else place


def _is_uid(text: str) -> bool:
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def cache_folder() -> Path:
    """Where fetched slides lie: $COUNTERSTAIN_CACHE/dicom, else ~/.cache/counterstain/dicom."""
    chosen, shared = os.environ.get(CACHE), os.environ.get("XDG_CACHE_HOME")
    return (Path(chosen) if chosen else Path(shared or Path.home() / ".cache") / "counterstain") / "dicom"


# ------------------------------------------------------------------------------------------------------------ fetching


def fetch_slides(place: Path | str, *, say: Callable[[str], None] = lambda line: None) -> list[Path]:
    """The file of the finest level of every slide at an address; what is not in `cache_folder()` yet is fetched.

    The bytes are those that the server keeps. Labels, overviews and thumbnails, which may show a name, stay there. A
    slide is called by its SeriesInstanceUID. DICOM never changes an instance under its UID, so no file grows old.

    Args:
        place: see `read_address`.
        say: told what is fetched.

    Raises:
        InputError: If the server cannot be reached or refuses, has no slide there, or breaks off.
    """
    address, folder = read_address(place), cache_folder()
    with _service(address) as (client, session):
        series_list = _series_of(client, address)
        if not series_list:
            raise InputError(f"{_text(place)} has no slide (modality SM); look at the study and series in the address")
        paths = []
        for number, (study, series) in enumerate(series_list, start=1):
            levels = _levels(client, study, series)
            files = [folder / series / f"{series if n == 0 else uid}.dcm" for n, (uid, _) in enumerate(levels)]
            missing = [(uid, path) for (uid, _), path in zip(levels, files, strict=True) if not path.is_file()]
            if missing:
                say(f"fetching slide {number} of {len(series_list)}: {series}, {len(missing)} of {len(levels)} files")
            url = f"{address.service}/studies/{study}/series/{series}/instances"
            paths.append(_fetch_one(session, url, [uid for uid, _ in levels], files, series))
    return paths


def _fetch_one(session: Any, url: str, uids: Sequence[str], files: Sequence[Path], series: str) -> Path:
    """The file to open of one slide, once all of its files are there.

    The coarsest comes first. If no reader decodes it, the finer ones, most of the bytes, stay on the server, and it is
    the file to open: it is refused by name, and other slides at the address are read.
    """
    for uid, path in zip(reversed(uids), reversed(files), strict=True):
        if not path.is_file():
            _download(session, f"{url}/{uid}", path, series)
        header = read_dicom_header(path)
        try:
            if header is not None:
                check_dicom(path, header)
        except InputError:
            return path
    return files[0]


def _series_of(client: Any, address: DicomwebAddress) -> list[tuple[str, str]]:
    """(study, series) of every slide at the address, in order of their UIDs."""
    if address.series:
        return [(address.study, address.series)]
    rows = client.search_for_series(address.study or None, search_filters={"Modality": "SM"}, get_remaining=True)
    pairs = [(_value(row, "0020000D") or address.study, _value(row, "0020000E")) for row in rows]
    for uid in (uid for pair in pairs for uid in pair):
        _check_uid(uid)
    return sorted(pairs)


def _levels(client: Any, study: str, series: str) -> list[tuple[str, int]]:
    """(SOPInstanceUID, px of its level) of the files of one slide, finest first; a level may lie in several files."""
    rows = client.retrieve_series_metadata(study, series)
    volumes = [row for row in rows if "VOLUME" in row.get("00080008", {}).get("Value", ())]
    if not volumes:
        kinds = sorted({_value(row, "00080060") for row in rows})
        raise InputError(f"series {series} is no slide ({', '.join(kinds)}): no instance of it has VOLUME in ImageType")
    for row in volumes:
        _check_uid(_value(row, "00080018"))
    sized = [(_value(row, "00080018"), _number(row, "00480006") * _number(row, "00480007")) for row in volumes]
    if not all(px for _, px in sized):
        raise InputError(f"the server does not say how large the levels of series {series} are; ask who keeps it")
    return sorted(sized, key=lambda level: (-level[1], level[0]))


def _value(row: Any, tag: str) -> str:
    """The first value of an element in DICOM's JSON, "" where there is none."""
    return str((row.get(tag, {}).get("Value") or [""])[0])


def _number(row: Any, tag: str) -> int:
    """The same as a whole number, 0 where it is none."""
    value = _value(row, tag)
    return int(value) if value.isdecimal() else 0


def _check_uid(uid: str) -> None:
    """Files are named after it: what a server sends as a UID must not be a path."""
    if not _is_uid(uid):
        raise InputError(f"the server calls an instance '{uid[:80]}', which is no UID; its answer cannot be used")


def _download(session: Any, url: str, path: Path, series: str) -> None:
    """One instance as the server keeps it, whole or not at all; memory does not grow with it."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def fill(temporary: Path) -> None:
        headers = {"Accept": _AS_STORED, "Accept-Encoding": "identity"}
        with (
            _in_one_line(url),
            session.get(url, headers=headers, stream=True) as answer,
            temporary.open("wb") as stream,
        ):
            answer.raise_for_status()
            _one_part(answer.iter_content(_PIECE), answer.headers.get("Content-Type", ""), stream, url)
        header = read_dicom_header(temporary)
        if header is None or header.series != series:
            raise InputError(f"{url} sent something else than this instance; ask who keeps the server")

    write_with(path, fill)


def _one_part(pieces: Iterator[bytes], kind: str, stream: IO[bytes], url: str) -> None:
    """Write the one part of a multipart answer; some servers send it bare.

    Source:
        RFC 2046 5.1 (multipart), DICOM PS3.18 8.7 (media types), 10.4 (retrieve).
    """
    message = Message()
    message["Content-Type"] = kind
    boundary = message.get_boundary()
    if boundary is None:
        stream.writelines(pieces)
        return
    end = b"\r\n--" + boundary.encode()
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _HEAD:
        head += next(pieces, b"") or _broken_off(url)
    buffer = head.partition(b"\r\n\r\n")[2]
    while end not in buffer:
        stream.write(buffer[: -len(end)])  # the boundary may lie across two pieces
        buffer = buffer[-len(end) :] + (next(pieces, b"") or _broken_off(url))
    content, _, rest = buffer.partition(end)
    stream.write(content)
    if not b"--".startswith((rest + next(pieces, b""))[:2]):
        raise InputError(f"{url} sent more than this instance; ask who keeps the server")


def _broken_off(url: str) -> bytes:
    raise InputError(f"{url} broke off before its end; run the same command again")


# ------------------------------------------------------------------------------------------------------------- sending


def send_instances(place: Path | str, files: Sequence[Path]) -> None:
    """Store DICOM files on a server (STOW-RS).

    Args:
        place: address of the service; a study or series in it is not looked at: the files say theirs.
        files: DICOM files.

    Raises:
        InputError: If the server cannot be reached, or refuses one; with its reason's number.
    """
    import pydicom

    with _service(address := read_address(place)) as (client, _):
        for path in files:
            answer = client.store_instances([pydicom.dcmread(path)])
            refused = list(answer.get("FailedSOPSequence") or [])
            if refused:
                reason = refused[0].get("FailureReason", 0)
                raise InputError(
                    f"{address.service} refused {path} (reason {reason:#06x}); DICOM PS3.18 table I.2-2 has the reasons"
                )


@contextmanager
def _service(address: DicomwebAddress) -> Iterator[tuple[Any, Any]]:
    """A client of the service and its HTTP session.

    Raises:
        InputError: If the server cannot be reached, or refuses.
    """
    import requests
    from dicomweb_client import DICOMwebClient

    with requests.Session() as session, _in_one_line(address.service):
        session.request = partial(session.request, timeout=_TIMEOUT_S)  # type: ignore[method-assign]
        if token := os.environ.get(TOKEN):
            session.auth = lambda request: _with_token(request, token)  # the name in ~/.netrc would win over a header
        client = DICOMwebClient(address.service, session=session)
        client.set_http_retry_params(retry=False)
        yield client, session


@contextmanager
def _in_one_line(service: str) -> Iterator[None]:
    """What goes wrong between us and a server; `write_with` would take it, an OSError, for a fault of the disk.

    Raises:
        InputError: For any of it.
    """
    import requests

    try:
        yield
    except requests.HTTPError as error:
        answer: Any = error.response
        code, way = answer.status_code, "look at the address"
        if code in (401, 403):
            way = f"put the name and password in ~/.netrc, or a token in {TOKEN}"
        elif code == 406:
            way = "it does not send instances as it keeps them, and converted pixels are not taken"
        raise InputError(f"{answer.url} answered {code} {answer.reason}; {way}") from None
    except requests.RequestException as error:
        raise InputError(
            f"{service} did not answer to the end ({type(error).__name__}); is it running, and the address right? "
            "What was fetched is kept"
        ) from None


def _with_token(request: Any, token: str) -> Any:
    request.headers["Authorization"] = f"Bearer {token}"
    return request
