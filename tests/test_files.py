"""Files are whole or not there."""

import csv
import errno
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from counterstain.errors import InputError, suggest
from counterstain.files import (
    append_row,
    check_writable,
    hash_file,
    hash_json,
    plain_cell,
    read_json,
    read_record,
    refusal,
    safe_cell,
    write_bytes,
    write_csv,
    write_json,
    write_with,
)
from counterstain.yaml_files import read_yaml


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError("disk full")

    with pytest.raises(InputError, match="disk full"):
        write_with(path, fail)
    assert read_json(path) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_json_has_no_nan_and_no_order(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": float("nan"), "a": (1, 2.5), "c": {"é": None}})
    assert json.loads(path.read_text()) == {"a": [1, 2.5], "b": None, "c": {"é": None}}
    assert hash_json({"a": 1, "b": [2]}) == hash_json({"b": (2,), "a": 1})
    assert hash_json({"a": 1}) != hash_json({"a": 2})


def test_csv_keeps_floats_exactly(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_csv(path, ("x", "y"), [(0.1 + 0.2, None), (1e-300, 'say "hi"')])
    assert path.read_bytes() == b'x,y\n0.30000000000000004,\n1e-300,"say ""hi"""\n'


def test_files_are_as_readable_as_any_other(tmp_path: Path) -> None:
    path, plain = tmp_path / "a", tmp_path / "b"
    write_bytes(path, "x")
    plain.write_text("x")
    assert path.stat().st_mode == plain.stat().st_mode
    assert hash_file(path) == hash_file(plain)


@pytest.mark.parametrize(("content", "word"), [("{", "not JSON"), ("[1]", "a list"), (None, "does not exist")])
def test_reading_what_is_no_record_is_refused(tmp_path: Path, content: str | None, word: str) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=word):
        read_json(path)


@pytest.mark.parametrize("content", [b"\xff\xfe{", b'{"a": "\xe4"}', b"[" * 100_000, b'{"a": ' * 100_000, b"9" * 5000])
def test_json_of_any_kind_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json") as refused:
        read_json(path)
    assert "\n" not in str(refused.value)


def test_a_record_states_its_schema(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"schema": "counterstain.a/1", "x": 1})
    assert read_record(path, "counterstain.a/1")["x"] == 1
    with pytest.raises(InputError, match=r"is of schema counterstain\.a/1; this version reads counterstain\.a/2"):
        read_record(path, "counterstain.a/2")
    path.write_text("{}")
    with pytest.raises(InputError, match="is of schema None"):
        read_record(path, "counterstain.a/1")


# ------------------------------------------------------------------------------------------------------------- YAML


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 2024-13-45", "has a value that YAML cannot read"),
        ("? [a, b]\n: c", "line 1: a key is a list or a mapping"),
        ("? {a: b}\n: c", "line 1: a key is a list or a mapping"),
        ('a: [!!int ""]', "has a value that YAML cannot read"),
        ("a: !!bool x", "has a value that YAML cannot read"),
        ("a: !!timestamp x", "has a value that YAML cannot read"),
        ("a: !!float x", "has a value that YAML cannot read"),
        ("a: " + "9" * 5000, "has a value that YAML cannot read"),
        ("a: !!binary x", "is not YAML"),
        ("a: {b: 1, b: 2}", "line 1: key 'b' appears twice"),
        ("a: [{b: 1}, {c: 1, c: 2}]", "line 1: key 'c' appears twice"),
        ("a: &x 1\nb: *x", "aliases"),
        ("a: " + "[" * 30 + "]" * 30, "nested deeper than 20"),
        ("a: !x 1", "is not YAML"),
        ("a: 1\n---\nb: 2", "is not YAML"),
        ("\x00", "is not YAML"),
        ("<<: 1", "is not YAML"),
        ("5", "holds a int, not settings"),
        ("", "holds nothing"),
    ],
)
def test_yaml_that_is_no_settings_is_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as refused:
        read_yaml(path, what="a study")
    assert "\n" not in str(refused.value)
    assert "s.yaml" in str(refused.value)


def test_yaml_is_read_whatever_its_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes("\ufeffa: [1, {b: ä}]\r\n".encode())
    assert read_yaml(path, what="a study") == {"a": [1, {"b": "ä"}]}
    path.write_bytes("a: Universität".encode("latin-1"))
    with pytest.raises(InputError, match=r"is not UTF-8 \(byte 0xe4 at 12\).*save it as UTF-8"):
        read_yaml(path, what="a study")
    with pytest.raises(InputError, match="has 14 bytes; a study of at most 10"):
        read_yaml(path, what="a study", largest=10)


@given(st.binary(max_size=60))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_settings_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(content)
    for read in (lambda: read_yaml(path, what="a study"), lambda: read_json(path)):
        try:
            assert isinstance(read(), dict)
        except InputError as error:
            assert "s.yaml" in str(error)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "s.yaml")
    for read in (lambda p: read_yaml(p, what="a study"), read_json):
        with pytest.raises(InputError, match="is no plain file"):
            read(tmp_path / "s.yaml")


