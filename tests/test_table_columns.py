"""A table is the same with pyarrow and without it: the same cells, numbers, messages and lines."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from counterstain import table_columns, tables
from counterstain.errors import InputError
from counterstain.tables import Table, read_table, table_of_frame

CELLS = st.one_of(
    st.sampled_from(["", "0,5", "12 %", "nan", "N/A", " 7 ", "1e-5", "-3", "'=1+1", "1_0", "inf", "0x1", "α"]),
    st.floats(allow_nan=False).map(repr),
    st.text("ab,; '\t.5é", max_size=4),
)


def without_arrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_columns, "has_arrow", lambda: False)
    monkeypatch.setattr(tables, "has_arrow", lambda: False)


def contents(table: Table) -> list[object]:
    """All that can be asked of a table, NaN as text."""
    found: list[object] = [len(table), table.header, table.notes]
    for name in table.header:
        values, odd = table.numbers(name)
        cells, codes = table.distinct(name)
        found += [table.text(name), table.text(name, strip=False), cells, codes.tolist()]
        found += [[repr(value) for value in values.tolist()], odd.tolist()]
        found += [[table.cell(name, row) for row in range(len(table))]]
    return found


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6), separator=st.sampled_from(",;\t"))
def test_any_table_reads_alike(rows: list[tuple[str, str]], separator: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    quoted = [[f'"{cell}"' if set(cell) & set(",;\t'") else cell for cell in row] for row in rows]
    path.write_text("\n".join(separator.join(row) for row in [["a", "b"], *quoted]) + "\n", encoding="utf-8")
    by_arrow = contents(read_table(path))
    with pytest.MonkeyPatch.context() as patch:
        without_arrow(patch)
        plain = read_table(path)
        assert all(isinstance(column, tuple) for column in plain.columns.values())
        assert contents(plain) == by_arrow


FRAMES = [
    pd.DataFrame({"id": [7.0, np.nan, 9.0], "p": [0.1, 1 / 3, np.nan], "n": [1, 2, 3]}),
    pd.DataFrame({"name": ["a", None, "'=b"], "flag": [True, False, True], "raw": [b"x", None, b"y"]}),
    pd.DataFrame({"class": pd.Categorical(["u", None, "v"]), "whole": pd.array([1, None, 3], dtype="Int64")}),
    pd.DataFrame({"x": [0.5]}, index=pd.Index(["P1"], name="patient")),
    pd.DataFrame({"f32": np.array([0.1, 2.0], np.float32)}),
]


@pytest.mark.parametrize("frame", FRAMES, ids=range(len(FRAMES)))
def test_any_frame_reads_alike(frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    by_arrow = contents(table_of_frame(frame))
    without_arrow(monkeypatch)
    assert contents(table_of_frame(frame)) == by_arrow


def test_mixed_kinds_are_refused_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"id": ["a", 1]})
    with pytest.raises(InputError, match="neither text nor a number"):
        table_of_frame(frame)
    without_arrow(monkeypatch)
    with pytest.raises(InputError, match=r"column 'id' mixes text and numbers.*astype\(str\)"):
        table_of_frame(frame)


def test_parquet_without_pyarrow_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.parquet"
    pd.DataFrame({"a": [1]}).to_parquet(path)
    without_arrow(monkeypatch)
    with pytest.raises(InputError, match=r"pip install 'counterstain\[parquet\]', or write the table as CSV"):
        read_table(path)


def test_a_blocked_module_counts_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert table_columns.has_arrow()
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert not table_columns.has_arrow()
