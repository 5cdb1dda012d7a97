"""Do memory and time an image stay as they are when the training set grows?

    .venv/bin/python benchmarks/growth.py [--sizes 1000 5000 20000 50000] [--tile-px 127] [--rounds 1] [--figure]

For each size a tile store is written straight away, and a process of its own trains the given network on it with the
five augmentations: one epoch, or as many as make 5,000 images. Images per second are counted from the 13th step on (the
first ones fill the allocator), memory is the largest seen at any step: anonymous (the process's own) and resident
(with pages of files that it has mapped). 50,000 tiles are 2.4 GB on disk at 127 px, 9.9 GB at 257 px. With --figure:
docs/figures/cost_against_size.svg. A table goes to stderr, one JSON line to stdout.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from turns import finish, run_once, say, show

FIGURE = Path(__file__).resolve().parent.parent / "docs" / "figures" / "cost_against_size.svg"
WARM_STEPS = 12


def memory() -> dict[str, int]:
    """Bytes of this process now: Anonymous and Rss of the kernel's own sum over its mappings."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()
    fields = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith("kB")}
    return {"anonymous": int(fields["Anonymous"]) * 1024, "resident": int(fields["Rss"]) * 1024}


def train_on(store_folder: Path, precision: str, enough: int) -> dict[str, Any]:
    """Train on all tiles of a store; images per second, and the most memory held."""
    import numpy as np

    from counterstain.images.augment import image_keys
    from counterstain.images.augmentation import Augmentation
    from counterstain.images.store import open_store
    from counterstain.learning.config import TrainingConfig
    from counterstain.learning.loader import Examples
    from counterstain.learning.loop import train
    from counterstain.progress import TrainingProgress

    store = open_store(store_folder)
    count = len(store.image)
    label = np.arange(count) % 2
    everything = Examples(np.arange(count), label, image_keys(store.image))
    few = Examples(everything.row[:2], label[:2], everything.key[:2])
    epochs = -(-enough // count)
    settings = TrainingConfig(epochs=epochs, patience=epochs + 1, precision=precision, device="cpu")
    most = memory()
    stamps: list[float] = []

    def look(step: TrainingProgress) -> None:
        if step.val_loss is None:
            stamps.append(time.perf_counter())
            if len(stamps) % 20 == 0:
                most.update({name: max(value, most[name]) for name, value in memory().items()})

    with tempfile.TemporaryDirectory() as folder:
        train(
            store, everything, few, classes=2, settings=settings, augmentation=Augmentation(), seed=0,
            folder=Path(folder), progress=look,
        )  # fmt: skip
    steps = len(stamps) - 1 - WARM_STEPS
    rate = steps * settings.batch / (stamps[-1] - stamps[WARM_STEPS])
    return {"images": count, "epochs": epochs, "images_per_s": rate, **most}


def draw(found: dict[int, dict[str, float]], tile_px: int, path: Path) -> None:
    """Time an image and memory against the number of images."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    sizes = sorted(found)
    figure = Figure(figsize=(7.2, 2.9), layout="constrained")
    FigureCanvasSVG(figure)
    time_axes, memory_axes = figure.subplots(1, 2)
    time_axes.plot(sizes, [1000 / found[size]["images_per_s"] for size in sizes], "o-", color="#4c6a92")
    time_axes.set_ylabel("ms per image")
    for name, colour in (("anonymous", "#a33b5b"), ("resident", "#4c6a92")):
        memory_axes.plot(sizes, [found[size][name] / 1e9 for size in sizes], "o-", color=colour, label=name)
    memory_axes.set_ylabel("GB")
    memory_axes.legend(frameon=False)
    for axes in (time_axes, memory_axes):
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
        axes.set_xlabel(f"training images of {tile_px} px")
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "counterstain"}):
        figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 5000, 20_000, 50_000])
    parser.add_argument("--tile-px", type=int, default=127)
    parser.add_argument("--rounds", type=int, default=1, help="of all sizes in turn; medians are shown (1)")
    parser.add_argument("--enough", type=int, default=5000, help="smaller sets are passed over until so many (5000)")
    parser.add_argument("--precision", default="auto", help="auto, fp32 or bf16")
    parser.add_argument("--figure", nargs="?", type=Path, const=FIGURE, help="draw the SVG, by default into docs/")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        from made_up import write_store

        write_store(options.write, options.sizes[0], options.tile_px)
        return
    if options.store:
        print(json.dumps(train_on(options.store, options.precision, options.enough)))
        return
    me = [sys.executable, str(Path(__file__).resolve()), "--tile-px", str(options.tile_px)]
    me += ["--enough", str(options.enough)]
    runs: dict[int, list[dict[str, Any]]] = {size: [] for size in options.sizes}
    with tempfile.TemporaryDirectory(dir=Path(__file__).resolve().parent.parent, prefix=".benchenv-growth-") as name:
        for size in options.sizes:
            subprocess.run([*me, "--sizes", str(size), "--write", f"{name}/{size}"], check=True)
        for number in range(options.rounds):
            for size in options.sizes:
                say(f"round {number + 1} of {options.rounds}: {size} images")
                runs[size].append(run_once([*me, "--store", f"{name}/{size}", "--precision", options.precision]))
    names = ("images_per_s", "anonymous", "resident")
    found = {size: {name: statistics.median(run[name] for run in records) for name in names}
             for size, records in runs.items()}  # fmt: skip
    least, most = min(found), max(found)
    rows = [("images", "images/s", "anonymous", "resident")]
    for size, one in found.items():
        memories = [f"{one[name] / 1e9:.2f} GB" for name in ("anonymous", "resident")]
        rows.append((f"{size:,}", f"{one['images_per_s']:.0f}", *memories))
    ratios = {name: found[most][name] / found[least][name] for name in names}
    rows.append((f"{most:,} / {least:,}", *(f"{ratios[name]:.2f}" for name in names)))
    show(rows)
    if options.figure:
        draw(found, options.tile_px, options.figure)
    finish("growth", {"tile_px": options.tile_px, "ratios": ratios, "runs": runs})


if __name__ == "__main__":
    main()
