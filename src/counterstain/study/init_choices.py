"""What a new study takes from the pictures themselves: tile side, fit and batches, each with its reason in words."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from counterstain.cohort.cohort import Cohort, container

__all__ = ["Choices", "choose", "image_sizes"]

LOOKED_AT = 200  # images whose size is read from their headers, evenly taken
# Side in px: what the given network needs, what it was made for, and above what it costs too much.
SMALLEST, USUAL, LARGEST = 127, 257, 320
ROUND = 1.05  # ratio of the sides up to which an image counts as a square
FEW_STEPS = 20  # batches per epoch below which the batch is halved
LEARNT = 0.64  # share of the images in the training part: 0.8 × 0.8


@dataclass(frozen=True)
class Choices:
    """Settings for a cohort, and why.

    tile_px, fit, small, large: side of the tiles in px, how images become tiles, images per batch of the two batches
        that are compared; …_comment: the reason of each in a line.
    """

    tile_px: int
    tile_comment: str
    fit: str
    fit_comment: str
    small: int
    large: int
    batch_comment: str


def choose(cohort: Cohort) -> Choices:
    """The settings for a cohort, from the sizes and µm/px of its images, and from their number and classes."""
    sizes = image_sizes(cohort)
    tile_px, tile_comment = _tile_side(sizes)
    fit, fit_comment = _fit(sizes, tile_px)
    small, large, batch_comment = _batches(cohort)
    scale = _scale_words(cohort, sizes, tile_px, fit)
    return Choices(tile_px, f"{tile_comment}{scale}", fit, fit_comment, small, large, batch_comment)


def image_sizes(cohort: Cohort) -> Counter[tuple[int, int]]:
    """How many of up to 200 evenly taken image files have each (width, height) in px; empty where none can be read.

    Only headers are read. Rows of .h5 and .npz files have no header of their own, and are left out.
    """
    names = [name for name in cohort.image if not container(name)[1]]
    rows = np.unique(np.linspace(0, max(len(names) - 1, 0), min(LOOKED_AT, len(names))).astype(np.int64))
    sizes: Counter[tuple[int, int]] = Counter()
    for row in rows:
        size = _header_size(cohort.root / names[row])
        if size is not None:
            sizes[size] += 1
    return sizes


def _header_size(path: Path) -> tuple[int, int] | None:
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError, Image.DecompressionBombError):  # `cohort` names those that cannot be read
        return None


def _tile_side(sizes: Counter[tuple[int, int]]) -> tuple[int, str]:
    if not sizes:
        return USUAL, "the given network's own side; sizes of these images could not be read from headers"
    shorter = sorted(min(size) for size in sizes.elements())
    side = shorter[len(shorter) // 2]
    measured = _size_words(sizes)
    if side < SMALLEST:
        return SMALLEST, f"images are {measured}; the given network needs {SMALLEST} or more, so they are enlarged"
    if side <= LARGEST:
        return side, f"images are {measured}; their shorter side, so that nothing is enlarged"
    return USUAL, f"images are {measured}; {USUAL} is the given network's side, and time grows with the square of it"


def _size_words(sizes: Counter[tuple[int, int]]) -> str:
    if len(sizes) == 1:
        (width, height) = next(iter(sizes))
        return f"{width} × {height} px"
    spans = [
        f"{min(side)} to {max(side)}" if min(side) < max(side) else str(min(side)) for side in zip(*sizes, strict=True)
    ]
    return f"{' × '.join(spans)} px"


def _fit(sizes: Counter[tuple[int, int]], tile_px: int) -> tuple[str, str]:
    if not sizes:
        return "stretch", "to the square; or crop its centre, or exact (refuse images of any other size)"
    if set(sizes) == {(tile_px, tile_px)}:
        return "exact", "all images have this size, and one of another size would be refused; or stretch, crop"
    ratios = [width / height for width, height in sizes]
    if all(1 / ROUND <= ratio <= ROUND for ratio in ratios):
        return "stretch", "images are square, so nothing is distorted; or crop (the centre), exact"
    if max(ratios) / min(ratios) <= ROUND:
        ratio = max(ratios[0], 1 / ratios[0])
        return (
            "stretch",
            f"every image is distorted alike, by {ratio:.2f}; or crop, which loses the ends of the longer side",
        )
    return "crop", "shapes differ, and stretching would distort each image differently; or stretch, exact"


def _scale_words(cohort: Cohort, sizes: Counter[tuple[int, int]], tile_px: int, fit: str) -> str:
    """What µm/px says of the tiles; "" where it is unknown."""
    scales = sorted(set(cohort.table["mpp"].dropna().tolist()))
    if not scales:
        return ""
    if len(scales) > 1 or cohort.table["mpp"].isna().any():
        span = f"{scales[0]:g} to {scales[-1]:g}" if len(scales) > 1 else f"{scales[0]:g} or unknown"
        return f"; µm/px are {span}, so tiles show tissue at different scales"
    if fit != "crop" and len(sizes) == 1:
        side = max(next(iter(sizes)))
        shown = f"{scales[0] * side:.0f} µm at {scales[0] * side / tile_px:.2g} µm/px"
        return f"; {scales[0]:g} µm/px, so a tile shows {shown}"
    return f"; images have {scales[0]:g} µm/px"


def _batches(cohort: Cohort) -> tuple[int, int, str]:
    """Both batches, so that an epoch still has some steps, and the smaller one some images of each class."""
    learnt = max(int(len(cohort) * LEARNT), 1)
    small, large = 32, 200
    while small > 8 and learnt / small < FEW_STEPS:
        small //= 2
    while large > 2 * small and learnt / large < FEW_STEPS / 4:
        large = max(large // 2, 2 * small)
    comment = f"about {learnt} training images: an epoch has {-(-learnt // small)} and {-(-learnt // large)} steps"
    if len(cohort.classes) > small // 2:
        small, large = 2 * len(cohort.classes), max(large, 4 * len(cohort.classes))
        comment = f"{len(cohort.classes)} classes: two images of each in the smaller batch, on average"
    return small, large, comment
