"""`verify` and `reproduce`: what was written, and whether it comes out again."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from counterstain.cli import app
from counterstain.errors import InputError
from counterstain.files import hash_file
from counterstain.study.reproduce import _study_of, reproduce
from counterstain.study.run import run_study
from counterstain.study.study_config import parse_study
from counterstain.study.verify import verify


@pytest.fixture
def run(study: Path) -> Path:
    return run_study(study)


def relist(run: Path, name: str) -> None:
    """Put a changed file's new hash into the manifest, as a forger would."""
    record = json.loads((run / "records" / "run.json").read_text())
    record["files"][name] = hash_file(run / name)
    (run / "records" / "run.json").write_text(json.dumps(record))


def test_a_run_is_verified_file_by_file(run: Path) -> None:
    assert verify(run)
    scores = run / "records" / "scores.json"
    scores.write_bytes(scores.read_bytes() + b" ")
    (run / "records" / "splits.csv").unlink()
    (run / "stray.txt").write_text("x")
    found = verify(run)
    assert not found
    assert (found.changed, found.missing, found.added) == (
        ("records/scores.json",),
        ("records/splits.csv",),
        ("stray.txt",),
    )
    answer = CliRunner().invoke(app, ["verify", str(run)])
    assert answer.exit_code == 3
    assert (
        "1 has changed (records/scores.json), 1 is missing (records/splits.csv), 1 is not listed (stray.txt)"
        in answer.output
    )


def test_a_run_repeats_in_whole_in_one_arm_and_in_its_evaluation(run: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    whole = reproduce(run)
    assert (whole.outcome, whole.first_difference, bool(whole)) == ("bit-equal", "", True)
    arm = next(iter(json.loads((run / "records" / "resolved.json").read_text())["arms"]))
    one = reproduce(run, arm=arm, out=tmp_path / "again")
    assert one.outcome == "bit-equal"
    assert 0 < one.compared < whole.compared
    assert list((tmp_path / "again" / "runs").iterdir())
    images.rename(tmp_path / "moved")
    with pytest.raises(InputError, match=r"cohort\.csv does not exist; .* --data"):
        reproduce(run)
    assert reproduce(run, evaluation=True).outcome == "bit-equal"  # needs no image
    assert reproduce(run, data=tmp_path / "moved" / "cohort.csv", arm=arm).outcome == "bit-equal"


def test_what_was_changed_afterwards_is_found_even_where_the_manifest_was_changed_too(run: Path) -> None:
    scores = run / "records" / "scores.json"
    record = json.loads(scores.read_text())
    score = next(s for s in record["arms"][next(iter(record["arms"]))]["scores"] if s["metric"] == "auroc")
    score["value"] = score["value"] + 0.2 if score["value"] < 0.5 else score["value"] - 0.2
    scores.write_text(json.dumps(record, indent=2))
    relist(run, "records/scores.json")
    found = reproduce(run, evaluation=True)
    assert found.files
    assert found.first_difference.startswith("records/scores.json, line ")
    assert found.outcome == "different"
    assert max(found.moved.values()) == pytest.approx(0.2)
    answer = CliRunner().invoke(app, ["reproduce", str(run), "--evaluation"])
    assert answer.exit_code == 3
    assert "first difference: records/scores.json, line " in answer.output


def test_versions_that_differ_are_named(run: Path) -> None:
    record = json.loads((run / "records" / "environment.json").read_text())
    record["libraries"]["torch"] = "2.6.0"
    (run / "records" / "environment.json").write_text(json.dumps(record))
    found = reproduce(run, evaluation=True)
    assert found.files.changed == ("records/environment.json",)
    assert not found  # its outcome is equal, but a file of it was changed
    assert [line.split(" became")[0] for line in found.environment] == ["torch 2.6.0"]


def test_a_study_made_from_a_resolved_record_resolves_to_it(run: Path) -> None:
    resolved = json.loads((run / "records" / "resolved.json").read_text())
    again = parse_study(_study_of(resolved, None)).resolved()
    assert {**again, "name": resolved["name"]} == resolved


@pytest.mark.parametrize("what", ["nothing", "no arm", "both", "there"])
def test_what_cannot_be_repeated_is_refused(what: str, run: Path, tmp_path: Path) -> None:
    if what == "nothing":
        with pytest.raises(InputError, match="is not a finished run"):
            reproduce(tmp_path)
        with pytest.raises(InputError, match=r"has neither records/run\.json nor SHA256SUMS"):
            verify(tmp_path)
    elif what == "no arm":
        with pytest.raises(InputError, match="has no arm 'nine'; it has "):
            reproduce(run, arm="nine")
    elif what == "both":
        with pytest.raises(InputError, match="name one of the two"):
            reproduce(
                run,
                arm=next(iter(json.loads((run / "records" / "resolved.json").read_text())["arms"])),
                evaluation=True,
            )
    else:
        with pytest.raises(InputError, match="name a new folder"):
            reproduce(run, out=tmp_path)


def test_a_model_is_verified_by_its_own_list(run: Path, tmp_path: Path) -> None:
    model = next(path.parent for path in sorted((run / "arms").rglob("bundle.json")))
    place = tmp_path / "model"
    shutil.copytree(model, place)
    assert verify(place)
    (place / "SHA256SUMS").write_text("0" * 64 + "  ../outside\n")
    with pytest.raises(InputError, match="line 1 is not a hash with a file name"):
        verify(place)
