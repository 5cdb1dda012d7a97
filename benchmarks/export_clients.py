"""Does WSInfer, with an exported model, say of a slide's tiles what our own slide run says of them?

    python -m venv wsinfer && wsinfer/bin/pip install wsinfer 'zarr<3' 'tiffslide<3' 'numcodecs<0.16'
    python benchmarks/export_clients.py runs/study/arms/given/seed-0/fold-0-0 --wsinfer wsinfer/bin/python

The model is exported, phantom slides are made at scales of 0.25 to 4 (level-0 px per px of a tile), every tile of each
is read by `slides run`, edge tiles included, and the patches file that it wrote is given to WSInfer's own
run_inference, which reads by its own code. A slide that is coarser than the model is refused by our run: there, its
level 0 is cut and fitted as `predict` fits an image. The slides have one lossless level; with --pyramid they are JPEG
of several levels, each compressed by itself.

A table goes to stderr, one JSON line to stdout; exit code 1 where a probability differs by more than 0.02.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray

BAR = 0.02
SCALES = (0.25, 0.5, 0.8, 1.0, 1.5, 2.0, 2.7, 4.0)
COARSEST = 0.95  # below this scale a slide is coarser than the model
TILES = 9  # of a slide's width at least
CLIENT = """
import json, sys
from pathlib import Path
from wsinfer.modellib.models import LocalModelTorchScript
from wsinfer.modellib.run_inference import run_inference
from wsinfer_zoo.client import ModelConfiguration, validate_config_json
model, slides, results = map(Path, sys.argv[1:])
config = json.loads((model / "config.json").read_text())
validate_config_json(config)
path = str(model / "torchscript_model.pt")
local = LocalModelTorchScript(config=ModelConfiguration.from_dict(config), model_path=path)
failed = run_inference(slides, results, local, batch_size=16)
sys.exit(f"failed: {failed}" if any(failed) else 0)
"""


@dataclass(frozen=True)
class Row:
    """One scale: tiles compared, how many of them stick out of the slide, and how the answers differ.

    spread: from the smallest to the largest probability of ours; a model that says the same of all proves nothing.
    """

    scale: float
    ours_by: str
    tiles: int
    edge_tiles: int
    spread: float
    largest_difference: float
    largest_at_edges: float
    calls_changed: int
    calls_changed_beyond: int


def make_slide(folder: Path, scale: float, tile_px: int, mpp: float) -> Path:
    """One phantom slide of that scale, whose width and height are no whole number of tiles."""
    from counterstain.phantom.slide import PhantomSlide, write_slides
    from counterstain.phantom.tiles import Phantom

    side = tile_px * scale
    across = max(TILES, int(260 / side + 3.4))  # a phantom slide has 256 px at least
    settings = PhantomSlide(
        phantom=Phantom(patients=4, mpp=mpp / scale, seed=1),
        size_px=(round(side * (across - 0.35)), round(side * (across - 2.4))),
        step=2, distinct_blocks=8,
    )  # fmt: skip
    write_slides(folder, 1, settings=settings, workers=1)
    (path,) = folder.rglob("*.tif")
    path.rename(folder / "slide.tif")
    for other in folder.iterdir():  # WSInfer takes every file of a folder for a slide
        if other.name != "slide.tif" and other.is_file():
            other.unlink()
    return folder / "slide.tif"


def flatten(slide: Path, mpp: float) -> None:
    """The slide with level 0 alone, losslessly: both read the same px, and what differs is the resampling."""
    pixels = tifffile.imread(slide, key=0)
    per_cm = 10_000 / mpp
    tifffile.imwrite(
        slide, pixels, tile=(256, 256), photometric="rgb", compression="deflate", metadata=None,
        resolution=(per_cm, per_cm), resolutionunit="CENTIMETER",
    )  # fmt: skip


def read_table(path: Path, classes: Sequence[str]) -> dict[tuple[int, int], NDArray[np.float64]]:
    """Probabilities by corner, of our table or of WSInfer's: both have minx, miny and prob_<class>."""
    with path.open(encoding="utf-8", newline="") as stream:
        return {
            (round(float(row["minx"])), round(float(row["miny"]))): np.array([float(row[f"prob_{c}"]) for c in classes])
            for row in csv.DictReader(stream)
        }


def ours_by_run(model: Path, slide: Path, results: Path) -> None:
    from counterstain.slides.infer_cohort import run_slides
    from counterstain.slides.infer_slide import InferenceOptions

    made = run_slides(model, [slide], results, InferenceOptions(least_tissue=None, runtime="torch"))
    if made.failures:
        raise SystemExit(f"our run failed: {made.failures}")


