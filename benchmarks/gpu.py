"""How fast is training on a GPU, by precision, with and without torch.compile, from tiles kept there or sent there?

    .venv/bin/python benchmarks/gpu.py [--images 3200] [--steps 50] [--rounds 5]

Bare steps of the given network on inputs that lie on the device; then whole epochs of the loop's own batches, augmented
on the device. Without a CUDA device it says so and exits 2. One JSON line to stdout. --device cpu only shows that the
script works: its numbers say nothing about a GPU.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from made_up import write_store

from counterstain.images.augment import image_keys
from counterstain.images.augmentation import Augmentation
from counterstain.learning import loop, training_state, training_step
from counterstain.learning.config import TrainingConfig
from counterstain.learning.device import prepare_device
from counterstain.learning.distributed import ALONE
from counterstain.learning.loader import Examples, feed, keep_on_device
from counterstain.learning.objective import PLAIN


def seconds_of(work: Callable[[], Any], device: str) -> float:
    """Of the work, the device's part included."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    began = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - began


def measure_precision(options: argparse.Namespace, folder: Path, precision: str, compiled: bool) -> dict[str, Any]:
    """Images/s of steps alone and of epochs, kept on the device and not; the median over the rounds."""
    machine = prepare_device(device=options.device, precision=precision)
    settings = TrainingConfig(batch=options.batch, precision=precision, device=options.device)
    state = training_state.start_state(settings, machine, classes=2, tile_px=options.tile_px, seed=0)
    state.network.train()
    if compiled:
        state.network.compile()
    store = write_store(folder, options.images, options.tile_px)
    examples = Examples(np.arange(options.images), np.arange(options.images) % 2, image_keys(store.image))
    source = feed(store, examples, settings, Augmentation(), machine, ALONE, seed=0)
    kept = keep_on_device(store, examples.row, source.device, room=1 << 40)
    inputs = torch.randn(options.batch, 3, options.tile_px, options.tile_px, device=source.device)
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    label = np.arange(options.batch) % 2

    def steps(count: int = options.steps) -> None:
        for _ in range(count):
            training_step.take_step(state, inputs, label, settings, machine)

    def epoch(number: int, tiles: Any) -> None:
        loop._fit_epoch(state, replace(source, kept=tiles), machine, PLAIN, epoch=number, progress=None)

    first = seconds_of(lambda: steps(5), options.device)
    found: dict[str, list[float]] = {"step": [], "epoch, kept": [], "epoch, sent": []}
    epoch(0, kept)
    for number in range(1, options.rounds + 1):
        found["step"].append(options.steps * options.batch / seconds_of(steps, options.device))
        for name, tiles in (("epoch, kept", kept), ("epoch, sent", None)):
            spent = seconds_of(lambda tiles=tiles, number=number: epoch(number, tiles), options.device)
            found[name].append(options.images / spent)
    return {
        "precision": machine.precision, "compiled": compiled, "first_5_steps_s": first,
        **{f"{name}, images/s": median(values) for name, values in found.items()},
    }  # fmt: skip


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    for name, value in (("images", 3200), ("steps", 50), ("rounds", 5), ("tile-px", 257), ("batch", 32)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("this PyTorch sees no CUDA device, so there is nothing to measure", file=sys.stderr)
        return 2
    rows = []
    for number, (precision, compiled) in enumerate((p, c) for p in ("fp32", "bf16") for c in (False, True)):
        if options.device == "cpu" and compiled:
            continue
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure_precision(options, Path(folder) / str(number), precision, compiled))
    on = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    peak = torch.cuda.max_memory_allocated() if options.device == "cuda" else None
    print(json.dumps({"device": on, "torch": str(torch.__version__), "peak_bytes": peak, "rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
