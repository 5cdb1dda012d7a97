"""The config.json that WSInfer and its QuPath extension read beside torchscript_model.pt: WSInfer-zoo's schema 1.0."""

from collections.abc import Mapping
from typing import Any

from counterstain.errors import InputError
from counterstain.learning.bundle import Bundle
from counterstain.learning.export_graphs import mean_and_std

__all__ = ["CONFIG", "check_wsinfer", "wsinfer_config"]

CONFIG = "config.json"


def check_wsinfer(bundle: Bundle) -> None:
    """Refuse what WSInfer's form cannot say.

    Raises:
        InputError: If the scale of the tiles is unknown, or they are brought to one stain first.
    """
    if bundle.mpp is None:
        raise InputError(
            f"WSInfer reads slides in µm/px, and this model does not know that of its {bundle.tile_px} px tiles; "
            "give it with --mpp, or leave wsinfer out of --formats"
        )
    if bundle.staining.recipe is not None:
        raise InputError(
            f"this model brings every tile to one stain ({bundle.staining.recipe.method}), for which WSInfer's form "
            "has no place; train without normalisation, or leave wsinfer out of --formats"
        )


def wsinfer_config(bundle: Bundle, more: Mapping[str, Any]) -> dict[str, Any]:
    """The record. Its schema allows further keys at the top: ours are under "counterstain".

    Args:
        bundle: see check_wsinfer.
        more: what is kept under "counterstain".
    """
    check_wsinfer(bundle)
    mean, std = mean_and_std(bundle.scale)
    return {
        "spec_version": "1.0",
        # timm's name where there is one, as the schema asks.
        "architecture": bundle.network.removeprefix("timm/"),
        "num_classes": len(bundle.classes),
        "patch_size_pixels": bundle.tile_px,
        "spacing_um_px": float(bundle.mpp or 0),
        "class_names": list(bundle.classes),
        "transform": [
            {"name": "Resize", "arguments": {"size": bundle.tile_px}},
            {"name": "ToTensor"},
            # QuPath reads these as fractional numbers: a plain 0 would be of another kind.
            {"name": "Normalize", "arguments": {"mean": [float(m) for m in mean], "std": [float(s) for s in std]}},
        ],
        "counterstain": dict(more),
    }
