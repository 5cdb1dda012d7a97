"""Ids of a table: what nobody sees, what says that there is none, and what a spreadsheet spoils for good."""

from pathlib import Path

import pytest
from PIL import Image

from counterstain.cohort.cohort_columns import label_key
from counterstain.cohort.manifest import read_manifest
from counterstain.errors import InputError
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.id_cells import counting_ids, plain_ids


def ids(*values: str) -> list[str]:
    return plain_ids(values, {""}, "row {}".format)


@pytest.mark.parametrize("mark", ["\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u200e", "\u00a0", "\n", "\t"])
def test_what_nobody_sees_makes_no_second_patient(mark: str) -> None:
    assert ids("P 1", f"P 1{mark}", f"{mark}P 1", "P\u00a01") == ["P 1"] * 4


@pytest.mark.parametrize("word", ["?", "-", "—", "unknown", "Unknown ", "#N/A", "#REF!", "not available", ""])
def test_words_that_name_nobody_are_no_patient(word: str) -> None:
    assert ids("P1", word) == ["P1", ""]


@pytest.mark.parametrize("spoilt", ["1.23E+11", "1,23E+11", "9E+07", "2-Mar", "Mar-02", "02. Mrz", "1-Okt", "12-Dec"])
def test_what_a_spreadsheet_spoilt_is_refused(spoilt: str) -> None:
    with pytest.raises(InputError, match=r"row 1 is .* a spreadsheet has .* formatted as text"):
        ids("P1", spoilt)


@pytest.mark.parametrize(
    "name", ["1E05", "12-3", "1.2", "E+1", "Marx-1", "P-Mar", "3-May-2020-A", "0", "-1", "TCGA-A1", "S1.0.2", "Dec"]
)
def test_ids_that_are_ids_stay(name: str) -> None:
    assert ids(name) == [name]


def test_a_gap_in_a_column_makes_no_other_ids_of_numbers() -> None:
    assert ids("7.0", "7", "007.0", "7.5", "1.0.0") == ["7", "7", "007", "7.5", "1.0.0"]


def test_manifests_and_predictions_read_ids_alike(tmp_path: Path) -> None:
    for number in range(4):
        Image.new("RGB", (16, 16)).save(tmp_path / f"{number}.png")
    patients = ["P1", "P1\u200b", "7.0", "7"]
    rows = [f"{number}.png,{'ab'[number % 2]},{name}" for number, name in enumerate(patients)]
    (tmp_path / "c.csv").write_text("\n".join(["image_path,label,patient_id", *rows]), encoding="utf-8")
    assert list(read_manifest(tmp_path / "c.csv").patient) == ["P1", "P1", "7", "7"]
    scored = [f"{row},0.5,0.5" for row in rows]
    (tmp_path / "p.csv").write_text("\n".join(["image_path,label,patient_id,prob_a,prob_b", *scored]), "utf-8")
    assert list(read_predictions(tmp_path / "p.csv").patient) == ["P1", "P1", "7", "7"]
    for table, read in (("c.csv", read_manifest), ("p.csv", read_predictions)):
        text = (tmp_path / table).read_text("utf-8")
        (tmp_path / table).write_text(text.replace("7.0", "1.23E+11"), "utf-8")
        with pytest.raises(InputError, match=rf"{table}.*1\.23E\+11|1\.23E\+11.*formatted"):
            read(tmp_path / table)


def test_labels_with_separators_beside_letters_are_one_class() -> None:
    assert len({label_key(name) for name in ("non-tumor", "non_tumor", "Non tumor", "NonTumor", "non - tumor")}) == 1
    apart = ["-1", "1", "3-4", "34", "3_4", "T+", "T-", "T", "a", "_a"]
    assert len({label_key(name) for name in apart}) == len(apart)


def test_ids_that_count_rows_are_asked_about() -> None:
    assert counting_ids([str(row) for row in range(5, 25)])
    for ids in (["1"] * 20, [f"P{row}" for row in range(20)], [str(row * 2) for row in range(20)], ["1", "2"]):
        assert counting_ids(ids) == ()
