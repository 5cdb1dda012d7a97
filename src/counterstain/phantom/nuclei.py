"""The phantom's nuclei: where they lie in glands and stroma, which of them can stay, and what each looks like.

Nuclei are first places: rows of an (N, 6) array with the columns x, y, diameter (µm), aspect, angle (rad) and kind.
Their looks are then drawn for all that stay at once, each from a hash of its own place.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import ndtri

from counterstain.phantom.anatomy import (
    CONTOUR_POINTS,
    ENDOTHELIAL,
    EPITHELIAL,
    FIBROBLAST,
    LYMPHOCYTE,
    MITOSIS,
    Gland,
    Nuclei,
    Outline,
    Plane,
    hash_share,
)  # fmt: skip

__all__ = ["clear", "line_vessel", "look", "place_epithelium", "place_stroma"]

Floats = NDArray[np.float64]


def _rows(x: Floats, y: Floats, diameter: Floats, aspect: Floats, angle: Floats, kind: int) -> Floats:
    return np.stack([x, y, diameter, aspect, angle, np.full(len(x), float(kind))], axis=1)


def place_epithelium(plane: Plane, rng: np.random.Generator, gland: Gland) -> Floats:
    """(N, 6) nuclei of one gland: an ordered rim in a regular gland, a crowd without order elsewhere."""
    grade = float(np.clip(plane.grade, -0.2, 1.25))
    size_um = (6.6 + 3.3 * grade) * float(np.exp(rng.normal(0, 0.03 + 0.04 * max(grade, 0))))
    if gland.pattern == "regular":
        x, y, angle = _columnar_row(rng, gland, size_um, grade)
        aspect = np.clip(rng.normal(1.5, 0.18, len(x)), 1, 2.2)
    else:
        x, y = _crowd(rng, gland, size_um * 1.16)
        angle = rng.uniform(0, np.pi, len(x))
        aspect = np.clip(rng.normal(1.3, 0.1 + 0.12 * max(grade, 0), len(x)), 1, 2.4)
    spread = 0.07 + 0.17 * max(grade, 0.0)
    diameter = size_um * np.exp(np.clip(rng.normal(0, spread, len(x)), -0.5, 0.6))
    return _rows(x, y, diameter, aspect, angle, EPITHELIAL)


def _columnar_row(
    rng: np.random.Generator, gland: Gland, size_um: float, grade: float
) -> tuple[Floats, Floats, Floats]:
    """Places and angles of a single row of columnar nuclei along the basement membrane."""
    line = gland.outer.points(inset_um=0.78 * size_um)
    closed = np.vstack([line, line[:1]])
    length = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    count = max(3, int(length[-1] / (size_um * (0.88 + 0.1 * rng.random()))))
    place = (np.arange(count) + rng.uniform(0, 1) + rng.normal(0, 0.16, count)) / count % 1 * length[-1]
    x, y = np.interp(place, length, closed[:, 0]), np.interp(place, length, closed[:, 1])
    outwards = np.arctan2(y - gland.outer.y_um, x - gland.outer.x_um)
    lift = rng.normal(0, 0.75 + 0.9 * max(grade, 0), count) - 0.4
    angle = outwards + rng.normal(0, 0.12 + 0.5 * max(grade, 0), count)
    return x + lift * np.cos(outwards), y + lift * np.sin(outwards), angle


def _crowd(rng: np.random.Generator, gland: Gland, step_um: float) -> tuple[Floats, Floats]:
    """Places that fill a gland but for its lumina: a shaken hexagonal lattice turned at random."""
    reach = float(gland.outer.radius_um.max())
    half = math.ceil(reach / step_um) + 1
    j, i = (grid.ravel().astype(np.float64) for grid in np.mgrid[-half : half + 1, -half : half + 1])
    shake = rng.uniform(-0.26, 0.26, (2, len(i))) * step_um
    u = (i + 0.5 * (j % 2)) * step_um + shake[0]
    v = j * step_um * math.sqrt(3) / 2 + shake[1]
    turn = rng.uniform(0, np.pi)
    x = gland.outer.x_um + u * math.cos(turn) - v * math.sin(turn)
    y = gland.outer.y_um + u * math.sin(turn) + v * math.cos(turn)
    keep = gland.outer.depth_um(x, y) > 0.42 * step_um
    for lumen in gland.lumina:
        keep &= lumen.depth_um(x, y) < -0.4 * step_um
    return x[keep], y[keep]


def place_stroma(plane: Plane, rng: np.random.Generator, site: Floats) -> Floats:
    """(N, 6) fibroblasts and lymphocytes around a site; those that fall into glands are cleared away later."""
    step = plane.spacing_um
    n = int(rng.poisson(plane.fibroblasts))
    at = site + rng.uniform(-0.55, 0.55, (n, 2)) * step
    spindle = _rows(
        at[:, 0], at[:, 1], rng.uniform(4.6, 6.8, n), np.exp(rng.uniform(0.5, 1.7, n)),
        plane.flow_rad + rng.normal(0, 0.25, n), FIBROBLAST,
    )  # fmt: skip
    cluster = rng.random() < 0.03 * plane.lymphocytes
    n = int(rng.poisson(plane.lymphocytes + (14 if cluster else 0)))
    middle = site + rng.uniform(-0.5, 0.5, 2) * step
    spread = rng.normal(0, 0.16 * step, (n, 2)) if cluster else rng.uniform(-0.55, 0.55, (n, 2)) * step
    at = (middle if cluster else site) + spread
    size = rng.normal(6.0, 0.4, n).clip(5, 7.5)
    round_cells = _rows(at[:, 0], at[:, 1], size, rng.uniform(1, 1.2, n), rng.uniform(0, np.pi, n), LYMPHOCYTE)
    return np.concatenate([spindle, round_cells])


def line_vessel(rng: np.random.Generator, vessel: Outline) -> Floats:
    """(N, 6) flat nuclei along a vessel's wall."""
    n = 1 + int(rng.poisson(0.22 * vessel.radius_um.mean()))
    pick = rng.permutation(CONTOUR_POINTS)[:n]
    wall = vessel.points(inset_um=-1.4)
    along = np.arctan2(*(np.roll(wall, -1, axis=0) - wall).T[::-1])[pick]
    return _rows(wall[pick, 0], wall[pick, 1], rng.uniform(4, 5.5, n), rng.uniform(2, 4, n), along, ENDOTHELIAL)


