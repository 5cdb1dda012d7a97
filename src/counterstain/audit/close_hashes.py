"""All pairs of 64-bit hashes that differ in a few bits, by comparing each with each: compiled by Numba.

An index would compare fewer, but no faster: up to a million hashes a processor that counts the bits of eight words at
once is through with the whole list before a table of keys has been looked up (docs/measures/copies.md has the times).
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

__all__ = ["close_hashes"]

CHUNK = 256  # hashes counted in one go before it is looked at which of them are close


def _count_ones(context: Any, word: Any) -> Any:
    """Number of bits set in a uint64; Numba has no name for the processor's instruction."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.call(builder.module.declare_intrinsic("llvm.ctpop", [ir.IntType(64)]), arguments)

    return types.uint64(types.uint64), generate


_ones: Any = intrinsic(_count_ones)


@numba.njit(nogil=True, cache=True)
def _fill(words: Any, known: Any, first: Any, radius: Any, row: Any, column: Any) -> int:
    """Write the rows and columns of the close pairs, as many as there is room for; returns how many there are."""
    count = 0
    limit = np.uint64(radius)
    # The known ones outside, so that a chunk stays in the processor's nearest memory for all words.
    for start in range(0, len(known), CHUNK):
        chunk = known[start : start + CHUNK]
        for at in range(len(words)):
            if first[at] >= start + CHUNK:
                continue
            word, close = words[at], np.uint64(0)
            for other in range(len(chunk)):
                close += np.uint64(_ones(word ^ chunk[other]) <= limit)
            if close == 0:
                continue
            for other in range(max(0, first[at] - start), len(chunk)):
                if _ones(word ^ chunk[other]) <= limit:
                    if count < len(row):
                        row[count], column[count] = at, start + other
                    count += 1
    return count


def close_hashes(
    words: NDArray[np.uint64], known: NDArray[np.uint64], first: NDArray[np.int64], *, radius: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns (K,), (K,) of all pairs of a word (N,) and a known one (M,) of at most `radius` different bits,
    row by row.

    Args:
        words, known: the hashes.
        first: (N,) the first known one that each word is compared with; the ones before it are left out.
        radius: in bits, 0 to 64.

    >>> row, column = close_hashes(
    ...     np.array([0b1011], np.uint64), np.array([0b1011, 0b0000, 0b0011], np.uint64), np.array([0]), radius=1
    ... )
    >>> column.tolist()
    [0, 2]
    """
    room = 4 * len(words) + 1024
    while True:
        row, column = np.empty(room, np.int64), np.empty(room, np.int64)
        count = _fill(words, known, first, radius, row, column)
        if count <= room:
            order = np.lexsort((column[:count], row[:count]))
            return row[:count][order], column[:count][order]
        room = count
