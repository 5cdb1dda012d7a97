"""Colour spaces of stain: a tile's optical density or L*a*b* changed by a matrix or a scale.

Each change has two forms, for tiles on the processor and for tensors. On the processor a tile goes through tables of
65,536 entries and one or three small matrices in 16-bit whole numbers: within one grey level of the formula in double
precision, and without its logarithms and powers. Tensors are planes, (B, 3, n): torch is many times slower on channels
that lie side by side.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]
from torch import Tensor

from counterstain.images.opencv_threads import one_opencv_thread

__all__ = [
    "RUIFROK",
    "WHITE",
    "change_tiles",
    "mix",
    "optical_density",
    "share_out",
    "to_hed",
    "to_hsv",
    "to_lab",
]

Tiles = NDArray[np.uint8]
Floats = NDArray[np.float64]
Codes = NDArray[np.uint16]
T = TypeVar("T")

WHITE = 240.0  # the grey value of empty glass, as Macenko's code has it; brighter pixels have a negative density

# Optical density is -ln((I + 1) / 240): 1 is added to the grey value so that black has a finite one. Codes count from
# the density of I = 255, the lowest there is, to that of I = 0.
_LOWEST = float(-np.log(256 / WHITE))
_DENSITY_STEP = float(np.log(256.0)) / 65535

_RUIFROK = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
RUIFROK = _RUIFROK / np.linalg.norm(_RUIFROK, axis=1, keepdims=True)
"""(3, 3) unit rows: haematoxylin, eosin, DAB. Ruifrok and Johnston 2001, Anal. Quant. Cytol. Histol. 23:291-299."""

# Hues are counted from green, as shares of the circle; the last one stops short of coming round to it again.
_HUE_OF_GREEN, _LAST_HUE = 1 / 3, 1 - 2**-20

# Linear light of ITU-R BT.709 primaries to X, Y, Z over those of the white D65, as in torchstain and scikit-image.
_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
_XYZ_OF_WHITE = np.array([0.95047, 1.0, 1.08883])
_TO_XYZ = _XYZ / _XYZ_OF_WHITE[:, None]
_FROM_XYZ = np.linalg.inv(_TO_XYZ)
# L*, a*, b* of the cube roots (f) of X, Y, Z: a matrix and an offset.
_TO_LAB = np.array([[0.0, 116.0, 0.0], [500.0, -500.0, 0.0], [0.0, 200.0, -200.0]])
_FROM_LAB = np.linalg.inv(_TO_LAB)
_LAB_OFFSET = np.array([-16.0, 0.0, 0.0])
_CUBE_FROM, _ROOT_FROM, _SLOPE, _ROOT_OF_0 = 0.2068966, 0.008856, 7.787, 16 / 116
# Codes: linear light and X, Y, Z from 0 to 1; f from -0.4 to 1.4 and its cubes from -0.07 to 2.75, for new colours may
# lie outside of what a screen can show before they are clipped to it.
_ROOT_STEP, _ROOT_LOWEST = 1.8 / 65535, -0.4
_CUBE_STEP, _CUBE_LOWEST = 2.82 / 65535, -0.07
_LIGHT_TO_XYZ = np.column_stack([_TO_XYZ, np.zeros(3)])
_CUBES_TO_LIGHT = np.column_stack([_FROM_XYZ * _CUBE_STEP, _FROM_XYZ.sum(axis=1) * _CUBE_LOWEST]) * 65535


def optical_density(planes: Tensor) -> Tensor:
    """(B, 3, n) float32: -ln((I + 1) / 240) of uint8 grey values; from -0.06 (white) to 5.48 (black).

    Source:
        Macenko et al. 2009, ISBI, doi:10.1109/ISBI.2009.5193250, in natural logarithms.
    """
    return _of_grey(planes, -np.log((np.arange(256) + 1) / WHITE))


def to_lab(planes: Tensor) -> Tensor:
    """(B, 3, n) float32: CIE L*a*b* (D65) of uint8 sRGB; L* from 0 to 100.

    Source:
        IEC 61966-2-1 for sRGB, CIE 15 for L*a*b*; the rounded constants of torchstain and scikit-image.
    """
    xyz = mix(_tensor(_TO_XYZ, planes), _of_grey(planes, _light_of_grey()))
    roots = torch.where(xyz > _ROOT_FROM, xyz.clamp(min=_ROOT_FROM) ** (1 / 3), _SLOPE * xyz + _ROOT_OF_0)
    return mix(_tensor(_TO_LAB, planes), roots) + _tensor(_LAB_OFFSET[:, None], planes)


def to_hed(planes: Tensor) -> Tensor:
    """(B, 3, n) float32: concentrations of haematoxylin, eosin and DAB by Ruifrok's fixed vectors."""
    return mix(_tensor(np.linalg.inv(RUIFROK.T), planes), optical_density(planes))


