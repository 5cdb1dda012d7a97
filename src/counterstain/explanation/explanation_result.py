"""An explanation as an object: whether its maps can be trusted, over the record explanation.json."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterstain.records import Record, html_of, json_text
from counterstain.reports.explanation_checks import summary

__all__ = ["Explanation"]


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """Where a model's score is sensitive, never why.

    folder: with explanation.html, the tiles and embedding.csv; record: explanation.json.
    """

    folder: Path
    record: Record

    @property
    def method(self) -> str:
        """Method that drew the maps."""
        settings: Any = self.record["settings"]
        return str(settings["method"])

    @property
    def validity(self) -> Record:
        """The checks of the maps: random weights, reach, insertion and deletion, turns, pointing game."""
        checks: Any = self.record["validity"]
        return dict(checks)

    @property
    def images(self) -> int:
        """How many images were predicted."""
        count: Any = self.record["images"]
        return int(count)

    @property
    def page(self) -> Path:
        """The gallery and the checks as a page."""
        return self.folder / "explanation.html"

    def to_json(self, path: Path | str | None = None) -> str:
        """The record as JSON text; with a path it is also written there."""
        return json_text(self.record, path)

    def summary(self) -> str:
        """What was made of how many images, whether the maps pass their checks, and where they are."""
        method = f"{self.method} maps over {self.images} images: where the score is sensitive, never why."
        return f"{method} {summary(self.validity)} {self.page}"

    def __fspath__(self) -> str:
        return str(self.folder)

    def __repr__(self) -> str:
        return f"Explanation({self.method}, {self.images} images, {str(self.folder)[-100:]})"

    def _repr_html_(self) -> str:
        return html_of(self.summary())
