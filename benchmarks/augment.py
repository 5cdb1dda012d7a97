"""How many tiles per second are augmented? Ours against torchvision v2, Keras's layers and plain OpenCV calls.

    .venv/bin/python benchmarks/augment.py [--rounds 5] [--tiles 64] [--tile-px 257]

Four rows: histogram equalisation of every tile; one random affine warp (rotation, shift, shear); colour jitter of 20 %
(brightness, contrast, saturation); and the five of the study together (equalise, flip, rotation, shift, shear). All on
uint8 tiles in memory but Keras, whose layers compute in float32. Ours is timed on one core and on two, OpenCV and
torchvision on one, Keras on all that TensorFlow takes. A table goes to stderr, one JSON line to stdout.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from environments import keras_python
from turns import answer, finish, say, show, take_turns

HERE = Path(__file__).resolve().parent
OPERATIONS = ("equalise", "warp", "colour", "five")
SETTINGS = {
    "ours": "one call a batch; all geometry is one warp, colour one matrix, a draw of its own for every tile",
    "OpenCV": "one call a step and tile: equalizeHist on Y, three warpAffine, float arithmetic for colour",
    "torchvision": "v2 on uint8 tensors, one tile at a time: RandomEqualize, RandomAffine, ColorJitter (no hue)",
    "Keras": "Equalization, RandomFlip/Rotation/Translation/Shear, RandomColorJitter; tf.function, float32 batch",
}


def ours_of(tiles: Any) -> dict[str, Callable[[int, int], Any]]:
    """Each operation of ours as a function of (epoch, threads)."""
    import numpy as np

    from counterstain.images.augment import augment_batch, image_keys
    from counterstain.images.augmentation import Augmentation

    keys = image_keys([str(number) for number in range(len(tiles))])
    out = np.empty_like(tiles)
    off: dict[str, Any] = {
        "flip": "none", "equalise": "none", "rotation_deg": 0.0, "translation": 0.0, "shear_deg": 0.0,
    }  # fmt: skip
    settings = {
        "equalise": Augmentation(**off | {"equalise": "luminance"}, equalise_probability=1.0),
        "warp": Augmentation(flip="none", equalise="none"),
        "colour": Augmentation(**off, brightness=0.2, contrast=0.2, saturation=0.2),
        "five": Augmentation(equalise_probability=1.0),
    }

    def way(one: Augmentation) -> Callable[[int, int], Any]:
        return lambda epoch, threads: augment_batch(
            tiles, keys, settings=one, seed=0, epoch=epoch, threads=threads, out=out
        )

    return {operation: way(one) for operation, one in settings.items()}


def opencv_of(tiles: Any) -> dict[str, Callable[[], Any]]:
    """The notebook's way: one OpenCV call for each step, one after the other, tile by tile."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(0)
    side = tiles.shape[1]
    luma = np.array([0.299, 0.587, 0.114], np.float32)

    def equalise(tile: Any) -> Any:
        planes = cv2.cvtColor(tile, cv2.COLOR_RGB2YCrCb)
        planes[..., 0] = cv2.equalizeHist(np.ascontiguousarray(planes[..., 0]))
        return cv2.cvtColor(planes, cv2.COLOR_YCrCb2RGB)

    def warp(tile: Any) -> Any:
        turn = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), rng.uniform(-20, 20), 1)
        shift = np.array([[1, 0, rng.uniform(-0.1, 0.1) * side], [0, 1, rng.uniform(-0.1, 0.1) * side]])
        shear = np.array([[1, np.tan(np.deg2rad(rng.uniform(-10, 10))), 0], [0, 1, 0]])
        for matrix in (turn, shift, shear):
            tile = cv2.warpAffine(tile, matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101)
        return tile

    def colour(tile: Any) -> Any:
        brightness, contrast, saturation = rng.uniform(0.8, 1.2, 3)
        pixels = tile.astype(np.float32) * np.float32(brightness)
        pixels = np.float32(contrast) * pixels + np.float32((1 - contrast) * (pixels @ luma).mean())
        grey = (pixels @ luma)[..., None]
        return np.clip(np.float32(saturation) * (pixels - grey) + grey, 0, 255).astype(np.uint8)

    def five(tile: Any) -> Any:
        return warp(cv2.flip(equalise(tile), int(rng.integers(-1, 2))))

    def each(step: Callable[[Any], Any]) -> Callable[[], Any]:
        return lambda: [step(tile) for tile in tiles]

    return {name: each(step) for name, step in zip(OPERATIONS, (equalise, warp, colour, five), strict=True)}