def to_hsv(planes: Tensor) -> Tensor:
    """(B, 3, n) float32: hue, saturation and value of uint8 RGB, each from 0 to 1.

    Hue is counted from green, which H&E has none of, so that the pinks on both sides of red lie together; 0.67, red,
    where a pixel is grey.
    """
    levels = planes.to(torch.float32) / 255
    value, lowest = levels.amax(1), levels.amin(1)
    chroma = value - lowest
    red, green, blue = levels.unbind(1)
    safe = torch.where(chroma > 0, chroma, 1.0)
    hue = torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4)
    hue = torch.where(value == red, (green - blue) / safe, hue)
    saturation = torch.where(value > 0, chroma / value.clamp(min=1e-6), 0.0)
    return torch.stack([(hue / 6 - _HUE_OF_GREEN) % 1, saturation, value], dim=1)


def change_tiles(
    tiles: Tiles,
    space: str,
    first: Floats,
    second: Floats,
    *,
    rows: NDArray[np.int64],
    skip: NDArray[np.bool_],
    out: Tiles,
) -> None:
    """Write some of a batch's tiles to `out`, changed in a colour space; rounded and clipped to 0…255.

    Within one grey level of the formula, but for L*a*b* far beyond white (cube roots of X, Y, Z above 1.4).

    Args:
        tiles: (B, H, W, 3) uint8 RGB.
        space: "density": every pixel's optical density d becomes first · d + second; "lab" or "hsv" (hue from green,
            see to_hsv): each channel is multiplied by first, and second is added.
        first: (R, 3, 3) for "density", else (R, 3).
        second: (R, 3).
        rows: (R,) which tiles.
        skip: (R,) bool, those that are copied as they are.
        out: (B, H, W, 3) uint8, another array.
    """
    matrices, change = _SPACES[space]
    codes = np.empty(tiles.shape[1:], dtype=np.uint16)  # scratch: a fresh array at every step would cost more
    settings = matrices(first, second)
    for number, (row, skipped) in enumerate(zip(rows.tolist(), skip.tolist(), strict=True)):
        if skipped:
            out[row] = tiles[row]
        else:
            change(tiles[row], settings[number], codes, out[row])


def mix(matrix: Tensor, planes: Tensor) -> Tensor:
    """(B, k, n): matrix @ planes for a (B, k, 3) or (k, 3) matrix and (B, 3, n) planes.

    Three multiplications: as fast as a matrix product of this shape, and not shared out among threads, see share_out.
    """
    columns = matrix[..., None, :]  # (…, k, 1, 3)
    mixed = columns[..., 0] * planes[:, None, 0]
    return mixed.addcmul_(columns[..., 1], planes[:, None, 1]).addcmul_(columns[..., 2], planes[:, None, 2])


def share_out(work: Callable[[int, int], T], count: int, threads: int) -> list[T]:
    """What work(start, stop) gives for each of as many parts of 0…count as there are threads, in order.

    Within each part torch keeps to its thread: its steps are far too short to be shared out, and where a training runs
    beside, threads that wait for each other at every step take ten times as long. What torch hands to MKL is not to be
    used on planes, for that has threads of its own: products of matrices, exp and log.
    """

    def alone(start: int, stop: int) -> T:
        with _thread_pools().limit(limits=1, user_api="openmp"):  # of this thread alone
            return work(start, stop)

    threads = max(1, min(threads, count))
    with one_opencv_thread():  # the batch is what is shared among threads; OpenCV's own would only get in the way
        if threads == 1:
            return [alone(0, count)]
        edges = [count * i // threads for i in range(threads + 1)]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(alone, edges[:-1], edges[1:]))


@cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()


def _density_matrices(first: Floats, second: Floats) -> Floats:
    """(R, 3, 4) the change of density as one of codes."""
    return np.dstack([first, (second - _LOWEST + first.sum(axis=2) * _LOWEST) / _DENSITY_STEP])


def _change_density(tile: Tiles, matrix: Floats, codes: Codes, out: Tiles) -> None:
    _look_up(_grey_of_density(), _transform(cv2.LUT(tile, _density_codes(), dst=codes), matrix), out)


def _lab_matrices(first: Floats, second: Floats) -> Floats:
    """(R, 3, 4) the change of L*a*b* as one of the codes of the cube roots of X, Y, Z."""
    matrices = np.einsum("ij,bj,jk->bik", _FROM_LAB, first, _TO_LAB)
    offsets = np.einsum("bk,ck->bc", first * _LAB_OFFSET + second - _LAB_OFFSET, _FROM_LAB)
    return np.dstack([matrices, (offsets - _ROOT_LOWEST + matrices.sum(axis=2) * _ROOT_LOWEST) / _ROOT_STEP])


def _change_lab(tile: Tiles, matrix: Floats, codes: Codes, out: Tiles) -> None:
    roots = _look_up_wide(_root_codes(), _transform(cv2.LUT(tile, _light_codes(), dst=codes), _LIGHT_TO_XYZ))
    cubes = _look_up_wide(_cube_codes(), _transform(roots, matrix))
    _look_up(_grey_of_light(), _transform(cubes, _CUBES_TO_LIGHT), out)


def _hsv_matrices(first: Floats, second: Floats) -> Floats:
    return np.dstack([first[:, :, None] * np.eye(3), second])


def _change_hsv(tile: Tiles, matrix: Floats, codes: Codes, out: Tiles) -> None:
    del codes  # in floats: a circle has no place in tables
    hsv = cv2.cvtColor(cv2.LUT(tile, _unit_of_grey()), cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] * np.float32(1 / 360) - np.float32(_HUE_OF_GREEN)) % 1
    hsv = np.clip(cv2.transform(hsv, matrix), 0, 1)
    hsv[..., 0] = (hsv[..., 0] * np.float32(_LAST_HUE) + np.float32(_HUE_OF_GREEN)) % 1 * 360
    cv2.convertScaleAbs(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), dst=out, alpha=255)


