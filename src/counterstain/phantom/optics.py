"""From stain to a picture: the colours of a patient's slide (Beer-Lambert) and what a site's scanner makes of them."""

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from counterstain.phantom.stain_amounts import Stained

__all__ = [
    "Budget",
    "Scanner",
    "Staining",
    "draw_budget",
    "draw_scanner",
    "draw_staining",
    "focus",
    "scan",
    "transmit",
    "wanted_moments",
]

Floats = NDArray[np.float64]

# Optical density (base e) per unit of haematoxylin and eosin in R, G, B. Source: the reference vectors of Macenko and
# others 2009, ISBI, doi:10.1109/ISBI.2009.5193250. Red cells: eosin turned towards orange.
_HAEMATOXYLIN = np.array([0.5626, 0.7201, 0.4062])
_EOSIN = np.array([0.2159, 0.8012, 0.5581])
_BLOOD = np.array([0.10, 0.75, 0.66])

_NOISE_COUNT = 1 << 21
_PRIOR = np.array([2e-4, 2e-4, 1e-3, 1e-3], dtype=np.float32)  # against the squared error of the moments


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
    haematoxylin = _unit(_HAEMATOXYLIN * np.exp(rng.normal((-0.06, 0.02, 0.02), 0.09)))
    eosin = _unit(_EOSIN * np.exp(rng.normal(0, (0.22, 0.05, 0.10), 3)))
    vectors = np.stack([haematoxylin, eosin, _unit(_BLOOD * np.exp(rng.normal(0, 0.08, 3)))])
    return Staining(vectors, 1.45 * float(np.exp(rng.normal(0, 0.16))), 0.85 * float(np.exp(rng.normal(0, 0.18))))


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """A site's scanner: colours, tone, softness, noise and compression."""
    mix = np.clip(rng.normal(0, 0.04, (3, 3)), -0.1, 0.1)
    np.fill_diagonal(mix, 0)
    matrix = mix + np.diag(1 - mix.sum(axis=1))
    white = np.clip(rng.normal((0.945, 0.94, 0.95), 0.015), 0.88, 0.985)
    return Scanner(
        matrix, white, float(np.exp(rng.normal(0, 0.10))), float(rng.uniform(0.36, 0.55)),
        float(rng.uniform(0.0, 0.45)), float(rng.uniform(0.8, 2.6)), int(rng.integers(74, 93)),
    )  # fmt: skip


@dataclass(frozen=True)
class Budget:
    """What a tile's colour comes to, whatever its class: shares of nuclei and glass, stain strengths."""

    nuclei: float
    white: float
    haematoxylin: float
    eosin: float


def draw_budget(rng: np.random.Generator, staining: Staining) -> Budget:
    """A tile's budget, around what its patient's staining gives."""
    strength = np.exp(rng.normal(0, 0.06, 2))
    return Budget(
        nuclei=float(np.clip(rng.normal(0.25, 0.035), 0.15, 0.36)),
        white=float(np.clip(rng.gamma(9.0, 0.02), 0.06, 0.36)),
        haematoxylin=staining.haematoxylin * float(strength[0]),
        eosin=staining.eosin * float(strength[1]),
    )


@functools.cache
def _reference() -> NDArray[np.float32]:
    """(3, 2, 600) haematoxylin and eosin of 600 places in nuclei, in other tissue and in empty glass."""
    rng = np.random.default_rng(20240301)
    nuclei = np.stack([rng.gamma(18, 1 / 18, 600), rng.normal(0.40, 0.08, 600)])
    tissue = np.stack([rng.gamma(4, 0.16 / 4, 600), rng.gamma(10, 0.55 / 10, 600)])
    white = np.stack([rng.gamma(1, 0.01, 600), rng.gamma(1, 0.05, 600)])
    return np.maximum(np.stack([nuclei, tissue, white]), 0).astype(np.float32)


