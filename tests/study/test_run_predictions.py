"""`compare runs/a runs/b`: the arms of several studies on their one test part."""

import json
from pathlib import Path

import make_run
import pytest
from typer.testing import CliRunner

import counterstain
from counterstain.cli import app
from counterstain.errors import InputError
from counterstain.files import read_json, write_json
from counterstain.study.run_predictions import expand_runs


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    make_run.make_run(tmp_path / "a", arms=("given-32", "modified-200"), epochs=2)
    make_run.make_run(tmp_path / "b", arms=("modified-32",), epochs=2)
    for name in "ab":
        path = tmp_path / name / "records" / "resolved.json"
        record = read_json(path)
        record["comparison"] = {**record.get("comparison", {}), "primary": "accuracy"}
        write_json(path, record)
    return tmp_path


def test_runs_stand_for_their_arms_by_their_own_measure(runs: Path) -> None:
    answer = CliRunner().invoke(app, ["compare", str(runs / "a"), str(runs / "b"), "--json"])
    assert answer.exit_code == 0, answer.output
    record = json.loads(answer.stdout)
    assert {(pair["a"], pair["b"]) for pair in record["pairs"]} == {
        ("given-32", "modified-200"), ("given-32", "modified-32"), ("modified-200", "modified-32"),
    }  # fmt: skip
    assert record["primary"] == "accuracy" and {pair["seeds"] for pair in record["pairs"]} == {3}
    assert "none of them stated this comparison" in record["warnings"][0]
    # The same as with the tables named one by one.
    tables = {
        arm: sorted((runs / run / "predictions" / arm).glob("*.csv"))
        for run, arm in (("a", "given-32"), ("a", "modified-200"), ("b", "modified-32"))
    }
    by_hand = counterstain.compare(tables, primary="accuracy")
    assert [pair["difference"] for pair in record["pairs"]] == [pair["difference"] for pair in by_hand.record["pairs"]]


def test_names_are_the_arms_own_as_long_as_they_differ(runs: Path) -> None:
    make_run.make_run(runs / "c", arms=("given-32",), epochs=2)
    assert list(expand_runs({str(runs / n): runs / n for n in "ac"}, primary="f1").models) == [
        "a/given-32", "modified-200", "c/given-32",
    ]  # fmt: skip
    named = expand_runs({"old": runs / "a", "new": runs / "b"}).models
    assert list(named) == ["old/given-32", "old/modified-200", "new"]


def test_a_folder_of_tables_is_the_seeds_of_one_model(runs: Path) -> None:
    found = expand_runs({"x": runs / "a" / "predictions" / "given-32"}).models
    assert [path.name for path in found["x"]] == ["seed-0.csv", "seed-1.csv", "seed-2.csv"]
    with pytest.raises(InputError, match="is neither a run nor a folder with prediction tables"):
        expand_runs({"x": runs})


def test_other_test_images_and_other_measures_are_refused(runs: Path) -> None:
    make_run.make_run(runs / "d", arms=("given-32",), patients=17, epochs=2)
    with pytest.raises(
        InputError, match=r"test images and .*d on \d+, of which \d+ are the same; arms can be compared"
    ):
        counterstain.compare({"a": runs / "a", "d": runs / "d"})
    path = runs / "b" / "records" / "resolved.json"
    record = read_json(path)
    record["comparison"]["primary"] = "auroc"
    write_json(path, record)
    with pytest.raises(InputError, match="state different primary measures"):
        counterstain.compare({"a": runs / "a", "b": runs / "b"})
    assert counterstain.compare({"a": runs / "a", "b": runs / "b"}, primary="f1").record["primary"] == "f1"
