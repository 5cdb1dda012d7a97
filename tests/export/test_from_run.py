"""A run's model handed on: the right training, with what the study knows of it, by the verb and by Python."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from counterstain.cli import app
from counterstain.errors import InputError
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.export import parity
from counterstain.export.exported_model import read_export
from counterstain.export.from_run import ExportOptions, export
from counterstain.files import hash_file, read_json, write_csv
from counterstain.learning.model_choice import choose_model
from counterstain.learning.ood_statistics import distances, read_ood_statistics, seen_of
from counterstain.learning.predictor import load_predictor
from counterstain.study.run import run_study

STUDY = """\
name: small
cohort: {path: images/cohort.csv}
tiles: {tile_px: 127, fit: stretch}
training: {epochs: 4, learning_rate: 1e-3, precision: fp32, threads: 1, network: given}
augmentation: {mode: none}
arms:
  small: {batch: 16}
  large: {batch: 64}
seeds: [3]
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two arms on 30 patients of 14 tiles; class b is brighter, a little."""
    home = tmp_path_factory.mktemp("study")
    random = np.random.default_rng(0)
    rows = []
    for patient in range(30):
        label = "ab"[patient % 2]
        for number in range(14):
            pixels = random.integers(0, 140, (20, 20, 3)) + 60 * (label == "b")
            path = home / "images" / f"P{patient:02}-{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
            rows.append((path.name, label, f"P{patient:02}"))
    write_csv(home / "images" / "cohort.csv", ("image_path", "label", "patient_id"), rows)
    (home / "study.yaml").write_text(STUDY)
    return run_study(home / "study.yaml")


@pytest.fixture(scope="module", autouse=True)
def _unclocked() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "CLOCKED_S", 0.0)
        yield


def test_the_training_is_the_one_named_or_the_best_on_validation_data(run: Path) -> None:
    folder = choose_model(run, arm="small").folder
    assert folder == run / "arms" / "small" / "seed-3" / "fold-0-0"
    assert choose_model(folder).folder == folder
    assert choose_model(run).folder.parts[-3] in ("small", "large")
    with pytest.raises(InputError, match="no such training"):
        choose_model(run, arm="small", seed=4)
    with pytest.raises(InputError, match="are for a run"):
        choose_model(folder, arm="small")
    with pytest.raises(InputError, match="neither a run"):
        choose_model(run / "figures")


@pytest.mark.slow
def test_export_of_a_run(run: Path, tmp_path: Path) -> None:
    """Everything at once: the verb, the formats, int8, features, scores, hashes."""
    to = tmp_path / "out"
    asked = ["export", str(run), "--arm", "small", "--out", str(to), "--mpp", "0.5", "--int8", "--licence", "mit",
             "--json"]  # fmt: skip
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    bundle, record = read_export(to)
    assert said["parity"] == record["parity"]
    assert bundle.mpp == 0.5
    assert {row["tiles"] for row in record["parity"]} == {20 + 16}
    assert [row["runtime"] for row in record["parity"]] == ["torch", "wsinfer", "onnx", "openvino", "int8"]
    assert record["hashes"]["split"] == hash_file(run / "records" / "splits.csv")
    folder = choose_model(run, arm="small").folder
    fitted = read_json(folder / "calibration.json")
    assert record["calibration"] == fitted
    _check_int8(record, folder)
    _check_features(to, run, record)
    card = (to / "README.md").read_text(encoding="utf-8")
    # The scores are of the exported model itself: by hand, from the predictions that its training kept.
    from sklearn.metrics import roc_auc_score

    kept = read_predictions(folder / "predictions.csv")
    assert f"| auroc | image | {roc_auc_score(kept.label, kept.prob[:, 1]):.3f} |" in card
    assert "Scores of this exported model on" in card and "(arm small, seed 3, fold 0-0)" in card
    assert said["images_per_s"].keys() == {row["runtime"] for row in record["parity"]}
    assert record["int8"]["words"] in card


def _check_int8(record: dict, folder: Path) -> None:
    lost, validation = record["int8"], read_predictions(folder / "predictions_val.csv")
    assert lost["images"] == len(validation)
    assert lost["units"] == len(set(validation.patient))
    assert lost["unit"] == "patient"
    assert lost["low"] <= lost["loss"] <= lost["high"]
    # The reference is this model: its AUROC is that of the predictions the study kept.
    from sklearn.metrics import roc_auc_score

    assert lost["auroc_torch"] == pytest.approx(roc_auc_score(validation.label, validation.prob[:, 1]), abs=1e-6)
    assert lost["loss"] == pytest.approx(lost["auroc_torch"] - lost["auroc"])


def _check_features(to: Path, run: Path, record: dict) -> None:
    familiar = read_ood_statistics(to / record["features"]["file"])
    assert record["features"]["limit"] == familiar.limit
    counts = read_json(run / "records" / "split.json")["parts"][0]["counts"]
    assert (familiar.fitted_on, familiar.held_out) == (counts["train"]["images"], counts["val"]["images"])
    predictor = load_predictor(to)
    stripes = np.zeros((4, 127, 127, 3), np.uint8)
    stripes[:, ::8] = 255
    found = distances(seen_of(predictor.network, predictor.to_tensor, stripes), familiar)
    assert (found > familiar.limit).all()  # nothing like the noise that it was trained on


@pytest.mark.slow
def test_a_bundle_alone_and_its_cohort(run: Path, tmp_path: Path) -> None:
    """Copied out of its run a bundle knows neither split nor scores; a cohort brings the features back."""
    folder = choose_model(run, arm="small").folder
    alone = tmp_path / "alone"
    alone.mkdir()
    for path in folder.iterdir():
        if path.is_file():
            (alone / path.name).write_bytes(path.read_bytes())
    lines: list[str] = []
    record = export(alone, tmp_path / "bare", ExportOptions(formats=()))
    counts = read_json(run / "records" / "split.json")["parts"][0]["counts"]
    assert record["features"]["fitted_on_tiles"] == counts["train"]["images"]  # the training left its own statistics
    assert "split" not in record["hashes"]
    with pytest.raises(InputError, match="--calibrate"):
        export(alone, tmp_path / "eight", ExportOptions(formats=(), int8=True))

    from counterstain.progress import Progress

    cohort = run.parent.parent / "images" / "cohort.csv"
    record = export(alone, tmp_path / "known", ExportOptions(formats=(), cohort=cohort), Progress(say=lines.append))
    assert record["features"]["fitted_on_tiles"] == 24 * 14  # every fifth of 30 patients is held out
    assert record["features"]["limit_from_tiles"] == 6 * 14
    assert any("every 5th patient is held out" in line for line in lines)


def test_a_cohort_of_other_classes_is_refused(run: Path, tmp_path: Path) -> None:
    images = run.parent.parent / "images"
    text = (images / "cohort.csv").read_text().replace(",b,", ",c,")
    (images / "other.csv").write_text(text)
    folder = choose_model(run, arm="small").folder
    with pytest.raises(InputError, match="positive class 'b' is not among the labels; known: a, c"):
        export(folder, tmp_path / "out", ExportOptions(formats=(), cohort=images / "other.csv"))


def test_exit_codes(run: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    result = runner.invoke(app, ["export", str(run), "--arm", "small", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "--mpp" in result.stderr
    assert not (tmp_path / "out").exists()
    result = runner.invoke(app, ["export", str(run), "--arm", "small", "--formats", "keras", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "no format is called 'keras'" in result.stderr
