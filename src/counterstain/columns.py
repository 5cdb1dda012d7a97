"""What columns are called, here and by other tools: the one list of names for every table that users bring.

Where a name of another tool comes from is told in docs/tables.md, with the repository and the file that writes it.
"""

import re
import shlex
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence

from counterstain.errors import InputError, suggest

__all__ = [
    "ALIASES",
    "WEAK_ALIASES",
    "check_columns",
    "columns_of_two",
    "columns_option",
    "find_column",
    "name_key",
    "parse_columns",
    "present",
    "quoted",
    "spelled_alike",
    "unused_ids",
]

# Spelled with "_", but compared by `name_key`: letter case, spaces, dashes, dots, "_" and CamelCase don't matter.
ALIASES: dict[str, tuple[str, ...]] = {
    "image_path": (
        *("path", "image", "image_file", "image_name", "img", "img_path", "filename", "file", "file_name", "fname"),
        *("filepath", "file_path", "full_path", "tile", "tile_path", "patch", "patch_path", "sample_id", "channel_0"),
    ),
    "label": (
        *("class", "class_name", "target", "diagnosis", "category", "ground_truth", "gt", "gt_label", "true_label"),
        *("label_true", "y_true", "true_class", "true", "truth", "actual", "actual_label", "labels"),
        *("value_to_predict", "target_label", "reference_standard"),
    ),
    "patient_id": (
        *("patient", "patient_name", "patient_nr", "patient_no", "patient_number", "patient_barcode", "case"),
        *("case_id", "subject", "subject_id", "participant", "participant_id", "donor", "donor_id"),
        *("bcr_patient_barcode",),
    ),
    "slide_id": (
        *("slide", "slide_name", "slide_file", "slide_filename", "slide_path", "wsi", "wsi_id", "wsi_name", "wsi_path"),
    ),
    "site": (
        *("centre", "center", "hospital", "institution", "site_id", "centre_id", "center_id", "tissue_source_site"),
        *("source_site", "institute", "laboratory"),
    ),
    "mpp": (
        *("spacing", "spacing_um_px", "um_px", "um_per_px", "um_per_pixel", "microns_per_pixel", "microns_per_px"),
        *("pixel_size", "pixel_size_um", "pixel_size_microns", "mpp_um", "resolution_um_px"),
    ),
    "mpp_x": ("spacing_x", "pixel_size_x", "um_per_px_x", "microns_per_pixel_x", "physical_size_x", "openslide.mpp-x"),
    "mpp_y": ("spacing_y", "pixel_size_y", "um_per_px_y", "microns_per_pixel_y", "physical_size_y", "openslide.mpp-y"),
    "x": ("x_coord", "coord_x", "x_px", "minx"),
    "y": ("y_coord", "coord_y", "y_px", "miny"),
    "split": ("partition", "subset"),
    "fold": ("cv_fold", "fold_id", "fold_number"),
    "repeat": ("repetition", "repeat_id"),
    "predicted": (
        *("pred", "prediction", "predictions", "predicted_label", "predicted_class", "pred_label", "pred_class"),
        *("label_pred", "class_pred", "y_pred", "y_hat", "hard_prediction", "decision", "model_prediction"),
    ),
}

# Names that say less and less: each group is looked at only where no better name is there.
WEAK_ALIASES: dict[str, tuple[tuple[str, ...], ...]] = {
    "image_path": (
        ("image_id", "img_name", "tile_id", "tile_name", "patch_id", "patch_name"),
        ("id", "name", "sample"),
    ),
}

_ID_WORDS = ("patient", "case", "subject", "participant", "donor", "slide", "wsi", "mrn")
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def name_key(name: str) -> str:
    """What two spellings of one name share: letters and digits alone, in lower case.

    >>> name_key("PatientID") == name_key("patient_id") == name_key("Patient-Id") == name_key(" patient.id")
    True
    """
    plain = unicodedata.normalize("NFKC", name).replace("\u03bc", "u").casefold()  # NFKC makes of µ the Greek mu
    return "".join(letter for letter in plain if letter.isalnum())


def spelled_alike(names: Iterable[str]) -> list[list[str]]:
    """Groups of names, quoted, that differ in case, spaces and separators alone; a separator of two numbers counts.

    >>> spelled_alike(["P1", "p-1", "P2", "1_1", "11"])
    [["'P1'", "'p-1'"]]
    """
    groups: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        groups.setdefault(re.sub(r"(?<!\d)[\W_]+|[\W_]+(?!\d)", "", name).casefold(), []).append(f"'{name}'")
    return [spellings for key, spellings in groups.items() if key and len(spellings) > 1]


