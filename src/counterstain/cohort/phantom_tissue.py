"""The phantom's tissue: glands, nuclei, vessels and fat as objects in µm, in a plane without end.

Everything here hangs on a lattice: what stands in one cell of it is a pure function of the plane's key and of the cell, so
that any window of a plane can be grown on its own and neighbouring windows agree about what they share.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

__all__ = [
    "CONTOUR_POINTS",
    "EPITHELIAL",
    "FIBROBLAST",
    "LYMPHOCYTE",
    "MITOSIS",
    "Gland",
    "Nuclei",
    "Outline",
    "Plane",
    "RedCells",
    "Tissue",
    "grow",
]

Floats = NDArray[np.float64]

EPITHELIAL, FIBROBLAST, LYMPHOCYTE, MITOSIS = 0, 1, 2, 3
CONTOUR_POINTS = 72  # vertices of a gland's outline: one each 3 µm on a large gland
_THETA: Floats = np.linspace(0.0, 2.0 * np.pi, CONTOUR_POINTS, endpoint=False)
_REACH_UM = 75.0  # no object is larger than this around its lattice cell's site


@dataclass(frozen=True, kw_only=True)
class Plane:
    """An endless section of one patient's tissue.

    key:            non-negative whole numbers that seed everything in the plane
    grade:          0 is a textbook benign gland, 1 a textbook high-grade carcinoma; between and a little beyond are allowed
    spacing_um:     mean distance from gland to gland
    gland_share:    share of the lattice cells that hold a gland, 0..1
    fat_share:      share of the cells without a gland that hold fat cells
    lymphocytes:    mean count of lymphocytes a lattice cell, apart from clusters
    fibroblasts:    mean count of fibroblasts a lattice cell
    secretion:      how full the lumina are of pale pink secretion, 0..1
    flow_rad:       main direction of the collagen
    wave_um:        wavelength of the collagen's waves
    """

    key: tuple[int, ...]
    grade: float
    spacing_um: float = 62.0
    gland_share: float = 0.8
    fat_share: float = 0.15
    lymphocytes: float = 3.0
    fibroblasts: float = 7.0
    secretion: float = 0.3
    flow_rad: float = 0.0
    wave_um: float = 30.0


@dataclass(frozen=True)
class Outline:
    """A star-shaped closed line: radius_um (CONTOUR_POINTS,) at equal angles around (x_um, y_um)."""

    x_um: float
    y_um: float
    radius_um: Floats

    def points(self, inset_um: float = 0.0) -> Floats:
        """(CONTOUR_POINTS, 2) vertices (x, y) in µm, moved inwards by inset_um along the radius."""
        r = np.maximum(self.radius_um - inset_um, 0.2)
        return np.stack([self.x_um + r * np.cos(_THETA), self.y_um + r * np.sin(_THETA)], axis=1)

    def depth_um(self, x_um: Floats, y_um: Floats) -> Floats:
        """Radial distance of points to the line, positive inside, in µm."""
        dx, dy = x_um - self.x_um, y_um - self.y_um
        place = np.mod(np.arctan2(dy, dx), 2 * np.pi) * (CONTOUR_POINTS / (2 * np.pi))
        low = place.astype(np.int64) % CONTOUR_POINTS
        part = place - np.floor(place)
        line = self.radius_um[low] * (1 - part) + self.radius_um[(low + 1) % CONTOUR_POINTS] * part
        depth: Floats = line - np.hypot(dx, dy)
        return depth


@dataclass(frozen=True)
class Gland:
    """An epithelial structure: its outer line (the basement membrane) and its lumina."""

    outer: Outline
    lumina: tuple[Outline, ...]
    pattern: str  # "regular", "layered", "cribriform" or "solid"
    secretion: float


@dataclass(frozen=True)
class Nuclei:
    """Nuclei as columns of one length N; the axes are half-axes in µm; shape (N, 4) bends the ellipse by harmonics 2..5."""

    x_um: Floats
    y_um: Floats
    long_um: Floats
    short_um: Floats
    angle_rad: Floats
    kind: NDArray[np.int64]
    density: Floats  # haematoxylin, 1 is common
    chromatin: Floats  # contrast of the chromatin's clumps
    vesicle: Floats  # how pale the middle is, 0..1
    nucleolus_um: Floats  # radius; 0 where there is none
    shape: Floats
    phase: Floats  # (N, 4)

    def __len__(self) -> int:
        return len(self.x_um)

    def take(self, rows: NDArray[np.int64]) -> "Nuclei":
        """The same columns for the given rows."""
        return Nuclei(**{name: column[rows] for name, column in vars(self).items()})


@dataclass(frozen=True)
class RedCells:
    """Red blood cells: (N,) centres and radii in µm."""

    x_um: Floats
    y_um: Floats
    radius_um: Floats


@dataclass(frozen=True)
class Tissue:
    """What stands in one window of a plane."""

    plane: Plane
    glands: tuple[Gland, ...]
    nuclei: Nuclei
    vessels: tuple[Outline, ...]
    fat: tuple[Outline, ...]
    red_cells: RedCells


@dataclass(frozen=True)
class _Cell:
    """What one lattice cell holds."""

    glands: tuple[Gland, ...] = ()
    nuclei: tuple[Nuclei, ...] = ()
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
    near = (
        (sites[:, 0] > x_um - _REACH_UM)
        & (sites[:, 0] < x_um + width_um + _REACH_UM)
        & (sites[:, 1] > y_um - _REACH_UM)
        & (sites[:, 1] < y_um + height_um + _REACH_UM)
    )
    cells = [_fill_cell(plane, int(i[k]), int(j[k]), sites[k], float(neighbour[k, 1])) for k in np.flatnonzero(near)]
    glands = tuple(gland for cell in cells for gland in cell.glands)
    nuclei = _join([part for cell in cells for part in cell.nuclei])
    vessels = tuple(vessel for cell in cells for vessel in cell.vessels)
    fat = tuple(item for cell in cells for item in cell.fat)
    red = np.concatenate([np.zeros((0, 3)), *(part for cell in cells for part in cell.red)])
    return Tissue(
        plane=plane,
        glands=glands,
        nuclei=_clear(nuclei, glands, vessels + fat),
        vessels=vessels,
        fat=fat,
        red_cells=RedCells(red[:, 0], red[:, 1], red[:, 2]),
    )


def _hash(key: tuple[int, ...], i: NDArray[np.int64], j: NDArray[np.int64], channel: int) -> Floats:
    """Uniform numbers in [0, 1) for lattice cells: one round of splitmix64 a word."""
    with np.errstate(over="ignore"):
        state = np.full(i.shape, np.uint64(0x9E3779B97F4A7C15), dtype=np.uint64)
        for word in (*key, channel, i, j):
            state = state + np.asarray(word).astype(np.int64).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    share: Floats = (state >> np.uint64(11)).astype(np.float64) / 2.0**53
    return share


def _sites(plane: Plane, i: NDArray[np.int64], j: NDArray[np.int64]) -> Floats:
    """(N, 2) sites of a shaken hexagonal lattice, in µm."""
    step = plane.spacing_um
    shake = 0.36 * step
    x = (i + 0.5 * (j % 2)) * step + (_hash(plane.key, i, j, 1) - 0.5) * shake
    y = j * step * math.sqrt(3) / 2 + (_hash(plane.key, i, j, 2) - 0.5) * shake
    return np.stack([x, y], axis=1)


def _fill_cell(plane: Plane, i: int, j: int, site: Floats, neighbour_um: float) -> _Cell:
    # Lattice indices may be negative; seeds may not.
    rng = np.random.default_rng([*plane.key, 2 * abs(i) + (i < 0), 2 * abs(j) + (j < 0)])
    stroma = _stroma_nuclei(plane, rng, site)
    choice = rng.random()
    if choice < plane.gland_share:
        gland = _gland(plane, rng, site, neighbour_um)
        return _Cell(glands=(gland,), nuclei=(_epithelium(plane, rng, gland), *stroma))
    if choice < plane.gland_share + (1 - plane.gland_share) * plane.fat_share:
        return _Cell(fat=_fat(plane, rng, site), nuclei=stroma)
    vessel, lining, red = _vessel(plane, rng, site)
    return _Cell(vessels=(vessel,), nuclei=(lining, *stroma), red=(red,))


def _outline(
    rng: np.random.Generator, x: float, y: float, radius: float, uneven: float, aspect: float = 1.0
) -> Outline:
    """A closed line of mean radius `radius`; `uneven` is the relative size of its bumps, `aspect` long over short axis."""
    turn = rng.uniform(0, np.pi)
    line = radius * np.sqrt(aspect) / np.sqrt(np.cos(_THETA - turn) ** 2 + (aspect * np.sin(_THETA - turn)) ** 2)
    order = np.arange(2, 9)
    size = rng.normal(size=7) * uneven / order**0.7
    phase = rng.uniform(0, 2 * np.pi, 7)
    bumps = (size[:, None] * np.cos(order[:, None] * _THETA + phase[:, None])).sum(axis=0)
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
    radius = room * rng.uniform(0.85, 1.3)
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


def _nuclei(
    rng: np.random.Generator, x: Floats, y: Floats, *, diameter: Floats, aspect: Floats, angle: Floats, kind: int,
    uneven: float, density: tuple[float, float], chromatin: float, vesicle: float, nucleolus: float,
) -> Nuclei:  # fmt: skip
    """Nuclei at the given places; `nucleolus` is the share that show one; density is (mean, sd)."""
    n = len(x)
    with_nucleolus = rng.random(n) < nucleolus
    return Nuclei(
        x_um=x,
        y_um=y,
        long_um=diameter / 2 * np.sqrt(aspect),
        short_um=diameter / 2 / np.sqrt(aspect),
        angle_rad=angle,
        kind=np.full(n, kind, dtype=np.int64),
        density=np.clip(rng.normal(density[0], density[1], n), 0.45, 2.0),
        chromatin=chromatin * rng.uniform(0.6, 1.4, n),
        vesicle=np.clip(vesicle * rng.uniform(0.3, 1.5, n), 0, 0.85),
        nucleolus_um=np.where(with_nucleolus, 0.11 * diameter * rng.uniform(0.75, 1.3, n), 0.0),
        shape=rng.normal(size=(n, 4)) * uneven / np.arange(1, 5) ** 0.5,
        phase=rng.uniform(0, 2 * np.pi, (n, 4)),
    )


def _epithelium(plane: Plane, rng: np.random.Generator, gland: Gland) -> Nuclei:
    """The nuclei of one gland: an ordered rim in a regular gland, a crowd without order elsewhere."""
    grade = float(np.clip(plane.grade, -0.2, 1.25))
    size_um = (6.6 + 3.3 * grade) * float(np.exp(rng.normal(0, 0.03 + 0.04 * max(grade, 0))))
    if gland.pattern == "regular":
        x, y, angle = _rim(rng, gland, size_um, grade)
        aspect = np.clip(rng.normal(1.35, 0.12, len(x)), 1, 2)
    else:
        x, y = _crowd(rng, gland, size_um * 1.22)
        angle = rng.uniform(0, np.pi, len(x))
        aspect = np.clip(rng.normal(1.3, 0.1 + 0.12 * grade, len(x)), 1, 2.4)
    spread = 0.07 + 0.17 * max(grade, 0.0)
    diameter = size_um * np.exp(np.clip(rng.normal(0, spread, len(x)), -0.5, 0.6))
    cells = _nuclei(
        rng, x, y, diameter=diameter, aspect=aspect, angle=angle, kind=EPITHELIAL,
        uneven=0.02 + 0.055 * max(grade, 0), density=(1.0, 0.08 + 0.14 * max(grade, 0)),
        chromatin=0.16 + 0.2 * max(grade, 0), vesicle=0.25 + 0.3 * grade, nucleolus=float(np.clip(0.15 + 0.5 * grade, 0, 0.9)),
    )  # fmt: skip
    return _divide(rng, cells, rate=0.003 + 0.03 * max(grade, 0.0) ** 2)


def _divide(rng: np.random.Generator, cells: Nuclei, *, rate: float) -> Nuclei:
    """The same nuclei with some in mitosis: dense plates without membrane, nucleolus or pale middle."""
    hit = (rng.random(len(cells)) < rate) & (cells.kind == EPITHELIAL)
    columns = dict(vars(cells))
    columns["kind"] = np.where(hit, MITOSIS, cells.kind)
    columns["short_um"] = np.where(hit, cells.long_um * 0.38, cells.short_um)
    columns["density"] = np.where(hit, 1.75, cells.density)
    columns["vesicle"] = np.where(hit, 0.0, cells.vesicle)
    columns["nucleolus_um"] = np.where(hit, 0.0, cells.nucleolus_um)
    columns["shape"] = np.where(hit[:, None], cells.shape * 2.5, cells.shape)
    return Nuclei(**columns)


def _rim(rng: np.random.Generator, gland: Gland, size_um: float, grade: float) -> tuple[Floats, Floats, Floats]:
    """Places and angles of a single row of columnar nuclei along the basement membrane."""
    line = gland.outer.points(inset_um=0.78 * size_um)
    closed = np.vstack([line, line[:1]])
    length = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    count = max(3, int(length[-1] / (size_um * (1.02 + 0.06 * rng.random()))))
    place = (np.arange(count) + rng.uniform(0, 1) + rng.normal(0, 0.08, count)) / count % 1 * length[-1]
    x, y = np.interp(place, length, closed[:, 0]), np.interp(place, length, closed[:, 1])
    outwards = np.arctan2(y - gland.outer.y_um, x - gland.outer.x_um)
    lift = rng.normal(0, 0.35 + 0.9 * max(grade, 0), count) - 0.3
    angle = outwards + rng.normal(0, 0.12 + 0.5 * max(grade, 0), count)
    return x + lift * np.cos(outwards), y + lift * np.sin(outwards), angle


def _crowd(rng: np.random.Generator, gland: Gland, step_um: float) -> tuple[Floats, Floats]:
    """Places that fill a gland but for its lumina: a shaken hexagonal lattice turned at random."""
    reach = float(gland.outer.radius_um.max())
    half = math.ceil(reach / step_um) + 1
    j, i = (grid.ravel().astype(np.float64) for grid in np.mgrid[-half : half + 1, -half : half + 1])
    shake = rng.uniform(-0.3, 0.3, (2, len(i))) * step_um
    u = (i + 0.5 * (j % 2)) * step_um + shake[0]
    v = j * step_um * math.sqrt(3) / 2 + shake[1]
    turn = rng.uniform(0, np.pi)
    x = gland.outer.x_um + u * math.cos(turn) - v * math.sin(turn)
    y = gland.outer.y_um + u * math.sin(turn) + v * math.cos(turn)
    keep = gland.outer.depth_um(x, y) > 0.42 * step_um
    for lumen in gland.lumina:
        keep &= lumen.depth_um(x, y) < -0.4 * step_um
    return x[keep], y[keep]


def _stroma_nuclei(plane: Plane, rng: np.random.Generator, site: Floats) -> tuple[Nuclei, ...]:
    """Fibroblasts and lymphocytes around a site; those that fall into glands are cleared away later."""
    step = plane.spacing_um
    n = rng.poisson(plane.fibroblasts)
    at = site + rng.uniform(-0.55, 0.55, (n, 2)) * step
    spindle = _nuclei(
        rng, at[:, 0], at[:, 1], diameter=rng.uniform(4.6, 6.8, n), aspect=rng.uniform(2.2, 5.5, n),
        angle=plane.flow_rad + rng.normal(0, 0.25, n), kind=FIBROBLAST, uneven=0.05, density=(1.05, 0.2),
        chromatin=0.15, vesicle=0.2, nucleolus=0.0,
    )  # fmt: skip
    cluster = rng.random() < 0.03 * plane.lymphocytes
    n = rng.poisson(plane.lymphocytes + (14 if cluster else 0))
    middle = site + rng.uniform(-0.5, 0.5, 2) * step
    spread = rng.normal(0, 0.16 * step, (n, 2)) if cluster else rng.uniform(-0.55, 0.55, (n, 2)) * step
    at = (middle if cluster else site) + spread
    round_cells = _nuclei(
        rng, at[:, 0], at[:, 1], diameter=rng.normal(6.0, 0.4, n).clip(5, 7.5), aspect=rng.uniform(1.0, 1.2, n),
        angle=rng.uniform(0, np.pi, n), kind=LYMPHOCYTE, uneven=0.02, density=(1.4, 0.12), chromatin=0.3, vesicle=0.0,
        nucleolus=0.0,
    )  # fmt: skip
    return spindle, round_cells


def _vessel(plane: Plane, rng: np.random.Generator, site: Floats) -> tuple[Outline, Nuclei, Floats]:
    """A small vessel: its lumen, its lining of flat nuclei, and (N, 3) red cells x, y, radius in µm."""
    radius = rng.uniform(5, 0.22 * plane.spacing_um)
    vessel = _outline(rng, site[0], site[1], radius, 0.06, rng.uniform(1.1, 2.6))
    n = max(2, int(radius * rng.uniform(0.5, 0.8)))
    pick = rng.permutation(CONTOUR_POINTS)[:n]
    wall = vessel.points(inset_um=-1.4)
    along = np.arctan2(*(np.roll(wall, -1, axis=0) - wall).T[::-1])
    lining = _nuclei(
        rng, wall[pick, 0], wall[pick, 1], diameter=rng.uniform(4, 5.5, n), aspect=rng.uniform(2, 4, n), angle=along[pick],
        kind=FIBROBLAST, uneven=0.03, density=(1.15, 0.15), chromatin=0.15, vesicle=0.1, nucleolus=0.0,
    )  # fmt: skip
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
    away = 0.0 if count == 1 else size * 1.12
    return tuple(
        _outline(
            rng, site[0] + away * math.cos(t), site[1] + away * math.sin(t), size * rng.uniform(0.85, 1.1), 0.05, 1.15
        )
        for t in turn
    )


def _join(parts: list[Nuclei]) -> Nuclei:
    return Nuclei(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in Nuclei.__annotations__})


def _clear(nuclei: Nuclei, glands: tuple[Gland, ...], holes: tuple[Outline, ...]) -> Nuclei:
    """The nuclei that may stay: stroma's outside glands, none in a lumen, and of two that would overlap the earlier."""
    x, y = nuclei.x_um, nuclei.y_um
    stroma = (nuclei.kind == FIBROBLAST) | (nuclei.kind == LYMPHOCYTE)
    keep = np.ones(len(nuclei), dtype=np.bool_)
    for gland in glands:
        close = np.flatnonzero(np.hypot(x - gland.outer.x_um, y - gland.outer.y_um) < gland.outer.radius_um.max() + 6)
        depth = gland.outer.depth_um(x[close], y[close])
        keep[close[stroma[close] & (depth > -0.8 * nuclei.short_um[close])]] = False
        for lumen in gland.lumina:
            keep[close[lumen.depth_um(x[close], y[close]) > -0.5]] = False
    for hole in holes:
        close = np.flatnonzero(np.hypot(x - hole.x_um, y - hole.y_um) < hole.radius_um.max() + 6)
        keep[close[hole.depth_um(x[close], y[close]) > -0.5]] = False
    rows = np.flatnonzero(keep)
    size = np.sqrt(nuclei.long_um * nuclei.short_um)[rows]
    pairs = cKDTree(np.stack([x[rows], y[rows]], axis=1)).query_pairs(10.0, output_type="ndarray")
    gap = np.hypot(x[rows[pairs[:, 0]]] - x[rows[pairs[:, 1]]], y[rows[pairs[:, 0]]] - y[rows[pairs[:, 1]]])
    overlap = gap < 0.72 * (size[pairs[:, 0]] + size[pairs[:, 1]])
    late = np.zeros(len(rows), dtype=np.bool_)
    late[pairs[overlap].max(axis=1)] = True
    return nuclei.take(rows[~late])