def clear(places: Floats, glands: tuple[Gland, ...], holes: tuple[Outline, ...]) -> Floats:
    """The nuclei that may stay: stroma's outside glands, none in a lumen, and of two that would overlap the earlier."""
    x, y, diameter, _, angle, kind = places.T.copy()
    stroma = (kind == FIBROBLAST) | (kind == LYMPHOCYTE)
    keep = np.ones(len(places), dtype=np.bool_)
    for gland in glands:
        close = np.flatnonzero(np.hypot(x - gland.outer.x_um, y - gland.outer.y_um) < gland.outer.radius_um.max() + 9)
        if not len(close):
            continue
        depth = gland.outer.depth_um(x[close], y[close])
        keep[close[stroma[close] & (depth > -0.3 * diameter[close])]] = False
        lean = close[(kind[close] == FIBROBLAST) & (depth > -9.0)]  # fibroblasts lie along a gland near by
        angle[lean] = np.arctan2(y[lean] - gland.outer.y_um, x[lean] - gland.outer.x_um) + np.pi / 2
        for lumen in gland.lumina:
            keep[close[lumen.depth_um(x[close], y[close]) > -0.5]] = False
    for hole in holes:
        close = np.flatnonzero(np.hypot(x - hole.x_um, y - hole.y_um) < hole.radius_um.max() + 1)
        keep[close[hole.depth_um(x[close], y[close]) > -0.5]] = False
    rows = np.flatnonzero(keep)
    at, size = places[rows, :2], diameter[rows] / 2
    pairs = cKDTree(at).query_pairs(10.0, output_type="ndarray")
    gap = np.hypot(*(at[pairs[:, 0]] - at[pairs[:, 1]]).T)
    late = np.zeros(len(rows), dtype=np.bool_)
    late[pairs[gap < 0.64 * (size[pairs[:, 0]] + size[pairs[:, 1]])].max(axis=1)] = True
    places = places.copy()
    places[:, 4] = angle
    stay: Floats = places[rows[~late]]
    return stay