def ours_by_fit(model: Path, slide: Path, results: Path, scale: float) -> None:
    """Level 0 cut into tiles and fitted: the tables and the patches file as a run writes them."""
    from counterstain.evaluation.calibration import calibrate, read_calibration
    from counterstain.images.tile import fit_tile
    from counterstain.learning.predictor import load_predictor

    predictor = load_predictor(model)
    bundle, fitted = predictor.bundle, read_calibration(model)
    pixels = tifffile.imread(slide, key=0)
    side = round(bundle.tile_px * scale)
    corners = [(x, y) for y in range(0, pixels.shape[0], side) for x in range(0, pixels.shape[1], side)]
    tiles = np.full((len(corners), side, side, 3), 255, np.uint8)
    for tile, (x, y) in zip(tiles, corners, strict=True):
        part = pixels[y : y + side, x : x + side]
        tile[: part.shape[0], : part.shape[1]] = part
    fit = "stretch" if bundle.fit == "exact" else bundle.fit
    resized = np.stack([fit_tile(tile, "tile", tile_px=bundle.tile_px, fit=fit) for tile in tiles])
    prob = predictor.probabilities(resized)
    prob = prob if fitted is None else calibrate(fitted, prob, bundle.classes)
    for name in ("patches", "model-outputs-csv"):
        (results / name).mkdir(parents=True, exist_ok=True)
    with h5py.File(results / "patches" / "slide.h5", "w") as file:
        coords = file.create_dataset("coords", data=np.array(corners, np.int64))
        coords.attrs.update({"patch_size": side, "patch_level": 0, "patch_spacing_um_px": bundle.mpp})
    with (results / "model-outputs-csv" / "slide.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["minx", "miny", *(f"prob_{name}" for name in bundle.classes)])
        writer.writerows([*corner, *row] for corner, row in zip(corners, prob.tolist(), strict=True))


def compare(model: Path, python: Path, scale: float, folder: Path, *, pyramid: bool) -> Row:
    """One slide at one scale, read by us and by WSInfer."""
    from counterstain.learning.bundle import read_bundle

    bundle = read_bundle(model)
    slides, ours, theirs = folder / "slides", folder / "ours", folder / "theirs"
    slide = make_slide(slides, scale, bundle.tile_px, float(bundle.mpp or 0))
    if not pyramid:
        flatten(slide, float(bundle.mpp or 0) / scale)
    by_run = scale > COARSEST
    ours_by_run(model, slide, ours) if by_run else ours_by_fit(model, slide, ours, scale)
    theirs.mkdir()
    (ours / "patches").rename(theirs / "patches")
    called = [str(python), "-c", CLIENT, str(model), str(slides), str(theirs)]
    done = subprocess.run(called, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"WSInfer failed at scale {scale}: {done.stderr[-2000:]}{done.stdout[-500:]}")
    own = read_table(ours / "model-outputs-csv" / "slide.csv", bundle.classes)
    other = read_table(theirs / "model-outputs-csv" / "slide.csv", bundle.classes)
    if own.keys() != other.keys():
        raise SystemExit(f"scale {scale}: {len(own)} tiles of ours and {len(other)} of WSInfer's are not the same")
    with tifffile.TiffFile(slide) as file:
        height, width = file.pages[0].shape[:2]
    side = bundle.tile_px * scale
    difference = np.array([np.abs(own[corner] - other[corner]).max() for corner in own])
    changed = np.array([own[corner].argmax() != other[corner].argmax() for corner in own])
    edge = np.array([x + side > width + 0.5 or y + side > height + 0.5 for x, y in own])
    return Row(
        scale=scale, ours_by="slides run" if by_run else "predict", tiles=len(own), edge_tiles=int(edge.sum()),
        spread=float(np.ptp(np.stack(list(own.values()))[:, -1])), largest_difference=float(difference.max()),
        largest_at_edges=float(difference[edge].max()) if edge.any() else 0.0,
        calls_changed=int(changed.sum()), calls_changed_beyond=int((changed & (difference > BAR)).sum()),
    )  # fmt: skip


def shown(row: Row) -> str:
    """A line of the table of docs/export.md."""
    return (
        f"| {row.scale:g} | {row.ours_by} | {row.tiles} | {row.edge_tiles} | {row.spread:.2f} | "
        f"{row.largest_difference:.4f} | {row.largest_at_edges:.4f} | {row.calls_changed} |"
    )


def compare_all(
    bundle: Path, python: Path, scales: Sequence[float] = SCALES, *, pyramid: bool = False
) -> dict[str, Any]:
    """The record: one row per scale, and whether all of them are within the bar."""
    from counterstain.export.from_run import ExportOptions, export
    from counterstain.export.graphs import TORCHSCRIPT

    with tempfile.TemporaryDirectory() as place:
        model = Path(place) / "model"
        export(bundle, model, ExportOptions(formats=("wsinfer",)))
        if not (model / TORCHSCRIPT).is_file():
            raise SystemExit("nothing was exported")
        rows = []
        for number, scale in enumerate(scales):
            folder = Path(place) / str(number)
            rows.append(compare(model, python, scale, folder, pyramid=pyramid))
            print(shown(rows[-1]), file=sys.stderr, flush=True)
    within = all(row.largest_difference <= BAR for row in rows)
    return {
        "bar": BAR,
        "pyramid": pyramid,
        "within": within,
        "tiles": sum(r.tiles for r in rows),
        "rows": [asdict(row) for row in rows],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="folder of a trained model that knows its µm/px")
    parser.add_argument("--wsinfer", type=Path, required=True, help="python of an environment that has WSInfer")
    parser.add_argument("--scales", type=float, nargs="+", default=list(SCALES))
    parser.add_argument("--pyramid", action="store_true", help="JPEG slides with levels")
    asked = parser.parse_args()
    found = compare_all(asked.bundle, asked.wsinfer, asked.scales, pyramid=asked.pyramid)
    print(json.dumps({"schema": "counterstain.benchmark.export-clients/1", **found}))
    sys.exit(0 if found["within"] else 1)


if __name__ == "__main__":
    main()
