"""What a model was trained on, as salted hashes in its bundle, so that a "new" image that is none can be told."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.evaluation.rows import file_word
from counterstain.files import read_record

__all__ = ["MEMBERS", "Members", "Overlap", "member_record", "overlap", "read_members"]

MEMBERS = "trained_on.json"
SCHEMA = "counterstain.members/1"
DIGITS = 24  # of SHA-256 in hex: 96 bits, so that no two of a million images meet by chance
KINDS = ("patient", "image", "file", "pixels")
SHOWN = 5


def member_record(
    *, salt: str, patient: Sequence[str], image: Sequence[str], file: Sequence[str], tiles: Iterable[NDArray[np.uint8]]
) -> dict[str, object]:
    """The record of the images that a model has seen, in training or to choose its epoch.

    The salt hides ids from a glance and keeps two bundles from being joined; it does not hide an id from somebody who
    can guess it. The record holds neither names nor pixels.

    Args:
        salt: any text; the same salt and images make the same record.
        patient: ids, "" where unknown; image: names; file: SHA-256 of each image's file.
        tiles: each (H, H, 3) uint8, as the model saw it before augmentation.
    """
    hashes = {
        "patient": _hashes(salt, "patient", patient),
        "image": _hashes(salt, "image", image),
        "file": _hashes(salt, "file", file),
        "pixels": _hashes(salt, "pixels", map(_pixel_hash, tiles)),
    }
    return {"schema": SCHEMA, "salt": salt, "images": len(image), **hashes}


def _pixel_hash(tile: NDArray[np.uint8]) -> str:
    return hashlib.sha256(np.ascontiguousarray(tile).data).hexdigest()


def _hash(salt: str, kind: str, value: str) -> str:
    return hashlib.sha256(f"{salt}\0{kind}\0{value}".encode()).hexdigest()[:DIGITS]


def _hashes(salt: str, kind: str, values: Iterable[str]) -> list[str]:
    """Sorted, so that their order tells nothing; without those of unknown ids."""
    return sorted({_hash(salt, kind, value) for value in values if value})


class Members(TypedDict):
    """What a bundle was trained on, as salted hashes; see `member_record`."""

    schema: str
    salt: str
    images: int
    patient: list[str]
    image: list[str]
    file: list[str]
    pixels: list[str]


def read_members(bundle: Path) -> Members:
    """The record of a bundle's folder.

    Raises:
        InputError: If the bundle has none, or one of another schema.
    """
    path = bundle / MEMBERS
    if not path.is_file():
        raise InputError(f"{bundle} has no {MEMBERS}; it is not a bundle, or is from an older version")
    return cast(Members, read_record(path, SCHEMA))


@dataclass(frozen=True)
class Overlap:
    """How many of some images, and of their patients, a model has seen; `examples` names the first of them.

    An image whose very file was met has its pixels, too: `seen` and `rows` count it under both, `examples` and `words`
    under "file" alone.

    rows: by kind, the row numbers of the images that were met.
    noun: what one is called: "image", or "file" of slides and feature files.
    """

    images: int
    seen: Mapping[str, int]
    examples: Mapping[str, tuple[str, ...]]
    rows: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    noun: str = "image"

    @property
    def words(self) -> tuple[str, ...]:
        """One line for each way in which a "new" image was seen; empty where none was."""
        sentences = {
            "patient": "{} the id of a patient that the model was trained on ({})",
            "image": "{} the name of an image that the model was trained on ({}); names may coincide by chance",
            "file": "{} byte for byte the content of an image that the model was trained on ({})",
            "pixels": "{} the pixels of an image that the model was trained on, in another file ({})",
        }
        counts = dict(self.seen)
        if "pixels" in self.rows:
            counts["pixels"] = len({*self.rows["pixels"]} - {*self.rows.get("file", ())})
        if self.noun == "file":
            sentences = {kind: line.replace("an image", "a file") for kind, line in sentences.items()}
        return tuple(
            sentences[kind].format(self._counted(kind, counts[kind]), self._named(kind, counts[kind]))
            for kind in KINDS
            if counts.get(kind)
        )

    def _counted(self, kind: str, count: int) -> str:
        noun = "patient" if kind == "patient" else self.noun
        return f"1 {noun} has" if count == 1 else f"{count} {noun}s have"

    def _named(self, kind: str, count: int) -> str:
        return ", ".join(self.examples[kind]) + (", …" if count > SHOWN else "")


def overlap(
    record: Members,
    *,
    patient: Sequence[str] = (),
    image: Sequence[str] = (),
    file: Sequence[str] = (),
    tiles: Iterable[NDArray[np.uint8]] = (),
) -> Overlap:
    """Which of these images the model of the record has seen; what is not given is not looked at.

    Args:
        record: of `read_members`.
        patient, image, file, tiles: see `member_record`; one entry per image, in one order.
    """
    pixels = [_pixel_hash(tile) for tile in tiles]
    by_kind = {
        "patient": (patient, record["patient"]), "image": (image, record["image"]), "file": (file, record["file"]),
        "pixels": (pixels, record["pixels"]),
    }  # fmt: skip
    seen, examples, rows = {}, {}, {}
    same_file: set[int] = set()
    for kind, (values, hashes) in by_kind.items():
        known = set(hashes)
        hit = [row for row, value in enumerate(values) if value and _hash(record["salt"], kind, value) in known]
        names = patient if kind == "patient" else image or [f"image {row + 1}" for row in range(len(values))]
        seen[kind], rows[kind] = len({names[row] for row in hit}), tuple(hit)
        fresh = [row for row in hit if kind != "pixels" or row not in same_file]
        examples[kind] = tuple(dict.fromkeys(names[row] for row in fresh))[:SHOWN]
        if kind == "file":
            same_file = set(hit)
    return Overlap(len(image), seen, examples, rows, file_word(image))
