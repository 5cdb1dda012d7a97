"""What the features of familiar tiles look like, so that an unfamiliar one can be flagged before its answer is used."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import Tensor, nn

from counterstain.errors import InputError
from counterstain.files import write_bytes
from counterstain.learning.appearance import looks_of
from counterstain.learning.build import penultimate

__all__ = [
    "STATISTICS",
    "OodStatistics",
    "distances",
    "features_of",
    "fit_ood_statistics",
    "read_ood_statistics",
    "seen_of",
    "write_ood_statistics",
]

STATISTICS = "feature_statistics.safetensors"
SHARE = 0.99  # of familiar tiles that are not flagged
MOST_AXES = 64  # directions of the covariance that are kept apart; the rest share their mean variance
LEAST = 50  # tiles on each side, below which nothing can be said about 1 %

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class OodStatistics:
    """The features before the last layer, over tiles the model was trained on.

    mean (D,), precision (D, D): of the features; the covariance is shrunk (Ledoit and Wolf 2004).
    limit: of the Mahalanobis distance: share of the held-out familiar tiles that lie within it is `share`.
    fitted_on, held_out: how many tiles.
    axes (D, A), extra (A,), rest: of many features, precision is rest × identity, and more by `extra` along the axes;
        files hold these instead of the matrix, which would be larger than most networks.
    look: the same of the tiles' appearance (learning.appearance), which features may be blind to; None in older files.
        Its limit is in units of its own; `share` of the held-out tiles lie within both limits.
    """

    mean: Floats
    precision: Floats
    limit: float
    share: float
    fitted_on: int
    held_out: int
    axes: Floats | None = None
    extra: Floats | None = None
    rest: float = 0.0
    look: "OodStatistics | None" = None

    def record(self) -> dict[str, object]:
        """Without the arrays, for JSON."""
        return {
            "file": STATISTICS, "features": len(self.mean), "distance": "Mahalanobis", "limit": self.limit,
            "share_within": self.share, "fitted_on_tiles": self.fitted_on, "limit_from_tiles": self.held_out,
            "appearance": 0 if self.look is None else len(self.look.mean),
        }  # fmt: skip


def features_of(
    network: nn.Module, to_tensor: Callable[[NDArray[np.uint8]], Tensor], tiles: NDArray[np.uint8]
) -> Floats:
    """(B, D): what the network's last part (its `output`) is given for (B, H, W, 3) uint8 tiles."""
    with torch.inference_mode():
        features: Floats = penultimate(network, to_tensor(tiles)).float().cpu().numpy().astype(np.float64)
    return features


def seen_of(network: nn.Module, to_tensor: Callable[[NDArray[np.uint8]], Tensor], tiles: NDArray[np.uint8]) -> Floats:
    """(B, D + 11): the features of (B, H, W, 3) uint8 tiles as features_of gives them, and their appearance."""
    inputs = to_tensor(tiles)
    with torch.inference_mode():
        appended = torch.cat([penultimate(network, inputs).float(), looks_of(inputs)], 1)
    return np.asarray(appended.cpu().numpy().astype(np.float64))


def fit_ood_statistics(fitting: Floats, held_out: Floats, *, share: float = SHARE, looks: int = 0) -> OodStatistics:
    """Mean and precision of features, and the distance within which a share of other familiar tiles lie.

    Args:
        fitting: (N, D) features of training tiles.
        held_out: (M, D) of tiles of other patients of the same kind: those that were fitted lie too close.
        share: of the held-out ones that shall lie within the limit.
        looks: how many of the last columns are the tiles' appearance. They have a distance of their own, as a
            handful of numbers would be lost among a thousand features.

    Raises:
        InputError: If there are fewer than 50 of either.

    Source: Lee et al. 2018, NeurIPS, arXiv:1807.03888, with one mean for all classes; Ledoit & Wolf 2004, J. Multivar.
        Anal. 88:365, doi:10.1016/S0047-259X(03)00096-4.
    """
    from sklearn.covariance import ledoit_wolf

    if min(len(fitting), len(held_out)) < LEAST:
        raise InputError(
            f"feature statistics need {LEAST} tiles to fit and {LEAST} of other patients; "
            f"there are {len(fitting)} and {len(held_out)}"
        )
    if looks:
        parts = [
            fit_ood_statistics(fitting[:, columns], held_out[:, columns], share=share)
            for columns in (slice(None, -looks), slice(-looks, None))
        ]
        features, look = parts
        # Each tile by the worse of both; one factor on both limits leaves the stated share within.
        worse = np.maximum(
            distances(held_out[:, :-looks], features) / features.limit,
            distances(held_out[:, -looks:], look) / look.limit,
        )
        factor = float(np.quantile(worse, share, method="higher"))
        return replace(features, limit=features.limit * factor, look=replace(look, limit=look.limit * factor))
    covariance, _ = ledoit_wolf(fitting)
    # A feature that never fired has no spread, and shrinking gives it the mean one; all that never fired have none.
    covariance += np.eye(len(covariance)) * np.finfo(np.float32).eps
    if len(covariance) > MOST_AXES:
        axes, extra, rest = _main_axes(covariance)
        fitted = _by_axes(
            fitting.mean(0), axes, extra, rest, limit=0.0, share=share, fitted_on=len(fitting), held_out=len(held_out)
        )
    else:
        precision = np.linalg.inv(covariance)
        fitted = OodStatistics(fitting.mean(0), (precision + precision.T) / 2, 0.0, share, len(fitting), len(held_out))
    limit = float(np.quantile(distances(held_out, fitted), share, method="higher"))
    return replace(fitted, limit=limit)


