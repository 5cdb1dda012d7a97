"""Maps of where a network's score for one class is sensitive: class activation maps and integrated gradients.

A map says where the score is sensitive, never why. Every method gives cells on a square grid, none below 0, so that
all of them are shown, checked and compared in the same way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from counterstain.errors import InputError, suggest
from counterstain.explanation.layers import Layer, as_map, find_layer, run_to
from counterstain.learning.predictor import Predictor

__all__ = [
    "BATCH",
    "METHODS",
    "Explainer",
    "attributions",
    "blur",
    "cell_edges",
    "log_odds",
    "make_explainer",
    "sensitivity",
]

Floats = NDArray[np.float64]
Tiles = NDArray[np.uint8]

INTEGRATED = "integrated-gradients"
BATCH = 16
STEPS = 16  # of the path of integrated gradients; their sum is then right to some 3 %
GRID = 16  # cells a side into which its pixels are summed
BLUR_SHARE = 0.1  # of the tile's side: standard deviation of the blur that takes the detail away


@dataclass(frozen=True)
class Explainer:
    """A predictor with the way in which its maps are made; layer is None for integrated gradients."""

    predictor: Predictor
    method: str
    layer: Layer | None

    @property
    def side(self) -> int:
        """Cells a side of its maps."""
        return GRID if self.layer is None else self.layer.side


def make_explainer(predictor: Predictor, method: str) -> Explainer:
    """The explainer of a method, its layer chosen.

    Raises:
        InputError: If the method is unknown or needs what is not installed, or the network has no layer for it.
    """
    if method not in METHODS:
        raise InputError(f"method is '{method}'{suggest(method, METHODS)}")
    if method == INTEGRATED and find_spec("captum") is None:
        raise InputError(f"{INTEGRATED} needs captum; install it with: pip install 'counterstain[explain]'")
    layer = None if method == INTEGRATED else find_layer(predictor.network, predictor.bundle.tile_px)
    return Explainer(predictor, method, layer)


def log_odds(logits: Tensor, target: Tensor) -> Tensor:
    """(B,) log odds of each row's target class against all others; what a map explains.

    A logit alone may rise for every class at once, which changes no probability; the log odds know only what counts.
    """
    of_target = logits.gather(1, target[:, None])[:, 0]
    others = logits.scatter(1, target[:, None], float("-inf")).logsumexp(1)
    return of_target - others


# ----------------------------------------------------------------------------------------------- class activation maps


def _gradcam(map_: Tensor, gradient: Tensor) -> Tensor:
    """Channels weighted by their mean gradient. Source: Selvaraju et al. 2017, ICCV, doi:10.1109/ICCV.2017.74."""
    return (gradient.mean((2, 3), keepdim=True) * map_).sum(1)


def _gradcam_plus(map_: Tensor, gradient: Tensor) -> Tensor:
    """Channels weighted by their rising gradients, each place by its share in the channel's second-order term.

    Source: Chattopadhay et al. 2018, WACV, doi:10.1109/WACV.2018.00097, eq. 19 with the score's exponential.
    """
    squared = gradient**2
    below = 2 * squared + map_.sum((2, 3), keepdim=True) * gradient**3
    share = torch.where(below != 0, squared / torch.where(below != 0, below, 1.0), 0.0)
    return ((share * gradient.relu()).sum((2, 3), keepdim=True) * map_).sum(1)


def _hirescam(map_: Tensor, gradient: Tensor) -> Tensor:
    """Each place's own gradient times its activation, summed over the channels; exact where the rest is linear.

    Source: Draelos & Carin 2020, arXiv:2011.08891.
    """
    return (gradient * map_).sum(1)


# HiResCAM comes first: it is Grad-CAM wherever the map is averaged before a linear layer, and stays right where it is
# not, as in the two own networks, whose dense layers tell places apart.
CAMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "hirescam": _hirescam,
    "gradcam": _gradcam,
    "gradcam++": _gradcam_plus,
}
METHODS = (*CAMS, INTEGRATED)


def sensitivity(explainer: Explainer, tiles: Tiles, target: NDArray[np.int64]) -> Floats:
    """(B, side, side) how much each cell of each tile raises the score of its target class; none below 0.

    Where nothing raises it, the map is 0 everywhere.

    Args:
        explainer: of `make_explainer`.
        tiles: (B, tile_px, tile_px, 3) uint8 RGB.
        target: (B,) class index.
    """
    network = explainer.predictor.network
    network.eval()
    pieces = []
    for start in range(0, len(tiles), BATCH):
        piece, classes = tiles[start : start + BATCH], torch.from_numpy(target[start : start + BATCH])
        if explainer.layer is None:
            pieces.append(torch.from_numpy(_cells(attributions(explainer.predictor, piece, classes))))
        else:
            inputs = explainer.predictor.to_tensor(piece)
            pieces.append(_activation_map(network, inputs, classes, CAMS[explainer.method], explainer.layer))
    side = explainer.side
    maps = torch.cat(pieces).relu().double().cpu().numpy() if pieces else np.empty((0, side, side))
    return np.asarray(maps, dtype=np.float64)


def _activation_map(
    network: nn.Module, inputs: Tensor, target: Tensor, weigh: Callable[[Tensor, Tensor], Tensor], layer: Layer
) -> Tensor:
    """(B, side, side) one class activation map per tile, still with its sign."""
    with torch.enable_grad():
        # The inputs ask for gradients, so that a frozen body's map has one as well.
        logits, output = run_to(network, inputs.detach().requires_grad_(), layer)
        score = log_odds(logits, target.to(logits.device)).sum()
        (gradient,) = torch.autograd.grad(score, output)
    return weigh(as_map(output.detach(), layer), as_map(gradient, layer))


# ------------------------------------------------------------------------------------------------ integrated gradients


def blur(tiles: Tiles) -> Tiles:
    """The tiles without their detail: colour and large shapes stay, so that they still look like stained tissue.

    A black or grey patch is nothing that a network of histology has seen; its answer to one says little.
    """
    sigma = BLUR_SHARE * tiles.shape[1]
    blurred = [cv2.GaussianBlur(tile, (0, 0), sigma, borderType=cv2.BORDER_REFLECT) for tile in tiles]
    return np.stack(blurred) if blurred else tiles


def attributions(predictor: Predictor, tiles: Tiles, target: Tensor) -> Tensor:
    """(B, 3, tile_px, tile_px) integrated gradients of the log odds, from the blurred tile to the tile.

    They sum to the difference of the log odds between the two, but for the error of summing over STEPS steps.

    Source: Sundararajan et al. 2017, ICML, arXiv:1703.01365.
    """
    from captum.attr import IntegratedGradients

    inputs, baseline = predictor.to_tensor(tiles), predictor.to_tensor(blur(tiles))
    integrated = IntegratedGradients(lambda batch, classes: log_odds(predictor.network(batch), classes))
    gradients: Tensor = integrated.attribute(
        inputs,
        baselines=baseline,
        additional_forward_args=(target.to(inputs.device),),
        n_steps=STEPS,
        internal_batch_size=max(2 * BATCH, len(tiles)),
    )
    return gradients.detach()


def _cells(pixels: Tensor) -> Floats:
    """(B, GRID, GRID) sums over the channels and the cells of (B, C, H, W)."""
    values = pixels.sum(1).double().cpu().numpy()
    starts = cell_edges(values.shape[1], GRID)[:-1]
    summed: Floats = np.add.reduceat(np.add.reduceat(values, starts, axis=1), starts, axis=2)
    return summed


def cell_edges(tile_px: int, side: int) -> NDArray[np.int64]:
    """(side + 1,) where the cells of a grid begin and end in a tile's pixels; sizes differ by one where they must."""
    return np.rint(np.linspace(0, tile_px, side + 1)).astype(np.int64)
