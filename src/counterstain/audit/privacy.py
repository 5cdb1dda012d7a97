"""What could name a patient: dates, names and case numbers in paths, file names, tables, records and image tags.

It finds what has the form of an identifier. It cannot see a name without a form, nor text burnt into pixels: that it
finds nothing is no proof that nothing is there.
"""

import datetime
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from counterstain.errors import InputError
from counterstain.evaluation.format import plural
from counterstain.files import StrPath

__all__ = ["Identifier", "PrivacyReport", "find_identifiers", "identifiers_in"]

MOST_TEXT = 2_000_000  # bytes of one text file that are read
TEXTS = (".csv", ".tsv", ".json", ".jsonl", ".md", ".txt", ".yaml", ".yml", ".geojson", ".html", ".xml", ".toml")
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".svs", ".ndpi", ".scn")
MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"

# Each kind by its form. Letters and digits beside a match mean that it is a part of a longer word.
_FORMS: tuple[tuple[str, str], ...] = (
    ("date", r"(?:19|20)\d\d[-_.:/ ]?(?:0[1-9]|1[0-2])[-_.:/ ]?(?:0[1-9]|[12]\d|3[01])"),
    ("date", r"(?:0?[1-9]|[12]\d|3[01])[./](?:0?[1-9]|1[0-2])[./](?:(?:19|20)\d\d|\d\d)"),
    ("date", r"(?:0?[1-9]|1[0-2])/(?:0?[1-9]|[12]\d|3[01])/(?:(?:19|20)\d\d|\d\d)"),
    ("date", rf"(?:0?[1-9]|[12]\d|3[01])[- ]?(?:{MONTHS})[a-z]*[- ]?(?:19|20)\d\d"),
    ("name", r"[^\W\d_]+(?:['’-][^\W\d_]+)*\^[^\W\d_]+(?:['’-][^\W\d_]+)*"),
    ("name", r"(?:patient|pat|surname|last|first|given|family)[ _-]?name[\"']?\s*[:=]\s*[\"']?[^\W\d_]{2,}"),
    ("record number", r"(?:mrn|medical[ _-]record|patient[ _-]?(?:no|nr|number)|ssn|nhs)[\"':=#_ -]{0,4}\d{5,}"),
    ("case number", r"(?:accession|case|spec(?:imen)?)[ _-]?(?:no|nr|number)?[\"' ]*[:=#][\"' ]{0,2}[A-Z]{0,3}\d{2,}"),
    ("case number", r"[A-Z]{1,3}-?(?:(?:19|20)\d\d|\d\d)[-/]\d{3,7}"),
    ("birth", r"(?:dob|birth[ _-]?(?:date|day)?|born)[\"']?\s*[:=]\s*[\"']?\d"),
    ("address", r"[\w.+-]+@[\w-]+\.[\w.-]+"),
)  # fmt: skip
_COMPILED = tuple(
    (kind, re.compile(rf"(?<![A-Za-z0-9])(?<!\d\.){form}(?![A-Za-z0-9])", re.IGNORECASE)) for kind, form in _FORMS
)
# Pseudonyms and hashes of public data: TCGA's barcodes, UUIDs, SHA-256.
_HARMLESS = re.compile(
    r"TCGA(?:-\w+)+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<![0-9a-f])[0-9a-f]{32,64}(?![0-9a-f])"
)
# Tags of people, places and times, by their number in TIFF and Exif; ImageDescription holds a scanner's whole header.
_TAGS = {270: "ImageDescription", 306: "DateTime", 315: "Artist", 316: "HostComputer", 33432: "Copyright",
         36867: "DateTimeOriginal", 36868: "DateTimeDigitized", 37510: "UserComment", 42032: "CameraOwnerName",
         40091: "XPTitle", 40092: "XPComment", 40093: "XPAuthor"}  # fmt: skip
_PEOPLE = {"Artist", "CameraOwnerName", "XPAuthor", "HostComputer"}  # anything in these says who or where


@dataclass(frozen=True)
class Identifier:
    """Something with the form of an identifier.

    kind: date, name, case number, record number, birth, address, or tag (of a person or a computer)
    text: as it stands there, at most 60 letters
    where: "path", "text" or the name of the tag
    file: relative to what was looked at
    """

    kind: str
    text: str
    where: str
    file: str


