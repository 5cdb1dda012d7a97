"""Tiles as points: what the last layer is given, in two dimensions."""

import importlib
import importlib.util
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from counterstain.errors import InputError, suggest
from counterstain.learning.build import penultimate
from counterstain.learning.predictor import Predictor

__all__ = ["PROJECTIONS", "Embedding", "check_projection", "features_of", "pca", "project"]

Floats = NDArray[np.float64]
PROJECTIONS = ("pca", "umap")


@dataclass(frozen=True)
class Embedding:
    """(N, 2) places of tiles; of PCA with the share of the variance that each of its two axes holds."""

    method: str
    places: Floats
    features: int
    variance: tuple[float, ...] = ()


def features_of(predictor: Predictor, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(B, D) float32 what the network's last layer is given for (B, tile_px, tile_px, 3) uint8 tiles."""
    predictor.network.eval()
    with torch.no_grad():
        features = penultimate(predictor.network, predictor.to_tensor(tiles))
    return np.asarray(features.float().cpu().numpy(), dtype=np.float32)


def pca(features: NDArray[np.float32]) -> tuple[Floats, tuple[float, float]]:
    """(N, 2) the first two principal components, and the share of the variance of each; the sign is settled.

    Args:
        features: (N, D), N and D of 2 or more.
    """
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    left, size, right = np.linalg.svd(centred, full_matrices=False)
    # A component is the same with its sign turned: here its largest loading is positive.
    sign = np.sign(right[:2][np.arange(2), np.abs(right[:2]).argmax(axis=1)])
    total = float((size**2).sum()) or 1.0
    places: Floats = left[:, :2] * size[:2] * np.where(sign == 0, 1, sign)
    return places, (float(size[0] ** 2 / total), float(size[1] ** 2 / total))


def check_projection(method: str) -> None:
    """Refuse a projection that cannot be made, before any work is done.

    Raises:
        InputError: If the method is unknown, or is "umap" and umap-learn is not installed.
    """
    if method not in PROJECTIONS:
        raise InputError(f"embedding is '{method}'{suggest(method, PROJECTIONS)}")
    if method == "umap" and importlib.util.find_spec("umap") is None:
        raise InputError("embedding umap needs umap-learn: pip install umap-learn, or use pca")


def project(features: NDArray[np.float32], method: str, *, seed: int) -> Embedding:
    """The features in two dimensions.

    Args:
        features: (N, D).
        method: "pca", or "umap" where umap-learn is installed: closer to neighbourhoods, but its distances, sizes of
            groups and gaps between them are ignored, and it hangs on its seed.
        seed: of UMAP.

    Raises:
        InputError: As check_projection, or if there are fewer than 3 tiles.

    Source: McInnes et al. 2018, arXiv:1802.03426 (UMAP).
    """
    check_projection(method)
    if len(features) < 3 or features.shape[1] < 2:
        raise InputError(
            f"{len(features)} tiles of {features.shape[1]} features make no map; 3 tiles or more are needed"
        )
    if method == "pca":
        places, variance = pca(features)
        return Embedding(method, places, features.shape[1], variance)
    umap = importlib.import_module("umap")
    places = umap.UMAP(n_components=2, random_state=seed, n_jobs=1).fit_transform(features)
    return Embedding(method, np.asarray(places, dtype=np.float64), features.shape[1])
