"""Prediction from the tile store, against each runtime called directly on tensors in memory.

    .venv/bin/python benchmarks/prediction.py [--images 2048] [--rounds 5] [--networks given lite0]

Ours is `predict` as it runs: tiles read from the store's file, the runtime chosen by itself (the choice is timed apart,
and counted in a column of its own). The peers get batches that lie in memory as float32 tensors, scaled beforehand;
OpenVINO both as its guide calls it (one request at a time) and with its throughput hint, each at its best batch. All
sides compute in the precision that their row names: it is set explicitly, because OpenVINO takes bf16 by itself where
it can. All take turns; ratios are medians of those of the rounds. Weights are random: nothing here is about accuracy.
A table goes to stderr, one JSON line to stdout. Needs the extra `runtimes`, and timm for lite0.
"""

import argparse
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
OURS = {"fp32": "ours, from the store, fp32", "bf16": "ours, from the store, bf16"}
PX = {"given": 257, "lite0": 224}
SCALE = "-1..1"
MANY = 100_000  # images for which the choice is made, so that every runtime is tried

Side = Callable[[], Any]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def network_of(name: str, *, whole: bool) -> Any:
    """whole: with all that the given network is said to do, as the peers get it."""
    import torch

    torch.manual_seed(0)
    if name == "given":
        from counterstain.learning.networks import build_network

        network = build_network("given", classes=2, tile_px=PX[name], seed=0).eval()
        network.whole = whole
        return network
    import timm

    return timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=2).eval()


def store_of(images: int, tile_px: int, folder: Path) -> Any:
    """A tile store of so many random tiles, laid down as `build_store` does, without files to decode."""
    import numpy as np

    from counterstain.images.store import open_store
    from counterstain.images.store_check import block_sums
    from counterstain.images.store_files import ImageRow, Recipe, StoreRecord, data_hash_of, key_of, write_record

    tiles = np.random.default_rng(0).integers(0, 256, (images, tile_px, tile_px, 3), dtype=np.uint8)
    names = tuple(f"{number}.png" for number in range(images))
    rows = tuple(ImageRow(name, "0" * 64, 0, -1, tile_px, tile_px, True) for name in names)
    digest = Recipe(names, folder, tile_px, "exact").digest()
    np.save(folder / "tiles.npy", tiles)
    sums = tuple(block_sums(folder / "tiles.npy"))
    write_record(folder, StoreRecord(folder, key_of(digest, rows), digest, tile_px, rows, data_hash_of(rows), sums))
    return open_store(folder)


def torch_sides(network: Any, batches: list[Any]) -> dict[str, Side]:
    """PyTorch as most call it, and with tensors and weights channels last."""
    import copy

    import torch

    last = copy.deepcopy(network).to(memory_format=torch.channels_last)
    ordered = [batch.contiguous(memory_format=torch.channels_last) for batch in batches]

    def run(module: Any, inputs: list[Any], bf16: bool) -> Any:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return torch.cat([module(batch).float() for batch in inputs]).numpy()

    return {
        "torch, NCHW, fp32": lambda: run(network, batches, False),
        "torch, channels last, fp32": lambda: run(last, ordered, False),
        "torch, channels last, bf16": lambda: run(last, ordered, True),
    }


def openvino_sides(network: Any, tensors: Any, batch: int, threads: int) -> dict[str, Side]:
    import numpy as np
    import openvino
    import torch

    def side(precision: str, hint: str, count: int) -> Side:
        example = torch.zeros((count, *tensors.shape[1:]))
        model = openvino.convert_model(network, example_input=example)
        model.reshape([count, *tensors.shape[1:]])
        settings = {
            "PERFORMANCE_HINT": hint,
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
            "INFERENCE_NUM_THREADS": threads,
        }
        compiled = openvino.Core().compile_model(model, "CPU", settings)
        starts = range(0, len(tensors), count)
        if hint == "LATENCY":
            return lambda: np.concatenate([compiled(tensors[at : at + count])[0].copy() for at in starts])

        def run() -> Any:
            found = np.empty((len(tensors), 2), np.float32)
            queue = openvino.AsyncInferQueue(compiled, 0)
            queue.set_callback(lambda request, at: np.copyto(found[at : at + count], request.get_output_tensor().data))
            for at in starts:
                queue.start_async({0: tensors[at : at + count]}, at, share_inputs=True)
            queue.wait_all()
            return found

        return run

    return {
        f"OpenVINO, {hint.lower()}, batch {count}, {precision}": side(precision, hint, count)
        for precision in ("fp32", "bf16")
        for hint, count in (("LATENCY", batch), ("THROUGHPUT", 1), ("THROUGHPUT", batch))
    }


