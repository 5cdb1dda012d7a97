"""Decode once: a folder of images to a finished store on two threads, against each decoder alone.

    .venv/bin/python benchmarks/decode.py [FOLDER] [--images 400] [--rounds 5] [--kind png]

Ours is everything: finding, reading, hashing, decoding, checking, resizing to 257 px, writing and syncing the store.
A peer only turns bytes in memory into RGB pixels, and in a second row resizes them as ours does. All take turns in one
process, image for image on the same number of threads; a ratio is the median of those of its rounds. The peers live in
an environment that the script makes. A table goes to stderr, one JSON line to stdout.
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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE.parent / ".benchenv-decoders"
IMAGES = HERE.parent / ".benchenv-images"
TILE_PX = 257
STORE = "ours: folder to store"
PEERS = ["pyvips", "pyvips-binary", "simplejpeg"]

Peer = Callable[[bytes], Any]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def make_environment() -> Path:
    """The Python of an environment with the peers, which sees this project's packages behind its own."""
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / ".ready").is_file():
        say(f"making {ENVIRONMENT.name} (once)")
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        ours = next(path for path in sys.path if path.endswith("site-packages"))
        link = next(ENVIRONMENT.glob("lib/python*/site-packages")) / "project.pth"
        link.write_text(f"import site; site.addsitedir({ours!r})\n", encoding="utf-8")
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PEERS], check=True)
        (ENVIRONMENT / ".ready").touch()
    return python


def peers(kind: str) -> dict[str, Peer]:
    """Each decoder by name: bytes to (H, W, 3) uint8 RGB."""
    import cv2
    import imagecodecs
    import numpy as np
    import pyvips
    import simplejpeg
    from PIL import Image

    def opencv(content: bytes) -> Any:
        return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)

    found: dict[str, Peer] = {
        "pillow": lambda content: np.asarray(Image.open(io.BytesIO(content)).convert("RGB")),
        "opencv": opencv,
        "pyvips": lambda content: pyvips.Image.new_from_buffer(content, "", access="sequential").numpy(),
    }
    if kind == "png":
        found["imagecodecs, libpng"] = imagecodecs.png_decode
        found["imagecodecs, libspng"] = imagecodecs.spng_decode
    else:
        found["imagecodecs, libjpeg-turbo"] = imagecodecs.jpeg8_decode
        found["simplejpeg"] = simplejpeg.decode_jpeg
    return found


def images_per_s(work: Callable[[], object], count: int) -> float:
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def measure(options: argparse.Namespace, folder: Path, names: list[str]) -> dict[str, list[float]]:
    """Images/s of every side, a value a round."""
    import pandas as pd

    from counterstain.images.store import build_store
    from counterstain.images.tile import fit_tile

    contents = [(folder / name).read_bytes() for name in names]  # and so that the disk plays no part for anyone
    cohort: Any = SimpleNamespace(table=pd.DataFrame({"image_path": names}), root=folder)

    def store() -> None:
        with tempfile.TemporaryDirectory(dir=options.scratch) as place:
            build_store(cohort, Path(place), tile_px=TILE_PX, threads=options.threads)

    def shared(peer: Peer) -> Callable[[], object]:
        def work() -> None:
            with ThreadPoolExecutor(options.threads) as pool:
                for _ in pool.map(peer, contents):
                    pass

        return work

    def resized(peer: Peer) -> Peer:
        return lambda content: fit_tile(peer(content), "", tile_px=TILE_PX, fit="stretch")

    sides: dict[str, Callable[[], object]] = {STORE: store}
    for name, peer in peers(options.kind).items():
        sides[name] = shared(peer)
        sides[f"{name}, and resize"] = shared(resized(peer))
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(options.rounds + 1):  # the first round warms up and does not count
        say(f"round {number} of {options.rounds}")
        for name in list(sides)[:: 1 if number % 2 else -1]:
            rate = images_per_s(sides[name], len(names))
            if number:
                rates[name].append(rate)
    return rates


