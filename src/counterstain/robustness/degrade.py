"""What scanners, stains and mistakes do to a tile, in physical units and by rule: nothing here is drawn by chance.

Every function takes a batch of tiles (B, H, W, 3) uint8 RGB and gives one of the same shape; at strength 0 the tiles
come back exactly as they were. They are for testing a model that is already trained; `augment` varies tiles to train.
"""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.images.colour import apply_colour, colour_matrices
from counterstain.images.stain_space import RUIFROK, WHITE, change_tiles, to_lab

__all__ = [
    "SYMMETRIES",
    "blur",
    "brighten",
    "compress",
    "lab_sums",
    "mean_and_spread",
    "misjudge_scale",
    "raise_contrast",
    "shift_stain",
    "transfer_colour",
    "turn",
]

Tiles = NDArray[np.uint8]

SYMMETRIES = (
    "as it is", "90°", "180°", "270°", "mirrored", "mirrored, 90°", "mirrored, 180°", "mirrored, 270°",
)  # fmt: skip

_DENSITY_OF_WHITE = float(np.log(WHITE / 256))  # of a grey value of 255, as stain_space counts
_LEAST_SPREAD = 1e-3  # of a CIELAB channel, below which a site has no spread to be matched


def _change_each(tiles: Tiles, change: Callable[[Tiles], Tiles]) -> Tiles:
    out = np.empty(tiles.shape, np.uint8)
    for index, tile in enumerate(np.ascontiguousarray(tiles)):
        out[index] = change(tile)
    return out


# -------------------------------------------------------------------------------------------------------------- colour


def shift_stain(tiles: Tiles, strength: float) -> Tiles:
    """Tiles with more haematoxylin and less eosin, or the reverse.

    Optical density is separated into haematoxylin, eosin and a rest at right angles to both. For a strength s above 0
    the haematoxylin is multiplied by 1 + s and the eosin divided by it; below 0 it is the eosin that grows by 1 + |s|.
    What is white (255) stays white.

    Args:
        tiles: (B, H, W, 3) uint8 RGB, stained with haematoxylin and eosin.
        strength: above -1 and finite; 0.2 is 20 % more haematoxylin and 17 % less eosin.

    Source: the vectors of Ruifrok & Johnston 2001, Anal. Quant. Cytol. Histol. 23:291.
    """
    if strength == 0:
        return tiles
    growth = 1 + abs(strength)
    haematoxylin, eosin = (growth, 1 / growth) if strength > 0 else (1 / growth, growth)
    residual = np.cross(RUIFROK[0], RUIFROK[1])
    vectors = np.stack([RUIFROK[0], RUIFROK[1], residual / np.linalg.norm(residual)])
    mix = (np.linalg.inv(vectors) @ np.diag([haematoxylin, eosin, 1.0]) @ vectors).T
    offset = (1 - mix.sum(axis=1)) * _DENSITY_OF_WHITE  # density counts from 255 here, so that white stays white
    count = len(tiles)
    return _change(tiles, "density", np.broadcast_to(mix, (count, 3, 3)), np.broadcast_to(offset, (count, 3)))


def brighten(tiles: Tiles, strength: float) -> Tiles:
    """Tiles with every value times 1 + strength, as a longer or shorter exposure; what exceeds 255 is 255."""
    return _jitter(tiles, 1 + strength, 1.0)


def raise_contrast(tiles: Tiles, strength: float) -> Tiles:
    """Tiles with every value moved from the tile's mean grey to 1 + strength times its distance, within 0 and 255."""
    return _jitter(tiles, 1.0, 1 + strength)


def _jitter(tiles: Tiles, brightness: float, contrast: float) -> Tiles:
    """The same arithmetic as the augmentation of that name, so that what was trained for can be compared."""
    if brightness == contrast == 1:
        return tiles
    if min(brightness, contrast) < 0:
        raise InputError(f"brightness or contrast would be {min(brightness, contrast):g} times; 0 or more is needed")
    matrices, grey = colour_matrices(np.array([brightness]), np.array([contrast]), np.ones(1))
    return _change_each(tiles, lambda tile: apply_colour(tile, matrices[0], float(grey[0]), np.empty_like(tile)))


def lab_sums(tiles: Tiles) -> NDArray[np.float64]:
    """(B, 3, 3) of each tile: number of pixels, sum and sum of squares of each CIELAB channel (L, a, b).

    Sums of several tiles add up; `mean_and_spread` makes a mean and a standard deviation of them.
    """
    planes = np.ascontiguousarray(tiles.reshape(len(tiles), -1, 3).transpose(0, 2, 1))
    lab = to_lab(torch.from_numpy(planes)).numpy().astype(np.float64)
    count = np.full((len(tiles), 3), lab.shape[2], dtype=np.float64)
    return np.stack([count, lab.sum(axis=2), (lab**2).sum(axis=2)], axis=1)


