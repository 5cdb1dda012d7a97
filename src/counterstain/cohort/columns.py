"""The columns of a cohort, what other tools call them, and the words of a split."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from counterstain.errors import InputError, suggest

__all__ = ["ALIASES", "COLUMNS", "NUMBER_COLUMNS", "TEXT_COLUMNS", "choose_columns", "rename_splits", "split_word"]

COLUMNS = ("image_path", "label", "patient_id", "slide_id", "site", "mpp", "x", "y", "split")
NUMBER_COLUMNS = ("mpp", "x", "y")
TEXT_COLUMNS = tuple(name for name in COLUMNS if name not in NUMBER_COLUMNS)

# Lower case, words joined by "_": the header of a manifest is brought to this form before it is looked up.
ALIASES: dict[str, tuple[str, ...]] = {
    "image_path": (
        *("path", "image", "image_file", "image_name", "img", "img_path", "filename", "file_name", "file"),
        *("filepath", "file_path", "tile", "tile_path", "patch", "patch_path", "sample_id", "channel_0"),
    ),
    "label": ("class", "class_name", "target", "diagnosis", "category", "ground_truth", "true_label", "valuetopredict"),
    "patient_id": ("patient", "patientid", "case_id", "case", "caseid", "subject_id", "subject", "subjectid"),
    "slide_id": ("slide", "slideid", "slide_name", "wsi", "wsi_id", "wsi_name"),
    "site": ("centre", "center", "hospital", "institution", "site_id", "centre_id", "center_id", "tissue_source_site"),
    "mpp": ("spacing", "spacing_um_px", "um_per_px", "microns_per_pixel", "microns_per_px", "pixel_size_um", "mpp_um"),
    "x": ("x_coord", "coord_x", "x_px", "minx"),
    "y": ("y_coord", "coord_y", "y_px", "miny"),
    "split": ("partition", "subset"),
}

_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "tune", "tuning", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def _plain(name: str) -> str:
    return re.sub(r"[\s\-]+", "_", unicodedata.normalize("NFC", name).strip().lower())


def choose_columns(header: Sequence[str], columns: Mapping[str, str] | None, *, where: str) -> dict[str, str]:
    """Which column of a manifest serves which column of the cohort, as {cohort column: manifest column}.

    The user's own `columns` win; then a column of the cohort's own name; then its aliases, whatever their case.
    A cohort column that `columns` maps to "" is left empty.

    Raises:
        InputError: If a name in `columns` does not exist, two aliases stand for one column, or the image or the
            label has no column.
    """
    columns = dict(columns or {})
    for noun, name in columns.items():
        if noun not in COLUMNS:
            raise InputError(f"columns: the cohort has no column '{noun}'{suggest(noun, COLUMNS)}")
        if name and name not in header:
            raise InputError(
                f"columns: {noun} is to be '{name}', but {where} has no such column{suggest(name, header)}"
            )
    chosen = {}
    for noun in COLUMNS:
        found = _find(noun, header, columns, where)
        if found:
            chosen[noun] = found
    for noun in ("image_path", "label"):
        if noun not in chosen:
            raise InputError(
                f"{where} has no column for {noun}; it has {_listed(header)}. "
                f"Rename one to '{noun}' or say columns: {{{noun}: <its name>}}"
            )
    return chosen


def _find(noun: str, header: Sequence[str], columns: Mapping[str, str], where: str) -> str:
    if noun in columns:
        return columns[noun]
    own = [name for name in header if _plain(name) == noun]
    # A column that the user gave another meaning is not taken for an alias as well.
    free = [name for name in header if name not in columns.values()]
    found = own or [name for name in free if _plain(name) in ALIASES[noun]]
    if len(found) > 1:
        raise InputError(
            f"{where} has {len(found)} columns that could be {noun}: {_listed(found)}; "
            f"say which: columns: {{{noun}: {found[0]}}}"
        )
    return found[0] if found else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def split_word(value: str) -> str | None:
    """A split's name in our words: train, val, test, test_<name> or "" (in no part); None where it is none of them."""
    plain = _plain(value)
    if plain.startswith("test_") and len(plain) > len("test_"):
        return plain
    return "" if not plain else _SPLIT_WORDS.get(plain)


def rename_splits(values: Sequence[str], splits: Mapping[str, str] | None, *, where: str) -> list[str]:
    """The split column in our words, renamed by `splits` first, e.g. {"valid": "test"}; "" stays "" (in no part).

    Raises:
        InputError: If a value is no known split, or `splits` names one that does not occur.
    """
    splits = dict(splits or {})
    distinct = sorted(set(values))
    for old, new in splits.items():
        if old not in distinct:
            raise InputError(f"splits: {where} has no split '{old}'; it has {_listed(distinct) or 'none'}")
        if split_word(new) is None:
            raise InputError(f"splits: '{old}' is to be '{new}'; needed: train, val, test or test_<name>")
    words = {}
    for value in distinct:
        word = split_word(splits.get(value, value))
        if word is None:
            raise InputError(
                f"{where} has split '{value}'; needed: train, val, test or test_<name>. "
                f"Rename it with splits: {{{value}: test}}, or leave the column out with columns: {{split: ''}}"
            )
        words[value] = word
    return [words[value] for value in values]
