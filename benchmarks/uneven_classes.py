"""Are probabilities, thresholds and sets right where one image in twenty is positive? Each setting on the phantom.

    python benchmarks/uneven_classes.py [--seeds 3] [--given]

80 patients of 20 tiles of the phantom, of which positive tiles are thinned out to 1 in 20 (every patient that has them
keeps some); the network of examples/own_network with 16 filters on tiles of 64 px, 20 epochs; or, with --given, the
given network on 127 px, 10 epochs. One JSON line for each setting, means over seeds, on the test part:
AUROC; expected over observed positives (E/O is 1 where probabilities are right) of the network itself, of the network
without its correction of priors, and after temperature scaling; log loss after it; sensitivity and specificity at the
frozen threshold on validation and on test; coverage of 90 % sets.
"""

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from counterstain.cohort.manifest import write_cohort
from counterstain.evaluation.calibration import read_calibration
from counterstain.evaluation.metrics import image_loss, roc_auc
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.files import read_json
from counterstain.phantom.tiles import Phantom, write_phantom
from counterstain.study.calibrate import called, sets_of
from counterstain.study.run import run_study

RARE = 20
ARMS = {
    "plain": "{}",
    "class_weights": "{class_weights: balanced}",
    "sampler": "{sampler: balanced}",
    "smoothing": "{label_smoothing: 0.1}",
    "focal": "{focal: 2}",
    "mixup": "{mixup: 0.2}",
    "cutmix": "{cutmix: 1}",
}


NETS = Path(__file__).parent.parent / "examples" / "own_network" / "my_nets.py"


def make_study(home: Path, seeds: int, *, given: bool) -> Path:
    tile_px, epochs = (127, 10) if given else (64, 20)
    network = "network: given" if given else 'network: "my_nets.py:SmallNet", network_settings: {filters: 16}'
    (home / NETS.name).write_bytes(NETS.read_bytes())
    drawn = Phantom(patients=80, tiles_per_patient=20, tile_px=tile_px, difficulty=0.05)
    cohort = write_phantom(drawn, home / "images")
    positive = np.array(cohort.label_index == 1)
    wanted = int((~positive).sum() / (RARE - 1))
    order = np.argsort(np.random.default_rng(0).random(len(cohort)))
    patient, before = cohort.patient, Counter[str]()
    rank = {}
    for row in order[positive[order]]:  # the first of every patient before the second of any
        rank[row] = (before[patient[row]], len(rank))
        before[patient[row]] += 1
    kept = sorted(rank, key=lambda row: rank[row])[:wanted]
    rows = np.sort(np.concatenate([np.flatnonzero(~positive), np.array(kept)]))
    write_cohort(cohort.subset(rows), home / "images" / "rare.csv")
    arms = "".join(f"  {name}: {text}\n" for name, text in ARMS.items())
    (home / "study.yaml").write_text(
        f"name: rare\ncohort: {{path: images/rare.csv}}\ntiles: {{tile_px: {tile_px}}}\n"
        "split: {test: 0.35, val: 0.3}\n"
        f"training: {{{network}, epochs: {epochs}, patience: {epochs}, learning_rate: 1.0e-3, batch: 32}}\n"
        f"audit: {{gate: warn, baselines: false, rotated: false}}\narms:\n{arms}seeds: {list(range(seeds))}\n"
    )
    return home / "study.yaml"


def expected_over_observed(prob: np.ndarray, label: np.ndarray) -> float:
    return float(prob[:, 1].mean() / label.mean())


def one(folder: Path) -> dict[str, float]:
    raw, table = read_predictions(folder / "raw_test.csv"), read_predictions(folder / "predictions.csv")
    fitted = read_calibration(folder)
    assert fitted is not None
    shift = (read_json(folder / "training.json")["done"]["objective"] or {}).get("weights") or []
    shift = shift or (read_json(folder / "training.json")["done"]["objective"] or {}).get("drawn") or []
    before = raw.prob * np.array(shift or [1.0, 1.0])
    calls = called(fitted, table)
    assert calls is not None
    positive = table.label == 1
    return {
        "AUROC": roc_auc(positive, table.prob[:, 1]),
        "E/O network": expected_over_observed(raw.prob, raw.label),
        "E/O without correction": expected_over_observed(before / before.sum(1, keepdims=True), raw.label),
        "E/O calibrated": expected_over_observed(table.prob, table.label),
        "log loss": float(image_loss(table.label, table.prob).mean()),
        "sensitivity stated": fitted.stated["sensitivity"],
        "sensitivity": float((calls[positive] == 1).mean()),
        "specificity stated": fitted.stated["specificity"],
        "specificity": float((calls[~positive] == 0).mean()),
        "coverage": covered(sets_of(fitted, table), table),
    }


def covered(sets: np.ndarray, table: Predictions) -> float:
    return float(sets[np.arange(len(table)), table.label].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--given", action="store_true")
    options = parser.parse_args()
    seeds = options.seeds
    with tempfile.TemporaryDirectory() as folder:
        run = run_study(make_study(Path(folder), seeds, given=options.given))
        for arm in ARMS:
            found = [one(run / f"arms/{arm}/seed-{seed}/fold-0-0") for seed in range(seeds)]
            print(json.dumps({"arm": arm, "seeds": seeds, **{k: round(float(np.mean([f[k] for f in found])), 3)
                                                             for k in found[0]}}), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
