"""What every reader of annotation files hands on: outlines with their class, and what was passed over on the way."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from counterstain.errors import InputError

__all__ = ["UNNAMED", "Drawing", "Outline", "box", "ellipse", "is_ignored", "polygon"]

UNNAMED = ("", "none", "unclassified")  # what programs write where no class was given
_LEAST_CORNERS = 3
_FARTHEST_PX = 1e9  # a coordinate beyond it is damage, and its area would not fit a float


@dataclass(frozen=True, eq=False)
class Outline:
    """One drawn area.

    name:  its class, "" where it has none
    shape: shapely polygon or multipolygon, as drawn; it may cross itself
    alias: what else the area is called (its own name, its layer's number): the class of a file without classes
    cut:   whether it is a hole in its layer, not an area
    layer: outlines of one layer belong together; a hole is cut out of its own layer only
    """

    name: str
    shape: Any
    alias: str = ""
    cut: bool = False
    layer: int = 0


@dataclass
class Drawing:
    """What a reader gathers from one file.

    program: which program wrote it
    from_bounds: whether (0, 0) is the corner of the slide's scanned area, as QuPath counts, not of level 0
    outlines: every area, classified or not
    skipped: what was passed over, by its kind, counted
    """

    program: str
    from_bounds: bool
    outlines: list[Outline] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def is_ignored(name: str) -> bool:
    """Whether QuPath ignores a class: names that end in * ("Ignore*", "Region*") mark places, not tissue."""
    return name.strip().endswith("*")


def polygon(corners: Sequence[tuple[float, float]], where: str) -> object:
    """A shapely polygon of (x, y) corners; `where` names it in a message.

    Raises:
        InputError: If it has fewer than three corners, or a corner is not finite.
    """
    from shapely.geometry import Polygon

    if len(corners) < _LEAST_CORNERS:
        raise InputError(f"{where} has {len(corners)} corners; an area needs 3 at least")
    return Polygon(_checked(corners, where))


def box(corners: Sequence[tuple[float, float]], where: str) -> object:
    """The upright rectangle around two or more corners; errors as `polygon`."""
    from shapely.geometry import box as rectangle

    low_x, low_y, high_x, high_y = _frame(corners, where)
    return rectangle(low_x, low_y, high_x, high_y)


def ellipse(corners: Sequence[tuple[float, float]], where: str) -> object:
    """The upright ellipse within the rectangle around two or more corners; errors as `polygon`."""
    from shapely import affinity
    from shapely.geometry import Point

    low_x, low_y, high_x, high_y = _frame(corners, where)
    circle = Point((low_x + high_x) / 2, (low_y + high_y) / 2).buffer(1.0, quad_segs=32)
    return affinity.scale(circle, (high_x - low_x) / 2, (high_y - low_y) / 2)


def _frame(corners: Sequence[tuple[float, float]], where: str) -> tuple[float, float, float, float]:
    if len(corners) < 2:
        raise InputError(f"{where} has {len(corners)} corners; a rectangle or ellipse needs 2 at least")
    points = np.array(_checked(corners, where))
    (low_x, low_y), (high_x, high_y) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return low_x, low_y, high_x, high_y


def _checked(corners: Sequence[tuple[float, float]], where: str) -> Sequence[tuple[float, float]]:
    if not bool((np.abs(np.array(corners, np.float64)) <= _FARTHEST_PX).all()):  # NaN fails it, too
        raise InputError(f"{where} has a corner without numbers, or beyond any slide")
    return corners
