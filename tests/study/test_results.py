"""What a finished run says of itself: the result in two sentences, and commands that run as they are printed."""

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from counterstain.cli import app
from counterstain.files import read_json
from counterstain.study.results import StudyRun
from counterstain.study.run import run_study


def test_the_end_of_a_run_has_its_result_and_what_to_do_next(study: Path) -> None:
    answer = CliRunner().invoke(app, ["run", str(study), "--set", "training.epochs=1", "--set", "seeds=[0]"])
    assert answer.exit_code == 0, answer.output
    run = StudyRun(study.parent / "runs" / "small")
    at = answer.stdout.index("Result: ")
    words = read_json(run.folder / "records" / "comparison.json")["words"]
    assert answer.stdout[at:].splitlines() == [
        f"Result: {words}",
        f"Report: {run.folder / 'report.html'}",
        "Next:",
        *(f"  {command}" for command in run.next_commands),
    ]
    log = (run.folder / "run.log").read_text()
    assert "given-8/seed-0/fold-0-0: epoch 1 of 1: loss " in log and "Z evaluation: intervals" in log


def test_one_arm_has_its_measure_and_no_verdict(study: Path) -> None:
    only = {"arms": "{given-8: {network: given, batch: 8}}", "training.epochs": "1", "comparison.primary": "accuracy"}
    run = StudyRun(run_study(study, overrides=only))
    score = next(
        s for s in read_json(run.folder / "records" / "scores.json")["arms"]["given-8"]["scores"]
        if (s["metric"], s["level"], s["class"]) == ("accuracy", "image", None)
    )  # fmt: skip
    assert run.result.startswith(f"given-8: accuracy {score['value']:.3f} [")
    assert run.result.endswith(" on 2 patients (8 images) with 2 seeds. With one arm, nothing is compared.")


@pytest.mark.slow
def test_the_next_commands_run_as_they_are_printed(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_study(study, overrides={"training.epochs": "1", "seeds": "[0]"})
    monkeypatch.chdir(study.parent)
    for command in StudyRun(run.relative_to(study.parent)).next_commands[1:]:
        program, *words = shlex.split(command)
        answer = CliRunner().invoke(app, words)
        # 3: the model can't be told from one that guesses, which `explain` says instead of drawing a map.
        assert program == "counterstain" and answer.exit_code in (0, 3), answer.output
    assert (study.parent / "small-robustness" / "robustness.html").is_file()
