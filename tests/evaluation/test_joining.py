"""Rows of two tables are joined by what they name: images, else slides, else patients; never by their place."""

from pathlib import Path

import numpy as np
import pytest

from counterstain.errors import InputError
from counterstain.evaluation.comparison import compare_arms
from counterstain.evaluation.predictions import align, pool_patients
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.files import write_csv

COUNT = 60


def write_table(path: Path, ids: dict[str, list[str]], *, order: list[int] | None = None, seed: int = 0) -> Path:
    """A table of 60 rows with these id columns, a label and two probabilities, its rows in `order`."""
    label = [k % 2 for k in range(COUNT)]
    noise = np.random.default_rng(seed).normal(size=COUNT)
    prob = [1 / (1 + np.exp(-(1.2 * (2 * y - 1) + e))) for y, e in zip(label, noise, strict=True)]
    rows = [[*(names[k] for names in ids.values()), label[k], 1 - prob[k], prob[k]] for k in order or range(COUNT)]
    write_csv(path, [*ids, "label", "prob_0", "prob_1"], rows)
    return path


def shuffled() -> list[int]:
    """Another order in which each place keeps its label, so that pairing by place goes unseen."""
    rng = np.random.default_rng(1)
    even, odd = rng.permutation(np.arange(0, COUNT, 2)), rng.permutation(np.arange(1, COUNT, 2))
    return [int(k) for pair in zip(even, odd, strict=True) for k in pair]


SLIDES = {"slide_id": [f"slide_{k:03d}" for k in range(COUNT)]}
PATIENTS = {"patient_id": [f"P{k:03d}" for k in range(COUNT)]}


@pytest.mark.parametrize("ids", [SLIDES, PATIENTS, {**SLIDES, **PATIENTS}], ids=["slides", "patients", "both"])
def test_the_order_of_the_rows_changes_nothing(tmp_path: Path, ids: dict[str, list[str]]) -> None:
    a = read_predictions(write_table(tmp_path / "a.csv", ids, seed=1))
    b = read_predictions(write_table(tmp_path / "b.csv", ids, seed=2))
    turned = read_predictions(write_table(tmp_path / "c.csv", ids, seed=2, order=shuffled()))
    straight, joined = (compare_arms({"a": [a], "b": [other]}, claim="models") for other in (b, turned))
    assert joined["pairs"][0]["p"] == pytest.approx(straight["pairs"][0]["p"], abs=1e-12)
    assert joined["pairs"][0]["difference"] == pytest.approx(straight["pairs"][0]["difference"], abs=1e-12)


def test_one_row_for_each_patient_is_a_known_patient(tmp_path: Path) -> None:
    table = read_predictions(write_table(tmp_path / "a.csv", PATIENTS))
    assert (table.unit, table.rows_are) == ("patient", "patient")
    assert pool_patients(table).unit == "patient"


def test_a_table_of_images_and_one_of_slides_meet_by_slide(tmp_path: Path) -> None:
    images = {"image_path": [f"{k}.png" for k in range(COUNT)], **SLIDES}
    a = read_predictions(write_table(tmp_path / "a.csv", images, seed=1))
    b = read_predictions(write_table(tmp_path / "b.csv", SLIDES, seed=2, order=shuffled()))
    first, second = align(a, b)
    assert second.image == first.image
    assert second.slide == first.slide
    assert second.label.tolist() == first.label.tolist()


def test_rows_that_nothing_names_are_not_paired(tmp_path: Path) -> None:
    a, b = (read_predictions(write_table(tmp_path / f"{seed}.csv", {}, seed=seed)) for seed in (1, 2))
    assert a.rows_are == "row"
    with pytest.raises(InputError, match=r"can't be paired: they name no images.*give both tables a column image_path"):
        align(a, b)
    doubled = {"slide_id": [f"s{k // 2}" for k in range(COUNT)]}
    c = read_predictions(write_table(tmp_path / "c.csv", doubled))
    with pytest.raises(InputError, match="compare different images"):
        align(a, c)
    assert align(a, a) == (a, a)


def test_what_made_a_class_positive_is_known(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a.csv", SLIDES)
    assert read_predictions(path).positive_from == "column order"
    assert read_predictions(path, positive="0").positive_from == "given"
    write_csv(tmp_path / "lone.csv", ["image_path", "label", "prob_1"], [["a", 0, 0.2], ["b", 1, 0.8]])
    assert read_predictions(tmp_path / "lone.csv").positive_from == "only probability column"
