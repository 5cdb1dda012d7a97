"""What the rows of a prediction table are, by their names, and the words for rows, levels and units that follow."""

from collections.abc import Mapping, Sequence
from typing import Literal

__all__ = [
    "RowName",
    "file_word",
    "level_of",
    "level_words",
    "recorded_rows",
    "recorded_unit",
    "rows_named",
    "shown_levels",
    "unit_words",
]

RowName = Literal["image", "slide", "patient", "bag", "row"]

# Files of a slide, or of the features of all its tiles. A TIFF may be a slide or a tile, so it isn't here.
_OF_SLIDES = (".h5", ".hdf5", ".pt", ".svs", ".svslide", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu")


def rows_named(image: Sequence[str], slide: Sequence[str], patient: Sequence[str]) -> RowName:
    """What one row stands for, by what it names.

    Rows that name the file of a slide, or of its features, are slides and not images. Without slide ids, and with one
    row per patient, they are patients (features of all slides in one file); where rows share a slide they are bags,
    which is all that is known of them.

    Args:
        image: (N,) the rows' own names.
        slide: (N,) slide ids, "" where unknown.
        patient: (N,) patient ids; the rows' names again where patients are unknown.

    Examples:
        >>> rows_named(["a.h5", "b.h5"], ["a", "b"], ["p", "p"]), rows_named(["a.png", "b.png"], ["", ""], ["p", "q"])
        ('slide', 'image')
        >>> rows_named(["a.h5", "b.h5"], ["", ""], ["p", "q"]), rows_named(["a.h5", "b.h5"], ["s", "s"], ["p", "p"])
        ('patient', 'bag')
    """
    if tuple(slide) == tuple(image):
        return "slide"
    if not all(name.lower().endswith(_OF_SLIDES) for name in image):
        return "image"
    known = [name for name in slide if name]
    if len(set(known)) < len(known):
        return "bag"
    alone = len(set(patient)) == len(patient) and tuple(patient) != tuple(image)
    return "patient" if alone and not known else "slide"


def file_word(image: Sequence[str]) -> str:
    """What rows are called where their files alone are known: "image", or "file" of files of slides or features.

    Examples:
        >>> file_word(["a.png"]), file_word(["a.h5", "b.h5"])
        ('image', 'file')
    """
    return "image" if rows_named(image, ("",) * len(image), image) == "image" else "file"


def level_of(level: str, rows_are: str) -> str:
    """A level as the records call it: that of the rows is "image", and may be named by what the rows are.

    Examples:
        >>> level_of("slide", "slide"), level_of("slide", "image"), level_of("patient", "slide")
        ('image', 'slide', 'patient')
    """
    return "image" if level == rows_are else level


def level_words(level: str, rows_are: str) -> str:
    """A level as a reader knows it: the records' level "image" is that of the rows, whatever they are.

    Args:
        level: "image", "slide" or "patient", as in the records.
        rows_are: what the rows are.

    Examples:
        >>> level_words("image", "slide"), level_words("patient", "slide")
        ('slide level', 'patient level')
    """
    return f"{rows_are if level == 'image' else level} level"


def shown_levels(rows_are: str) -> tuple[str, ...]:
    """The records' levels that a page shows: where a row is a patient, the level of patients is that of the rows.

    Examples:
        >>> shown_levels("slide"), shown_levels("patient")
        (('image', 'slide', 'patient'), ('image', 'slide'))
    """
    return ("image", "slide") if rows_are == "patient" else ("image", "slide", "patient")


def unit_words(unit: str, rows_are: str) -> str:
    """The unit of the statistics as a reader knows it: without patients it is the row, whatever that is.

    Examples:
        >>> unit_words("image", "slide"), unit_words("patient", "slide")
        ('slide', 'patient')
    """
    return rows_are if unit == "image" else unit


def recorded_rows(record: Mapping[str, object]) -> str:
    """What the rows of a record of scores or of a comparison are; those of earlier versions do not say it.

    Examples:
        >>> recorded_rows({"rows_are": "slide"}), recorded_rows({})
        ('slide', 'image')
    """
    return str(record.get("rows_are") or "image")


def recorded_unit(record: Mapping[str, object]) -> str:
    """The unit of a record's statistics as a reader knows it.

    Examples:
        >>> recorded_unit({"unit": "image", "rows_are": "slide"}), recorded_unit({"unit": "patient"})
        ('slide', 'patient')
    """
    return unit_words(str(record["unit"]), recorded_rows(record))
