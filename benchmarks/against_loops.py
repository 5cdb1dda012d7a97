"""An epoch from a folder of PNG files: this project against a Lightning script and a fastai one.

    .venv/bin/python benchmarks/against_loops.py [--images 2000] [--rounds 5]

The same files of 700×460 px, the same division, the given network at 257 px, batch 32; each epoch with its validation.
Lightning reads with ImageFolder and torchvision v2 and draws the same five augmentations, fastai with its usual item
and batch transforms; both with two workers and in fp32, as they come. This project is timed with its tile store there
already, and with the store built first, for this one epoch. The first run makes the peers' environment and draws the
images. A table goes to stderr, one JSON line to stdout.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from against_notebook import IMAGES, SIDES, chosen, computes_in_bf16, write_job
from environments import loops_python
from turns import answer, finish, peak_bytes, ratio, say, show, take_turns

HERE = Path(__file__).resolve().parent
PEERS = {"Lightning": "lightning_style.py", "fastai": "fastai_style.py"}
SETTINGS = {
    "Lightning": "ImageFolder, torchvision v2 (flips, equalise, affine), 2 workers, fp32",
    "fastai": "Resize an item; flips and one affine warp per batch, 2 workers, fp32",
    "this project, fp32": "tile store, all five augmentations on the fly, fp32",
    "this project, bf16": "the same, bf16 steps",
}


def ours(job_path: Path, precision: str) -> None:
    """This project: each round builds the store anew, and then trains one epoch from it."""
    import numpy as np

    from counterstain.cohort.layouts import read_folder
    from counterstain.images.augment import image_keys
    from counterstain.images.augmentation import Augmentation
    from counterstain.images.store import build_store
    from counterstain.learning.config import TrainingConfig
    from counterstain.learning.loader import Examples
    from counterstain.learning.loop import train

    job = json.loads(job_path.read_text(encoding="utf-8"))
    settings = TrainingConfig(epochs=1, precision=precision, device="cpu")

    def measure() -> dict[str, Any]:
        with tempfile.TemporaryDirectory(dir=job_path.parent) as folder:
            began = time.perf_counter()
            cohort = chosen(read_folder(Path(job["folder"])), job["train"] + job["test"])
            store = build_store(cohort, Path(folder) / "store", tile_px=job["tile_px"])
            built = time.perf_counter()
            label = dict(zip(cohort.table["image_path"], cohort.label_index, strict=True))
            parts = [
                Examples(store.rows(names), np.array([label[name] for name in names]), image_keys(names))
                for names in (job["train"], job["test"])
            ]
            place = Path(folder) / "training"
            train(store, *parts, classes=2, settings=settings, augmentation=Augmentation(), seed=0, folder=place)
            ended = time.perf_counter()
        build_s, epoch_s = built - began, ended - built
        record = {"build_s": build_s, "epoch_s": epoch_s, "both_s": build_s + epoch_s}
        return record | {"images": len(job["train"]), "peak_gb": peak_bytes() / 1e9}

    answer(measure)


def link_tree(job: dict[str, Any], folder: Path) -> None:
    """The job's files as train/<class>/… and val/<class>/…, which is what both peers read; links, no copies."""
    shutil.rmtree(folder, ignore_errors=True)
    for part, names in (("train", job["train"]), ("val", job["test"])):
        for name in names:
            place = folder / part / name
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(Path(job["folder"]) / name, place)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000, help="files, 80 %% of them for training (2000)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=IMAGES, help="where the images are kept (.benchenv-images)")
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--precision", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        return ours(options.job, options.precision)
    python = str(loops_python())
    draw = [sys.executable, str(HERE / "against_notebook.py"), "--draw"]
    subprocess.run([*draw, "--images", str(options.images), "--folder", str(options.folder)], check=True)
    job_path = options.folder / "loops.json"
    job = write_job(options.folder, job_path, images=options.images, epochs=1, copies=1)
    tree = options.folder.with_name(options.folder.name + "-parts")
    link_tree(job, tree)
    me = [sys.executable, str(Path(__file__).resolve()), "--job", str(job_path), "--precision"]
    chosen_sides = [name for name in SIDES if name == "fp32" or computes_in_bf16()]
    commands = {peer: [python, str(HERE / script), str(tree)] for peer, script in PEERS.items()}
    commands |= {SIDES[name]: [*me, name] for name in chosen_sides}
    runs = take_turns(commands, options.rounds)
    if len({run["images"] for records in runs.values() for run in records}) != 1:
        sys.exit("the sides did not train on as many images; the comparison is worth nothing")
    ratios = {
        f"{peer} / {SIDES[name]}, {words}": _against(runs, peer, SIDES[name], key)
        for peer in PEERS
        for name in chosen_sides
        for key, words in (("epoch_s", "store warm"), ("both_s", "store built first"))
    }
    rows = [("", "store", "an epoch", "images/s", "peak", "settings")]
    for side, records in runs.items():
        one = sorted(records, key=lambda record: record["epoch_s"])[len(records) // 2]
        build = f"{one['build_s']:.1f} s" if "build_s" in one else "–"
        rate = f"{one['images'] / one['epoch_s']:.0f}"
        rows.append((side, build, f"{one['epoch_s']:.1f} s", rate, f"{one['peak_gb']:.2f} GB", SETTINGS[side]))
    show(rows)
    for name, value in ratios.items():
        say(f"{name}: {value['median']:.2f} × as long ({value['least']:.2f} to {value['greatest']:.2f})")
    return finish("against_loops", {"images": options.images, "settings": SETTINGS, "ratios": ratios, "runs": runs})


def _against(runs: dict[str, list[dict[str, Any]]], peer: str, own: str, key: str) -> dict[str, float]:
    seconds = {"peer": [{"s": run["epoch_s"]} for run in runs[peer]], "own": [{"s": run[key]} for run in runs[own]]}
    return ratio(seconds, "peer", "own", "s")


if __name__ == "__main__":
    main()
