"""How fast is a training step, against Keras on TensorFlow and against what the processor can do?

    .venv/bin/python benchmarks/training_step.py [--rounds 5] [--steps 20] [--tile-px 257] [--batch 32]

The given network, forward, backward and Adam, on tiles in memory; no reading, no augmentation. Keras runs as
`model.fit` on float32 arrays, as a user runs it, and once more with this project's allocator settings, in fp32 and in
mixed bf16. The limit is a 3×3 convolution of 48 channels in a batch of the same size, forward and backward, which is
what the network is made of. At most sizes the given network's answer does not depend on a tile's last rows and columns,
and ours leaves them out ("whole" does not); GFLOP/s are of what is worked out. The first run makes Keras's environment.
A table goes to stderr, one JSON line to stdout.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from environments import keras_python
from turns import answer, finish, ratio, say, show, take_turns

HERE = Path(__file__).resolve().parent
OURS = {
    "ours fp32": ("fp32", False),
    "ours bf16": ("bf16", False),
    "ours fp32, whole": ("fp32", True),
    "ours bf16, whole": ("bf16", True),
}
PEAKS = {"peak fp32": "fp32", "peak bf16": "bf16"}
KERAS = {
    "Keras fp32": ("float32", "default"),
    "Keras fp32, allocator": ("float32", "kept"),
    "Keras bf16, allocator": ("mixed_bfloat16", "kept"),
}
SETTINGS = {
    "ours fp32": "only what the answer depends on, channels last, compiled pooling, fused Adam, glibc keeps pages",
    "ours bf16": "the same, bfloat16 autocast; weights and Adam in fp32",
    "ours fp32, whole": "as ours fp32, and the rest of the tile",
    "ours bf16, whole": "as ours bf16, and the rest of the tile",
    "Keras fp32": "model.fit, batch as ours, Adam 1e-4, everything else as it comes",
    "Keras fp32, allocator": "the same; mallopt as ours, THP_MEM_ALLOC_ENABLE=1",
    "Keras bf16, allocator": "the same; policy mixed_bfloat16, mallopt as ours",
    "peak fp32": "conv2d 48 → 48, 3×3, 64×64 px, channels last, forward and backward",
    "peak bf16": "the same in bfloat16",
}


def step_side(precision: str, whole: bool, tile_px: int, batch: int, steps: int) -> None:
    """Ours: the training loop's own step on batches in memory."""
    from own_step import gflop_of, make_step, rate_of

    step, _ = make_step(precision, tile_px=tile_px, batch=batch, whole=whole)
    gflop = gflop_of(step) / batch
    rate_of(step, steps=60, batch=batch)  # the heap grows in ever rarer steps; this is where most of it is over
    answer(lambda: {"images_per_s": rate_of(step, steps=steps, batch=batch), "gflop_an_image": gflop})


def peak_side(precision: str, batch: int) -> None:
    """GFLOP/s of the convolution that the network consists of, at its best: nothing else between."""
    import torch
    from torch.nn import functional

    from counterstain.learning.device import prepare_device

    prepare_device(device="cpu")
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    side, channels = 64, 48
    maps = torch.randn(batch, channels, side, side, dtype=kind).to(memory_format=torch.channels_last)
    weight = torch.randn(channels, channels, 3, 3, dtype=kind).to(memory_format=torch.channels_last) / 20
    maps.requires_grad_()
    weight.requires_grad_()
    gradient = torch.randn_like(maps)
    gflop = 3 * 2 * batch * side * side * channels * channels * 9 / 1e9

    def measure() -> dict[str, Any]:
        times = 24
        began = time.perf_counter()
        for _ in range(times):
            torch.autograd.grad(functional.conv2d(maps, weight, padding=1), (maps, weight), gradient)
        return {"gflop_per_s": times * gflop / (time.perf_counter() - began)}

    measure()
    answer(measure)


