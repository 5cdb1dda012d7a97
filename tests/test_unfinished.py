"""Steps of long work: done once, whole or not there, and never those of other work."""

from pathlib import Path

import numpy as np
import pytest

from counterstain.unfinished import open_unfinished


def test_a_step_is_done_once(tmp_path: Path) -> None:
    made: list[str] = []

    def array() -> np.ndarray:
        made.append("array")
        return np.array([[1.5, np.nan]])

    def record() -> dict[str, object]:
        made.append("record")
        return {"a": (1, 2), "b": float("nan"), "c": np.float64(0.1) + 0.2}

    for _ in range(3):
        kept = open_unfinished(tmp_path, "a" * 64)
        np.testing.assert_array_equal(kept.array("x", array), [[1.5, np.nan]])
        assert kept.record("y", record) == {"a": [1, 2], "b": None, "c": 0.30000000000000004}
    assert made == ["array", "record"]
    kept.forget()
    assert list(tmp_path.iterdir()) == []


def test_a_step_that_fails_leaves_nothing(tmp_path: Path) -> None:
    kept = open_unfinished(tmp_path, "a" * 64)

    def fail() -> np.ndarray:
        raise SystemExit(143)

    with pytest.raises(SystemExit):
        kept.array("x", fail)
    assert kept.array("x", lambda: np.arange(2)).tolist() == [0, 1]


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"[1", b"nonsense"])
def test_a_damaged_step_is_done_again(tmp_path: Path, damage: bytes) -> None:
    kept = open_unfinished(tmp_path, "a" * 64)
    kept.array("x", lambda: np.arange(3))
    kept.record("y", lambda: 5)
    for path in kept.folder.iterdir():
        path.write_bytes(damage)
    assert kept.array("x", lambda: np.arange(4)).tolist() == [0, 1, 2, 3]
    assert kept.record("y", lambda: 6) == 6


def test_pickles_are_not_read(tmp_path: Path) -> None:
    kept = open_unfinished(tmp_path, "a" * 64)
    kept.folder.mkdir(parents=True)
    np.save(kept.folder / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert kept.array("x", lambda: np.arange(1)).tolist() == [0]


def test_steps_of_other_work_are_removed(tmp_path: Path) -> None:
    first = open_unfinished(tmp_path, "a" * 64)
    first.record("y", lambda: 1)
    second = open_unfinished(tmp_path, "b" * 64)
    assert not first.folder.exists()
    assert second.record("y", lambda: 2) == 2
