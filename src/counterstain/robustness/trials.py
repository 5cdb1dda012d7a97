"""What a model is tried with: a table with a row each, its five strengths, and what a strength is measured in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from counterstain.cohort.cohort import Cohort
from counterstain.errors import InputError, suggest
from counterstain.evaluation.format import share
from counterstain.images.store import Store
from counterstain.robustness.degrade import (
    SYMMETRIES,
    blur,
    brighten,
    compress,
    misjudge_scale,
    raise_contrast,
    shift_stain,
    transfer_colour,
    turn,
)

__all__ = ["ROTATION", "TRIALS", "Setting", "Step", "Trial", "choose_trials", "steps_of", "tile_mpp"]

Tiles = NDArray[np.uint8]
Floats = NDArray[np.float64]

ROTATION = "rotation"


@dataclass(frozen=True, eq=False)
class Setting:
    """What is known of a batch of tiles beside their pixels.

    mpp:            (B, 2) µm/px down and across, or None where it is not known of every image
    source, target: (B, 2, 3) mean and spread in CIELAB of each tile's site and of another, or None without sites
    """

    mpp: Floats | None = None
    source: Floats | None = None
    target: Floats | None = None

    def rows(self, rows: slice) -> "Setting":
        """The setting of these tiles alone."""
        parts = (None if values is None else values[rows] for values in (self.mpp, self.source, self.target))
        return Setting(*parts)


@dataclass(frozen=True)
class Trial:
    """One row of the table.

    name:      as a budget names it
    title:     as a reader reads it
    axis:      what a strength says, with its unit
    strengths: five, from weak to strong; a signed trial has each of them on both sides of 0
    clean:     the strength of an unchanged tile
    percent:   whether strengths are shares, shown as per cent
    apply:     (tiles, strength, setting) to the tiles it makes
    """

    name: str
    title: str
    axis: str
    strengths: tuple[float, ...]
    apply: Callable[[Tiles, float, Setting], Tiles]
    signed: bool = False
    clean: float = 0.0
    percent: bool = False

    @property
    def values(self) -> tuple[float, ...]:
        """Every strength that is tried, from the lowest to the highest."""
        negative = tuple(-strength for strength in self.strengths) if self.signed else ()
        return tuple(sorted((*negative, *self.strengths)))

    def shown(self, at: float) -> str:
        """A strength with its sign and unit, as "+20 %", "1 µm" or "quality 50"."""
        if self.percent:
            sign = "" if not self.signed else "−" if at < 0 else "+"
            return f"{sign}{share(abs(at), 1, 0)}"
        unit = {"jpeg": "quality {:g}", "blur": "{:g} µm", "blur_px": "{:g} px"}[self.name]
        return unit.format(at)


@dataclass(frozen=True)
class Step:
    """One prediction of all images: a trial at a strength, or one of the symmetries (trial None)."""

    trial: Trial | None
    at: float

    def apply(self, tiles: Tiles, setting: Setting) -> Tiles:
        """The batch as the model gets to see it."""
        return turn(tiles, int(self.at)) if self.trial is None else self.trial.apply(tiles, self.at, setting)


def _transfer(tiles: Tiles, at: float, setting: Setting) -> Tiles:
    if setting.source is None or setting.target is None:
        raise ValueError("colours can only be transferred between known sites")
    return transfer_colour(tiles, at, source=setting.source, target=setting.target)


_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5)

TRIALS = {
    trial.name: trial
    for trial in (
        Trial(
            "stain_shift", "Stain shift", "more eosin  ←  % of concentration  →  more haematoxylin", _SHARES,
            lambda tiles, at, _: shift_stain(tiles, at), signed=True, percent=True,
        ),
        Trial(
            "brightness", "Brightness", "darker  ←  % of intensity  →  brighter", _SHARES,
            lambda tiles, at, _: brighten(tiles, at), signed=True, percent=True,
        ),
        Trial(
            "contrast", "Contrast", "flatter  ←  % of contrast  →  harder", _SHARES,
            lambda tiles, at, _: raise_contrast(tiles, at), signed=True, percent=True,
        ),
        Trial(
            "scanner", "Colours of another site", "% of the way to the other site's mean and spread",
            (0.2, 0.4, 0.6, 0.8, 1.0), _transfer, percent=True,
        ),
        Trial(
            "blur", "Blur", "σ of the Gaussian, µm", (0.25, 0.5, 1.0, 2.0, 4.0),
            lambda tiles, at, setting: blur(tiles, at, mpp=setting.mpp),
        ),
        Trial(
            "blur_px", "Blur", "σ of the Gaussian, px (µm/px is not known)", (0.5, 1.0, 2.0, 4.0, 8.0),
            lambda tiles, at, _: blur(tiles, at),
        ),
        Trial(
            "jpeg", "JPEG compression", "JPEG quality (100: not compressed)", (90.0, 70.0, 50.0, 30.0, 10.0),
            lambda tiles, at, _: compress(tiles, 100 - at), clean=100.0,
        ),
        Trial(
            "mpp_error", "Wrong µm/px", "too fine, enlarged  ←  % of µm/px  →  too coarse, shrunk",
            (0.05, 0.1, 0.2, 0.35, 0.5), lambda tiles, at, _: misjudge_scale(tiles, at), signed=True, percent=True,
        ),
    )
}  # fmt: skip


def choose_trials(*, mpp_known: bool, sites: int, only: Sequence[str] = ()) -> tuple[dict[str, Trial], list[str]]:
    """The trials that this cohort allows, by name, and what must be said about the others.

    Args:
        mpp_known: whether µm/px is known of every image; else blur is measured in px.
        sites: how many are known; colours are transferred between two or more.
        only: names of trials (or "rotation"), where not all are wanted.

    Raises:
        InputError: If a name is unknown, or asks for what this cohort does not allow.
    """
    known = [*TRIALS, ROTATION]
    for name in only:
        if name not in known:
            raise InputError(f"no trial is called '{name}'{suggest(name, known)}")
    possible = dict(TRIALS)
    notes = []
    possible.pop("blur_px" if mpp_known else "blur")
    if not mpp_known:
        notes.append("µm/px is not known for every image: blur is in px of the tile")
    if sites < 2:
        possible.pop("scanner")
        lack = "no site is known" if sites == 0 else "there is one site only"
        notes.append(f"{lack}: colours are not transferred between sites, and there is no worst site and no site probe")
    for name in only:
        if name not in possible and name != ROTATION:
            remedy = {"blur": "ask for blur_px, or give mpp in the manifest", "blur_px": "ask for blur"}
            raise InputError(
                f"{name} cannot be tried on this cohort; {remedy.get(name, 'give two sites or more in the manifest')}"
            )
    chosen = {name: trial for name, trial in possible.items() if not only or name in only}
    return chosen, notes


def steps_of(trials: Sequence[Trial], *, rotation: bool) -> list[Step]:
    """Every prediction beyond that of the clean tiles: each trial at each strength, then the seven other symmetries."""
    steps = [Step(trial, at) for trial in trials for at in trial.values]
    return steps + [Step(None, float(symmetry)) for symmetry in range(1, len(SYMMETRIES)) if rotation]


def tile_mpp(cohort: Cohort, store: Store, rows: NDArray[np.int64], *, fit: str) -> Floats | None:
    """(N, 2) µm per px of the tiles, down and across, after the fit; None where it is not known of every image.

    The manifest's mpp comes before what an image file says of itself.

    Args:
        cohort: of the N images.
        store: that holds them.
        rows: (N,) rows of the store, one for each image of the cohort.
        fit: how an image became a tile, see images.tile.
    """
    stated = np.asarray(cohort.table["mpp"], dtype=np.float64)
    mpp = np.where(np.isnan(stated), store.mpp[rows], stated)
    if np.isnan(mpp).any():
        return None
    size_px = store.size_px[rows].astype(np.float64)
    if fit == "crop":
        size_px = np.repeat(size_px.min(axis=1, keepdims=True), 2, axis=1)
    per_tile_px: Floats = mpp[:, None] * size_px / store.tiles.shape[1]
    return per_tile_px
