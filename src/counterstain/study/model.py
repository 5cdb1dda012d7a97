"""A trained model as an object: images or arrays in; calibrated probabilities and what follows from them out."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from counterstain.cohort.cohort import Cohort, container
from counterstain.cohort.image_files import find_images
from counterstain.cohort.manifest import is_own_table
from counterstain.errors import InputError, first_names, says_arguments, suggest
from counterstain.evaluation.calibration import Calibration, calibrate, read_calibration, use_warnings
from counterstain.evaluation.conformal import prediction_sets
from counterstain.evaluation.model_output import ModelOutput
from counterstain.evaluation.thresholds import decide
from counterstain.files import StrPath
from counterstain.images.decode import decode
from counterstain.images.source import BadImage
from counterstain.images.tile import fit_tile
from counterstain.learning.device import DEVICES
from counterstain.learning.model_choice import choose_model
from counterstain.learning.ood_statistics import STATISTICS, OodStatistics, read_ood_statistics
from counterstain.learning.own_network import allow_file
from counterstain.learning.predictor import BATCH, Predictor, load_predictor
from counterstain.learning.runtimes import softmax
from counterstain.learning.unfamiliar import with_distances
from counterstain.run_folder import record_path
from counterstain.system import usable_cores

__all__ = ["Model", "ModelSource", "find_bundle", "load_model"]

Tiles = NDArray[np.uint8]
ModelSource = Cohort | Tiles | StrPath | Sequence[StrPath]
Damaged = Literal["refuse", "skip"]
TABLES = (".csv", ".tsv", ".parquet", ".pq")


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A trained model, ready to predict: preprocessing, network, calibration, threshold and prediction sets in one.

    folder: of the bundle; predictor: what scales tiles and runs the network.
    calibration: what was fitted on validation patients and frozen; None where the bundle has none.
    familiar: statistics of the training tiles' features; None where the bundle has none.
    choice: of a run, which of its models this is, and why.
    """

    folder: Path
    predictor: Predictor
    calibration: Calibration | None
    familiar: OodStatistics | None
    choice: str = ""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities; of two the positive one is the last."""
        return self.predictor.bundle.classes

    @property
    def positive(self) -> str | None:
        """The positive class of two; None for more."""
        return self.classes[-1] if len(self.classes) == 2 else None

    @property
    def tile_px(self) -> int:
        """Side of the tiles that the network takes, px; other sizes are fitted as in training."""
        return self.predictor.bundle.tile_px

    @property
    def mpp(self) -> float | None:
        """µm/px of the training tiles, where known."""
        return self.predictor.bundle.mpp

    @property
    def network(self) -> str:
        """Name of the network."""
        return self.predictor.bundle.network

    @property
    def notes(self) -> tuple[str, ...]:
        """What limits every claim made with this model, one line each."""
        stamp = self.predictor.bundle.stamp
        limits = () if self.calibration is None else use_warnings(self.calibration, stamp)
        return tuple(dict.fromkeys([*([stamp] if stamp else []), *limits]))

    def __fspath__(self) -> str:
        return str(self.folder)

    def __repr__(self) -> str:
        calibrated = "uncalibrated" if self.calibration is None else self.calibration.method
        classes = first_names(self.classes, 4)
        return f"Model({self.network[:40]}, classes {classes[:80]}, {self.tile_px} px, {calibrated})"

    def predict(self, source: ModelSource, *, damaged: Damaged = "refuse") -> ModelOutput:
        """Predict tiles in memory, the images of a cohort, one image, a folder of images, or a list of image files.

        Everything is done as in training: size, stain, scale. Nothing is resized beyond what the bundle's `fit` says.

        Args:
            source: (N, H, W, 3) or (H, W, 3) uint8 RGB; a cohort; the path of an image or of a folder; or a list of
                paths.
            damaged: "refuse" stops at an image that cannot be read; "skip" leaves it out and lists it in `skipped`.

        Returns:
            One row per image, in the order of the cohort or the list (a folder's images in alphabetical order).

        Raises:
            InputError: If there is no image, an array is not uint8 RGB, or an image cannot be read.

        Example:
            model = counterstain.load_model("runs/demo/arms/given-32/seed-0/fold-0-0")
            output = model.predict(tiles)
            output.prob[:, 1], output.decision
        """
        if damaged not in ("refuse", "skip"):
            raise InputError(f"damaged is '{damaged}'{suggest(str(damaged), ('refuse', 'skip'))}")
        names: list[str] = []
        skipped: list[tuple[str, str]] = []
        prob: list[NDArray[np.float64]] = []
        distance: list[NDArray[np.float64]] = []
        classes = len(self.classes)
        infer = self.predictor.logits if self.familiar is None else with_distances(self.predictor, self.familiar)
        for batch_names, tiles in self._batches(source, skipped, damaged):
            names += batch_names
            answers = infer(tiles)
            prob.append(softmax(answers[:, :classes]))
            if self.familiar is not None:
                distance.append(answers[:, classes].astype(np.float64))
        if not prob:
            raise InputError(f"none of the {len(skipped)} images can be read; the first: {': '.join(skipped[0])}")
        return self._output(names, np.concatenate(prob), np.concatenate(distance) if distance else None, skipped)

    def _batches(
        self, source: ModelSource, skipped: list[tuple[str, str]], damaged: Damaged
    ) -> Iterator[tuple[list[str], Tiles]]:
        """Names and fitted tiles, a batch at a time; the files of the next batch are decoded meanwhile."""
        bundle = self.predictor.bundle
        if isinstance(source, np.ndarray):
            images = _checked(source)
            for start in range(0, len(images), BATCH):
                names = [f"tile {start + row}" for row in range(len(images[start : start + BATCH]))]
                pixels = zip(names, images[start : start + BATCH], strict=True)
                tiles = [fit_tile(image, name, tile_px=bundle.tile_px, fit=bundle.fit) for name, image in pixels]
                yield names, np.stack(tiles)
            return

        def load(path: Path) -> Tiles | BadImage:
            try:
                return fit_tile(decode(path).pixels, str(path), tile_px=bundle.tile_px, fit=bundle.fit)
            except BadImage as error:
                return error

        paths = _paths(source)
        with ThreadPoolExecutor(usable_cores(), "decode") as pool:
            for start in range(0, len(paths), BATCH):
                chunk = paths[start : start + BATCH]
                loaded = list(zip(chunk, pool.map(load, chunk), strict=True))
                for _, result in loaded:
                    if isinstance(result, BadImage):
                        if damaged == "refuse":
                            raise InputError(f"{result}; fix it, or skip such images with damaged='skip'")
                        skipped.append((result.name, result.reason))
                good = [(str(path), tile) for path, tile in loaded if not isinstance(tile, BadImage)]
                if good:
                    yield [name for name, _ in good], np.stack([tile for _, tile in good])

    def _output(
        self,
        names: Sequence[str],
        raw: NDArray[np.float64],
        distance: NDArray[np.float64] | None,
        skipped: Sequence[tuple[str, str]],
    ) -> ModelOutput:
        """The network's probabilities calibrated, with the decision and the prediction set that follow from them."""
        fitted = self.calibration
        prob = raw if fitted is None else calibrate(fitted, raw, self.classes)
        decision = sets = None
        if fitted is not None:
            sets = prediction_sets(prob, fitted.quantiles)
            if fitted.threshold is not None and len(self.classes) == 2:
                decision = decide(prob[:, 1], fitted.threshold).astype(np.int64)
        return ModelOutput(
            image=tuple(names), classes=self.classes, prob=prob, called=decision, in_set=sets, distance=distance,
            threshold=None if fitted is None else fitted.threshold,
            distance_limit=None if self.familiar is None else self.familiar.limit,
            skipped=tuple(skipped), notes=self.notes,
        )  # fmt: skip


@says_arguments
def load_model(
    path: StrPath,
    *,
    arm: str | None = None,
    seed: int | None = None,
    fold: str | None = None,
    network_file: StrPath | None = None,
    runtime: str = "torch",
    precision: str = "fp32",
    device: str = "auto",
) -> Model:
    """The model in a bundle, an export or a run; every file is checked against its hash.

    Nothing of the process is changed: the number of threads is PyTorch's own (`torch.set_num_threads`).

    Args:
        path: a run, of which the best arm on validation data is taken, or an export; or the folder of one, or of a
            bundle.
        arm, seed, fold: of a run, this training instead.
        network_file: of a model with a network of your own: its Python file, which is run.
        runtime: "torch", "openvino", "onnxruntime", or "auto": the fastest that agrees with torch.
        precision: "fp32", or "bf16": faster, and slightly less exact.
        device: "auto" (a CUDA device where there is one), "cpu" or "cuda".

    Raises:
        InputError: If the model is damaged or missing, is one of bags of features (mil/…), or the runtime or device is
            not there.

    Example:
        model = counterstain.load_model("model/")
        model.predict("new_hospital/").to_frame()
    """
    folder, note = find_bundle(path, arm=arm, seed=seed, fold=fold, network_file=network_file)
    predictor = load_predictor(folder, runtime=runtime, precision=precision, device=_device(device, runtime), images=1)
    calibration = read_calibration(folder)
    familiar = read_ood_statistics(folder / STATISTICS) if (folder / STATISTICS).is_file() else None
    return Model(folder, predictor, calibration, familiar, note)


def find_bundle(
    path: StrPath, *, arm: str | None, seed: int | None, fold: str | None, network_file: StrPath | None
) -> tuple[Path, str]:
    """The folder of the bundle that is meant, and what was chosen among what; see model_choice.choose_model."""
    if network_file is not None:
        allow_file(Path(network_file))
    choice = choose_model(Path(path), arm=arm, seed=seed, fold=fold)
    return choice.folder, choice.words


def _device(device: str, runtime: str) -> str:
    """The device of torch; other runtimes are on the processor."""
    if device not in DEVICES:
        raise InputError(f"device is '{device}'{suggest(device, DEVICES)}")
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise InputError("device is 'cuda', but this PyTorch sees no CUDA device; use device='cpu' or 'auto'")
    return "cuda" if has_cuda and (device == "cuda" or (device == "auto" and runtime == "torch")) else "cpu"


def _checked(images: NDArray[np.generic]) -> Tiles:
    """(N, H, W, 3) uint8, or the reason why the array is none."""
    batch = images[None] if images.ndim == 3 else images
    if batch.ndim != 4 or batch.shape[3] != 3:
        hint = ""
        if batch.ndim == 4 and batch.shape[1] == 3:
            hint = "; channels come last: tiles.transpose(0, 2, 3, 1)"
        elif batch.ndim == 4 and batch.shape[3] == 4:
            hint = "; leave the alpha channel out: tiles[..., :3]"
        raise InputError(f"tiles have shape {images.shape}; (N, H, W, 3) or (H, W, 3) is needed{hint}")
    if batch.dtype != np.uint8:
        hint = " If they are in [0, 1]: (255 * tiles).round().astype(np.uint8)." if batch.dtype.kind == "f" else ""
        raise InputError(
            f"tiles are {batch.dtype}; uint8 RGB from 0 to 255 is needed, because the model scales pixels itself.{hint}"
        )
    if 0 in batch.shape:
        raise InputError(f"tiles have shape {images.shape}; one tile or more is needed")
    return batch.astype(np.uint8, copy=False)


def _paths(source: Cohort | StrPath | Iterable[StrPath]) -> list[Path]:
    """The image files that are meant, each named once."""
    if isinstance(source, Cohort):
        if file := next((container(name)[0] for name in source.image if container(name)[1]), ""):
            raise InputError(f"images of the cohort lie in {file}; counterstain.predict reads them")
        return [source.root / name for name in source.image]
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if path.suffix.lower() in TABLES and path.is_file():
            raise InputError(
                f"{path} is a table; give counterstain.predict a manifest, or this a list of the images' paths"
            )
        if is_own_table(table := record_path(path, "cohort.csv")):
            raise InputError(
                f"{path} is a run, and its pictures are figures; give its images, counterstain.cohort('{table}')"
            )
        if path.is_dir():
            paths = [path / name for name in find_images(path).images]
            if not paths:
                raise InputError(f"{path} has no image (PNG, JPEG, TIFF or BMP) in it or below; name another folder")
            return paths
        return [path]
    paths = []
    for item in source:
        if not isinstance(item, (str, os.PathLike)):
            raise InputError(
                f"a source has a {type(item).__name__} in it; a path, a list of paths, or one array (N, H, W, 3) of "
                "uint8 is needed (np.stack makes one of a list of arrays)"
            )
        paths.append(Path(item))
    if not paths:
        raise InputError("the list of images is empty; name one image or more")
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise InputError(f"{twice} is in the list twice; list each image once")
    return paths
