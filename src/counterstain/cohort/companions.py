"""What lies beside images and is none of them: masks and previews by name, and folders that hold no class."""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from counterstain.cohort.cohort_columns import split_word
from counterstain.cohort.image_files import ImageFiles
from counterstain.errors import InputError

__all__ = ["MASK_OF", "check_class_names", "masks_of_others", "without_masks"]

MASK_OF = "named as a mask or preview of another image"
_MASK_NAME = re.compile(
    r"(?P<image>.*[^ _\-.])[ _\-.]+(?:mask|masks|seg|segm|segmentation|gt|groundtruth|annotation|overlay|heatmap|"
    r"thumb|thumbnail|preview|inst|bnd|hed_?map)(?:[ _\-]?\d{1,3})?",
    re.IGNORECASE,
)
_WITH_IMAGES = frozenset(
    {
        *("mask", "masks", "seg", "segmentation", "segmentations", "gt", "ground_truth", "groundtruth", "annotation"),
        *("annotations", "overlay", "overlays", "heatmap", "heatmaps", "thumbnail", "thumbnails", "preview"),
        *("previews", "result", "results", "output", "outputs", "predictions", "unlabeled", "unlabelled", "unsorted"),
        *("backup", "backups", "tmp", "temp", "trash"),
    }
)
# Whoever has a folder for each patient, slide or day has the classes elsewhere.
_OF_ONE_EACH = re.compile(
    r"(?:patients?|pat|cases?|subject|subj|slides?|wsi|sample|specimen|accession)[ _\-.#]*\d+[a-z]?|tcga-\w\w-\w{4}.*|"
    r"\d{4}[-_.]\d\d[-_.]\d\d|20\d{6}",
    re.IGNORECASE,
)
_DATA = frozenset(
    {"label", "labels", "image", "images", "img", "imgs", "picture", "pictures", "tiles", "patches", "raw", "original"}
)


def masks_of_others(paths: Sequence[str]) -> list[str]:
    """The images that are named as another one in their folder is, with a word such as "_mask" at the end.

    >>> masks_of_others(["a/1.png", "a/1_mask.png", "a/1_mask_1.png", "b/2_mask.png"])
    ['a/1_mask.png', 'a/1_mask_1.png']
    """
    stems = {path.rpartition(".")[0] for path in paths}
    masks = []
    for path in paths:
        folder, _, name = path.rpartition("/")
        match = _MASK_NAME.fullmatch(name.rpartition(".")[0])
        if match and (f"{folder}/{match['image']}" if folder else match["image"]) in stems:
            masks.append(path)
    return masks


def without_masks(files: ImageFiles) -> ImageFiles:
    """The files without those that are masks or previews of others by their names."""
    masks = set(masks_of_others(files.images))
    if not masks:
        return files
    skipped = tuple(sorted((*files.skipped, *((path, MASK_OF) for path in masks))))
    return replace(files, images=tuple(path for path in files.images if path not in masks), skipped=skipped)


def check_class_names(names: Collection[str], folder: object, *, asks: bool) -> None:
    """Refuse folders as classes that are named as parts of a split, or as what lies beside images.

    Args:
        names: of the folders that would be classes.
        folder: that they are in, for messages.
        asks: whether to refuse where names alone speak against it; the user may have said that folders are classes.

    Raises:
        InputError: If all of them are train, val, test, or images, or are named like patients, slides or dates; or if
            one holds masks, previews, or what is no class.
    """
    shown = ", ".join(sorted(names)[:4])
    plain = {name: re.sub(r"[\s\-]+", "_", name.lower()) for name in names}
    parts = [name for name in names if split_word(name) and not name.isdigit()]
    if len(parts) == len(names) > 1 and "train" in {split_word(name) for name in parts}:
        raise InputError(
            f"{folder} has the folders {shown}: parts of a split, not classes. Each of them needs a folder of every "
            "class below it; where one has images without classes, move it elsewhere, or give the labels in a manifest"
        )
    if not asks:
        return
    beside = sorted(name for name in names if plain[name] in _WITH_IMAGES)
    if beside:
        raise InputError(
            f"{folder} has the folders {shown}; '{beside[0]}' is no class by its name: move it elsewhere, or, if it is "
            "one, say --layout folder or give the labels in a manifest"
        )
    if len(names) > 1 and all(_OF_ONE_EACH.fullmatch(name) for name in names):
        raise InputError(
            f"{folder} has the folders {shown}: patients, slides or dates by their names, not classes; give the labels "
            "in a manifest or by a pattern (--pattern), or, if these are the classes, say --layout folder"
        )
    if len(names) > 1 and all(word in _DATA for word in plain.values()):
        raise InputError(
            f"{folder} has the folders {shown}, and none is a class by its name; put each class into a folder of its "
            "own, or give the labels in a manifest"
        )
