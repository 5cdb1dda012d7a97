"""Random labels: an honest study stays at chance, the old protocol climbs far above it, and says that it leaks."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from counterstain.cohort.manifest import read_manifest
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.files import read_json, write_csv
from counterstain.progress import Progress
from counterstain.study.prepare import prepare
from counterstain.study.run import run_study
from counterstain.study.study_config import read_study
from counterstain.study.study_sections import LEGACY_STAMP

STUDY = """\
name: random-labels
cohort: {path: images/cohort.csv}
tiles: {tile_px: 127}
augmentation: {mode: expand, rotation_deg: 10, translation: 0.05, shear_deg: 5}
training: {epochs: 20, patience: 20, learning_rate: 1e-3, precision: fp32, threads: 1}
arms:
  given: {network: given, batch: 16}
seeds: [0]
"""
LEGACY = {"split.method": "legacy_augment_first", "split.unit": "image"}


def make_random_labels(folder: Path, *, patients: int, each: int, seed: int) -> Path:
    """Smooth colour blots, each image its own; labels at random, half of each patient's images of either class."""
    random = np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        labels = random.permutation(["a", "b"] * (each // 2))
        for number, label in enumerate(labels):
            blots = random.integers(0, 256, (3, 3, 3)).astype(np.uint8)
            pixels = cv2.resize(blots, (48, 48), interpolation=cv2.INTER_CUBIC)
            path = folder / f"P{patient:02}-{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
            rows.append((path.name, str(label), f"P{patient:02}"))
    write_csv(folder / "cohort.csv", ("image_path", "label", "patient_id"), rows)
    return folder / "cohort.csv"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    make_random_labels(tmp_path / "images", patients=12, each=4, seed=0)
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return path


def accuracy(run: Path) -> float:
    table = read_predictions(run / "predictions" / "given" / "seed-0.csv")
    return float((table.prob.argmax(1) == table.label).mean())


def test_the_legacy_cohort_is_originals_and_copies_split_by_image(study: Path) -> None:
    prepared = prepare(read_study(study, LEGACY), study.parent, store=study.parent / "store", talk=Progress())
    cohort = prepared.material.cohort
    assert len(cohort) == 48 * 6
    assert cohort.image[:2] == ("P00-0.png@original.png", "P00-0.png@flip.png")
    assert prepared.material.augmentation.mode == "none"
    parts = dict(zip(cohort.image, prepared.split.parts[0].assignment, strict=True))
    split_originals = [
        name
        for name in {image.split("@")[0] for image in parts}
        if len({part for image, part in parts.items() if image.startswith(f"{name}@")}) > 1
    ]
    # With 6 copies of each image, nearly every original has copies on both sides of a random split.
    assert len(split_originals) > 40
    flipped = np.asarray(Image.open(cohort.root / "P00-0.png@flip.png"))
    original = np.asarray(Image.open(cohort.root / "P00-0.png@original.png"))
    assert any(np.array_equal(flipped, np.flip(original, axis)) for axis in (0, 1, (0, 1)))


@pytest.mark.slow
def test_everything_the_legacy_protocol_makes_is_stamped(study: Path) -> None:
    run = run_study(study, overrides={**LEGACY, "training.epochs": "1"})
    for name in ("scores.json", "resolved.json", "split.json", "augmentation.json", "run.json"):
        assert read_json(run / "records" / name)["stamp"] == LEGACY_STAMP
    arm = run / "arms" / "given" / "seed-0" / "fold-0-0"
    assert read_json(arm / "bundle.json")["stamp"] == LEGACY_STAMP
    assert "LEAK" in (arm / "README.md").read_text()
    assert "LEAK" in (run / "report.html").read_text()


@pytest.mark.slow
def test_random_labels_stay_at_chance_by_patient_and_climb_in_the_legacy_protocol(study: Path, tmp_path: Path) -> None:
    """Two cohorts of some 10 test images each: chance ± 2 SD is 0.5 ± 0.22. The old protocol exceeds 0.8."""
    honest, legacy = [], []
    for seed in range(2):
        make_random_labels(tmp_path / "images", patients=12, each=4, seed=seed)
        honest.append(accuracy(run_study(study, folder=tmp_path / f"honest-{seed}")))
        legacy.append(accuracy(run_study(study, folder=tmp_path / f"legacy-{seed}", overrides=LEGACY)))
    assert abs(np.mean(honest) - 0.5) < 0.22, honest
    assert np.mean(legacy) > 0.8, legacy


def test_patients_have_both_labels(study: Path) -> None:
    table = read_manifest(study.parent / "images" / "cohort.csv").table
    assert (table.groupby("patient_id")["label"].nunique() == 2).all()
