"""The phantom's objects: what tissue is made of, in µm, in a plane without end."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CONTOUR_POINTS", "ENDOTHELIAL", "EPITHELIAL", "FIBROBLAST", "LYMPHOCYTE", "MITOSIS", "Gland", "Nuclei", "Outline",
    "Plane", "RedCells", "Tissue", "hash_share",
]  # fmt: skip

Floats = NDArray[np.float64]

EPITHELIAL, FIBROBLAST, LYMPHOCYTE, MITOSIS, ENDOTHELIAL = 0, 1, 2, 3, 4  # kinds of nuclei
CONTOUR_POINTS = 72  # vertices of a gland's outline: one each 3 µm on a large gland
_THETA: Floats = np.linspace(0.0, 2.0 * np.pi, CONTOUR_POINTS, endpoint=False)


@dataclass(frozen=True, kw_only=True)
class Plane:
    """An endless section of one patient's tissue.

    key:            non-negative whole numbers that seed everything in the plane
    grade:          0 is a textbook benign gland, 1 a textbook high-grade carcinoma; a little beyond is allowed
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

    def texture_start_um(self, period_um: float) -> tuple[float, float]:
        """Where the plane's textures begin, so that no two planes show the same stretch of them."""
        none = np.zeros(1, dtype=np.int64)
        x, y = (float(hash_share(self.key, none, none, channel)[0]) * period_um for channel in (3, 4))
        return x, y


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
    """Nuclei as columns of one length N; half-axes in µm; shape and phase (N, 4) bend the ellipse by harmonics 2..5."""

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


def hash_share(
    key: tuple[int, ...], i: NDArray[np.int64], j: NDArray[np.int64], channel: int | NDArray[np.int64]
) -> Floats:
    """Uniform numbers in [0, 1) of the shape of i and j, from whole numbers alone: one round of splitmix64 a word.

    Source:
        Steele, Lea and Flood 2014, OOPSLA, doi:10.1145/2660193.2660195.
    """
    with np.errstate(over="ignore"):
        state = np.full(np.broadcast(i, j, channel).shape, np.uint64(0x9E3779B97F4A7C15), dtype=np.uint64)
        for word in (*key, channel, i, j):
            state = state + np.asarray(word).astype(np.int64).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    share: Floats = (state >> np.uint64(11)).astype(np.float64) / 2.0**53
    return share
