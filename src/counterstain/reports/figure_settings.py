"""How figures may be asked for: width, letters, language and format, checked before anything is drawn."""

import re
from dataclasses import dataclass

from counterstain.errors import InputError, suggest
from counterstain.reports.figure_words import LANGUAGES

__all__ = ["FONT", "FORMATS", "FULL_WIDTH", "HALF_WIDTH", "MM", "FigureStyle", "parse_width", "style_of"]

# Inches: the column of the report on screen and on A4, and half of it. At these widths no letter is below 9 pt.
FULL_WIDTH = 6.9
HALF_WIDTH = 3.36
FONT = 9.0  # points of the page
FORMATS = ("pdf", "svg", "png")
MM = 25.4  # in an inch


@dataclass(frozen=True, kw_only=True)
class FigureStyle:
    """How figures are drawn.

    width_mm: of the wide ones; half_mm: of those that stand in pairs
    font_pt: size of the letters; language: "en" or "de"
    format: "" for the page's own files (SVG and PNG); "pdf", "svg" or "png" for a document of one's own

    Raises:
        InputError: If a size can't be drawn, or the language or format is unknown.
    """

    width_mm: float = FULL_WIDTH * MM
    half_mm: float = HALF_WIDTH * MM
    font_pt: float = FONT
    language: str = "en"
    format: str = ""

    def __post_init__(self) -> None:
        """Check every setting."""
        for name, value, low, high in (("width", self.width_mm, 60, 400), ("font", self.font_pt, 4, 24)):
            if not low <= value <= high:
                unit = "mm" if name == "width" else "pt"
                raise InputError(f"{name} of the figures is {value:g} {unit}; {low} to {high} {unit} can be drawn")
        if self.language not in LANGUAGES:
            raise InputError(f"language of the figures is '{self.language}'{suggest(self.language, LANGUAGES)}")
        if self.format and self.format not in FORMATS:
            raise InputError(f"format of the figures is '{self.format}'{suggest(self.format, FORMATS)}")


def parse_width(text: str | float) -> float:
    """A width in mm, from 85, "85", "85mm", "8.5 cm" or "3.35in".

    Raises:
        InputError: If it is none of these.
    """
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(mm|cm|in)?\s*", str(text))
    if match is None:
        raise InputError(f"width of the figures is '{text}'; give a number with its unit, such as 85mm, 8.5cm or 3.3in")
    return float(match[1]) * {"mm": 1.0, "cm": 10.0, "in": MM}[match[2] or "mm"]


def style_of(
    kind: str | None, *, width: str | float | None = None, font: float | None = None, language: str | None = None
) -> FigureStyle | None:
    """The style that a user asks for; None where no format is named.

    Raises:
        InputError: If a setting can't be drawn, or one is given without a format.
    """
    choices = {"width": width, "font": font, "language": language}
    if kind is None:
        name = next((name for name, value in choices.items() if value is not None), None)
        if name is not None:
            raise InputError(f"{name} is for figures of a document; name their format as well: figures pdf, svg or png")
        return None
    if kind not in FORMATS:
        raise InputError(f"format of the figures is '{kind}'{suggest(kind, FORMATS)}")
    usual = FigureStyle()
    return FigureStyle(
        width_mm=usual.width_mm if width is None else parse_width(width),
        font_pt=usual.font_pt if font is None else font,
        language=language or usual.language,
        format=kind,
    )
