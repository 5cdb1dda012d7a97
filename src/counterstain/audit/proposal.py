"""A split in which every cluster of copies, slides and patients stands on one side."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from counterstain.audit.connected_components import link
from counterstain.audit.findings import Duplicate
from counterstain.audit.ids import plain_id
from counterstain.cohort.cohort import Cohort
from counterstain.cohort.splitters import Fold, Split, folds, holdout
from counterstain.errors import InputError

__all__ = ["clusters", "propose_split"]

GIANT = 0.5  # share of the images in one cluster above which no split is worth proposing


def clusters(
    cohort: Cohort, images: Sequence[str], copies: Sequence[Duplicate], *, distinct_ids: bool = False
) -> NDArray[np.int64]:
    """(N,) the cluster of each of the cohort's images: joined by copies, slides and patients.

    Patient ids that nearly agree are taken for one patient unless they are known to be distinct.
    """
    place = {name: row for row, name in enumerate(cohort.image)}
    pairs = [
        (place[images[copy.a]], place[images[copy.b]])
        for copy in copies
        if images[copy.a] in place and images[copy.b] in place
    ]
    for column in ("slide_id", "patient_id"):
        first: dict[str, int] = {}
        for row, cell in enumerate(cohort.table[column].tolist()):
            if cell:
                name = plain_id(cell) if column == "patient_id" and not distinct_ids else cell
                pairs.append((row, first.setdefault(name, row)))
    return link(len(cohort), pairs)


def propose_split(
    cohort: Cohort,
    images: Sequence[str],
    copies: Sequence[Duplicate],
    split: Split,
    *,
    test: float = 0.2,
    val: float = 0.2,
    seed: int = 0,
    distinct_ids: bool = False,
) -> Split:
    """A split like the given one (hold-out, or as many folds and repeats), with every cluster on one side.

    Patients and slides that are known are kept whole whatever the unit of the given split was.

    Args:
        cohort: its images.
        images: names of the rows that the copies count in.
        copies: that were found among them.
        split: the one to be replaced.
        test, val, seed: of a hold-out; see `holdout`.
        distinct_ids: patient ids that nearly agree are of different patients.

    Raises:
        InputError: If half of the images are one cluster, or a class has too few clusters.
    """
    cluster = clusters(cohort, images, copies, distinct_ids=distinct_ids)
    largest = int(np.bincount(cluster).max())
    if largest > GIANT * len(cohort):
        raise InputError(
            f"{largest} of {len(cohort)} images hang together by copies, slides or patients; no part of them is "
            "independent of the rest, so gather images of other patients"
        )
    grouped = replace(cohort, table=cohort.table.assign(patient_id=_named(cohort, cluster)))
    if len(split.parts) == 1:
        proposed = holdout(grouped, test=test, val=val, unit="patient", seed=seed)
    else:
        k = len({part.fold for part in split.parts})
        proposed = folds(grouped, k=k, repeats=len(split.parts) // k, val=val, unit="patient", seed=seed)
    parts = tuple(Fold(part.repeat, part.fold, part.assignment) for part in proposed.parts)
    return Split(cohort.image, parts, split.unit)


def _named(cohort: Cohort, cluster: NDArray[np.int64]) -> "pd.Series[Any]":
    """(N,) a name for each image's cluster that its owner knows: its patients, or its first image where it has none.

    A refusal names patients; a cluster's number would say nothing to whoever reads it.
    """
    patients: dict[int, dict[str, None]] = {}
    first: dict[int, str] = {}
    for number, patient, image in zip(cluster.tolist(), cohort.table["patient_id"], cohort.image, strict=True):
        patients.setdefault(number, {}).update(dict.fromkeys([patient] if patient else []))
        first.setdefault(number, image)
    names = {
        number: " + ".join([*list(ids)[:3], *([f"{len(ids) - 3} more"] if len(ids) > 3 else [])]) or first[number]
        for number, ids in patients.items()
    }
    return pd.Series([names[number] for number in cluster.tolist()], dtype=object)
