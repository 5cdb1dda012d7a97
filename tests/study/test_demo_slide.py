"""A phantom slide read by a model: the map is held against the truth, and a trained model finds the tumours."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from counterstain.cohort.manifest import read_manifest
from counterstain.cohort.splitters import holdout, write_split
from counterstain.learning.config import TrainingConfig
from counterstain.phantom.slide import PhantomSlide, SlideTruth, write_slide
from counterstain.phantom.tiles import Phantom, draw_patient, write_phantom
from counterstain.slides.infer_cohort import run_slides
from counterstain.slides.infer_slide import InferenceOptions
from counterstain.slides.tile_predictions import TilePredictions
from counterstain.study.demo_slide import read_map, read_phantom_slide, score_map
from counterstain.study.one_model import train_once

SQUARE = np.array([[1000.0, 500.0], [2000.0, 500.0], [2000.0, 1500.0], [1000.0, 1500.0]])


def truth_of(*tumours: np.ndarray) -> SlideTruth:
    return SlideTruth("S", "P", "site-1", "malignant", 0.5, 0.5, (3000, 2000), tumours, (), (), ())


def table_of(step: int, prob_of, threshold: float | None = None) -> TilePredictions:
    """Tiles of 200 px, every `step` px, over a slide of 3000 x 2000 px; prob_of gets their middles."""
    corner = np.array([(x, y) for y in range(0, 1801, step) for x in range(0, 2801, step)])
    positive = np.array([prob_of(x + 100, y + 100) for x, y in corner])
    return TilePredictions(
        slide="S", classes=("benign", "malignant"), corner=corner, size=(200, 200),
        prob=np.stack([1 - positive, positive], axis=1), extent=(0, 0, 3000, 2000), mpp=(0.5, 0.5), threshold=threshold,
    )  # fmt: skip


def inside(x: float, y: float) -> bool:
    return 1000 < x < 2000 and 500 < y < 1500


def test_a_perfect_map_scores_one_and_its_opposite_zero():
    # Tiles of 200 px every 100 px: those whose middle is inside lie in the square for the half of their area or more.
    perfect = score_map(table_of(100, lambda x, y: 0.9 if inside(x, y) else 0.1), truth_of(SQUARE))
    assert perfect.auroc == 1
    # 10 x 9 middles at 1000 < x < 2000 (1100 … 1900) and 500 < y < 1500 (600 … 1400).
    assert perfect.positive == 81
    assert perfect.iou > 0.8
    opposite = score_map(table_of(100, lambda x, y: 0.1 if inside(x, y) else 0.9), truth_of(SQUARE))
    assert opposite.auroc == 0
    assert opposite.iou < 0.1  # pixels of the map that the square's edge cuts


def test_the_overlap_of_areas_is_that_worked_out_by_hand():
    # A square that tiles of 200 px fill in 5 columns and 5 rows; one column more is called: 25 of 30 tiles' area.
    ring = np.array([[1000.0, 600.0], [2000.0, 600.0], [2000.0, 1600.0], [1000.0, 1600.0]])
    wider = score_map(table_of(200, lambda x, y: float(1000 < x < 2200 and 600 < y < 1600)), truth_of(ring))
    assert wider.iou == pytest.approx(25 / 30)
    assert wider.positive == 25
    # One row less is called: 20 tiles are right, and 4 called wrongly and 5 missed belong to either.
    lower = score_map(table_of(200, lambda x, y: float(1000 < x < 2200 and 800 < y < 1600)), truth_of(ring))
    assert lower.iou == pytest.approx(20 / 29)


def test_the_threshold_of_the_model_decides_what_is_called():
    prob = lambda x, y: 0.6 if inside(x, y) else 0.1  # noqa: E731
    assert score_map(table_of(200, prob), truth_of(SQUARE)).iou > 0.6
    assert score_map(table_of(200, prob, threshold=0.7), truth_of(SQUARE)).iou == 0


@pytest.mark.slow
@pytest.mark.timeout(1800)  # two minutes on a machine at rest
def test_a_model_of_phantom_tiles_finds_the_tumours_of_phantom_slides(tmp_path: Path):
    """Train small, write the bundle, run it over slides of patients it never saw; and the demo's record and picture."""
    phantom = Phantom(patients=48, tiles_per_patient=10, tile_px=257, difficulty=0.15, seed=0)
    cohort = write_phantom(phantom, tmp_path / "phantom", workers=2)
    write_split(holdout(cohort, test=0.2, val=0.2, unit="patient", seed=0), tmp_path / "splits.csv")
    settings = TrainingConfig(network="given", batch=32, epochs=28, patience=20, learning_rate=5e-4, threads=1)
    bundle = tmp_path / "model"
    train_once(tmp_path / "phantom" / "cohort.csv", tmp_path / "splits.csv", bundle, settings=settings, tile_px=128)

    wider = replace(phantom, patients=96)
    unseen = [n for n in range(48, 96) if draw_patient(wider, n).label == 1][:3]
    truths = {}
    for patient in unseen:
        made = PhantomSlide(phantom=wider, patient=patient, size_px=(5120, 3840), distinct_blocks=24)
        truths[patient] = write_slide(made, tmp_path / "slides" / f"P{patient}.tif")
    mpp = 0.5 * 257 / 128
    reading = InferenceOptions(mpp=mpp, overlap=0.5, least_tissue=0.9, allow_scale=True)
    run_slides(bundle, [tmp_path / "slides"], tmp_path / "maps", reading)
    scores = {n: score_map(read_map(tmp_path / "maps", f"P{n}", truth, bundle), truth) for n, truth in truths.items()}
    assert np.mean([one.auroc for one in scores.values()]) >= 0.95, scores
    assert np.mean([one.iou for one in scores.values()]) >= 0.7, scores

    (tmp_path / "run").mkdir()
    shown = read_phantom_slide(bundle, phantom, tmp_path, tmp_path / "run", mpp=mpp, arm="given", size_px=(2048, 1536))
    record = json.loads((tmp_path / "run" / "records" / "slide.json").read_text())
    assert (record["auroc"], record["iou"], record["arm"]) == (shown.auroc, shown.iou, "given")
    assert (tmp_path / "run" / "figures" / "slide.png").stat().st_size > 10_000
    assert record["slide"] == f"P{unseen[0]:03d}-S1"
    assert record["slide"][:4] not in set(read_manifest(tmp_path / "phantom" / "cohort.csv").patient)
