"""Tables as people's programs write them: every dialect gives the same cells, and every fault is one line."""

import codecs
import csv
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterstain.columns import ALIASES, find_column, name_key, parse_columns, unused_ids
from counterstain.errors import InputError
from counterstain.files import safe_cell, write_csv
from counterstain.tables import parse_number, read_cells, read_table

ROWS = [["image", "label", "prob_malignant"], ["ä b.png", "benign", "0.25"], ["c.png", "malignant", "1e-3"]]


def table_text(separator: str, *, decimal: str = ".", end: str = "\n", quoted: bool = False) -> str:
    rows = [[cell.replace(".", decimal) if cell[0].isdigit() else cell for cell in row] for row in ROWS]
    mark = '"' if quoted else ""
    return end.join(separator.join(f"{mark}{cell}{mark}" for cell in row) for row in rows) + end


def put(folder: Path, content: bytes | str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(("separator", "decimal"), [(",", "."), (";", "."), (";", ","), ("\t", ","), ("|", ".")])
@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_every_dialect_gives_the_same_cells(
    tmp_path: Path, quoted: bool, end: str, separator: str, decimal: str, coding: str
) -> None:
    text = table_text(separator, decimal=decimal, end=end, quoted=quoted)
    table = read_table(put(tmp_path, text.encode(coding)))
    assert table.header == tuple(ROWS[0])
    assert table.text("image") == ("ä b.png", "c.png")
    values, bad = table.numbers("prob_malignant")
    assert values.tolist() == [0.25, 0.001]
    assert not bad.any()
    assert (table.line(0), table.line(1)) == (2, 3)
    assert bool(table.notes) == (coding == "cp1252")


def test_parquet_reads_as_its_csv_does(tmp_path: Path) -> None:
    columns = {
        "id": pa.array([7.0, None]),
        "n": pa.array([3, None]),
        "p": pa.array([0.1, 1 / 3]),
        "s": pa.array(["x", None]),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert read_cells(tmp_path / "t.parquet") == {
        "id": ["7", ""], "n": ["3", ""], "p": ["0.1", repr(1 / 3)], "s": ["x", ""],
    }  # fmt: skip
    coded = pa.table({"s": pa.array(["x", "y", "x"]).dictionary_encode()})
    pq.write_table(coded, tmp_path / "coded.data")  # known by its first bytes, whatever its name
    assert read_cells(tmp_path / "coded.data") == {"s": ["x", "y", "x"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"a,b\n1,2\n3\n", "line 3 has 1 cells, the header 2"),
        (b"a,b\n\n1,2\n\n3\n", "line 5 has 1 cells"),
        (b'a,b\n"x\ny",2\n3\n', "line 4 has 1 cells"),
        (b"a;b\n1;2;3\n", "line 2 has 3 cells, the header 2; .*separator ';' is not quoted"),
        (b'a,b\n"1,2\n', "line 2 is not CSV"),
        (b"a,b,a\n1,2,3\n", "two columns named 'a'"),
        (b"x.png,0.9,0.1\ny.png,0.2,0.8\n", "no header line: it starts with x.png, 0.9, 0.1"),
        (b"PK\x03\x04" + b"\0" * 60, "an Excel workbook or a .zip; save the sheet as 'CSV UTF-8'"),
        (b"\xd0\xcf\x11\xe0 old", "an old Excel workbook"),
        (b"\x1f\x8b\x08rest", "compressed by gzip; unpack it first: gunzip t.csv"),
        (b"\x89HDF\r\n", "an HDF5 file"),
        (b"\x80\x04\x95pickled", "a Python pickle; .*never opened"),
        (b'{"a": 1}', "JSON"),
        (b"<html>", "HTML or XML"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "it is no text"),
        (b"a,b\n1,\0\n", "it is no text"),
        (b"PAR1 no table", "not a Parquet file"),
    ],
)
def test_what_is_no_table_is_said_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_table(put(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_excel_says_its_separator_and_leaves_empty_columns(tmp_path: Path) -> None:
    table = read_table(put(tmp_path, "sep=;\r\na,x;b;;\r\n1;2;;\r\n3;4;;\r\n"))
    assert table.header == ("a,x", "b")
    assert table.text("b") == ("2", "4")
    assert table.line(1) == 4


def test_the_header_decides_the_separator_outside_quotes(tmp_path: Path) -> None:
    assert read_cells(put(tmp_path, 'a;"b, c, d, e"\n1;2\n')) == {"a": ["1"], "b, c, d, e": ["2"]}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_pipes_and_devices_are_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    code = (
        "import sys; from pathlib import Path; from counterstain.tables import read_table\n"
        "from counterstain.errors import InputError\n"
        "for name in sys.argv[1:]:\n"
        "    try: read_table(Path(name))\n"
        "    except InputError as error: print(error)\n"
    )
    names = [str(tmp_path / "pipe.csv"), "/dev/zero", "/dev/null"]
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, timeout=60, check=True)
    assert [line.split(";")[0].split(" is ")[1] for line in done.stdout.splitlines()] == [
        "no file but a pipe", "no file but a device", "no file but a device",
    ]  # fmt: skip


def test_a_size_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path, "a,b\n1,2\n")
    monkeypatch.setattr("counterstain.tables.MOST_BYTES", 7)
    with pytest.raises(InputError, match="is larger than"):
        read_table(path)
    monkeypatch.setattr("counterstain.tables.MOST_BYTES", 8)
    assert len(read_table(path)) == 1
    many = pa.table({"a": pa.array(["x"] * 100_000)})  # unpacks to far more than it takes on disk
    monkeypatch.setattr("counterstain.tables.MOST_BYTES", 100_000)
    monkeypatch.setattr("counterstain.tables.MOST_CELLS", 99_999)
    pq.write_table(many, tmp_path / "t.parquet")
    with pytest.raises(InputError, match="100,000 rows of 1 columns; at most"):
        read_table(tmp_path / "t.parquet")


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@settings(max_examples=60)
@given(
    rows=st.lists(st.tuples(cells, cells), min_size=1, max_size=5),
    separator=st.sampled_from(",;\t|"),
    coding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_any_cells_survive_any_dialect(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], separator: str, coding: str
) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(
        [("first", "second"), *((safe_cell(a), safe_cell(b)) for a, b in rows)]
    )
    path = put(tmp_path_factory.mktemp("cells"), text.getvalue().encode(coding))
    assert read_cells(path) == {"first": [a for a, _ in rows], "second": [b for _, b in rows]}


@settings(max_examples=60)
@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=6), st.sampled_from(".,"))
def test_numbers_keep_every_bit(tmp_path_factory: pytest.TempPathFactory, numbers: list[float], decimal: str) -> None:
    text = "n;m\n" + "".join(f"{number!r};x\n".replace(".", decimal) for number in numbers)
    values, bad = read_table(put(tmp_path_factory.mktemp("numbers"), text)).numbers("n")
    assert not bad.any()
    assert values.tobytes() == np.array(numbers).tobytes()


