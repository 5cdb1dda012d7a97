"""What could be scored without looking at tissue: the majority, mean colour, a colour histogram, the files alone."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from counterstain.cohort.cohort import Cohort
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.rows import rows_named
from counterstain.images.store import Store, read_batch

__all__ = ["BASELINES", "bag_baselines", "baselines", "colour_features", "file_features"]

Floats = NDArray[np.float64]

BASELINES = ("majority", "mean-rgb", "colour-histogram", "file")
LEVELS = 6  # of each colour in the joint histogram
BLOCK = 256


def baselines(
    cohort: Cohort,
    store: Store,
    assignment: Sequence[str],
    *,
    unit: str,
    colours: tuple[Floats, Floats] | None = None,
    files: Floats | None = None,
) -> dict[str, Predictions]:
    """Test predictions of each baseline, fitted on the training part alone; the same judge scores them as a network.

    Args:
        cohort: whose images are in the store.
        store: their tiles.
        assignment: (N,) train, val, test, test_<name> or "" for each image.
        unit: "patient", or "image": then each image is its own unit.
        colours, files: of `colour_features` and `file_features`, where there are several divisions of one cohort.

    Returns:
        Of BASELINES those that can be had: "file" is left out where all files are alike or lie in a container.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    assigned = np.array(list(assignment), dtype=object)
    train = np.flatnonzero(assigned == "train")
    test = np.flatnonzero([str(part).startswith("test") for part in assigned])
    label = cohort.label_index
    mean, histogram = colour_features(cohort, store) if colours is None else colours
    files = file_features(cohort) if files is None else files
    share = np.bincount(label[train], minlength=len(cohort.classes)) / len(train)
    predictions = {"majority": _table(cohort, test, np.tile(share, (len(test), 1)), unit)}

    def forest() -> RandomForestClassifier:
        return RandomForestClassifier(
            200, min_samples_leaf=2, random_state=0, n_jobs=1, max_samples=_at_most(len(train))
        )

    models: dict[str, tuple[Any, Floats]] = {
        "mean-rgb": (make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)), mean),
        "colour-histogram": (forest(), histogram),
    }
    if files.shape[1] and (files != files[0]).any():
        models["file"] = (forest(), files)
    for name, (model, features) in models.items():
        predictions[name] = _table(
            cohort, test, _fitted(model, features, label, train, test, len(cohort.classes)), unit
        )
    return predictions


def _fitted(
    model: Any,
    features: Floats,
    label: NDArray[np.int64],
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    classes: int,
) -> Floats:
    """(test rows, classes) probabilities of a model fitted on the training rows; 0 for a class it has not seen."""
    model.fit(features[train], label[train])
    prob = np.zeros((len(test), classes))
    prob[:, model.classes_] = model.predict_proba(features[test])
    return prob


def bag_baselines(
    cohort: Cohort, count: NDArray[np.int64], assignment: Sequence[str], *, unit: str
) -> dict[str, Predictions]:
    """What could be scored without looking at a slide's features: the majority, and how many tiles it has.

    Args:
        cohort: one row per slide.
        count: (N,) tiles of each.
        assignment, unit: as in `baselines`.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    assigned = np.array(list(assignment), dtype=object)
    train = np.flatnonzero(assigned == "train")
    test = np.flatnonzero([str(part).startswith("test") for part in assigned])
    label, classes = cohort.label_index, len(cohort.classes)
    share = np.bincount(label[train], minlength=classes) / len(train)
    predictions = {"majority": _table(cohort, test, np.tile(share, (len(test), 1)), unit)}
    if (count != count[0]).any():
        size = np.log(count.astype(np.float64))[:, None]
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        predictions["tile-count"] = _table(cohort, test, _fitted(model, size, label, train, test, classes), unit)
    return predictions


def _at_most(count: int, limit: int = 5000) -> int | None:
    """Images that each tree sees: enough for colours, however large the cohort."""
    return None if count <= limit else limit


def _table(cohort: Cohort, rows: NDArray[np.int64], prob: Floats, unit: str) -> Predictions:
    table = cohort.table.iloc[rows]
    names, slides = tuple(table["image_path"]), tuple(table["slide_id"])
    patients = tuple(np.array(cohort.patient, dtype=object)[rows]) if unit == "patient" else names
    return Predictions(
        image=names,
        patient=patients,
        slide=slides,
        site=tuple(table["site"]),
        label=cohort.label_index[rows],
        prob=prob,
        classes=cohort.classes,
        ordered=cohort.ordered,
        rows_are=rows_named(names, slides, patients),
    )


def colour_features(cohort: Cohort, store: Store) -> tuple[Floats, Floats]:
    """(N, 6) mean and SD of red, green and blue, and (N, LEVELS³) joint histogram, of the cohort's images in order."""
    rows = store.rows(cohort.image)
    mean, histogram = np.zeros((len(rows), 6)), np.zeros((len(rows), LEVELS**3))
    for start in range(0, len(rows), BLOCK):
        tiles = read_batch(store, rows[start : start + BLOCK])
        for place, tile in enumerate(tiles, start=start):
            pixels = tile.reshape(-1, 3)
            mean[place] = np.concatenate([pixels.mean(axis=0), pixels.std(axis=0)])
            level = pixels.astype(np.int64) * LEVELS // 256
            cell = (level[:, 0] * LEVELS + level[:, 1]) * LEVELS + level[:, 2]
            histogram[place] = np.bincount(cell, minlength=LEVELS**3) / len(pixels)
    return mean, histogram


def file_features(cohort: Cohort) -> Floats:
    """(N, 8) bytes, width, height, bytes per pixel, format, mode, and mean and first entry of the JPEG tables.

    (N, 0) where the images lie in a container and so have no files of their own.
    """
    if any("#" in name for name in cohort.image[:1]):
        return np.zeros((len(cohort), 0))
    kinds: dict[str, int] = {}
    return np.array([_file(Path(cohort.root) / name, kinds) for name in cohort.image], dtype=np.float64)


def _file(path: Path, kinds: dict[str, int]) -> list[float]:
    """What a file's header says; zeros where it has none that is known."""
    data = path.read_bytes()
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "TIFF", "BMP")) as image:
            tables = getattr(image, "quantization", None) or {}
            entries = np.concatenate(
                [np.asarray(table, dtype=np.float64) for table in tables.values()] or [np.zeros(1)]
            )
            width, height = image.size
            kind, mode = (kinds.setdefault(str(name), len(kinds)) for name in (image.format, image.mode))
    except (UnidentifiedImageError, OSError):
        return [float(len(data)), 0, 0, 0, -1, -1, 0, 0]
    bytes_per_pixel = len(data) / max(width * height, 1)
    return [float(len(data)), width, height, bytes_per_pixel, kind, mode, float(entries.mean()), float(entries[0])]
