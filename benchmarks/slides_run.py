"""Reading a slide with a model: is memory flat in the slide's size, and are decoding and inference overlapped?

    .venv/bin/python benchmarks/slides_run.py memory [--sides 10000 20000 50000 100000] [--network colour]
    .venv/bin/python benchmarks/slides_run.py throughput [--side 10000] [--networks given …] [--device cpu]

memory: `run_slides` from slide to all files, a process of its own for each size of slide; its largest resident memory,
tiles/s, and seconds to the first batch. Slides are JPEG pyramids of 256-px tiles at 0.5 µm/px, three fifths of them
tissue, put together from a few drawn tiles. --network colour answers from each tile's mean colour, so that the largest
slides take minutes: what could grow with the slide (plans, answers, files, decoders) is all there.

throughput: on one slide, decoding alone, inference alone and both as `slides run` does them, by turns in one process.
Where both stages use the same cores, the most that any overlap can reach is 1 / (1/a + 1/b); the ratio to that stands
beside the ratio to the slower stage. A table goes to stderr, one JSON line to stdout.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

HERE = Path(__file__).resolve().parent
SLIDES = HERE.parent / ".benchenv-slides"
TILE, MPP = 256, 0.5
CLASSES = ("benign", "tumour")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def slide_of(side: int) -> Path:
    """A JPEG pyramid of side × side px; drawn once."""
    import tifffile

    path = SLIDES / f"s{side}.tif"
    if path.is_file():
        return path
    SLIDES.mkdir(exist_ok=True)
    tissue, glass = drawn_tiles()
    temporary = path.with_suffix(".part")
    with tifffile.TiffWriter(temporary, bigtiff=True) as writer:
        for level in range(8):
            width = side >> level
            if level and width < 512:
                break
            writer.write(
                encoded(width, tissue, glass), shape=(width, width, 3), dtype=np.uint8, tile=(TILE, TILE),
                photometric="ycbcr", subsampling=(2, 2), compression="jpeg", subfiletype=int(level > 0),
                resolution=(1e4 / (MPP * 2**level),) * 2, resolutionunit="CENTIMETER", metadata=None,
            )  # fmt: skip
    temporary.rename(path)
    return path


def drawn_tiles() -> tuple[list[bytes], bytes]:
    """Tiles of a phantom's images, and one of glass, as JPEG."""
    from counterstain.phantom.tiles import Phantom, draw_tile

    phantom = Phantom(tile_px=TILE, mpp=MPP)
    tiles = [jpeg(draw_tile(phantom, patient, number).pixels) for patient in range(8) for number in range(8)]
    return tiles, jpeg(np.full((TILE, TILE, 3), 243, np.uint8))


def jpeg(tile: np.ndarray) -> bytes:
    found, content = cv2.imencode(".jpg", cv2.cvtColor(tile, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])
    assert found
    return content.tobytes()


