"""From stain to a picture: the colours of a patient's slide (Beer-Lambert) and what a site's scanner makes of them."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from counterstain.cohort.phantom_stains import Stained

__all__ = ["Scanner", "Staining", "draw_scanner", "draw_staining", "scan", "transmit"]

Floats = NDArray[np.float64]

# Optical density (base e) per unit of haematoxylin and eosin in R, G, B. Source: the reference vectors of Macenko et al. 2009,
# ISBI, doi:10.1109/ISBI.2009.5193250. Red cells: eosin turned towards orange.
_HAEMATOXYLIN = np.array([0.5626, 0.7201, 0.4062])
_EOSIN = np.array([0.2159, 0.8012, 0.5581])
_BLOOD = np.array([0.10, 0.75, 0.66])


@dataclass(frozen=True)
class Staining:
    """One patient's stains: vectors (3, 3) as rows (haematoxylin, eosin, blood) of unit length, and mean strengths."""

    vectors: Floats
    haematoxylin: float
    eosin: float


@dataclass(frozen=True)
class Scanner:
    """One site's scanner."""

    matrix: Floats  # (3, 3) colour matrix; rows sum to 1, so white stays white
    white: Floats  # (3,) the colour of empty glass, 0..1
    gamma: float
    blur_um: float
    sharpen: float
    noise: float  # standard deviation, in grey values of 255
    jpeg_quality: int  # 100: none


def _unit(vector: Floats) -> Floats:
    out: Floats = vector / np.linalg.norm(vector)
    return out


def draw_staining(rng: np.random.Generator) -> Staining:
    """A patient's stain: the vectors turn by a few degrees, the strengths vary by a quarter."""
    haematoxylin = _unit(_HAEMATOXYLIN * np.exp(rng.normal(0, 0.09, 3)))
    eosin = _unit(_EOSIN * np.exp(rng.normal(0, (0.22, 0.05, 0.10), 3)))
    vectors = np.stack([haematoxylin, eosin, _unit(_BLOOD * np.exp(rng.normal(0, 0.08, 3)))])
    return Staining(vectors, 0.62 * float(np.exp(rng.normal(0, 0.16))), 0.42 * float(np.exp(rng.normal(0, 0.18))))


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """A site's scanner: colours, tone, softness, noise and compression."""
    mix = np.clip(rng.normal(0, 0.04, (3, 3)), -0.1, 0.1)
    np.fill_diagonal(mix, 0)
    matrix = mix + np.diag(1 - mix.sum(axis=1))
    white = np.clip(rng.normal((0.945, 0.94, 0.95), 0.015), 0.88, 0.985)
    return Scanner(
        matrix, white, float(np.exp(rng.normal(0, 0.10))), float(rng.uniform(0.28, 0.45)), float(rng.uniform(0.2, 0.7)),
        float(rng.uniform(0.8, 2.6)), int(rng.integers(74, 93)),
    )  # fmt: skip


def transmit(stained: Stained, staining: Staining, *, haematoxylin: float, eosin: float) -> NDArray[np.float32]:
    """(H, W, 3) light that passes, 0..1, by Beer and Lambert, the mean of each stain set to the given optical density.

    That budget is what keeps the class out of the colour: more or larger nuclei do not make a darker tile.
    """
    h = stained.haematoxylin * np.float32(haematoxylin / max(float(stained.haematoxylin.mean()), 1e-3))
    e = stained.eosin * np.float32(eosin / max(float(stained.eosin.mean()), 1e-3))
    stains = np.stack([h, e, stained.blood * np.float32(0.75)], axis=2)
    light: NDArray[np.float32] = np.exp(-(stains @ staining.vectors.astype(np.float32)))
    return light


def scan(
    light: NDArray[np.float32], scanner: Scanner, rng: np.random.Generator, *, mpp: float, defocus_um: float
) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB: lens, sensor, colour correction and compression, in that order."""
    blur_px = float(np.hypot(scanner.blur_um, defocus_um)) / mpp
    if blur_px > 0.2:
        light = cv2.GaussianBlur(light, (0, 0), blur_px)
    if scanner.sharpen:
        light = light + np.float32(scanner.sharpen) * (light - cv2.GaussianBlur(light, (0, 0), 1.0))
    light = light @ scanner.matrix.T.astype(np.float32)
    light = np.clip(light, 0, 1.2) ** np.float32(scanner.gamma) * scanner.white.astype(np.float32)
    grey = light * np.float32(255) + rng.standard_normal(light.shape, dtype=np.float32) * np.float32(scanner.noise)
    pixels: NDArray[np.uint8] = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    if scanner.jpeg_quality < 100:
        # cv2 codes BGR; the order of the channels comes back as it went in.
        _, code = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, scanner.jpeg_quality])
        pixels = cv2.imdecode(code, cv2.IMREAD_COLOR)[:, :, ::-1]
    return np.ascontiguousarray(pixels)
