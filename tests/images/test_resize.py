"""One size from another: by exact fractions, by hand, and the same whatever adds it up."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterstain.images.resize import resize


def weights(length: int, count: int, *, shrinks: bool) -> list[list[Fraction]]:
    """What each old px of an axis adds to each new one, in exact fractions."""
    step = Fraction(length, count)
    rows = []
    for place in range(count):
        if shrinks:
            ends = [
                (max(place * step, Fraction(old)), min((place + 1) * step, Fraction(old + 1))) for old in range(length)
            ]
            rows.append([max(Fraction(0), high - low) / step for low, high in ends])
        else:
            centre = min(max((place + Fraction(1, 2)) * step - Fraction(1, 2), Fraction(0)), Fraction(length - 1))
            rows.append([max(Fraction(0), 1 - abs(centre - old)) for old in range(length)])
    return rows


def exactly(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """The rule in exact arithmetic, on one channel: round() of a Fraction goes to the even level."""
    shrinks = width <= image.shape[1] and height <= image.shape[0]
    down = weights(image.shape[0], height, shrinks=shrinks)
    across = weights(image.shape[1], width, shrinks=shrinks)
    halved = (height * 2, width * 2) == image.shape
    found = np.zeros((height, width), np.uint8)
    for row in range(height):
        for column in range(width):
            value = sum(
                down[row][y] * across[column][x] * int(image[y, x])
                for y in np.flatnonzero([float(w) for w in down[row]])
                for x in np.flatnonzero([float(w) for w in across[column]])
            )
            found[row, column] = (value + Fraction(1, 2)).__floor__() if halved else round(value)
    return found


@settings(max_examples=150)
@given(
    height=st.integers(1, 24), width=st.integers(1, 24), high=st.integers(1, 12), wide=st.integers(1, 12),
    levels=st.sampled_from([2, 3, 256]), seed=st.integers(0, 999),
)  # fmt: skip
def test_every_px_is_that_of_exact_arithmetic(
    height: int, width: int, high: int, wide: int, levels: int, seed: int
) -> None:
    """Few levels make many halves, which is where float arithmetic in another order gives another level."""
    image = np.random.default_rng(seed).integers(0, levels, (height, width, 3), dtype=np.uint8)
    found = resize(image, width_px=wide, height_px=high)
    assert found.dtype == np.uint8 and found.flags.c_contiguous
    if (high, wide) == (height, width):
        assert found is image
        return
    assert np.array_equal(found[:, :, 1], exactly(image[:, :, 1], wide, high))


def test_enlarging_by_hand() -> None:
    # Centres of four px over two: -0.25, 0.25, 0.75, 1.25; beyond the outer ones nothing changes.
    line = np.array([[0, 100]], np.uint8)[:, :, None].repeat(3, axis=2)
    assert resize(line, width_px=4, height_px=1)[0, :, 0].tolist() == [0, 25, 75, 100]


def test_a_large_image_is_averaged_channel_by_channel_to_the_same_px(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(1).integers(0, 256, (190, 301, 3), dtype=np.uint8)
    whole = resize(image, width_px=127, height_px=127)
    monkeypatch.setattr("counterstain.images.resize._WHOLE_VALUES", 0)
    assert np.array_equal(resize(image, width_px=127, height_px=127), whole)


@pytest.mark.parametrize("down", [1, 2, 3, 7, 14, 20, 33])
@pytest.mark.parametrize("across", [1, 2, 3, 5, 14, 18, 40])
def test_whole_factors_find_every_half(across: int, down: int) -> None:
    image = np.random.default_rng(across).integers(0, 4, (down * 12, across * 12, 3), dtype=np.uint8)
    sums = image.reshape(12, down, 12, across, 3).astype(np.int64).sum(axis=(1, 3))
    level, rest = np.divmod(sums, down * across)
    half = 2 * rest == down * across
    up = (2 * rest > down * across) | (half & (level % 2 == 1)) | (half & (across == down == 2))
    assert np.array_equal(resize(image, width_px=12, height_px=12), level + up)
