"""What a model said of a slide's tiles, and where they lie: what every output of a slide is made from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError

__all__ = ["COLOURS", "FLAGS", "TilePredictions", "colours", "predicted"]

# Colour-blind safe, the strongest last of two: Wong 2011, doi:10.1038/nmeth.1618 (hues), in our own order.
COLOURS = ((86, 180, 233), (213, 94, 0), (0, 158, 115), (240, 228, 66), (204, 121, 167), (0, 114, 178), (230, 159, 0))

FLAGS = ("abstained", "unfamiliar")  # what speaks against a tile's probabilities


@dataclass(frozen=True, eq=False, kw_only=True)
class TilePredictions:
    """The tiles of one slide with their probabilities.

    slide:   its name, which its files bear
    classes: C names, in column order of prob; of two the positive one is the last
    corner:  (N, 2) int64, top left (x, y) of each tile, level-0 px of the whole slide
    size:    (w, h) of every tile, whole level-0 px
    prob:    (N, C) float64
    extent:  (x, y, w, h) of what a viewer shows of the slide, level-0 px: its bounds, or the whole of it
    mpp:     (x, y) µm per level-0 px
    threshold: probability of the positive class from which on a tile is called positive; None calls the most probable
    abstained: (N,) whether the tile's prediction set has not exactly one class; None where the model has no sets
    unfamiliar: (N,) whether the tile is unlike the training tiles; None where the model has no statistics of them

    Raises:
        InputError: On arrays that do not belong together.
    """

    slide: str
    classes: tuple[str, ...]
    corner: NDArray[np.int64]
    size: tuple[int, int]
    prob: NDArray[np.float64]
    extent: tuple[int, int, int, int]
    mpp: tuple[float, float]
    threshold: float | None = None
    abstained: NDArray[np.bool_] | None = None
    unfamiliar: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        """Check the shapes."""
        n = len(self.corner)
        if self.corner.shape != (n, 2) or self.prob.shape != (n, len(self.classes)):
            raise InputError(
                f"{n} tiles of {len(self.classes)} classes need corner (N, 2) and prob (N, C); "
                f"these are {self.corner.shape} and {self.prob.shape}"
            )
        for name, flags in self.flags.items():
            if flags.shape != (n,):
                raise InputError(f"{name} has shape {flags.shape}; one value for each of the {n} tiles is needed")
        if min(self.size) < 1 or min(self.extent[2:]) < 1:
            raise InputError(f"tiles of {self.size} px on {self.extent[2:]} px were given; both must be at least 1 px")

    def __len__(self) -> int:
        return len(self.corner)

    @property
    def flags(self) -> dict[str, NDArray[np.bool_]]:
        """The flags that are known, by the names of FLAGS."""
        return {name: flags for name in FLAGS if (flags := getattr(self, name)) is not None}


def predicted(table: TilePredictions) -> NDArray[np.int64]:
    """(N,) index of the class that each tile is called."""
    if table.threshold is not None and len(table.classes) == 2:
        return np.asarray(table.prob[:, 1] >= table.threshold, np.int64)
    return np.asarray(table.prob.argmax(axis=1), np.int64)


def colours(classes: tuple[str, ...]) -> list[tuple[int, int, int]]:
    """A colour (r, g, b) for each class, the same for the same number of classes."""
    return [COLOURS[k % len(COLOURS)] for k in range(len(classes))]
