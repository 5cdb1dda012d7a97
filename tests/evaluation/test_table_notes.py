"""Rows of the training part in a table that is scored."""

from pathlib import Path

import pytest

from counterstain.errors import InputError
from counterstain.evaluation.predictions_csv import read_predictions


def table(folder: Path, column: str, parts: list[str]) -> Path:
    rows = [f"{k}.png,P{k},{'ab'[k % 2]},0.5,0.5,{part}" for k, part in enumerate(parts)]
    path = folder / "p.csv"
    path.write_text("\n".join([f"image_path,patient_id,label,prob_a,prob_b,{column}", *rows]), "utf-8")
    return path


@pytest.mark.parametrize("column", ["split", "Split", "subset", "partition"])
@pytest.mark.parametrize("parts", [["train", "test"], ["Training", "val", "test"], ["train_set", "external"]])
def test_training_rows_among_others_are_refused(tmp_path: Path, column: str, parts: list[str]) -> None:
    with pytest.raises(InputError, match=f"rows of '{parts[0]}' and of '{parts[1]}' in its column '{column}'"):
        read_predictions(table(tmp_path, column, parts * 4))


def test_training_rows_alone_are_said(tmp_path: Path) -> None:
    notes = read_predictions(table(tmp_path, "split", ["train"] * 6)).notes
    assert any("how well the model remembers" in note for note in notes)


@pytest.mark.parametrize("parts", [["test"] * 6, ["val", "test"] * 3, [""] * 6])
def test_other_parts_are_read(tmp_path: Path, parts: list[str]) -> None:
    assert not any("remembers" in note for note in read_predictions(table(tmp_path, "split", parts)).notes)
