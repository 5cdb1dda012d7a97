"""A trained model given images: from a run, a bundle, an export; with labels and without; one call per row."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from make_study import make_images
from PIL import Image
from typer.testing import CliRunner

from counterstain.cli import app
from counterstain.errors import InputError
from counterstain.evaluation.calibration import read_calibration
from counterstain.evaluation.metrics import image_loss, roc_auc
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictions_csv import read_predictions, write_predictions
from counterstain.files import read_json
from counterstain.learning.bundle import SUMS
from counterstain.learning.model_choice import choose_model, ensemble_calibration, title_of
from counterstain.study.predicting import PredictionOptions, predict_images
from counterstain.study.run import run_study

STUDY = """\
name: small
cohort: {path: images/cohort.csv}
tiles: {tile_px: 127, fit: stretch}
training: {epochs: 3, learning_rate: 1e-3, precision: fp32, threads: 1}
augmentation: {mode: none}
audit: {gate: "off", baselines: false}
arms:
  slow: {network: given, batch: 64, learning_rate: 1e-6, epochs: 1}
  good: {network: given, batch: 8}
seeds: [0, 1]
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("study")
    make_images(home / "images", patients=44, each=8)
    (home / "study.yaml").write_text(STUDY)
    return run_study(home / "study.yaml")


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures of both kinds in a flat folder."""
    folder = tmp_path_factory.mktemp("new")
    random = np.random.default_rng(9)
    for number in range(8):
        pixels = random.integers(0, 140, (40, 40, 3)) + 60 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_the_best_arm_on_validation_data_is_taken(run: Path) -> None:
    def score(folder: Path) -> tuple[float, float]:
        table = read_predictions(folder / "raw_val.csv")
        return roc_auc(table.label == 1, table.prob[:, 1]), -image_loss(table.label, table.prob).mean()

    places = {(arm, seed): run / f"arms/{arm}/seed-{seed}/fold-0-0" for arm in ("slow", "good") for seed in (0, 1)}
    means = {arm: np.mean([score(places[arm, seed]) for seed in (0, 1)], axis=0).tolist() for arm in ("slow", "good")}
    best = max(means, key=lambda arm: means[arm])
    seed = max((0, 1), key=lambda seed: score(places[best, seed]))
    choice = choose_model(run)
    assert choice.folders == (places[best, seed],)
    assert f"arm {best}, seed {seed}" in choice.words and "validation part by AUROC" in choice.words
    assert choose_model(run, arm="slow", seed=1).folder == places["slow", 1]
    assert choose_model(run, arm="good", ensemble=True).folders == (places["good", 0], places["good", 1])
    for wanted, words in (
        ({"arm": "godo"}, "did you mean 'good'"),
        ({"seed": 7}, "--seed 7; known: 0, 1"),
        ({"fold": "1-0"}, "--fold 1-0"),
        ({"seed": 1, "ensemble": True}, "two seeds or more"),
    ):
        with pytest.raises(InputError, match=words):
            choose_model(run, **wanted)
    with pytest.raises(InputError, match="--ensemble is for a run"):
        choose_model(places["good", 0], ensemble=True)


def test_a_flat_folder_without_labels(run: Path, new: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["predict", str(run), str(new), "--out", str(tmp_path / "p.csv"), "--sheet", str(tmp_path / "s.png")]
    )
    assert result.exit_code == 0, result.output
    table = rows(tmp_path / "p.csv")
    assert [row["image_path"] for row in table] == [f"{number}.png" for number in range(8)]
    assert "label" not in table[0] and "predicted" not in table[0]
    fitted = read_calibration(choose_model(run).folder)
    assert fitted is not None and fitted.threshold is not None
    for row in table:  # one call, by the rule that stands beside it
        assert row["decision"] == ("b" if float(row["prob_b"]) >= fitted.threshold else "a")
        assert row["decision_rule"] == f"prob_b >= {fitted.threshold:.6g} (youden)"
        assert row["seen_in_training"] == "no"
    calls = [row["decision"] for row in table]
    first = result.stdout.splitlines()[0]
    assert first.startswith("8 images: ")
    assert f"{calls.count('a')} a" in first and f"{calls.count('b')} b" in first
    assert "0 seen in training" in first
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.width > 900 and sheet.height > 400
    assert not (tmp_path / "store").exists()


def test_with_labels_it_scores_and_the_next_lines_run(run: Path, tmp_path: Path) -> None:
    make_images(tmp_path / "other", patients=4, each=2, seed=5)
    out = tmp_path / "p.csv"
    result = CliRunner().invoke(app, ["predict", str(run), str(tmp_path / "other" / "cohort.csv"), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "AUROC" in result.stdout
    lines = result.stdout.splitlines()
    commands = [line.split() for line in lines[lines.index("Next:") + 1 :]]
    assert [command[1] for command in commands] == ["evaluate", "explain", "predict", "predict"]
    for command in (commands[0], *commands[2:]):
        done = CliRunner().invoke(app, command[1:])
        assert done.exit_code == 0, done.output


def test_an_ensemble_speaks_once_and_of_itself(run: Path, tmp_path: Path) -> None:
    make_images(tmp_path / "other", patients=4, each=2, seed=5)
    out, source = tmp_path / "p.csv", tmp_path / "other" / "cohort.csv"
    asked = ["predict", str(run), str(source), "--arm", "good", "--ensemble", "--out", str(out)]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    assert result.output.count("runtime:") == 1
    # Neither one training nor a test part, and nothing that one member promised.
    assert "mean of 2 seeds" in result.stdout and "(1 seed)" not in result.stdout
    assert "test part" not in result.stdout and "a single training run" not in result.stdout
    table = rows(out)
    positive = [name for name in table[0] if name.startswith("prob_")][-1].removeprefix("prob_")
    hits = [row["decision"] == positive for row in table if row["label"] == positive]
    assert hits
    assert f"sensitivity {np.mean(hits):.3f} ({sum(hits)} of {len(hits)})" in result.stdout
    command = next(line for line in result.stdout.splitlines() if line.startswith("  counterstain evaluate")).split()
    assert "--model" not in command and "--threshold" in command
    done = CliRunner().invoke(app, command[1:])
    assert done.exit_code == 0, done.output


def test_pictures_unlike_the_training_ones_are_flagged(run: Path, new: Path, tmp_path: Path) -> None:
    stripes = np.zeros((60, 60, 3), np.uint8)
    stripes[:, ::8] = 255
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    found = predict_images(run, [new, tmp_path / "stripes.png"], tmp_path / "p.csv")
    assert found.unfamiliar is not None and found.distance is not None
    flags = {row["image_path"].split("/")[-1]: row["unfamiliar"] for row in rows(tmp_path / "p.csv")}
    assert flags["stripes.png"] == "yes"
    assert sum(flag == "yes" for flag in flags.values()) <= 3
    assert "unlike the training images" in found.summary()


def test_seen_images_and_unreadable_ones_are_told(run: Path, new: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    trained = next(row for row in rows(run / "records" / "splits.csv") if row["split"] == "train")["image_path"]
    (folder / "renamed.png").write_bytes((run.parent.parent / "images" / trained).read_bytes())
    (folder / "fresh.png").write_bytes((new / "0.png").read_bytes())
    (folder / "broken.png").write_bytes(b"not a picture")
    out = tmp_path / "p.csv"
    result = CliRunner().invoke(app, ["predict", str(run), str(folder), "--out", str(out), "--json"])
    assert result.exit_code == 3
    record = json.loads(result.stdout)
    assert (record["images"], record["seen_in_training"]) == (2, 1)
    assert record["set_aside"][0][0] == "broken.png"
    assert {row["image_path"]: row["seen_in_training"] for row in rows(out)} == {
        "fresh.png": "no",
        "renamed.png": "yes",
    }
    for path in folder.iterdir():
        path.write_bytes(b"not a picture")
    result = CliRunner().invoke(app, ["predict", str(run), str(folder), "--out", str(out)])
    assert result.exit_code == 2 and "3 of 3 images cannot be read (100 %)" in result.stderr


def test_an_ensemble_is_calibrated_on_its_own_mean(run: Path, new: Path, tmp_path: Path) -> None:
    choice = choose_model(run, arm="good", ensemble=True)
    tables = [read_predictions(folder / "raw_val.csv") for folder in choice.folders]
    fitted = ensemble_calibration(choice)
    assert fitted is not None and fitted.images == len(tables[0])
    # The temperature's loss on the averaged validation predictions is the lowest of those near it.
    mean = np.mean([table.prob for table in tables], axis=0)

    def loss(temperature: float) -> float:
        scaled = np.log(np.clip(mean, 1e-7, 1)) / temperature
        prob = np.exp(scaled) / np.exp(scaled).sum(axis=1, keepdims=True)
        return float(-np.log(prob[np.arange(len(mean)), tables[0].label]).mean())

    at = fitted.parameters["temperature"]
    if len(set(tables[0].patient)) >= 10:
        assert loss(at) <= min(loss(at * 1.1), loss(at / 1.1))
    found = predict_images(run, [new], tmp_path / "p.csv", options=PredictionOptions(arm="good", ensemble=True))
    own = [
        predict_images(run, [new], tmp_path / f"{seed}.csv", options=PredictionOptions(arm="good", seed=seed))
        for seed in (0, 1)
    ]
    called = np.stack([one.prob[np.arange(8), found.call] for one in own])
    assert found.spread is not None
    np.testing.assert_allclose(found.spread, called.std(axis=0, ddof=1), atol=1e-12)
    assert "spread" in rows(tmp_path / "p.csv")[0]


@pytest.mark.parametrize("verb", ["export", "features", "robustness", "explain"])
def test_other_verbs_take_a_run_in_the_same_way(run: Path, verb: str, tmp_path: Path) -> None:
    cohort = str(run.parent.parent / "images" / "cohort.csv")
    more = {
        "export": ["--out", str(tmp_path / "x"), "--formats", "none"],
        "features": [cohort, "--out", str(tmp_path / "x"), "--fit", "stretch", "--columns", "slide_id=patient_id"],
        "robustness": [cohort, "--out", str(tmp_path / "x"), "--only", "blur_px", "--sample", "8"],
        "explain": [cohort, "--out", str(tmp_path / "x"), "--trials", "4"],
    }[verb]
    result = CliRunner().invoke(app, [verb, str(run), *more])
    assert result.exit_code in (0, 3), result.output
    assert "model: arm" in result.stderr
    refused = CliRunner().invoke(app, [verb, str(run), *more, "--arm", "godo"])
    assert refused.exit_code == 2 and "did you mean 'good'" in refused.stderr


def test_predictions_of_a_study_have_one_call_too(run: Path) -> None:
    place = run / "arms/good/seed-0/fold-0-0"
    header = rows(place / "predictions.csv")[0].keys()
    assert list(header)[-3:] == ["decision", "decision_rule", "prediction_set"]
    assert read_json(place / "calibration.json")["threshold_rule"] == "youden"


@pytest.mark.parametrize(("signal", "patients", "words"), [(3.0, 40, ""), (0.0, 40, "contains 0.5"), (3.0, 2, "few")])
def test_an_arm_that_may_be_guessing_is_not_only_called_the_best(
    tmp_path: Path, signal: float, patients: int, words: str
) -> None:
    random = np.random.default_rng(3)
    for arm in ("a", "b"):
        label = np.arange(4 * patients) % (4 * patients) // 4 % 2
        prob = 1 / (1 + np.exp(-(signal * (label - 0.5) + random.normal(0, 1, len(label)))))
        names = tuple(map(str, range(len(label))))
        table = Predictions(
            image=names, patient=tuple(f"p{k // 4}" for k in range(len(label))), slide=("",) * len(label),
            site=("",) * len(label), label=label.astype(np.int64), prob=np.stack([1 - prob, prob], 1),
            classes=("no", "yes"),
        )  # fmt: skip
        folder = tmp_path / "runs/r/arms" / arm / "seed-0/fold-0-0"
        write_predictions(table, folder / "raw_val.csv")
        (folder / SUMS).write_text("")
    said = choose_model(tmp_path / "runs/r").words
    assert "best on the validation part by AUROC" in said
    assert (words in said) if words else ("chance" not in said), said


def test_a_model_is_called_by_run_arm_seed_and_fold(run: Path, tmp_path: Path) -> None:
    assert title_of(run / "arms/good/seed-1/fold-0-0") == "small (arm good, seed 1, fold 0-0)"
    out, cohort = tmp_path / "card", str(run.parent.parent / "images" / "cohort.csv")
    asked = ["robustness", str(run), cohort, "--out", str(out), "--only", "blur_px", "--sample", "8"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert "<h1>small (arm good, seed 0, fold 0-0)</h1>" in (out / "robustness.html").read_text(encoding="utf-8")
