"""A tenth of benchmarks/faults.py: bad inputs of every kind end in a result or in one line."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def faults() -> Iterator[ModuleType]:
    """The runner, imported as it imports its own parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import faults as runner

        yield runner
    for name in (
        "faults",
        "faults_files",
        "faults_slides",
        "faults_records",
        "faults_system",
        "faults_tally",
        "faults_typed",
    ):
        sys.modules.pop(name, None)


def check(found: dict[str, Any]) -> None:
    assert {name: found[name] for name in ("tracebacks", "silent", "hangs", "outside") if found[name]} == {}, found[
        "first"
    ]
    assert sum(found["ended"].values()) == found["inputs"]


@pytest.mark.filterwarnings("ignore")  # libraries' talk of damaged files
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("images", marks=pytest.mark.slow), "tables", "names", "yaml", "json", "bundles",
        pytest.param("containers", marks=pytest.mark.slow), "annotations",
    ],
)  # fmt: skip
def test_a_tenth_of_the_faults(faults: ModuleType, tmp_path: Path, kind: str) -> None:
    found = faults.try_kind(kind, faults.COUNTS[kind] // 10, tmp_path, seed=1, share=10)
    check(found)
    if kind != "names":
        assert found["ended"]["refused"] > found["inputs"] // 5  # the damage is damage
    if kind != "tables":
        assert found["ended"]["read"] > 0


@pytest.mark.slow
def test_a_tenth_of_what_the_system_refuses(faults: ModuleType, tmp_path: Path) -> None:
    check(faults.try_kind("system refusals", 1, tmp_path, seed=1, share=10))


@pytest.mark.slow
def test_a_tenth_of_what_people_type(faults: ModuleType, tmp_path: Path) -> None:
    check(faults.try_kind("typed commands", 1, tmp_path, seed=1, share=10))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_tenth_of_the_damaged_records(faults: ModuleType, tmp_path: Path) -> None:
    check(faults.try_kind("records", 1, tmp_path, seed=1, share=11))


@pytest.mark.slow
def test_kills(faults: ModuleType, tmp_path: Path) -> None:
    found = faults.try_kind("kills", 2, tmp_path, seed=1, share=10)
    check(found)
    assert found["inputs"] == 2


def test_what_is_not_handled_is_counted(faults: ModuleType, tmp_path: Path) -> None:
    """The tally itself: each of the ways in which an input can end badly is seen."""
    from counterstain.errors import InputError

    tally = faults.files.Tally("x", tmp_path)

    def refuse() -> None:
        raise InputError("one line")

    def refuse_at_length() -> None:
        raise InputError("two\nlines")

    def crash() -> None:
        raise KeyError("x")

    def write() -> None:
        (Path(__file__).parent / "written_outside").write_text("x")
        (Path(__file__).parent / "written_outside").unlink()

    tally.one("a", "read", lambda: None)
    tally.one("a", "refused", refuse, wrong=True)
    assert tally.record()["first"] == []
    tally.one("a", "silent", lambda: None, wrong=True)
    tally.one("a", "lines", refuse_at_length)
    tally.one("a", "crash", crash)
    tally.one("a", "inside", lambda: (tmp_path / "inside").write_text("x"))
    assert tally.outside == []
    tally.one("a", "outside", write)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["faults_tally"], "LIMIT_S", 0.05)
        tally.one("a", "hang", lambda: __import__("time").sleep(5))
    found = tally.record()
    assert (found["inputs"], found["silent"], found["tracebacks"], found["hangs"]) == (8, 1, 2, 1)
    assert len({line.rpartition(": ")[2] for line in tally.outside}) == 1 and "written_outside" in tally.outside[0]
    text = faults.table({"yaml": found})
    assert "| 8 | " in text and "**8**" in text
