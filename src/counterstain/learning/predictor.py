"""From a network and stored tiles to probabilities; in fp32 unless a runtime that was asked for does otherwise."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from counterstain.errors import InputError
from counterstain.images.store import Store, read_batch
from counterstain.images.tensor import to_tensor
from counterstain.learning.bundle import Bundle, load_network, read_bundle
from counterstain.learning.mil_networks import is_bag_network
from counterstain.learning.runtimes import TRIAL_TILES, Infer, choose_runtime, noise_tiles, softmax, torch_runtime
from counterstain.learning.stain_pipeline import UNSTAINED, StainPipeline

__all__ = ["Predictor", "load_predictor", "predict_logits", "predict_probabilities", "read_tile_bundle"]

BATCH = 64


@dataclass(frozen=True)
class Predictor:
    """A trained model as it is used: tiles in, answers out, with everything in between as it was trained.

    logits: (B, tile_px, tile_px, 3) uint8 RGB to (B, classes) float32.
    runtime: name of what runs it.
    """

    bundle: Bundle
    network: nn.Module
    logits: Infer
    device: str
    runtime: str = "torch"

    def probabilities(self, tiles: NDArray[np.uint8]) -> NDArray[np.float64]:
        """(B, classes) softmax of the logits, before any calibration."""
        return softmax(self.logits(tiles))

    def to_tensor(self, tiles: NDArray[np.uint8]) -> Tensor:
        """(B, 3, H, W) float32 on the device: what the network takes."""
        return to_tensor(self.bundle.staining.for_all(tiles), scale=self.bundle.scale, device=self.device)


def load_predictor(
    folder: Path, *, runtime: str = "torch", precision: str = "fp32", device: str = "cpu", images: int = 0
) -> Predictor:
    """The model in a bundle's folder, after its hashes were checked.

    Args:
        folder: of the bundle.
        runtime: "torch", another of runtimes.RUNTIMES, or "auto": the fastest that agrees, for so many `images`.
        precision: "fp32" or "bf16".
        device: of torch.

    Raises:
        InputError: If the bundle is damaged, is of a network of bags, or the runtime is not there.
    """
    bundle, network = load_network(folder)
    _refuse_bags(bundle, folder)
    if device != "cpu" or runtime == "torch":
        network = network.to(device)
        infer, name = torch_runtime(network, scale=bundle.scale, device=device, precision=precision), "torch"
    else:
        tiles = noise_tiles(TRIAL_TILES, bundle.tile_px)
        chosen = choose_runtime(network, tiles, scale=bundle.scale, images=images, runtime=runtime, precision=precision)
        infer, name = chosen.infer, chosen.name
    prepare = bundle.staining.for_all
    return Predictor(bundle, network, lambda tiles: infer(prepare(tiles)), device, name)


def read_tile_bundle(folder: Path) -> Bundle:
    """The bundle in a folder, which must be of a network of tiles.

    Raises:
        InputError: If the bundle is damaged, or is of a network of bags.
    """
    bundle = read_bundle(folder)
    _refuse_bags(bundle, folder)
    return bundle


def _refuse_bags(bundle: Bundle, folder: Path) -> None:
    if is_bag_network(bundle.network):
        raise InputError(
            f"{folder} is a model of whole slides ({bundle.network}): it takes bags of features, not tiles; "
            "use `counterstain predict` with a manifest of feature files (.h5)"
        )


def predict_logits(
    network: nn.Module,
    store: Store,
    rows: NDArray[np.int64],
    *,
    scale: str,
    device: str = "cpu",
    infer: Infer | None = None,
    staining: StainPipeline = UNSTAINED,
) -> NDArray[np.float32]:
    """(N, C) float32 logits of the store's rows, in their order, with dropout off.

    Args:
        network: in whatever mode; it is left ready to predict, with its weights channels last.
        store: of the tiles.
        rows: (N,) rows of the store.
        scale: see images.tensor.scale_of.
        device: of torch; another runtime is on the processor.
        infer: what runs the network, see runtimes.choose_runtime. None is torch in fp32: the same bytes for the same
            network and rows on one machine, as a study needs it.
        staining: what every tile gets beforehand.
    """
    run = infer or torch_runtime(network, scale=scale, device=device)
    parts = [run(staining.for_all(tiles)) for tiles in _read_ahead(store, rows)]
    return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)


def predict_probabilities(
    network: nn.Module,
    store: Store,
    rows: NDArray[np.int64],
    *,
    scale: str,
    device: str = "cpu",
    staining: StainPipeline = UNSTAINED,
) -> NDArray[np.float64]:
    """(N, C) float64 probabilities of the store's rows, each summing to 1: the softmax of `predict_logits` by torch."""
    return softmax(predict_logits(network, store, rows, scale=scale, device=device, staining=staining))


def _read_ahead(store: Store, rows: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    """Batches of tiles, the next one read while one is worked on."""
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    with ThreadPoolExecutor(1, "read") as reader:
        coming = reader.submit(read_batch, store, batches[0]) if batches else None
        for following in [*batches[1:], None]:
            if coming is None:
                return
            tiles = coming.result()
            coming = None if following is None else reader.submit(read_batch, store, following)
            yield tiles
