"""Frozen arms of a study: probes on kept features, whose bundles answer for themselves."""

from pathlib import Path

import numpy as np
import pytest

from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.files import read_json
from counterstain.images.store import open_store, read_batch
from counterstain.learning import features
from counterstain.learning.predictor import load_predictor
from counterstain.phantom.tiles import Phantom, write_phantom
from counterstain.study.run import run_study

ARMS = """\
arms:
  line: {network: timm/tf_efficientnet_lite0, tune: frozen}
  near: {network: timm/tf_efficientnet_lite0, tune: frozen, probe: knn}
"""


@pytest.mark.slow
def test_probes_are_arms_like_others_and_features_are_worked_out_once(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = study.read_text()
    study.write_text(text[: text.index("arms:")] + ARMS + "seeds: [0]\naudit: {gate: 'off', baselines: false}\n")
    worked: list[int] = []
    compute = features.compute_features

    def counted(network: object, tiles: np.ndarray, **settings: object) -> object:
        worked.append(len(tiles))
        return compute(network, tiles, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(features, "compute_features", counted)
    run = run_study(study)
    assert sum(worked) == 48  # 12 patients of 4 tiles, once for both arms
    again = run_study(study, overrides={"name": "again"})
    assert sum(worked) == 48
    for arm, kind in (("line", "linear"), ("near", "knn")):
        folder, other = (one / "arms" / arm / "seed-0" / "fold-0-0" for one in (run, again))
        assert (folder / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
        assert read_json(folder / "bundle.json")["layout"]["head"]["kind"] == kind
        assert (folder / "probe.csv").read_text().startswith("setting,val_loss\n")
        table = read_predictions(folder / "raw_test.csv")
        predictor = load_predictor(folder)
        (place,) = (study.parent / "store").glob("*/store.json")
        store = open_store(place.parent)
        alone = predictor.probabilities(read_batch(store, store.rows(table.image)))
        np.testing.assert_allclose(alone, table.prob, atol=1e-4)
    assert (run / "report.html").is_file()


@pytest.mark.slow
def test_a_probe_with_statistics_of_its_tiles_ends_in_a_report(tmp_path: Path) -> None:
    """From 50 training and 50 validation tiles on there are statistics, and the last layer is listened to."""
    write_phantom(Phantom(patients=60, tiles_per_patient=5, tile_px=127), tmp_path / "ph")
    (tmp_path / "study.yaml").write_text(
        "name: probe\ncohort: {path: ph/cohort.csv}\ntiles: {tile_px: 127}\nsplit: {val: 0.3}\nseeds: [0]\n"
        "audit: {gate: 'off', baselines: false}\narms: {line: {network: timm/tf_efficientnet_lite0, tune: frozen}}\n"
    )
    run = run_study(tmp_path / "study.yaml")
    folder = run / "arms/line/seed-0/fold-0-0"
    assert (folder / "feature_statistics.safetensors").is_file() and (run / "report.html").is_file()
    # Its features were computed before, so that no tile passed the network beside the test predictions.
    assert not (folder / "distances_test.csv").exists()
