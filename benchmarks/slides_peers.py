"""A whole slide, from a file to its answers: `counterstain slides run` against WSInfer and TIAToolbox.

    python benchmarks/slides_peers.py [--side 20000] [--network given] [--rounds 3] [--peers wsinfer tiatoolbox]

Each is a process of its own with the same slide, TorchScript or bundle of the same network, and tiles; the rounds go by
turns. Ours also finds the tissue and draws the maps. The others are given our tiles, WSInfer as the patches file that
it would write and TIAToolbox as a mask, and so find no tissue themselves. What a process needs before its first tile
(imports, the model) counts. A peer runs with no worker and with two, and the better of both is shown. A table goes to
stderr, one JSON line to stdout; `environments.py` makes the environments of the others at first use.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import tifffile
from environments import tiatoolbox_python, wsinfer_python
from slides_run import SLIDES, TILE, bundle_of, say, slide_of

WSINFER = """
import json, sys
from pathlib import Path
from wsinfer.modellib.models import LocalModelTorchScript
from wsinfer.modellib.run_inference import run_inference
from wsinfer_zoo.client import ModelConfiguration
model, slides, results, workers = *map(Path, sys.argv[1:4]), int(sys.argv[4])
config = ModelConfiguration.from_dict(json.loads((model / "config.json").read_text()))
local = LocalModelTorchScript(config=config, model_path=str(model / "torchscript_model.pt"))
failed = run_inference(slides, results, local, batch_size=32, num_workers=workers)
sys.exit(f"failed: {failed}" if any(failed) else 0)
"""

TIATOOLBOX = """
import json, sys
import numpy as np, torch
from pathlib import Path
from tiatoolbox.models.engine.patch_predictor import PatchPredictor
from tiatoolbox.models.engine.io_config import IOPatchPredictorConfig
from tiatoolbox.models.models_abc import ModelABC
model, slide, mask, out, workers, tile = *sys.argv[1:5], int(sys.argv[5]), int(sys.argv[6])

