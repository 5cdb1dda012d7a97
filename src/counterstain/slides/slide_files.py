"""Which files are slides, by name or in folders: a DICOM series once, hidden files never; and what they are called."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from counterstain.errors import InputError, first_names
from counterstain.slides.dicom import DicomHeader, is_dicom, read_dicom_header
from counterstain.slides.dicomweb import fetch_slides, is_address

__all__ = ["SUFFIXES", "find_slides", "folder_names", "names_slides", "slide_name"]

SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".dcm")

_OTHER_SLIDES = (
    *(".czi", ".vsi", ".isyntax", ".qptiff", ".lif", ".nd2", ".zvi", ".oir", ".ets", ".mds", ".kfb", ".sdpc", ".tmap"),
    ".zarr",
)
_PACKED = (".zip", ".gz", ".bz2", ".xz", ".7z", ".zst")
_NOT_READ = f"they are no slides that are read ({', '.join(SUFFIXES)}), or links to nothing; convert or unpack them"


def find_slides(
    places: Sequence[Path], *, recursive: bool | None = False, say: Callable[[str], None] = lambda line: None
) -> list[Path]:
    """Slides by file, and of a folder those in it by their ending, in order of name; of a DICOM series one file.

    Hidden files (macOS writes a `._` beside each file) are passed over.

    Args:
        places: files, folders, and addresses of DICOMweb servers, whose slides are fetched into a cache.
        recursive: whether subfolders are searched, too; None: where the folder itself holds no slide, as gdc-client
            downloads them, and it is said.
        say: told what was found in subfolders.

    Raises:
        InputError: If a place does not exist, a folder holds no slide, or two slides have one name.
    """
    by_name: dict[str, Path] = {}
    listed = [path for place in places for path in _slides_at(place, recursive, say)]
    for path in _without_series_mates(listed, say):
        name = slide_name(path)
        if name in by_name:
            raise InputError(f"{by_name[name]} and {path} have one name; rename one, or cut them apart")
        by_name[name] = path
    return list(by_name.values())


def _slides_at(place: Path, recursive: bool | None, say: Callable[[str], None]) -> list[Path]:
    if is_address(place):
        return fetch_slides(place, say=say)
    if not place.is_dir():
        if not place.exists():
            raise InputError(f"{place} does not exist; name a slide's file or a folder of them")
        if not place.is_file():
            raise InputError(f"{place} is a device or a pipe, not a file; name a slide's file or a folder of them")
        return [place]
    try:
        entries = sorted(place.iterdir())
        direct = [path for path in entries if _is_slide(path)]
        passed = [path.name for path in entries if _looks_like_a_slide(path)]
        below = sorted(path for path in _walk(place) if path.parent != place)
    except OSError as error:
        raise InputError(f"{place} cannot be listed ({error.strerror}); check its permissions") from None
    if passed and direct:
        say(f"{place}: {len(passed)} files are passed over ({first_names(passed)}): {_NOT_READ}")
    if recursive:
        return _require_slides([*direct, *below], place)
    if below and not direct and recursive is None:
        say(
            f"{place} itself holds no slide: {len(below)} of its subfolders are read ({below[0].relative_to(place)}, …)"
        )
        return below
    if below and not direct:
        raise InputError(f"{place} itself holds no slide; {len(below)} are in its subfolders: search them (recursive)")
    if below:
        say(f"{place} has {len(below)} more slides in its subfolders ({below[0].relative_to(place)}, …): --recursive")
    return _require_slides(direct, place)


def _require_slides(files: list[Path], place: Path) -> list[Path]:
    if files:
        return files
    passed = sorted(path.name for path in place.iterdir() if _looks_like_a_slide(path))
    if passed:
        raise InputError(f"{place} holds {first_names(passed)}: {_NOT_READ}")
    raise InputError(f"{place} holds no slide ({', '.join(SUFFIXES)}), nor do its subfolders; name the slides' files")


def _walk(place: Path) -> Iterator[Path]:
    """Slides in a folder and below it. Links to folders are not followed: they may lead in circles."""
    for folder, names, files in os.walk(place):
        names[:] = [name for name in names if not name.startswith(".")]
        yield from (path for name in files if _is_slide(path := Path(folder, name)))


def _is_slide(path: Path) -> bool:
    if path.name.startswith(".") or not path.is_file():
        return False
    return path.suffix.lower() in SUFFIXES or (_is_bare(path) and path.name != "DICOMDIR" and is_dicom(path))


def _is_bare(path: Path) -> bool:
    """Whether a name has no ending that says what it is: none at all, or the last number of a UID."""
    return not path.suffix or path.suffix[1:].isdecimal()


def _looks_like_a_slide(path: Path) -> bool:
    """Whether it is named as a slide is, and none that can be read: another format, or a link to nothing."""
    if path.name.startswith(".") or path.is_dir():
        return False
    ending = path.suffix.lower()
    if ending in _PACKED:
        return Path(path.stem).suffix.lower() in (*SUFFIXES, *_OTHER_SLIDES)
    return ending in _OTHER_SLIDES or (ending in SUFFIXES and not path.is_file())


def _without_series_mates(files: Sequence[Path], say: Callable[[str], None]) -> list[Path]:
    """The files, of those of one DICOM series in one folder only the one of the finest level; what is odd is said."""
    headers = {path: read_dicom_header(path) for path in files if path.suffix.lower() == ".dcm" or _is_bare(path)}
    series: dict[tuple[Path, str], list[Path]] = {}
    for path, header in headers.items():
        if header is not None and header.series:
            series.setdefault((path.parent, header.series), []).append(path)
    mates = set[Path]()
    for paths in series.values():
        finest = max(reversed(paths), key=lambda path: _fineness(headers[path]))
        mates |= set(paths) - {finest}
        _tell_oddities(
            finest, [header for path in paths if (header := headers[path]) is not None], headers[finest], say
        )
    return [path for path in dict.fromkeys(files) if path not in mates] if mates else list(files)


def _tell_oddities(
    finest: Path, series: Sequence[DicomHeader], header: DicomHeader | None, say: Callable[[str], None]
) -> None:
    """Say what no reader refuses: a series of two patients, and one whose finest level lies elsewhere."""
    patients = sorted({part.patient for part in series if part.patient})
    if len(patients) > 1:
        say(f"{finest}: the files of this series name {len(patients)} patients ({first_names(patients)}); ask why")
    if header is not None and "VOLUME" in header.image_type and "RESAMPLED" in header.image_type:
        say(f"{finest} is a reduced level (RESAMPLED); the finest level of its series is not in this folder")


def _fineness(header: DicomHeader | None) -> tuple[bool, int]:
    return (False, 0) if header is None else ("VOLUME" in header.image_type, header.width_px * header.height_px)


def names_slides(place: Path) -> bool:
    """Whether a file or a folder's files are slides by an ending that tiles do not have (so not .tif)."""
    endings = tuple(suffix for suffix in SUFFIXES if not suffix.startswith(".tif"))
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    return any(path.suffix.lower() in endings and not path.name.startswith(".") for path in files)


def slide_name(path: Path) -> str:
    """What a slide and its files are called: its file's name without its ending."""
    return path.name if _is_bare(path) else path.name.removesuffix(path.suffix).removesuffix(".ome")


def folder_names(names: Sequence[str]) -> dict[str, str]:
    """A folder's name for each slide's name, without characters that some file system or program cannot take.

    Where two would be one (on disks that know no capitals, too), each that had to be changed gets a mark of its own,
    made of its full name, so that it does not depend on the others.
    """
    plain = {name: re.sub(r"[^\w.\-]", "_", name) for name in names}
    by_folded_name: dict[str, list[str]] = {}
    for name in names:
        by_folded_name.setdefault(unicodedata.normalize("NFKC", plain[name]).casefold(), []).append(name)
    for group in by_folded_name.values():
        keeps = min(group, key=lambda name: (plain[name] != name, name))
        for name in group:
            if name != keeps:
                plain[name] += "-" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return plain
