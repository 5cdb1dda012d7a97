"""The audit as a verb and as a gate: what it finds, with which exit code it ends, and what it proposes instead."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from counterstain.cli import app
from counterstain.cohort.manifest import read_manifest
from counterstain.cohort.splitters import read_split
from counterstain.errors import GateError
from counterstain.files import read_json, write_csv
from counterstain.progress import Progress
from counterstain.study.audit_stage import audit_images
from counterstain.study.run import run_study


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    """Ten patients with three images each; the first image of p0 (train) lies flipped among those of p9 (test)."""
    rng = np.random.default_rng(0)
    rows, parts = [], []
    for patient in range(10):
        for number in range(3):
            blots = rng.integers(30, 226, (12, 12, 3)).astype(np.uint8)
            pixels = cv2.resize(blots, (48, 48), interpolation=cv2.INTER_CUBIC)
            if (patient, number) == (0, 0):
                flipped = pixels[:, ::-1]
            if (patient, number) == (9, 2):
                pixels = flipped
            name = f"p{patient}-{number}.png"
            Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / name)
            rows.append((name, "ab"[patient % 2], f"patient {patient}"))
            parts.append((name, "test" if patient > 7 else "val" if patient > 5 else "train"))
    write_csv(tmp_path / "cohort.csv", ("image_path", "label", "patient_id"), rows)
    write_csv(tmp_path / "splits.csv", ("image_path", "split"), parts)
    return tmp_path


def test_a_leak_ends_with_3_and_the_split_that_is_proposed_with_0(leaky: Path) -> None:
    out = leaky / "audit"
    found = call("audit", leaky / "cohort.csv", leaky / "splits.csv", "--out", out, "--json")
    assert found.exit_code == 3, found.output
    record = json.loads(found.stdout)
    assert record["verdict"] == "leaks"
    leaks = [one for one in record["findings"] if one["severity"] == "leak"]
    assert [(one["tier"], one["parts"], one["examples"]) for one in leaks if one["tier"] == "turned"] == [
        ("turned", ["test", "train"], [["p0-0.png", "p9-2.png"]])
    ]
    # Both labels of the one image cannot be right, whatever the split: mended, the proposal is clean.
    assert [one["tier"] for one in leaks if one["tier"] != "turned"] == ["conflict"]
    text = (leaky / "cohort.csv").read_text().replace("p9-2.png,b", "p9-2.png,a")
    (leaky / "cohort.csv").write_text(text)
    proposed = out / "splits.csv"
    cohort = read_manifest(leaky / "cohort.csv")
    part = dict(zip(cohort.image, read_split(proposed, cohort).parts[0].assignment, strict=True))
    assert part["p0-0.png"] == part["p9-2.png"]
    again = call("audit", leaky / "cohort.csv", proposed, "--out", leaky / "again")
    assert again.exit_code == 0, again.output
    assert "found no leak" in again.output


def test_baselines_are_judged_by_patient(leaky: Path) -> None:
    call("audit", leaky / "cohort.csv", leaky / "splits.csv", "--out", leaky / "audit")
    record = read_json(leaky / "audit" / "baselines.json")
    assert record["unit"] == "patient"
    assert set(record["arms"]) >= {"majority", "mean-rgb", "colour-histogram"}


def test_what_cannot_be_read_ends_with_2(leaky: Path) -> None:
    assert call("audit", leaky / "nowhere").exit_code == 2
    (leaky / "splits.csv").write_text("image_path,split\nother.png,train\n")
    assert call("audit", leaky / "cohort.csv", leaky / "splits.csv", "--out", leaky / "audit").exit_code == 2


def test_a_study_stops_at_the_gate_before_anything_is_trained(leaky: Path) -> None:
    (leaky / "study.yaml").write_text(
        "name: s\ncohort: {path: cohort.csv}\nsplit: {file: splits.csv}\ntiles: {tile_px: 127}\n"
        "training: {epochs: 1, threads: 1}\narms: {given: {batch: 8}}\nseeds: [0]\n"
    )
    with pytest.raises(GateError, match="Nothing was trained") as stopped:
        run_study(leaky / "study.yaml")
    assert "flips or rotations by 90°" in str(stopped.value)
    run = leaky / "runs" / "s"
    assert (run / "records" / "audit.json").is_file()
    assert (run / "records" / "audit" / "splits.csv").is_file()
    assert not (run / "arms").exists()
    assert call("run", leaky / "study.yaml").exit_code == 3
    # Whoever wants to go on in spite of it can, and the record stays.
    done = run_study(leaky / "study.yaml", overrides={"audit.gate": "warn"})
    assert read_json(done / "records" / "audit.json")["verdict"] == "leaks"
    assert (done / "report.html").is_file()


def audited(folder: Path, parts: list[tuple[str, str]], *options: str) -> Result:
    write_csv(folder / "parts.csv", ("image_path", "split"), parts)
    out = folder / "out"
    return call("audit", folder / "cohort.csv", folder / "parts.csv", "--out", out, "--no-rotated", *options)


def names(folder: Path) -> list[str]:
    return [f"p{patient}-{number}.png" for patient in range(10) for number in range(3)]


def test_a_file_without_val_is_audited_as_it_is(leaky: Path) -> None:
    """Drawn by image, a validation part would divide patients that the file doesn't."""
    found = audited(leaky, [(name, "test" if name[1] in "789" else "train") for name in names(leaky)])
    assert " val" not in found.output
    assert "mean-rgb" in found.output


def test_parts_that_lack_a_class_are_audited_not_refused(leaky: Path) -> None:
    # Patients of even numbers are of class a: train has no image of b.
    parts = [(name, "train" if name[1] in "0246" else "test" if name[1] in "8" else "val") for name in names(leaky)]
    found = audited(leaky, parts)
    assert found.exit_code in (0, 3), found.output
    assert "train has no image of class 'b'" in found.output
    assert "test has no image of class 'b'" in found.output
    assert "no second class in train" in found.output
    found = audited(leaky, [(name, "train") for name in names(leaky)])
    assert "no test part" in found.output
    found = audited(leaky, [(name, "test" if name[1] in "8" else "train") for name in names(leaky)])
    assert "test has no image of class 'b'" in found.output
    assert "majority" in found.output


def test_damaged_images_are_named_with_their_number(leaky: Path) -> None:
    (leaky / "p3-1.png").write_bytes((leaky / "p3-1.png").read_bytes()[:300])
    (leaky / "p4-0.png").write_bytes(b"")
    for found in (
        audited(leaky, [(name, "test" if name[1] in "789" else "train") for name in names(leaky)]),
        call("cohort", leaky / "cohort.csv"),
    ):
        assert "2 " in found.output and "cannot be read" in found.output
        assert "p3-1.png" in found.output and "p4-0.png" in found.output
    record = json.loads(call("cohort", leaky / "cohort.csv", "--json").stdout)
    assert [one["path"] for one in record["unreadable"]] == ["p3-1.png", "p4-0.png"]
    assert json.loads(call("cohort", leaky / "cohort.csv", "--json", "--no-decode").stdout)["unreadable"] is None


def test_the_audit_tells_how_far_it_is(leaky: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    audit_images(leaky / "cohort.csv", None, leaky / "out", talk=Progress(step=lambda *step: steps.append(step)))
    assert {"describing tiles", "comparing tiles", "searching for rotated crops"} <= {label for label, _, _ in steps}
    assert all(0 < done <= total for _, done, total in steps)