def _moments(light: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """(6,) mean and standard deviation of (N, 3) light."""
    mean = weight @ light
    return np.concatenate([mean, np.sqrt(np.maximum(weight @ (light * light) - mean * mean, 1e-8))])


def wanted_moments(staining: Staining, budget: Budget) -> NDArray[np.float32]:
    """(6,) mean and standard deviation of R, G and B, 0..1, of a reference tissue with this budget and staining."""
    parts = _reference()
    strength = np.array([budget.haematoxylin, budget.eosin], dtype=np.float32)[None, :, None]
    density = np.einsum("ksn,sc->knc", parts * strength, staining.vectors[:2].astype(np.float32))
    share = np.array([budget.nuclei, 1 - budget.nuclei - budget.white, budget.white])
    weight = np.repeat(share / parts.shape[2], parts.shape[2]).astype(np.float32)
    return _moments(np.exp(-density).reshape(-1, 3), weight)


def transmit(stained: Stained, staining: Staining, budget: Budget) -> NDArray[np.float32]:
    """(H, W, 3) light that passes, 0..1, by Beer and Lambert.

    Each stain is given a strength and a contrast (h -> a h**g) such that the mean and spread of the tile's R, G and B
    come as near as they can to those of a reference tissue with the tile's budget, under the patient's stains. The
    budget knows nothing of the class: more or larger nuclei do not make a darker tile.
    """
    vectors = staining.vectors.astype(np.float32)
    strength = np.log(np.array([budget.haematoxylin, budget.eosin], dtype=np.float32))
    target = wanted_moments(staining, budget)
    logs = np.log(np.maximum(np.stack([stained.haematoxylin, stained.eosin], axis=2), 1e-3))
    blood = stained.blood * np.float32(0.75)
    few = logs[3::7, 3::7].reshape(-1, 2)
    red = np.exp(-blood[3::7, 3::7].reshape(-1, 1) * vectors[2])
    even = np.full(len(few), 1 / len(few), dtype=np.float32)

    def moments(setting: NDArray[np.float32]) -> NDArray[np.float32]:
        return _moments(np.exp(-(np.exp(few * setting[2:] + setting[:2]) @ vectors[:2])) * red, even)

    start = np.concatenate([strength, np.ones(2, dtype=np.float32)])
    setting = start.copy()
    for _ in range(3):  # Gauss-Newton, held near the start by a weak prior
        current = moments(setting)
        step = np.float32(0.02)
        slope = np.stack(
            [(moments(setting + step * unit) - current) / step for unit in np.eye(4, dtype=np.float32)], axis=1
        )
        matrix = slope.T @ slope + np.diag(_PRIOR)
        setting = setting + np.linalg.solve(matrix, slope.T @ (target - current) + _PRIOR * (start - setting))
        setting[2:] = np.clip(setting[2:], 0.55, 1.8)
    stains = cv2.exp(logs * setting[2:] + setting[:2])
    stains[logs <= np.log(np.float32(0.012))] = 0
    density = cv2.transform(np.dstack([stains, blood]), np.ascontiguousarray(vectors.T))
    return np.asarray(cv2.exp(-density), dtype=np.float32)


def focus(
    light: NDArray[np.float32], scanner: Scanner, target: NDArray[np.float32], *, mpp: float, defocus_um: float
) -> NDArray[np.float32]:
    """The light as the lens passes it on, each channel's mean and spread brought the last bit to `target`."""
    light = _blur(light, float(np.hypot(scanner.blur_um, defocus_um)) / mpp)
    light = light + np.float32(scanner.sharpen) * (light - _blur(light, 1.0))
    mean, spread = (part.ravel().astype(np.float32) for part in cv2.meanStdDev(light))
    scale = target[3:] / np.maximum(spread, np.float32(1e-4))
    corrected: NDArray[np.float32] = (light * scale + (target[:3] - mean * scale)).astype(np.float32, copy=False)
    return corrected


def _blur(image: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), max(sigma_px, 0.05)), dtype=np.float32)


@functools.cache
def _noise_bank() -> NDArray[np.float32]:
    return np.random.default_rng(20240302).standard_normal(_NOISE_COUNT, dtype=np.float32)


def _noise(start: int, count: int) -> NDArray[np.float32]:
    """(count,) normal numbers read off a fixed ring of them: drawing them takes a tenth of a tile's time."""
    bank = _noise_bank()
    if start + count <= len(bank):
        return bank[start : start + count]
    return np.take(bank, np.arange(start, start + count), mode="wrap")


def scan(light: NDArray[np.float32], scanner: Scanner, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB: the scanner's colours and tone, its noise and its compression."""
    recorded = cv2.transform(light, scanner.matrix.astype(np.float32))
    grey: NDArray[np.float32] = np.asarray(cv2.pow(np.clip(recorded, 1e-4, 1.1), scanner.gamma), dtype=np.float32) * (
        scanner.white * 255
    ).astype(np.float32)
    start = int(rng.integers(_NOISE_COUNT))
    grey += _noise(start, grey.size).reshape(grey.shape) * np.float32(scanner.noise)
    pixels = cv2.convertScaleAbs(np.maximum(grey, 0))
    if scanner.jpeg_quality < 100:
        # cv2 takes the channels for B, G, R: it is told so, and turned back.
        bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        _, code = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, scanner.jpeg_quality])
        pixels = cv2.cvtColor(np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB)
    return np.ascontiguousarray(pixels, dtype=np.uint8)
