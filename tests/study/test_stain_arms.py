"""Stain in a study: the recipe is fitted on training tiles, travels in the bundle, and is applied where it predicts."""

from pathlib import Path

import numpy as np
import pytest

from counterstain.files import read_json
from counterstain.images.stain import apply_recipe
from counterstain.images.store import Store, build_store, read_batch
from counterstain.learning.bundle import read_bundle
from counterstain.learning.config import TrainingConfig
from counterstain.learning.predictor import load_predictor
from counterstain.learning.stain_pipeline import UNSTAINED, fit_staining
from counterstain.phantom.tiles import Phantom, write_phantom
from counterstain.progress import Progress
from counterstain.study.predicting import predict_images
from counterstain.study.run import run_study

STUDY = """\
name: stained
cohort: {path: phantom/cohort.csv}
tiles: {tile_px: 127}
training: {epochs: 1, precision: fp32, threads: 1}
arms:
  plain: {network: given, batch: 8}
  even: {network: given, batch: 8, normalisation: macenko, stain_augmentation: randstainna}
seeds: [0]
audit: {gate: 'off', baselines: false, rotated: false}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stain")
    write_phantom(Phantom(patients=10, tiles_per_patient=3, tile_px=127, difficulty=0.0), folder / "phantom")
    (folder / "study.yaml").write_text(STUDY)
    return folder


@pytest.fixture(scope="module")
def run(home: Path) -> Path:
    return run_study(home / "study.yaml")


def store_of(home: Path) -> Store:
    from counterstain.cohort.layouts import read_images

    return build_store(read_images(home / "phantom" / "cohort.csv"), home / "store", tile_px=127)


def test_staining_is_fitted_on_training_tiles_alone(home: Path) -> None:
    store = store_of(home)
    settings = TrainingConfig(network="given", normalisation="macenko", stain_augmentation="mixing")
    half = np.arange(len(store.image) // 2)
    fitted = fit_staining(store, half, settings)
    assert fitted.recipe is not None and fitted.statistics is not None
    assert fitted.recipe.tiles + fitted.recipe.blank == len(half)
    assert fit_staining(store, half[::-1].copy(), settings).recipe is not None
    assert fit_staining(store, half, TrainingConfig(network="given")) == UNSTAINED
    tiles = read_batch(store, half[:4])
    keys = np.arange(4, dtype=np.uint64)
    np.testing.assert_array_equal(fitted.for_all(tiles), apply_recipe(tiles, fitted.recipe)[0])
    varied = fitted.for_training(tiles, keys, 0, 1)
    np.testing.assert_array_equal(varied, fitted.for_training(tiles, keys, 0, 1))
    assert not np.array_equal(varied, fitted.for_training(tiles, keys, 0, 2))
    np.testing.assert_array_equal(varied[1:2], fitted.for_training(tiles[1:2], keys[1:2], 0, 1))


@pytest.mark.slow
def test_the_recipe_travels_in_the_bundle_and_is_applied_where_it_predicts(run: Path, home: Path) -> None:
    folders = {arm: run / "arms" / arm / "seed-0" / "fold-0-0" for arm in ("plain", "even")}
    assert read_bundle(folders["plain"]).staining == UNSTAINED
    recipe = read_bundle(folders["even"]).staining.recipe
    assert recipe is not None and recipe.method == "macenko"
    assert read_json(folders["even"] / "training.json")["stain"]["method"] == "macenko"
    tiles = read_batch(store_of(home), np.arange(4))
    predictor = load_predictor(folders["even"])
    by_hand = predictor.network(predictor.to_tensor(tiles)).detach().numpy()
    np.testing.assert_allclose(predictor.logits(tiles), by_hand, atol=1e-5)
    unchanged = load_predictor(folders["plain"]).to_tensor(apply_recipe(tiles, recipe)[0]).numpy()
    np.testing.assert_array_equal(predictor.to_tensor(tiles).numpy(), unchanged)


@pytest.mark.slow
def test_predict_says_how_many_blank_tiles_passed(run: Path, home: Path, tmp_path: Path) -> None:
    from PIL import Image

    for label in ("benign", "malignant"):
        (tmp_path / "new" / label).mkdir(parents=True)
        Image.fromarray(np.full((127, 127, 3), 244, np.uint8)).save(tmp_path / "new" / label / f"P9{label[0]}_1.png")
    lines: list[str] = []
    bundle = run / "arms" / "even" / "seed-0" / "fold-0-0"
    predict_images(bundle, [tmp_path / "new"], tmp_path / "out.csv", talk=Progress(say=lines.append))
    assert any("2 of 2 tiles have too little tissue" in line for line in lines)