def _main_axes(covariance: Floats) -> tuple[Floats, Floats, float]:
    """The directions of most variance, what their precision is above that of the rest, and that of the rest."""
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    rest = 1 / float(values[MOST_AXES:].mean())
    return np.ascontiguousarray(vectors[:, :MOST_AXES]), 1 / values[:MOST_AXES] - rest, rest


def _by_axes(
    mean: Floats, axes: Floats, extra: Floats, rest: float, *, limit: float, share: float, fitted_on: int, held_out: int
) -> OodStatistics:
    precision = np.eye(len(mean)) * rest + (axes * extra) @ axes.T
    return OodStatistics(mean, (precision + precision.T) / 2, limit, share, fitted_on, held_out, axes, extra, rest)


def distances(features: Floats, familiar: OodStatistics) -> Floats:
    """(B,) Mahalanobis distances of (B, D) features; a tile beyond `familiar.limit` is an unfamiliar one.

    Where the statistics are of appearance too, and (B, D + 11) are given, the larger of both distances, that of
    appearance in proportion to the limits.
    """
    width = len(familiar.mean)
    if familiar.look is not None and features.shape[1] > width:
        look = distances(features[:, width:], familiar.look) * (familiar.limit / familiar.look.limit)
        return np.maximum(distances(features[:, :width], familiar), look)
    away = features[:, :width] - familiar.mean
    squared: Floats = np.einsum("nd,nd->n", away @ familiar.precision, away)
    distance: Floats = np.sqrt(np.maximum(squared, 0))
    return distance


def write_ood_statistics(familiar: OodStatistics, path: Path) -> None:
    """Write the arrays and the limit; float64, for a precision does not bear rounding."""
    numbers = np.array([familiar.limit, familiar.share, familiar.fitted_on, familiar.held_out], dtype=np.float64)
    arrays = {"mean": familiar.mean, "numbers": numbers}
    if familiar.axes is not None and familiar.extra is not None:
        arrays |= {"axes": familiar.axes, "extra": familiar.extra, "rest": np.array([familiar.rest])}
    else:
        arrays["precision"] = familiar.precision
    if familiar.look is not None:
        arrays |= {"look_mean": familiar.look.mean, "look_precision": familiar.look.precision}
        arrays["look_limit"] = np.array([familiar.look.limit])
    write_bytes(path, save(arrays))


def read_ood_statistics(path: Path) -> OodStatistics:
    """What write_ood_statistics wrote; the hash of the file is checked with the rest of the folder.

    Raises:
        InputError: If the file is another one.
    """
    try:
        arrays = load_file(path)
        limit, share, fitted_on, held_out = arrays["numbers"].tolist()
        counts = {"share": share, "fitted_on": int(fitted_on), "held_out": int(held_out)}
        look = None
        if "look_mean" in arrays:
            look = OodStatistics(
                arrays["look_mean"], arrays["look_precision"], limit=float(arrays["look_limit"][0]), **counts
            )
        if "axes" not in arrays:
            return OodStatistics(arrays["mean"], arrays["precision"], limit=limit, **counts, look=look)
        features = _by_axes(
            arrays["mean"], arrays["axes"], arrays["extra"], float(arrays["rest"][0]), limit=limit, **counts
        )
        return replace(features, look=look)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} does not hold feature statistics ({error}); export the model again") from None
