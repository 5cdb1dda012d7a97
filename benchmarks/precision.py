"""Does training in bfloat16 cost AUROC? PatchCamelyon's own split, the given network, the same seeds in both.

    .venv/bin/python benchmarks/precision.py [--data FOLDER] [--seeds 3] [--epochs 8] [--images 6000] [--tile-px 128]

FOLDER holds PCam's manifest.csv; by default $COUNTERSTAIN_DATA/pcam, else ../shared/data/pcam beside the project. A
tenth of the training images stops the training, all of `valid` is reported on. Weights, validation and prediction are
fp32 in both; only the training steps differ. The difference is set against the spread between seeds. A table goes to
stderr, one JSON line to stdout.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from turns import finish, say, show

from counterstain.cohort.cohort import Cohort
from counterstain.cohort.manifest import read_manifest
from counterstain.evaluation.metrics import roc_auc
from counterstain.images.augment import image_keys
from counterstain.images.augmentation import Augmentation
from counterstain.images.store import Store, build_store
from counterstain.learning.config import TrainingConfig
from counterstain.learning.loader import Examples
from counterstain.learning.loop import train
from counterstain.learning.predictor import predict_probabilities

PROJECT = Path(__file__).resolve().parent.parent
PRECISIONS = ("fp32", "bf16")
# As in examples/pcam.yaml: a shift would move the label's centre out of sight.
AUGMENTATION = Augmentation(
    quarter_turns=True, equalise="none", rotation_deg=0.0, translation=0.0, shear_deg=0.0
)  # fmt: skip


def default_data() -> Path:
    root = os.environ.get("COUNTERSTAIN_DATA")
    return Path(root) / "pcam" if root else PROJECT.parent / "shared" / "data" / "pcam"


def chosen_parts(cohort: Cohort, images: int, test_images: int) -> dict[str, list[str]]:
    """Names of the training, validation and test images: the first of a fixed shuffle of each official part."""
    split = np.array(cohort.table["split"], dtype=object)
    names = np.array(cohort.image, dtype=object)
    rng = np.random.default_rng(0)
    train, test = (rng.permutation(names[split == part]) for part in ("train", "test"))
    train, test = train[:images], test[:test_images]
    val = len(train) // 10
    return {"train": list(train[val:]), "val": list(train[:val]), "test": list(test)}


def make_trainer(
    cohort: Cohort, store: Store, parts: dict[str, list[str]], epochs: int
) -> Callable[[str, int], dict[str, Any]]:
    """A function of (precision, seed) that trains once and gives the test part's AUROC."""
    index = dict(zip(cohort.image, cohort.label_index, strict=True))

    def examples(part: str) -> Examples:
        names = parts[part]
        return Examples(store.rows(names), np.array([index[name] for name in names]), image_keys(names))

    def once(precision: str, seed: int) -> dict[str, Any]:
        settings = TrainingConfig(epochs=epochs, patience=epochs + 1, precision=precision, device="cpu")
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            trained = train(
                store, examples("train"), examples("val"), classes=2, settings=settings, augmentation=AUGMENTATION,
                seed=seed, folder=Path(folder),
            )  # fmt: skip
        seconds = time.perf_counter() - began
        test = examples("test")
        prob = predict_probabilities(trained.network, store, test.row, scale=settings.scale)
        auroc = roc_auc(test.label == 1, prob[:, 1])
        return {"auroc": auroc, "best_epoch": trained.best_epoch, "seconds": seconds}

    return once


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=default_data(), help="folder with PCam's manifest.csv")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--images", type=int, default=6000, help="of the training part, a tenth of them to stop by")
    parser.add_argument("--test-images", type=int, default=3000)
    parser.add_argument("--tile-px", type=int, default=128)
    options = parser.parse_args()
    manifest = options.data / "manifest.csv"
    if not manifest.is_file():
        raise SystemExit(f"{manifest} is not there; name the folder of PCam's manifest.csv with --data")
    cohort = read_manifest(manifest, positive="1", columns={}, splits={"valid": "test"})
    parts = chosen_parts(cohort, options.images, options.test_images)
    wanted = {name for names in parts.values() for name in names}
    cohort = cohort.subset(np.array([name in wanted for name in cohort.image]))
    runs: dict[str, list[dict[str, Any]]] = {precision: [] for precision in PRECISIONS}
    with tempfile.TemporaryDirectory() as folder:
        store = build_store(cohort, Path(folder), tile_px=options.tile_px)
        once = make_trainer(cohort, store, parts, options.epochs)
        for seed in range(options.seeds):
            for precision in PRECISIONS:
                runs[precision].append(once(precision, seed))
                say(f"seed {seed}, {precision}: AUROC {runs[precision][-1]['auroc']:.4f}")
    summary = summarise(runs)
    rows = [("", *(f"seed {seed}" for seed in range(options.seeds)), "mean", "SD over seeds", "seconds per training")]
    for precision, records in runs.items():
        values = [run["auroc"] for run in records]
        seconds = statistics.median(run["seconds"] for run in records)
        cells = [f"{value:.4f}" for value in values]
        rows.append((precision, *cells, f"{np.mean(values):.4f}", f"{summary['sd'][precision]:.4f}", f"{seconds:.0f}"))
    show(rows)
    say(
        f"bf16 − fp32: {summary['mean_difference']:+.4f} on average over {options.seeds} seeds "
        f"(each: {', '.join(f'{one:+.4f}' for one in summary['differences'])}); "
        f"the fp32 seeds differ by up to {summary['range_of_fp32']:.4f}"
    )
    sizes = {name: len(names) for name, names in parts.items()}
    finish("precision", {"tile_px": options.tile_px, "epochs": options.epochs, "parts": sizes, **summary, "runs": runs})


def summarise(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The paired differences, and what the seeds alone make of the AUROC."""
    auroc = {precision: [run["auroc"] for run in records] for precision, records in runs.items()}
    differences = [one - other for one, other in zip(auroc["bf16"], auroc["fp32"], strict=True)]
    sd = {name: statistics.stdev(values) if len(values) > 1 else float("nan") for name, values in auroc.items()}
    return {
        "differences": differences,
        "mean_difference": statistics.mean(differences),
        "sd": sd,
        "range_of_fp32": max(auroc["fp32"]) - min(auroc["fp32"]),
    }


if __name__ == "__main__":
    main()