def differences(kind: str, folder: Path, names: list[str]) -> dict[str, int]:
    """The largest difference of any pixel from Pillow's, grey levels; ours is looked at like the peers."""
    import numpy as np

    from counterstain.images.decode import decode_content

    sides: dict[str, Peer] = {"ours": lambda content: decode_content(content, "x").pixels, **peers(kind)}
    largest = dict.fromkeys(sides, 0)
    for name in names[:50]:
        content = (folder / name).read_bytes()
        expected = sides["pillow"](content).astype(np.int16)
        for side, decode in sides.items():
            largest[side] = max(largest[side], int(np.abs(decode(content) - expected).max()))
    return largest


def as_jpeg(folder: Path, names: list[str], place: Path) -> list[str]:
    """The images again as JPEG of quality 90 in `place`; their names there."""
    from PIL import Image

    for number, name in enumerate(names):
        with Image.open(folder / name) as image:
            image.convert("RGB").save(place / f"{number:05d}.jpg", quality=90)
    return [f"{number:05d}.jpg" for number in range(len(names))]


def report(options: argparse.Namespace, rates: dict[str, list[float]], largest: dict[str, int], count: int) -> None:
    """The table and the JSON line."""
    from counterstain.images.decode import decoder_version

    medians = {name: statistics.median(values) for name, values in rates.items()}
    ratios = {
        name: statistics.median(ours / peer for ours, peer in zip(rates[STORE], values, strict=True))
        for name, values in rates.items()
        if name != STORE
    }
    alone = {name: medians[name] for name in ratios if not name.endswith("and resize")}
    fastest = max(alone, key=lambda name: alone[name])
    say(f"\n{'':40}{'images/s':>10}{'ours / it':>11}{'pixels off':>12}")
    for name, value in medians.items():
        ratio = f"{ratios[name]:11.2f}" if name in ratios else f"{'':11}"
        say(f"{name:40}{value:10.0f}{ratio}{largest.get(name, largest['ours']) if name in (*alone, STORE) else '':>12}")
    commit = subprocess.run(
        ["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True, check=False
    )
    record = {
        "schema": "counterstain.benchmark.decode/2",
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip(),
        "kind": options.kind,
        "images": count,
        "threads": options.threads,
        "rounds": options.rounds,
        "images_per_s": medians,
        "ours_over": ratios,
        "fastest_alone": fastest,
        "ratio": ratios[fastest],
        "pixels_off": largest,
        "all_rounds": rates,
        "decoder": decoder_version(),
        "processor": platform.processor() or platform.machine(),
        "load_average": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(record, sort_keys=True))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="of PNGs (else 700×460 ones are drawn once)")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kind", choices=("png", "jpeg"), default="png", help="jpeg: the same images, quality 90")
    parser.add_argument("--scratch", type=Path, help="where stores are written (the system's temporary folder)")
    return parser.parse_args()


def main() -> None:
    options = parse()
    python = make_environment()
    if Path(sys.prefix).resolve() != ENVIRONMENT.resolve():
        os.environ["VIPS_CONCURRENCY"] = "1"  # two images at a time for everyone, not two halves of each
        sys.exit(subprocess.run([str(python), *sys.argv], check=False).returncode)
    import cv2

    cv2.setNumThreads(1)
    folder = options.folder or IMAGES
    if options.folder is None:
        draw = [str(HERE / "against_notebook.py"), "--draw", "--images", str(options.images), "--folder", str(folder)]
        subprocess.run([sys.executable, *draw], check=True)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))[: options.images]
    with tempfile.TemporaryDirectory() as place:
        if options.kind == "jpeg":
            names, folder = as_jpeg(folder, names, Path(place)), Path(place)
        rates = measure(options, folder, names)
        report(options, rates, differences(options.kind, folder, names), len(names))


if __name__ == "__main__":
    main()
