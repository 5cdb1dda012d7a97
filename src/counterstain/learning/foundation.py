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
    revision: commit of that repository that is fetched; "" for its newest. Whichever it was is recorded.
    sha256:   of the file at that revision, where it is known; another file is refused.
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

# Revisions and hashes are those that at least two published analyses, independent of each other, name.
FOUNDATION: dict[str, Foundation] = {
    "uni": Foundation(
        "MahmoodLab/UNI",
        "vit_large_patch16_224",
        "imagenet",
        _NC_ND,
        True,
        options=_SCALED,
        revision="b55a5ec6cade1a39edfe6534189a9b8ca7a022f0",
        sha256="56ef09b44a25dc5c7eedc55551b3d47bcd17659a7a33837cf9abc9ec4e2ffb40",
    ),
    "uni2-h": Foundation(
        "MahmoodLab/UNI2-h",
        "vit_giant_patch14_224",
        "imagenet",
        _NC_ND,
        True,
        options=_UNI2,
        revision="d517a8dd47902dd7c308b3c36f63bce47e7b9a43",
        sha256="6e077eda234bebc595868d918d3458d9dd32a050199b0ff04443b2f46a0a3b1e",
    ),
    "virchow": Foundation(
        "paige-ai/Virchow",
        "vit_huge_patch14_224",
        "imagenet",
        "Apache-2.0",
        True,
        pooled="class+mean",
        options=_VIRCHOW,
        revision="19eebc84ae33e79f1b2d866e6ff90ae50e522f9a",
    ),
    "virchow2": Foundation(
        "paige-ai/Virchow2",
        "vit_huge_patch14_224",
        "imagenet",
        _NC_ND,
        True,
        pooled="class+mean",
        options=_VIRCHOW | {"reg_tokens": 4},
        revision="3158645804b69e3f3bc4439d4116edddf0840a72",
    ),
    "h-optimus-0": Foundation(
        "bioptimus/H-optimus-0",
        "vit_giant_patch14_reg4_dinov2",
        "h-optimus",
        "Apache-2.0",
        True,
        options=_REGISTERS,
        revision="b145cc1e6c6b30d3251aa8b1f844e6974188a743",
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
        revision="eba85dd46097c3eedfcc2a3a9a930baecb6bcc19",
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
