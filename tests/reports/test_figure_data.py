"""The CSV beside each figure has the numbers that were drawn."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from counterstain.files import read_json
from counterstain.reports.figure_data import confusion_data, forest_data, history_data, reliability_data, split_data
from counterstain.reports.figure_settings import FigureStyle
from counterstain.reports.figures import Row
from counterstain.reports.run_report import write_figures, write_report


def test_rows_by_hand() -> None:
    assert confusion_data([[3, 1], [0, 0]], ("a", "b")).rows == (
        ("a", "a", 3, 0.75), ("a", "b", 1, 0.25), ("b", "a", 0, None), ("b", "b", 0, None),
    )  # fmt: skip
    assert forest_data([Row("arm", 0.5, 0.4, 0.6, (0.45, 0.55))], "arm").rows == (("arm", 0.5, 0.4, 0.6, "0.45 0.55"),)
    assert split_data({"train": {"a": 2, "b": 3}}).rows == (("train", "a", 2), ("train", "b", 3))
    history = {"loss": [2, 1], "accuracy": [0, 1], "val_loss": [3, 4], "val_accuracy": [0.5, 0.25]}
    assert history_data([("seed 0", history, 1)]).rows == (
        ("seed 0", 1, 2, 0, 3, 0.5, "yes"), ("seed 0", 2, 1, 1, 4, 0.25, ""),
    )  # fmt: skip
    bins = {"bins": [{"low": 0, "high": 0.1, "n": 0, "mean_prob": None, "share": None}]}
    assert reliability_data(bins, bins).rows[1] == ("calibrated", 0, 0.1, 0, None, None, None, None)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, runs: Any) -> Path:
    run: Path = runs.make_run(
        tmp_path_factory.mktemp("data") / "run", arms=("given-32", "modified-200"), epochs=4, images_each=6, patients=40
    )
    write_report(run)
    write_figures(run, FigureStyle(width_mm=85, font_pt=7, language="de", format="pdf"))
    return run


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_figure_has_its_numbers_in_both_folders(made: Path) -> None:
    drawn = {path.stem for path in (made / "figures").glob("*.svg")}
    assert drawn and {path.stem for path in (made / "figures").glob("*.csv")} == drawn
    assert {path.stem for path in (made / "figures-pdf").glob("*.pdf")} == drawn
    assert {path.suffix for path in (made / "figures-pdf").iterdir()} == {".pdf", ".csv"}
    for path in (made / "figures").glob("*.csv"):
        assert path.read_bytes() == (made / "figures-pdf" / path.name).read_bytes()  # numbers have one language


def test_arms_and_confusion_are_those_of_the_records(made: Path) -> None:
    scores = read_json(made / "records" / "scores.json")["arms"]
    for row in rows_of(made / "figures" / "arms.csv"):
        score = next(s for s in scores[row["arm"]]["scores"] if (s["metric"], s["level"]) == ("auroc", "image"))
        assert [float(row[key]) for key in ("value", "low", "high")] == [score[k] for k in ("value", "low", "high")]
    for arm, own in scores.items():
        total = np.sum([np.array(matrix) for matrix in own["confusion"].values()], axis=0)
        summed = [float(row["images"]) for row in rows_of(made / "figures" / f"confusion-{arm}.csv")]
        mean = [float(row["images"]) for row in rows_of(made / "figures" / f"confusion-{arm}-mean.csv")]
        assert summed == total.ravel().tolist()
        assert mean == pytest.approx((total / len(own["confusion"])).ravel())
        assert sum(mean) == pytest.approx(own["images"])  # an image counts once


def test_a_document_s_figures_are_the_same_bytes_twice_and_need_no_date(made: Path) -> None:
    first = {path.name: path.read_bytes() for path in (made / "figures-pdf").iterdir()}
    write_figures(made, FigureStyle(width_mm=85, font_pt=7, language="de", format="pdf"))
    for path in (made / "figures-pdf").iterdir():
        assert path.read_bytes() == first[path.name]
    assert all(b"CreationDate" not in content for content in first.values())
