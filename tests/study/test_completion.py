"""A stage is skipped only while its inputs and its outputs are what they were."""

import subprocess
import sys
from pathlib import Path

import pytest

from counterstain.errors import InputError
from counterstain.run_folder import record_path
from counterstain.study.completion import is_done, lock, mark_done


def test_a_stage_is_done_until_something_changes(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("x")
    assert not is_done(tmp_path, "a/b", {"in": 1})
    mark_done(tmp_path, "a/b", {"in": 1}, [out])
    assert is_done(tmp_path, "a/b", {"in": 1})
    assert not is_done(tmp_path, "a/b", {"in": 2})
    out.write_text("y")
    assert not is_done(tmp_path, "a/b", {"in": 1})
    out.unlink()
    assert not is_done(tmp_path, "a/b", {"in": 1})


def test_two_processes_cannot_write_one_run(tmp_path: Path) -> None:
    imports = "from pathlib import Path; from counterstain.study.completion import lock"
    code = f"{imports}\nwith lock(Path({str(tmp_path)!r})): pass"
    with lock(tmp_path):
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "another process" in found.stderr
        with pytest.raises(InputError, match="another process"), lock(tmp_path):
            pass
    with lock(tmp_path):
        pass


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b'{"inputs": 1, "outputs": 2}', bytes(range(256))])
def test_a_stage_whose_record_is_damaged_is_done_again(tmp_path: Path, damage: bytes) -> None:
    """`{}` in it was a KeyError of the run."""
    mark_done(tmp_path, "a", {"in": 1}, [])
    assert is_done(tmp_path, "a", {"in": 1})
    record_path(tmp_path, "stages/a.json").write_bytes(damage)
    assert not is_done(tmp_path, "a", {"in": 1})