@dataclass(frozen=True)
class PrivacyReport:
    """What was found; true where nothing has the form of an identifier."""

    found: tuple[Identifier, ...]
    files: int
    unread: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return not self.found

    def __repr__(self) -> str:
        return f"PrivacyReport({self.summary()})"

    def summary(self) -> str:
        """How many of each kind in how many files, and what could not be looked into."""
        if self.found:
            kinds = sorted({identifier.kind for identifier in self.found})
            counts = ", ".join(f"{kind} {sum(identifier.kind == kind for identifier in self.found)}" for kind in kinds)
            named = len({identifier.file for identifier in self.found})
            line = f"{named} of {self.files} files could name a patient: {counts}"
        else:
            line = f"nothing in {self.files} files has the form of a name, date or case number; that is no proof"
        return f"{line}; {plural(len(self.unread), 'file')} could not be looked into" if self.unread else line

    def record(self) -> dict[str, object]:
        """As JSON."""
        return {"schema": "counterstain.privacy/1", "files": self.files,
                "found": [asdict(identifier) for identifier in self.found], "unread": list(self.unread)}  # fmt: skip


def identifiers_in(text: str) -> list[tuple[str, str]]:
    """(kind, what stands there) of everything in a text that has the form of an identifier; pseudonyms are passed over.

    Args:
        text: any; a path or the content of a file.

    Example:
        >>> identifiers_in("slides/Doe^Jane_S19-12345.svs")
        [('name', 'Doe^Jane'), ('case number', 'S19-12345')]
        >>> identifiers_in("TCGA-AA-3514-01Z-00-DX1.svs, tile_256_512.png")
        []
    """
    text = _HARMLESS.sub(lambda match: " " * len(match[0]), text)
    identifiers: dict[tuple[str, str], None] = {}
    for kind, form in _COMPILED:
        for match in form.finditer(text):
            matched = match[0].strip()
            if (kind == "date" and not _is_date(matched)) or (
                "^" in matched and not all(part[0].isupper() for part in matched.split("^"))
            ):
                continue
            identifiers[kind, matched[:60]] = None
    return list(identifiers)


def _is_date(text: str) -> bool:
    """Whether digits that look like a date are a day of the calendar, not before 1900 nor in the future."""
    digits = [int(part) for part in re.findall(r"\d+", text)]
    if re.search(r"[a-z]", text, re.IGNORECASE):
        return True
    if len(digits) == 1:
        compact = str(digits[0])
        digits = [int(compact[:4]), int(compact[4:6]), int(compact[6:])] if len(compact) == 8 else []
    if len(digits) != 3:
        return False
    year, month, day = digits if digits[0] > 31 else (digits[2], digits[1], digits[0])
    year += 2000 if year < 100 else 0
    for first, second in ((month, day), (day, month)):
        try:
            return datetime.date(year, first, second).year >= 1900 and year <= datetime.date.today().year
        except ValueError:
            continue
    return False


def find_identifiers(path: StrPath) -> PrivacyReport:
    """Look through a folder, or a file, for what could name a patient: names of files, texts, and tags of images.

    Args:
        path: a folder (a cohort, an export, a run) or one file.

    Raises:
        InputError: If there is nothing.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; name a folder or a file")
    files = sorted(entry for entry in path.rglob("*") if entry.is_file()) if path.is_dir() else [path]
    base = path if path.is_dir() else path.parent
    identifiers: dict[Identifier, None] = {}
    unread = []
    for file in files:
        name = file.relative_to(base).as_posix()
        identifiers.update(dict.fromkeys(_of(identifiers_in(name), "path", name)))
        try:
            identifiers.update(dict.fromkeys(_inside(file, name)))
        except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
            unread.append(name)
    return PrivacyReport(tuple(identifiers), len(files), tuple(unread))


def _of(pairs: Iterable[tuple[str, str]], where: str, name: str) -> Iterator[Identifier]:
    for kind, text in pairs:
        yield Identifier(kind, text, where, name)


def _inside(file: Path, name: str) -> Iterator[Identifier]:
    suffix = file.suffix.lower()
    if suffix in TEXTS:
        with file.open("rb") as stream:
            yield from _of(identifiers_in(stream.read(MOST_TEXT).decode("utf-8", "replace")), "text", name)
    elif suffix in PICTURES:
        for tag, value in _tags(file):
            pairs = identifiers_in(value)
            if tag in _PEOPLE and value.strip() and not pairs:
                pairs = [("tag", value.strip()[:60])]
            yield from _of(pairs, tag, name)


def _tags(file: Path) -> Iterator[tuple[str, str]]:
    """Tags that hold text, of every page's header: no pixel is decoded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(file) as image:
            tags: dict[int, Any] = dict(image.getexif()) | dict(image.getexif().get_ifd(0x8769))
            if isinstance(image, TiffImagePlugin.TiffImageFile):
                tags |= dict(image.tag_v2)
            for number, value in tags.items():
                if number in _TAGS:
                    yield _TAGS[number], _plain(value)
            for key, value in image.info.items():
                if isinstance(value, str) and key not in ("exif", "icc_profile"):
                    yield str(key), f"{key}: {value}"


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-16-le" if b"\x00" in value[:4] else "utf-8", "replace").replace("\x00", "")
    return str(value)
