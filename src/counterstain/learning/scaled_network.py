"""A trained network for use in PyTorch: it scales pixels itself, so that nobody can scale them another way."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from counterstain.errors import InputError, says_arguments
from counterstain.files import StrPath
from counterstain.images.tensor import apply_scale
from counterstain.learning.bundle import Bundle
from counterstain.learning.bundle import load_network as load_bare_network
from counterstain.learning.mil_networks import is_bag_network

__all__ = ["ScaledNetwork", "load_network"]


class ScaledNetwork(nn.Module):
    """A trained network that takes pixels as an image has them; gives (B, classes) logits, before any calibration.

    Takes (B, 3, tile_px, tile_px) uint8 from 0 to 255, or floats in [0, 1]; both RGB. The scale that the network was
    trained with (often -1 to 1) is applied inside. Stain normalisation, where the bundle has one, is done for uint8.
    Gradients flow to float input; dropout is off until `train()` is called.

    bundle: what is known of the model; network: the bare network, which takes scaled pixels.
    """

    def __init__(self, bundle: Bundle, network: nn.Module) -> None:
        super().__init__()
        self.bundle = bundle
        self.network = network

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return self.bundle.classes

    def forward(self, tiles: Tensor) -> Tensor:
        """(B, 3, tile_px, tile_px) uint8, or floats in [0, 1], to (B, classes) logits.

        Raises:
            InputError: If the tiles have another shape, type or range.
        """
        logits: Tensor = self.network(apply_scale(self._pixels(tiles), self.bundle.scale))
        return logits

    def _pixels(self, tiles: Tensor) -> Tensor:
        """(B, 3, H, W) floats of 0…255, a tensor of their own."""
        side = self.bundle.tile_px
        if tiles.ndim != 4 or tuple(tiles.shape[1:]) != (3, side, side):
            raise InputError(
                f"tiles have shape {tuple(tiles.shape)}; (B, 3, {side}, {side}) is needed. Model.predict of "
                "counterstain.load_model takes (N, H, W, 3) arrays and files of any size"
            )
        if tiles.dtype == torch.uint8:
            return self._normalised(tiles).float()
        if not tiles.is_floating_point():
            raise InputError(f"tiles are {tiles.dtype}; uint8 from 0 to 255, or floats in [0, 1] are needed")
        if self.bundle.staining.recipe is not None:
            raise InputError("this model normalises stain first, which takes uint8 tiles; floats were given")
        if tiles.numel():
            low, high = (float(edge) for edge in torch.aminmax(tiles.detach()))
            if not (low >= -1e-3 and high <= 1 + 1e-3):
                raise InputError(
                    f"tiles have floats from {low:.3g} to {high:.3g}; from 0 to 1 are needed, since the network "
                    "scales them itself. Give uint8 from 0 to 255, or divide those by 255"
                )
        return tiles.float() * 255

    def _normalised(self, tiles: Tensor) -> Tensor:
        if self.bundle.staining.recipe is None:
            return tiles
        pixels = np.ascontiguousarray(tiles.permute(0, 2, 3, 1).cpu().numpy())
        return torch.from_numpy(self.bundle.staining.for_all(pixels)).permute(0, 3, 1, 2).to(tiles.device)


@says_arguments
def load_network(path: StrPath) -> ScaledNetwork:
    """The network in a bundle's or an export's folder as a PyTorch module on the processor, its hashes checked.

    For probabilities, decisions and files of any size take `load_model`; this is for features and fine-tuning.

    Args:
        path: folder of the bundle.

    Raises:
        InputError: If the bundle is damaged or missing, or is of a network of bags (mil/…).
    """
    bundle, network = load_bare_network(Path(path))
    if is_bag_network(bundle.network):
        raise InputError(f"{path} is a model of bags of features ({bundle.network}), which takes no tiles")
    return ScaledNetwork(bundle, network).eval()
