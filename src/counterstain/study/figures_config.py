"""The section `figures` of a study: what is drawn for a document of one's own, and what the report may show."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from counterstain.reports.figure_settings import style_of

__all__ = ["FiguresSection"]


class FiguresSection(BaseModel):
    """Figures for a document of one's own, and whether the report shows pictures of images."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["pdf", "svg", "png"] | None = None
    width: str | float | None = None
    font: float | None = None
    language: Literal["en", "de"] | None = None
    tiles: bool = True

    @model_validator(mode="after")
    def _can_be_drawn(self) -> "FiguresSection":
        style_of(self.format, width=self.width, font=self.font, language=self.language)
        return self
