"""The layer of a map is found by itself, for the own networks and for every kind of backbone."""

import pytest
import torch
from torch import Tensor, nn

from counterstain.errors import InputError
from counterstain.explanation.layers import Layer, as_map, find_layer, run_to
from counterstain.learning.backbones import build_backbone
from counterstain.learning.build import penultimate
from counterstain.learning.networks import build_network


@pytest.mark.parametrize(
    ("name", "tile_px", "layer"),
    [
        ("timm/tf_efficientnet_lite0", 160, Layer("body.bn2", 5)),
        ("timm/resnet18", 96, Layer("body.layer4", 3)),
        # Its last map has 2 × 2 cells, which point at nothing.
        ("timm/resnet18", 64, Layer("body.layer3", 4)),
        ("timm/convnext_atto", 160, Layer("body.norm_pre", 5)),
        ("timm/vit_tiny_patch16_224", 96, Layer("body.blocks.11.norm1", 14, "tokens", 1)),
        ("timm/deit_tiny_distilled_patch16_224", 224, Layer("body.blocks.11.norm1", 14, "tokens", 2)),
        ("timm/swin_tiny_patch4_window7_224", 224, Layer("body.norm", 7, "channels last")),
        ("given", 127, Layer("convolutions.3", 4, number=3)),
        ("given", 257, Layer("convolutions.3", 8, number=3)),
        ("modified", 257, Layer("convolutions.3", 8, number=3)),
        ("given", 512, Layer("convolutions.3", 16, number=3)),
    ],
)
def test_the_last_layer_that_knows_places(name: str, tile_px: int, layer: Layer) -> None:
    build = build_backbone if name.startswith("timm/") else build_network
    network = build(name, classes=2, tile_px=tile_px, seed=0).eval()
    assert find_layer(network, tile_px) == layer
    tiles = torch.rand(2, 3, tile_px, tile_px, generator=torch.Generator().manual_seed(0)).requires_grad_()
    logits, output = run_to(network, tiles, layer)
    map_ = as_map(output, layer)
    assert map_.shape[0] == 2 and map_.shape[2:] == (layer.side, layer.side)
    # The score hangs on the layer in many places: its gradient is not of the class token alone.
    (gradient,) = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), output)
    moved = as_map(gradient, layer).abs().sum((0, 1)) > 0
    # (A fresh ResNet reads every second cell of an earlier map: the rest of each block begins at 0.)
    assert moved.float().mean() >= 0.25
    torch.testing.assert_close(logits, network(tiles))


def test_the_own_networks_map_is_what_the_rest_is_computed_from() -> None:
    """Everything after the map, done by hand from the map, gives the logits."""
    network = build_network("given", classes=2, tile_px=257, seed=3).eval()
    tiles = torch.rand(2, 3, 257, 257, generator=torch.Generator().manual_seed(1))
    layer = find_layer(network, 257)
    with torch.no_grad():
        logits, output = run_to(network, tiles, layer)
        last = network.convolutions[4](nn.functional.pad(output, (0, 1, 0, 1)))  # 8 cells, stride 3: 1 px after
        features = nn.functional.max_pool2d(last.relu(), 2).permute(0, 2, 3, 1).flatten(1)
        expected = network.output(network.dense[0](features).relu())
    torch.testing.assert_close(logits, expected)


def test_cells_of_the_own_networks_map_stand_where_they_do_in_the_tile() -> None:
    """8 × 8 cells of some 32 px: the answer depends on the upper left 220 px, and so on the first 6 of them."""
    network = build_network("given", classes=2, tile_px=257, seed=3).eval()
    tiles = torch.rand(2, 3, 257, 257, generator=torch.Generator().manual_seed(1)).requires_grad_()
    logits, output = run_to(network, tiles, find_layer(network, 257))
    assert not network.whole
    gradients = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), (output, tiles))
    for gradient, seen in zip(gradients, (6, 220), strict=True):
        moved = gradient.abs().sum((0, 1)) > 0
        assert moved.any(0).nonzero().max() == moved.any(1).nonzero().max() == seen - 1


def test_a_grid_of_tokens_is_read_row_by_row() -> None:
    layer = Layer("any", 4, "tokens", 2)
    places = torch.arange(16.0).view(1, 4, 4)
    tokens = torch.cat([torch.full((1, 2, 1), -1.0), places.reshape(1, 16, 1)], dim=1)
    assert torch.equal(as_map(tokens, layer)[:, 0], places)


def test_channels_that_come_last_go_first() -> None:
    output = torch.rand(2, 5, 5, 7)
    assert torch.equal(as_map(output, Layer("any", 5, "channels last"))[1, 6, 2, 3], output[1, 2, 3, 6])


class Flat(nn.Module):
    """A network without any map."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3 * 16 * 16, 5)
        self.second = nn.Linear(5, 2)

    def forward(self, tiles: Tensor) -> Tensor:
        logits: Tensor = self.second(self.first(tiles.flatten(1)).relu())
        return logits


def test_a_network_without_a_map_is_refused_with_a_way_out() -> None:
    with pytest.raises(InputError, match="integrated-gradients"):
        find_layer(Flat(), 16)


def test_the_features_are_what_the_last_layer_is_given() -> None:
    flat = Flat()
    tiles = torch.rand(3, 3, 16, 16)
    torch.testing.assert_close(penultimate(flat, tiles), flat.first(tiles.flatten(1)).relu())
    backbone = build_backbone("timm/resnet18", classes=2, tile_px=64, seed=0).eval()
    tiles = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(penultimate(backbone, tiles), backbone.features(tiles))
    own = build_network("modified", classes=3, tile_px=127, seed=0).eval()
    tiles = torch.rand(2, 3, 127, 127)
    torch.testing.assert_close(own.output(penultimate(own, tiles)), own(tiles))
