"""`runs`: every run of a folder with its verdict and its measures, newest first."""

import json
import os
from pathlib import Path

import make_run
import pytest
from typer.testing import CliRunner

from counterstain.cli import app
from counterstain.errors import InputError
from counterstain.files import read_json
from counterstain.study.run_list import list_runs


def dated(run: Path, when: int) -> Path:
    for path in run.rglob("*.json"):
        os.utime(path, (when, when))
    return run


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Two studies below one folder, the second one newer, and a run that was stopped."""
    two = ("given-32", "modified-200")
    dated(make_run.make_run(tmp_path / "first" / "runs" / "breast", arms=two, epochs=2), 1_000_000)
    dated(make_run.make_run(tmp_path / "second" / "runs" / "one", arms=two[:1], epochs=2), 2_000_000)
    stopped = tmp_path / "second" / "runs" / "stopped"
    (stopped / "records").mkdir(parents=True)
    (stopped / "records" / "resolved.json").write_text('{"comparison": {"primary": "accuracy"}}')
    (stopped / ".lock").touch()
    dated(stopped, 3_000_000)
    (tmp_path / "notes").mkdir()
    return tmp_path


def test_all_runs_are_listed_newest_first_with_measures_and_intervals(home: Path) -> None:
    found = list_runs(home)
    assert [row.name for row in found.rows] == ["second/runs/stopped", "second/runs/one", "first/runs/breast"]
    stopped, one, breast = found.rows
    assert (stopped.sentence, stopped.measure, stopped.arms) == ("Stopped before it was finished.", "accuracy", ())
    assert one.sentence == "Stopped before it was finished."  # there is no run.json, whatever is there already
    record = read_json(home / "first" / "runs" / "breast" / "records" / "comparison.json")
    assert breast.sentence == record["words"]
    scores = read_json(home / "first" / "runs" / "breast" / "records" / "scores.json")["arms"]["given-32"]["scores"]
    auroc = next(s for s in scores if (s["metric"], s["level"], s["class"]) == ("auroc", "image", None))
    assert (breast.arms[0].value, breast.arms[0].low) == (auroc["value"], auroc["low"])
    header, rows = found.table()
    shown = f"{auroc['value']:.3f} [{auroc['low']:.3f}, {auroc['high']:.3f}]"
    assert [dict(zip(header, row, strict=True))["value and 95 % interval"] for row in rows][2] == shown
    assert [row[0] for row in rows] == ["second/runs/stopped", "second/runs/one", "first/runs/breast", ""]


def test_the_command_prints_them_and_gives_them_to_programs(home: Path) -> None:
    answer = CliRunner().invoke(app, ["runs", str(home)])
    assert answer.exit_code == 0 and "first/runs/breast: " in answer.stdout and "modified-200" in answer.stdout
    record = json.loads(CliRunner().invoke(app, ["runs", str(home), "--json"]).stdout)
    assert [run["name"] for run in record["runs"]] == [row.name for row in list_runs(home).rows]


def test_one_run_is_a_list_of_one_and_an_empty_folder_of_none(home: Path) -> None:
    assert len(list_runs(home / "first" / "runs" / "breast")) == 1
    assert list_runs(home / "notes").summary().endswith("notes has no run")
    with pytest.raises(InputError, match="is not a folder; name the folder that your runs are in"):
        list_runs(home / "nowhere")