_SPACES: dict[str, tuple[Callable[[Floats, Floats], Floats], Callable[[Tiles, Floats, Codes, Tiles], None]]] = {
    "density": (_density_matrices, _change_density),
    "lab": (_lab_matrices, _change_lab),
    "hsv": (_hsv_matrices, _change_hsv),
}


def _of_grey(planes: Tensor, table: Floats) -> Tensor:
    """float32 table[planes] of uint8 planes; by OpenCV on the processor, ten times as fast as by torch."""
    if planes.device.type != "cpu":
        return _tensor(table, planes)[planes.to(torch.int32)]
    if not planes.numel():
        return planes.to(torch.float32)
    looked_up = cv2.LUT(planes.reshape(-1, planes.shape[-1]).numpy(), table.astype(np.float32))
    return torch.from_numpy(looked_up.reshape(planes.shape))


def _tensor(array: Floats, beside: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(beside.device)


def _transform(codes: Any, matrix: Floats) -> Codes:
    """Every pixel's codes by a (3, 4) matrix, in place, rounded; what lies outside 16 bits becomes their end."""
    return np.asarray(cv2.transform(codes, matrix, dst=codes), dtype=np.uint16)


def _look_up(table: Tiles, codes: Codes, out: Tiles) -> None:
    """table[codes]; OpenCV reads 16-bit tables from version 5 on."""
    if _WIDE_TABLES:
        cv2.LUT(codes, table, dst=out)
    else:
        np.take(table, codes, out=out, mode="clip")


def _look_up_wide(table: Codes, codes: Codes) -> Codes:
    """table[codes], in place where it can be: a fresh array costs more than what is written to it."""
    return np.asarray(cv2.LUT(codes, table, dst=codes) if _WIDE_TABLES else table[codes], dtype=np.uint16)


_WIDE_TABLES = int(cv2.__version__.split(".")[0]) >= 5


def _light_of_grey() -> Floats:
    grey = np.arange(256) / 255
    light: Floats = np.where(grey > 0.04045, ((grey + 0.055) / 1.055) ** 2.4, grey / 12.92)
    return light


@cache
def _unit_of_grey() -> NDArray[np.float32]:
    return (np.arange(256) / 255).astype(np.float32)


@cache
def _density_codes() -> Codes:
    density = -np.log((np.arange(256) + 1) / WHITE)
    return _wide((density - _LOWEST) / _DENSITY_STEP)


@cache
def _grey_of_density() -> Tiles:
    return _narrow(256 * np.exp(-np.arange(65536) * _DENSITY_STEP) - 1)


@cache
def _light_codes() -> Codes:
    return _wide(_light_of_grey() * 65535)


@cache
def _root_codes() -> Codes:
    xyz = np.arange(65536) / 65535
    roots = np.where(xyz > _ROOT_FROM, np.cbrt(xyz), _SLOPE * xyz + _ROOT_OF_0)
    return _wide((roots - _ROOT_LOWEST) / _ROOT_STEP)


@cache
def _cube_codes() -> Codes:
    roots = np.arange(65536) * _ROOT_STEP + _ROOT_LOWEST
    cubes = np.where(roots > _CUBE_FROM, roots**3, (roots - _ROOT_OF_0) / _SLOPE)
    return _wide((cubes - _CUBE_LOWEST) / _CUBE_STEP)


@cache
def _grey_of_light() -> Tiles:
    light = np.arange(65536) / 65535
    grey = np.where(light > 0.0031308, 1.055 * light ** (1 / 2.4) - 0.055, 12.92 * light)
    return _narrow(grey * 255)


def _wide(values: Floats) -> Codes:
    codes: Codes = np.clip(np.rint(values), 0, 65535).astype(np.uint16)
    return codes


def _narrow(values: Floats) -> Tiles:
    grey: Tiles = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return grey
