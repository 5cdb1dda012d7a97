"""The study that init writes can be run, and says where its test part supports hardly any claim."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner, Result

from counterstain.cli import app
from counterstain.cohort.splitters import check
from counterstain.study.prepare import read_cohort, split_cohort
from counterstain.study.study_config import read_study


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def cohort(folder: Path, a: int, b: int) -> Path:
    """So many patients of class a and of class b, with two images each; ids stand in the names."""
    for label, count in (("a", a), ("b", b)):
        for patient in range(count):
            for number in range(2):
                path = folder / "images" / label / f"{label}{patient}_{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((8, 8, 3), patient, np.uint8)).save(path)
    return folder / "images"


@pytest.mark.parametrize(
    ("a", "b", "method", "k", "words"),
    [
        (20, 20, "holdout", 5, ""),
        (20, 5, "holdout", 5, "has only one patient of class 'b' (b"),
        (20, 3, "holdout", 3, "folds: 3 would test every patient once"),
        (20, 4, "holdout", 4, "folds: 4 would test every patient once"),
        (20, 2, "holdout", 5, "a hold-out is not possible: class 'b' has 2 patients"),
    ],
)
def test_the_hold_out_can_be_run_or_folds_are_written(
    tmp_path: Path, a: int, b: int, method: str, k: int, words: str
) -> None:
    path = tmp_path / "study.yaml"
    done = call("init", cohort(tmp_path, a, b), "--out", path, "--pattern", r"(?P<patient_id>[ab]\d+)_")
    assert done.exit_code == 0, done.output
    assert words in done.stdout
    assert words in path.read_text()
    written = yaml.safe_load(path.read_text())["split"]
    assert (written["method"], written["folds"]) == (method, k)
    if b > 2:
        study = read_study(path, {"split.method": "folds"} if words else None)
        images = read_cohort(study, tmp_path)
        check(split_cohort(study, images, tmp_path), images)
    else:
        assert "no folds are possible, either" in done.stdout


def test_a_cohort_with_columns_and_a_root_of_its_own_is_written_so(tmp_path: Path) -> None:
    images = cohort(tmp_path, 6, 6)
    rows = [
        f"{path.relative_to(images).as_posix()},{path.parent.name},{path.name[:2]}" for path in images.rglob("*.png")
    ]
    (tmp_path / "tables").mkdir()
    table = tmp_path / "tables" / "m.csv"
    table.write_text("Bild,Was,Wer\n" + "\n".join(rows) + "\n")
    named = "image_path=Bild,label=Was,patient_id=Wer"
    done = call("init", table, "--out", tmp_path / "study.yaml", "--columns", named, "--root", images)
    assert done.exit_code == 0, done.output
    study = read_study(tmp_path / "study.yaml")
    assert study.cohort.root == "images"
    assert len(read_cohort(study, tmp_path)) == 24


@pytest.mark.parametrize(
    ("name", "example"),
    [
        ("{label}/case{patient}_{number}.png", "'case0' in a/case0_0.png"),
        ("{label}/case{patient}/{number}.png", "'case0' in a/case0/0.png"),
        ("{label}/{label}-P{patient}-{number}.png", "'P0' in a/a-P0-0.png"),
    ],
)
def test_where_patients_are_unknown_a_pattern_is_offered_that_works(tmp_path: Path, name: str, example: str) -> None:
    for patient in range(12):
        for number in range(3):
            path = tmp_path / "pics" / name.format(label="ab"[patient % 2], patient=patient, number=number)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), patient, np.uint8)).save(path)
    done = call("init", tmp_path / "pics", "--out", tmp_path / "study.yaml", "--positive", "a")
    assert done.exit_code == 0 and "`run` needs them" in done.stdout
    assert example in " ".join(done.stdout.split()) and "then: counterstain run" not in done.output
    study = tmp_path / "study.yaml"
    assert not read_cohort(read_study(study), tmp_path).has_patients, "nothing is used before the user says so"
    text = study.read_text(encoding="utf-8")
    study.write_text(text.replace("  # pattern: ", "  pattern: "), encoding="utf-8")  # what the note asks for
    assert len(set(read_cohort(read_study(study), tmp_path).patient)) == 12


def test_no_pattern_is_offered_where_names_tell_nothing(tmp_path: Path) -> None:
    for number in range(20):
        path = tmp_path / "pics" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(path)
    done = call("init", tmp_path / "pics", "--out", tmp_path / "study.yaml")
    assert "`run` needs them" in done.stdout and "counterstain init" not in done.stdout
    by_image = call("init", tmp_path / "pics", "--out", tmp_path / "i.yaml", "--unit", "image")
    assert "`run` needs them" not in by_image.stdout
