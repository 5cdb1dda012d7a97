"""Arrays and data frames, as a scikit-learn user has them, as Predictions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard, Union

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError, says_arguments
from counterstain.evaluation.grades import as_grades
from counterstain.evaluation.model_output import ModelOutput
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictions_csv import predictions_of, read_predictions
from counterstain.evaluation.rows import RowName, rows_named
from counterstain.files import StrPath
from counterstain.tables import table_of_frame

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Names", "Probabilities", "Source", "Sources", "as_predictions", "from_source", "is_frame"]

# Unions by typing's own name: what pandas has is named by text, since pandas takes half a second to import.
Names = Union[
    Sequence[str], Sequence[int], Sequence[bool], NDArray[np.str_], NDArray[np.integer], NDArray[np.bool_],
    NDArray[np.object_], "pd.Series[str]", "pd.Series[int]", "pd.Series[bool]",
]  # fmt: skip
Probabilities = Union[
    Sequence[float], Sequence[Sequence[float]], NDArray[np.floating], "pd.Series[float]", "pd.DataFrame", ModelOutput
]
Source = Union[Predictions, Path, str, "pd.DataFrame"]
Sources = Source | StrPath | Sequence[Source | StrPath]


def is_frame(value: object) -> "TypeGuard[pd.DataFrame]":
    """Whether a value is a pandas data frame, without importing pandas."""
    return type(value).__name__ == "DataFrame" and hasattr(value, "columns")


def from_source(
    source: Source,
    *,
    classes: Sequence[str] | None = None,
    positive: str | None = None,
    columns: Mapping[str, str] | None = None,
    order: Sequence[str] | None = None,
) -> Predictions:
    """Predictions as they are, or read from a file or a data frame; see predictions_csv.read_predictions.

    Args:
        source: Predictions, a path or a data frame.
        classes, positive, columns: see `read_predictions`.
        order: the classes as grades, from the lowest to the highest.

    Raises:
        InputError: If the source is none of these, or can't be read.
    """
    table = _from_source(source, classes=classes, positive=positive, columns=columns)
    return table if order is None else as_grades(table, order)


def _from_source(
    source: Source, *, classes: Sequence[str] | None, positive: str | None, columns: Mapping[str, str] | None
) -> Predictions:
    if isinstance(source, Predictions):
        return source if positive is None else _with_positive(source, positive)
    if isinstance(source, (str, Path)):
        return read_predictions(source, classes=classes, positive=positive, columns=columns)
    if is_frame(source):
        return predictions_of(table_of_frame(source), classes=classes, positive=positive, columns=columns)
    raise InputError(
        f"a {type(source).__name__} was given; a path, a data frame or Predictions is needed. Arrays go in as "
        "(y_true, y_prob), and so does what `model.predict` returned"
    )


def _with_positive(table: Predictions, positive: str) -> Predictions:
    """The table with that class as the last of its two."""
    if positive not in table.classes:
        raise InputError(f"positive is '{positive}'; the classes are {', '.join(table.classes)}")
    if len(table.classes) != 2 or table.positive == positive:
        return table
    return replace(
        table, label=1 - table.label, prob=table.prob[:, ::-1], classes=table.classes[::-1], positive_from="given"
    )


@says_arguments
def as_predictions(
    y_true: Names,
    y_prob: Probabilities,
    *,
    groups: Names | None = None,
    slide: Names | None = None,
    site: Names | None = None,
    image: Names | None = None,
    classes: Sequence[str] | None = None,
    positive: str | int | bool | None = None,
) -> Predictions:
    """Arrays as scikit-learn has them, as Predictions.

    Args:
        y_true: (N,) the true class of each image: names, numbers or booleans.
        y_prob: (N,) probability of the positive class of two, or (N, C) of every class; of a data frame the columns
            are the classes' names. What `model.predict` returned brings classes and names of images with it.
        groups: (N,) the patient of each image; without it every image is taken as independent.
        slide, site, image: (N,) names.
        classes: in the order of the columns of y_prob; by default sorted, as scikit-learn's `classes_` are.
        positive: the positive one of two classes; by default the last. Of a 1-d y_prob it is what y_prob is of.

    Raises:
        InputError: If sizes differ, a label is missing or none of the classes, or y_prob is no probability.

    Examples:
        >>> table = as_predictions([0, 1, 1], [0.25, 0.5, 0.75], groups=["P1", "P1", "P2"])
        >>> table.classes, table.positive, table.unit, table.prob.tolist()
        (('0', '1'), '1', 'patient', [[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]])
    """
    if isinstance(y_prob, ModelOutput):
        classes, image = classes or y_prob.classes, y_prob.image if image is None else image
        y_prob = y_prob.prob
    labels = _names(y_true, "y_true")
    columns = list(map(str, y_prob.columns)) if is_frame(y_prob) else None
    try:
        prob = np.asarray(y_prob, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError("y_prob is not an array of numbers; (N,) or (N, C) probabilities are needed") from None
    names = _classes(labels, prob, classes, columns)
    positive_name = None if positive is None else str(_plain(positive))
    if positive_name is not None and positive_name not in names:
        raise InputError(f"positive is '{positive_name}'; the classes are {', '.join(names)}")
    if prob.ndim == 1 and positive_name is not None and names[-1] != positive_name:
        names = names[::-1]
    if prob.ndim == 1:
        prob = np.stack([1 - prob, prob], axis=1)
    if prob.ndim != 2 or prob.shape != (len(labels), len(names)):
        raise InputError(
            f"y_prob has shape {np.shape(y_prob)} for {len(labels)} labels of {len(names)} classes "
            f"({', '.join(names[:6])}); (N,) or (N, C) is needed. Name the classes in the order of its columns: "
            "classes=[…]"
        )
    place = {name: k for k, name in enumerate(names)}
    stray = next((name for name in labels if name not in place), None)
    if stray is not None:
        raise InputError(f"y_true has '{stray}', which is none of the classes {', '.join(names[:6])}")
    blank = ("",) * len(labels)
    images = tuple(map(str, range(len(labels)))) if image is None else _names(image, "image")
    patients = None if groups is None else _names(groups, "groups")
    slides = blank if slide is None else _names(slide, "slide")
    rows: RowName = "row" if image is None else rows_named(images, slides, patients or images)
    table = Predictions(
        image=images, patient=patients or images, slide=slides,
        site=blank if site is None else _names(site, "site"),
        label=np.array([place[name] for name in labels], dtype=np.int64), prob=prob, classes=names,
        notes=() if groups is not None else (NO_GROUPS,), rows_are=rows, own_patients=patients == images,
        positive_from="given" if positive is not None or classes else "column order" if columns else "name order",
    )  # fmt: skip
    return table if positive_name is None else _with_positive(table, positive_name)


NO_GROUPS = "no groups were given; images are taken as independent, which makes intervals too narrow"


def _classes(
    labels: Sequence[str], prob: NDArray[np.float64], classes: Sequence[str] | None, columns: Sequence[str] | None
) -> tuple[str, ...]:
    """The classes in the order of the columns."""
    if classes is not None:
        return tuple(str(_plain(name)) for name in classes)
    if columns is not None:
        stripped = [name.removeprefix("prob_") for name in columns]
        return tuple(stripped if set(labels) <= set(stripped) else columns)
    distinct = set(labels)
    if len(distinct) < 2 and (prob.ndim == 1 or prob.shape[1:] == (2,)):
        raise InputError(
            f"y_true has one class only ({', '.join(distinct)}); name both, in the order of the columns of y_prob: "
            "classes=['benign', 'malignant']"
        )
    numbers = all(name.lstrip("-").isdigit() for name in distinct)
    return tuple(sorted(distinct, key=int if numbers else str))


def _names(values: Iterable[object], argument: str) -> tuple[str, ...]:
    """Text of each value, whole floats without their point; a missing one is refused."""
    array = np.asarray(values)
    if array.dtype.kind == "U" and not isinstance(values, np.ndarray):
        array = np.asarray(values, dtype=object)  # else NumPy turns what is missing among names into the name "nan"
    if array.ndim != 1:
        raise InputError(f"{argument} has shape {array.shape}; (N,) is needed, one name per image")
    plain = [_plain(value) for value in array.tolist()]
    missing = next((row for row, value in enumerate(plain) if value is None or value != value), None)
    if missing is not None and argument != "site":
        raise InputError(f"{argument}[{missing}] is missing; every image needs one, or omit {argument}")
    fraction = next((value for value in plain if isinstance(value, float) and value == value), None)
    if fraction is not None:
        raise InputError(f"{argument} has {fraction}; names or integers are needed")
    return tuple("" if value is None or value != value else str(value) for value in plain)


def _plain(value: object) -> object:
    """A whole number as an int, a boolean as 0 or 1."""
    if isinstance(value, (bool, np.bool_)):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
