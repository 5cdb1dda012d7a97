"""Augmentation of training tiles: flips, turns, equalisation, colour, one affine warp; nothing random but by image."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.images.augmentation import TRANSFORMATIONS, Augmentation
from counterstain.images.colour import apply_colour, colour_matrices
from counterstain.images.counter_rng import image_keys, uniforms
from counterstain.images.opencv_threads import one_opencv_thread
from counterstain.images.stain_equalisation import equalise_tissue

__all__ = ["augment_batch", "equalise", "expand_batch", "expanded_count", "image_keys"]

Tiles = NDArray[np.uint8]


# Draw numbers: each transformation has its own, so that switching one off leaves the draws of the others as they were.
# New ones are added at the end, which leaves the earlier ones of every study as they were.
_FLIP_X, _FLIP_Y, _EQUALISE, _ROTATE, _ANGLE, _TRANSLATE, _SHIFT_X, _SHIFT_Y, _SHEAR, _SHEAR_ANGLE, _TURN, _FLIP_WAY = (
    range(12)
)
_COLOUR, _BRIGHTNESS, _CONTRAST, _SATURATION = range(12, 16)
_DRAWS = 16


@dataclass(frozen=True)
class _Plan:
    """What happens to each tile of a batch: equalise, colour, flip, quarter turns, shear, rotation, shift, in turn."""

    equalise: NDArray[np.bool_]
    flip_x: NDArray[np.bool_]
    flip_y: NDArray[np.bool_]
    turns: NDArray[np.int64]  # counter-clockwise quarter turns
    angle_rad: NDArray[np.float64]  # counter-clockwise as seen
    shear: NDArray[np.float64]  # tangent of the shear angle
    shift_px: NDArray[np.float64]  # (B, 2) x, y; whole numbers
    colour: NDArray[np.float64] | None = None  # (B, 3) factors of brightness, contrast and saturation; None for none


def augment_batch(
    tiles: Tiles,
    keys: NDArray[np.uint64],
    *,
    settings: Augmentation,
    seed: int,
    epoch: int,
    threads: int = 1,
    out: Tiles | None = None,
    side: int | None = None,
) -> Tiles:
    """Every tile with this epoch's draw of all transformations at once: (B, H, W, 3) uint8, a new array or `out`.

    What becomes of a tile depends on (seed, epoch, its key) alone, not on the batch, its order or the thread count.
    One interpolation per tile, whatever is composed; reflected borders; flips and quarter turns alone are exact.

    Args:
        tiles: (B, H, W, 3) uint8 RGB; not changed.
        keys: (B,) uint64, see image_keys.
        settings: what may happen; mode "none" copies, mode "expand" is read as if "on_the_fly".
        seed, epoch: any integers.
        threads: the batch is shared among as many.
        out: (B, H, W, 3) uint8, C-contiguous, not `tiles` itself; with `side`, of that size.
        side: only the upper left square of so many px of each result is made.

    Raises:
        InputError: If quarter turns are asked for and the tiles are not square.
        ValueError: If an array has another shape or type.
    """
    _check_arrays(tiles, keys)
    if settings.mode == "none":
        return _copy(tiles[:, :side, :side], out)
    return _carry_out(tiles, _plan_all(tiles, keys, settings, seed, epoch), settings, threads, out, side)


def expanded_count(settings: Augmentation) -> int:
    """How many images the "expand" way makes of one: the original and one for each transformation switched on."""
    return 1 + len(settings.transformations())


def expand_batch(
    tiles: Tiles,
    keys: NDArray[np.uint64],
    which: NDArray[np.int64],
    *,
    settings: Augmentation,
    seed: int,
    threads: int = 1,
    out: Tiles | None = None,
    side: int | None = None,
) -> Tiles:
    """Tile i as its expansion which[i]: 0 the original, k the k-th of settings.transformations() alone, drawn once.

    Args:
        tiles: (B, H, W, 3) uint8 RGB; not changed.
        keys: (B,) uint64, see image_keys.
        which: (B,) int in [0, expanded_count(settings)).
        settings: ranges; probabilities above 0 play no part, each transformation is always carried out.
        seed: any integer; the draws are those of epoch 0, in every epoch.
        threads, out, side: as in augment_batch.

    Raises:
        InputError: If quarter turns are asked for and the tiles are not square.
        ValueError: If `which` is out of range or an array has another shape or type.
    """
    _check_arrays(tiles, keys)
    which = np.asarray(which, dtype=np.int64)
    if which.shape != (len(tiles),) or (which.size and not 0 <= which.min() <= which.max() < expanded_count(settings)):
        raise ValueError(f"which must be ({len(tiles)},) in [0, {expanded_count(settings)})")
    names = np.array(("original", *settings.transformations()))[which]
    return _carry_out(tiles, _plan_single(tiles, keys, settings, seed, names), settings, threads, out, side)


def equalise(tile: Tiles, *, luminance: bool = True) -> Tiles:
    """The tile with its histogram equalised, a new (H, W, 3) uint8 array.

    Luminance: Y of YCrCb (ITU-R BT.601) is equalised and the colour differences kept. Otherwise each channel by
    itself, as many notebooks do; that turns the stain vectors by 7 to 15° and is kept for comparison only. A tile of
    one value stays as it is.

    Source:
        Gonzalez and Woods, Digital Image Processing, 3.3.1; the table of cv2.equalizeHist.
    """
    if not luminance:
        return np.asarray(cv2.merge([cv2.equalizeHist(channel) for channel in cv2.split(tile)]), dtype=np.uint8)
    planes = cv2.cvtColor(tile, cv2.COLOR_RGB2YCrCb)
    cv2.insertChannel(cv2.equalizeHist(cv2.extractChannel(planes, 0)), planes, 0)
    return np.asarray(cv2.cvtColor(planes, cv2.COLOR_YCrCb2RGB, dst=planes), dtype=np.uint8)


_EQUALISERS: dict[str, Callable[[Tiles], Tiles]] = {
    "none": equalise,
    "luminance": equalise,
    "tissue": equalise_tissue,
    "channels": partial(equalise, luminance=False),
}


def _check_arrays(tiles: Tiles, keys: NDArray[np.uint64]) -> None:
    if tiles.ndim != 4 or tiles.shape[3] != 3 or tiles.dtype != np.uint8:
        raise ValueError(f"tiles must be (B, H, W, 3) uint8, not {tiles.shape} {tiles.dtype}")
    if keys.shape != (len(tiles),) or keys.dtype != np.uint64:
        raise ValueError(f"keys must be ({len(tiles)},) uint64, not {keys.shape} {keys.dtype}")


def _copy(tiles: Tiles, out: Tiles | None) -> Tiles:
    if out is None:
        return tiles.copy()
    out[...] = tiles
    return out


def _plan_all(tiles: Tiles, keys: NDArray[np.uint64], settings: Augmentation, seed: int, epoch: int) -> _Plan:
    draws = uniforms(keys, _DRAWS, seed=seed, epoch=epoch).T
    flips = (
        (draws[_FLIP_X] < settings.flip_probability) & (settings.flip in ("horizontal", "both")),
        (draws[_FLIP_Y] < settings.flip_probability) & (settings.flip in ("vertical", "both")),
    )
    used = {
        "equalise": (draws[_EQUALISE] < settings.equalise_probability) & (settings.equalise != "none"),
        "rotation": draws[_ROTATE] < settings.rotation_probability,
        "translation": draws[_TRANSLATE] < settings.translation_probability,
        "shear": draws[_SHEAR] < settings.shear_probability,
        "colour": draws[_COLOUR] < settings.colour_probability,
    }
    turns = np.floor(draws[_TURN] * 4).astype(np.int64) * settings.quarter_turns
    return _plan(tiles, draws, settings, flips, turns, used)


def _plan_single(
    tiles: Tiles, keys: NDArray[np.uint64], settings: Augmentation, seed: int, names: NDArray[np.str_]
) -> _Plan:
    draws = uniforms(keys, _DRAWS, seed=seed, epoch=0).T
    # The flip alone must do something: with both directions allowed, one of left-right, up-down, both together.
    way = np.floor(draws[_FLIP_WAY] * 3)
    across = {"horizontal": np.full(len(keys), True), "vertical": np.full(len(keys), False)}.get(
        settings.flip, way != 1
    )
    down = {"horizontal": np.full(len(keys), False), "vertical": np.full(len(keys), True)}.get(settings.flip, way != 0)
    flips = (across & (names == "flip"), down & (names == "flip"))
    turns = (1 + np.floor(draws[_TURN] * 3).astype(np.int64)) * (names == "quarter_turn")
    return _plan(tiles, draws, settings, flips, turns, {name: names == name for name in TRANSFORMATIONS})


def _plan(
    tiles: Tiles,
    draws: NDArray[np.float64],
    settings: Augmentation,
    flips: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    turns: NDArray[np.int64],
    used: dict[str, NDArray[np.bool_]],
) -> _Plan:
    height, width = tiles.shape[1:3]
    if height != width and bool((turns % 2).any()):
        raise InputError(f"tiles are {width}×{height} px; quarter turns need square ones: set quarter_turns to false")
    spread = 2 * draws - 1  # each parameter is even in [-1, 1) times its range
    shift_px = np.rint(
        np.stack([spread[_SHIFT_X] * width, spread[_SHIFT_Y] * height], axis=1)
        * settings.translation
        * used["translation"][:, None]
    )
    return _Plan(
        equalise=used["equalise"],
        flip_x=flips[0],
        flip_y=flips[1],
        turns=turns,
        angle_rad=np.deg2rad(spread[_ANGLE] * settings.rotation_deg) * used["rotation"],
        shear=np.tan(np.deg2rad(spread[_SHEAR_ANGLE] * settings.shear_deg)) * used["shear"],
        shift_px=shift_px,
        colour=_colour_factors(spread, settings, used["colour"]),
    )


def _colour_factors(
    spread: NDArray[np.float64], settings: Augmentation, used: NDArray[np.bool_]
) -> NDArray[np.float64] | None:
    ranges = np.array([settings.brightness, settings.contrast, settings.saturation])
    if not ranges.any() or not used.any():
        return None
    factors: NDArray[np.float64] = 1 + spread[[_BRIGHTNESS, _CONTRAST, _SATURATION]].T * ranges * used[:, None]
    return factors


def _matrices(plan: _Plan, height: int, width: int) -> NDArray[np.float64]:
    """(B, 2, 3): for each pixel (x, y) of the result, where in the tile it comes from; about the tile's centre."""
    cos, sin = np.cos(plan.angle_rad), np.sin(plan.angle_rad)
    # Forward, with y down: result = rotation · shear · turns · flips · tile. Each factor is inverted here in turn.
    back_rotation = np.array([[cos, -sin], [sin, cos]])
    one, zero = np.ones_like(cos), np.zeros_like(cos)
    back_shear = np.array([[one, -plan.shear], [zero, one]])
    quarter_cos = np.array([1.0, 0.0, -1.0, 0.0])[plan.turns]
    quarter_sin = np.array([0.0, 1.0, 0.0, -1.0])[plan.turns]
    back_turns = np.array([[quarter_cos, -quarter_sin], [quarter_sin, quarter_cos]])
    back_flips = np.array([[np.where(plan.flip_x, -1.0, 1.0), zero], [zero, np.where(plan.flip_y, -1.0, 1.0)]])
    linear = np.einsum("ijb,jkb,klb,lmb->bim", back_flips, back_turns, back_shear, back_rotation)
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = centre - np.einsum("bij,bj->bi", linear, centre + plan.shift_px)
    return np.concatenate([linear, offset[:, :, None]], axis=2)


