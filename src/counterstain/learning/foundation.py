"""Pathology foundation models: a table with a row each. Facts are from each model's page on the hub."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["FOUNDATION", "Foundation"]


@dataclass(frozen=True)
class Foundation:
    """One pathology foundation model: where it is, what it takes, and on which terms.

    source:   its repository on the Hugging Face hub, where one asks for access if it is gated.
    shape:    the timm architecture that holds its weights, and options: what differs from that architecture.
    input_px: side of its input; mpp: µm/px that it was trained at; scale: a name of images.tensor.SCALES.
    pooled:   "class" for the class token, "class+mean" for it and the mean of the patch tokens side by side.
    licence:  of the weights; gated: whether one must ask for them.
    revision: commit of that repository that is fetched; "" where none is stated, and then what came is recorded.
    sha256:   of the file, where it is known; another file is refused.
    style:    whose names its weights carry: "timm", or "transformers" for the DINOv2 of that library.
    """

    source: str
    shape: str
    scale: str
    licence: str
    gated: bool
    mpp: float = 0.5
    input_px: int = 224
    pooled: str = "class"
    style: str = "timm"
    file: str = "pytorch_model.bin"
    options: Mapping[str, Any] = field(default_factory=dict)
    revision: str = ""
    sha256: str = ""


_NC_ND = "CC BY-NC-ND 4.0"
_SCALED = {"init_values": 1e-5}
_REGISTERS = {"init_values": 1e-5, "img_size": 224}
_SWIGLU = {"init_values": 1e-5, "mlp_layer": "swiglu", "act_layer": "silu"}
_UNI2 = _SWIGLU | {
    "embed_dim": 1536,
    "depth": 24,
    "num_heads": 24,
    "mlp_ratio": 2.66667 * 2,
    "reg_tokens": 8,
    "no_embed_class": True,
}
_VIRCHOW = _SWIGLU | {"mlp_ratio": 5.3375, "global_pool": ""}
_GIGAPATH = _REGISTERS | {"patch_size": 16, "embed_dim": 1536, "depth": 40, "num_heads": 24, "mlp_ratio": 5.33334}
_TENSORS = "model.safetensors"

FOUNDATION: dict[str, Foundation] = {
    "uni": Foundation("MahmoodLab/UNI", "vit_large_patch16_224", "imagenet", _NC_ND, True, options=_SCALED),
    "uni2-h": Foundation("MahmoodLab/UNI2-h", "vit_giant_patch14_224", "imagenet", _NC_ND, True, options=_UNI2),
    "virchow": Foundation(
        "paige-ai/Virchow",
        "vit_huge_patch14_224",
        "imagenet",
        "Apache-2.0",
        True,
        pooled="class+mean",
        options=_VIRCHOW,
    ),
    "virchow2": Foundation(
        "paige-ai/Virchow2",
        "vit_huge_patch14_224",
        "imagenet",
        _NC_ND,
        True,
        pooled="class+mean",
        options=_VIRCHOW | {"reg_tokens": 4},
    ),
    "h-optimus-0": Foundation(
        "bioptimus/H-optimus-0", "vit_giant_patch14_reg4_dinov2", "h-optimus", "Apache-2.0", True, options=_REGISTERS
    ),
    "h-optimus-1": Foundation(
        "bioptimus/H-optimus-1", "vit_giant_patch14_reg4_dinov2", "h-optimus", _NC_ND, True, options=_REGISTERS
    ),
    "gigapath": Foundation(
        "prov-gigapath/prov-gigapath",
        "vit_giant_patch14_dinov2",
        "imagenet",
        "Apache-2.0, for research",
        True,
        options=_GIGAPATH,
    ),
    "phikon-v2": Foundation(
        "owkin/phikon-v2",
        "vit_large_patch16_224",
        "imagenet",
        "non-commercial, see its page",
        False,
        style="transformers",
        file=_TENSORS,
        options={"init_values": 1.0},
    ),
    "midnight-12k": Foundation(
        "kaiko-ai/midnight",
        "vit_giant_patch14_dinov2",
        "-1..1",
        "MIT",
        False,
        pooled="class+mean",
        style="transformers",
        file=_TENSORS,
        options={"img_size": 224, "global_pool": ""},
    ),
    "kaiko-b8": Foundation(
        "1aurent/vit_base_patch8_224.kaiko_ai_towards_large_pathology_fms",
        "vit_base_patch8_224",
        "-1..1",
        "see its page",
        False,
        file=_TENSORS,
    ),
    "hibou-b": Foundation(
        "histai/hibou-b",
        "vit_base_patch14_reg4_dinov2",
        "hibou",
        "Apache-2.0",
        True,
        style="transformers",
        file=_TENSORS,
        options={"img_size": 224},
    ),
}
