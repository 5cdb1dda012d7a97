"""A study of several findings per image, from the table to the report and to new images; and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from counterstain.api.finding_evaluation import evaluate_findings
from counterstain.cli import app
from counterstain.cohort.manifest import read_manifest
from counterstain.errors import InputError
from counterstain.evaluation.finding_scores import MEAN, read_findings
from counterstain.evaluation.findings_csv import read_finding_table
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.evaluation.text_tables import findings_table
from counterstain.files import hash_file, read_json, write_csv
from counterstain.learning.bundle import load_network
from counterstain.learning.findings_network import FindingsNetwork, any_logits
from counterstain.learning.objective import Objective
from counterstain.progress import Progress, TrainingProgress
from counterstain.study.finding_predictions import read_finding_calibration
from counterstain.study.run import run_study
from counterstain.study.study_config import read_study

STUDY = """\
name: several
cohort: {path: cohort.csv, findings: [red, green, blue]}
tiles: {tile_px: 32}
augmentation: {mode: none}
training: {epochs: 25, patience: 25, learning_rate: 2e-2, precision: fp32, threads: 1, batch: 16}
audit: {gate: "off", baselines: false}
arms:
  plain: {network: "nets.py:tiny"}
  smooth: {network: "nets.py:tiny", label_smoothing: 0.1, mixup: 0.1, focal: 1}
seeds: [0, 1]
"""
NETS = """\
from torch import nn