def _bends(plan: _Plan, matrices: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(B,) whether a tile must be interpolated: it is shifted, or does more than change places of rows and columns."""
    linear = matrices[:, :, :2]
    exact = (linear == np.rint(linear)).all(axis=(1, 2)) & (np.abs(linear).sum(axis=(1, 2)) == 2)
    bends: NDArray[np.bool_] = ~exact | (plan.shift_px != 0).any(axis=1)
    return bends


def _carry_out(
    tiles: Tiles, plan: _Plan, settings: Augmentation, threads: int, out: Tiles | None, side: int | None
) -> Tiles:
    shape = tiles[:, :side, :side].shape
    if out is None:
        out = np.empty(shape, dtype=np.uint8)
    if out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous or np.shares_memory(out, tiles):
        raise ValueError(f"out must be another C-contiguous uint8 array of shape {shape}")
    matrices = _matrices(plan, *tiles.shape[1:3])
    work = _worker(tiles, plan, matrices, _EQUALISERS[settings.equalise], out)
    threads = max(1, min(threads, len(tiles)))
    with one_opencv_thread():  # the batch is what is shared among threads; OpenCV's own would only get in the way
        if threads == 1:
            work(0, len(tiles))
            return out
        edges = [len(tiles) * i // threads for i in range(threads + 1)]
        with ThreadPoolExecutor(threads - 1) as pool:
            others = [pool.submit(work, start, stop) for start, stop in pairwise(edges[1:])]
            work(edges[0], edges[1])
            for other in others:
                other.result()
    return out


def _worker(
    tiles: Tiles, plan: _Plan, matrices: NDArray[np.float64], equaliser: Callable[[Tiles], Tiles], out: Tiles
) -> Callable[[int, int], None]:
    height, width = out.shape[1:3]
    # OpenCV interpolates 16 columns at a time, and what is left over more slowly and sometimes by one level off: a part
    # of a tile is warped to whole sixteens, so that every column is as it is in the whole tile.
    columns = min(tiles.shape[2], -(-width // 16) * 16)
    bends = _bends(plan, matrices)
    recolour = _recolour(plan)

    def work(start: int, stop: int) -> None:
        # Interpolating four channels takes less than half the time of three (a pixel is then one aligned word), and
        # every channel comes out the same; both scratch tiles stay in the core's cache.
        before, after = (np.empty((*size, 4), dtype=np.uint8) for size in (tiles.shape[1:3], (height, columns)))
        for i in range(start, stop):
            tile = equaliser(tiles[i]) if plan.equalise[i] else tiles[i]
            tile = recolour(i, tile)
            if bends[i]:
                cv2.warpAffine(
                    cv2.cvtColor(tile, cv2.COLOR_RGB2RGBA, dst=before),
                    matrices[i],
                    (columns, height),
                    dst=after,
                    flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                    borderMode=cv2.BORDER_REFLECT_101,
                )
                cv2.cvtColor(after[:, :width], cv2.COLOR_RGBA2RGB, dst=out[i])
            else:
                turned = _turned(tile, bool(plan.flip_x[i]), bool(plan.flip_y[i]), int(plan.turns[i]))
                out[i] = turned[:height, :width]

    return work


def _recolour(plan: _Plan) -> Callable[[int, Tiles], Tiles]:
    """Tile i with the plan's colour factors, a new array; the tile itself where they are all 1."""
    if plan.colour is None:
        return lambda _, tile: tile
    changes = (plan.colour != 1).any(axis=1)
    matrices, grey_shares = colour_matrices(*plan.colour.T)

    def recolour(i: int, tile: Tiles) -> Tiles:
        return apply_colour(tile, matrices[i], grey_shares[i], np.empty_like(tile)) if changes[i] else tile

    return recolour


def _turned(tile: Tiles, flip_x: bool, flip_y: bool, turns: int) -> Tiles:
    """Flips and quarter turns by indexing, so exact."""
    tile = tile[:, ::-1] if flip_x else tile
    tile = tile[::-1] if flip_y else tile
    return np.rot90(tile, turns) if turns else tile
