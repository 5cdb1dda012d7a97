"""The arms as ways of training: what the folds showed, where each arm's spread comes from, and what was not shown."""

from pathlib import Path
from typing import Any

from counterstain.files import write_json
from counterstain.reports.cross_validation_tables import procedures_table, procedures_words, variance_table
from counterstain.reports.methods import methods_paragraph, ran_words
from counterstain.reports.run_record import read_run
from counterstain.reports.run_report import write_report

TESTED = {
    "a": "given-32", "b": "modified-200", "folds": 6, "words": "told elsewhere",
    "test": {"mean": 0.031, "low": -0.012, "high": 0.074, "p": 0.131},
    "posterior": {"a_better": 0.78, "within_rope": 0.17, "b_better": 0.05},
}  # fmt: skip
UNTESTED = {"a": "given-32", "b": "modified-200", "folds": 1, "test": None, "posterior": None,
            "words": "given-32 and modified-200: there is one split, so nothing is shown."}  # fmt: skip


def run_with(runs: Any, folder: Path, pair: dict[str, object]) -> Path:
    run = runs.make_run(folder, arms=("given-32", "modified-200"), seeds=(0, 1, 2))
    sd = {"patient": 0.04, "seed": 0.011, "split": None, "rest": None}
    variance = {arm: {"value": 0.8, "sd": sd, "largest": "patient"} for arm in ("given-32", "modified-200")}
    record = {"metric": "auroc", "level": "image", "rope": 0.02, "rope_from": "the margin of the study"}
    write_json(run / "records" / "procedures.json", record | {"pairs": [pair], "variance": variance})
    return run


def test_the_folds_of_a_pair_stand_in_a_table(runs: Any, tmp_path: Path) -> None:
    record = read_run(run_with(runs, tmp_path, TESTED))
    table = procedures_table(record)
    assert table is not None
    assert [cell.text for cell in table.rows[0]] == [
        "given-32 − modified-200", "6", "+0.031", "0.131", "0.78", "0.17", "0.05",
    ]  # fmt: skip
    assert table.rows[0][2].below == "[−0.012, +0.074]"
    assert "±0.02 (the margin of the study)" in table.caption
    assert procedures_words(record) == []
    assert "corrected resampled t-test" in methods_paragraph(record)


def test_a_source_that_was_not_varied_is_said_not_zero(runs: Any, tmp_path: Path) -> None:
    table = variance_table(read_run(run_with(runs, tmp_path, UNTESTED)))
    assert table is not None
    patient, seed, split, rest = table.rows[0][2:]
    assert (patient.text, patient.strong, seed.text) == ("±0.040", True, "±0.011")
    assert {split.text, rest.text} == {"not shown"}


def test_one_split_says_why_there_is_no_test_over_folds(runs: Any, tmp_path: Path) -> None:
    run = run_with(runs, tmp_path, UNTESTED)
    assert procedures_table(read_run(run)) is None
    assert "corrected resampled" not in methods_paragraph(read_run(run))
    page = write_report(run).read_text(encoding="utf-8")
    assert "there is one split, so nothing is shown" in page
    assert "Where the uncertainty comes from" in page


def test_repeats_are_not_told_as_seeds(runs: Any, tmp_path: Path) -> None:
    run = runs.make_run(tmp_path, arms=("given-32",), seeds=(0, 1, 2, 3))
    record = read_run(run)
    assert ran_words(record) == "4 seeds"
    record = record.__class__(**{**vars(record), "resolved": {**record.resolved, "seeds": [0, 1]}})
    assert ran_words(record) == "2 seeds × 2 repeats"


def test_a_run_of_before_has_neither(runs: Any, tmp_path: Path) -> None:
    record = read_run(runs.make_run(tmp_path, arms=("given-32", "modified-200"), seeds=(0, 1, 2)))
    assert procedures_table(record) is None
    assert variance_table(record) is None
    assert procedures_words(record) == []
