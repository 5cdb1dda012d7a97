"""The old protocol, kept so that its price can be measured: augment first, then split the copies at random."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from counterstain.cohort.cohort import Cohort
from counterstain.files import hash_json, write_csv, write_with
from counterstain.images.augment import expand_batch, expanded_count, image_keys
from counterstain.images.augmentation import Augmentation
from counterstain.images.store import build_store, read_batch
from counterstain.study.study_config import Study

__all__ = ["expand_cohort"]


def expand_cohort(
    cohort: Cohort, study: Study, folder: Path, progress: Callable[[int, int], None] | None = None
) -> Cohort:
    """The cohort grown by one image per transformation, written to files, as if each were an image of its own.

    This is what many notebooks do before they split at random, so that copies of one image stand on both sides. It
    is here to show what that is worth; every study that uses it is stamped.

    Args:
        cohort: the originals.
        study: its tile size, fit and augmentation (mode "expand").
        folder: the new images go to a folder `legacy-…` in it, which is used again if it is whole.
        progress: called with (images written, all).

    Returns:
        A cohort of originals and copies, in this order for each image, named `<image>@<transformation>.png`.
    """
    settings: Augmentation = study.augmentation
    section = study.tiles
    store = build_store(
        cohort, folder, tile_px=section.tile_px, fit=section.fit, max_bad=section.max_bad, progress=progress
    )
    names = ("original", *settings.transformations())
    copies = expanded_count(settings)
    key = hash_json({"store": store.key, "augmentation": asdict(settings), "seed": study.split.seed})
    root = folder / f"legacy-{key[:16]}"
    paths = [[f"{_flat(image)}@{name}.png" for name in names] for image in store.image]
    # The list is written last: where it stands, every image does.
    if not (root / "images.csv").is_file():
        keys = image_keys(store.image)
        for row in range(len(store.image)):
            tiles = np.repeat(read_batch(store, np.array([row])), copies, axis=0)
            transformation = np.arange(copies)
            expanded = expand_batch(
                tiles, np.repeat(keys[row], copies), transformation, settings=settings, seed=study.split.seed
            )
            for pixels, path in zip(expanded, paths[row], strict=True):
                _write_png(root / path, pixels)
            if progress is not None:
                progress(row + 1, len(store.image))
        write_csv(root / "images.csv", ("image_path",), [[path] for row_paths in paths for path in row_paths])
    originals = cohort.table.set_index("image_path").loc[list(store.image)].reset_index()
    table = pd.DataFrame(originals.loc[originals.index.repeat(copies)]).reset_index(drop=True)
    table["image_path"] = [path for row_paths in paths for path in row_paths]
    return replace(cohort, table=table, root=root)


def _flat(image: str) -> str:
    """One file name for an image path, whatever folders or container it lies in."""
    return image.replace("/", "__").replace("#", "__")


def _write_png(path: Path, pixels: np.ndarray) -> None:
    write_with(path, lambda temporary: Image.fromarray(pixels).save(temporary, format="PNG", compress_level=1))
