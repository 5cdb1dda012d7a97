"""The stain transformations by torch in floating point: oracles for the tables of 16 bits that the package uses."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from counterstain.images import stain, stain_augment, stain_space
from counterstain.images.stain_separation import sample_pixels
from counterstain.images.stain_space import WHITE, _tensor, mix, optical_density, to_hsv, to_lab


def apply_recipe_tensor(tiles: Tensor, recipe: stain.StainRecipe) -> tuple[Tensor, Tensor]:
    """apply_recipe: (B, H, W, 3) uint8 within one grey level of it, and (B,) bool."""
    first, second, blank = stain._change(sample_pixels(tiles), recipe)
    changed = change_tensor(tiles, stain._SPACE[recipe.method], first, second)
    return torch.where(blank[:, None, None, None], tiles, changed), blank


def augment_stain_tensor(
    tiles: Tensor,
    keys: NDArray[Any],
    *,
    settings: stain_augment.StainAugmentation,
    seed: int,
    epoch: int,
    statistics: stain_augment.StainStatistics | None = None,
) -> Tensor:
    """augment_stain: (B, H, W, 3) uint8 within one grey level of it."""
    out = tiles.clone()
    for change in stain_augment._plan(sample_pixels(tiles), keys, settings, seed, epoch, statistics):
        rows = torch.from_numpy(change.rows)
        chosen = tiles.index_select(0, rows)
        changed = change_tensor(chosen, change.space, change.first, change.second)
        out.index_copy_(0, rows, torch.where(change.blank[:, None, None, None], chosen, changed))
    return out


def change_tensor(tiles: Tensor, space: str, first: Tensor, second: Tensor) -> Tensor:
    """(B, H, W, 3) uint8: change_tiles within one grey level."""
    planes = tiles.permute(0, 3, 1, 2).flatten(2)
    if space == "density":
        grey = torch.exp(-(mix(first, optical_density(planes)) + second[:, :, None])) * WHITE - 1
    elif space == "lab":
        grey = _grey_of_lab(to_lab(planes) * first[:, :, None] + second[:, :, None])
    else:
        grey = _grey_of_hsv((to_hsv(planes) * first[:, :, None] + second[:, :, None]).clamp_(0, 1))
    batch, height, width, _ = tiles.shape
    grey = grey.round_().clamp_(0, 255).to(torch.uint8)
    return grey.reshape(batch, 3, height, width).permute(0, 2, 3, 1).contiguous()


def combine(concentrations: Tensor, vectors: Tensor) -> Tensor:
    """(B, H, W, 3) uint8: the tiles that (B, 2, H, W) concentrations of (B, 2, 3) stains make; rounded, clipped."""
    density = torch.einsum("bkhw,bkc->bhwc", concentrations, vectors)
    return (torch.exp(-density) * WHITE - 1).round_().clamp_(0, 255).to(torch.uint8)


def _grey_of_lab(lab: Tensor) -> Tensor:
    roots = mix(_tensor(stain_space._FROM_LAB, lab), lab - _tensor(stain_space._LAB_OFFSET[:, None], lab))
    cubes = torch.where(roots > stain_space._CUBE_FROM, roots**3, (roots - stain_space._ROOT_OF_0) / stain_space._SLOPE)
    light = mix(_tensor(stain_space._FROM_XYZ, lab), cubes).clamp_(0, 1)
    return torch.where(light > 0.0031308, 1.055 * light ** (1 / 2.4) - 0.055, 12.92 * light) * 255


def _grey_of_hsv(hsv: Tensor) -> Tensor:
    hue, saturation, value = hsv.unbind(1)
    turn = (hue * stain_space._LAST_HUE + stain_space._HUE_OF_GREEN) * 6
    # Each channel is full for a third of the circle, none for a third, and a ramp between; red's is centred on 0.
    channels = [
        value * (1 - saturation * (1 - (((turn + start) % 6 - 3).abs() - 1).clamp(0, 1))) for start in (0.0, 4.0, 2.0)
    ]
    return torch.stack(channels, dim=1) * 255
