"""The verbs from Python, on a small cohort: what they return, what they write, and that the process stays as it was."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import counterstain
from counterstain.files import read_json

STUDY = """\
name: small
cohort: {path: images/cohort.csv}
tiles: {tile_px: 127, fit: stretch}
training: {epochs: 2, learning_rate: 1e-3, precision: fp32, threads: 1}
arms:
  given-8: {network: given, batch: 8}
  modified-16: {network: modified, batch: 16}
seeds: [0]
audit: {rotated: false}
"""


def state() -> dict[str, object]:
    """What of the process a verb might change; pytest's own variable aside."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return own | {"torch threads": torch.get_num_threads(), "OpenCV threads": cv2.getNumThreads()}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """images/ with cohort.csv (class b brighter, patients P00 to P11, two sites), and study.yaml."""
    folder = tmp_path_factory.mktemp("verbs")
    random = np.random.default_rng(0)
    lines = ["image_path,label,patient_id,site"]
    for patient in range(12):
        label = "ab"[patient % 2]
        (folder / "images" / label).mkdir(parents=True, exist_ok=True)
        for number in range(4):
            pixels = random.integers(0, 140, (40, 40, 3)) + 60 * (label == "b")
            name = f"{label}/P{patient:02}-{number}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / name)
            lines.append(f"{name},{label},P{patient:02},{'XY'[patient // 6]}")
    (folder / "images" / "cohort.csv").write_text("\n".join(lines) + "\n")
    (folder / "study.yaml").write_text(STUDY)
    return folder


@pytest.fixture(scope="module")
def run(home: Path) -> counterstain.StudyRun:
    before = state()
    finished = counterstain.run(home / "study.yaml")
    assert state() == before
    return finished


def test_cohort_and_split(home: Path, tmp_path: Path) -> None:
    cohort = counterstain.cohort(home / "images" / "cohort.csv", positive="a", out=tmp_path / "cohort.csv")
    assert cohort.positive == "a" and len(cohort) == 48 and (tmp_path / "cohort.csv").is_file()
    assert repr(cohort) == "Cohort(48 images of 12 patients: 24 b, 24 a)"
    assert '"positive": "a"' in cohort.to_json()
    split = counterstain.split(cohort, folds=3, out=tmp_path / "splits.csv")
    patient = np.array(cohort.patient)
    tested = []
    for train, test in split:
        assert not set(patient[train]) & set(patient[test])
        tested += test.tolist()
    assert sorted(tested) == list(range(48)) and len(split) == 3
    for part in split.parts:
        assert sorted([*part.train, *part.val, *part.test]) == list(range(48))
    assert counterstain.read_split(tmp_path / "splits.csv", cohort).parts == split.parts
    assert len(counterstain.split(str(home / "images" / "cohort.csv"), sites=True)) == 2
    assert json.loads(split.to_json())["unit"] == "patient"


