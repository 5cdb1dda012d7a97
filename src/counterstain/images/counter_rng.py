"""Random numbers as a pure function of (seed, epoch, image, draw number): no state, so nothing to save or to resume."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["image_keys", "uniforms"]

_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 divided by the golden ratio: the step of splitmix64
_MASK = (1 << 64) - 1


def image_keys(names: Sequence[str]) -> NDArray[np.uint64]:
    """(N,) uint64, one number an image name: the same on every machine, whatever other images there are.

    Source:
        The first 64 bits of BLAKE2b of the UTF-8 name (RFC 7693).
    """
    digests = b"".join(
        hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest() for name in names
    )
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def uniforms(keys: NDArray[np.uint64], count: int, *, seed: int, epoch: int) -> NDArray[np.float64]:
    """(B, count) numbers in [0, 1); number j of image i is a function of (seed, epoch, keys[i], j) alone.

    Args:
        keys: (B,) uint64, see image_keys.
        count: draws an image; asking for more never changes the first ones.
        seed: any integer, taken modulo 2^64.
        epoch: any integer, taken modulo 2^64.

    Source:
        Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators", doi:10.1145/2660193.2660195
        (the mixing function of splitmix64), used as a counter-based generator.
    """
    stream = np.full(len(keys), seed & _MASK, dtype=np.uint64)
    for word in (np.uint64(epoch & _MASK), np.asarray(keys, dtype=np.uint64)):
        stream = _mix(_mix(stream + np.uint64(_GOLDEN)) ^ word)
    counters = (np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN))[None, :]
    return (_mix(stream[:, None] + counters) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64; arithmetic modulo 2^64 is meant."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