def test_quoted_and_plain_rows_are_read_alike(tmp_path: Path) -> None:
    """Arrow reads what has no quotes, Python the rest: one quote anywhere changes no cell."""
    plain = "a,b\n" + "".join(f"{k} x , {k / 7!r}\n" for k in range(500))
    quoted = plain.replace("\n3 x ,", '\n"3 x ",')
    assert quoted != plain
    assert read_cells(put(tmp_path, plain)) == read_cells(put(tmp_path, quoted, "q.csv"))


def test_numbers_by_hand(tmp_path: Path) -> None:
    assert [parse_number(text) for text in ("0,5", "1.234,5", "1_0", "85 %", "x", "-2")] == [
        0.5,
        None,
        None,
        85,
        None,
        -2,
    ]
    values, bad = read_table(put(tmp_path, "n;k\n0,5;a\n;b\nNA;c\nwide;d\n7;e\n")).numbers("n")
    np.testing.assert_array_equal(values, [0.5, np.nan, np.nan, np.nan, 7])
    assert bad.tolist() == [False, False, False, True, False]


def test_what_we_guard_from_spreadsheets_reads_back(tmp_path: Path) -> None:
    odd = ["=1+1", "@x", "-3", "'quoted'", "'=x", "\tx"]
    write_csv(tmp_path / "t.csv", ["=name", "n"], [[cell, 1] for cell in odd])
    assert read_cells(tmp_path / "t.csv")["=name"] == odd


