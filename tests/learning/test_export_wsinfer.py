"""config.json is what WSInfer-zoo asks, and does what our preprocessing does."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from counterstain.errors import InputError
from counterstain.learning import export_wsinfer
from counterstain.learning.bundle import Bundle
from counterstain.learning.export_graphs import TORCHSCRIPT
from counterstain.learning.export_wsinfer import CONFIG, open_wsinfer, wsinfer_config
from counterstain.learning.staining import Staining
from counterstain.pixels.stain import StainRecipe
from counterstain.pixels.tensor import SCALES, to_tensor

SCHEMA = json.loads((Path(export_wsinfer.__file__).parent / "wsinfer_model_1_0.schema.json").read_text())


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
    assert [step["name"] for step in config["transform"]] == ["Resize", "ToTensor", "Normalize"]
    # QuPath reads both lists as fractional numbers, and a whole one would be another kind of number to it.
    numbers = config["transform"][2]["arguments"]
    assert all(isinstance(value, float) for value in (*numbers["mean"], *numbers["std"]))


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


@pytest.mark.parametrize("scale", ["imagenet", "-1..1", "0..1"])
def test_transform_does_what_training_did(scale: str) -> None:
    """The config's steps by torchvision, as WSInfer runs them on a Pillow image."""
    tile = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    resize, _, normalise = wsinfer_config(bundle(scale=scale), {})["transform"]
    steps = v2.Compose([
        v2.Resize(resize["arguments"]["size"]), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(**normalise["arguments"]),
    ])  # fmt: skip
    assert torch.allclose(steps(Image.fromarray(tile)), to_tensor(tile[None], scale=scale)[0], atol=1e-5)


def test_what_the_form_cannot_say_is_refused() -> None:
    with pytest.raises(InputError, match="--mpp"):
        wsinfer_config(bundle(mpp=None), {})
    recipe = StainRecipe(method="reinhard", mean=(60.0, 20.0, 5.0), spread=(9.0, 9.0, 9.0))
    with pytest.raises(InputError, match="reinhard"):
        wsinfer_config(bundle(staining=Staining(recipe)), {})


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
