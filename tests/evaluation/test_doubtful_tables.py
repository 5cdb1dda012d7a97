"""What a reader is told of tables whose cells are all valid."""

from pathlib import Path

import numpy as np
import pytest

from counterstain.evaluation.arm_scores import score_arms
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.files import write_csv

HEAD = ("image_path", "patient_id", "label", "prob_benign", "prob_malignant")


def notes_of(tmp_path: Path, *, prob: object = None, patient: str = "P{}", more: dict[str, list[object]] | None = None,
             swapped: bool = False) -> list[str]:  # fmt: skip
    """Notes of a table of 40 rows, of which a model knows most."""
    rng, rows = np.random.default_rng(0), []
    for row in range(40):
        malignant = row % 4 < 2
        p = float(np.clip(0.5 + (0.3 if malignant else -0.3) + rng.normal(0, 0.2), 0.02, 0.98))
        p = p if prob is None else prob(p, malignant)  # type: ignore[operator]
        pair = (p, 1 - p) if swapped else (1 - p, p)
        own = [values[row] for values in (more or {}).values()]
        rows.append((f"{row}.png", patient.format(row), "malignant" if malignant else "benign", *pair, *own))
    write_csv(tmp_path / "t.csv", (*HEAD, *(more or {})), rows)
    table = read_predictions(tmp_path / "t.csv", positive="malignant")
    return list(score_arms({"model": [table]})["arms"]["model"]["warnings"])


def found(notes: list[str], words: str) -> bool:
    return any(words in note for note in notes)


def test_a_plain_table_is_told_nothing_of_these(tmp_path: Path) -> None:
    notes = notes_of(tmp_path)
    for words in ("wrong way round", "0 and 1", "several models", "count the rows"):
        assert not found(notes, words)


def test_exchanged_columns_are_asked_about(tmp_path: Path) -> None:
    assert found(notes_of(tmp_path, swapped=True), "ranked the wrong way round")


def test_probabilities_of_0_and_1_are_asked_about(tmp_path: Path) -> None:
    assert found(notes_of(tmp_path, prob=lambda p, _: float(p > 0.5)), "0 and 1, as decisions are")
    assert found(notes_of(tmp_path, prob=lambda _, malignant: float(malignant)), "are these the labels again?")


@pytest.mark.parametrize("column", ["fold", "Seed", "model"])
def test_rows_of_several_models_are_asked_about(tmp_path: Path, column: str) -> None:
    assert found(
        notes_of(tmp_path, more={column: [row % 5 for row in range(40)]}), f"5 models by its column '{column}'"
    )
    assert not found(notes_of(tmp_path, more={column: [1] * 40}), "several models")


def test_patients_that_count_rows_are_asked_about(tmp_path: Path) -> None:
    assert found(notes_of(tmp_path, patient="{:03d}"), "patient ids count the rows (000, 001, …)")