def onnxruntime_sides(network: Any, tensors: Any, batch: int, threads: int) -> dict[str, Side]:
    import numpy as np
    import onnxruntime
    import torch

    stream = io.BytesIO()
    dynamic = ({0: torch.export.Dim("batch")},)
    program: Any = torch.onnx.export(
        network, (torch.zeros((2, *tensors.shape[1:])),), dynamo=True, dynamic_shapes=dynamic, verbose=False
    )
    program.save(stream)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(stream.getvalue(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def side(count: int) -> Side:
        starts = range(0, len(tensors), count)
        return lambda: np.concatenate([session.run(None, {name: tensors[at : at + count]})[0] for at in starts])

    return {f"ONNX Runtime, batch {count}, fp32": side(count) for count in (1, batch)}


def measure(name: str, options: argparse.Namespace, threads: int) -> dict[str, Any]:
    """All sides of one network: images/s a round, seconds of choosing, and the largest difference from torch."""
    import numpy as np
    import torch

    from counterstain.images.tensor import to_tensor
    from counterstain.learning.predictor import predict_logits
    from counterstain.learning.runtimes import TRIAL_TILES, choose_runtime, softmax

    network = network_of(name, whole=True)
    with tempfile.TemporaryDirectory(dir=options.scratch) as place:
        store = store_of(options.images, PX[name], Path(place))
        tiles = np.array(store.tiles)
        tensor = torch.cat([to_tensor(part, scale=SCALE).contiguous() for part in np.array_split(tiles, 16)])
        sides = torch_sides(network, list(tensor.split(options.batch)))
        with warnings.catch_warnings():  # of the exporters, about sizes that are fixed here
            warnings.simplefilter("ignore")
            sides |= openvino_sides(network, tensor.numpy(), options.batch, threads)
            sides |= onnxruntime_sides(network, tensor.numpy(), options.batch, threads)
            if name == "given":
                seen = openvino_sides(network_of(name, whole=False), tensor.numpy(), options.batch, threads)
                sides |= {f"our graph in {side}": run for side, run in seen.items() if "throughput, batch 1," in side}
        rows, choosing, lines = np.arange(options.images), {}, {}
        for precision, side in OURS.items():
            began = time.perf_counter()
            own = network_of(name, whole=False)
            taken = choose_runtime(own, tiles[:TRIAL_TILES], scale=SCALE, images=MANY, precision=precision)
            choosing[side], lines[side] = time.perf_counter() - began, taken.lines
            say(f"{name}: {taken.lines[-1]}")
            sides[side] = lambda infer=taken.infer: predict_logits(network, store, rows, scale=SCALE, infer=infer)
        reference = softmax(sides["torch, NCHW, fp32"]())
        off = {side: float(np.abs(softmax(run()) - reference).max()) for side, run in sides.items()}  # and warms up
        rates: dict[str, list[float]] = {side: [] for side in sides}
        for number in range(options.rounds):
            for side in list(sides)[:: -1 if number % 2 else 1]:
                began = time.perf_counter()
                sides[side]()
                rates[side].append(options.images / (time.perf_counter() - began))
            say(f"{name}: round {number + 1} of {options.rounds}")
    return {"rates": rates, "off": off, "choosing_s": choosing, "lines": lines}


def summarise(found: dict[str, Any]) -> dict[str, Any]:
    """Medians, and ours over each side of the same precision."""
    rates = found["rates"]
    ratios = {
        side: statistics.median(
            ours / peer for ours, peer in zip(rates[OURS[side.rpartition(" ")[2]]], values, strict=True)
        )
        for side, values in rates.items()
        if side not in OURS.values()
    }
    return found | {
        "images_per_s": {side: statistics.median(values) for side, values in rates.items()},
        "ours_over": ratios,
    }


def show(name: str, summary: dict[str, Any]) -> None:
    say(f"\n{name:42}{'images/s':>10}{'ours / it':>11}{'largest |Δp|':>14}{'choosing':>10}")
    for side, value in summary["images_per_s"].items():
        ratio = f"{summary['ours_over'][side]:11.2f}" if side in summary["ours_over"] else f"{'':11}"
        chosen = f"{summary['choosing_s'][side]:8.1f} s" if side in summary["choosing_s"] else ""
        say(f"{side:42}{value:10.0f}{ratio}{summary['off'][side]:14.1e}{chosen}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2048, help="predicted in a round (2048)")
    parser.add_argument("--batch", type=int, default=64, help="of the peers that take one (64)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of every side (all cores)")
    parser.add_argument("--networks", nargs="+", choices=PX, default=list(PX))
    parser.add_argument("--scratch", type=Path, help="where the store is written (the system's temporary folder)")
    options = parser.parse_args()
    options.images -= options.images % options.batch  # fixed shapes for everyone
    return options


def main() -> None:
    options = parse()
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # nothing is reported from here
    import onnxruntime
    import openvino
    import torch

    from counterstain.learning.device import prepare_device

    machine = prepare_device(device="cpu", precision="fp32", threads=options.threads)
    summaries = {}
    for name in options.networks:
        summaries[name] = summarise(measure(name, options, machine.threads))
        show(name, summaries[name])
    commit = subprocess.run(
        ["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True, check=False
    )
    record = {
        "schema": "counterstain.benchmark.prediction/1",
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip(),
        "images": options.images,
        "batch": options.batch,
        "rounds": options.rounds,
        "networks": summaries,
        "machine": {"processor": machine.processor, "threads": machine.threads, "allocator": machine.allocator},
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "openvino": openvino.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
        "load_average": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(record, sort_keys=True))


if __name__ == "__main__":
    main()
