"""What may not be read or entered, what has no room, and outputs that are no folder: one line, before the work."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from counterstain.cli import app
from counterstain.cli.options import system_words
from counterstain.cohort.layouts import read_folder
from counterstain.cohort.manifest import read_manifest
from counterstain.errors import InputError
from counterstain.files import check_writable, read_json, write_json
from counterstain.study.cleanup import clean
from counterstain.study.run_list import list_runs
from counterstain.study.verify import verify


def deny(patch: pytest.MonkeyPatch, owner: object, name: str, word: str) -> None:
    """Let a function of the system refuse whatever has `word` in its path; as root nothing is refused."""
    real = getattr(owner, name)

    def refusing(path: object, *more: object, **options: object) -> object:
        if word in str(path):
            if name == "access":
                return False
            raise PermissionError(13, os.strerror(13), str(path))
        return real(path, *more, **options)

    patch.setattr(owner, name, refusing)


def test_a_record_that_may_not_be_read_is_that_run_s_line_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        write_json(tmp_path / name / "records/run.json", {"files": {}})
        write_json(tmp_path / name / "records/scores.json", {"arms": {}})
    deny(monkeypatch, Path, "read_text", "b/records/scores.json")
    with pytest.raises(InputError, match=r"scores\.json: permission is denied; .*change its permissions"):
        read_json(tmp_path / "b/records/scores.json")
    sentences = {row.name: row.sentence for row in list_runs(tmp_path).rows}
    assert "permission is denied" in sentences["b"] and "permission" not in sentences["a"]


def test_a_folder_that_may_not_be_entered_holds_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("s/runs/a", "locked/runs/b"):
        write_json(tmp_path / name / "records/run.json", {"files": {}})
    deny(monkeypatch, os, "access", "locked")
    deny(monkeypatch, Path, "is_file", "locked")
    deny(monkeypatch, Path, "is_dir", "locked/")
    assert clean(tmp_path).found == ()


def test_an_image_that_may_not_be_looked_at_is_not_said_to_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        Image.new("RGB", (32, 32)).save(tmp_path / label / f"{label}1.png")
    (tmp_path / "t.csv").write_text("image_path,label\na/a1.png,a\nb/b1.png,b\n")
    assert len(read_folder(tmp_path)) == len(read_manifest(tmp_path / "t.csv")) == 2
    deny(monkeypatch, os, "lstat", "b1.png")
    with pytest.raises(InputError, match=r"b1\.png: permission is denied"):
        read_manifest(tmp_path / "t.csv")


def test_verify_names_what_it_may_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / "records/scores.json", {})
    write_json(tmp_path / "records/run.json", {"files": {"records/scores.json": "0" * 64}})
    assert verify(tmp_path).changed == ("records/scores.json",)
    deny(monkeypatch, Path, "open", "scores.json")
    with pytest.raises(InputError, match=r"scores\.json: permission is denied"):
        verify(tmp_path)


@pytest.mark.parametrize("line", ["phantom --out", "demo --out", "lr-find study.yaml --out", "audit . --out"])
def test_a_device_or_a_file_is_no_folder_to_write_and_that_is_said_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """An audit looked for copies to the end, and then found that /dev/null/pairs.csv can't be."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text("name: x\n")
    (tmp_path / "file").write_text("mine")
    for place in ("/dev/null", "file"):
        done = CliRunner().invoke(app, [*line.split(), place])
        assert done.exit_code == 2, done.output
        assert f"{place}: there is a file where a folder is needed" in " ".join(done.stderr.split())
    assert (tmp_path / "file").read_text() == "mine"


def test_a_pipe_is_no_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    check_writable(tmp_path / "pipe")
    with pytest.raises(InputError, match="a file where a folder is needed"):
        check_writable(tmp_path / "pipe", folder=True)


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        ImportError("x.so: cannot open shared object file: Cannot allocate memory"), MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] can't allocate memory: you tried to allocate 9 bytes"),
    ],
)  # fmt: skip
def test_want_of_memory_is_one_line(error: Exception) -> None:
    assert (system_words(error) or "").startswith("there is not enough memory")
    for other in (ImportError("cannot import name 'x'"), RuntimeError("boom")):
        assert system_words(other) is None


@pytest.mark.slow
@pytest.mark.parametrize("most", [100_000_000, 300_000_000, 1_200_000_000])
def test_no_room_for_libraries_is_one_line(tmp_path: Path, most: int) -> None:
    """`ulimit -v`: shared objects that can't be mapped were tracebacks of ImportError."""
    command = [sys.executable, "-m", "counterstain", "phantom" if most > 200_000_000 else "--help", "--out", "x"]
    done = subprocess.run(
        command[:4] if most < 200_000_000 else command, capture_output=True, text=True, cwd=tmp_path, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (most, most)), timeout=300,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 2)
