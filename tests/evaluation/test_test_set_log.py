"""The ledger of looks: what is written, what is counted and what is said."""

import calendar
import csv
import time
from dataclasses import replace
from pathlib import Path

import pytest

from counterstain.errors import InputError
from counterstain.evaluation import test_set_log
from counterstain.evaluation.test_set_log import LEDGER, LoggedUse, note_tables, read_uses, record_use, uses_in_words
from counterstain.files import hash_file, hash_json

LOOK = LoggedUse(study="s", run="r", model="m", part="test", data_hash="d", images=9, purpose="report", key="k")


def rows(folder: Path) -> list[list[str]]:
    with (folder / LEDGER).open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    stamped = replace(LOOK, time_utc="2026-01-02T03:04:05Z", model="=cmd", study='é, "x"')
    assert record_use(tmp_path, stamped) == 1
    assert read_uses(tmp_path) == (stamped,)
    header, line = rows(tmp_path)
    assert header == list(LoggedUse.__dataclass_fields__)
    assert line == ['é, "x"', "r", "'=cmd", "test", "d", "9", "report", "k", "2026-01-02T03:04:05Z"]
    assert (tmp_path / LEDGER).read_bytes().endswith(b"Z\n")
    assert oct((tmp_path / LEDGER).stat().st_mode)[-3:] in ("644", "640", "600")


def test_a_look_without_a_time_is_stamped(tmp_path: Path) -> None:
    record_use(tmp_path, LOOK)
    (own,) = read_uses(tmp_path)
    assert abs(calendar.timegm(time.strptime(own.time_utc, "%Y-%m-%dT%H:%M:%SZ")) - time.time()) < 600
    assert replace(own, time_utc="") == LOOK
    assert "time_utc" not in own.to_record() and own.to_record()["images"] == 9


def test_the_same_key_is_the_same_look(tmp_path: Path) -> None:
    assert record_use(tmp_path, LOOK) == 1
    assert record_use(tmp_path, replace(LOOK, study="other")) == 1
    assert record_use(tmp_path, replace(LOOK, key="l")) == 2
    assert record_use(tmp_path, replace(LOOK, key="m", data_hash="e")) == 1
    assert record_use(tmp_path, LOOK) == 2
    assert [line[7] for line in rows(tmp_path)[1:]] == ["k", "l", "m"]


def test_a_count_that_is_no_number_is_nothing(tmp_path: Path) -> None:
    record_use(tmp_path, LOOK)
    path = tmp_path / LEDGER
    path.write_text(path.read_text().replace(",9,", ",nine,"))
    assert read_uses(tmp_path)[0].images == 0


@pytest.mark.parametrize("text", ["", "a,b\n", "study,run\n"])
def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / LEDGER).write_text(text)
    with pytest.raises(InputError, match="is not a log of test-set uses; move it, or name another folder with"):
        read_uses(tmp_path)


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([("s", "m")], "once: 1 model of 1 study"),
        ([("s", "m"), ("s", "m")], "twice: 1 model of 1 study"),
        ([("s", "m"), ("s", "n")], "once: 2 models of 1 study"),  # the arms of one run are looked at together
        ([("s", "m"), ("s", "n"), ("s", "n")], "twice: 2 models of 1 study"),
        ([("s", "m"), ("t", "m")], "twice: 2 models of 2 studies"),
    ],
)
def test_what_is_said(looks: list[tuple[str, str]], expected: str) -> None:
    known = [replace(LOOK, study=study, model=model) for study, model in looks] + [replace(LOOK, data_hash="e")]
    said = uses_in_words(known, "d")
    assert said[0] == f"this test part has been used {expected}"
    warning = "later experiments were chosen with knowledge of the first result: their p-values are too small"
    assert said[1:] == ((warning,) if "studies" in expected else ())
    assert uses_in_words(known, "f") == ("no use of this test part is on record",)


def test_anyones_tables_are_one_look(tmp_path: Path, random_table) -> None:  # type: ignore[no-untyped-def]
    paths = [tmp_path / name for name in ("one.csv", "two.csv")]
    for path in paths:
        path.write_text(path.name)
    table = random_table(0, images=30)
    assert note_tables(tmp_path, paths, table) == ["this test part has been used once: 1 model of 1 study"]
    note_tables(tmp_path, paths, table)
    (own,) = read_uses(tmp_path)
    assert (own.study, own.run, own.model, own.part, own.purpose) == ("evaluate", "", "one.csv", "test", "evaluate")
    assert own.images == 30
    assert own.data_hash == hash_json({"images": sorted(table.image)})
    assert own.key == hash_json({"tables": [hash_file(path) for path in paths]})
    assert note_tables(tmp_path, paths[1:], table) == ["this test part has been used twice: 2 models of 1 study"]


def test_a_ledger_that_cannot_be_written_is_the_users_to_move(
    tmp_path: Path,
    random_table,
    monkeypatch: pytest.MonkeyPatch,  # type: ignore[no-untyped-def]
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(test_set_log, "record_use", refuse)
    (tmp_path / "a.csv").write_text("a")
    message = r"^the ledger in .* cannot be written \(Permission denied\); name another folder$"
    with pytest.raises(InputError, match=message):
        note_tables(tmp_path, [tmp_path / "a.csv"], random_table(0))
