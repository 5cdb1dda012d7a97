"""Every close pair of hashes is found, and no other."""

import numpy as np
import pytest

from counterstain.audit.close_hashes import CHUNK, close_hashes


def by_hand(words: np.ndarray, known: np.ndarray, first: np.ndarray, radius: int) -> list[tuple[int, int]]:
    return [
        (row, column)
        for row, word in enumerate(words.tolist())
        for column in range(first[row], len(known))
        if (word ^ int(known[column])).bit_count() <= radius
    ]


@pytest.mark.parametrize("radius", [0, 12, 26, 64])
@pytest.mark.parametrize("count", [0, 1, CHUNK - 1, CHUNK, 2 * CHUNK + 7])
def test_the_pairs_are_those_counted_bit_by_bit(count: int, radius: int) -> None:
    rng = np.random.default_rng(count)
    known = rng.integers(0, 2**64, count, dtype=np.uint64)
    words = np.concatenate([known[:9], rng.integers(0, 2**64, 5, dtype=np.uint64)])
    first = rng.integers(0, count + 1, len(words))
    row, column = close_hashes(words, known, first, radius=radius)
    assert list(zip(row.tolist(), column.tolist(), strict=True)) == by_hand(words, known, first, radius)


def test_more_pairs_than_there_was_room_for_are_all_returned() -> None:
    same = np.zeros(3000, np.uint64)
    row, column = close_hashes(same, same, np.arange(1, 3001), radius=0)
    assert len(row) == 3000 * 2999 // 2
    assert np.all(column > row)
