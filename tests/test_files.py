"""Files are whole or not there."""

import json
from pathlib import Path

import pytest

from counterstain.errors import InputError, suggest
from counterstain.files import hash_file, hash_json, read_json, write_bytes, write_csv, write_json, write_with


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
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


def test_suggestions_name_the_nearest() -> None:
    assert suggest("epoch", ["epochs", "batch"]) == "; did you mean 'epochs'?"
    assert suggest("zzz", ["epochs", "batch"]) == "; known: epochs, batch"
