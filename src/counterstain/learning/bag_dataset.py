"""Bags: the feature files (.h5) of a cohort's slides, each looked at once, read one at a time, never all in memory."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterstain.cohort.cohort import Cohort
from counterstain.cohort.new_images import NewImages
from counterstain.errors import InputError, first_line
from counterstain.files import hash_bytes, hash_file, hash_json, read_json, write_json
from counterstain.learning.features import read_features

__all__ = ["BagStore", "draw_tiles", "is_feature_file", "keep_bags", "measure_bags", "open_bags", "refuse_features"]

SUFFIXES = (".h5", ".hdf5")
SCHEMA = "counterstain.bags/1"
ROOM = 2**30  # bytes of features that are kept in memory between epochs


@dataclass(frozen=True, eq=False)
class BagStore:
    """The feature files of a cohort's slides, in the cohort's order without those that were skipped.

    folder:    that the files' names count from; they are read where they lie
    key:       the same as data_hash
    image:     (N,) names of the files, as in the cohort
    set_aside: (file, reason) of those that cannot be used
    data_hash: SHA-256 over (name, content) of the N files, in whatever order
    content:   (N,) SHA-256 of each file
    count:     (N,) int64 tiles of each bag, 1 or more
    width:     features per tile, the same for all
    encoder:   what made the features, where the files say it, else ""
    """

    folder: Path
    key: str
    image: tuple[str, ...]
    set_aside: tuple[tuple[str, str], ...]
    data_hash: str
    content: tuple[str, ...]
    count: NDArray[np.int64]
    width: int
    encoder: str

    def rows(self, images: Sequence[str]) -> NDArray[np.int64]:
        """The row of each named file, (len(images),) int64.

        Raises:
            InputError: If one is not here.
        """
        try:
            return np.array([self._row[name] for name in images], dtype=np.int64)
        except KeyError as error:
            name = str(error.args[0])
            reason = dict(self.set_aside).get(name, "it is not of this cohort")
            raise InputError(f"feature file '{name}' cannot be used: {reason}") from None

    @cached_property
    def _row(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.image)}

    def read(self, row: int) -> NDArray[np.float32]:
        """(tiles, width) features of one bag.

        Raises:
            InputError: If the file is not the one that was looked at.
        """
        features = read_features(self.folder / self.image[row]).features
        if features.shape != (self.count[row], self.width):
            raise InputError(f"{self.folder / self.image[row]} was changed while in use; run the same command again")
        return features


@dataclass(frozen=True)
class _BagFile:
    """What was found in one file; `size` and `changed_ns` tell whether it must be looked at again."""

    size: int
    changed_ns: int
    sha256: str
    tiles: int
    width: int
    encoder: str
    reason: str


def is_feature_file(name: str) -> bool:
    """Whether an image's name is that of a whole feature file (not of a row in a container)."""
    return name.lower().endswith(SUFFIXES)


