"""Which level of a folder tree names the classes: parts above them are recognised, and what is unclear is asked."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from counterstain.cohort.cohort_columns import clean_labels, split_word
from counterstain.cohort.companions import check_class_names
from counterstain.cohort.image_files import is_system_name
from counterstain.errors import InputError, first_names

__all__ = ["DATA_SET_PARTS", "label_by_folder", "part_folders"]

# Public data sets whose two archives are train and test, by the name of the folder that each unpacks to.
DATA_SET_PARTS = {
    "nct-crc-he-100k": "train",
    "nct-crc-he-100k-nonorm": "train",
    "crc-val-he-7k": "test",
}
_MOST_CLASSES = 30  # distinct folder names below a level beyond which they are patients or slides
_MOSTLY = 0.9
_MAGNIFICATION = re.compile(r"(?:x\d+|\d+x?)", re.IGNORECASE)


def part_folders(images: Sequence[str], splits: Mapping[str, str], folder: Path) -> bool:
    """Whether the first folders are train, val, test and the like, with folders for the classes below them.

    Args:
        images: paths below `folder`.
        splits: {a folder's name: our word} that the user gave.
        folder: for messages.

    Raises:
        InputError: If some of the first folders are such parts and another is none.
    """
    inside = [path.split("/") for path in images if "/" in path]
    names = sorted({place[0] for place in inside})
    if not names or sum(len(place) > 2 for place in inside) < _MOSTLY * len(inside):
        return False
    unknown = [name for name in names if not split_word(splits.get(name, name))]
    if unknown and "train" in {split_word(name) for name in names}:
        raise InputError(
            f"{folder} has the folders {first_names(names)}; '{unknown[0]}' is none of train, val, test and "
            f"test_<name>: rename or move it, or say in a study cohort.splits: {{{unknown[0]}: test}}"
        )
    below = [{place[1] for place in inside if place[0] == name and len(place) > 2} for name in names]
    several = len(set.intersection(*below)) > 1  # folders "test" and "val" of one folder each may be classes
    return not unknown and ("train" in {split_word(splits.get(name, name)) for name in names} or several)


def label_by_folder(
    columns: Mapping[str, list[str]], depth: int, folder: Path, *, asks: bool
) -> tuple[dict[str, list[str]], list[str], list[str]]:
    """The columns with the label that the folder at this depth gives, images that lie in no such folder, and notes.

    Args:
        columns: `image_path`, and what else is known of the images.
        depth: of the classes' folders: 0 for the first below `folder`.
        folder: for messages.
        asks: whether to refuse where folders further below may be the classes just as well.

    Raises:
        InputError: If no image lies in such a folder, all lie in one, or the level is unclear.
    """
    places = [path.split("/") for path in columns["image_path"]]
    rows = [row for row, place in enumerate(places) if len(place) > depth + 1]
    if not rows:
        raise InputError(
            f"all {len(places)} images are in {folder} itself ({places[0][-1]}); put each class into a folder of its "
            "own, or give the labels in a manifest or by a pattern with (?P<label>…)"
        )
    result = {name: [values[row] for row in rows] for name, values in columns.items()}
    result["label"] = clean_labels([places[row][depth] for row in rows], folder.name)
    below: dict[str, set[str]] = {}
    for row in rows:
        below.setdefault(places[row][depth], set()).update(places[row][depth + 1 : -1][:1])
    check_class_names(below, folder, asks=asks)
    if len(below) == 1:
        ((only, folders),) = below.items()
        inner = sorted(folders)
        hint = f"; it holds the folders {first_names(inner)}: if these are the classes, name {folder / only}"
        raise InputError(
            f"{folder} has images of only one class, '{only}'{hint if inner else '; add a folder of another class'}"
        )
    from_pattern = {name: values for name, values in result.items() if name not in ("image_path", "label")}
    in_pattern = any(
        all(value in places[row] for value, row in zip(values, rows, strict=True)) for values in from_pattern.values()
    )
    if asks and not in_pattern and (question := _question(below, depth, folder)):
        raise InputError(question)
    lower = sorted(set().union(*below.values()))
    notes = []
    if lower:
        upper = first_names(sorted(below))
        notes = [f"classes: the folders {upper}; the folders below them ({first_names(lower)}) are ignored"]
        notes[0] += " unless a pattern reads them" if not in_pattern else " but what the pattern reads"
    notes += _without_images(folder, set(below)) if depth == 0 else []
    stray = [path for path, place in zip(columns["image_path"], places, strict=True) if len(place) <= depth + 1]
    return result, stray, notes


def _without_images(folder: Path, classes: Collection[str]) -> list[str]:
    """A note of folders beside those of the classes in which no image was found."""
    inside = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.is_symlink())
    empty = [name for name in inside if name not in classes and not is_system_name(name)]
    return [f"folders without any image, which are no classes: {first_names(empty)}"] if empty else []


def _question(below: Mapping[str, Collection[str]], depth: int, folder: Path) -> str:
    """What is to be asked where two levels of folders may be the classes; "" where one is plain."""
    lower = sorted(set().union(*below.values()))
    if len(lower) < 2 or not all(below.values()) or len(lower) > _MOST_CLASSES:
        return ""
    shared = all(sum(name in folders for folders in below.values()) > 1 for name in lower)
    grid = shared and len(below) > len(lower) and not all(map(_MAGNIFICATION.fullmatch, lower))
    numbers = any(letter.isdigit() for name in lower for letter in name)  # as patients, slides and magnifications have
    binary = shared and set(lower) == {"0", "1"}
    if numbers and not grid and not binary:
        return ""
    above = "[^/]+/" * depth
    upper_as = r"(?P<site>[^/]+)" if shared else "[^/]+"
    return (
        f"{folder} has folders in folders: {first_names(sorted(below))}, and below them {first_names(lower)}; which "
        "are the classes? Say it to `counterstain cohort` or `init` (in a study, as cohort.layout or cohort.pattern): "
        f"the upper ones, --layout folder; the lower ones, --pattern '^{above}{upper_as}/(?P<label>[^/]+)/'"
    )
