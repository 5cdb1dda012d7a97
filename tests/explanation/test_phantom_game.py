"""On the phantom, where the truth is known: the maps of a trained network point at the malignant quarter."""

from pathlib import Path

import numpy as np
import pytest

from counterstain.cohort.cohort import Cohort
from counterstain.cohort.splitters import holdout
from counterstain.evaluation.predictions import Predictions
from counterstain.explanation.pointing_game import plan_composites, play
from counterstain.explanation.saliency import make_explainer
from counterstain.explanation.selection import judge_ability
from counterstain.images.augmentation import Augmentation
from counterstain.images.counter_rng import image_keys
from counterstain.images.store import Store, build_store, read_batch
from counterstain.learning.bundle import Bundle
from counterstain.learning.config import TrainingConfig
from counterstain.learning.loader import Examples
from counterstain.learning.loop import train
from counterstain.learning.predictor import Predictor
from counterstain.learning.runtimes import torch_runtime
from counterstain.phantom.tiles import Phantom, write_phantom

TILE_PX = 192  # 6 × 6 cells, of which the last convolution and pooling of the given network leave none out


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_maps_of_a_trained_network_point_at_the_malignant_quarter(tmp_path: Path) -> None:
    phantom = Phantom(patients=60, tiles_per_patient=8, tile_px=TILE_PX, mpp=1.0, difficulty=0.0, seed=5)
    cohort = write_phantom(phantom, tmp_path / "phantom", workers=1)
    store = build_store(cohort, tmp_path / "store", tile_px=TILE_PX)
    part = np.array(holdout(cohort, seed=0).parts[0].assignment)
    predictor = _train(cohort, store, part, tmp_path)
    test = cohort.subset(part == "test")
    tiles = read_batch(store, store.rows(test.image))
    table = Predictions(
        image=test.image, patient=test.patient, slide=test.image, site=("",) * len(test), label=test.label_index,
        prob=predictor.probabilities(tiles), classes=test.classes,
    )  # fmt: skip
    assert judge_ability(table).reason == ""
    plan = plan_composites(table, count=64, seed=0)
    assert plan is not None
    record = play(make_explainer(predictor, "hirescam"), table, plan, dict(enumerate(tiles)))
    assert record["chance"] == 0.25
    # Rounding makes another network on each processor: 57 of 64 maps were hits on one, more on others.
    assert record["hits"]["value"] >= 0.8 and record["hits"]["high"] >= 0.9, record
    # Benign tissue of another patient in the same quarter draws the maps no more than chance has it.
    assert record["control_hits"]["low"] < 0.3 and record["control_hits"]["value"] < 0.5, record


def _train(cohort: Cohort, store: Store, part: np.ndarray, folder: Path) -> Predictor:
    rows = store.rows(cohort.image)
    own = {
        word: Examples(
            row=rows[part == word],
            label=cohort.label_index[part == word],
            key=image_keys(list(np.array(cohort.image, dtype=object)[part == word])),
        )
        for word in ("train", "val")
    }
    settings = TrainingConfig(epochs=40, learning_rate=5e-4, patience=10, device="cpu", precision="fp32", threads=1)
    trained = train(
        store, own["train"], own["val"], classes=2, settings=settings, augmentation=Augmentation(), seed=0,
        folder=folder / "training",
    )  # fmt: skip
    bundle = Bundle(network="given", classes=cohort.classes, tile_px=TILE_PX, fit="exact", scale=settings.scale)
    network = trained.network
    return Predictor(bundle, network, torch_runtime(network, scale=settings.scale, device="cpu"), "cpu")