def test_scikit_learn_takes_a_split_as_its_folds(home: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    cohort = counterstain.cohort(home / "images" / "cohort.csv")
    split = counterstain.split(cohort, folds=3)
    bright = np.array([np.asarray(Image.open(cohort.root / name)).mean() for name in cohort.image])[:, None]
    accuracy = cross_val_score(LogisticRegression(), bright, cohort.label_index, cv=split)
    assert accuracy.tolist() == [1.0, 1.0, 1.0]


def test_external_test_parts_are_the_test_where_there_is_no_other() -> None:
    part = counterstain.Fold(0, 0, ("train", "val", "test_x", "test_y", ""))
    assert part.test.tolist() == [2, 3]
    assert counterstain.Fold(0, 0, ("train", "test", "test_x")).test.tolist() == [1]


def test_audit(home: Path, tmp_path: Path) -> None:
    cohort = counterstain.cohort(home / "images" / "cohort.csv")
    counterstain.split(cohort, out=tmp_path / "splits.csv")
    before = state()
    clean = counterstain.audit(
        home / "images" / "cohort.csv", tmp_path / "splits.csv", out=tmp_path / "audit", rotated=False
    )
    assert state() == before
    assert clean.clean and clean.leaks == () and clean.images == 48 and clean.copies["bytes"] == 0
    assert json.loads(clean.to_json()) == read_json(tmp_path / "audit" / "audit.json")
    words = (tmp_path / "splits.csv").read_text().splitlines()
    first = words[1].split(",")[1]
    words[1] = words[1].replace(first, "test" if first == "train" else "train")
    (tmp_path / "leaky.csv").write_text("\n".join(words) + "\n")
    leaky = counterstain.audit(
        home / "images" / "cohort.csv", tmp_path / "leaky.csv", out=tmp_path / "leaky", rotated=False
    )
    assert not leaky.clean and leaky.leaks[0].tier == "patient" and "leak" in leaky.summary()
    assert leaky.to_frame()["severity"].iloc[0] == "leak"


@pytest.mark.slow
def test_a_run_its_scores_and_its_model(home: Path, run: counterstain.StudyRun) -> None:
    plan = counterstain.run(home / "study.yaml", dry_run=True, settings={"seeds": [0, 1]})
    assert len(plan.trainings) == 4 and plan.name == "small" and "4 trainings" in repr(plan)
    assert run.arms == ("given-8", "modified-16") and run.report.is_file()
    record = read_json(run.folder / "records" / "scores.json")["arms"]["given-8"]["scores"]
    auroc = next(row for row in record if row["metric"] == "auroc" and row["level"] == "image")
    assert run.scores["given-8"]["auroc"].value == auroc["value"]
    assert run.comparison is not None and run.comparison.verdict is counterstain.Verdict.NOT_ENOUGH_RUNS
    model = run.model(arm="given-8")
    images = sorted((home / "images" / "a").glob("*.png"))
    assert model.predict(images).classes == ("a", "b")
    best = counterstain.load_model(run.folder)
    assert best.folder.is_relative_to(run.folder) and "validation" in best.choice
    assert counterstain.report(run.folder) == run.report


@pytest.mark.slow
def test_train_predict_robustness_explain_and_export(home: Path, tmp_path: Path) -> None:
    cohort = home / "images" / "cohort.csv"
    counterstain.split(cohort, out=tmp_path / "splits.csv")
    before = state()
    folder = counterstain.train(
        cohort, tmp_path / "splits.csv", tmp_path / "model", batch=8, epochs=2, tile_px=127, device="cpu",
        precision="fp32", settings={"epsilon": 1e-7},
    )  # fmt: skip
    predicted = counterstain.predict(folder, cohort, out=tmp_path / "p.csv", splits=tmp_path / "splits.csv")
    table = counterstain.read_predictions(tmp_path / "p.csv")
    assert np.array_equal(predicted.prob, table.prob) and len(repr(predicted)) < 200
    assert table.classes == ("a", "b") and len(table) < 48
    assert counterstain.evaluate(table, model=folder).record["seen"]
    # A model of two epochs on few test patients: no AUROC of 1 is sure.
    (tmp_path / "budget.yaml").write_text("clean: {auroc: 1.0}\n")
    card = counterstain.robustness(
        folder,
        cohort,
        out=tmp_path / "card",
        splits=tmp_path / "splits.csv",
        only=["blur_px"],
        runtime="torch",
        budget=tmp_path / "budget.yaml",
    )
    assert card.trials == ("blur_px",) and card.met is False and not card.limits[0].met and card.page.is_file()
    assert "not met: " in card.summary()
    losses = card.loss("blur_px")
    assert [loss.metric for loss in losses] == ["auroc"] * len(losses) and set(card.clean) >= {"auroc"}
    assert len(card.to_frame()) == len(card.losses) and "1 trials" in repr(card)
    with pytest.raises(counterstain.InputError, match="did you mean 'blur_px'"):
        card.loss("blur_pxx")
    try:
        explanation = counterstain.explain(folder, cohort, out=tmp_path / "why", trials=4, each=1, device="cpu")
        assert explanation.method == "hirescam" and explanation.page.is_file()
    except counterstain.GateError as error:
        assert "no map is shown" in str(error)
    export = counterstain.export(folder, tmp_path / "out", formats=(), mpp=0.5, cohort=cohort)
    assert export.formats == () and export.folder == tmp_path / "out"
    assert counterstain.load_model(tmp_path / "out").mpp == 0.5
    made = counterstain.augment(cohort, out=tmp_path / "sheet.png", tile_px=64)
    assert made.is_file()
    assert state() == before


def test_phantom_and_init(tmp_path: Path) -> None:
    cohort = counterstain.phantom(tmp_path / "phantom", patients=4, tiles=2, tile_px=64, workers=1)
    assert len(set(cohort.patient)) == 4
    again = counterstain.init(tmp_path / "phantom" / "cohort.csv", out=tmp_path / "study.yaml", name="own")
    assert again.image == cohort.image and (tmp_path / "study.yaml").read_text().count("name: own") == 1


def test_verbose_speaks_on_stderr_and_otherwise_nothing_does(
    home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    counterstain.run(home / "study.yaml", dry_run=True, folder=tmp_path)
    assert capfd.readouterr() == ("", "")
    counterstain.run(home / "study.yaml", dry_run=True, folder=tmp_path, verbose=True)
    out, err = capfd.readouterr()
    assert out == "" and "cohort: 48 images" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 0}, "`folds` is 0; 1 or more"),
        ({"folds": -3}, "`folds` is -3; 1 or more"),
        ({"repeats": 0}, "`repeats` is 0; 1 or more"),
        ({"repeats": 2}, "`repeats` is of folds by patient"),
        ({"sites": True, "repeats": 2}, "`repeats` is of folds by patient"),
        ({"sites": True, "folds": 2}, "name one of the two"),
        ({"sites": True, "preserve_sites": True}, "name one of the two"),
        ({"folds": 3, "test": 0.3}, "`test` is of a single split"),
    ],
)
def test_what_a_division_would_pass_over_is_refused(home: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(counterstain.InputError, match=message):
        counterstain.split(home / "images" / "cohort.csv", **options)  # type: ignore[arg-type]
