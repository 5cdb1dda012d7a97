"""The old protocol's claim beside the evaluation by patient."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from counterstain.cli import app
from counterstain.files import read_json
from counterstain.study.old_protocol import add_old_protocol
from counterstain.study.run import run_study


@pytest.mark.slow
def test_the_old_protocol_is_run_on_the_same_images_and_its_claim_is_shown_beside(study: Path) -> None:
    said: list[str] = []
    overrides = {"seeds": "[0]", "training.epochs": "1"}
    run = run_study(
        study, overrides=overrides,
        before_report=lambda run: said.append(add_old_protocol(run, study.parent, arm="given-8", epochs=1)),
    )  # fmt: skip
    old = study.parent / "runs" / "old-protocol"
    record = read_json(run / "records" / "old_protocol.json")
    assert record["words"] == said[0] and record["run"] == "old-protocol"
    own = read_json(run / "records" / "scores.json")["arms"]["given-8"]
    expected = next(s for s in own["scores"] if (s["metric"], s["level"], s["class"]) == ("auroc", "image", None))
    assert record["own"]["value"] == expected["value"] and record["own"]["unit"] == "patient"
    # Originals and copies: every image is there once for each of five transformations and as it is.
    assert read_json(old / "records" / "cohort.json")["images"] == 6 * 48
    assert read_json(old / "records" / "scores.json")["stamp"].startswith("LEAK")
    assert "LEAK" not in read_json(run / "records" / "scores.json")["stamp"]
    assert "What the old protocol would claim" in (run / "report.html").read_text()
    assert "[old_protocol.json]" in (run / "README.md").read_text()
    settings = [word for key, value in overrides.items() for word in ("--set", f"{key}={value}")]
    again = CliRunner().invoke(app, ["run", str(study), *settings])
    assert f"Beside: {said[0]}" in " ".join(again.stdout.split())
