"""What a run leaves behind of its errors: the images and patients they are of, and what the arms are worth at all."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from counterstain.evaluation.beyond_chance import beyond_chance
from counterstain.evaluation.error_record import error_record, shown_images, tile_file
from counterstain.evaluation.influence import influence_record
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.evaluation.record_types import ComparisonRecord
from counterstain.evaluation.rows import level_of
from counterstain.files import read_json, write_json, write_with
from counterstain.images.store import Store, read_batch
from counterstain.own_tables import read_rows
from counterstain.run_folder import record_path
from counterstain.study.arms import DISTANCES
from counterstain.study.prepare import PreparedStudy
from counterstain.study.study_config import Study

__all__ = ["write_beyond_chance", "write_errors"]

RECORD, TILES = "errors.json", "error_tiles"
TILE_PX = 160  # side of a kept tile at most


def write_beyond_chance(run: Path, study: Study, replicates: Mapping[str, Sequence[Predictions]]) -> list[Path]:
    """Write beyond_chance.json: how far each arm exceeds chance, and the baselines that the audit has fitted."""
    section = study.comparison
    names = {path.stem: path for path in sorted(record_path(run, "baselines").glob("*.csv"))}
    first = next(iter(replicates.values()))[0]
    record = beyond_chance(
        replicates,
        {
            name: replace(read_predictions(path, classes=first.classes), ordered=first.ordered)
            for name, path in names.items()
        },
        metric=section.co_primary[0] if section.co_primary else section.primary,
        level=level_of(section.level, first.rows_are),
        alpha=section.alpha,
    )
    write_json(record_path(run, "beyond_chance.json"), record)
    return [record_path(run, "beyond_chance.json")]


def write_errors(
    run: Path,
    prepared: PreparedStudy,
    replicates: Mapping[str, Sequence[Predictions]],
    compare_without: Callable[[str], ComparisonRecord],
) -> list[Path]:
    """Write errors.json and error_tiles/: each arm's most telling images, the patients of its errors, their influence.

    Args:
        run: the run's folder.
        prepared: the study; its store has the tiles. Of feature files there are none.
        replicates: arm -> its test tables, one per seed.
        compare_without: the comparison without one patient, see influence_record.
    """
    shutil.rmtree(record_path(run, TILES), ignore_errors=True)
    first = next(iter(replicates.values()))[0]
    comparison = record_path(run, "comparison.json")
    by_patient = first.unit == "patient" and comparison.is_file()
    influence = (
        influence_record(replicates, cast(ComparisonRecord, read_json(comparison)), compare_without)
        if by_patient
        else []
    )
    record = error_record(replicates, influence, unfamiliar=_unfamiliar(run, replicates), stamp=prepared.study.stamp)
    write_json(record_path(run, RECORD), record)
    store = prepared.material.store
    written = _write_tiles(record_path(run, TILES), store, shown_images(record)) if isinstance(store, Store) else []
    return [record_path(run, RECORD), *written]


def _unfamiliar(run: Path, arms: Mapping[str, object]) -> dict[str, dict[str, float]]:
    """arm -> test image -> share of the trainings that flag it; arms without flags are left out."""
    shares = {}
    for arm in arms:
        flags: dict[str, list[bool]] = {}
        for path in sorted((run / "arms" / arm).glob(f"seed-*/fold-*/{DISTANCES}test*.csv")):
            for row in read_rows(path, ("image_path", "unfamiliar")):
                flags.setdefault(row["image_path"], []).append(row["unfamiliar"] == "yes")
        if flags:
            shares[arm] = {image: sum(flagged) / len(flagged) for image, flagged in flags.items()}
    return shares


def _write_tiles(folder: Path, store: Store, images: list[str]) -> list[Path]:
    """The tiles as the networks saw them, no larger than a report shows them."""
    written = []
    for image, row in zip(images, store.rows(images).tolist(), strict=True):
        tile: NDArray[np.uint8] = read_batch(store, np.array([row]))[0]
        thumbnail = Image.fromarray(tile)
        thumbnail.thumbnail((TILE_PX, TILE_PX), Image.Resampling.LANCZOS)
        path = folder / tile_file(image)
        write_with(path, partial(thumbnail.save, format="PNG"))
        written.append(path)
    return written
