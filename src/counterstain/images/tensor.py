"""From stored tiles to what a network takes: the one place where pixels are scaled."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterstain.errors import InputError, suggest

__all__ = ["SCALES", "apply_scale", "scale_name", "scale_of", "to_tensor"]

Three = tuple[float, float, float]

# (mean, spread) of values in [0, 1], for each channel. Stained tissue is bright, so 0..1 puts a large constant on every
# input; centred inputs let a network without normalisation layers start to learn many epochs earlier (docs/log.md).
SCALES: dict[str, tuple[Three, Three]] = {
    "0..1": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "-1..1": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "h-optimus": ((0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517)),
    "hibou": ((0.7068, 0.5755, 0.722), (0.195, 0.2316, 0.1816)),
}


def scale_of(name: str) -> tuple[Three, Three]:
    """(factor, offset) a channel: a pixel of 0…255 becomes pixel · factor + offset.

    Args:
        name: of SCALES, or "mean R G B spread R G B" of values in [0, 1] for any other.

    Raises:
        InputError: If it is neither.
    """
    mean, spread = SCALES[name] if name in SCALES else _parse(name)
    factor = tuple(1 / (255 * one) for one in spread)
    offset = tuple(-centre / one for centre, one in zip(mean, spread, strict=True))
    return (factor[0], factor[1], factor[2]), (offset[0], offset[1], offset[2])


def scale_name(mean: Three, spread: Three) -> str:
    """The name by which scale_of knows this mean and spread."""
    for name, known in SCALES.items():
        if np.allclose(known, (mean, spread), atol=1e-6):
            return name
    return " ".join(["mean", *(f"{value:.9g}" for value in mean), "spread", *(f"{value:.9g}" for value in spread)])


def _parse(name: str) -> tuple[Three, Three]:
    words = name.split()
    if len(words) == 8 and words[0] == "mean" and words[4] == "spread":
        try:
            numbers = [float(word) for word in (*words[1:4], *words[5:])]
        except ValueError:
            numbers = []
        if len(numbers) == 6 and np.isfinite(numbers).all() and min(numbers[3:]) > 0:
            return (numbers[0], numbers[1], numbers[2]), (numbers[3], numbers[4], numbers[5])
    raise InputError(
        f"scale is '{name}'{suggest(name, SCALES)}; or write: mean R G B spread R G B, of values in 0 to 1"
    )


def apply_scale(pixels: Tensor, scale: str) -> Tensor:
    """(B, 3, H, W) floats of 0…255, scaled in place."""
    factor, offset = scale_of(scale)
    if len(set(factor)) == len(set(offset)) == 1:
        pixels = pixels.mul_(factor[0])
        return pixels.add_(offset[0]) if offset[0] else pixels
    factors, offsets = (torch.tensor(values, device=pixels.device).view(1, 3, 1, 1) for values in (factor, offset))
    return pixels.mul_(factors).add_(offsets)


def to_tensor(tiles: NDArray[np.uint8], *, scale: str, device: torch.device | str = "cpu") -> Tensor:
    """Tiles (B, H, W, 3) uint8 as (B, 3, H, W) float32.

    The memory stays in the order of the tiles (channels last), which is also what convolutions are fastest on.

    Args:
        tiles: the batch.
        scale: a name that scale_of knows.
        device: where the tensor goes.

    Raises:
        InputError: If the scale is unknown.
    """
    batch = torch.from_numpy(tiles).permute(0, 3, 1, 2).to(device)
    return apply_scale(batch.to(torch.float32), scale)
