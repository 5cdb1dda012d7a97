"""config.json is what WSInfer-zoo asks, and does what our preprocessing does."""

import json
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from counterstain.errors import InputError
from counterstain.export import wsinfer
from counterstain.export.graphs import TORCHSCRIPT, Calibrated, SlideGraph, TileGraph, write_torchscript
from counterstain.export.parity import fixed_tiles
from counterstain.export.wsinfer import CONFIG, open_wsinfer, wsinfer_config
from counterstain.images.stain import StainRecipe
from counterstain.images.tensor import SCALES, to_tensor
from counterstain.images.tile import fit_tile
from counterstain.learning.bundle import Bundle
from counterstain.learning.networks import build_network
from counterstain.learning.stain_pipeline import StainPipeline

SCHEMA = json.loads((Path(wsinfer.__file__).parent / "wsinfer_model_1_0.schema.json").read_text())


def bundle(**more: Any) -> Bundle:
    return Bundle(**({"network": "timm/resnet18", "classes": ("benign", "malignant"), "tile_px": 96, "fit": "exact",
                      "scale": "imagenet", "mpp": 0.5} | more))  # fmt: skip


def test_names_are_those_that_qupath_looks_for() -> None:
    assert (CONFIG, TORCHSCRIPT) == ("config.json", "torchscript_model.pt")


@pytest.mark.parametrize("scale", list(SCALES))
def test_config_is_valid(scale: str) -> None:
    config = json.loads(json.dumps(wsinfer_config(bundle(scale=scale), {"hashes": {"weights": "0"}})))
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(config, SCHEMA)
    assert config["patch_size_pixels"] == 96
    assert config["spacing_um_px"] == 0.5
    assert config["num_classes"] == len(config["class_names"]) == 2
    assert config["architecture"] == "resnet18"
    # Every client's Resize is another one: it is inside the graph, and so is the scaling.
    assert config["transform"] == [{"name": "ToTensor"}]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spec_version", "2.0"),
        ("num_classes", 0),
        ("patch_size_pixels", 96.5),
        ("spacing_um_px", None),
        ("class_names", ["a", "a"]),
        ("transform", [{"name": "CenterCrop"}]),
        ("transform", [{"arguments": {}}]),
        ("transform", [{"name": "Resize", "size": 3}]),
    ],
)
def test_schema_refuses(key: str, value: Any) -> None:
    config = wsinfer_config(bundle(), {})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(config | {key: value}, SCHEMA)
    del config[key]
    with pytest.raises(jsonschema.ValidationError, match="required"):
        jsonschema.validate(config, SCHEMA)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("fit", ["exact", "crop"])
@pytest.mark.parametrize("side", [127, 254, 401, 60])
def test_wsinfer_reads_a_tile_as_we_do(tmp_path: Path, side: int, fit: str) -> None:
    """The config's steps by torchvision on a Pillow image, as WSInfer runs them, then the file; and our own path."""
    known = bundle(network="given", fit=fit, tile_px=127)
    network = build_network("given", classes=2, tile_px=127, seed=4).eval()
    with torch.no_grad():
        network.get_submodule("output").weight.mul_(60)
    graph = TileGraph(network, known, Calibrated("none", {}, 1e-7)).eval()
    write_torchscript(SlideGraph(graph), tmp_path / TORCHSCRIPT, tile_px=127)
    config = wsinfer_config(known, {})
    (tmp_path / CONFIG).write_text(json.dumps(config))
    tiles = np.stack([cv2.resize(tile, (side, side)) for tile in fixed_tiles(127)])
    steps = transforms.Compose([
        getattr(transforms, step["name"])(**step.get("arguments", {})) for step in config["transform"]
    ])  # fmt: skip
    batch = torch.stack([steps(Image.fromarray(tile)) for tile in tiles])
    with torch.inference_mode():
        client = torch.softmax(torch.jit.load(str(tmp_path / TORCHSCRIPT))(batch), 1).numpy()
        own = np.stack([fit_tile(tile, "tile", tile_px=127, fit="stretch") for tile in tiles])
        expected = torch.softmax(network(to_tensor(own, scale="imagenet")), 1).numpy()
    assert np.ptp(expected[:, 1]) > 0.3
    assert np.abs(client - expected).max() < 1e-4
    assert np.abs(open_wsinfer(tmp_path)(tiles) - client).max() < 1e-6


def test_what_the_form_cannot_say_is_refused() -> None:
    with pytest.raises(InputError, match="--mpp"):
        wsinfer_config(bundle(mpp=None), {})
    recipe = StainRecipe(method="reinhard", mean=(60.0, 20.0, 5.0), spread=(9.0, 9.0, 9.0))
    with pytest.raises(InputError, match="reinhard"):
        wsinfer_config(bundle(staining=StainPipeline(recipe)), {})


@pytest.mark.parametrize("key", ["patch_size_pixels", "spacing_um_px", "class_names", "transform"])
def test_what_qupath_needs_is_looked_for(tmp_path: Path, key: str) -> None:
    with pytest.raises(InputError, match=r"no config\.json, the name under which QuPath"):
        open_wsinfer(tmp_path)
    config = wsinfer_config(bundle(), {})
    del config[key]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.pt").write_bytes(b"")  # a name of our own would not be found
    with pytest.raises(InputError, match=r"no torchscript_model\.pt"):
        open_wsinfer(tmp_path)
    (tmp_path / "torchscript_model.pt").write_bytes(b"")
    with pytest.raises(InputError, match=f"has no {key}"):
        open_wsinfer(tmp_path)