def torchvision_of(tiles: Any) -> dict[str, Callable[[], Any]]:
    """torchvision's transforms, one tile at a time, as in a data set."""
    import numpy as np
    import torch
    from torchvision.transforms import v2

    planes = [torch.from_numpy(np.ascontiguousarray(tile.transpose(2, 0, 1))) for tile in tiles]
    equalise = v2.RandomEqualize(p=1.0)
    warp = v2.RandomAffine(20, translate=(0.1, 0.1), shear=10, interpolation=v2.InterpolationMode.BILINEAR)
    colour = v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2)
    five = v2.Compose([equalise, v2.RandomHorizontalFlip(), v2.RandomVerticalFlip(), warp])

    def each(transform: Any) -> Callable[[], Any]:
        return lambda: [transform(plane) for plane in planes]

    return {name: each(step) for name, step in zip(OPERATIONS, (equalise, warp, colour, five), strict=True)}


def here(options: argparse.Namespace) -> None:
    """The side of everything that runs in the project's own Python."""
    import cv2
    import torch
    from made_up import make_tiles

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    tiles = make_tiles(options.tiles, options.tile_px)
    own, opencv, vision = ours_of(tiles), opencv_of(tiles), torchvision_of(tiles)
    count = 0

    def rate(work: Callable[[], Any]) -> float:
        began = time.perf_counter()
        work()
        return len(tiles) / (time.perf_counter() - began)

    def measure() -> dict[str, Any]:
        nonlocal count
        count += 1
        found: dict[str, dict[str, float]] = {}
        for name in OPERATIONS:
            found[name] = {
                "ours, 1 core": rate(lambda name=name: own[name](count, 1)),  # type: ignore[misc]
                "ours, 2 cores": rate(lambda name=name: own[name](count, 2)),  # type: ignore[misc]
                "OpenCV, 1 core": rate(opencv[name]),
                "torchvision, 1 core": rate(vision[name]),
            }
        return found

    measure()
    answer(measure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiles", type=int, default=64)
    parser.add_argument("--tile-px", type=int, default=257)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        return here(options)
    sizes = [str(options.tile_px), str(options.tiles)]
    me = [sys.executable, str(Path(__file__).resolve()), "--here", "--tile-px", sizes[0], "--tiles", sizes[1]]
    keras = [str(keras_python()), str(HERE / "keras_augment.py"), *sizes]
    runs = take_turns({"here": me, "Keras": keras}, options.rounds)
    ways = (*runs["here"][0]["five"], "Keras, 2 cores")
    rates = {
        name: {
            way: [record[name][way] for record in runs["here"]] if way in runs["here"][0][name]
            else [record[name] for record in runs["Keras"]]
            for way in ways
        }
        for name in OPERATIONS
    }  # fmt: skip
    rows = [("images/s", *ways)]
    for name, found in rates.items():
        rows.append((name, *(f"{statistics.median(found[way]):,.0f}" for way in ways)))
    show(rows)
    ratios = {
        name: {
            f"ours / {peer}": statistics.median(a / b for a, b in zip(found[own], found[peer], strict=True))
            for own, peer in (
                ("ours, 1 core", "OpenCV, 1 core"),
                ("ours, 1 core", "torchvision, 1 core"),
                ("ours, 2 cores", "Keras, 2 cores"),
            )
        }
        for name, found in rates.items()
    }
    for name, value in ratios.items():
        say(f"{name}: " + ", ".join(f"{peer} {one:.1f}" for peer, one in value.items()))
    for way, words in SETTINGS.items():
        say(f"{way}: {words}")
    sizes_record = {"tile_px": options.tile_px, "tiles": options.tiles, "settings": SETTINGS}
    return finish("augment", sizes_record | {"images_per_s": rates, "ratios": ratios})


if __name__ == "__main__":
    main()
