"""What a training does to the stain of tiles: a normalisation that every tile gets, and variation of training tiles."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from counterstain.images.stain import StainRecipe, apply_recipe, fit_recipe
from counterstain.images.stain_augment import StainAugmentation, augment_stain
from counterstain.images.stain_statistics import StainStatistics, fit_statistics
from counterstain.images.store import Store, read_batch
from counterstain.learning.config import TrainingConfig

__all__ = ["UNSTAINED", "StainPipeline", "fit_staining"]

Tiles = NDArray[np.uint8]
FITTED_ON = 2000  # training tiles at most, evenly taken, that a recipe is fitted on


@dataclass(frozen=True)
class StainPipeline:
    """What is done to the stain, before anything else is done to a tile.

    recipe: of the normalisation that every tile gets wherever the model predicts; None for none.
    augmentation: of training tiles alone; None for none. statistics: what it needs of them, see fit_statistics.
    passed: told how many tiles of each batch went through unchanged, for lack of tissue.
    """

    recipe: StainRecipe | None = None
    augmentation: StainAugmentation | None = None
    statistics: StainStatistics | None = None
    passed: Callable[[int], None] | None = field(default=None, compare=False)

    @property
    def changes_training(self) -> bool:
        """Whether training tiles are not those of the store."""
        return self.recipe is not None or self.augmentation is not None

    def record(self) -> dict[str, object]:
        """What a bundle keeps: the recipe, since variation is of training alone; {} for nothing."""
        return {} if self.recipe is None else self.recipe.record()

    @classmethod
    def from_record(cls, record: Mapping[str, object]) -> "StainPipeline":
        """What a bundle kept."""
        return cls(StainRecipe.from_record(record)) if record else UNSTAINED

    def for_all(self, tiles: Tiles) -> Tiles:
        """(B, H, W, 3) uint8 tiles as the network was trained to see them; blank ones pass through."""
        if self.recipe is None or not len(tiles):
            return tiles
        changed, blank = apply_recipe(tiles, self.recipe)
        if self.passed is not None:
            self.passed(int(blank.sum()))
        return changed

    def for_training(self, tiles: Tiles, keys: NDArray[np.uint64], seed: int, epoch: int) -> Tiles:
        """Normalised tiles with this epoch's variation of their stain."""
        tiles = self.for_all(tiles)
        if self.augmentation is None or not len(tiles):
            return tiles
        return augment_stain(
            tiles, keys, settings=self.augmentation, seed=seed, epoch=epoch, statistics=self.statistics
        )


UNSTAINED = StainPipeline()


def fit_staining(store: Store, rows: NDArray[np.int64], settings: TrainingConfig) -> StainPipeline:
    """The staining of a training, fitted on its own training tiles and on no others.

    Args:
        store: of the tiles.
        rows: (N,) of the training tiles.
        settings: its normalisation and stain_augmentation.

    Raises:
        InputError: If no tile has enough tissue to fit on.
    """
    recipe = augmentation = statistics = None
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), FITTED_ON)).astype(np.int64))]
    if settings.normalisation != "none":
        recipe = fit_recipe(read_batch(store, chosen), method=settings.normalisation)
    if settings.stain_augmentation != "none":
        augmentation = StainAugmentation(method=settings.stain_augmentation)
        if augmentation.needs_statistics():
            tiles = StainPipeline(recipe).for_all(read_batch(store, chosen))
            statistics = fit_statistics(tiles)
    return StainPipeline(recipe, augmentation, statistics)
