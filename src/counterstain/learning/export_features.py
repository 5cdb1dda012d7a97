"""What the features of familiar tiles look like, so that an unfamiliar one can be flagged before its answer is used."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import Tensor, nn

from counterstain.errors import InputError
from counterstain.files import write_bytes
from counterstain.learning.models import penultimate

__all__ = ["STATISTICS", "Familiar", "distances", "features_of", "fit_familiar", "read_familiar", "write_familiar"]

STATISTICS = "feature_statistics.safetensors"
SHARE = 0.99  # of familiar tiles that are not flagged
LEAST = 50  # tiles on each side, below which nothing can be said about 1 %

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Familiar:
    """The features before the last layer, over tiles the model was trained on.

    mean (D,), precision (D, D): of the features; the covariance is shrunk (Ledoit and Wolf 2004).
    limit: of the Mahalanobis distance: share of the held-out familiar tiles that lie within it is `share`.
    fitted_on, held_out: how many tiles.
    """

    mean: Floats
    precision: Floats
    limit: float
    share: float
    fitted_on: int
    held_out: int

    def record(self) -> dict[str, Any]:
        """Without the arrays, for JSON."""
        return {
            "file": STATISTICS, "features": len(self.mean), "distance": "Mahalanobis", "limit": self.limit,
            "share_within": self.share, "fitted_on_tiles": self.fitted_on, "limit_from_tiles": self.held_out,
        }  # fmt: skip


def features_of(
    network: nn.Module, to_tensor: Callable[[NDArray[np.uint8]], Tensor], tiles: NDArray[np.uint8]
) -> Floats:
    """(B, D): what the network's last part (its `output`) is given for (B, H, W, 3) uint8 tiles."""
    with torch.inference_mode():
        found: Floats = penultimate(network, to_tensor(tiles)).float().cpu().numpy().astype(np.float64)
    return found


def fit_familiar(fitting: Floats, held_out: Floats, *, share: float = SHARE) -> Familiar:
    """Mean and precision of features, and the distance within which a share of other familiar tiles lie.

    Args:
        fitting: (N, D) features of training tiles.
        held_out: (M, D) of tiles of other patients of the same kind: those that were fitted lie too close.
        share: of the held-out ones that shall lie within the limit.

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
    covariance, _ = ledoit_wolf(fitting)
    # A feature that never fired has no spread, and shrinking gives it the mean one; all that never fired have none.
    precision = np.linalg.inv(covariance + np.eye(len(covariance)) * np.finfo(np.float32).eps)
    found = Familiar(fitting.mean(0), (precision + precision.T) / 2, 0.0, share, len(fitting), len(held_out))
    limit = float(np.quantile(distances(held_out, found), share, method="higher"))
    return Familiar(found.mean, found.precision, limit, share, len(fitting), len(held_out))


def distances(features: Floats, familiar: Familiar) -> Floats:
    """(B,) Mahalanobis distances of (B, D) features; a tile beyond `familiar.limit` is an unfamiliar one."""
    away = features - familiar.mean
    squared: Floats = np.einsum("nd,nd->n", away @ familiar.precision, away)
    distance: Floats = np.sqrt(np.maximum(squared, 0))
    return distance


def write_familiar(familiar: Familiar, path: Path) -> None:
    """Write the arrays and the limit; float64, for a precision does not bear rounding."""
    numbers = np.array([familiar.limit, familiar.share, familiar.fitted_on, familiar.held_out], dtype=np.float64)
    write_bytes(path, save({"mean": familiar.mean, "precision": familiar.precision, "numbers": numbers}))


def read_familiar(path: Path) -> Familiar:
    """What write_familiar wrote; the hash of the file is checked with the rest of the folder.

    Raises:
        InputError: If the file is another one.
    """
    try:
        found = load_file(path)
        limit, share, fitted_on, held_out = found["numbers"].tolist()
        return Familiar(found["mean"], found["precision"], limit, share, int(fitted_on), int(held_out))
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} does not hold feature statistics ({error}); export the model again") from None
