"""Tiles that the tests of stain share: made of known stains, and the ones on which other libraries fall over."""

import numpy as np
from numpy.typing import NDArray

from counterstain.phantom.tiles import Phantom, draw_tile

Tiles = NDArray[np.uint8]
Floats = NDArray[np.float64]

PINK, VIOLET = np.array([0.2159, 0.8012, 0.5581]), np.array([0.5626, 0.7201, 0.4062])


def mixed_tile(vectors: Floats, *, side: int = 96, seed: int = 0, strength: tuple[float, float] = (1.6, 0.9)) -> Tiles:
    """(side, side, 3): stroma of one stain alone, nuclei of the other with a little of it, and a strip of glass."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side]
    nucleus = ((x % 16 - 8) ** 2 + (y % 16 - 8) ** 2) < 30
    violet = np.where(nucleus, rng.gamma(20, strength[0] / 20, nucleus.shape), 0)
    pink = np.where(nucleus, 0.1, 1) * rng.gamma(20, strength[1] / 20, nucleus.shape)
    glass = x < side // 8
    density = np.stack([violet, pink], axis=2) * ~glass[:, :, None] @ vectors
    return np.clip(np.rint(240 * np.exp(-density) - 1), 0, 255).astype(np.uint8)


def awkward_tiles(side: int = 48) -> dict[str, Tiles]:
    """Tiles without two stains: nothing may come out of them but themselves."""
    rng = np.random.default_rng(1)

    def flat(*colour: int) -> Tiles:
        return np.broadcast_to(np.array(colour, np.uint8), (side, side, 3)).copy()

    one = flat(240, 240, 240)
    one[side // 2, side // 2] = (90, 40, 120)
    few = flat(240, 240, 240)
    few[0, :10] = rng.integers(20, 150, (10, 3))
    glass = np.clip(rng.normal(238, 1.5, (side, side, 3)).round(), 0, 255).astype(np.uint8)
    return {
        "white": flat(255, 255, 255),
        "black": flat(0, 0, 0),
        "one colour": flat(180, 90, 160),
        "one tissue pixel": one,
        "ten tissue pixels": few,
        "glass with noise": glass,
    }


def phantoms(count: int, tile_px: int = 128) -> Tiles:
    """(count, tile_px, tile_px, 3), each of another patient."""
    phantom = Phantom(patients=max(2, count), tile_px=tile_px, seed=5)
    return np.stack([draw_tile(phantom, patient, 0).pixels for patient in range(count)])


def degrees(one: Floats, other: Floats) -> Floats:
    """The angle between vectors along the last axis."""
    cosine = (one * other).sum(-1) / np.linalg.norm(one, axis=-1) / np.linalg.norm(other, axis=-1)
    angle: Floats = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return angle