@dataclass(frozen=True)
class _Look:
    """What nuclei of one kind are like: means over nuclei, and for the nucleolus the share that show one."""

    uneven: float
    density: float
    density_sd: float
    chromatin: float
    vesicle: float
    nucleolus: float


def _looks(grade: float) -> tuple[_Look, ...]:
    """The looks by kind; only those of the epithelium know the grade."""
    high = max(grade, 0.0)
    epithelial = _Look(
        0.02 + 0.055 * high, 1.0, 0.08 + 0.14 * high, 0.15 + 0.15 * high, 0.25 + 0.3 * grade, 0.15 + 0.5 * grade
    )
    return (
        epithelial,
        _Look(uneven=0.06, density=0.85, density_sd=0.22, chromatin=0.15, vesicle=0.2, nucleolus=0.0),  # fibroblast
        _Look(uneven=0.02, density=1.4, density_sd=0.12, chromatin=0.3, vesicle=0.0, nucleolus=0.0),  # lymphocyte
        _Look(uneven=0.14, density=1.6, density_sd=0.10, chromatin=0.0, vesicle=0.0, nucleolus=0.0),  # mitosis
        _Look(uneven=0.03, density=1.05, density_sd=0.15, chromatin=0.15, vesicle=0.1, nucleolus=0.0),  # endothelial
    )


def look(plane: Plane, places: Floats) -> Nuclei:
    """The nuclei at (N, 6) places, some epithelial ones in mitosis: dense plates without membrane or nucleolus."""
    x, y, diameter, aspect, angle, number = places.T
    bits = [np.ascontiguousarray(column).view(np.int64) for column in (x, y)]
    share = hash_share(plane.key, bits[0], bits[1], np.arange(14)[:, None])
    rate = 0.002 + 0.018 * max(plane.grade, 0.0) ** 2
    kind = number.astype(np.int64)
    kind[(kind == EPITHELIAL) & (share[0] < rate)] = MITOSIS
    aspect = np.where(kind == MITOSIS, 1.4 + 1.2 * share[9], aspect)
    diameter = np.where(kind == MITOSIS, 0.75 * diameter, diameter)
    table = _looks(float(np.clip(plane.grade, -0.2, 1.25)))
    per_nucleus = {name: np.array([getattr(row, name) for row in table])[kind] for name in _Look.__annotations__}
    normal = ndtri(np.clip(share[1:6], 1e-9, 1 - 1e-9))
    return Nuclei(
        x_um=x,
        y_um=y,
        long_um=diameter / 2 * np.sqrt(aspect),
        short_um=diameter / 2 / np.sqrt(aspect),
        angle_rad=angle,
        kind=kind,
        density=np.clip(per_nucleus["density"] + per_nucleus["density_sd"] * normal[0], 0.4, 2.0),
        chromatin=per_nucleus["chromatin"] * (0.6 + 0.8 * share[6]),
        vesicle=np.clip(per_nucleus["vesicle"] * (0.3 + 1.2 * share[7]), 0, 0.85),
        nucleolus_um=np.where(share[8] < per_nucleus["nucleolus"], 0.11 * diameter * (0.75 + 0.55 * share[9]), 0.0),
        shape=per_nucleus["uneven"][:, None] * normal[1:5].T / np.arange(1, 5) ** 0.5,
        phase=2 * np.pi * share[10:14].T,
    )
