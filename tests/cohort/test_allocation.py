"""Dealing patients of several classes, against every dealing that there is."""

import itertools

import numpy as np

from counterstain.cohort.allocation import deal


def test_a_division_is_found_exactly_where_one_exists() -> None:
    """5 to 7 patients with 2 to 4 classes among them: each of the 3^U dealings is tried by brute force."""
    rng = np.random.default_rng(0)
    every = {units: np.array(list(itertools.product(range(3), repeat=units))) for units in (5, 6, 7)}
    possible = 0
    for number in range(150):
        units, classes = int(rng.integers(5, 8)), int(rng.integers(2, 5))
        present = rng.random((units, classes)) < rng.uniform(0.3, 0.8, classes)
        present[np.arange(units), rng.integers(0, classes, units)] = True
        exists = np.ones(len(every[units]), dtype=bool)
        for part in range(3):
            exists &= ((every[units] == part).astype(int) @ present > 0).all(axis=1)
        counts = present.astype(np.int64) * rng.integers(1, 10, present.shape)
        if not counts.any(axis=0).all():
            continue
        found = deal(counts, [0.64, 0.16, 0.2], np.random.default_rng(number))
        assert (found is not None) == exists.any()
        if found is not None:
            possible += 1
            assert all((counts[found == part].sum(axis=0) > 0).all() for part in range(3))
    assert possible > 50


def test_at_most_so_many_units_in_a_part() -> None:
    counts = np.ones((6, 1), dtype=np.int64)
    found = deal(counts, [0.8, 0.2], np.random.default_rng(0), most_units=np.array([4]))
    assert found is not None
    assert sorted(np.bincount(found)) == [2, 4]
    assert deal(counts, [0.5, 0.5], np.random.default_rng(0), most_units=np.array([2])) is None


def test_known_dealings_do_not_come_again() -> None:
    counts = np.ones((8, 1), dtype=np.int64)
    known: list[np.ndarray] = []
    for seed in range(5):
        found = deal(counts, [0.5, 0.5], np.random.default_rng(seed), known=known)
        assert found is not None
        # The same two groups with their numbers exchanged are the same dealing.
        assert not any((found == other).all() or (found == 1 - other).all() for other in known)
        known.append(found)