class Exported(ModelABC):
    def __init__(self):
        super().__init__()
        self.graph = torch.jit.load(model + "/torchscript_model.pt")
    def forward(self, imgs):
        return torch.softmax(self.graph(imgs), dim=1)
    @staticmethod
    def infer_batch(model, batch_data, *, device):
        imgs = batch_data.permute(0, 3, 1, 2).to(device).float() / 255
        mean, std = (torch.tensor(SHIFT[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
        with torch.inference_mode():
            return model((imgs - mean) / std).cpu().numpy()

steps = json.loads(Path(model, "config.json").read_text())["transform"]
SHIFT = next((s["arguments"] for s in steps if s["name"] == "Normalize"), {"mean": [0.0] * 3, "std": [1.0] * 3})
where = [{"units": "mpp", "resolution": 0.5}]
io = IOPatchPredictorConfig(input_resolutions=where, patch_input_shape=[tile, tile], stride_shape=[tile, tile],
                            output_resolutions=[])
engine = PatchPredictor(Exported(), batch_size=32, num_workers=workers, device="cpu", verbose=False)
found = engine.run(images=[Path(slide)], masks=[np.load(mask)], ioconfig=io, patch_mode=False, save_dir=Path(out),
                   output_type="zarr", overwrite=True, auto_get_mask=False, return_probabilities=True)
import zarr
group = zarr.open(str(next(iter(found.values()))), mode="r")
rows = {"corners": np.asarray(group["coordinates"])[:, :2], "prob": np.asarray(group["probabilities"])}
np.savez(out + "/answers.npz", **rows)
"""


def timed(command: list[str]) -> float:
    """Seconds of a process; what it says is shown only where it fails."""
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - begun
    if done.returncode:
        raise SystemExit(f"{command[0]} failed: {done.stderr[-3000:]}")
    return taken


def read_table(path: Path) -> dict[tuple[int, int], float]:
    """Probability of the second class by corner, of our table or WSInfer's."""
    with path.open(encoding="utf-8", newline="") as stream:
        return {
            (round(float(row["minx"])), round(float(row["miny"]))): float(row["prob_tumour"])
            for row in csv.DictReader(stream)
        }


class Sides:
    """The commands, and how their answers are read; ours has been run once, for its tiles are the others'."""

    def __init__(self, slide: Path, network: str, home: Path) -> None:
        from counterstain.export.from_run import ExportOptions, export

        self.slide, self.home = slide, home
        self.bundle = bundle_of(network, home / "bundle", TILE)
        self.model = home / "model"
        export(self.bundle, self.model, ExportOptions(formats=("wsinfer",)))
        (home / "slides").mkdir()
        (home / "slides" / slide.name).symlink_to(slide.resolve())
        self.ours()
        self.answers = read_table(home / "ours" / "model-outputs-csv" / f"{slide.stem}.csv")

    def ours(self) -> float:
        out = self.home / "ours"
        subprocess.run(["rm", "-rf", str(out)], check=True)
        begin = [sys.executable, "-m", "counterstain", "slides", "run"]
        return timed([*begin, str(self.bundle), str(self.slide), "--out", str(out), "--device", "cpu"])

    def wsinfer(self, workers: int) -> tuple[float, float]:
        """Seconds, and the largest difference of a probability from ours."""
        out = self.home / "wsinfer"
        subprocess.run(["rm", "-rf", str(out)], check=True)
        (out / "patches").mkdir(parents=True)
        name = f"{self.slide.stem}.h5"
        with h5py.File(self.home / "ours" / "patches" / name) as file, h5py.File(out / "patches" / name, "w") as copy:
            file.copy("coords", copy)
        command = [str(wsinfer_python()), "-c", WSINFER, str(self.model), str(self.home / "slides"), str(out)]
        taken = timed([*command, str(workers)])
        other = read_table(out / "model-outputs-csv" / f"{self.slide.stem}.csv")
        return taken, self._difference(other)

    def tiatoolbox(self, workers: int) -> tuple[float, float]:
        """Seconds, and the largest difference of a probability from ours."""
        out = self.home / "tiatoolbox"
        subprocess.run(["rm", "-rf", str(out)], check=True)
        out.mkdir()
        grid = np.array(list(self.answers)) // TILE
        with tifffile.TiffFile(self.slide) as file:
            height, width = file.pages[0].shape[:2]
        mask = np.zeros((-(-height // TILE), -(-width // TILE)), np.uint8)
        mask[grid[:, 1], grid[:, 0]] = 1
        np.save(out / "mask.npy", mask)
        command = [str(tiatoolbox_python()), "-c", TIATOOLBOX, str(self.model), str(self.slide), str(out / "mask.npy")]
        taken = timed([*command, str(out), str(workers), str(TILE)])
        answers = np.load(out / "answers.npz")
        corners = [tuple(row) for row in np.rint(answers["corners"]).astype(int).tolist()]
        return taken, self._difference(dict(zip(corners, answers["prob"][:, 1].tolist(), strict=True)))

    def _difference(self, other: dict[tuple[int, int], float]) -> float:
        both = self.answers.keys() & other.keys()
        if len(both) < 0.98 * max(len(other), len(self.answers)):
            raise SystemExit(f"{len(self.answers)} tiles are ours, {len(other)} the other's, {len(both)} are both's")
        return max(abs(self.answers[corner] - other[corner]) for corner in both)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--slide", type=Path, help="a slide instead of a drawn one")
    parser.add_argument("--network", default="given")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="+", choices=("wsinfer", "tiatoolbox"), default=["wsinfer", "tiatoolbox"])
    asked = parser.parse_args()
    slide = asked.slide or slide_of(asked.side)
    SLIDES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SLIDES) as place:
        sides = Sides(slide, asked.network, Path(place))
        own: list[float] = []
        theirs: dict[tuple[str, int], list[tuple[float, float]]] = {}
        for _ in range(asked.rounds):
            own.append(sides.ours())
            for peer in asked.peers:
                for workers in (0, 2):
                    theirs.setdefault((peer, workers), []).append(getattr(sides, peer)(workers))
                    say(f"{peer} with {workers} workers: {theirs[peer, workers][-1][0]:.1f} s")
            say(f"ours: {own[-1]:.1f} s")
    record = {
        "slide": slide.name, "network": asked.network, "tiles": len(sides.answers), "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1), "ours_s": round(statistics.median(own), 1),
    }  # fmt: skip
    for peer in asked.peers:
        workers = min((0, 2), key=lambda count: statistics.median(s for s, _ in theirs[peer, count]))
        pairs = theirs[peer, workers]
        record[peer] = {
            "workers": workers, "s": round(statistics.median(s for s, _ in pairs), 1),
            "times": round(statistics.median(s / mine for (s, _), mine in zip(pairs, own, strict=True)), 2),
            "largest_difference": max(difference for _, difference in pairs),
        }  # fmt: skip
    print(json.dumps(record))


if __name__ == "__main__":
    main()
