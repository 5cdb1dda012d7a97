"""Stain normalisation: a recipe is fitted on training tiles, kept with the model, and applied wherever it predicts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterstain.errors import InputError, suggest
from counterstain.images.stain_separation import (
    find_stains,
    inverse,
    sample_pixels,
)
from counterstain.images.stain_space import change_tiles, share_out
from counterstain.images.stain_statistics import colour_moments

__all__ = ["METHODS", "StainRecipe", "apply_recipe", "fit_recipe"]

Tiles = NDArray[np.uint8]
Three = tuple[float, float, float]

METHODS = ("reinhard", "macenko", "vahadane")

_SCHEMA = "counterstain.stain-recipe/1"
_CHUNK = 32  # tiles looked at together
_SPACE = {"reinhard": "lab", "macenko": "density", "vahadane": "density"}
_FIELDS = {"reinhard": ("mean", "spread"), "macenko": ("vectors", "strength"), "vahadane": ("vectors", "strength")}


@dataclass(frozen=True, kw_only=True)
class StainRecipe:
    """What every tile is brought to, whatever its own stain.

    method:   "reinhard", "macenko" or "vahadane"
    mean, spread: L*, a* and b* of the reference, for "reinhard"; else ()
    vectors:  optical density of haematoxylin and of eosin (R, G, B), unit length, for the other two; else ()
    strength: 99th percentile of the concentration of each, likewise
    tiles:    how many tiles it was fitted on; blank: how many more were left out for lack of tissue

    Raises:
        InputError: If the numbers are not those of the method, or not finite.
    """

    method: str
    mean: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()
    vectors: tuple[Three, ...] = ()
    strength: tuple[float, ...] = ()
    tiles: int = 1
    blank: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"stain method is {self.method!r}{suggest(str(self.method), METHODS)}")
        shapes = {"mean": (3,), "spread": (3,), "vectors": (2, 3), "strength": (2,)}
        for name, shape in shapes.items():
            values = getattr(self, name)
            if name not in _FIELDS[self.method]:
                if values != ():
                    raise InputError(f"stain recipe '{self.method}' has no {name}; fit it again with fit_recipe")
                continue
            array = np.asarray(values, dtype=np.float64)
            if array.shape != shape or not np.isfinite(array).all():
                raise InputError(f"stain recipe's {name} is {values}; it needs {math.prod(shape)} numbers, {shape}")
            if name in ("spread", "strength") and array.min() <= 0:
                raise InputError(f"stain recipe's {name} is {values}; it must be above 0")

    def record(self) -> dict[str, object]:
        """As JSON, for the model's bundle."""
        own: dict[str, Any] = {name: getattr(self, name) for name in _FIELDS[self.method]}
        if "vectors" in own:
            own["vectors"] = [list(vector) for vector in self.vectors]
        own = {name: list(values) for name, values in own.items()}
        return {"schema": _SCHEMA, "method": self.method, **own, "tiles": self.tiles, "blank": self.blank}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "StainRecipe":
        """The recipe of a record.

        Raises:
            InputError: If the record is of another schema, or a number is missing or out of its range.
        """
        if record.get("schema") != _SCHEMA:
            raise InputError(f"stain recipe has schema {record.get('schema')!r}, not '{_SCHEMA}'; fit it again")
        known = {"method", "mean", "spread", "vectors", "strength", "tiles", "blank"}
        if unknown := sorted(set(record) - known - {"schema"}):
            raise InputError(f"stain recipe has an unknown key '{unknown[0]}'{suggest(unknown[0], known)}")
        try:
            values = {name: record[name] for name in record if name != "schema"}
            for name in ("mean", "spread", "strength"):
                values[name] = tuple(float(one) for one in record.get(name, ()))
            values["vectors"] = tuple((float(r), float(g), float(b)) for r, g, b in record.get("vectors", ()))
            return cls(**values)
        except (TypeError, ValueError) as fault:
            raise fault if isinstance(fault, InputError) else InputError(f"stain recipe is damaged: {fault}") from fault


