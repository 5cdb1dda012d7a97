"""Stain augmentation: training tiles in the colours of other stainings, each a function of (seed, epoch, image)."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor
from torch.nn.functional import normalize

from counterstain.errors import InputError, suggest
from counterstain.images.counter_rng import uniforms
from counterstain.images.stain_separation import enough_tissue, find_stains, inverse, sample_pixels, tissue_pixels
from counterstain.images.stain_space import RUIFROK, change_tiles, share_out
from counterstain.images.stain_statistics import SPACES, StainStatistics, colour_moments

__all__ = ["STAIN_AUGMENTATIONS", "StainAugmentation", "augment_stain"]

Tiles = NDArray[np.uint8]
Floats = NDArray[np.float64]

STAIN_AUGMENTATIONS = ("none", "hed_light", "randstainna", "mixing")

# Draw numbers, after those of images.augment and with room for more of its own: the geometry of a study stays as it is
# whatever becomes of the stain. New ones are added at the end.
_USE = 32
_HED_SCALE, _HED_SHIFT = slice(33, 36), slice(36, 39)
_SPACE, _MEAN, _SPREAD = 39, slice(40, 43), slice(43, 46)
_OTHER, _SHARE = 46, 47
_DRAWS = 48

_LEAST_DRAWN = 0.2  # of the mean spread: a drawn spread is normal, and might come out at nothing or below


@dataclass(frozen=True, kw_only=True)
class StainAugmentation:
    """How the stain of a training tile may change.

    method:      "none"; "hed_light": haematoxylin, eosin and a third stain scaled and shifted a little;
                 "randstainna": mean and spread of the colours drawn as they vary over the training tiles;
                 "mixing": the tile's stains moved towards those of another training tile
    probability: share of the tiles on which it is used
    hed_scale:   largest change of each stain's factor, in [0, 1]: 0.05 draws evenly from 0.95 to 1.05
    hed_shift:   largest addition to each stain's optical density (natural logarithm), in [0, 1]
    spaces:      for "randstainna", of "lab", "hsv" and "hed": one is drawn for each tile
    variation:   for "randstainna", how much of the training tiles' own variation is drawn, in [0, 2]
    mixing:      for "mixing", the largest share of the other tile, in [0, 1]

    Raises:
        InputError: If a value is out of its range.
    """

    method: str = "hed_light"
    probability: float = 1.0
    hed_scale: float = 0.05
    hed_shift: float = 0.05
    spaces: tuple[str, ...] = ("lab",)
    variation: float = 0.7
    mixing: float = 0.5

    def __post_init__(self) -> None:
        if self.method not in STAIN_AUGMENTATIONS:
            raise InputError(f"stain augmentation is {self.method!r}{suggest(str(self.method), STAIN_AUGMENTATIONS)}")
        highest = {"probability": 1, "hed_scale": 1, "hed_shift": 1, "variation": 2, "mixing": 1}
        for name, high in highest.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= high:
                raise InputError(f"stain augmentation {name} is {value!r}; it must be a number from 0 to {high}")
        if isinstance(self.spaces, str) or not self.spaces or not set(self.spaces) <= set(SPACES):
            raise InputError(f"stain augmentation spaces is {self.spaces!r}; it must be a list out of {list(SPACES)}")

    def needs_statistics(self) -> bool:
        """Whether fit_statistics of the training tiles is asked for."""
        return self.method in ("randstainna", "mixing")


@dataclass(frozen=True)
class _Change:
    """What becomes of some tiles of a batch, in one colour space.

    space:  "density", "lab" or "hsv"
    rows:   (R,) which tiles
    first:  (R, 3, 3) matrix of the density, or (R, 3) factor of each channel
    second: (R, 3) what is added
    blank:  (R,) bool, tiles that stay as they are for lack of tissue or of two stains
    """

    space: str
    rows: NDArray[np.int64]
    first: Tensor
    second: Tensor
    blank: Tensor


def augment_stain(
    tiles: Tiles,
    keys: NDArray[np.uint64],
    *,
    settings: StainAugmentation,
    seed: int,
    epoch: int,
    statistics: StainStatistics | None = None,
    threads: int = 1,
) -> Tiles:
    """Every tile with this epoch's draw of another staining: (B, H, W, 3) uint8, a new array.

    What becomes of a tile depends on the tile and (seed, epoch, its key) alone, not on the batch, its order or the
    thread count. Tiles with under 5 % of tissue stay as they are. Rounded and clipped to 0…255.

    Args:
        tiles: (B, H, W, 3) uint8 RGB; not changed.
        keys: (B,) uint64, see counter_rng.image_keys.
        settings: what may happen.
        seed, epoch: any integers.
        statistics: of the training tiles, for "randstainna" and "mixing".
        threads: the batch is shared among as many.

    Raises:
        InputError: If the method asks for statistics and there are none.
        ValueError: If an array has another shape or type.

    Source:
        HED: Tellez et al. 2019, Med. Image Anal. 58:101544, doi:10.1016/j.media.2019.101544 ("HED-light"), with
        Ruifrok's vectors. RandStainNA: Shen et al. 2022, MICCAI, doi:10.1007/978-3-031-16434-7_21. Mixing: Chang et al.
        2021, MICCAI, doi:10.1007/978-3-030-87199-4_11.
    """
    if tiles.ndim != 4 or tiles.shape[3] != 3 or tiles.dtype != np.uint8:
        raise ValueError(f"tiles must be (B, H, W, 3) uint8, not {tiles.shape} {tiles.dtype}")
    _check_keys(keys, len(tiles))
    out = np.empty(tiles.shape, dtype=np.uint8)

    def work(start: int, stop: int) -> None:
        part, made = tiles[start:stop], out[start:stop]
        changes = _plan(sample_pixels(part), keys[start:stop], settings, seed, epoch, statistics)
        same = np.ones(len(part), dtype=np.bool_)
        for change in changes:
            first, second, blank = change.first.numpy(), change.second.numpy(), change.blank.numpy()
            change_tiles(part, change.space, first, second, rows=change.rows, skip=blank, out=made)
            same[change.rows] = False
        made[same] = part[same]

    share_out(work, len(tiles), threads)
    return out


def _check_keys(keys: NDArray[np.uint64], count: int) -> None:
    if keys.shape != (count,) or keys.dtype != np.uint64:
        raise ValueError(f"keys must be ({count},) uint64, not {keys.shape} {keys.dtype}")


def _plan(
    pixels: Tensor,
    keys: NDArray[np.uint64],
    settings: StainAugmentation,
    seed: int,
    epoch: int,
    statistics: StainStatistics | None,
) -> list[_Change]:
    """What happens to the tiles that the draw picks, of (B, 3, n) of their pixels."""
    if settings.method == "none" or not len(keys):
        return []
    if settings.needs_statistics() and statistics is None:
        raise InputError(f"stain augmentation '{settings.method}' needs statistics: fit_statistics of training tiles")
    draws = uniforms(keys, _DRAWS, seed=seed, epoch=epoch)
    used = np.flatnonzero(draws[:, _USE] < settings.probability)
    if not len(used):
        return []
    if len(used) < len(pixels):
        pixels = pixels[torch.from_numpy(used).to(pixels.device)]
    draws = draws[used]
    if statistics is None or settings.method == "hed_light":
        matrices, offsets = _hed_matrices(draws, settings)
        blank = ~enough_tissue(tissue_pixels(pixels))
        return [_Change("density", used, _send(matrices, pixels), _send(offsets, pixels), blank)]
    if settings.method == "mixing":
        return [_mixed(pixels, used, draws, settings, statistics)]
    return _drawn_colours(pixels, used, draws, settings, statistics)


def _hed_matrices(draws: Floats, settings: StainAugmentation) -> tuple[Floats, Floats]:
    """(B, 3, 3) and (B, 3): density to the one with each of three stains scaled and shifted."""
    scale = 1 + (2 * draws[:, _HED_SCALE] - 1) * settings.hed_scale
    shift = (2 * draws[:, _HED_SHIFT] - 1) * settings.hed_shift
    return _density_change(scale, shift)


def _density_change(scale: Floats, shift: Floats) -> tuple[Floats, Floats]:
    """Density = concentrations @ RUIFROK; concentrations times scale plus shift, as a change of column vectors."""
    matrices: Floats = np.einsum("kc,bk,dk->bcd", RUIFROK, scale, np.linalg.inv(RUIFROK))
    return matrices, np.einsum("bk,kc->bc", shift, RUIFROK)


def _mixed(
    pixels: Tensor,
    rows: NDArray[np.int64],
    draws: Floats,
    settings: StainAugmentation,
    statistics: StainStatistics,
) -> _Change:
    """Each tile's two stains moved towards another tile's; what of its density is neither of the two stays."""
    own = find_stains(pixels, "macenko")
    bank = np.asarray(statistics.stains)
    other = bank[np.floor(draws[:, _OTHER] * len(bank)).astype(np.int64)]
    share = _send(draws[:, _SHARE] * settings.mixing, pixels)
    vectors = torch.lerp(own.vectors, _send(other[:, :6].reshape(-1, 2, 3), pixels), share[:, None, None])
    vectors = normalize(vectors, dim=2)
    gain = (_send(other[:, 6:], pixels) / own.strength) ** share[:, None]
    change = vectors * gain[:, :, None] - own.vectors
    matrices = torch.eye(3, device=pixels.device) + change.transpose(1, 2) @ inverse(own.vectors)
    return _Change("density", rows, matrices, torch.zeros(len(rows), 3, device=pixels.device), own.blank)


def _drawn_colours(
    pixels: Tensor,
    rows: NDArray[np.int64],
    draws: Floats,
    settings: StainAugmentation,
    statistics: StainStatistics,
) -> list[_Change]:
    """Each tile's channel means and spreads brought to drawn ones, in a drawn colour space."""
    which = np.floor(draws[:, _SPACE] * len(settings.spaces)).astype(np.int64)
    changes = []
    for number, space in enumerate(settings.spaces):
        own = np.flatnonzero(which == number)
        if not len(own):
            continue
        some = pixels if len(own) == len(rows) else pixels[torch.from_numpy(own).to(pixels.device)]
        mean, spread, blank = colour_moments(some, space)
        wanted_mean, wanted_spread = _drawn_moments(
            draws[own], settings.variation, np.asarray(statistics.moments[space])
        )
        scale = _send(wanted_spread, pixels) / torch.where(blank[:, None], 1.0, spread)
        shift = _send(wanted_mean, pixels) - mean * scale
        if space == "hed":
            vectors = _send(RUIFROK, pixels)
            matrices = torch.einsum("kc,bk,dk->bcd", vectors, scale, _send(np.linalg.inv(RUIFROK), pixels))
            changes.append(_Change("density", rows[own], matrices, shift @ vectors, blank))
        else:
            changes.append(_Change(space, rows[own], scale, shift, blank))
    return changes


def _drawn_moments(draws: Floats, variation: float, moments: Floats) -> tuple[Floats, Floats]:
    """(B, 3) channel means and spreads, normal around those of the training tiles."""
    middle, around, spread, spread_around = moments
    drawn_mean: Floats = middle + ndtri(draws[:, _MEAN] + 2.0**-54) * around * variation
    drawn_spread: Floats = spread + ndtri(draws[:, _SPREAD] + 2.0**-54) * spread_around * variation
    return drawn_mean, np.maximum(drawn_spread, _LEAST_DRAWN * spread)


def _send(values: Floats, beside: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(beside.device)
