"""Bundles and what is exported of them, for the tests of exports."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from counterstain.export.exported_model import ExportContent
from counterstain.learning.backbones import build_backbone
from counterstain.learning.build import layout_of
from counterstain.learning.bundle import SUMS, Bundle, write_bundle
from counterstain.learning.networks import build_network

PX = 127
CLASSES = ("benign", "malignant")
CALIBRATION: dict[str, Any] = {
    "schema": "counterstain.calibration/1", "method": "temperature", "parameters": {"temperature": 2.5},
    "threshold": 0.4, "threshold_rule": "youden", "alpha": 0.1, "qhat": 0.3, "classes": list(CLASSES),
    "patients": 12, "images": 40, "unit": "patient", "notes": ["a note"],
}  # fmt: skip


def make_bundle(folder: Path, network: str = "given", *, tile_px: int = PX, seed: int = 1, **more: Any) -> Path:
    """A bundle whose random weights are made larger, so that its probabilities reach from 0 to 1."""
    count, given = len(more.get("classes", CLASSES)), {"tile_px": tile_px, "seed": seed}
    if "/" in network:
        model: nn.Module = build_backbone(network, classes=count, input_px=more.pop("input_px", None), **given)
    else:
        model = build_network(network, classes=count, **given)
    model.eval()
    with torch.no_grad():
        last = model.get_submodule("output")
        last.weight.mul_(100)
    known = {"classes": CLASSES, "fit": "stretch", "scale": "imagenet", "mpp": 0.5} | more
    bundle = Bundle(network=network, tile_px=tile_px, layout=layout_of(model), **known)
    folder.mkdir(parents=True, exist_ok=True)
    write_bundle(folder, bundle, model)
    return folder


def handover(**more: Any) -> ExportContent:
    return ExportContent(**({"colours": [(86, 180, 233), (213, 94, 0)]} | more))


def seal_anew(folder: Path) -> None:
    """SHA256SUMS of whatever is there, as somebody would write them who changed a file on purpose."""
    names = sorted(path.name for path in folder.iterdir() if path.name != SUMS)
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / SUMS).write_text("".join(lines))


def copy(folder: Path, to: Path) -> Path:
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to
