"""Features of tiles under a frozen backbone: computed once, kept in an .h5 of the layout that other tools read.

`features` (N, D) float32 and `coords` (N, 2) int64 with attributes, as TRIDENT and CLAM write them for the tiles of a
slide. Ours hold the tiles of a cohort, and beside these `content`, the SHA-256 of each image: what is looked up by.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from counterstain.errors import InputError, first_line
from counterstain.files import hash_json, write_with
from counterstain.images.store import Store, read_batch
from counterstain.images.tensor import to_tensor
from counterstain.learning.backbones import Backbone
from counterstain.learning.stain_pipeline import StainPipeline

__all__ = ["Features", "cached_features", "compute_features", "read_features", "write_features"]

BATCH = 64
MOST_BYTES = 8 << 30  # of one file's features: a million tiles of 2,048
SAVE_EVERY = 100  # batches, so that a run that is stopped has lost less than a minute


@dataclass(frozen=True)
class Features:
    """Rows of features, and where their tiles lie: coords (N, 2) level-0 px (−1 where a tile is of no slide).

    attributes: of the coordinates as the file has them: patch_size, µm/px, …
    """

    features: NDArray[np.float32]
    coords: NDArray[np.int64]
    attributes: Mapping[str, Any]


def read_features(path: Path) -> Features:
    """Features from an .h5 of ours, TRIDENT's or CLAM's.

    Raises:
        InputError: If the file is not one, or its parts do not fit each other.
    """
    try:
        with h5py.File(path, "r") as file:
            if "features" not in file:
                raise InputError(f"{path} has no dataset 'features' (it has {', '.join(file) or 'none'})")
            features = np.asarray(_own_array(file, "features", path), dtype=np.float32)
            if features.ndim == 3 and len(features) == 1:  # some writers add a batch of one
                features = features[0]
            if features.ndim != 2:
                raise InputError(f"{path}: features are {features.shape}; they need to be (tiles, features)")
            coords = np.full((len(features), 2), -1, np.int64)
            attributes: dict[str, Any] = dict(file.attrs)
            if "coords" in file:
                dataset = _own_array(file, "coords", path)
                if dataset.size % 2:
                    raise InputError(f"{path}: coords are of shape {dataset.shape}; they need to be (tiles, 2)")
                coords = np.asarray(dataset, dtype=np.int64).reshape(-1, 2)
                attributes |= dict(dataset.attrs)
    except (OSError, RuntimeError, KeyError, TypeError, OverflowError) as error:  # what h5py makes of a damaged inside
        reason = first_line(error)[:120]
        raise InputError(f"{path} cannot be read as HDF5: {reason}") from None
    if len(coords) != len(features):
        raise InputError(f"{path} has {len(features)} rows of features for {len(coords)} coordinates")
    if not np.isfinite(features).all():
        raise InputError(f"{path} holds features that are not finite; make them again")
    return Features(features, coords, attributes)


def _own_array(file: h5py.File, key: str, path: Path) -> h5py.Dataset:
    """An array of numbers that the file itself holds: a link could lead into any other file.

    Raises:
        InputError: If it is none, or would take more memory than the features of any slide do.
    """
    link, array = file.get(key, getlink=True), None
    if isinstance(link, h5py.HardLink):
        array = file[key]
    if not isinstance(array, h5py.Dataset) or array.is_virtual or array.external:
        raise InputError(f"{path}: '{key}' is a link or lies in another file; name a file that holds its own arrays")
    if array.dtype.kind not in "iuf":
        raise InputError(f"{path}: '{key}' is {array.dtype}; numbers were needed")
    unpacked = max(array.size, int(np.prod(array.chunks or (0,), dtype=object))) * max(array.dtype.itemsize, 4)
    if unpacked > MOST_BYTES:
        raise InputError(
            f"{path}: '{key}' of shape {array.shape} takes {unpacked / 2**30:,.0f} GiB; at most "
            f"{MOST_BYTES >> 30} GiB are read"
        )
    return array


def write_features(path: Path, features: Features, content: Sequence[str] = ()) -> None:
    """Write features whole or not at all; `content` are the SHA-256 of their images."""

    def write(temporary: Path) -> None:
        with h5py.File(temporary, "w") as file:
            file.create_dataset("features", data=features.features)
            coords = file.create_dataset("coords", data=features.coords)
            for name, value in features.attributes.items():
                coords.attrs[name] = value
            if content:
                file.create_dataset("content", data=np.array(content, dtype="S64"))

    write_with(path, write)


def compute_features(
    network: Backbone, tiles: NDArray[np.uint8], *, scale: str, device: str = "cpu", precision: str = "fp32"
) -> NDArray[np.float32]:
    """(B, D) float32 features of (B, H, W, 3) uint8 tiles; the network is left ready to predict, channels last."""
    kind = device.partition(":")[0]
    with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=precision == "bf16"):
        features: NDArray[np.float32] = (
            network.features(to_tensor(tiles, scale=scale, device=device)).float().cpu().numpy()
        )
    return features


def cached_features(
    network: Backbone,
    store: Store,
    rows: NDArray[np.int64],
    folder: Path,
    *,
    model: Mapping[str, object],
    fit: str,
    staining: StainPipeline,
    scale: str,
    device: str = "cpu",
    precision: str = "fp32",
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """(N, D) features of the store's rows, those that are kept read, the others computed and kept.

    Args:
        network: the backbone with its trained weights.
        store: of the tiles.
        rows: (N,) rows of it.
        folder: of all features; the file's name is a hash of the model and the preprocessing.
        model: what tells this backbone from all others: its name and the hash of its weights.
        fit: how images became tiles, see images.tile.
        staining: what every tile gets.
        scale, device, precision: of the computation.
        progress: called with (tiles done, tiles to do).
    """
    recipe = {
        "model": dict(model), "tile_px": int(store.tiles.shape[1]), "input_px": network.input_px, "scale": scale,
        "pooled": network.pooled, "views": network.views,
        "fit": fit, "stain": staining.record(), "precision": precision,
    }  # fmt: skip
    path = folder / f"{hash_json(recipe)[:32]}.h5"
    by_content = _read_cache(path)
    content = [store.content[row] for row in rows]
    todo = [place for place, name in enumerate(content) if name not in by_content]
    network.eval().to(memory_format=torch.channels_last)
    unsaved = 0
    for start in range(0, len(todo), BATCH):
        places = todo[start : start + BATCH]
        tiles = staining.for_all(read_batch(store, rows[places]))
        features = compute_features(network, tiles, scale=scale, device=device, precision=precision)
        by_content.update(zip((content[place] for place in places), features, strict=True))
        unsaved += 1
        if progress is not None:
            progress(start + len(places), len(todo))
        if unsaved == SAVE_EVERY or start + BATCH >= len(todo):
            _write_cache(path, by_content, recipe)
            unsaved = 0
    return np.stack([by_content[name] for name in content]) if content else np.empty((0, 0), np.float32)


def _read_cache(path: Path) -> dict[str, NDArray[np.float32]]:
    """Features by the hash of their image; a file that cannot be read is as none."""
    if not path.is_file():
        return {}
    try:
        with h5py.File(path, "r") as file:
            names = [name.decode("ascii") for name in file["content"][:]]
            features = np.asarray(_own_array(file, "features", path), dtype=np.float32)
    except (OSError, KeyError):
        return {}
    return dict(zip(names, features, strict=True)) if len(names) == len(features) else {}


def _write_cache(path: Path, by_content: Mapping[str, NDArray[np.float32]], recipe: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    attributes = {"patch_size": recipe["tile_px"], "encoder": str(recipe["model"].get("network", ""))}
    nowhere = np.full((len(by_content), 2), -1, np.int64)
    write_features(path, Features(np.stack(list(by_content.values())), nowhere, attributes), list(by_content))
