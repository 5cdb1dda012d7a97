"""Max-pooling of 2×2 pixels with ReLU that remembers where each kept pixel was in one byte, compiled by Numba.

Floats come as the integers of their bits: above zero both have the same order, in fp32 and in bfloat16, which NumPy
does not know. Every result is computed by itself, so that the number of threads changes nothing.
"""

import numba
import numpy as np
from numba import prange
from numpy.typing import NDArray

__all__ = ["NOWHERE", "keep_largest", "put_back"]

Bits = NDArray[np.signedinteger]  # of floats, as integers of their width
NOWHERE = np.uint8(4)  # the place of a pooled pixel that is 0 because nothing was above it: it does not learn


@numba.njit(parallel=True, nogil=True, cache=True, error_model="numpy")
def keep_largest(
    maps: Bits, pooled: Bits, place: NDArray[np.uint8], infinity: np.signedinteger, nan: np.signedinteger
) -> None:
    """Fill `pooled` with the largest of each 2×2 pixels, or 0 where none is above it, and `place` with which it was.

    Args:
        maps: (B, H, W, C) bits of floats, as signed integers of their width.
        pooled: (B, H // 2, W // 2, C), the same.
        place: (B, H // 2, W // 2, C) bytes: 0 to 3 row by row, the first of the largest ones; or NOWHERE.
        infinity: the bits of infinity, of the maps' type.
        nan: those of a number that is none, all set but the sign; whichever was there, this one is kept.
    """
    batch, height, width, channels = pooled.shape
    for row in prange(batch * height):
        image, down = row // height, row % height
        for right in range(width):
            for channel in range(channels):
                largest, where = NOWHERE * (nan - nan), NOWHERE
                for number in range(4):
                    value = maps[image, 2 * down + number // 2, 2 * right + number % 2, channel]
                    value = nan if value & nan > infinity else value
                    if value > largest:
                        largest, where = value, np.uint8(number)
                pooled[image, down, right, channel] = largest
                place[image, down, right, channel] = where


@numba.njit(parallel=True, nogil=True, cache=True, error_model="numpy")
def put_back(
    gradient: Bits,
    place: NDArray[np.uint8],
    unpooled: Bits,
    sums: NDArray[np.float32],
    nothing: np.signedinteger,
    shift: int,
) -> None:
    """Fill `unpooled` with the gradient of each pooled pixel in its place and with 0 elsewhere; and add up each row.

    Args:
        gradient: (B, H // 2, W // 2, C) bits of floats, as signed integers of their width.
        place: (B, H // 2, W // 2, C) bytes, from keep_largest.
        unpooled: (B, H, W, C), the type of the gradient. What it holds is not read.
        sums: (B * (H // 2), C) float32, for the sum over each row of pooled pixels of those that have a place.
        nothing: 0 of the gradient's type.
        shift: how many bits of a float32 the gradient's floats lack, 0 or 16.
    """
    batch, height, width, channels = gradient.shape
    for row in prange(batch * height):
        image, down = row // height, row % height
        sums[row] = 0
        for right in range(width):
            for number in range(4):
                corner = unpooled[image, 2 * down + number // 2, 2 * right + number % 2]
                for channel in range(channels):
                    is_largest = place[image, down, right, channel] == np.uint8(number)
                    corner[channel] = gradient[image, down, right, channel] if is_largest else nothing
            for channel in range(channels):
                is_largest = place[image, down, right, channel] != NOWHERE
                bits = np.int32(gradient[image, down, right, channel] if is_largest else nothing)
                sums[row, channel] += np.int32(bits << shift).view(np.float32)
        unpooled[image, 2 * down : 2 * down + 2, 2 * width :] = nothing
        if down == height - 1:
            unpooled[image, 2 * height :] = nothing
