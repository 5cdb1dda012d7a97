"""Features of a whole slide: `counterstain features` against LazySlide, slide2vec and a loop like TRIDENT's.

    python benchmarks/features_peers.py [--network resnet50] [--side 6000] [--rounds 1] [--peers lazyslide loop]

Each side is a process of its own, with the same slide, tiles of 224 px at 0.5 µm/px and the same weights (random, for
none can be fetched everywhere); what it needs before its first tile counts. LazySlide, the loop and ours take the whole
grid, so that their features can be compared tile by tile; slide2vec finds its tissue itself, and is compared by tiles
per second. A peer runs with no worker and with two, in fp32 and bf16, and the best of each precision is shown. A table
goes to stderr, one JSON line to stdout; `environments.py` makes the environment of the others at first use.
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from environments import features_python
from slides_run import slide_of
from turns import finish, run_once, say, show

PX, MPP = 224, 0.5
HEAD = """
import json, sys
import numpy as np, torch
name, weights, slide, out, precision, workers = *sys.argv[1:6], int(sys.argv[6])
PX, MPP = 224, 0.5
torch.set_num_threads(2)
def network():
    import timm
    made = timm.create_model(name, num_classes=0)
    made.load_state_dict(torch.load(weights))
    return made.eval()
def finish(features, coords=None):
    np.savez(out, features=np.asarray(features, dtype=np.float32), **({} if coords is None else {"coords": coords}))
    print(json.dumps({"tiles": len(features)}))
"""

LAZYSLIDE = """
import lazyslide as zs
from wsidata import open_wsi
from timm.data import create_transform, resolve_model_data_config
made = network()
config = {**resolve_model_data_config(made), "crop_pct": 1.0}
wsi = open_wsi(slide)
zs.pp.tile_tissues(wsi, PX, mpp=MPP, background_filter=False, tissue_key=None)
from torchvision.transforms import v2
change = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(config["mean"], config["std"])])
found = zs.tl.feature_extraction(
    wsi, lambda tiles: made(tiles).float(), model_name="own", transform=change, batch_size=32, num_workers=workers,
    device="cpu", amp=precision == "bf16", autocast_dtype=torch.bfloat16, return_features=True, pbar=False)
bounds = wsi.shapes["tiles"].bounds
finish(found, np.stack([bounds["minx"], bounds["miny"]], 1).astype(int))
"""

SLIDE2VEC = """
import tempfile
from pathlib import Path
from slide2vec import ExecutionOptions, Model, PreprocessingConfig
from slide2vec.encoders.base import TimmTileEncoder
from slide2vec.encoders.registry import register_encoder
from hs2p import TilingConfig
import timm
made = network()
@register_encoder("own", encode_dim=made.num_features, input_size=PX, supports_variable_input_size=False, patch_size=16,
                  supported_spacing_um=MPP, precision="fp32", source="own")
class Own(TimmTileEncoder):
    def __init__(self, *, output_variant=None):
        super().__init__(name, pretrained=False)
        self._model.load_state_dict(made.state_dict())
tiling = TilingConfig(requested_spacing_um=MPP, requested_tile_size_px=PX, tolerance=0.05, overlap=0.0,
                      backend="openslide", mask_backend="openslide")
embedded = Model.from_preset("own", device="cpu").embed_slide(
    slide, preprocessing=PreprocessingConfig(tiling=tiling),
    execution=ExecutionOptions(output_dir=Path(tempfile.mkdtemp()), batch_size=32, num_workers_per_gpu=workers,
                               precision=precision))
while isinstance(embedded, dict): embedded = next(iter(embedded.values()))
finish(embedded.tile_embeddings)
"""

LOOP = """
import openslide
from torchvision.transforms import v2
from timm.data import resolve_model_data_config
made = network()
config = resolve_model_data_config(made)
change = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(config["mean"], config["std"])])
opened = openslide.OpenSlide(slide)
width, height = opened.dimensions
coords = [(x, y) for y in range(0, height - PX + 1, PX) for x in range(0, width - PX + 1, PX)]
class Patches(torch.utils.data.Dataset):
    def __len__(self): return len(coords)
    def __getitem__(self, place): return change(opened.read_region(coords[place], 0, (PX, PX)).convert("RGB"))
