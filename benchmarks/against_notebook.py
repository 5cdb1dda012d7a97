"""Time the notebook-style Keras script and this project on the same images, network, epochs and machine.

    .venv/bin/python benchmarks/against_notebook.py [--images 2000] [--epochs 2] [--rounds 1]

Each side is a process of its own, and the sides run in turn: the notebook (Keras on TensorFlow, fp32), this project in
fp32, and, where the processor computes in bf16, this project in bf16, which it then chooses by itself. A table goes to
stderr, one JSON line to stdout.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from environments import keras_python
from turns import finish, peak_bytes, run_once, say, show

HERE = Path(__file__).resolve().parent
IMAGES = HERE.parent / ".benchenv-images"
WIDTH_PX, HEIGHT_PX, TILE_PX = 700, 460, 257
COPIES = 6  # the original and one image for each of flip, equalisation, rotation, translation, shear
NOTEBOOK = "notebook, Keras on TensorFlow, fp32"
SIDES = {"fp32": "this project, fp32", "bf16": "this project, bf16"}
# The notebook's peak, measured at 960 and at 2,880 training images of 257 px: 3.3 and 7.4 GB.
NOTEBOOK_BYTES, NOTEBOOK_BYTES_AN_IMAGE = 1.3e9, 2.15e6

# This process imports the standard library only: a child's peak memory starts at what its parent held.


def draw_images(folder: Path, count: int) -> None:
    """`count` PNG files of 700×460 px in two class folders, cut from phantom tiles; those already there are kept."""
    import cv2
    import numpy as np

    from counterstain.files import write_bytes
    from counterstain.phantom.tiles import CLASSES, Phantom, draw_patient, draw_tile

    patients = 40
    phantom = Phantom(patients=patients, tiles_per_patient=100, tile_px=WIDTH_PX)

    def draw(pair: int) -> None:
        patient, tile = pair % patients, pair // patients
        label = CLASSES[draw_patient(phantom, patient).label]
        # Two cuts of one square tile, its top and its bottom: drawing is slow, and what is drawn plays no part here.
        paths = [folder / label / f"{2 * pair + cut:05d}.png" for cut in (0, 1)]
        if all(path.is_file() for path in paths):
            return
        pixels = draw_tile(phantom, patient, tile).pixels[:, :, ::-1]
        for path, rows in zip(paths, (slice(None, HEIGHT_PX), slice(-HEIGHT_PX, None)), strict=True):
            code = cv2.imencode(".png", np.ascontiguousarray(pixels[rows]), [cv2.IMWRITE_PNG_COMPRESSION, 3])[1]
            write_bytes(path, code.tobytes())

    cv2.setNumThreads(1)
    with ThreadPoolExecutor(2) as pool:
        for done, _ in enumerate(pool.map(draw, range(-(-count // 2))), start=1):
            if done % 100 == 0:
                say(f"{2 * done} of {count} images drawn")


def check_memory(training_images: int) -> None:
    """Refuse what the notebook cannot hold, before it takes the machine's other programs down with it."""
    needed = NOTEBOOK_BYTES + NOTEBOOK_BYTES_AN_IMAGE * training_images
    memory = Path("/proc/meminfo")
    if not memory.exists():
        return
    lines = memory.read_text(encoding="utf-8").splitlines()
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    if needed > 0.97 * free:
        sys.exit(
            f"{free / 1e9:.1f} GB of memory are free; the notebook needs about {needed / 1e9:.1f} GB for "
            f"{training_images} training images; use fewer --images, or --originals"
        )


