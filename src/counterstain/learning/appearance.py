"""How a tile looks, in eleven numbers that no network can ignore: colour, contrast, sharpness."""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["LOOKS", "looks_of"]

LOOKS = 11
_LEAST = 1e-3  # beside spreads of 0.1 to 0.5 in the networks' input: keeps the logarithm of an empty tile finite


def looks_of(inputs: Tensor) -> Tensor:
    """(B, 11) float32 of (B, 3, H, W) inputs of a network: what blur, another light or an inverted image must change.

    Mean of each channel (3); log of the standard deviation of each (3); correlation of each pair of channels (3); log
    of the root mean square difference of neighbouring pixels, of the mean of the channels, and of that at half the
    resolution (2). In the units of the inputs, which are linear in the pixels.
    """
    pixels = inputs.detach().float()
    flat = pixels.flatten(2)
    mean = flat.mean(2)
    away = flat - mean[:, :, None]
    spread = away.square().mean(2).sqrt()
    pairs = ((0, 1), (0, 2), (1, 2))
    correlation = torch.stack(
        [(away[:, a] * away[:, b]).mean(1) / (spread[:, a] * spread[:, b] + _LEAST**2) for a, b in pairs], 1
    )
    grey = pixels.mean(1, keepdim=True)
    sharpness = torch.stack([_roughness(grey), _roughness(functional.avg_pool2d(grey, 2))], 1)
    return torch.cat([mean, torch.log(spread + _LEAST), correlation, torch.log(sharpness + _LEAST)], 1)


def _roughness(grey: Tensor) -> Tensor:
    """(B,) root mean square of the differences of neighbours of (B, 1, H, W), in both directions."""
    down, right = grey.diff(dim=2).square().flatten(1), grey.diff(dim=3).square().flatten(1)
    return (0.5 * (down.mean(1) + right.mean(1))).sqrt()