loader = torch.utils.data.DataLoader(Patches(), batch_size=32, num_workers=workers)
with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
    finish(torch.cat([made(tiles).float() for tiles in loader]), np.array(coords))
"""

PEERS = {"lazyslide": LAZYSLIDE, "slide2vec": SLIDE2VEC, "loop": LOOP}


def weights_of(network: str, folder: Path) -> Path:
    """The state of the network, random by seed 0, as a file that everybody reads."""
    path = folder / f"{network}.pt"
    run_once([
        sys.executable, "-c",
        "import sys, timm, torch; torch.manual_seed(0);"
        "torch.save(timm.create_model(sys.argv[1], num_classes=0).state_dict(), sys.argv[2])", network, str(path),
    ])  # fmt: skip
    return path


def ours(network: str, weights: Path, slide: Path, folder: Path, precision: str) -> dict[str, Any]:
    """One run of `counterstain features` into an empty folder."""
    out = folder / f"ours-{precision}-{os.urandom(4).hex()}"
    done = run_once([
        sys.executable, "-m", "counterstain", "features", f"timm/{network}", str(slide), "--mpp", str(MPP), "--tile-px",
        str(PX), "--least-tissue", "0", "--weights", str(weights), "--precision", precision, "--out", str(out),
        "--json",
    ])  # fmt: skip
    return done | {"file": next(out.glob("*.h5"))}


def difference(ours_file: Path, theirs: Path) -> float | None:
    """The largest distance of a tile's features, as a share of their length; None where no place is known."""
    import h5py
    import numpy as np

    with h5py.File(ours_file) as file, np.load(theirs) as answers:
        if "coords" not in answers:
            return None
        own = {tuple(map(int, place)): row for place, row in zip(file["coords"][:], file["features"][:], strict=True)}
        places = [tuple(map(int, place)) for place in answers["coords"]]
        common = [(own[at], row) for at, row in zip(places, answers["features"], strict=True) if at in own]
    say(f"{len(common)} tiles in common")
    return max(float(np.linalg.norm(a - b) / np.linalg.norm(a)) for a, b in common)


def main() -> None:
    """Measure, print the table, then the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--side", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--peers", nargs="+", default=[*PEERS], choices=[*PEERS])
    options = parser.parse_args()
    slide, python = slide_of(options.side), features_python()
    rates: dict[str, list[float]] = {}
    apart: dict[str, float | None] = {}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        weights = weights_of(options.network, folder)
        for number in range(options.rounds):
            for precision in ("fp32", "bf16"):
                say(f"round {number + 1} of {options.rounds}: ours, {precision}")
                own = ours(options.network, weights, slide, folder, precision)
                rates.setdefault(f"ours {precision}", []).append(own["tiles"] / own["total_s"])
                for peer in options.peers:
                    best = 0.0
                    for workers in (0, 2):
                        say(f"round {number + 1} of {options.rounds}: {peer}, {precision}, {workers} workers")
                        answers = folder / f"{peer}-{precision}.npz"
                        words = [options.network, weights, slide, answers, precision, workers]
                        run = run_once([str(python), "-c", HEAD + PEERS[peer], *map(str, words)])
                        best = max(best, run["tiles"] / run["total_s"])
                    rates.setdefault(f"{peer} {precision}", []).append(best)
                    apart[f"{peer} {precision}"] = difference(own["file"], answers)
    rows = [["", "tiles/s", "ours fp32 / it", "ours bf16 / it", "largest difference"]]
    for name, measured in rates.items():
        ratios = [
            statistics.median(a / b for a, b in zip(rates[f"ours {precision}"], measured, strict=True))
            for precision in ("fp32", "bf16")
        ]
        away = apart.get(name)
        rows.append([
            name, f"{statistics.median(measured):.1f}", *(f"{value:.2f}" for value in ratios),
            "" if away is None else f"{away:.1e}",
        ])  # fmt: skip
    show(rows)
    finish("features_peers", {"settings": vars(options), "tiles_per_s": rates, "difference": apart})


if __name__ == "__main__":
    main()
