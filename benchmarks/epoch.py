"""What does an epoch cost beside its bare steps? Whole epochs from the tile store, augmented on the fly.

    .venv/bin/python benchmarks/epoch.py [--rounds 5] [--images 1600] [--tile-px 257] [--batch 32]

In each round and precision the same process takes the bare steps of an epoch on tiles in memory, and then trains an
epoch of as many images: tiles read from the store, all five augmentations drawn anew, batches made between the steps.
The validation and the checkpoint after the epoch are left out on both sides. With --profile: where an
epoch's time goes, by stage. A table goes to stderr, one JSON line to stdout.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from turns import answer, finish, ratio, say, show, take_turns

PRECISIONS = ("bf16", "fp32")
# What a step's threads do until the last of them is done: as this package sets it, sleep at once, or spin as the OpenMP
# library would by itself.
WAITS: dict[str, dict[str, str]] = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "long": {"GOMP_SPINCOUNT": "300000"},
}


def epoch_of(options: argparse.Namespace, folder: Path, precision: str) -> Callable[[int], float]:
    """A function that trains the n-th epoch and gives its images per second, from its first read to its last step."""
    import numpy as np
    from made_up import write_store

    from counterstain.images.augment import image_keys
    from counterstain.images.augmentation import Augmentation
    from counterstain.learning.config import TrainingConfig
    from counterstain.learning.loader import Examples
    from counterstain.learning.loop import train
    from counterstain.progress import TrainingProgress

    store = write_store(folder / "store", options.images, options.tile_px)
    label = np.arange(options.images) % 2
    everything = Examples(np.arange(options.images), label, image_keys(store.image))
    few = Examples(everything.row[:2], label[:2], everything.key[:2])
    settings = TrainingConfig(batch=options.batch, epochs=1, precision=precision, device="cpu")

    def epoch(number: int) -> float:
        seen: list[TrainingProgress] = []
        train(
            store, everything, few, classes=2, settings=settings, augmentation=Augmentation(mode=options.mode),
            seed=number, folder=folder / f"epoch-{number}", progress=seen.append,
        )  # fmt: skip
        return next(step.images_per_s for step in reversed(seen) if step.val_loss is None)

    return epoch


def side(options: argparse.Namespace) -> None:
    """One precision: bare steps, then an epoch, whenever asked."""
    from counterstain.system import wait_shortly

    wait_shortly()  # before PyTorch is imported, as on the command line
    from own_step import make_step, rate_of

    step, _ = make_step(options.side, tile_px=options.tile_px, batch=options.batch)
    steps = -(-options.images // options.batch)
    with tempfile.TemporaryDirectory() as folder:
        epoch = epoch_of(options, Path(folder), options.side)
        count = 0

        def measure() -> dict[str, Any]:
            nonlocal count
            count += 1
            bare = rate_of(step, steps=steps, batch=options.batch)
            return {"bare": bare, "epoch": epoch(count)}

        rate_of(step, steps=12, batch=options.batch)  # the allocator has its pages after some ten steps
        answer(measure)


def profile(options: argparse.Namespace) -> None:
    """Processor time of each stage by itself, in microseconds per image, on one thread."""
    import cv2
    import numpy as np
    import torch
    from made_up import write_store
    from own_step import make_step

    from counterstain.images.augment import augment_batch, image_keys
    from counterstain.images.augmentation import Augmentation
    from counterstain.images.store import read_batch
    from counterstain.images.tensor import to_tensor
    from counterstain.learning.networks import seen_px

    step, machine = make_step(options.profile, tile_px=options.tile_px, batch=options.batch)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        store = write_store(Path(folder) / "store", 8 * options.batch, options.tile_px)
        keys = image_keys(store.image)
        order = np.random.default_rng(0).permutation(len(keys)).reshape(8, options.batch)
        tiles = read_batch(store, order[0])
        settings = Augmentation(mode=options.mode)
        stages: dict[str, Callable[[int], object]] = {
            "read from the store": lambda n: read_batch(store, order[n % 8]),
            "augment": lambda n: augment_batch(
                tiles, keys[: options.batch], settings=settings, seed=0, epoch=n, side=seen_px(options.tile_px)
            ),
            "to tensor": lambda _: to_tensor(tiles, scale="-1..1"),
            f"step, {machine.precision}, to tensor included": step,
        }
        rows = [("stage", "µs per image", "images/s per core")]
        found = {}
        for name, stage in stages.items():
            for number in range(12):
                stage(number)
            spent = []
            for number in range(12):
                began = time.process_time()
                stage(number)
                spent.append((time.process_time() - began) / options.batch)
            found[name] = 1e6 * sorted(spent)[6]
            rows.append((name, f"{found[name]:.0f}", f"{1e6 / found[name]:.0f}"))
    show(rows)
    finish("profile_epoch", {"precision": machine.precision, "us_an_image": found, "tile_px": options.tile_px})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=1600)
    parser.add_argument("--tile-px", type=int, default=257)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--mode", default="on_the_fly", help="of the augmentation: on_the_fly, expand or none")
    parser.add_argument("--wait", choices=WAITS, default="default", help="how threads wait for each other (default)")
    parser.add_argument("--profile", choices=PRECISIONS, help="only show the processor time of each stage")
    parser.add_argument("--side", choices=PRECISIONS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.profile:
        return profile(options)
    if options.side:
        return side(options)
    sizes = ["--images", options.images, "--tile-px", options.tile_px, "--batch", options.batch, "--mode", options.mode]
    me = [sys.executable, str(Path(__file__).resolve()), *map(str, sizes)]
    runs = take_turns(
        {name: [*me, "--side", name] for name in PRECISIONS},
        options.rounds,
        environment=dict.fromkeys(PRECISIONS, WAITS[options.wait]),
    )
    rows = [("", "bare step, images/s", "epoch, images/s", "share of the bare step")]
    ratios = {}
    for name, records in runs.items():
        pairs = {"epoch": [{"rate": r["epoch"]} for r in records], "bare": [{"rate": r["bare"]} for r in records]}
        ratios[name] = ratio(pairs, "epoch", "bare", "rate")
        middle = sorted(records, key=lambda record: record["epoch"])[len(records) // 2]
        rows.append((name, f"{middle['bare']:.0f}", f"{middle['epoch']:.0f}", f"{ratios[name]['median']:.3f}"))
    show(rows)
    say(
        f"{options.images} images of {options.tile_px} px per epoch, batch {options.batch}, augmentation {options.mode}"
    )
    sizes_record = {name: getattr(options, name) for name in ("images", "tile_px", "batch", "mode", "wait")}
    return finish("epoch", sizes_record | {"ratios": ratios, "runs": runs})


if __name__ == "__main__":
    main()
