"""The embedding map: an inline SVG that needs no script, and the data that a script colours it by."""

import colorsys
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.evaluation.format import clean, natural, number
from counterstain.own_tables import read_rows
from counterstain.reports.figure_style import STYLES

__all__ = ["EmbeddingMap", "Points", "draw_embedding", "read_points"]

COLUMNS = ("image_path", "patient_id", "site", "label", "predicted", "probability", "x", "y")
MOST_NAMED = 16  # groups that the legend names
WIDTH, HEIGHT, MARGIN = 920, 560, 26
RADIUS = 4.2
PALETTE = tuple(style[0] for style in STYLES)
GOLDEN = 0.618033988749895  # of the colour wheel: neighbours in the list lie far apart on it


@dataclass(frozen=True)
class Points:
    """embedding.csv: columns of one length N; places (N, 2)."""

    image: tuple[str, ...]
    patient: tuple[str, ...]
    site: tuple[str, ...]
    label: tuple[str, ...]
    predicted: tuple[str, ...]
    probability: tuple[float, ...]
    places: NDArray[np.float64]


@dataclass(frozen=True)
class EmbeddingMap:
    """What a page needs of the map: the SVG, its legend by class, and the script's data."""

    svg: Markup
    legend: tuple[tuple[str, str], ...]
    data: Markup
    colourings: tuple[str, ...]


def read_points(path: Path) -> Points:
    """The points of an embedding.csv.

    Raises:
        InputError: If it is missing or not what was written.
    """
    try:
        rows = read_rows(path, COLUMNS)
        columns = {name: tuple(row[name] for row in rows) for name in COLUMNS}
        places = np.array([[float(x), float(y)] for x, y in zip(columns["x"], columns["y"], strict=True)])
        probability = tuple(float(value) for value in columns["probability"])
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} is missing or was changed ({error}); explain the model again") from None
    return Points(
        columns["image_path"], columns["patient_id"], columns["site"], columns["label"], columns["predicted"],
        probability, places,
    )  # fmt: skip


def draw_embedding(points: Points, classes: Sequence[str]) -> EmbeddingMap:
    """The map of the points, coloured by class; patients and sites can be chosen where they are known.

    The shape of a point says its label a second time, and a dark rim says that the model calls it something else.
    """
    groupings = {"class": list(classes)}
    members = {"class": points.label, "patient": points.patient, "site": points.site}
    for name in ("patient", "site"):
        if any(members[name]):
            groupings[name] = natural(set(members[name]))
    colourings = {}
    for name, groups in groupings.items():
        place = {group: index for index, group in enumerate(groups)}
        colourings[name] = {
            "names": [clean(group) or "unknown" for group in groups],
            "colours": _colours(len(groups)),
            "group": [place[group] for group in members[name]],
            "shown": list(range(min(len(groups), MOST_NAMED))),
        }
    columns = ["image", "patient", "site", "label", "called", "probability"]
    rows = [
        [clean(image), clean(patient), clean(site), clean(label), clean(predicted), number(probability)]
        for image, patient, site, label, predicted, probability in zip(
            points.image, points.patient, points.site, points.label, points.predicted, points.probability, strict=True
        )
    ]
    # Inside a script element nothing but its end is markup: "<" is written so that no name can hold that end.
    content = json.dumps({"columns": columns, "rows": rows, "colourings": colourings}, ensure_ascii=True)
    data = Markup(content.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))
    fills = _colours(len(classes))
    legend = tuple(zip(map(clean, classes), fills, strict=True))
    return EmbeddingMap(_svg(points, classes, fills), legend, data, tuple(groupings))


def _colours(count: int) -> list[str]:
    """So many colours: those of the figures, or, of more, a walk around the colour wheel in three shades."""
    if count <= len(PALETTE):
        return list(PALETTE[:count])
    colours = []
    for index in range(count):
        red, green, blue = colorsys.hls_to_rgb((index * GOLDEN) % 1, (0.36, 0.5, 0.62)[index % 3], 0.62)
        colours.append(f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}")
    return colours


def _svg(points: Points, classes: Sequence[str], fills: Sequence[str]) -> Markup:
    x, y = _pixels(points.places)
    place = {name: index for index, name in enumerate(classes)}
    marks = []
    for index, (label, predicted) in enumerate(zip(points.label, points.predicted, strict=True)):
        group = place[label]
        wrong = " wrong" if label != predicted else ""
        title = f"{clean(points.image[index])}: {clean(label)}"
        marks.append(
            f'<path class="point{wrong}" fill="{fills[group]}" d="{_shape(group, x[index], y[index])}">'
            f"<title>{escape(title)}</title></path>"
        )
    label = f"Map of {len(points.image)} tiles by their features, coloured by class"
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}" xmlns="http://www.w3.org/2000/svg">'
        f"{''.join(marks)}</svg>"
    )


def _pixels(places: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places on the sheet, both axes in one scale: a distance is the same whichever way it lies."""
    low, high = places.min(axis=0), places.max(axis=0)
    span = np.maximum(high - low, 1e-12)
    scale = min((WIDTH - 2 * MARGIN) / span[0], (HEIGHT - 2 * MARGIN) / span[1])
    middle = (low + high) / 2
    x = WIDTH / 2 + scale * (places[:, 0] - middle[0])
    y = HEIGHT / 2 - scale * (places[:, 1] - middle[1])
    return x, y


def _shape(index: int, x: float, y: float) -> str:
    """A path around (x, y): circle, square, triangle or diamond, by the class's number."""
    r = RADIUS
    if index % 4 == 0:
        return f"M{x - r:.1f},{y:.1f}a{r},{r} 0 1,0 {2 * r},0a{r},{r} 0 1,0 {-2 * r},0z"
    if index % 4 == 1:
        return f"M{x - r * 0.9:.1f},{y - r * 0.9:.1f}h{1.8 * r:.1f}v{1.8 * r:.1f}h{-1.8 * r:.1f}z"
    if index % 4 == 2:
        return f"M{x:.1f},{y - 1.2 * r:.1f}l{1.15 * r:.1f},{2 * r:.1f}h{-2.3 * r:.1f}z"
    s = 1.3 * r
    return f"M{x:.1f},{y - s:.1f}l{s:.1f},{s:.1f}l{-s:.1f},{s:.1f}l{-s:.1f},{-s:.1f}z"