def open_bags(
    cohort: Cohort | NewImages,
    folder: Path,
    *,
    max_bad: float = 0.05,
    width: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BagStore:
    """The bags of a cohort, one feature file per row, each read once; unchanged ones are not read again.

    A file that is damaged, has no tiles, has features that are not finite, or is of another width or encoder than most
    is skipped with its reason, as an image that cannot be decoded is.

    Args:
        cohort: image_path names the files.
        folder: where what was found is kept for the next time.
        max_bad: largest share of the files that may be skipped, in [0, 1].
        width: features per tile that are needed; None for what most files have.
        progress: called with (files done, files in all).

    Raises:
        InputError: If a row names no feature file, or more files than allowed cannot be used.
    """
    image = next((name for name in cohort.image if not is_feature_file(name)), None)
    if image is not None:
        raise InputError(
            f"{image} is no feature file (.h5): networks of bags (mil/…) need one in each row, one row per slide"
        )
    root = Path(cohort.root)
    index = folder / "bags" / f"{hash_bytes(os.fsencode(root.absolute()))[:32]}.json"
    indexed = _read_index(index)
    files: dict[str, _BagFile] = {}
    for done, name in enumerate(cohort.image, start=1):
        files[name] = _inspect(root / name, indexed.get(name))
        if progress is not None:
            progress(done, len(cohort))
    if any(indexed.get(name) != file for name, file in files.items()):
        write_json(index, {"schema": SCHEMA, "files": {name: asdict(file) for name, file in (indexed | files).items()}})
    reasons = _reasons(files, width)
    usable = [name for name in cohort.image if name not in reasons]
    if not usable or len(reasons) > max_bad * len(cohort):
        name, reason = next(iter(reasons.items()))
        raise InputError(
            f"{len(reasons)} of {len(cohort)} feature files cannot be used "
            f"(at most {100 * max_bad:.3g} % may be skipped): first {name}: {reason}"
        )
    data_hash = hash_json({name: files[name].sha256 for name in usable})
    return BagStore(
        folder=root,
        key=data_hash,
        image=tuple(usable),
        set_aside=tuple(reasons.items()),
        data_hash=data_hash,
        content=tuple(files[name].sha256 for name in usable),
        count=np.array([files[name].tiles for name in usable], dtype=np.int64),
        width=files[usable[0]].width,
        encoder=next((files[name].encoder for name in usable if files[name].encoder), ""),
    )


def _read_index(path: Path) -> dict[str, _BagFile]:
    """What was found before; a record that cannot be used is as none: the files are read again."""
    try:
        record = read_json(path)
        return {name: _BagFile(**file) for name, file in record["files"].items()} if record["schema"] == SCHEMA else {}
    except (InputError, KeyError, TypeError, AttributeError):
        return {}


def _inspect(path: Path, earlier: _BagFile | None) -> _BagFile:
    status = path.stat()
    if earlier is not None and (earlier.size, earlier.changed_ns) == (status.st_size, status.st_mtime_ns):
        return earlier
    sha256, encoder, shape, reason = hash_file(path), "", (0, 0), ""
    try:
        bag = read_features(path)
        shape, encoder = bag.features.shape, str(bag.attributes.get("encoder", ""))
        reason = "" if len(bag.features) else "it has no tiles"
    except InputError as error:
        reason = str(error).removeprefix(f"{path} ").removeprefix(f"{path}: ")
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:  # what h5py makes of a damaged inside
        reason = f"its features cannot be read: {first_line(error)[:120]}"
    return _BagFile(status.st_size, status.st_mtime_ns, sha256, *shape, encoder, reason)


def _reasons(files: dict[str, _BagFile], width: int | None) -> dict[str, str]:
    """Why files cannot be used, by name."""
    usable = {name: file for name, file in files.items() if not file.reason}
    widths = Counter(file.width for file in usable.values())
    needed = width or (widths.most_common(1)[0][0] if widths else 0)
    encoders = Counter(file.encoder for file in usable.values() if file.width == needed and file.encoder)
    encoder = encoders.most_common(1)[0][0] if encoders else ""
    reasons = {name: file.reason for name, file in files.items() if file.reason}
    for name, file in usable.items():
        if file.width != needed:
            whose = "the model takes" if width else "most files have"
            reasons[name] = f"it has {file.width} features per tile; {whose} {needed}"
        elif file.encoder and file.encoder != encoder:
            reasons[name] = f"its features are of {file.encoder}; those of most files are of {encoder}"
    return {name: reasons[name] for name in files if name in reasons}


def keep_bags(store: BagStore, device: str = "cpu", *, room: int = ROOM) -> Callable[[int], Tensor]:
    """What gives the (tiles, width) float32 tensor of a row, keeping those read first in memory while they fit.

    Args:
        store: of the bags.
        device: that the tensors are wanted on.
        room: bytes that may be kept, on that device.
    """
    in_memory: dict[int, Tensor] = {}
    free_bytes = [room]

    def bag(row: int) -> Tensor:
        if row in in_memory:
            return in_memory[row]
        tiles = torch.from_numpy(store.read(row)).to(device)
        if tiles.nbytes <= free_bytes[0]:
            free_bytes[0] -= tiles.nbytes
            in_memory[row] = tiles
        return tiles

    return bag


def draw_tiles(count: int, most: int | None, *, seed: int, epoch: int, key: int) -> NDArray[np.int64] | None:
    """Which of a bag's tiles one epoch sees, sorted, drawn without replacement; None for all of them.

    Args:
        count: tiles of the bag.
        most: that an epoch may see; None for all.
        seed, epoch: any integers from 0.
        key: of the slide's name, see images.counter_rng.image_keys.
    """
    if most is None or count <= most:
        return None
    rows = np.random.default_rng((seed, epoch, key)).choice(count, most, replace=False, shuffle=False)
    return np.sort(rows).astype(np.int64)


def measure_bags(bag: Callable[[int], Tensor], rows: Sequence[int]) -> tuple[Tensor, Tensor]:
    """(width,) mean and spread of the features of these bags, each bag weighing the same whatever its size.

    A feature that never changes gets the spread 1, so that standardising leaves it as it is.
    """
    parts = [torch.var_mean(bag(row), 0, correction=0) for row in rows]
    means = torch.stack([mean for _, mean in parts]).double()
    within = torch.stack([variance for variance, _ in parts]).double().mean(0)
    spread = (within + means.var(0, correction=0)).sqrt()
    return means.mean(0).float(), torch.where(spread > 1e-6, spread, 1.0).float()


def refuse_features(cohort: Cohort) -> None:
    """Refuse feature files where images are needed.

    Raises:
        InputError: Naming the first.
    """
    file = next((name for name in cohort.image if is_feature_file(name)), None)
    if file is not None:
        raise InputError(
            f"{file} is a feature file, not an image; what learns from those is network: mil/abmil or mil/mean"
        )
