"""The config.json that WSInfer and its QuPath extension read beside torchscript_model.pt: WSInfer-zoo's schema 1.0."""

from collections.abc import Mapping
from pathlib import Path

from counterstain.errors import InputError
from counterstain.export.graphs import TORCHSCRIPT, Run, open_torchscript
from counterstain.files import read_json
from counterstain.learning.bundle import Bundle

__all__ = ["CONFIG", "check_wsinfer", "open_wsinfer", "wsinfer_config"]

CONFIG = "config.json"


def check_wsinfer(bundle: Bundle) -> None:
    """Refuse what WSInfer's form cannot say.

    Raises:
        InputError: If the scale of the tiles is unknown, or they are brought to one stain first.
    """
    if bundle.mpp is None:
        raise InputError(
            f"WSInfer reads slides in µm/px, and this model does not record it for its {bundle.tile_px} px tiles; "
            "give it with --mpp, or leave wsinfer out of --formats"
        )
    if bundle.staining.recipe is not None:
        raise InputError(
            f"this model normalises stain ({bundle.staining.recipe.method}), for which WSInfer's form "
            "has no place; train without normalisation, or leave wsinfer out of --formats"
        )


def wsinfer_config(bundle: Bundle, more: Mapping[str, object]) -> dict[str, object]:
    """The record. Its schema allows further keys at the top: ours are under "counterstain".

    Args:
        bundle: see check_wsinfer.
        more: what is kept under "counterstain".
    """
    check_wsinfer(bundle)
    return {
        "spec_version": "1.0",
        # timm's name where there is one, as the schema asks.
        "architecture": bundle.network.removeprefix("timm/"),
        "num_classes": len(bundle.classes),
        "patch_size_pixels": bundle.tile_px,
        "spacing_um_px": float(bundle.mpp or 0),
        "class_names": list(bundle.classes),
        # No Resize and no Normalize: both are inside the graph, since each client's Resize is another one.
        "transform": [{"name": "ToTensor"}],
        "counterstain": dict(more),
    }


def open_wsinfer(folder: Path) -> Run:
    """What runs the folder as QuPath does: by the names of these two files, and by config.json alone.

    Only for a folder that was just written: loading TorchScript runs what is in it.

    Raises:
        InputError: If a file or a key that QuPath needs is not there.
    """
    for name in (CONFIG, TORCHSCRIPT):
        if not (folder / name).is_file():
            raise InputError(f"{folder} has no {name}, the name under which QuPath looks for it")
    config = read_json(folder / CONFIG)
    for key in ("spec_version", "num_classes", "class_names", "patch_size_pixels", "spacing_um_px", "transform"):
        if not config.get(key):
            raise InputError(f"{folder / CONFIG} has no {key}, without which QuPath cannot run the model")
    steps = [step["name"] for step in config["transform"]]
    if steps != ["ToTensor"] or len(config["class_names"]) != config["num_classes"]:
        raise InputError(f"{folder / CONFIG} disagrees with itself or with this version; export the model again")
    return open_torchscript(folder / TORCHSCRIPT)
