"""Grades: their order in cohort.order, the score that knows it with its interval by patient, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import cohen_kappa_score

import counterstain
from counterstain.errors import InputError
from counterstain.evaluation.grades import as_grades
from counterstain.evaluation.intervals import estimates, sample, units_of
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.files import read_json, write_csv
from counterstain.learning.model_choice import choose_model
from counterstain.study.run import run_study
from counterstain.study.study_config import read_study

STUDY = """\
name: grades
cohort: {path: cohort.csv, order: [low, middle, high]}
tiles: {tile_px: 64}
training: {epochs: 2, learning_rate: 1e-2, precision: fp32, threads: 1, batch: 8}
audit: {gate: warn}
arms:
  plain: {network: "nets.py:tiny"}
  graded: {network: "nets.py:tiny", ordinal: 1}
seeds: [0, 1]
comparison: {primary: QWK}
"""
NETS = """\
from torch import nn


def tiny(classes):
    return nn.Sequential(nn.Conv2d(3, 8, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """18 patients of 4 tiles; the grade is a patient's brightness."""
    random = np.random.default_rng(0)
    rows = []
    for patient in range(18):
        grade = patient % 3
        for number in range(4):
            name = f"P{patient:02}-{number}.png"
            pixels = random.integers(0, 100, (64, 64, 3)) + 60 * grade
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / name)
            rows.append((name, ("low", "middle", "high")[grade], f"P{patient:02}"))
    write_csv(tmp_path / "cohort.csv", ("image_path", "label", "patient_id"), rows)
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path / "study.yaml"


def graded(patients: int, *, seed: int = 0, copies: int = 1) -> Predictions:
    random = np.random.default_rng(seed)
    label = np.repeat(random.integers(0, 3, patients), copies)
    noise = np.repeat(random.dirichlet([1, 1, 1], patients), copies, axis=0)
    prob = 0.2 * np.eye(3)[label] + 0.8 * noise
    names = tuple(f"i{k}" for k in range(len(label)))
    owner = tuple(f"p{k // copies}" for k in range(len(label)))
    blank = ("",) * len(label)
    return Predictions(
        image=names, patient=owner, slide=blank, site=blank, label=label, prob=prob, classes=("a", "b", "c"),
        ordered=True,
    )  # fmt: skip


def kappa(table: Predictions) -> tuple[float, float, float]:
    found = estimates(sample([table], units_of([table]), level="image"))["quadratic_kappa", None]
    return found.value, found.low, found.high


def test_only_grades_have_a_quadratic_kappa() -> None:
    table = graded(60)
    value, low, high = kappa(table)
    assert -1 < low < value < high < 1
    plain = replace(table, ordered=False)
    assert ("quadratic_kappa", None) not in estimates(sample([plain], units_of([plain]), level="image"))


def test_a_perfect_kappa_has_no_interval() -> None:
    """What one failing patient would cost depends on how many grades off it would be, which nobody has seen."""
    table = graded(30)
    value, low, high = kappa(replace(table, prob=np.eye(3)[table.label]))
    assert value == 1 and np.isnan(low) and np.isnan(high)


def test_copies_of_a_patient_s_images_do_not_shrink_its_interval() -> None:
    assert kappa(graded(40, copies=5)) == pytest.approx(kappa(graded(40)))


def test_the_interval_is_about_that_of_the_bootstrap_by_patient() -> None:
    """An independent way: patients drawn anew 2,000 times, the kappa by scikit-learn."""
    table = graded(80)
    called = table.prob.argmax(1)
    random = np.random.default_rng(1)
    drawn = [
        cohen_kappa_score(table.label[rows], called[rows], weights="quadratic")
        for rows in (random.integers(0, 80, 80) for _ in range(2000))
    ]
    _, low, high = kappa(table)
    assert high - low == pytest.approx(np.quantile(drawn, 0.975) - np.quantile(drawn, 0.025), rel=0.25)


def test_grades_through_a_whole_study(study: Path) -> None:
    run = run_study(study)
    scores = read_json(run / "records" / "scores.json")
    assert scores["classes"] == ["low", "middle", "high"]
    for arm in ("plain", "graded"):
        (own,) = [
            one for one in scores["arms"][arm]["scores"]
            if one["metric"] == "quadratic_kappa" and one["level"] == "image"
        ]  # fmt: skip
        assert -1 <= own["value"] <= 1 and len(own["per_seed"]) == 2
    assert read_json(run / "records" / "comparison.json")["primary"] == "quadratic_kappa"
    assert "quadratic-weighted kappa" in (run / "report.html").read_text(encoding="utf-8")
    record = read_json(run / "arms/graded/seed-0/fold-0-0/training.json")["done"]
    assert record["objective"]["ordinal"] == 1
    header = (run / "predictions/graded/seed-0.csv").read_text().splitlines()[0]
    assert header.endswith("prob_low,prob_middle,prob_high"), "columns are in the order of the grades"
    # The run's tables don't say that their classes are grades; its study does: of baselines, of the choice of a model,
    # of new predictions, and of a comparison.
    beyond = read_json(run / "records" / "beyond_chance.json")
    assert beyond["chance"] == 0 and beyond["baseline"]["value"] is not None
    baselines = read_json(run / "records" / "baselines.json")["arms"].values()
    assert all(any(one["metric"] == "quadratic_kappa" for one in own["scores"]) for own in baselines)
    words = choose_model(run).words
    assert "best on the validation part by quadratic-weighted kappa" in words and "undefined" not in words
    predicted = counterstain.predict(run, study.parent / "cohort.csv", out=study.parent / "p.csv")
    assert predicted.scores is not None
    (kappa,) = [
        one["value"] for one in predicted.scores["arms"]["model"]["scores"]
        if (one["metric"], one["level"]) == ("quadratic_kappa", "image")
    ]  # fmt: skip
    table = as_grades(read_predictions(study.parent / "p.csv"), ["low", "middle", "high"])
    assert kappa == pytest.approx(cohen_kappa_score(table.label, table.prob.argmax(1), weights="quadratic"))
    again = counterstain.compare({str(run): run})
    assert again.record["primary"] == "quadratic_kappa"
    stated = read_json(run / "records" / "comparison.json")["pairs"][0]["difference"]
    assert again.record["pairs"][0]["difference"] == pytest.approx(stated)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"cohort.order": "[low, middle, hihg]"}, "did you mean 'high'"),
        ({"cohort.order": "[low, high]"}, "middle is missing or twice"),
    ],
)
def test_an_order_is_of_all_classes(study: Path, changed: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        run_study(study, overrides=changed)


def test_what_needs_an_order_is_refused_without(study: Path) -> None:
    with pytest.raises(InputError, match=r"quadratic_kappa, which is of grades; name them in cohort\.order"):
        read_study(study, {"cohort.order": "null"})
    with pytest.raises(InputError, match=r"arms\.graded\.ordinal is for grades"):
        read_study(study, {"cohort.order": "null", "comparison.primary": "auroc"})