def encoded(width: int, tissue: list[bytes], glass: bytes) -> Iterator[bytes]:
    """The tiles of a level: an ellipse of tissue that covers three fifths of it."""
    count = -(-width // TILE)
    for row in range(count):
        for column in range(count):
            u, v = (column + 0.5) / count * 2 - 1, (row + 0.5) / count * 2 - 1
            yield tissue[(7 * row + 13 * column) % len(tissue)] if u * u + v * v < 0.76 else glass


def bundle_of(network: str, folder: Path, tile_px: int) -> Path:
    from counterstain.learning.bundle import Bundle, write_bundle
    from counterstain.learning.networks import build_network

    write_bundle(
        folder, Bundle(network, CLASSES, tile_px, "crop", "0..1", mpp=MPP),
        build_network(network, classes=2, tile_px=tile_px, seed=0),
    )  # fmt: skip
    return folder


# ------------------------------------------------------------------------------------------------------------- memory


def measure_memory(side: int, network: str, workers: int) -> dict[str, Any]:
    """In a process of its own: one slide from file to files."""
    from counterstain.slides import infer_cohort as run
    from counterstain.slides.infer_slide import InferenceOptions, Model

    first: list[float] = []

    def told(progress: run.SlideProgress) -> None:
        if progress.done and not first:
            first.append(time.perf_counter() - began)

    with tempfile.TemporaryDirectory(dir=SLIDES) as name:
        folder = bundle_of("given" if network == "colour" else network, Path(name) / "bundle", TILE)
        if network == "colour":

            def colour(tiles: np.ndarray) -> np.ndarray:
                mean = tiles.reshape(len(tiles), -1, 3).mean(axis=(1, 2), dtype=np.float32)
                return np.stack([mean / 255, 1 - mean / 255], axis=1)

            load = run._load
            run._load = lambda *given: Model(
                colour, CLASSES, TILE, None, load(*given).key
            )  # torch is loaded all the same
        began = time.perf_counter()
        result = run.run_slides(
            folder, [SLIDES / f"s{side}.tif"], Path(name) / "out", InferenceOptions(workers=workers, merged=True),
            talk=run.SlidesProgress(progress=told),
        )  # fmt: skip
        seconds = time.perf_counter() - began
    tiles = result.records[f"s{side}"]["tiles"]
    return {
        "side_px": side,
        "network": network,
        "tiles": tiles,
        "seconds": round(seconds, 1),
        "tiles_per_s": round(tiles / seconds, 1),
        "first_batch_s": round(first[0], 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
    }


def memory(sides: list[int], network: str, workers: int) -> dict[str, Any]:
    rows = []
    for side in sides:
        slide_of(side)
        command = [
            sys.executable,
            __file__,
            "one",
            "--side",
            str(side),
            "--network",
            network,
            "--workers",
            str(workers),
        ]
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        rows.append(json.loads(found.stdout))
        say("  ".join(f"{name} {value}" for name, value in rows[-1].items()))
    return {"question": "memory", "rows": rows}


# --------------------------------------------------------------------------------------------------------- throughput


def throughput(side: int, network: str, device: str, batches: int, rounds: int, workers: int) -> dict[str, Any]:
    from counterstain.learning.device import prepare_device
    from counterstain.learning.predictor import load_predictor
    from counterstain.slides.reader import open_slide
    from counterstain.slides.tile_stream import batch_size, read_ahead, stream_logits
    from counterstain.slides.tiling import plan_tiles
    from counterstain.slides.tissue import tissue_mask

    path = slide_of(side)
    machine = prepare_device(device=device)
    with tempfile.TemporaryDirectory() as name:
        predictor = load_predictor(bundle_of(network, Path(name), TILE), device=machine.device)
    with open_slide(path) as slide:
        tiling = plan_tiles(slide, mpp=MPP, tile_px=TILE, tissue=tissue_mask(slide))
        held = []
    size = batch_size(TILE)
    rows = [np.arange(k * size, (k + 1) * size) % len(tiling) for k in range(batches)]
    with open_slide(path) as slide:
        from counterstain.slides.tiling import read_tiles

        held = [read_tiles(slide, tiling, part) for part in rows[:4]]

    def opened() -> Any:
        return open_slide(path)

    stages: dict[str, Callable[[], None]] = {
        "decoding": lambda: consume(read_ahead(opened, tiling, iter(rows), workers=workers)),
        "inference": lambda: consume(predictor.logits(held[k % 4]) for k in range(batches)),
        "both": lambda: consume(stream_logits(opened, tiling, iter(rows), predictor.logits, workers=workers)),
    }
    rates: dict[str, list[float]] = {stage: [] for stage in stages}
    for number in range(rounds + 1):
        for stage, run in stages.items():
            began = time.perf_counter()
            run()
            if number:  # the first round warms
                rates[stage].append(batches * size / (time.perf_counter() - began))
    triples = list(zip(rates["decoding"], rates["inference"], rates["both"], strict=True))
    row = {
        "network": network,
        "device": machine.device,
        **{f"{stage}_tiles_per_s": round(statistics.median(values), 1) for stage, values in rates.items()},
        "of_slower": round(statistics.median(c / min(a, b) for a, b, c in triples), 3),
        "of_shared_cores_bound": round(statistics.median(c * (1 / a + 1 / b) for a, b, c in triples), 3),
    }
    say("  ".join(f"{name} {value}" for name, value in row.items()))
    return row


def consume(items: Iterator[Any]) -> None:
    for _ in items:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("memory", "throughput", "one"))
    parser.add_argument("--sides", type=int, nargs="+", default=[10_000, 20_000, 50_000, 100_000])
    parser.add_argument("--side", type=int, default=10_000)
    parser.add_argument("--network", default="colour")
    parser.add_argument("--networks", nargs="+", default=["given", "modified"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batches", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    if asked.what == "one":
        print(json.dumps(measure_memory(asked.side, asked.network, asked.workers)))
        return
    if asked.what == "memory":
        record = memory(asked.sides, asked.network, asked.workers)
    else:
        rows = [
            throughput(asked.side, network, asked.device, asked.batches, asked.rounds, asked.workers)
            for network in asked.networks
        ]
        record = {"question": "throughput", "rows": rows}
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }
    print(json.dumps(record | {"machine": machine}))


if __name__ == "__main__":
    main()
