"""The pages of studies and of errors: what they draw is what the run's records say."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from counterstain import serving
from counterstain.evaluation.metrics import roc_auc
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.files import read_json, write_json
from counterstain.serving.error_view import error_data, patient_influence
from counterstain.serving.pictures import image_id
from counterstain.serving.runs import RunsFolder
from counterstain.study.completion import lock
from counterstain.study.run_list import state_of, study_row


def test_a_row_says_what_the_records_say(client: TestClient, runs: Path) -> None:
    row = client.get("/api/runs").json()["runs"][0]
    comparison, scores = (
        read_json(runs / "two" / "records" / "comparison.json"),
        read_json(runs / "two" / "records" / "scores.json"),
    )
    assert row["name"] == "two"
    assert row["sentence"] == comparison["pairs"][0]["words"]
    assert row["patients"] == scores["arms"]["given-32"]["patients"]
    auroc = next(s for s in scores["arms"]["given-32"]["scores"] if s["metric"] == "auroc" and s["level"] == "image")
    shown = next(arm for arm in row["arms"] if arm["arm"] == "given-32")
    assert (shown["value"], shown["low"], shown["high"]) == (auroc["value"], auroc["low"], auroc["high"])


def test_the_pages_are_pages(client: TestClient) -> None:
    for path, words in (("/", "Studies"), ("/runs/two/errors", "Confusion matrix")):
        answer = client.get(path)
        assert answer.status_code == 200 and words in answer.text, path
        assert "<script>" not in answer.text  # the policy would not let it run
    missing = client.get("/runs/nothing/errors", headers={"accept": "text/html"})
    assert missing.status_code == 404 and "see the list of studies" in missing.text


def test_a_hostile_name_stays_text(runs: Path, tmp_path: Path, client: TestClient) -> None:
    run = runs / "hostile"
    shutil.copytree(runs / "two", run)
    record = read_json(run / "records" / "comparison.json")
    record["pairs"][0]["words"] = '</script><img src=x onerror="alert(1)">'
    write_json(run / "records" / "comparison.json", record)
    try:
        text = client.get("/").text + client.get("/runs/hostile/errors").text
    finally:
        shutil.rmtree(run)
    assert "<img src=x" not in text and "</script><img" not in text


def test_states_of_a_run(tmp_path: Path) -> None:
    run = tmp_path / "r"
    (run / "records").mkdir(parents=True)
    (run / "run.log").write_text("2026-11-29T12:58:02Z audit\n")
    with lock(run):
        assert state_of(run) == "running"
    if Path("/proc/locks").is_file():
        assert state_of(run) == "stopped"
    (run / "records" / "run.json").write_text('{"files": {}}')
    assert state_of(run) == "finished"


def test_a_record_that_changes_is_read_again(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "two", tmp_path / "two")
    folder = RunsFolder(tmp_path)
    before = folder.rows()[0]
    assert folder.rows()[0] is before
    record = read_json(tmp_path / "two" / "records" / "comparison.json")
    record["words"] = "Changed."
    time.sleep(0.01)
    write_json(tmp_path / "two" / "records" / "comparison.json", record)
    assert folder.rows()[0].sentence == "Changed."
    (tmp_path / "two" / "records" / "scores.json").write_text("{")
    assert "scores.json" in folder.rows()[0].sentence


def test_the_matrix_is_that_of_the_scores(runs: Path) -> None:
    data, scores = error_data(runs / "two"), read_json(runs / "two" / "records" / "scores.json")
    for arm, own in scores["arms"].items():
        found = {name.removeprefix("seed-"): seed["confusion"] for name, seed in data["arms"][arm].items()}
        assert found == own["confusion"]
        for seed in data["arms"][arm].values():  # a cell opens as many tiles as it counts
            labels, called = np.array(data["labels"]), np.array(seed["called"])
            for truth, line in enumerate(seed["confusion"]):
                for call, count in enumerate(line):
                    assert ((labels == truth) & (called == call)).sum() == count
    assert data["ids"] == [image_id(name) for name in data["names"]]


def test_rows_of_all_tables_are_in_one_order(runs: Path, tmp_path: Path) -> None:
    """Two arms whose tables are in another order are joined by image."""
    run = tmp_path / "two"
    shutil.copytree(runs / "two", run)
    path = run / "predictions" / "modified-200" / "seed-0.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    before, after = error_data(runs / "two"), error_data(run)
    assert before["arms"]["modified-200"]["seed-0"]["prob"] == after["arms"]["modified-200"]["seed-0"]["prob"]


def test_influence_by_hand(runs: Path) -> None:
    """The difference without a patient is that of the tables without its rows."""
    tables = [
        [read_predictions(runs / "two" / "predictions" / arm / f"seed-{seed}.csv") for seed in (0, 1)]
        for arm in ("given-32", "modified-200")
    ]
    found = patient_influence(tables[0], tables[1], "auroc")

    def difference(without: str | None) -> float:
        each = []
        for arm in tables:
            kept = [np.array([p != without for p in table.patient]) for table in arm]
            each.append(np.mean([roc_auc(t.label[k] == 1, t.prob[k, 1]) for t, k in zip(arm, kept, strict=True)]))
        return float(each[0] - each[1])

    assert found["difference"] == pytest.approx(difference(None))
    assert len(found["patients"]) == len(set(tables[0][0].patient))
    for row in found["patients"]:
        if row["without"] is not None:
            assert row["without"] == pytest.approx(difference(row["patient"]))
    assert patient_influence(tables[0], tables[1], "no such measure")["patients"] == []


def test_pages_call_rows_what_the_records_call_them(runs: Path, tmp_path: Path) -> None:
    """Of a study over feature files the list of studies, the errors and the claim say slides."""
    run = tmp_path / "slides"
    shutil.copytree(runs / "two", run)
    scores = read_json(run / "records" / "scores.json")
    write_json(run / "records" / "scores.json", scores | {"rows_are": "slide"})
    assert study_row("slides", run).rows_are == "slide" and study_row("two", runs / "two").rows_are == "image"
    assert error_data(run)["rows_are"] == "image"  # what the prediction tables themselves name
    static = Path(serving.__file__).parent / "static"
    for page, said in (("studies.js", "${run.rows_are}s"), ("claim.js", "many(record.rows_are)"),
                       ("errors.js", "many(data.rows_are)")):  # fmt: skip
        assert said in (static / page).read_text(encoding="utf-8")
