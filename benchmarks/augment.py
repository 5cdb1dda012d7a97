"""How many tiles a second are augmented: ours against torchvision v2 and single OpenCV calls. One JSON line.

    python benchmarks/augment.py [--tile-px 257] [--tiles 64] [--seconds 2] [--folder IMAGES]

The same five transformations everywhere, all switched on, equalisation for every tile. "cv2_steps" is the notebook's
way: one call of OpenCV for each transformation, one after the other.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms import v2

from counterstain.pixels.augment import Augmentation, augment_batch
from counterstain.pixels.decode import decode
from counterstain.pixels.draws import image_keys
from counterstain.pixels.fit import fit_tile

Tiles = NDArray[np.uint8]


def tiles_of(folder: Path | None, count: int, tile_px: int) -> Tiles:
    if folder is None:
        rng = np.random.default_rng(0)
        noise = rng.integers(0, 256, (count, tile_px, tile_px, 3), dtype=np.uint8)
        return np.stack([cv2.GaussianBlur(tile, (0, 0), 3) for tile in noise])
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".tif"))
    chosen = [paths[number % len(paths)] for number in range(count)]
    return np.stack([fit_tile(decode(p).pixels, str(p), tile_px=tile_px, fit="stretch") for p in chosen])


def rate(work: Callable[[int], object], count: int, seconds: float) -> dict[str, float]:
    """Tiles a second of wall time and of processor time, the medians of the rounds that fit into the time (3 or more).

    Processor time says what a core can do where other programs share the machine.
    """
    work(0)
    wall: list[float] = []
    processor: list[float] = []
    started = time.perf_counter()
    while len(wall) < 3 or time.perf_counter() - started < seconds:
        begin, begin_processor = time.perf_counter(), time.process_time()
        work(len(wall))
        wall.append(count / (time.perf_counter() - begin))
        processor.append(count / (time.process_time() - begin_processor))
    return {"wall": round(float(np.median(wall)), 1), "cpu": round(float(np.median(processor)), 1)}


def cv2_steps(tiles: Tiles, rng: np.random.Generator) -> Tiles:
    side = tiles.shape[1]
    out = np.empty_like(tiles)
    for number, original in enumerate(tiles):
        tile = cv2.flip(original, int(rng.integers(-1, 2)))
        luminance = cv2.cvtColor(tile, cv2.COLOR_RGB2YCrCb)
        luminance[..., 0] = cv2.equalizeHist(np.ascontiguousarray(luminance[..., 0]))
        tile = cv2.cvtColor(luminance, cv2.COLOR_YCrCb2RGB)
        turn = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), rng.uniform(-20, 20), 1)
        shift = np.float64([[1, 0, rng.uniform(-0.1, 0.1) * side], [0, 1, rng.uniform(-0.1, 0.1) * side]])
        shear = np.float64([[1, np.tan(np.deg2rad(rng.uniform(-10, 10))), 0], [0, 1, 0]])
        for matrix in (turn, shift, shear):
            tile = cv2.warpAffine(tile, matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101)
        out[number] = tile
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tile-px", type=int, default=257)
    parser.add_argument("--tiles", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    tiles = tiles_of(options.folder, options.tiles, options.tile_px)
    keys = image_keys([str(number) for number in range(len(tiles))])
    five = Augmentation(equalise_probability=1.0)
    usual = Augmentation()
    out = np.empty_like(tiles)
    vision = v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
            v2.RandomEqualize(p=1.0),
            v2.RandomAffine(20, translate=(0.1, 0.1), shear=10, interpolation=v2.InterpolationMode.BILINEAR),
        ]
    )
    planes = [torch.from_numpy(np.ascontiguousarray(tile.transpose(2, 0, 1))) for tile in tiles]
    rng = np.random.default_rng(0)

    def ours(settings: Augmentation, threads: int) -> Callable[[int], object]:
        return lambda epoch: augment_batch(
            tiles, keys, settings=settings, seed=0, epoch=epoch, threads=threads, out=out
        )

    ways: dict[str, Callable[[int], object]] = {
        "ours_five_1_thread": ours(five, 1),
        "ours_five_2_threads": ours(five, 2),
        "ours_default_1_thread": ours(usual, 1),
        "cv2_steps": lambda _: cv2_steps(tiles, rng),
        "torchvision_v2_per_image": lambda _: [vision(plane) for plane in planes],
    }
    rates = {name: rate(work, len(tiles), options.seconds) for name, work in ways.items()}
    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    print(
        json.dumps(
            {
                "benchmark": "augment",
                "tile_px": options.tile_px,
                "images_per_second": rates,
                "load_average": load,
                "opencv": cv2.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