def present(noun: str, header: Iterable[str], *, extra: Sequence[str] = ()) -> list[str]:
    """The columns of `header` that may stand for `noun`, in the header's order: its own name before all aliases.

    Args:
        noun: a key of ALIASES.
        header: the table's names.
        extra: further aliases, for tables in which these words can't mean anything else.
    """
    header = list(header)
    for aliases in ((noun,), (*ALIASES.get(noun, ()), *extra), *WEAK_ALIASES.get(noun, ())):
        keys = {name_key(name) for name in aliases}
        columns = [name for name in header if name_key(name) in keys]
        if columns:
            return columns
    return []


def find_column(
    noun: str, header: Sequence[str], columns: Mapping[str, str], where: str, *, extra: Sequence[str] = ()
) -> str:
    """The column that serves as `noun`, "" where there is none: the user's choice, its own name, or an alias.

    Raises:
        InputError: If two columns could be it, with the way to say which.
    """
    if noun in columns:
        return columns[noun]
    # A column that the user gave another meaning is not taken for an alias as well.
    free = [name for name in header if name not in columns.values()]
    candidates = present(noun, free, extra=extra)
    if len(candidates) > 1:
        raise InputError(
            f"{where} has {len(candidates)} columns that could be {noun}: {quoted(candidates)}; "
            f"say which, in a study with columns: {{{noun}: {candidates[0]}}}, in a command with "
            f"{columns_option(noun, candidates[0])}"
        )
    return candidates[0] if candidates else ""


def columns_option(noun: str, name: str) -> str:
    """The option that maps a column, as it is typed in a shell.

    >>> columns_option("label", "GT"), columns_option("label", "true label")
    ('--columns label=GT', "--columns 'label=true label'")
    """
    return f"--columns {shlex.quote(f'{noun}={name}')}"


def quoted(names: Iterable[str]) -> str:
    """'a', 'b'"""
    return ", ".join(f"'{name}'" for name in names)


def unused_ids(header: Iterable[str], used: Collection[str]) -> list[str]:
    """The columns that look like ids of patients or slides, by a word of their name, and are not used.

    >>> unused_ids(["image", "Patient Nr (old)", "staircase", "caseNumber"], {"image"})
    ['Patient Nr (old)', 'caseNumber']
    """
    return [
        name
        for name in header
        if name not in used and any(part.lower() in _ID_WORDS for part in _PARTS.findall(name.replace("_", " ")))
    ]


def parse_columns(texts: Iterable[str]) -> dict[str, str]:
    """What `--columns label=GT,patient_id=Case` says, as {our column: the table's}; it may be given several times.

    A comma ends a name only where another `name=` follows, so names may hold commas and spaces.

    >>> parse_columns(['label=GT,prob_malignant="Score (%)", patient_id=Case no, old'])
    {'label': 'GT', 'prob_malignant': 'Score (%)', 'patient_id': 'Case no, old'}

    Raises:
        InputError: If a part has no "=", or one column is given twice.
    """
    columns: dict[str, str] = {}
    for option in texts:
        for part in re.split(r",(?=\s*\w[^,=]*=)", option):
            noun, equals, name = part.partition("=")
            noun, name = noun.strip(), name.strip()
            if not equals or not noun:
                raise InputError(f"--columns {option}: write our name=the table's, such as label=GT,patient_id=Case")
            if len(name) > 1 and name[0] == name[-1] and name[0] in "\"'":
                name = name[1:-1]
            if noun in columns:
                raise InputError(f"--columns names {noun} twice ('{columns[noun]}' and '{name}'); name it once")
            columns[noun] = name
    return columns


def check_columns(columns: Mapping[str, str], nouns: Sequence[str], header: Sequence[str], where: str) -> None:
    """Refuse a mapping that names a column of ours that the table can't have, or one that isn't in the table.

    Raises:
        InputError: With the nearest known name.
    """
    for noun, name in columns.items():
        if noun not in nouns and not (noun.startswith("prob_") and "prob" in nouns):
            raise InputError(f"columns: there is no column '{noun}' to say{suggest(noun, nouns)}")
        if name and name not in header:
            raise InputError(
                f"columns: {noun} is to be '{name}', but {where} has no such column{suggest(name, header)}"
            )


def columns_of_two(columns: Mapping[str, str], *, both: bool) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Names for a table of slides and for one of µm/px; with `both`, those of µm/px are for the latter."""
    if not both:
        return columns, columns
    of_mpp = {noun: name for noun, name in columns.items() if noun.startswith("mpp")}
    return {noun: name for noun, name in columns.items() if noun not in of_mpp}, of_mpp
