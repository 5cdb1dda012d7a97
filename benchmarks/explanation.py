"""Do the maps of a trained network point at the malignant quarter, method by method and layer by layer?

    python benchmarks/explanation.py                      # trains the given network on a phantom first, some minutes
    python benchmarks/explanation.py --network timm/resnet18 --epochs 20 --learning-rate 1e-3

The truth is known: one quarter of a benign tile is covered with malignant tissue of another patient. A blind map hits
it one time in four. In the control the quarter is benign as well.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from counterstain.cohort.splitters import holdout, write_split
from counterstain.evaluation.predictions import Predictions
from counterstain.explanation.pointing_game import plan_composites, play
from counterstain.explanation.saliency import METHODS, make_explainer
from counterstain.images.store import build_store, read_batch
from counterstain.learning.config import TrainingConfig
from counterstain.learning.predictor import load_predictor
from counterstain.phantom.tiles import Phantom, write_phantom
from counterstain.study.one_model import train_once


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, object]:
    phantom = Phantom(patients=60, tiles_per_patient=8, tile_px=192, mpp=1.0, difficulty=0.0, seed=5)
    cohort = write_phantom(phantom, folder / "phantom", workers=1)
    split = holdout(cohort, seed=0)
    write_split(split, folder / "splits.csv")
    settings = TrainingConfig(
        network=arguments.network, weights="random", epochs=arguments.epochs, patience=10,
        learning_rate=arguments.learning_rate,
    )  # fmt: skip
    began = time.perf_counter()
    train_once(
        folder / "phantom" / "cohort.csv", folder / "splits.csv", folder / "model", settings=settings, tile_px=192,
        fit="exact", positive="malignant",
    )  # fmt: skip
    trained_s = time.perf_counter() - began
    predictor = load_predictor(folder / "model")
    test = cohort.subset(np.array(split.parts[0].assignment) == "test")
    store = build_store(test, folder / "test", tile_px=192, fit="exact")
    tiles = read_batch(store, store.rows(test.image))
    table = Predictions(
        image=test.image, patient=test.patient, slide=test.image, site=("",) * len(test), label=test.label_index,
        prob=predictor.probabilities(tiles), classes=test.classes,
    )  # fmt: skip
    plan = plan_composites(table, count=arguments.composites, seed=0)
    if plan is None:
        raise SystemExit("the network predicts too few tiles right; train it longer")
    methods = {}
    for method in METHODS:
        explainer = make_explainer(predictor, method)
        began = time.perf_counter()
        found = play(explainer, table, plan, dict(enumerate(tiles)))
        methods[method] = {
            "layer": explainer.layer.name if explainer.layer else None, "cells": explainer.side,
            "chance": found["chance"], "hits": found["hits"], "mass": found["mass_inside"]["value"],
            "control_hits": found["control_hits"], "seconds": round(time.perf_counter() - began, 1),
        }  # fmt: skip
    right = float((table.prob.argmax(axis=1) == table.label).mean())
    return {"network": arguments.network, "accuracy": right, "trained_s": round(trained_s), "methods": methods}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="given")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--composites", type=int, default=64)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), parser.parse_args())))


if __name__ == "__main__":
    main()