def mean_and_spread(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 2, 3) mean and standard deviation of the CIELAB channels, from (..., 3, 3) of `lab_sums` added up."""
    count, first, second = sums[..., 0, :], sums[..., 1, :], sums[..., 2, :]
    mean = first / count
    spread = np.sqrt(np.maximum(second / count - mean**2, 0))
    return np.stack([mean, spread], axis=-2)


def transfer_colour(
    tiles: Tiles, strength: float, *, source: NDArray[np.float64], target: NDArray[np.float64]
) -> Tiles:
    """Tiles of one site in the colours of another: the site's mean and spread are replaced, not each tile's own.

    What tells tiles of one site apart stays; what all of them share is moved, as another scanner would move it.

    Args:
        tiles: (B, H, W, 3) uint8 RGB.
        strength: 0 (none) to 1 (all the way); between, means move along the line and spreads geometrically.
        source, target: (B, 2, 3) mean and spread in CIELAB of each tile's own site and of the other one.

    Source: Reinhard et al. 2001, IEEE Comput. Graph. Appl. 21:34, doi:10.1109/38.946629, there with another space.
    """
    if strength == 0:
        return tiles
    if not 0 < strength <= 1:
        raise InputError(f"colour transfer of strength {strength}; from 0 to 1 is needed")
    flat = (source[:, 1] < _LEAST_SPREAD) | (target[:, 1] < _LEAST_SPREAD)
    gain = np.where(flat, 1.0, target[:, 1] / np.where(flat, 1.0, source[:, 1])) ** strength
    shift = source[:, 0] + strength * (target[:, 0] - source[:, 0]) - gain * source[:, 0]
    return _change(tiles, "lab", gain, shift)


def _change(tiles: Tiles, space: str, first: NDArray[np.float64], second: NDArray[np.float64]) -> Tiles:
    """Every tile changed in a colour space, see stain_space.change_tiles."""
    out = np.empty(tiles.shape, np.uint8)
    rows, none = np.arange(len(tiles)), np.zeros(len(tiles), dtype=np.bool_)
    change_tiles(np.ascontiguousarray(tiles), space, first, second, rows=rows, skip=none, out=out)
    return out


# ----------------------------------------------------------------------------------------------------- focus and files


def blur(tiles: Tiles, sigma: float, *, mpp: NDArray[np.float64] | float | None = None) -> Tiles:
    """Tiles out of focus: convolved with a Gaussian, their edges mirrored.

    Args:
        tiles: (B, H, W, 3) uint8 RGB.
        sigma: standard deviation of the Gaussian, in µm; in px where `mpp` is None. 0 or more.
        mpp: µm/px of the tiles: one number, or (B, 2) of each tile down and across.
    """
    if sigma == 0:
        return tiles
    if not sigma > 0:
        raise InputError(f"blur of sigma {sigma}; 0 or more is needed")
    px = np.broadcast_to(sigma / np.asarray(1.0 if mpp is None else mpp, dtype=np.float64), (len(tiles), 2))
    out = np.empty(tiles.shape, np.uint8)
    for index, (tile, (down, across)) in enumerate(zip(tiles, px.tolist(), strict=True)):
        cv2.GaussianBlur(tile, (0, 0), sigmaX=across, sigmaY=down, dst=out[index])
    return out


def compress(tiles: Tiles, strength: float) -> Tiles:
    """Tiles after a JPEG of quality 100 - strength, colours at half resolution (4:2:0).

    Args:
        tiles: (B, H, W, 3) uint8 RGB.
        strength: whole, 0 (not compressed at all) to 99 (quality 1).
    """
    if strength == 0:
        return tiles
    quality = 100 - int(strength)
    if quality != 100 - strength or not 1 <= quality <= 99:
        raise InputError(f"JPEG of quality {100 - strength:g}; a whole number from 1 to 100 is needed")
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
                cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]  # fmt: skip

    def through_file(tile: Tiles) -> Tiles:
        _, coded = cv2.imencode(".jpg", tile[..., ::-1], settings)
        return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), dtype=np.uint8)[..., ::-1]

    return _change_each(tiles, through_file)


# ------------------------------------------------------------------------------------------------------------ geometry


def misjudge_scale(tiles: Tiles, strength: float) -> Tiles:
    """Tiles as they would be if their µm/px were 1 + strength times what it is.

    Below 0 structures look larger: the middle of the tile is enlarged to its full side. Above 0 they look smaller: the
    tile is shrunk and, as nothing is known of what lies around it, mirrored outwards to its full side. Sides are
    rounded to whole px, so that on a tile of 257 px the scale is off by 0.4 % at most.

    Args:
        tiles: (B, H, W, 3) uint8 RGB, square.
        strength: from -0.9 to 1; 0.5 means 0.75 µm/px where 0.5 was meant.
    """
    if strength == 0:
        return tiles
    if not -0.9 <= strength <= 1:
        raise InputError(f"µm/px off by {strength:+.0%}; from -90 % to +100 % can be shown")
    side = tiles.shape[1]
    if strength < 0:
        inner_px = max(round(side * (1 + strength)), 1)
        start = (side - inner_px) // 2
        inner = slice(start, start + inner_px)
        return _change_each(
            tiles, lambda tile: _resized(np.ascontiguousarray(tile[inner, inner]), side, cv2.INTER_LINEAR)
        )
    small = max(round(side / (1 + strength)), 1)
    before = (side - small) // 2
    after = side - small - before

    def shrunk(tile: Tiles) -> Tiles:
        inside = _resized(tile, small, cv2.INTER_AREA)
        padded = cv2.copyMakeBorder(inside, before, after, before, after, cv2.BORDER_REFLECT)
        return np.asarray(padded, dtype=np.uint8)

    return _change_each(tiles, shrunk)


def _resized(tile: Tiles, side: int, how: int) -> Tiles:
    return np.asarray(cv2.resize(tile, (side, side), interpolation=how), dtype=np.uint8)


def turn(tiles: Tiles, symmetry: int) -> Tiles:
    """Tiles under one of the eight symmetries of a square: mirrored from 4 on, then turned left by quarters.

    Args:
        tiles: (B, H, W, 3) uint8, square.
        symmetry: 0 (none) to 7, an index into SYMMETRIES.
    """
    if symmetry == 0:
        return tiles
    mirrored = tiles[:, :, ::-1] if symmetry >= 4 else tiles
    return np.ascontiguousarray(np.rot90(mirrored, symmetry % 4, axes=(1, 2)))