def test_suggestions_name_the_nearest() -> None:
    assert suggest("epoch", ["epochs", "batch"]) == "; did you mean 'epochs'?"
    assert suggest("zzz", ["epochs", "batch"]) == "; known: epochs, batch"


# ------------------------------------------------------------------------------------------- what the system refuses


def test_a_folder_where_a_file_is_wanted_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"out: a folder of that name is there; .*name a file in it"):
        write_bytes(tmp_path / "out", "x")


def test_a_file_where_a_folder_is_wanted_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for attempt in (lambda p: write_bytes(p, "y"), check_writable):
        with pytest.raises(InputError, match=r"a\.csv: there is a file where a folder is needed"):
            attempt(tmp_path / "file" / "deep" / "a.csv")
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_that_leads_to_itself_is_named(tmp_path: Path) -> None:
    for first, second in (("a", "a"), ("b", "c"), ("c", "b")):
        (tmp_path / first).symlink_to(tmp_path / second)
    for name in "abc":
        for attempt in (lambda p: write_bytes(p, "x"), check_writable):
            with pytest.raises(InputError, match=f"{name}: this link leads to itself"):
                attempt(tmp_path / name)
    (tmp_path / "there").symlink_to(tmp_path / "new" / "file")  # one that leads nowhere yet is written through
    check_writable(tmp_path / "there")
    write_bytes(tmp_path / "there", "x")
    assert (tmp_path / "new" / "file").read_text() == "x" and (tmp_path / "there").is_symlink()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no space is left on the disk; what was finished before is kept; free some space"),
        (errno.EROFS, "the disk is read-only"),
        (errno.EACCES, "permission is denied"),
        (errno.EMFILE, "too many files are open"),
    ],
)
def test_a_refusal_of_the_system_is_one_line_and_keeps_the_old_file(tmp_path: Path, number: int, words: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError(number, os.strerror(number))

    with pytest.raises(InputError, match=f"a.csv: {words}") as raised:
        write_with(path, fail)
    assert "\n" not in str(raised.value)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize("text", ["can't write (errno = 28, error message = 'x')", "I/O error: full (os error 28)"])
def test_the_number_in_a_library_s_words_is_found(text: str) -> None:
    assert "no space is left" in refusal(OSError(text))


def test_a_pipe_and_a_device_are_written_to_and_never_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_bytes(pipe, "through")
    reader.join(10)
    assert got == [b"through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    with pytest.raises(InputError, match="/dev/full: no space is left"):
        write_bytes(Path("/dev/full"), "x")
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)
    write_bytes(Path("/dev/null"), "x")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "there")
    write_bytes(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there").read_text() == "new"


def test_names_as_long_as_the_system_allows_are_written(tmp_path: Path) -> None:
    write_bytes(tmp_path / ("n" * 251 + ".csv"), "x")
    with pytest.raises(InputError, match="longer than the system allows"):
        write_bytes(tmp_path / ("n" * 300), "x")


def test_what_a_killed_process_left_half_written_is_swept_by_the_next(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from counterstain.files import write_with;"
        "write_with(Path(sys.argv[1]), lambda p: (p.write_text('half'), os.kill(os.getpid(), 9)))"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.csv")], check=False)
    assert [entry.read_text() for entry in tmp_path.iterdir()] == ["half"]
    (tmp_path / ".other.file").write_text("not ours")
    write_bytes(tmp_path / "b.csv", "x")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".other.file", "b.csv"]


# ----------------------------------------------------------------------------------------------- cells of a spreadsheet


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-x", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''@x"])
def test_a_formula_is_written_as_text_and_reads_back_equal(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.csv"
    write_csv(path, ("name",), [(text,)])
    with path.open(newline="") as stream:
        cell = list(csv.reader(stream))[1][0]
    assert cell[0] == "'"
    assert plain_cell(cell) == text


@pytest.mark.parametrize("cell", [-0.5, "-0.5", "+3e-4", "plain", "'quoted'", "", "a=b"])
def test_numbers_and_plain_text_are_written_as_they_are(cell: object) -> None:
    assert safe_cell(cell) == cell
    assert plain_cell(str(cell)) == str(cell)


def test_rows_that_are_added_are_read_back_as_those_that_are_written(tmp_path: Path) -> None:
    """A carriage return is quoted, a formula is none, and the header is there once."""
    rows = [("a", "one\rtwo"), ("b", "=1+1"), ("c", "x,y\nz"), ("d", None)]
    for row in rows:
        append_row(tmp_path / "added.csv", ("name", "text"), row)
    write_csv(tmp_path / "written.csv", ("name", "text"), rows)
    assert (tmp_path / "added.csv").read_bytes() == (tmp_path / "written.csv").read_bytes()
