"""The data set that a training learns from: a cohort, its tiles or bags, and predictions of its rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from counterstain.cohort.cohort import Cohort
from counterstain.errors import InputError
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.rows import rows_named
from counterstain.images.augment import image_keys
from counterstain.images.augmentation import Augmentation
from counterstain.images.store import Store
from counterstain.learning.bag_dataset import BagStore
from counterstain.learning.loader import Examples
from counterstain.learning.predictor import predict_probabilities
from counterstain.learning.stain_pipeline import UNSTAINED, StainPipeline

__all__ = ["TileDataset", "examples", "predict_rows", "table_of"]


@dataclass(frozen=True)
class TileDataset:
    """What every arm of a study shares: the cohort, its tiles, and how they are made and varied.

    store: the tiles of its images; or the bags of its slides, which are neither fitted nor varied.
    """

    cohort: Cohort
    store: Store | BagStore
    augmentation: Augmentation
    tile_px: int
    fit: str
    stamp: str
    unit: str = "patient"

    @property
    def outputs(self) -> int:
        """How many numbers a network answers a tile with: one for each class, or for each finding."""
        return len(self.cohort.findings) or len(self.cohort.classes)

    @property
    def tiles(self) -> Store:
        """The store of tiles.

        Raises:
            InputError: If the cohort is of feature files.
        """
        if isinstance(self.store, BagStore):
            raise InputError("this cohort is of feature files (.h5), which hold no tiles; name a cohort of images")
        return self.store

    def rows(self, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the store of the cohort's images with these row numbers."""
        return self.store.rows([self.cohort.image[row] for row in chosen])

    @property
    def mpp(self) -> float | None:
        """µm/px of the tiles where the whole cohort has one and all images are resized alike, else None."""
        stated = set(self.cohort.table["mpp"].dropna())
        if len(stated) != 1 or self.cohort.table["mpp"].isna().any() or isinstance(self.store, BagStore):
            return None
        mpp = float(stated.pop())
        if self.fit == "exact":
            return mpp
        sides = np.unique(self.store.size_px[self.store.rows(self.cohort.image)])
        return mpp * float(sides[0]) / self.tile_px if self.fit == "stretch" and len(sides) == 1 else None


def examples(material: TileDataset, chosen: NDArray[np.int64]) -> Examples:
    """The cohort's images with these row numbers, as training takes them."""
    names = [material.cohort.image[row] for row in chosen]
    present = material.cohort.present
    label = material.cohort.label_index[chosen] if present is None else present[chosen]
    return Examples(material.store.rows(names), label, image_keys(names))


def predict_rows(
    material: TileDataset,
    chosen: NDArray[np.int64],
    network: nn.Module,
    *,
    scale: str,
    device: str = "cpu",
    staining: StainPipeline = UNSTAINED,
) -> Predictions:
    """Predictions for the cohort's images with these row numbers, by torch in fp32."""
    rows = material.rows(chosen)
    prob = predict_probabilities(network, material.tiles, rows, scale=scale, device=device, staining=staining)
    return table_of(material, chosen, prob)


def table_of(material: TileDataset, chosen: NDArray[np.int64], prob: NDArray[np.float64]) -> Predictions:
    """The cohort's images with these row numbers, and their probabilities."""
    cohort = material.cohort
    table = cohort.table.iloc[chosen]
    names, slides = tuple(table["image_path"]), tuple(table["slide_id"])
    # Where the study's unit is the image, so is that of its statistics: the stamp says what that is worth.
    patients = tuple(np.array(cohort.patient, dtype=object)[chosen]) if material.unit == "patient" else names
    return Predictions(
        image=names,
        patient=patients,
        slide=slides,
        site=tuple(table["site"]),
        label=cohort.label_index[chosen],
        prob=prob,
        classes=cohort.classes,
        ordered=cohort.ordered,
        rows_are=rows_named(names, slides, patients),
        own_patients=material.unit == "patient" and cohort.has_patients and tuple(table["patient_id"]) == names,
    )
