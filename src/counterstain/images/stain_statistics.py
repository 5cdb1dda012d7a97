"""How the training tiles are stained: what stain augmentation draws from, kept in the study's record."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterstain.errors import InputError
from counterstain.images.stain_separation import enough_tissue, find_stains, sample_pixels, tissue_pixels
from counterstain.images.stain_space import share_out, to_hed, to_hsv, to_lab

__all__ = ["SPACES", "StainStatistics", "colour_moments", "fit_statistics"]

Tiles = NDArray[np.uint8]

# Each colour space, and the least standard deviation of a channel that can be scaled: a tile of one colour, or a grey
# one, has nothing to scale.
SPACES: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "lab": (to_lab, 0.05),
    "hsv": (to_hsv, 5e-4),
    "hed": (to_hed, 5e-4),
}

_SCHEMA = "counterstain.stain-statistics/1"
_ENOUGH = 3000  # pixels for a mean and a spread; extremes, which stains are found by, need more
_CHUNK = 32  # tiles looked at together
_MOST_STAINS = 512  # as many tiles' stains are kept for mixing, evenly over all
_ROWS = ("mean", "mean_spread", "spread", "spread_spread")


@dataclass(frozen=True, kw_only=True)
class StainStatistics:
    """What the training tiles look like.

    moments: for each colour space "lab", "hsv" and "hed", 4 × 3 numbers: over the tiles, mean and standard deviation of
             the tiles' channel means, then mean and standard deviation of the tiles' channel standard deviations
    stains:  8 numbers per tile, of at most 512: optical density of haematoxylin and of eosin (R, G, B), unit length,
             and the strength of each
    tiles:   how many tiles were looked at; blank: how many of them were left out for lack of tissue
    """

    moments: Mapping[str, tuple[tuple[float, ...], ...]]
    stains: tuple[tuple[float, ...], ...]
    tiles: int
    blank: int

    def __post_init__(self) -> None:
        if set(self.moments) != set(SPACES):
            raise InputError(
                f"stain statistics are of {sorted(self.moments)}; they need {sorted(SPACES)}: fit them again"
            )
        tables = [np.asarray(table, dtype=np.float64) for table in self.moments.values()]
        stains = np.asarray(self.stains, dtype=np.float64)
        right = all(table.shape == (4, 3) and np.isfinite(table).all() for table in tables)
        if not right or stains.ndim != 2 or stains.shape[1] != 8 or not np.isfinite(stains).all():
            raise InputError("stain statistics are damaged; fit them again with fit_statistics")

    def record(self) -> dict[str, object]:
        """As JSON, for the study's record."""
        moments = {
            space: {name: list(row) for name, row in zip(_ROWS, table, strict=True)}
            for space, table in self.moments.items()
        }
        stains = [list(row) for row in self.stains]
        return {"schema": _SCHEMA, "moments": moments, "stains": stains, "tiles": self.tiles, "blank": self.blank}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "StainStatistics":
        """The statistics of a record.

        Raises:
            InputError: If the record is of another schema, or damaged.
        """
        if record.get("schema") != _SCHEMA:
            raise InputError(f"stain statistics have schema {record.get('schema')!r}, not '{_SCHEMA}'; fit them again")
        try:
            moments = {
                space: tuple(tuple(float(one) for one in table[name]) for name in _ROWS)
                for space, table in record["moments"].items()
            }
            stains = tuple(tuple(float(one) for one in row) for row in record["stains"])
            return cls(moments=moments, stains=stains, tiles=int(record["tiles"]), blank=int(record["blank"]))
        except (AttributeError, KeyError, TypeError, ValueError) as fault:
            if isinstance(fault, InputError):
                raise
            raise InputError(f"stain statistics are damaged ({fault}); fit them again with fit_statistics") from fault


def fit_statistics(tiles: Tiles) -> StainStatistics:
    """The statistics of (N, H, W, 3) uint8 RGB tiles: a sample over the training patients, and of nobody else.

    Raises:
        InputError: If fewer than two tiles have tissue with two stains.
    """
    moments: dict[str, list[Tensor]] = {space: [] for space in SPACES}
    stains: list[Tensor] = []
    blank: list[Tensor] = []

    def look_at(start: int, stop: int) -> None:
        for low in range(start, stop, _CHUNK):
            pixels = sample_pixels(tiles[low : low + _CHUNK])
            found = find_stains(pixels, "macenko")
            empty = found.blank
            for space, rows in moments.items():
                mean, spread, nothing = colour_moments(pixels, space)
                rows.append(torch.stack([mean, spread], dim=1))
                empty = empty | nothing
            stains.append(torch.cat([found.vectors.flatten(1), found.strength], dim=1))
            blank.append(empty)

    share_out(look_at, len(tiles), 1)
    kept = ~torch.cat(blank) if blank else torch.zeros(0, dtype=torch.bool)
    if int(kept.sum()) < 2:
        raise InputError(f"{int(kept.sum())} of {len(tiles)} tiles have two stains; stain statistics need at least 2")
    tables = {}
    for space, rows in moments.items():
        values = torch.cat(rows)[kept].double().numpy()  # (N, 2, 3)
        middle, around = values.mean(axis=0), values.std(axis=0)
        tables[space] = _rows(np.stack([middle[0], around[0], middle[1], around[1]]))
    own = torch.cat(stains)[kept].double().numpy()
    chosen = np.unique(np.linspace(0, len(own) - 1, min(len(own), _MOST_STAINS)).astype(np.int64))
    return StainStatistics(
        moments=tables, stains=_rows(own[chosen]), tiles=len(tiles), blank=int(len(tiles) - kept.sum())
    )


def colour_moments(pixels: Tensor, space: str) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and standard deviation of the channels of a colour space, (B, 3) each, over (B, 3, n) uint8 pixels.

    Of every second pixel, or fewer, where there are 6,000 or more. Also (B,) bool: blank, for lack of tissue or because
    a channel does not vary, so that there is nothing to scale.
    """
    to_space, least = SPACES[space]
    pixels = pixels[:, :, :: max(1, pixels.shape[2] // _ENOUGH)].contiguous()
    values = to_space(pixels)
    mean = values.mean(2)
    spread = (values - mean[:, :, None]).square().mean(2).sqrt()
    return mean, spread, ~enough_tissue(tissue_pixels(pixels)) | (spread.amin(1) < least)


def _rows(values: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(one) for one in row) for row in values)
