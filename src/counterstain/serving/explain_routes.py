"""Where one model of a run looks in one of its test images: asked from the page of errors, computed then."""

import csv
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from counterstain.errors import InputError
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.images.source import BadImage
from counterstain.images.tile import fit_tile
from counterstain.serving.inference import ModelShelf
from counterstain.serving.pictures import decoded, read_tiles
from counterstain.serving.problems import ServingError
from counterstain.serving.runs import RunsFolder

__all__ = ["ExplanationAsked", "add_explain", "training_of"]

Name = Annotated[str, Field(min_length=1, max_length=200)]


class ExplanationAsked(BaseModel):
    """A test image by its id, and the model by run, arm and training seed as the page of errors names them."""

    model_config = ConfigDict(extra="forbid")
    run: Name
    arm: Name
    seed: Name
    image: Name


def add_explain(app: FastAPI, runs: RunsFolder, shelf: ModelShelf) -> None:
    """Add the route."""

    @app.post("/api/explain", tags=["predict"])
    def explain(request: ExplanationAsked) -> dict[str, object]:
        """Where the image speaks for the class that the model calls it: cells of a square, 0 to 1 (HiResCAM).

        A map says where the score is sensitive, never why, and not whether that is right.
        """
        run = runs.find(request.run)
        table = read_tiles(run)
        image = table.find(request.image)
        loaded = shelf.open(
            f"{request.run}/{request.arm}/{request.seed}", training_of(run, request.arm, request.seed, image)
        )
        bundle = loaded.model.predictor.bundle
        try:
            pixels = decoded(table.root, image)
            tile = fit_tile(pixels, image, tile_px=bundle.tile_px, fit=bundle.fit)
        except BadImage as error:
            raise ServingError(422, f"this image cannot be read: {error.reason}") from None
        output = loaded.submit(tile, alone=True).result()
        target = int(output.prob[0].argmax() if output.called is None else output.called[0])
        evidence = loaded.evidence(tile, target)
        return {"called": output.classes[target], "evidence": np.round(evidence, 4).tolist()}


def training_of(run: Path, arm: str, seed: str, image: str) -> Path:
    """The folder of the training that had an image in its test part; folds of one seed have different ones.

    Raises:
        ServingError: 404 if there is none.
    """
    label, _, repeat = seed.partition("-repeat-")
    for folder in sorted((run / "arms").glob("*/*/fold-*")):
        own_arm, own_seed, fold = folder.relative_to(run / "arms").parts
        if (own_arm, own_seed) != (arm, label) or folder.is_symlink():
            continue
        if repeat and fold.split("-")[1] != repeat:
            continue
        table = folder / "predictions.csv"
        if table.is_file() and image in _images(table, table.stat().st_mtime_ns):
            return folder
    raise ServingError(404, "no training of this arm and seed has tested this image, or its model is not kept")


@lru_cache(32)
def _images(table: Path, _: int) -> frozenset[str]:
    try:
        return frozenset(read_predictions(table).image)
    except (InputError, csv.Error):
        return frozenset()
