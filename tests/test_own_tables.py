"""Tables of our own that something happened to: read, or refused in one line."""

from pathlib import Path

import pytest

from counterstain.audit.decisions import read_decisions, read_pairs
from counterstain.errors import InputError
from counterstain.evaluation.finding_scores import read_findings
from counterstain.evaluation.test_set_log import LEDGER, read_uses
from counterstain.files import write_csv
from counterstain.own_tables import read_rows
from counterstain.reports.explanation_embedding import read_points
from counterstain.study.training_curves import read_history

DAMAGE = {"noise": bytes(range(256)) * 9, "cut letter": "a,b\n\u00e9".encode()[:-1], "field": b"a,b\n" + b"x" * 200_000}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("read", [read_rows, read_decisions, read_pairs, read_findings, read_points, read_history])
def test_a_damaged_table_is_refused_in_one_line(tmp_path: Path, read: object, damage: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(DAMAGE[damage])
    with pytest.raises(InputError) as refusal:
        read(path)  # type: ignore[operator]
    assert "\n" not in str(refusal.value) and str(path) in str(refusal.value)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_log_of_uses_is_refused(tmp_path: Path, damage: str) -> None:
    (tmp_path / LEDGER).write_bytes(DAMAGE[damage])
    with pytest.raises(InputError, match=r"damaged|is not a log"):
        read_uses(tmp_path)


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    rows = [("=1+1", "a\nb"), ("'=x", "c\rd"), ("\u00e9", "")]
    write_csv(tmp_path / "t.csv", ("a", "b"), rows)
    assert [(row["a"], row["b"]) for row in read_rows(tmp_path / "t.csv", ("a",))] == rows
    with pytest.raises(InputError, match="no column 'z'"):
        read_rows(tmp_path / "t.csv", ("z",))


def test_short_and_long_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1\n1,2,3\n")
    assert read_rows(tmp_path / "t.csv") == [{"a": "1", "b": ""}, {"a": "1", "b": "2"}]
