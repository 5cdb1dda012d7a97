"""Files of a finished run are those that it wrote, or are refused by name."""

import json
from pathlib import Path

import pytest

from counterstain.errors import InputError
from counterstain.files import hash_file, read_sums, write_csv, write_json
from counterstain.own_tables import read_rows
from counterstain.run_folder import as_written, listed_hashes, optional_record, record_path
from counterstain.tables import read_table

NAMES = ("records/scores.json", "records/comparison.json", "predictions/given/seed-0.csv")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "a"
    write_json(folder / NAMES[0], {"schema": "x", "n": 2})
    write_json(folder / NAMES[1], {"words": "no difference"})
    write_csv(folder / NAMES[2], ("image_path", "label"), [("a.png", "b")])
    write_json(record_path(folder, "run.json"), {"files": {name: hash_file(folder / name) for name in NAMES}})
    return folder


def test_what_was_written_is_read(run: Path) -> None:
    assert optional_record(run, "scores.json")["n"] == 2
    assert optional_record(run, "comparison.json") == {"words": "no difference"}
    assert optional_record(run, "findings.json") == {}
    assert read_table(run / NAMES[2]).text("label", strip=False) == ("b",)
    assert sorted(listed_hashes(run)) == sorted(NAMES)


@pytest.mark.parametrize("damage", [b"{}", b'{"words": "A is better"}', b"", None])
def test_a_record_that_changed_or_is_missing_is_refused_with_the_way_out(run: Path, damage: bytes | None) -> None:
    """`{}` read as if nothing had been compared; what is gone was never missed."""
    path = record_path(run, "comparison.json")
    path.unlink() if damage is None else path.write_bytes(damage)
    state = "is missing from a finished run" if damage is None else "has changed since the run was finished"
    with pytest.raises(InputError, match=rf"comparison\.json {state}; .* remove .*run\.json and run the study again"):
        optional_record(run, "comparison.json")
    record_path(run, "run.json").unlink()  # a run that goes on has no list yet
    if damage == b"{}":
        assert optional_record(run, "comparison.json") == {}


@pytest.mark.parametrize("read", [read_table, read_rows, as_written])
def test_a_table_of_a_run_is_held_against_its_list_wherever_it_is_read(
    run: Path, read: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run / NAMES[2]
    path.write_text("image_path,label\na.png,c\n")
    monkeypatch.chdir(run / "predictions")
    for named in (path, Path("given/seed-0.csv"), Path("../predictions/given/seed-0.csv").absolute().resolve()):
        with pytest.raises(InputError, match=r"seed-0\.csv has changed since the run was finished"):
            read(named)  # type: ignore[operator]
    monkeypatch.chdir(run.parent)
    with pytest.raises(InputError, match=r"^a/predictions/given/seed-0\.csv has .* remove a/records/run\.json and run"):
        as_written(Path("a") / NAMES[2])
    own = run / "predictions" / "mine.csv"  # no list names it
    own.write_text("image_path,label\na.png,c\n")
    read(own)  # type: ignore[operator]


@pytest.mark.parametrize(
    "record", [{}, {"files": []}, {"files": {"../x": "0" * 64}}, {"files": {"/x": "0" * 64}}, {"files": {"x": "0"}}]
)
def test_a_list_that_was_changed_is_refused_in_one_line(run: Path, record: object) -> None:
    record_path(run, "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"run\.json does not list files with hashes.*run the study again") as refusal:
        optional_record(run, "comparison.json")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["", "x\n", "0" * 64 + "  a", "0" * 64 + "  ../a\n", "0" * 64 + "  \n", "\xff\n"])
def test_sums_are_read_strictly(tmp_path: Path, text: str) -> None:
    """An empty list found every file whole: there was none."""
    (tmp_path / "SHA256SUMS").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match="is not a hash with a file name") as refusal:
        read_sums(tmp_path / "SHA256SUMS")
    assert "\n" not in str(refusal.value)
