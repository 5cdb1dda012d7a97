"""`clean`: what goes is said first, nothing goes without --yes, and what is not finished is never touched."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from counterstain.cli import app
from counterstain.errors import InputError
from counterstain.study.cleanup import clean
from counterstain.study.completion import lock


def run(home: Path, name: str, when: int, *, finished: bool = True) -> Path:
    folder = home / "runs" / name
    (folder / "records").mkdir(parents=True)
    (folder / "records" / "resolved.json").write_text("{}")
    (folder / ".lock").touch()
    if finished:
        (folder / "records" / "run.json").write_text("{}")
    for path in folder.rglob("*.json"):
        os.utime(path, (when, when))
    return folder


def store(home: Path, name: str, size: int = 1000) -> Path:
    folder = home / "store" / name
    folder.mkdir(parents=True)
    (folder / "store.json").write_text("{}")
    (folder / "tiles.npy").write_bytes(bytes(size))
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A study run three times, another one once, one that was stopped, a store, and what is not ours."""
    for number, name in enumerate(("demo", "demo-2", "demo-3", "own-2", "demo-4")):
        run(tmp_path / "a", name, 1000 + number, finished=name != "demo-4")
    store(tmp_path / "a", "k1")
    (tmp_path / "a" / "store" / "mine").mkdir()
    (tmp_path / "a" / "store" / "mine" / "tiles.npy").write_bytes(b"x")
    return tmp_path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_goes_is_said_and_stays_until_yes(home: Path) -> None:
    before = sorted(home.rglob("*"))
    found = clean(home)
    assert [(Path(one.path).name, one.kind) for one in found.found] == [
        ("k1", "store"), ("demo-2", "run"), ("demo", "run"),
    ]  # fmt: skip
    assert found.found[0].size == 1002 and found.size == 1002 + 4 + 4
    assert sorted(home.rglob("*")) == before and not found.removed
    assert "demo-3 is newer" in found.summary() and found.summary().endswith("3 folders, 1.0 kB can be removed")
    done = clean(home, yes=True)
    assert done.removed and names(home / "a" / "runs") == {"demo-3", "demo-4", "own-2"}
    assert names(home / "a" / "store") == {"mine"}
    assert clean(home).summary() == "nothing to remove"


def test_of_each_study_as_many_runs_stay_as_are_asked_for(home: Path) -> None:
    assert [Path(one.path).name for one in clean(home, keep=2, stores=False).found] == ["demo"]
    assert [one.kind for one in clean(home, runs=False).found] == ["store"]
    with pytest.raises(InputError, match="keep is 0"):
        clean(home, keep=0)


@pytest.mark.skipif(not Path("/proc/locks").is_file(), reason="the system does not tell who holds a lock")
def test_a_store_beside_a_running_run_stays(home: Path) -> None:
    with lock(home / "a" / "runs" / "demo-4"):
        found = clean(home)
    assert [one.kind for one in found.found] == ["run", "run"]
    assert len(found.kept) == 1 and "k1, which" in found.kept[0] and "demo-4 may be reading" in found.kept[0]


def test_the_command_removes_with_yes_alone(home: Path) -> None:
    answer = CliRunner().invoke(app, ["clean", str(home)])
    assert answer.exit_code == 0 and "nothing was removed; add --yes" in answer.stderr
    assert "store " in answer.stdout and names(home / "a" / "store") == {"k1", "mine"}
    assert CliRunner().invoke(app, ["clean", str(home), "--no-runs", "--yes"]).exit_code == 0
    assert names(home / "a" / "store") == {"mine"} and "demo" in names(home / "a" / "runs")


def test_links_are_not_followed(home: Path, tmp_path: Path) -> None:
    outside = store(tmp_path / "elsewhere", "k9")
    (home / "a" / "store" / "k2").symlink_to(outside, target_is_directory=True)
    clean(home / "a", yes=True)
    assert outside.is_dir()
