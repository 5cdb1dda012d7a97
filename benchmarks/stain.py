"""What does stain cost? Normalisation against torchstain, and augmentation against a training step.

    .venv/bin/python benchmarks/stain.py [--rounds 5] [--tiles 32] [--tile-px 257]

On phantom tiles in memory, each of another patient. Normalisation to one of them: ours (a batch) and torchstain's torch
and numpy backends (a tile at a time, which is all that they do), on one thread each; their faster one is the peer. How
far the results lie apart (mean absolute difference on the scale of 0 to 1) is in the record. Augmentation on one
thread, as a share of the given network's training step in bf16 on all cores. Seconds of normalisation and augmentation
are those of the processor, so that other programs count only by what they do to its caches; those of the step are the
clock's, which asks for an idle machine. A table goes to stderr, one JSON line to stdout.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from turns import answer, finish, say, show, take_turns

HERE = Path(__file__).resolve().parent
BATCH = 32


def torchstain_of(method: str, backend: str, tiles: Any) -> Callable[[], list[Any]]:
    """The library's way: fitted on the first tile, then one tile after the other."""
    import numpy as np
    import torch
    from torchstain.numpy.normalizers import NumpyMacenkoNormalizer, NumpyReinhardNormalizer
    from torchstain.torch.normalizers import TorchMacenkoNormalizer, TorchReinhardNormalizer

    kinds = {
        "torch": {"macenko": TorchMacenkoNormalizer, "reinhard": TorchReinhardNormalizer},
        "numpy": {"macenko": NumpyMacenkoNormalizer, "reinhard": NumpyReinhardNormalizer},
    }
    normaliser = kinds[backend][method]()
    given = list(tiles)
    if backend == "torch":
        given = [torch.from_numpy(np.ascontiguousarray(tile.transpose(2, 0, 1))) for tile in tiles]
    normaliser.fit(given[0])
    if method == "macenko":  # not the two stains by themselves, which ours does not make either
        return lambda: [normaliser.normalize(tile, stains=False)[0] for tile in given]
    return lambda: [normaliser.normalize(tile) for tile in given]


def ways_of(tiles: Any) -> dict[str, Callable[[], Any]]:
    """Everything that is measured on one thread, by name."""
    from counterstain.images.augment import image_keys
    from counterstain.images.stain import METHODS, apply_recipe, fit_recipe
    from counterstain.images.stain_augment import StainAugmentation, augment_stain
    from counterstain.images.stain_equalisation import equalise_tissue
    from counterstain.images.stain_statistics import fit_statistics

    recipes = {method: fit_recipe(tiles[:1], method=method) for method in METHODS}
    found: dict[str, Callable[[], Any]] = {
        f"{method}, ours": lambda recipe=recipe: apply_recipe(tiles, recipe)[0]  # type: ignore[misc]
        for method, recipe in recipes.items()
    }
    for method in ("macenko", "reinhard"):
        for backend in ("torch", "numpy"):
            found[f"{method}, torchstain {backend}"] = torchstain_of(method, backend, tiles)
    keys, statistics_of_tiles = image_keys([str(number) for number in range(len(tiles))]), fit_statistics(tiles)
    for method in ("hed_light", "mixing", "randstainna"):
        settings = StainAugmentation(method=method)
        found[method] = lambda settings=settings: augment_stain(  # type: ignore[misc]
            tiles, keys, settings=settings, seed=0, epoch=1, statistics=statistics_of_tiles
        )
    found["equalise tissue"] = lambda: [equalise_tissue(tile) for tile in tiles]
    return found


def stain_side(options: argparse.Namespace) -> None:
    import cv2
    import numpy as np
    import torch

    from counterstain.phantom.tiles import Phantom, draw_tile
    from counterstain.system import keep_pages

    keep_pages()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    phantom = Phantom(patients=max(2, options.tiles), tile_px=options.tile_px)
    tiles = np.stack([draw_tile(phantom, patient, 0).pixels for patient in range(options.tiles)])
    ways = ways_of(tiles)
    made = {
        name: np.asarray(np.stack([np.asarray(one) for one in way()]), dtype=np.float64) for name, way in ways.items()
    }
    apart = {
        name: float(np.abs(made[name] - made[name.split(",")[0] + ", ours"]).mean() / 255)
        for name in ways
        if "torchstain" in name
    }

    def measure() -> dict[str, Any]:
        milliseconds = {}
        for name, way in ways.items():
            began = time.process_time()
            way()
            milliseconds[name] = 1e3 * (time.process_time() - began) / len(tiles)
        return {"ms": milliseconds, "apart": apart}

    answer(measure)


def step_side(options: argparse.Namespace) -> None:
    from own_step import make_step, rate_of

    step, _ = make_step("bf16", tile_px=options.tile_px, batch=BATCH)
    rate_of(step, steps=3, batch=BATCH)
    answer(lambda: {"ms": 1e3 / rate_of(step, steps=10, batch=BATCH)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiles", type=int, default=32)
    parser.add_argument("--tile-px", type=int, default=257)
    parser.add_argument("--side", choices=("stain", "step"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        return {"stain": stain_side, "step": step_side}[options.side](options)
    sizes = ["--tile-px", str(options.tile_px), "--tiles", str(options.tiles)]
    me = [sys.executable, str(Path(__file__).resolve()), *sizes, "--side"]
    runs = take_turns({"stain": [*me, "stain"], "step": [*me, "step"]}, options.rounds)
    rounds, apart = [record["ms"] for record in runs["stain"]], runs["stain"][0]["apart"]
    milliseconds = {name: [one[name] for one in rounds] for name in rounds[0]}
    step = [record["ms"] for record in runs["step"]]
    rows = [("ms an image", "median", "from torchstain's")]
    for name, values in milliseconds.items():
        rows.append((name, f"{statistics.median(values):.3f}", f"{apart[name]:.4f}" if name in apart else ""))
    rows.append(("training step, all cores", f"{statistics.median(step):.3f}", ""))
    show(rows)
    ratios = {
        method: statistics.median(
            min(one[f"{method}, torchstain {backend}"] for backend in ("torch", "numpy")) / one[f"{method}, ours"]
            for one in rounds
        )
        for method in ("macenko", "reinhard")
    }
    shares = {
        name: statistics.median(one[name] / bare for one, bare in zip(rounds, step, strict=True))
        for name in ("hed_light", "mixing", "randstainna")
    }
    for method, value in ratios.items():
        say(f"{method}: {value:.1f} × the faster of torchstain's backends")
    for name, value in shares.items():
        say(f"{name}: {100 * value:.0f} % of a training step's time, on one core beside it")
    record = {"tile_px": options.tile_px, "tiles": options.tiles, "ms": milliseconds, "step_ms": step, "apart": apart}
    return finish("stain", record | {"ratios": ratios, "shares_of_step": shares})


if __name__ == "__main__":
    main()
