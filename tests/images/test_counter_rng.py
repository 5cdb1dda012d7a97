"""Random numbers that depend on (seed, epoch, image, number) and on nothing else."""

import hashlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from counterstain.images.counter_rng import image_keys, uniforms

WHOLE = st.integers(-(2**70), 2**70)
MASK = (1 << 64) - 1


def mix(state: int) -> int:
    """The finaliser of splitmix64 in plain Python (Steele, Lea, Flood 2014, figure 17, variant 13)."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def test_splitmix64_reference_values() -> None:
    """The first outputs of splitmix64 from seed 1234567, as in the well-known C program's test vectors."""
    golden = 0x9E3779B97F4A7C15
    outputs = [mix((1234567 + step * golden) & MASK) for step in (1, 2, 3)]
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(seed=WHOLE, epoch=WHOLE, name=st.text(max_size=20), number=st.integers(0, 15))
@settings(max_examples=50)
def test_draws_are_those_of_plain_python(seed: int, epoch: int, name: str, number: int) -> None:
    golden = 0x9E3779B97F4A7C15
    key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
    state = seed & MASK
    for word in (epoch & MASK, key):
        state = mix(mix((state + golden) & MASK) ^ word)
    expected = (mix((state + (number + 1) * golden) & MASK) >> 11) / 2**53
    assert uniforms(image_keys([name]), 16, seed=seed, epoch=epoch)[0, number] == expected


def test_keys_are_pinned() -> None:
    """They decide what every past study's images became: they must never change."""
    assert image_keys(["a.png", "b/c.png"]).tolist() == [6266261796961190882, 7959346488808386276]
    assert image_keys([]).shape == (0,) and image_keys(["x"]).dtype == np.uint64


def test_draws_are_even_and_independent() -> None:
    draws = uniforms(image_keys([str(number) for number in range(20_000)]), 12, seed=3, epoch=5)
    assert draws.min() >= 0 and draws.max() < 1
    assert np.abs(draws.mean(axis=0) - 0.5).max() < 4 * np.sqrt(1 / 12 / 20_000)
    counts = np.stack([np.histogram(column, bins=20, range=(0, 1))[0] for column in draws.T])
    assert (((counts - 1000) ** 2 / 1000).sum(axis=1) < 50).all()  # chi-squared, 19 degrees: P < 0.0002
    others = [uniforms(image_keys([str(n) for n in range(20_000)]), 1, seed=s, epoch=e) for s, e in ((4, 5), (3, 6))]
    correlation = np.corrcoef(np.hstack([draws, *others]).T) - np.eye(14)
    assert np.abs(correlation).max() < 0.035


def test_more_draws_leave_the_first_as_they_are() -> None:
    keys = image_keys(["a", "b"])
    assert np.array_equal(uniforms(keys, 3, seed=0, epoch=0), uniforms(keys, 9, seed=0, epoch=0)[:, :3])