def profile(precision: str, tile_px: int, batch: int, steps: int) -> None:
    """Where a step's time goes, by operator; printed as rows of a table."""
    import torch
    from own_step import make_step

    step, machine = make_step(precision, tile_px=tile_px, batch=batch)
    for number in range(60):  # until the heap has grown, as in step_side
        step(number)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for number in range(steps):
            step(number)
    events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    whole = sum(event.self_cpu_time_total for event in events)
    rows = [("operator", "ms a step", "share", "calls a step")]
    for event in events[:14]:
        ms, share = event.self_cpu_time_total / 1000 / steps, event.self_cpu_time_total / whole
        rows.append((event.key, f"{ms:.2f}", f"{100 * share:.1f} %", f"{event.count / steps:g}"))
    show(rows)
    operators = {event.key: event.self_cpu_time_total / 1000 / steps for event in events[:14]}
    finish("profile_step", {"precision": machine.precision, "batch": batch, "ms_a_step": operators})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="a round (20)")
    parser.add_argument("--tile-px", type=int, default=257)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--profile", choices=("fp32", "bf16"), help="only show where our own step's time goes")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.profile:
        profile(options.profile, options.tile_px, options.batch, options.steps)
    elif options.side in OURS:
        step_side(*OURS[options.side], options.tile_px, options.batch, options.steps)
    elif options.side in PEAKS:
        peak_side(PEAKS[options.side], options.batch)
    else:
        compare(options)


def compare(options: argparse.Namespace) -> None:
    """All sides in turn."""
    sizes = [str(options.tile_px), str(options.batch), str(options.steps)]
    me = [sys.executable, str(Path(__file__).resolve()), "--tile-px", sizes[0], "--batch", sizes[1]]
    commands = {side: [*me, "--steps", sizes[2], "--side", side] for side in (*OURS, *PEAKS)}
    keras = [str(keras_python()), str(HERE / "keras_step.py")]
    commands |= {side: [*keras, policy, allocator, *sizes] for side, (policy, allocator) in KERAS.items()}
    kept = {side: {"THP_MEM_ALLOC_ENABLE": "1"} for side, (_, allocator) in KERAS.items() if allocator == "kept"}
    runs = take_turns(commands, options.rounds, environment=kept)
    whole = runs["ours fp32, whole"][0]["gflop_an_image"]  # Keras works out all of it
    for records in (runs[side] for side in (*OURS, *KERAS)):
        for record in records:
            record["gflop_per_s"] = record["images_per_s"] * record.get("gflop_an_image", whole)
    ratios = {}
    for part in ("", ", whole"):
        for ours, theirs in (
            ("bf16", "Keras fp32"), ("fp32", "Keras fp32"), ("fp32", "Keras fp32, allocator"),
            ("bf16", "Keras bf16, allocator"), ("bf16", "peak bf16"), ("fp32", "peak fp32"),
        ):  # fmt: skip
            unit = "gflop_per_s" if theirs in PEAKS else "images_per_s"
            ratios[f"ours {ours}{part} / {theirs}"] = ratio(runs, f"ours {ours}{part}", theirs, unit)
    rows = [("", "images/s", "GFLOP/s", "settings")]
    for side, records in runs.items():
        middle = sorted(records, key=lambda record: record["gflop_per_s"])[len(records) // 2]
        rate = f"{middle['images_per_s']:.0f}" if "images_per_s" in middle else ""
        rows.append((side, rate, f"{middle['gflop_per_s']:.0f}", SETTINGS[side]))
    show(rows)
    for name, value in ratios.items():
        say(f"{name}: {value['median']:.2f} ({value['least']:.2f} to {value['greatest']:.2f})")
    sizes_record = {"tile_px": options.tile_px, "batch": options.batch, "steps": options.steps}
    finish("training_step", sizes_record | {"settings": SETTINGS, "ratios": ratios, "runs": runs})


if __name__ == "__main__":
    main()
