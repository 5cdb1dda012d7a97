"""The index finds the neighbours that the whole comparison finds, and the same ones each time."""

import numpy as np
import pytest

from counterstain.audit import nearest
from counterstain.audit.nearest import Nearest


@pytest.fixture(scope="module")
def units() -> np.ndarray:
    """6,000 unit vectors in 300 loose clusters, and a near copy of each of the first 500."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(300, 64))
    vectors = centres[rng.integers(0, 300, 6000)] + rng.normal(size=(6000, 64))
    vectors = np.concatenate([vectors, vectors[:500] + 0.2 * rng.normal(size=(500, 64))])
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_all_are_compared_up_to_a_size(units: np.ndarray) -> None:
    found = Nearest.of(units).rows(units[:50], 3)
    expected = np.argsort(-(units[:50] @ units.T), axis=1)[:, :3]
    assert [set(row) for row in found.tolist()] == [set(row) for row in expected.tolist()]


def test_the_index_finds_near_copies(units: np.ndarray) -> None:
    pytest.importorskip("faiss")
    found = Nearest.of(units, most=1000)
    assert found.known is None
    top = found.rows(units[:500], 3)
    assert all(row in top[row] and 6000 + row in top[row] for row in range(500))


def test_the_index_is_the_same_each_time(units: np.ndarray) -> None:
    pytest.importorskip("faiss")
    first, second = (Nearest.of(units, most=1000).rows(units[:500], 7) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_fewer_vectors_than_asked_for_are_filled_up_with_minus_one() -> None:
    pytest.importorskip("faiss")
    few = np.eye(4, dtype=np.float32)
    assert sorted(Nearest.of(few, most=1).rows(few[:1], 6)[0].tolist()) == [-1, -1, 0, 1, 2, 3]


def test_without_the_library_all_are_compared(units: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "index_is_installed", lambda: False)
    assert Nearest.of(units, most=1000).known is not None
