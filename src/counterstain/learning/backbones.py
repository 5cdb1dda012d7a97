"""Backbones: any timm model, and the pathology foundation models, a row each, under a head of our own."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from counterstain.errors import InputError, first_line, suggest
from counterstain.images.tensor import scale_name
from counterstain.learning.depthwise import quicken
from counterstain.learning.foundation import FOUNDATION
from counterstain.learning.heads import build_head

__all__ = ["TIMM", "Backbone", "build_backbone", "check_backbone", "is_backbone", "natural_scale"]

TIMM = "timm/"


class Backbone(nn.Module):
    """A body that turns a tile into one row of features, and a head that turns features into logits.

    Takes (B, 3, tile_px, tile_px) floats in the body's own scale; tiles of another side than input_px are resized
    inside, so that what predicts need not know. Gives (B, classes) logits.

    pooled: "body" where the body gives one row per tile; "class" and "class+mean" of the tokens it gives; "levels" for
        that row and beside it mean and maximum of the map at every level: texture is told better by the early ones.
    views: features are the mean over so many of a tile's symmetries: as it is, flipped, and these two turned. While it
        learns, a network sees one of them at a time: augmentation draws it.
    """

    def __init__(
        self, body: nn.Module, head: nn.Module, *, input_px: int | None, pooled: str = "body", views: int = 1
    ) -> None:
        super().__init__()
        self.body = body
        self.output = head
        self.input_px = input_px
        self.pooled = pooled
        self.views = views
        self.frozen = False

    def features(self, tiles: Tensor) -> Tensor:
        """(B, D) features of (B, 3, H, W) scaled tiles."""
        if self.input_px is not None and tiles.shape[-1] != self.input_px:
            size = (self.input_px, self.input_px)
            tiles = functional.interpolate(tiles, size, mode="bilinear", antialias=True, align_corners=False)
        views = 1 if self.training else self.views
        total = self._one_view(tiles)
        for view in range(1, views):
            total = total + self._one_view(_symmetry(tiles, view))
        return total / views if views > 1 else total

    def _one_view(self, tiles: Tensor) -> Tensor:
        body: Any = self.body
        if self.pooled == "levels":
            last, maps = body.forward_intermediates(tiles, output_fmt="NCHW")
            pooled = [row for level in maps for row in (level.mean((2, 3)), level.amax((2, 3)))]
            return torch.cat([body.forward_head(last, pre_logits=True), *pooled], dim=1)
        output: Tensor = body(tiles)
        if self.pooled == "body":
            return output
        if self.pooled == "class":
            return output[:, 0]
        prefix = int(getattr(body, "num_prefix_tokens", 1))
        return torch.cat([output[:, 0], output[:, prefix:].mean(1)], dim=1)

    def forward(self, tiles: Tensor, masks: Tensor | None = None) -> Tensor:
        """Logits; `masks` is of the two own networks' dropout, which no backbone has, and must be None."""
        logits: Tensor = self.output(self.features(tiles))
        return logits

    def train(self, mode: bool = True) -> "Backbone":
        """As in torch, but a frozen body stays as it predicts: its batch statistics are not moved either."""
        super().train(mode)
        if self.frozen:
            self.body.eval()
        return self

    def freeze(self, frozen: bool) -> None:
        """Keep the body as it is, or let it learn."""
        self.frozen = frozen
        for parameter in self.body.parameters():
            parameter.requires_grad_(not frozen)