def fit_recipe(tiles: Tiles, *, method: str) -> StainRecipe:
    """The recipe that brings tiles to these: to one reference tile, or to the median of many.

    For a study the tiles are a sample over the training patients, and of nobody else. Each tile's numbers are found by
    itself, blank tiles are left out, and the median of each number is taken (stain vectors are made unit length again).

    Args:
        tiles: (N, H, W, 3) uint8 RGB.
        method: "reinhard", "macenko" or "vahadane".

    Raises:
        InputError: If the method is unknown, or every tile is blank.
    """
    if method not in METHODS:
        raise InputError(f"stain method is {method!r}{suggest(str(method), METHODS)}")
    _check_tiles(tiles)
    parts = share_out(lambda start, stop: _all_numbers(tiles[start:stop], method), len(tiles), 1)
    found, blank = zip(*parts[0], strict=True) if parts[0] else ((), ())
    left_out = int(torch.cat(blank).sum()) if blank else 0
    if left_out == len(tiles):
        raise InputError(f"all {len(tiles)} tiles are blank or of one colour; a stain recipe needs tiles with tissue")
    middle = np.median(torch.cat(found)[~torch.cat(blank)].double().numpy(), axis=0)
    used = len(tiles) - left_out
    if method == "reinhard":
        mean, spread = _floats(middle[:3]), _floats(middle[3:])
        return StainRecipe(method=method, mean=mean, spread=spread, tiles=used, blank=left_out)
    vectors = middle[:6].reshape(2, 3)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    red, green, blue = vectors.T.tolist()
    rows: tuple[Three, ...] = tuple(zip(red, green, blue, strict=True))
    return StainRecipe(method=method, vectors=rows, strength=_floats(middle[6:]), tiles=used, blank=left_out)


def apply_recipe(tiles: Tiles, recipe: StainRecipe, *, threads: int = 1) -> tuple[Tiles, NDArray[np.bool_]]:
    """(B, H, W, 3) uint8 with every tile brought to the recipe's stain, and (B,) bool: which were passed through.

    Passed through, unchanged, are tiles with under 5 % of tissue, of one colour, or without two stains to tell apart.
    What becomes of a tile depends on the tile and the recipe alone. Rounded and clipped to 0…255; never NaN.

    Args:
        tiles: (B, H, W, 3) uint8 RGB; not changed.
        recipe: see fit_recipe.
        threads: the batch is shared among as many.

    Source:
        Reinhard et al. 2001, IEEE CGA 21:34, doi:10.1109/38.946629, in CIE L*a*b*; Macenko et al. 2009, ISBI,
        doi:10.1109/ISBI.2009.5193250; Vahadane et al. 2016, IEEE TMI 35:1962, doi:10.1109/TMI.2016.2529665.
    """
    _check_tiles(tiles)
    out = np.empty(tiles.shape, dtype=np.uint8)

    def work(start: int, stop: int) -> NDArray[np.bool_]:
        passed = []
        for low in range(start, stop, _CHUNK):
            part = slice(low, min(low + _CHUNK, stop))
            first, second, blank = (one.numpy() for one in _change(sample_pixels(tiles[part]), recipe))
            rows = np.arange(len(blank))
            change_tiles(tiles[part], _SPACE[recipe.method], first, second, rows=rows, skip=blank, out=out[part])
            passed.append(blank)
        return np.concatenate(passed) if passed else np.zeros(0, dtype=np.bool_)

    return out, np.concatenate(share_out(work, len(tiles), threads))


def _all_numbers(tiles: Tiles, method: str) -> list[tuple[Tensor, Tensor]]:
    """The numbers of each tile in one row, and which are blank, a chunk of tiles at a time."""
    found = []
    for start in range(0, len(tiles), _CHUNK):
        first, second, blank = _numbers(sample_pixels(tiles[start : start + _CHUNK]), method)
        found.append((torch.cat([first.flatten(1), second], dim=1), blank))
    return found


def _numbers(pixels: Tensor, method: str) -> tuple[Tensor, Tensor, Tensor]:
    if method == "reinhard":
        return colour_moments(pixels, "lab")
    stains = find_stains(pixels, method)
    return stains.vectors, stains.strength, stains.blank


def _change(pixels: Tensor, recipe: StainRecipe) -> tuple[Tensor, Tensor, Tensor]:
    """Each tile's change: scale and shift of L*a*b*, or matrix and offset of density; and which tiles are blank."""

    def wanted(values: object) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=pixels.device)

    first, second, blank = _numbers(pixels, recipe.method)
    if recipe.method == "reinhard":
        scale = wanted(recipe.spread) / torch.where(blank[:, None], 1.0, second)
        return scale, wanted(recipe.mean) - first * scale, blank
    gain = wanted(recipe.strength) / second
    matrix = (wanted(recipe.vectors) * gain[:, :, None]).transpose(1, 2) @ inverse(first)
    return matrix, torch.zeros(len(pixels), 3, device=pixels.device), blank


def _check_tiles(tiles: Tiles) -> None:
    if tiles.ndim != 4 or tiles.shape[3] != 3 or tiles.dtype != np.uint8:
        raise ValueError(f"tiles must be (B, H, W, 3) uint8, not {tiles.shape} {tiles.dtype}")


def _floats(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
