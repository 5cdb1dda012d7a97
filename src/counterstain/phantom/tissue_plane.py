"""The phantom's tissue: which glands, nuclei, vessels and fat stand in a window of an endless plane.

Everything hangs on a lattice: what stands in one cell of it is a pure function of the plane's key and of the cell, so
that any window of a plane can be grown on its own and neighbouring windows agree about what they share.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from counterstain.phantom.anatomy import CONTOUR_POINTS, Gland, Outline, Plane, RedCells, Tissue, hash_share
from counterstain.phantom.nuclei import clear, line_vessel, look, place_epithelium, place_stroma

__all__ = ["grow"]

Floats = NDArray[np.float64]

_REACH_UM = 60.0  # no object is larger than this around its lattice cell's site
_NEAR_UM = 10.0  # nuclei this far outside the window are still grown: they can hide others
_THETA: Floats = np.linspace(0.0, 2.0 * np.pi, CONTOUR_POINTS, endpoint=False)
_ORDER: Floats = np.arange(2.0, 9.0)  # harmonics that bend an outline
_COS, _SIN = np.cos(_ORDER[:, None] * _THETA), np.sin(_ORDER[:, None] * _THETA)


@dataclass(frozen=True)
class _Cell:
    """What one lattice cell holds."""

    glands: tuple[Gland, ...] = ()
    nuclei: tuple[Floats, ...] = ()
    vessels: tuple[Outline, ...] = ()
    fat: tuple[Outline, ...] = ()
    red: tuple[Floats, ...] = ()


def grow(plane: Plane, x_um: float, y_um: float, width_um: float, height_um: float) -> Tissue:
    """Everything of `plane` that can touch the window with its top-left corner at (x_um, y_um)."""
    step = plane.spacing_um
    row_step = step * math.sqrt(3) / 2
    columns = np.arange(math.floor((x_um - _REACH_UM) / step) - 1, math.ceil((x_um + width_um + _REACH_UM) / step) + 1)
    rows = np.arange(
        math.floor((y_um - _REACH_UM) / row_step) - 1, math.ceil((y_um + height_um + _REACH_UM) / row_step) + 1
    )
    j, i = (grid.ravel() for grid in np.meshgrid(rows, columns, indexing="ij"))
    sites = _sites(plane, i, j)
    neighbour, _ = cKDTree(sites).query(sites, k=2)
    # How far each site lies outside the window: what would not reach it is not grown.
    away = np.hypot(
        np.maximum(np.maximum(x_um - sites[:, 0], sites[:, 0] - x_um - width_um), 0),
        np.maximum(np.maximum(y_um - sites[:, 1], sites[:, 1] - y_um - height_um), 0),
    )
    cells = [
        _fill_cell(plane, (int(i[k]), int(j[k])), sites[k], float(neighbour[k, 1]), float(away[k]))
        for k in np.flatnonzero(away < _REACH_UM)
    ]
    glands = tuple(gland for cell in cells for gland in cell.glands)
    vessels = tuple(vessel for cell in cells for vessel in cell.vessels)
    fat = tuple(item for cell in cells for item in cell.fat)
    red = np.concatenate([np.zeros((0, 3)), *(part for cell in cells for part in cell.red)])
    places = np.concatenate([np.zeros((0, 6)), *(part for cell in cells for part in cell.nuclei)])
    near = (np.abs(places[:, 0] - x_um - width_um / 2) < width_um / 2 + _NEAR_UM) & (
        np.abs(places[:, 1] - y_um - height_um / 2) < height_um / 2 + _NEAR_UM
    )
    return Tissue(
        plane=plane,
        glands=glands,
        nuclei=look(plane, clear(places[near], glands, vessels + fat)),
        vessels=vessels,
        fat=fat,
        red_cells=RedCells(red[:, 0], red[:, 1], red[:, 2]),
    )


def _sites(plane: Plane, i: NDArray[np.int64], j: NDArray[np.int64]) -> Floats:
    """(N, 2) sites of a shaken hexagonal lattice, in µm."""
    step = plane.spacing_um
    shake = 0.36 * step
    x = (i + 0.5 * (j % 2)) * step + (hash_share(plane.key, i, j, 1) - 0.5) * shake
    y = j * step * math.sqrt(3) / 2 + (hash_share(plane.key, i, j, 2) - 0.5) * shake
    return np.stack([x, y], axis=1)


def _fill_cell(plane: Plane, cell: tuple[int, int], site: Floats, neighbour_um: float, away_um: float) -> _Cell:
    # Lattice indices may be negative; seeds may not. Two streams: what is left ungrown must not move the rest.
    seed = [*plane.key, *(2 * abs(index) + (index < 0) for index in cell)]
    rng = np.random.default_rng([*seed, 0])
    stroma: tuple[Floats, ...] = ()
    if away_um < 0.8 * plane.spacing_um + 10:
        stroma = (place_stroma(plane, np.random.default_rng([*seed, 1]), site),)
    choice = rng.random()
    if choice < plane.gland_share:
        gland = _gland(plane, rng, site, neighbour_um)
        if away_um > gland.outer.radius_um.max() + 8:
            return _Cell(glands=(gland,), nuclei=stroma)
        return _Cell(glands=(gland,), nuclei=(place_epithelium(plane, rng, gland), *stroma))
    if choice < plane.gland_share + (1 - plane.gland_share) * plane.fat_share:
        return _Cell(fat=_fat(plane, rng, site), nuclei=stroma)
    vessel, lining, red = _vessel(plane, rng, site)
    return _Cell(vessels=(vessel,), nuclei=(lining, *stroma), red=(red,))


def _outline(
    rng: np.random.Generator, x: float, y: float, radius: float, uneven: float, aspect: float = 1.0
) -> Outline:
    """A closed line of mean radius `radius`; `uneven`: relative size of its bumps; `aspect`: long over short axis."""
    turn = rng.uniform(0, np.pi)
    line = radius * np.sqrt(aspect) / np.sqrt(np.cos(_THETA - turn) ** 2 + (aspect * np.sin(_THETA - turn)) ** 2)
    size = rng.normal(size=len(_ORDER)) * uneven / _ORDER**0.7
    phase = rng.uniform(0, 2 * np.pi, len(_ORDER))
    bumps = (size * np.cos(phase)) @ _COS - (size * np.sin(phase)) @ _SIN
    return Outline(x, y, line * np.clip(1 + bumps, 0.45, 1.6))


def _gland(plane: Plane, rng: np.random.Generator, site: Floats, neighbour_um: float) -> Gland:
    """One gland: round with one lumen where the grade is low, branched, cribriform or solid where it is high."""
    grade = plane.grade
    room = neighbour_um / 2
    regular = rng.random() < 1 / (1 + math.exp(12 * (grade - 0.5)))
    if regular:
        radius = room * rng.uniform(0.9, 1.02)
        outer = _outline(rng, site[0], site[1], radius, 0.03 + 0.06 * max(grade, 0), rng.uniform(1.0, 1.3))
        height = min(rng.uniform(12.0, 16.0), 0.66 * radius)
        lumen = Outline(site[0], site[1], np.maximum(outer.radius_um - height, 2.0) * (1 + 0.05 * rng.normal()))
        return Gland(outer, (lumen,), "regular", plane.secretion * rng.random())
    radius = room * rng.uniform(0.95, 1.4)
    outer = _outline(rng, site[0], site[1], radius, 0.10 + 0.16 * min(grade, 1.2), rng.uniform(1.1, 1.9))
    pattern = str(rng.choice(["layered", "cribriform", "solid"], p=[0.3, 0.35, 0.35]))
    count = {"layered": 1, "cribriform": int(rng.integers(2, 6)), "solid": 0}[pattern]
    lumina = []
    for _ in range(count):
        away = 0.0 if count == 1 else radius * rng.uniform(0.15, 0.6)
        turn = rng.uniform(0, 2 * np.pi)
        size = radius * (rng.uniform(0.2, 0.42) if count == 1 else rng.uniform(0.1, 0.22))
        x, y = site[0] + away * math.cos(turn), site[1] + away * math.sin(turn)
        if outer.depth_um(np.array([x]), np.array([y]))[0] > size + 5:
            lumina.append(_outline(rng, x, y, size, 0.16, rng.uniform(1, 1.8)))
    return Gland(outer, tuple(lumina), pattern, plane.secretion * rng.random())


def _vessel(plane: Plane, rng: np.random.Generator, site: Floats) -> tuple[Outline, Floats, Floats]:
    """A small vessel: its lumen, its lining of flat nuclei (N, 6), and (N, 3) red cells x, y, radius in µm."""
    radius = rng.uniform(5, 0.22 * plane.spacing_um)
    vessel = _outline(rng, site[0], site[1], radius, 0.06, rng.uniform(1.1, 2.6))
    lining = line_vessel(rng, vessel)
    count = rng.poisson(0.03 * radius**2 * rng.choice([0.2, 1.0, 2.0]))
    away, turn = radius * np.sqrt(rng.random(count)), rng.uniform(0, 2 * np.pi, count)
    x, y = site[0] + 1.5 * away * np.cos(turn), site[1] + 1.5 * away * np.sin(turn)
    size = rng.uniform(2.6, 3.5, count)
    inside = vessel.depth_um(x, y) > size * 0.7
    return vessel, lining, np.stack([x, y, size], axis=1)[inside]


def _fat(plane: Plane, rng: np.random.Generator, site: Floats) -> tuple[Outline, ...]:
    """One to three fat cells that press on each other around a site."""
    count = int(rng.integers(1, 4))
    turn = rng.uniform(0, 2 * np.pi) + np.arange(count) * 2 * np.pi / count
    size = plane.spacing_um * (0.4 if count == 1 else 0.25)
    away = 0.0 if count == 1 else size * 1.3
    return tuple(
        _outline(
            rng, site[0] + away * math.cos(t), site[1] + away * math.sin(t), size * rng.uniform(0.85, 1.1), 0.05, 1.15
        )
        for t in turn
    )