def write_job(folder: Path, path: Path, *, images: int, epochs: int, copies: int) -> dict[str, Any]:
    """What both sides are given: the same images, divided 80/20 at random, as the notebook does it."""
    names = sorted((file.relative_to(folder).as_posix() for file in folder.glob("*/*.png")), key=_number)[:images]
    random.Random(0).shuffle(names)
    test = names[: images // 5]
    train = names[images // 5 :]
    for name in names:  # so that neither side is the first to read them from the disk
        (folder / name).read_bytes()
    job = {"folder": str(folder), "train": train, "test": test, "tile_px": TILE_PX, "copies": copies, "epochs": epochs}
    path.write_text(json.dumps(job), encoding="utf-8")
    return job


def computes_in_bf16() -> bool:
    """Whether this project would choose bf16 here by itself; asked in a process of its own, to stay small."""
    code = "from counterstain.learning.device import prepare_device as p; print(p(device='cpu').precision)"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip() == "bf16"


def _number(name: str) -> int:
    return int(Path(name).stem)


def train_ours(job_path: Path, precision: str) -> dict[str, Any]:
    """This project on the job: store, then the given network with the "expand" augmentation, batch 32."""
    import numpy as np

    from counterstain.cohort.layouts import read_folder
    from counterstain.images.augment import expanded_count, image_keys
    from counterstain.images.augmentation import Augmentation
    from counterstain.images.store import build_store
    from counterstain.learning.config import TrainingConfig
    from counterstain.learning.loader import Examples
    from counterstain.learning.loop import train
    from counterstain.learning.networks import count_parameters

    job = json.loads(job_path.read_text(encoding="utf-8"))
    began = time.perf_counter()
    cohort = chosen(read_folder(Path(job["folder"])), job["train"] + job["test"])
    with tempfile.TemporaryDirectory(dir=job_path.parent) as folder:
        store = build_store(cohort, Path(folder) / "store", tile_px=job["tile_px"])
        prepared = time.perf_counter()
        label = dict(zip(cohort.table["image_path"], cohort.label_index, strict=True))

        def examples(names: list[str]) -> Examples:
            return Examples(store.rows(names), np.array([label[name] for name in names]), image_keys(names))

        augmentation = Augmentation(mode="expand" if job["copies"] > 1 else "none")
        settings = TrainingConfig(
            epochs=job["epochs"],
            patience=job["epochs"] + 1,
            precision=precision,
            device="cpu",
            scale="0..1",  # as in the notebook
        )
        trained = train(
            store,
            examples(job["train"]),
            examples(job["test"]),
            classes=2,
            settings=settings,
            augmentation=augmentation,
            seed=0,
            folder=Path(folder) / "training",
        )
    return {
        "parameters": count_parameters(trained.network),
        "training_images": len(job["train"]) * expanded_count(augmentation),
        "prepare_s": prepared - began,
        "epoch_s": list(trained.epoch_seconds),
        "peak_bytes": peak_bytes(),
        "loss": trained.history["loss"][-1],
        "val_loss": min(trained.history["val_loss"]),
        "precision": trained.machine.precision,
        "threads": trained.machine.threads,
        "allocator": trained.machine.allocator,
        "processor": trained.machine.processor,
        "versions": {"torch": trained.machine.torch},
    }


def chosen(cohort: Any, names: list[str]) -> Any:
    """The cohort's rows of these images only."""
    from dataclasses import replace

    table = cohort.table
    return replace(cohort, table=table[table["image_path"].isin(set(names))].reset_index(drop=True))


def images_per_s(record: dict[str, Any]) -> float:
    """Training images over the seconds of whole epochs, validation included."""
    return float(record["training_images"] * len(record["epoch_s"]) / sum(record["epoch_s"]))


MEASURES: dict[str, Callable[[dict[str, Any]], float]] = {
    "prepare_s": lambda record: record["prepare_s"],
    "images_per_s": images_per_s,
    "epoch_s": lambda record: statistics.median(record["epoch_s"]),
    "total_s": lambda record: record["total_s"],
    "peak_gb": lambda record: record["peak_bytes"] / 1e9,
}


def summarise(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians of each side, and of this project's sides the ratio to the notebook's: above 1 is better than it."""
    medians = {
        side: {name: statistics.median(measure(run) for run in records) for name, measure in MEASURES.items()}
        for side, records in runs.items()
    }
    ratios = {
        side: {
            name: value / medians[NOTEBOOK][name] if name == "images_per_s" else medians[NOTEBOOK][name] / value
            for name, value in values.items()
        }
        for side, values in medians.items()
        if side != NOTEBOOK
    }
    return {"medians": medians, "ratios": ratios}


def show_runs(runs: dict[str, list[dict[str, Any]]], summary: dict[str, Any], epochs: int) -> None:
    """The table, and for each of this project's sides the row of the whole way."""
    rows = [("", "preparing", "an epoch", "images/s", "in all", "peak", "val loss")]
    for side, values in summary["medians"].items():
        times = [f"{values[name]:.1f} s" for name in ("prepare_s", "epoch_s")]
        val_loss = statistics.median(run["val_loss"] for run in runs[side])
        rate, total, peak = values["images_per_s"], values["total_s"], values["peak_gb"]
        rows.append((side, *times, f"{rate:.1f}", f"{total:.1f} s", f"{peak:.2f} GB", f"{val_loss:.4f}"))
    show(rows)
    for side, ratio in summary["ratios"].items():
        say(
            f"{side}: from a folder to {epochs} trained epochs, everything included, {ratio['total_s']:.2f} × as soon, "
            f"in 1/{ratio['peak_gb']:.1f} of the peak memory; {ratio['images_per_s']:.2f} × the images per second"
        )
    say("The notebook augments while preparing, this project in the epochs; seconds in all start with the process.")
    if SIDES["bf16"] in runs:
        say("bf16 is set against the notebook's default, which is fp32.")
    else:
        say("There is no row in bf16: it was not asked for, or this processor does not compute in it.")


def record(
    options: argparse.Namespace, job: dict[str, Any], copies: int, runs: dict[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    """What was run, on what, and what came out."""
    ours = next(records[0] for side, records in runs.items() if side != NOTEBOOK)
    return summarise(runs) | {
        "images": len(job["train"]) + len(job["test"]),
        "images_an_epoch": len(job["train"]) * copies,
        "image_px": [WIDTH_PX, HEIGHT_PX],
        "tile_px": TILE_PX,
        "epochs": options.epochs,
        "rounds": options.rounds,
        "versions": runs[NOTEBOOK][0]["versions"] | ours["versions"],
        "runs": runs,
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000, help="files, 80 %% of them for training (2000)")
    parser.add_argument("--epochs", type=int, default=2, help="of every side (2)")
    parser.add_argument("--rounds", type=int, default=1, help="each of all sides in turn; medians are shown (1)")
    parser.add_argument("--ours", choices=SIDES, nargs="+", default=list(SIDES), help="which of our sides (both)")
    parser.add_argument("--originals", action="store_true", help="no augmentation, so a sixth of the images per epoch")
    parser.add_argument("--folder", type=Path, default=IMAGES, help="where the images are kept (.benchenv-images)")
    parser.add_argument("--draw", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--precision", choices=SIDES, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.draw:
        draw_images(options.folder, options.images)
        return
    if options.job:
        print(json.dumps(train_ours(options.job, options.precision)))
        return
    copies = 1 if options.originals else COPIES
    check_memory((options.images - options.images // 5) * copies)
    keras = str(keras_python())
    me = [sys.executable, str(Path(__file__).resolve())]
    subprocess.run([*me, "--draw", "--images", str(options.images), "--folder", str(options.folder)], check=True)
    job_path = options.folder / "job.json"
    job = write_job(options.folder, job_path, images=options.images, epochs=options.epochs, copies=copies)
    commands = {NOTEBOOK: [keras, str(HERE / "notebook_style.py"), str(job_path)]}
    commands |= {SIDES[name]: [*me, "--job", str(job_path), "--precision", name] for name in options.ours}
    runs: dict[str, list[dict[str, Any]]] = {}
    for number in range(options.rounds):
        for side, command in commands.items():
            if side == SIDES["bf16"] and not computes_in_bf16():
                continue
            say(f"round {number + 1} of {options.rounds}: {side}")
            runs.setdefault(side, []).append(run_once(command))
    if len({(run["parameters"], run["training_images"]) for records in runs.values() for run in records}) != 1:
        sys.exit("the sides did not train the same network on as many images; the comparison is worth nothing")
    show_runs(runs, summarise(runs), options.epochs)
    finish("against_notebook", record(options, job, copies, runs))


if __name__ == "__main__":
    main()
