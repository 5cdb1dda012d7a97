"""The part of a split that a trained model's images are taken from: of several folds, the model's own."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from counterstain.audit.training_set import MEMBERS, overlap, read_members
from counterstain.cohort.cohort import Cohort
from counterstain.cohort.splitters import Fold, Split, draw_missing_val, read_divisions
from counterstain.errors import InputError
from counterstain.files import StrPath

__all__ = ["own_fold", "part_of_model"]


def own_fold(bundle: Path, cohort: Cohort, parts: Sequence[Fold], *, where: str, fold: str | None = None) -> Fold:
    """The division that a model was trained on: the one of whose training side it has seen every image, and no other.

    Args:
        bundle: the model's folder, whose record of what it has seen is asked.
        cohort: whose images the divisions are of.
        parts: the divisions; the only one is taken without asking.
        where: their file, for messages.
        fold: the one that is wanted all the same, as "repeat-fold".

    Raises:
        InputError: If there are several and none is the model's own, or there is no such fold.
    """
    known = {f"{part.repeat}-{part.fold}": part for part in parts}
    if fold is not None and fold not in known:
        raise InputError(f"{where} has no fold {fold}; it has {', '.join(known)}")
    if fold is not None:
        return known[fold]
    if len(parts) == 1:
        return parts[0]
    if (bundle / MEMBERS).is_file():
        members = read_members(bundle)
        names = np.array(cohort.image, dtype=object)
        for part in parts:
            assignment = np.array(part.assignment, dtype=object)
            trained, tested = (names[np.isin(assignment, sides)] for sides in (("train", "val"), ("test",)))
            seen = overlap(members, image=tuple(trained)).seen["image"]
            # Images that could not be read were never seen, but stand in the file.
            if 0 < seen == members["images"] and not overlap(members, image=tuple(tested)).seen["image"]:
                return part
    raise InputError(
        f"{where} has {len(parts)} folds, and {bundle} was trained on none of them as they are; say which with --fold, "
        f"such as {next(iter(known))}, if none of its test images were seen"
    )


def part_of_model(
    bundle: Path,
    cohort: Cohort,
    splits: Split | StrPath | None,
    part: str,
    *,
    stamp: str = "",
    fold: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Cohort:
    """The images of one part of a split, of several folds from the model's own; all where there is no split.

    A validation part that the split lacks is drawn as it was for the training, with the same function: by image where
    the model's `stamp` limits it to images, else by patient.

    Raises:
        InputError: If the split does not fit the cohort, the fold is unclear, or no image is in that part.
    """
    if splits is None:
        return cohort
    parts = read_divisions(splits, cohort, columns=columns)
    where = "the split" if isinstance(splits, Split) else str(splits)
    chosen = own_fold(bundle, cohort, parts, where=where, fold=fold)
    if part in ("train", "val"):
        chosen = draw_missing_val(cohort, chosen, unit="image" if stamp else "patient")
    rows = chosen.rows(part)
    if not len(rows):
        raise InputError(f"{where} has no image in part '{part}'; it has {', '.join(chosen.names) or 'none'}")
    return cohort.subset(rows)