# ------------------------------------------------------------------------------------------------------------ columns


def test_names_are_compared_by_their_letters_alone() -> None:
    spellings = ["patient_id", "PatientID", "PATIENT-ID", "patient id", "Patient.Id", " patientId "]
    assert len({name_key(name) for name in spellings}) == 1
    assert name_key("µm/px") == name_key("μm/px") == name_key("um_px")  # two characters look like µ


def test_a_column_is_found_by_the_best_name(tmp_path: Path) -> None:
    assert find_column("image_path", ["id", "Name", "File Name"], {}, "t") == "File Name"
    assert find_column("image_path", ["image_id", "name"], {}, "t") == "image_id"
    assert find_column("patient_id", ["Case", "patient_id"], {}, "t") == "patient_id"
    assert find_column("patient_id", ["Case", "patient_id"], {"patient_id": "Case"}, "t") == "Case"
    assert find_column("patient_id", ["Case"], {"label": "Case"}, "t") == ""
    with pytest.raises(
        InputError, match=r"2 columns that could be patient_id: 'Case', 'Subject'.*--columns patient_id=Case"
    ):
        find_column("patient_id", ["Case", "Subject"], {}, "t")


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["label=GT,patient_id=Case"], {"label": "GT", "patient_id": "Case"}),
        (["label=GT", "patient_id=Case"], {"label": "GT", "patient_id": "Case"}),
        (['prob_malignant="Score (%)", label=GT'], {"prob_malignant": "Score (%)", "label": "GT"}),
        (["prob_a=P, in percent,label=GT"], {"prob_a": "P, in percent", "label": "GT"}),
        (["patient_id="], {"patient_id": ""}),
        (["prob_high grade=x=y"], {"prob_high grade": "x=y"}),
    ],
)
def test_columns_of_a_command(texts: list[str], found: dict[str, str]) -> None:
    assert parse_columns(texts) == found


@pytest.mark.parametrize(
    ("text", "message"), [("label", "write our name="), ("a=b,a=c", "names a twice"), ("=x", "write")]
)
def test_columns_that_say_nothing_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_columns([text])


def test_ids_that_are_not_used_are_named() -> None:
    header = ["image_path", "Patient Nr", "caseNumber", "WSI", "staircase", "label", "SUBJECT_KEY"]
    assert unused_ids(header, {"image_path", "label"}) == ["Patient Nr", "caseNumber", "WSI", "SUBJECT_KEY"]


def test_reading_a_table_loads_neither_pandas_nor_torch(tmp_path: Path) -> None:
    path = put(tmp_path, "a,b\n1,2\n")
    code = (
        "import sys; from pathlib import Path; from counterstain.tables import read_table;"
        f"read_table(Path({str(path)!r}));"
        "print([name for name in ('pandas', 'torch', 'sklearn', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_utf16_without_a_mark_is_known_by_its_zeros(tmp_path: Path) -> None:
    assert codecs.BOM_UTF16_LE not in "a".encode("utf-16-le")
    assert read_cells(put(tmp_path, "a;b\n1;2\n".encode("utf-16-le"))) == {"a": ["1"], "b": ["2"]}


def test_the_page_on_tables_names_every_alias() -> None:
    page = (Path(__file__).parent.parent / "docs" / "tables.md").read_text(encoding="utf-8")
    listed = {name_key(word) for word in re.split(r"[,;|:`]| and then | then |: ", page)}
    shown = ("image_path", "label", "patient_id", "slide_id", "site", "mpp", "split", "fold", "repeat", "predicted")
    missing = {alias for noun in shown for alias in ALIASES[noun] if name_key(alias) not in listed}
    assert not missing
