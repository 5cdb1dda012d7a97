"""Stain separation: which two stains coloured a tile, and how much of each lies under every pixel; batched torch.

A stain is a unit vector of optical density (R, G, B); the first of two is haematoxylin, the second eosin. Tiles without
enough tissue, or whose colours don't tell two stains apart, have no answer: they are named as blank, never guessed.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from counterstain.errors import InputError, suggest
from counterstain.images.stain_space import RUIFROK, mix, optical_density

__all__ = [
    "SEPARATIONS",
    "Stains",
    "enough_tissue",
    "find_stains",
    "inverse",
    "sample_pixels",
    "separate",
    "tissue_pixels",
]

SEPARATIONS = ("ruifrok", "macenko", "vahadane")

_BRIGHTEST_TISSUE = 205  # the greatest grey value whose optical density is at least 0.15, Macenko's β
_TISSUE_SHARE = 0.05  # with less tissue the 99th percentile of a tile's stain is that of its glass
_TISSUE_PIXELS = 16
_EXTREME = 0.01  # share of the pixels beyond the extreme angles, and beyond a tile's stain strength
_LEAST_SINE = 0.02  # of the angle between two stains, about 1°
_LEAST_STRENGTH = 0.02
_SAMPLE = 6000  # a grid of about as many pixels is looked at
_LEARNED, _ROUNDS, _SPARSITY = 1000, 30, 0.1  # Vahadane: pixels, rounds, λ


@dataclass(frozen=True)
class Stains:
    """The stains of B tiles.

    vectors:  (B, 2, 3) float32, unit length, haematoxylin first; those of Ruifrok where blank
    strength: (B, 2) float32, 99th percentile of each stain's concentration over the tile; 1 where blank
    blank:    (B,) bool, too little tissue, or no two stains to tell apart
    """

    vectors: Tensor
    strength: Tensor
    blank: Tensor


def sample_pixels(tiles: Tensor | NDArray[np.uint8]) -> Tensor:
    """(B, 3, n) uint8: an even grid of about 6,000 pixels of each (B, H, W, 3) tile, all of a small one."""
    height, width = tiles.shape[1:3]
    step = max(1, round((height * width / _SAMPLE) ** 0.5))
    grid = tiles[:, ::step, ::step]
    if isinstance(grid, np.ndarray):  # copied: a store's tiles are a read-only map of its file, which torch warns of
        return torch.from_numpy(grid.transpose(0, 3, 1, 2).copy()).flatten(2)
    return grid.permute(0, 3, 1, 2).flatten(2)


def tissue_pixels(pixels: Tensor) -> Tensor:
    """(B, n) bool of (B, 3, n) uint8: every channel has a density of 0.15 or more, so neither glass nor faint haze."""
    return pixels.amax(1) <= _BRIGHTEST_TISSUE


def enough_tissue(tissue: Tensor) -> Tensor:
    """(B,) bool of (B, n): at least 5 % of the pixels, and 16 of them."""
    return tissue.sum(1) >= max(_TISSUE_PIXELS, _TISSUE_SHARE * tissue.shape[1])


def find_stains(pixels: Tensor, method: str) -> Stains:
    """The stain vectors of each tile and how strongly it is stained.

    Args:
        pixels: (B, 3, n) uint8 RGB, see sample_pixels.
        method: "ruifrok" (the same two vectors for all), "macenko" or "vahadane".

    Raises:
        InputError: If the method is unknown.

    Source:
        Macenko et al. 2009, ISBI, doi:10.1109/ISBI.2009.5193250, with β 0.15 and the 1st and 99th percentile; Vahadane
        et al. 2016, IEEE TMI 35:1962, doi:10.1109/TMI.2016.2529665, with λ 0.1 on 1,000 pixels.
    """
    if method not in SEPARATIONS:
        raise InputError(f"stain separation is {method!r}{suggest(str(method), SEPARATIONS)}")
    density, tissue = optical_density(pixels), tissue_pixels(pixels)
    fixed = torch.from_numpy(RUIFROK[:2].astype(np.float32)).to(pixels.device).expand(len(pixels), 2, 3)
    if method == "ruifrok" or not len(pixels):
        vectors = fixed
    else:
        vectors = _macenko(density, tissue)
        if method == "vahadane":
            vectors = _vahadane(density, tissue, vectors)
    blank = ~(enough_tissue(tissue) & (_sine_squared(vectors) > _LEAST_SINE**2))
    vectors = torch.where(blank[:, None, None], fixed, vectors)
    amount = mix(inverse(vectors), density)
    everywhere = torch.full((len(pixels), 1), density.shape[2], device=pixels.device)
    strength = -_lowest(-amount, everywhere, _EXTREME)
    blank = blank | (strength.amin(1) < _LEAST_STRENGTH)
    return Stains(torch.where(blank[:, None, None], fixed, vectors), torch.where(blank[:, None], 1.0, strength), blank)


def separate(tiles: Tensor, method: str) -> tuple[Stains, Tensor]:
    """The stains of each tile, and (B, 2, H, W) float32: the concentration of each stain under every pixel.

    Concentrations are those of least squares and may be a little below 0. Blank tiles get Ruifrok's vectors.

    Raises:
        InputError: If the method is unknown.
    """
    stains = find_stains(sample_pixels(tiles), method)
    batch, height, width, _ = tiles.shape
    density = optical_density(tiles.permute(0, 3, 1, 2).flatten(2))
    return stains, mix(inverse(stains.vectors), density).reshape(batch, 2, height, width)


def inverse(vectors: Tensor) -> Tensor:
    """(B, 2, 3): this @ density (B, 3, n) is the least-squares concentration of each of (B, 2, 3) unit vectors."""
    cosine = (vectors[:, 0] * vectors[:, 1]).sum(1)
    determinant = _sine_squared(vectors).clamp(min=_LEAST_SINE**2)[:, None]
    first = (vectors[:, 0] - cosine[:, None] * vectors[:, 1]) / determinant
    second = (vectors[:, 1] - cosine[:, None] * vectors[:, 0]) / determinant
    return torch.stack([first, second], dim=1)


def _sine_squared(vectors: Tensor) -> Tensor:
    """(B,) of the angle between the two; from the cross product, which keeps its digits where the angle is small."""
    across: Tensor = torch.linalg.cross(vectors[:, 0], vectors[:, 1])
    return across.square().sum(1)


def _macenko(density: Tensor, tissue: Tensor) -> Tensor:
    """(B, 2, 3) the extreme directions of tissue in the plane in which its densities vary most.

    Angles are measured from the mean density, so that they never wrap around; where there is nothing to find the two
    directions are the same.
    """
    count = tissue.sum(1)
    of_tissue = density * tissue[:, None, :]
    mean = of_tissue.sum(2, keepdim=True) / count.clamp(min=1)[:, None, None]
    spread = _products(of_tissue, of_tissue) / count.clamp(min=1)[:, None, None]
    covariance = spread - mean @ mean.transpose(1, 2)
    plane = torch.linalg.eigh(covariance)[1][:, :, 1:].transpose(1, 2)  # (B, 2, 3), axes of the two greatest variances
    middle = normalize((plane @ mean)[:, :, 0], dim=1)
    across = torch.stack([-middle[:, 1], middle[:, 0]], dim=1)
    frame = torch.stack([middle, across], dim=1) @ plane  # (B, 2, 3), unit rows: towards the mean, and across it
    flat = mix(frame, density)
    angle = torch.atan2(flat[:, 1], flat[:, 0])
    lowest, highest = (_lowest(torch.where(tissue, way, torch.inf), count, _EXTREME) for way in (angle, -angle))
    extremes = torch.stack([lowest, -highest], dim=1)
    return _haematoxylin_first(torch.stack([extremes.cos(), extremes.sin()], dim=2) @ frame)


def _products(one: Tensor, other: Tensor) -> Tensor:
    """(B, j, k) sums over n of the products of (B, j, n) and (B, k, n)."""
    return torch.stack([(one * other[:, k, None]).sum(2) for k in range(other.shape[1])], dim=2)


def _lowest(values: Tensor, count: Tensor, share: float) -> Tensor:
    """(…) of (…, n): the value below which a share of the `count` finite ones lies, the nearest; 0 where none is."""
    most = 1 + round(share * (values.shape[-1] - 1))
    rank = (share * (count - 1).clamp(min=0)).round().to(torch.int64).clamp(max=most - 1)
    ranked = values.topk(most, dim=-1, largest=False).values
    found = ranked.gather(-1, rank[..., None].expand(*values.shape[:-1], 1))[..., 0]
    return torch.where(found.isinf(), 0.0, found)


def _haematoxylin_first(vectors: Tensor) -> Tensor:
    """Haematoxylin is the one that takes more of the red."""
    swapped = vectors[:, 0, 0] < vectors[:, 1, 0]
    return torch.where(swapped[:, None, None], vectors.flip(1), vectors)


def _vahadane(density: Tensor, tissue: Tensor, start: Tensor) -> Tensor:
    """(B, 2, 3) the two non-negative unit vectors that make up tissue with the least error and the least stain.

    Alternates: each pixel's two amounts are solved exactly (non-negative, with λ on their sum), then each vector is
    moved to its best place with the other one held. From Macenko's vectors, on pixels spread evenly over the tissue.
    """
    count = tissue.sum(1, keepdim=True)
    places = torch.arange(_LEARNED, device=density.device)[None, :] * count // _LEARNED  # which of the tissue's pixels
    rank = tissue.cumsum(1)
    order = torch.searchsorted(rank, places + 1).clamp(max=tissue.shape[1] - 1)
    pixels = density.gather(2, order[:, None, :].expand(-1, 3, -1))  # (B, 3, m)
    vectors = normalize(start.clamp(min=1e-3), dim=2)
    for _ in range(_ROUNDS):
        amounts = _sparse_amounts(pixels, vectors)
        products, targets = _products(amounts, amounts), _products(amounts, pixels)  # (B, 2, 2), (B, 2, 3)
        rows = [vectors[:, 0], vectors[:, 1]]
        for k in (0, 1):
            own = products[:, k, k, None]
            moved = (targets[:, k] - products[:, k, 1 - k, None] * rows[1 - k]).clamp(min=0)
            length = moved.norm(dim=1, keepdim=True)
            # A vector that no pixel uses, or that the other one replaces, stays where it is.
            rows[k] = torch.where((own > 0) & (length > 1e-12), moved / length.clamp(min=1e-12), rows[k])
        vectors = torch.stack(rows, dim=1)
    return _haematoxylin_first(vectors)


def _sparse_amounts(pixels: Tensor, vectors: Tensor) -> Tensor:
    """(B, 2, m) the h ≥ 0 of least ½|v − h · vectors|² + λ Σh for each pixel v; exact for two unit vectors."""
    first, second = (mix(vectors, pixels) - _SPARSITY).unbind(1)
    cosine = (vectors[:, 0] * vectors[:, 1]).sum(1)[:, None]
    # Both stains where that needs no negative amount; else only the one that explains more, or none.
    both = (first >= cosine * second) & (second >= cosine * first)
    sine_squared = (1 - cosine * cosine).clamp(min=1e-6)
    of_first = torch.where(both, (first - cosine * second) / sine_squared, torch.where(first >= second, first, 0.0))
    of_second = torch.where(both, (second - cosine * first) / sine_squared, torch.where(first < second, second, 0.0))
    return torch.stack([of_first, of_second], dim=1).clamp_(min=0)
