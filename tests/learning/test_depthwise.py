"""Quick gradients of depthwise convolutions are torch's own, in every shape; the network stays the same to its user."""

import copy
from itertools import product

import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import nn
from torch.nn import functional

from counterstain.learning.backbones import build_backbone
from counterstain.learning.depthwise import _Depthwise, _Quick, quicken


@pytest.mark.parametrize(("kernel", "stride"), list(product((3, 5, 7), (1, 2, 3))))
def test_gradients_are_those_of_torch(kernel: int, stride: int) -> None:
    generator = torch.Generator().manual_seed(0)
    for side, padding in product((11, 12, 16), (0, kernel // 2)):
        tiles = torch.randn(2, 6, side, side + 1, dtype=torch.double, generator=generator, requires_grad=True)
        weight = torch.randn(6, 1, kernel, kernel, dtype=torch.double, generator=generator, requires_grad=True)
        plain = functional.conv2d(tiles, weight, None, stride, padding, 1, 6)
        quick = _Depthwise.apply(tiles, weight, stride, padding)  # type: ignore[no-untyped-call]
        torch.testing.assert_close(quick, plain)
        gradient = torch.randn(plain.shape, dtype=torch.double, generator=generator)
        expected = torch.autograd.grad(plain, (tiles, weight), gradient)
        found = torch.autograd.grad(quick, (tiles, weight), gradient)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["timm/tf_efficientnet_lite0", "timm/mobilenetv3_small_100", "timm/convnext_atto"])
def test_a_step_in_bfloat16_is_as_near_to_fp32_as_before(name: str) -> None:
    """The same network with torch's gradients and with ours, against fp32: ours are not further off."""
    quick = build_backbone(name, classes=2, tile_px=64, seed=0).train()
    assert any(isinstance(module, _Quick) for module in quick.modules())
    plain = copy.deepcopy(quick)
    for module in plain.modules():
        if isinstance(module, _Quick):
            module.__class__ = nn.Conv2d if type(module) is _Quick else Conv2dSame
    assert not any(isinstance(module, _Quick) for module in plain.modules())
    tiles = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    label = torch.arange(8) % 2

    def gradient(network: nn.Module, bf16: bool) -> torch.Tensor:
        network = copy.deepcopy(network)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = network(tiles)
        functional.cross_entropy(logits.float(), label).backward()  # type: ignore[no-untyped-call]
        return torch.cat([one.grad.flatten() for one in network.parameters() if one.grad is not None])

    exact = gradient(plain, False)
    torch.testing.assert_close(gradient(quick, False), exact)  # in fp32 nothing is replaced
    off = [float((gradient(one, True) - exact).norm() / exact.norm()) for one in (plain, quick)]
    assert off[1] < 1.3 * off[0] + 0.01


def test_only_depthwise_convolutions_are_replaced() -> None:
    network = nn.Sequential(
        nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 16, 3, groups=8),
        nn.Conv2d(16, 16, 3, groups=16, dilation=2), nn.Conv2d(16, 16, (3, 5), groups=16),
    )  # fmt: skip
    names = list(network.state_dict())
    quicken(network)
    assert [isinstance(module, _Quick) for module in network] == [True, False, False, False, False]
    assert list(network.state_dict()) == names
