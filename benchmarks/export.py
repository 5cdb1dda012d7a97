"""Images/s of every exported file, what fitting tiles inside the graph costs, and what 8-bit integers gain.

    .venv/bin/python benchmarks/export.py [--networks given lite0] [--rounds 5] [--batch 16]

Each network is exported with random weights, and its files are opened as `export` opens them for its check. Beside them
stands the same ONNX graph without the fitting of other sizes. All take turns; figures are medians over the rounds. A
table goes to stderr, one JSON line to stdout. Needs the extras `runtimes` and `int8`. With --bundle and --wsinfer what
WSInfer says of slides is compared with what our slide run says of them, too: see export_clients.py.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from export_clients import compare_all

HERE = Path(__file__).resolve().parent
NETWORKS = {"given": ("given", 257), "lite0": ("timm/tf_efficientnet_lite0", 224), "resnet18": ("timm/resnet18", 224)}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def sides_of(name: str, tile_px: int, folder: Path) -> tuple[dict[str, Any], dict[str, float]]:
    """What runs each file, and its size in MB."""
    from counterstain.export import graphs as graphs
    from counterstain.export.parity import fixed_tiles
    from counterstain.learning.backbones import build_backbone
    from counterstain.learning.bundle import Bundle
    from counterstain.learning.networks import build_network
    from counterstain.learning.runtimes import softmax, torch_runtime

    build: Any = build_backbone if name.startswith("timm/") else build_network
    network = build(name, classes=2, tile_px=tile_px, seed=0).eval()
    bundle = Bundle(network=name, classes=("a", "b"), tile_px=tile_px, fit="stretch", scale="imagenet", mpp=0.5)
    calibrated = graphs.Calibrated("temperature", {"temperature": 1.5}, 1e-7)
    graph = graphs.TileGraph(network, bundle, calibrated).eval()
    graphs.write_onnx(graph, folder / "model.onnx")
    graphs.write_openvino(folder / "model.onnx", folder / "model.xml")
    graphs.write_int8(folder / "model.xml", folder / "int8.xml", fixed_tiles(tile_px))
    graphs.write_torchscript(graphs.SlideGraph(graph), folder / "model.pt", tile_px=tile_px)
    graph.fit = lambda pixels: pixels  # type: ignore[method-assign]
    graphs.write_onnx(graph, folder / "bare.onnx")
    infer = torch_runtime(network, scale="imagenet")
    sides = {
        "torch": lambda tiles: softmax(infer(tiles)),
        "TorchScript (WSInfer)": graphs.open_torchscript(folder / "model.pt"),
        "ONNX Runtime": graphs.open_onnx(folder / "model.onnx"),
        "ONNX Runtime, without fitting": graphs.open_onnx(folder / "bare.onnx"),
        "OpenVINO": graphs.open_openvino(folder / "model.xml"),
        "OpenVINO, int8": graphs.open_openvino(folder / "int8.xml"),
    }
    sizes = {path.name: path.stat().st_size / 1e6 for path in folder.iterdir()}
    return sides, sizes


def measure(name: str, tile_px: int, options: argparse.Namespace) -> dict[str, Any]:
    import numpy as np

    tiles = np.random.default_rng(0).integers(0, 256, (options.batch, tile_px, tile_px, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as place:
        sides, sizes = sides_of(name, tile_px, Path(place))
        for run in sides.values():
            run(tiles), run(tiles)
        rates: dict[str, list[float]] = {side: [] for side in sides}
        for number in range(options.rounds):
            for side in list(sides)[:: -1 if number % 2 else 1]:
                began = time.perf_counter()
                for _ in range(options.repeats):
                    sides[side](tiles)
                rates[side].append(options.repeats * len(tiles) / (time.perf_counter() - began))
    medians = {side: statistics.median(values) for side, values in rates.items()}
    fitted, bare = rates["ONNX Runtime"], rates["ONNX Runtime, without fitting"]
    kept = statistics.median(one / other for one, other in zip(fitted, bare, strict=True))
    return {"images_per_s": medians, "rates": rates, "fitting_keeps": kept, "megabytes": sizes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["given", "lite0"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=8, help="batches of each side in a round (8)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bundle", type=Path, help="a trained model that knows its µm/px, for --wsinfer")
    parser.add_argument("--wsinfer", type=Path, help="python of an environment that has WSInfer")
    options = parser.parse_args()
    if (options.bundle is None) != (options.wsinfer is None):
        parser.error("--bundle and --wsinfer go together")
    from counterstain.learning.device import prepare_device

    machine = prepare_device(device="cpu", precision="fp32")
    found = {}
    for label in options.networks:
        name, tile_px = NETWORKS[label]
        found[label] = measure(name, tile_px, options)
        say(f"\n{label}, {tile_px} px, batches of {options.batch}: images/s")
        for side, value in found[label]["images_per_s"].items():
            say(f"  {side:32}{value:8.0f}")
        say(f"  fitting inside the graph leaves {found[label]['fitting_keeps']:.2f} of the speed")
    commit = subprocess.run(
        ["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True, check=False
    )
    record = {
        "schema": "counterstain.benchmark.export/1",
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip(),
        "batch": options.batch,
        "rounds": options.rounds,
        "networks": found,
        "machine": {"processor": machine.processor, "threads": machine.threads},
        "clients": None if options.bundle is None else compare_all(options.bundle, options.wsinfer),
        "load_average": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(record, sort_keys=True))


if __name__ == "__main__":
    main()
