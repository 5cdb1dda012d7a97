"""What was found of slides before they are read, as objects over the records of inspection."""

from dataclasses import dataclass
from pathlib import Path

from counterstain.records import html_of, json_text
from counterstain.slides.inspection import SlideRecord, plan_in_words

__all__ = ["Inspection", "SlideInspection"]


@dataclass(frozen=True, eq=False, repr=False)
class SlideInspection:
    """One slide: pyramid levels, resolution and its source, tissue, and the tiles that cutting would give."""

    record: SlideRecord

    @property
    def slide(self) -> str:
        """Its file."""
        return self.record["slide"]

    @property
    def mpp(self) -> tuple[float, float] | None:
        """(x, y) µm/px at level 0; None where unknown."""
        x, y = self.record["mpp_x"], self.record["mpp_y"]
        return None if x is None or y is None else (x, y)

    @property
    def mpp_source(self) -> str:
        """Where the µm/px come from."""
        return self.record["mpp_source"]

    @property
    def tiles(self) -> int | None:
        """How many tiles the plan keeps; None where it is refused."""
        plan = self.record["plan"]
        return None if plan is None else plan["tiles"]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must be told, one line each."""
        return tuple(self.record["notes"])

    def to_json(self, path: Path | str | None = None) -> str:
        """The record as JSON text; with a path it is also written there."""
        return json_text(self.record, path)

    def summary(self) -> str:
        """Scale and plan in a line."""
        scale = "unknown" if self.mpp is None else f"{self.mpp[0]:.4g} × {self.mpp[1]:.4g} (from: {self.mpp_source})"
        return f"{self.slide}: µm/px {scale}; {plan_in_words(self.record)}"

    def __fspath__(self) -> str:
        return self.slide

    def __repr__(self) -> str:
        return f"SlideInspection({self.slide[-80:]}, {'unknown scale' if self.mpp is None else self.mpp})"

    def _repr_html_(self) -> str:
        return html_of(self.summary(), self.notes)


@dataclass(frozen=True, eq=False, repr=False)
class Inspection:
    """Slides that were inspected, and (file, reason) of those that could not be read."""

    slides: tuple[SlideInspection, ...]
    failures: tuple[tuple[str, str], ...]

    def to_json(self, path: Path | str | None = None) -> str:
        """The records as JSON text; with a path they are also written there."""
        failures = [{"slide": name, "reason": reason} for name, reason in self.failures]
        return json_text({"slides": [slide.record for slide in self.slides], "failures": failures}, path)

    def summary(self) -> str:
        """One line per slide."""
        lines = [slide.summary() for slide in self.slides]
        return "\n".join([*lines, *(f"{name}: {reason}" for name, reason in self.failures)])

    def __repr__(self) -> str:
        return f"Inspection({len(self.slides)} slides, {len(self.failures)} could not be read)"

    def _repr_html_(self) -> str:
        return html_of(self.summary())