def tiny(classes):
    maps = (nn.Conv2d(3, 12, 3, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(*maps, nn.Flatten(), nn.Linear(12, classes))
"""


def make(folder: Path) -> Path:
    """30 patients of 4 tiles; each finding brightens its own channel, and any of them may occur together."""
    random = np.random.default_rng(0)
    rows = []
    for patient in range(30):
        for number in range(4):
            has = (random.random(3) < 0.4).astype(int)
            name = f"P{patient:02}-{number}.png"
            pixels = random.integers(0, 120, (32, 32, 3)) + 100 * has
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
            rows.append((name, f"P{patient:02}", *has.tolist()))
    write_csv(folder / "cohort.csv", ("image_path", "patient_id", "red", "green", "blue"), rows)
    (folder / "nets.py").write_text(NETS)
    (folder / "study.yaml").write_text(STUDY)
    return folder / "study.yaml"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("findings"))


@pytest.fixture(scope="module")
def run(study: Path) -> Path:
    return run_study(study)


def test_any_finding_by_hand() -> None:
    # p = 0.5 and 0.2: none of both 0.5 · 0.8 = 0.4.
    logits = torch.tensor([[0.0, float(np.log(0.25))]])
    assert any_logits(logits).softmax(1)[0].tolist() == pytest.approx([0.4, 0.6], abs=1e-6)
    assert torch.isfinite(any_logits(torch.tensor([[-200.0, -200.0], [200.0, 200.0]]))).all()


def test_the_loss_is_the_mean_binary_cross_entropy() -> None:
    logits, target = torch.randn(5, 3), (torch.rand(5, 3) > 0.5).long()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, target.float())
    assert float(Objective().loss(logits, target)) == pytest.approx(5 * float(expected), rel=1e-6)
    smooth = 0.9 * target.float() + 0.05
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, smooth)
    assert float(Objective(smoothing=0.1).loss(logits, target)) == pytest.approx(5 * float(expected), rel=1e-6)


def test_a_table_of_findings_is_read(study: Path) -> None:
    cohort = read_manifest(study.parent / "cohort.csv", findings=["red", "blue"])
    assert cohort.classes == ("none", "any finding") and cohort.positive == "any finding"
    assert cohort.present is not None and cohort.present.shape == (120, 2)
    assert np.array_equal(cohort.present.any(1), cohort.label_index == 1)
    some = cohort.subset([5, 7])
    assert some.present is not None and np.array_equal(some.present, cohort.present[[5, 7]])


def test_every_finding_is_learnt_and_reported(run: Path) -> None:
    record = read_json(run / "records/findings.json")
    found = {(one["arm"], one["finding"], one["metric"]): one for one in record["scores"]}
    for arm in ("plain", "smooth"):
        for finding in ("red", "green", "blue", MEAN):
            own = found[arm, finding, "auroc"]
            assert own["value"] > 0.8 and len(own["per_seed"]) == 2, "each finding brightens its own channel"
            assert own["low"] < own["value"]
    assert {row["finding"] for row in record["differences"]} == {"red", "green", "blue", MEAN}
    page = (run / "report.html").read_text(encoding="utf-8")
    assert 'id="findings"' in page and "An image may have several findings" in page
    head, rows = findings_table(record)
    assert head == ["finding", f"of {record['images']} images", "plain", "smooth"]
    assert [row[0] for row in rows] == ["red", "green", "blue", MEAN] and all("[" in cell for cell in rows[0][2:])
    assert (run / "findings.csv").read_text().startswith("arm,finding,metric,value,low,high")
    single = read_predictions(run / "findings/plain/seed-0/red.csv")
    whole = read_findings(run / "findings/plain/seed-0.csv")
    assert single.classes == ("no red", "red") and np.array_equal(single.prob[:, 1], whole.prob[:, 0])


def test_the_standard_part_is_about_any_finding(run: Path) -> None:
    table = read_predictions(run / "predictions/plain/seed-0.csv")
    findings = read_findings(run / "findings/plain/seed-0.csv")
    assert table.classes == ("none", "any finding") and table.image == findings.image
    assert np.array_equal(table.label, findings.label.any(1))
    folder = run / "arms/plain/seed-0/fold-0-0"
    raw, own = read_predictions(folder / "raw_test.csv"), read_findings(folder / "findings_raw_test.csv")
    assert raw.prob[:, 1] == pytest.approx(1 - (1 - own.prob).prod(1), abs=1e-5)


def test_calls_are_at_thresholds_frozen_on_validation_images(run: Path) -> None:
    folder = run / "arms/plain/seed-1/fold-0-0"
    fitted = read_finding_calibration(folder)
    table = read_findings(folder / "findings_test.csv")
    assert table.called is not None
    for k, name in enumerate(table.findings):
        threshold = fitted[name].threshold
        assert threshold is not None
        assert np.array_equal(table.called[:, k], (table.prob[:, k] >= threshold).astype(int))


def test_a_stopped_training_ends_in_the_same_bytes(run: Path, study: Path, tmp_path: Path) -> None:
    def stop(label: str, progress: TrainingProgress) -> None:
        if progress.val_loss is not None and progress.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(study, folder=tmp_path, talk=Progress(trained=stop))
    again = run_study(study, folder=tmp_path)
    for name in ("model.safetensors", "findings_test.csv", "predictions.csv"):
        place = f"arms/smooth/seed-0/fold-0-0/{name}"
        assert hash_file(again / place) == hash_file(run / place)


def test_the_bundle_is_a_model_of_two_classes_that_knows_its_findings(run: Path) -> None:
    bundle, network = load_network(run / "arms/plain/seed-0/fold-0-0")
    assert bundle.classes == ("none", "any finding")
    assert isinstance(network, FindingsNetwork) and network.findings == ("red", "green", "blue")
    tiles = torch.rand(2, 3, 32, 32)
    assert network.body(tiles).shape == (2, 3) and network(tiles).shape == (2, 2)


def test_new_images_get_every_finding(run: Path, study: Path, tmp_path: Path) -> None:
    for name in ("P00-0.png", "P01-1.png"):
        (tmp_path / name).write_bytes((study.parent / name).read_bytes())
    done = CliRunner().invoke(
        app, ["predict", str(run), str(tmp_path), "--arm", "plain", "--seed", "0", "--out", str(tmp_path / "p.csv")]
    )
    assert done.exit_code == 0, done.output
    header, *rows = (tmp_path / "p.csv").read_text().splitlines()
    columns = header.split(",")
    assert {"finding_red", "finding_green", "finding_blue", "has_red", "has_blue"} <= set(columns)
    cells = dict(zip(columns, rows[0].split(","), strict=True))
    assert 0 <= float(cells["finding_red"]) <= 1 and cells["has_red"] in ("yes", "no")
    assert "findings: red" in done.stdout


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"cohort.findings": "[red, grean]"}, "did you mean 'green'"),
        ({"cohort.findings": "[red]"}, "two or more different columns"),
        ({"cohort.findings": "[red, patient_id]"}, "0 or 1 is needed"),
        ({"cohort.positive": "red"}, r"cohort\.positive is for one label per image"),
        ({"arms.plain.class_weights": "balanced"}, "without class_weights, sampler or ordinal"),
        ({"arms.plain.ordinal": "1", "cohort.order": "[a, b, c]"}, r"cohort\.order is for one label per image"),
    ],
)
def test_what_is_for_one_label_is_refused(study: Path, tmp_path: Path, changed: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        run_study(study, overrides=changed, folder=tmp_path)


def test_findings_in_all_images_or_none_are_refused(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.png").touch()
    for rows, words in (("a.png,1,0\nb.png,1,0\n", "every image has finding 'x'"),
                        ("a.png,0,1\nb.png,0,0\n", "no image has finding 'x'"),
                        ("a.png,1,0\nb.png,0,1\n", "images without any are needed")):  # fmt: skip
        (tmp_path / "t.csv").write_text("image_path,x,y\n" + rows)
        with pytest.raises(InputError, match=words):
            read_manifest(tmp_path / "t.csv", findings=["x", "y"])


def test_a_study_of_findings_is_valid(study: Path) -> None:
    assert read_study(study).cohort.findings == ["red", "green", "blue"]


def test_new_images_whose_findings_are_known_are_scored(run: Path, study: Path, tmp_path: Path) -> None:
    """A table with a column for each finding; what is written is scored again, together, by evaluate."""
    out = tmp_path / "p.csv"
    asked = ["predict", str(run), str(study.parent / "cohort.csv"), "--arm", "plain", "--seed", "0", "--out", str(out)]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    known = read_manifest(study.parent / "cohort.csv", findings=["red", "green", "blue"])
    table = read_finding_table(out)
    assert known.present is not None and np.array_equal(table.label, known.present)
    assert table.called is not None and table.findings == ("red", "green", "blue")
    mean = float(evaluate_findings(out).score())
    assert f"{MEAN}" in done.stdout and f"{mean:.3f} [" in done.stdout
    # A cell that is empty is no finding that is absent.
    lines = (study.parent / "cohort.csv").read_text().splitlines()
    place = study.parent / "some.csv"
    place.write_text("\n".join([lines[0], lines[1].rpartition(",")[0] + ",", *lines[2:]]) + "\n")
    done = CliRunner().invoke(app, [*asked[:2], str(place), *asked[3:]])
    assert done.exit_code == 0 and "some.csv leaves some of them empty" in done.stderr, done.output
    assert "label_red" not in out.read_text().splitlines()[0]
