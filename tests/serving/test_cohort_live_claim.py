"""The pages of the cohort, of training and of a claim."""

import csv
import shutil
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import counterstain
from counterstain.evaluation.comparison import compare_arms
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.serving.live_view import live_data
from counterstain.serving.pictures import image_id


def test_the_cohort_is_that_of_the_run(client: TestClient, runs: Path) -> None:
    data = client.get("/api/runs/two/cohort").json()
    with (runs / "two" / "records" / "cohort.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with (runs / "two" / "records" / "splits.csv").open(newline="") as stream:
        part = {row["image_path"]: row["split"] for row in csv.DictReader(stream)}
    assert data["names"] == [row["image_path"] for row in rows]
    assert data["ids"] == [image_id(row["image_path"]) for row in rows]
    for name, values in (("label", [row["label"] for row in rows]), ("patient_id", [row["patient_id"] for row in rows]),
                         ("split", [part[row["image_path"]] for row in rows])):  # fmt: skip
        facet = data["facets"][name]
        assert [facet["values"][code] for code in facet["codes"]] == values
    assert client.get("/runs/two/cohort").status_code == 200


def test_a_cohort_that_changes_is_read_again(client: TestClient, runs: Path) -> None:
    import os

    run = runs / "changing"
    shutil.copytree(runs / "two", run)
    try:
        before = client.get("/api/runs/changing/cohort").json()["names"]
        path = run / "records" / "cohort.csv"
        path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
        os.utime(path, ns=(1, 1))
        assert client.get("/api/runs/changing/cohort").json()["names"] == before[:-1]
    finally:
        shutil.rmtree(run)


def test_curves_are_those_of_the_histories(client: TestClient, runs: Path) -> None:
    data = client.get("/api/runs/two/live").json()
    assert len(data["trainings"]) == 4
    first = data["trainings"][0]
    with (runs / "two" / "arms" / "given-32" / "seed-0" / "fold-0-0" / "history.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert first["curves"]["val_loss"] == [float(row["val_loss"]) for row in rows]
    assert first["done"] and first["seconds_left"] is None
    assert client.get("/runs/two/live").status_code == 200


def test_a_growing_history_is_seen_as_it_grows(runs: Path, tmp_path: Path) -> None:
    run = tmp_path / "two"
    shutil.copytree(runs / "two", run)
    folder = run / "arms" / "given-32" / "seed-0" / "fold-0-0"
    (folder / "training.json").unlink()
    lines = (folder / "history.csv").read_text().splitlines()
    for epochs in (0, 1, 5):
        (folder / "history.csv").write_text("\n".join(lines[: epochs + 1]) + "\n")
        now = live_data(run)["trainings"][0]
        assert len(now["curves"]["loss"]) == epochs and not now["done"] and now["epochs"] == 40
    (folder / "history.csv").write_text("\n".join(lines[:4]) + "\n" + lines[4][:5])  # a line that is being written
    assert len(live_data(run)["trainings"][0]["curves"]["loss"]) == 3


def test_a_claim_is_what_compare_says(client: TestClient, runs: Path) -> None:
    paths = {arm: runs / "two" / "predictions" / arm / "seed-0.csv" for arm in ("given-32", "modified-200")}
    record = client.post("/api/claim", json={"models": {arm: [path.read_text()] for arm, path in paths.items()}}).json()
    known = compare_arms({arm: [read_predictions(path)] for arm, path in paths.items()}, claim="models")
    assert record["pairs"][0]["words"] == known["pairs"][0]["words"]
    assert record["pairs"][0]["difference"] == known["pairs"][0]["difference"]
    assert record["pairs"][0]["low"] == known["pairs"][0]["low"]


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ({"a": ["x"]}, "models"),
        ({"a": ["x,y\n1,2\n"], "b": ["x,y\n1,2\n"]}, "table 1 of 'a'"),
        ({"a": [""], "b": [""]}, "at least 1 character"),
        ({"a": [], "b": []}, ""),
        ({"a": ["label,prob_x,prob_y\nx,0.5,0.6\n"], "b": ["label,prob_x,prob_y\nx,0.5,0.5\n"]}, "sum"),
    ],
)
def test_tables_that_are_none(client: TestClient, models: dict[str, list[str]], words: str) -> None:
    answer = client.post("/api/claim", json={"models": models})
    assert answer.status_code == 422 and words in answer.json()["detail"]
    assert "/tmp" not in answer.text


@pytest.mark.slow
def test_one_table_gets_the_page_that_evaluate_writes(client: TestClient, runs: Path, tmp_path: Path) -> None:
    path = runs / "two" / "predictions" / "given-32" / "seed-0.csv"
    made = client.post("/api/evaluate", json={"name": "seed-0.csv", "tables": [path.read_text()]})
    assert made.status_code == 200, made.text
    answer = client.get(made.json()["page"])
    counterstain.evaluate(path, out=tmp_path / "ours.html")
    assert answer.content == (tmp_path / "ours.html").read_bytes()
    assert "sandbox" in answer.headers["content-security-policy"]
    assert client.get("/claim/0000000000000000").status_code == 404
    assert client.post("/api/evaluate", json={"tables": ["no table"]}).status_code == 422