def _symmetry(tiles: Tensor, view: int) -> Tensor:
    """The tiles in one of their eight symmetries: even ones turned by quarters, odd ones flipped as well."""
    turned = torch.rot90(tiles, view // 2, (2, 3)) if view > 1 else tiles
    return torch.flip(turned, (3,)) if view % 2 else turned


def is_backbone(name: str) -> bool:
    """Whether a network's name is that of a backbone, known or not, rather than of one of the two own networks."""
    return name.startswith(TIMM) or name in FOUNDATION


def check_backbone(name: str) -> None:
    """Refuse a name that timm does not know.

    Raises:
        InputError: With the nearest name.
    """
    import timm

    if name in FOUNDATION:
        return
    models = timm.list_models()
    if name.removeprefix(TIMM).partition(".")[0] not in models:
        raise InputError(f"timm has no model '{name.removeprefix(TIMM)}'{suggest(name.removeprefix(TIMM), models)}")


def natural_scale(name: str) -> str:
    """The name of the scale that a backbone's weights were trained with."""
    import timm

    if name in FOUNDATION:
        return FOUNDATION[name].scale
    check_backbone(name)
    pretrained = timm.get_pretrained_cfg(name.removeprefix(TIMM))
    return "imagenet" if pretrained is None else scale_name(_rgb(pretrained.mean), _rgb(pretrained.std))


def _rgb(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return red, green, blue


def build_backbone(
    name: str,
    *,
    classes: int,
    tile_px: int,
    seed: int,
    input_px: int | None = None,
    head: dict[str, object] | None = None,
    levels: bool = False,
    views: int = 1,
) -> Backbone:
    """A backbone with fresh weights, the same for the same seed; see weights.load_pretrained for trained ones.

    Args:
        name: "timm/" and a timm model's name, or a name of FOUNDATION.
        classes: how many, 2 or more.
        tile_px: side of the tiles that it is given, px.
        seed: of the fresh weights.
        input_px: side that tiles are resized to inside; None for the tiles' own, and for models that take one size only
            (vision transformers) that size.
        head: see heads.build_head; None for one linear layer.
        levels, views: whether features are of every level, and the mean of how many symmetries; see Backbone.

    Raises:
        InputError: If there is no such model, or it cannot take tiles of this side.
    """
    check_backbone(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body, pooled, fixed = _body(name, input_px)
        if levels:
            if pooled != "body" or not hasattr(body, "forward_intermediates"):
                raise InputError(f"{name} shows no maps of its levels; set features: last")
            pooled = "levels"
        side = fixed or input_px or tile_px
        width = _width(body, side, pooled, name)
        head_module = build_head(head or {"kind": "linear"}, width=width, classes=classes)
    quicken(body)
    return Backbone(body, head_module, input_px=None if side == tile_px else side, pooled=pooled, views=views)


def _body(name: str, input_px: int | None) -> tuple[nn.Module, str, int | None]:
    """The body, how its output is pooled, and the one side in px that it takes (None for any)."""
    import timm

    if name in FOUNDATION:
        row = FOUNDATION[name]
        body = timm.create_model(row.shape, pretrained=False, **{"num_classes": 0, **_options(row.options)})
        return body, "class+mean" if row.pooled == "class+mean" else "body", row.input_px
    model = name.removeprefix(TIMM)
    pretrained = timm.get_pretrained_cfg(model)
    fixed = pretrained is not None and bool(pretrained.fixed_input_size)
    size: dict[str, Any] = {"img_size": input_px} if fixed and input_px else {}
    try:
        body = timm.create_model(model, pretrained=False, num_classes=0, **size)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise InputError(f"timm cannot build {model}: {first_line(error)[:160]}") from None
    return body, "body", (input_px or int(pretrained.input_size[-1])) if pretrained is not None and fixed else None


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with the layers that they name."""
    from timm.layers.mlp import SwiGLUPacked

    layers = {"swiglu": SwiGLUPacked, "silu": nn.SiLU}
    return {key: layers.get(value, value) if isinstance(value, str) else value for key, value in options.items()}


def _width(body: nn.Module, side: int, pooled: str, name: str) -> int:
    """How many features the body gives for one tile; the model is run once, since not all say it right."""
    training = body.training
    body.eval()
    try:
        with torch.no_grad():
            output = Backbone(body, nn.Identity(), input_px=None, pooled=pooled).features(torch.zeros(1, 3, side, side))
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"{name} cannot take tiles of {side} px ({first_line(error)[:120]}); set input_px") from None
    body.train(training)
    if output.ndim != 2:
        raise InputError(f"{name} gives {tuple(output.shape)} for one tile, not a row of features; take another model")
    return int(output.shape[1])
