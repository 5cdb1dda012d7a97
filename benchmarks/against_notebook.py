"""Time the notebook-style Keras script and this project on the same images, network, epochs and machine.

    .venv/bin/python benchmarks/against_notebook.py [--images 2000] [--epochs 2] [--repeats 1]

Each side is a process of its own, and the sides run in turn: the notebook (Keras on TensorFlow, fp32), this project in
fp32, and, where the processor computes in bf16, this project in bf16, which it then chooses by itself. A table goes to
stderr, one JSON line to stdout.
"""

import argparse
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE.parent / ".benchenv-keras"
IMAGES = HERE.parent / ".benchenv-images"
WIDTH_PX, HEIGHT_PX, TILE_PX = 700, 460, 257
COPIES = 6  # the original and one image for each of flip, equalisation, rotation, translation, shear
NOTEBOOK = "notebook, Keras on TensorFlow, fp32"
SIDES = {"fp32": "this project, fp32", "bf16": "this project, bf16"}
# The notebook's peak, measured at 960 and at 2,880 training images of 257 px: 3.3 and 7.4 GB.
NOTEBOOK_BYTES, NOTEBOOK_BYTES_AN_IMAGE = 1.3e9, 2.15e6

# This process imports the standard library only: a child's peak memory starts at what its parent held.


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def make_environment() -> Path:
    """The Python of the notebook's own environment, made at first use."""
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / ".ready").is_file():
        say(f"making {ENVIRONMENT.name} (once)")
        slim = sys.platform == "linux" and platform.machine() == "x86_64"
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        packages = ["keras", "tensorflow-cpu" if slim else "tensorflow", "opencv-python-headless"]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
        (ENVIRONMENT / ".ready").touch()
    return python


def draw_images(folder: Path, count: int) -> None:
    """`count` PNG files of 700×460 px in two class folders, cut from phantom tiles; those already there are kept."""
    import cv2
    import numpy as np

    from counterstain.cohort.phantom import CLASSES, Phantom, draw_patient, draw_tile
    from counterstain.files import write_bytes

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


def _number(name: str) -> int:
    return int(Path(name).stem)


def run_side(command: list[str]) -> dict[str, Any]:
    """One side in a process of its own: what it reports, and the seconds from its start to its end."""
    began = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}; a negative number is a signal, -9 often memory")
    record: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return record | {"total_s": seconds}


def train_ours(job_path: Path, precision: str) -> dict[str, Any]:
    """This project on the job: store, then the given network with the "expand" augmentation, batch 32."""
    import numpy as np

    from counterstain.cohort.layouts import read_folder
    from counterstain.learning.machine import prepare_machine
    from counterstain.learning.networks import count_parameters
    from counterstain.learning.training import Examples, Training, train
    from counterstain.pixels.augment import Augmentation, expanded_count, image_keys
    from counterstain.pixels.store import build_store

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
        settings = Training(
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
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "loss": trained.history["loss"][-1],
        "val_loss": min(trained.history["val_loss"]),
        "precision": trained.machine.precision,
        "native_precision": prepare_machine(device="cpu").precision,
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


def show(runs: dict[str, list[dict[str, Any]]], summary: dict[str, Any]) -> None:
    say(f"\n{'':38}{'preparing':>11}{'an epoch':>11}{'images/s':>11}{'in all':>9}{'peak':>10}{'val loss':>10}")
    for side, values in summary["medians"].items():
        val_loss = statistics.median(run["val_loss"] for run in runs[side])
        say(
            f"{side:38}"
            f"{values['prepare_s']:9.1f} s{values['epoch_s']:9.1f} s{values['images_per_s']:11.1f}"
            f"{values['total_s']:7.1f} s{values['peak_gb']:7.2f} GB{val_loss:10.4f}"
        )
    for side, ratio in summary["ratios"].items():
        say(
            f"{side}: {ratio['images_per_s']:.2f} × the images a second, "
            f"{ratio['total_s']:.2f} × as soon done, 1/{ratio['peak_gb']:.1f} of the memory"
        )
    say("The notebook augments while preparing, this project in the epochs; seconds in all start with the process.")
    if SIDES["bf16"] in runs:
        say("bf16 is set against the notebook's default, which is fp32.")
    else:
        say("This processor does not compute in bf16, so there is no row for it.")


def record(
    options: argparse.Namespace, job: dict[str, Any], copies: int, runs: dict[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    """The JSON line: what was run, on what, and what came out."""
    ours = runs[SIDES["fp32"]][0]
    commit = subprocess.run(
        ["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True, check=False
    )
    return summarise(runs) | {
        "schema": "counterstain.benchmark.against_notebook/1",
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip(),
        "images": len(job["train"]) + len(job["test"]),
        "images_an_epoch": len(job["train"]) * copies,
        "image_px": [WIDTH_PX, HEIGHT_PX],
        "tile_px": TILE_PX,
        "epochs": options.epochs,
        "repeats": options.repeats,
        "machine": {
            "processor": ours["processor"],
            "threads": ours["threads"],
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            "system": platform.system(),
        },
        "versions": {"python": platform.python_version()} | runs[NOTEBOOK][0]["versions"] | ours["versions"],
        "runs": runs,
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000, help="files, 80 %% of them for training (2000)")
    parser.add_argument("--epochs", type=int, default=2, help="of every side (2)")
    parser.add_argument(
        "--repeats", type=int, default=1, help="rounds, each of all sides in turn; medians are shown (1)"
    )
    parser.add_argument("--originals", action="store_true", help="no augmentation, so a sixth of the images an epoch")
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
    keras_python = str(make_environment())
    me = [sys.executable, str(Path(__file__).resolve())]
    subprocess.run([*me, "--draw", "--images", str(options.images), "--folder", str(options.folder)], check=True)
    job_path = options.folder / "job.json"
    job = write_job(options.folder, job_path, images=options.images, epochs=options.epochs, copies=copies)
    commands = {NOTEBOOK: [keras_python, str(HERE / "notebook_style.py"), str(job_path)]}
    commands |= {name: [*me, "--job", str(job_path), "--precision", precision] for precision, name in SIDES.items()}
    runs: dict[str, list[dict[str, Any]]] = {}
    for repeat in range(options.repeats):
        for side, command in commands.items():
            if side == SIDES["bf16"] and runs[SIDES["fp32"]][0]["native_precision"] != "bf16":
                continue
            say(f"round {repeat + 1} of {options.repeats}: {side}")
            runs.setdefault(side, []).append(run_side(command))
    if len({(run["parameters"], run["training_images"]) for records in runs.values() for run in records}) != 1:
        sys.exit("the sides did not train the same network on as many images; the comparison is worth nothing")
    show(runs, summarise(runs))
    print(json.dumps(record(options, job, copies, runs), sort_keys=True))


if __name__ == "__main__":
    main()
