"""The two networks: their size, their padding, their weights, and the two identities that their training rests on."""

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from counterstain.errors import InputError
from counterstain.images.tensor import to_tensor
from counterstain.learning.networks import (
    NETWORKS,
    STRIDES,
    TileNetwork,
    build_network,
    count_parameters,
    final_px,
    same_padding,
    seen_px,
    seen_side,
    smallest_tile_px,
    unseen,
)


def tiles(count: int, tile_px: int, seed: int = 0) -> Tensor:
    """Noise in [0, 1]: (count, 3, tile_px, tile_px)."""
    return torch.rand(count, 3, tile_px, tile_px, generator=torch.Generator().manual_seed(seed))


def convolutions(network: TileNetwork) -> list[nn.Conv2d]:
    """The five of them, in order."""
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]


# Parameters by hand, 257 px, 2 classes:
#   convolutions  3·9·48 + 48 = 1,344; four times 48·9·48 + 48 = 20,784       84,480
#   dense         48 features: 48·1000 + 1000                                 49,000
#   output        1000·2 + 2                                                   2,002   together 135,482
#   modified      one more dense of 1000·1000 + 1000                       1,001,000   together 1,136,482
@pytest.mark.parametrize(("name", "parameters"), [("given", 135_482), ("modified", 1_136_482)])
def test_parameters_are_counted_exactly(name: str, parameters: int) -> None:
    network = build_network(name, classes=2, tile_px=257, seed=0)
    assert count_parameters(network) == parameters
    network.output.requires_grad_(False)
    assert count_parameters(network) == parameters - 2_002  # what is frozen is not counted


# At 320 px the last map is 2×2, so 192 features: 84,480 + 193,000 + 1,001·7.
def test_parameters_follow_tile_size_and_classes() -> None:
    assert count_parameters(build_network("given", classes=7, tile_px=320, seed=0)) == 84_480 + 193_000 + 7_007


# TensorFlow's rule: ceil(size / stride) outputs; (outputs - 1)·stride + 3 - size pixels in all, the odd one after.
@pytest.mark.parametrize(
    ("size", "stride", "padding"),
    [
        (257, 1, (1, 1)),  # 257 outputs: 256 + 3 - 257 = 2
        (257, 2, (1, 1)),  # 129: 256 + 3 - 257 = 2
        (128, 2, (0, 1)),  # 64: 126 + 3 - 128 = 1
        (8, 3, (0, 1)),  # 3: 6 + 3 - 8 = 1; the last convolution at 257 px
        (4, 3, (1, 1)),  # 2: 3 + 3 - 4 = 2; ... at 128 px
        (9, 3, (0, 0)),  # 3: 6 + 3 - 9 = 0; ... at 300 px
        (10, 3, (1, 1)),  # 4: 9 + 3 - 10 = 2; ... at 320 px
        (1, 1, (1, 1)),  # 1: 0 + 3 - 1 = 2
    ],
)
def test_padding_by_hand(size: int, stride: int, padding: tuple[int, int]) -> None:
    assert same_padding(size, stride) == padding


@settings(max_examples=200)
@given(size=st.integers(1, 2000), stride=st.integers(1, 3))
def test_padding_gives_as_many_outputs_as_strides_fit(size: int, stride: int) -> None:
    before, after = same_padding(size, stride)
    assert (before + size + after - 3) // stride + 1 == math.ceil(size / stride)
    assert before <= after <= before + 1


# Maps of ones, 8 px a side; kernels (1, 10, 100) across and down; stride 3; padded by 0 before and by 1 after. The
# windows sum to 111, 111 and 11. Were the one pixel before instead of after, they would be 110, 111, 111. The third
# column is never looked at, and worked out on request only; at 160 px the map has 5 px a side, and all of it is seen.
@pytest.mark.parametrize(
    ("tile_px", "whole", "sums"),
    [(257, True, [111.0, 111.0, 11.0]), (257, False, [111.0, 111.0]), (160, False, [111.0, 11.0])],
)
def test_convolution_pads_after_not_before(tile_px: int, whole: bool, sums: list[float]) -> None:
    network = build_network("given", classes=2, tile_px=tile_px, seed=0)
    network.whole = whole
    *before, last = convolutions(network)
    seen: list[Tensor] = []
    with torch.no_grad():
        last.weight.zero_()
        last.weight[0, 0, 1, :] = last.weight[1, 0, :, 1] = torch.tensor([1.0, 10.0, 100.0])
        for convolution in before:
            convolution.weight.zero_()
            convolution.state_dict()["bias"].fill_(1.0)
        last.register_forward_hook(lambda _layer, _inputs, output: seen.append(output))
        network(tiles(1, tile_px))
    assert seen[0].shape == (1, 48, len(sums), len(sums))
    assert seen[0][0, 0, 0, :].tolist() == sums
    assert seen[0][0, 1, :, 0].tolist() == sums


# Convolution and pooling in turn:
#   257 -> 129 64 -> 64 32 -> 32 16 -> 16 8 -> 3 1      127 -> 64 32 -> 32 16 -> 16 8 -> 8 4 -> 2 1
#   126 ->  63 31 -> 31 15 -> 15  7 ->  7 3 -> 1 0      319 -> 160 80 -> 80 40 -> 40 20 -> 20 10 -> 4 2
@pytest.mark.parametrize(("tile_px", "side"), [(126, 0), (127, 1), (128, 1), (257, 1), (300, 1), (318, 1), (319, 2)])
def test_last_map_by_hand(tile_px: int, side: int) -> None:
    assert final_px(tile_px) == side


# Backwards from the one pixel of the last map at 257 px, where k pixels after pooling take 2k of a convolution, and
# these (2k - 1)·stride + 3 - padding before:
# 1 <- 2 <- 6 <- 12 <- 13 <- 26 <- 27 <- 54 <- 55 <- 110 <- 109·2 + 3 - 1 = 220
# At 160 px the map before the last has 5 px, one less than the last convolution would take, and all is seen.
@pytest.mark.parametrize(("tile_px", "seen"), [(257, 220), (160, 160), (224, 189), (512, 512)])
def test_what_is_seen_by_hand(tile_px: int, seen: int) -> None:
    network = build_network("given", classes=2, tile_px=tile_px, seed=0)
    assert seen_px(tile_px) == seen_side(network) == seen
    network.whole = True
    assert seen_side(network) is None
    assert seen_side(nn.Conv2d(3, 48, 3)) is None


def test_what_is_not_seen_is_told() -> None:
    line = unseen("modified", 257)
    assert "tile of 257 px the modified network sees the upper left 220 × 220 px, 73 % of it" in line
    assert "at 220 px it sees all" in line and seen_px(220) == 220
    # Nothing is to be told where all is seen or all but a row, where the tile is refused, and of backbones.
    assert unseen("given", 160) == unseen("given", 161) == unseen("given", 100) == unseen("timm/resnet18", 257) == ""


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("tile_px", [127, 160, 200, 224, 257, 318, 319])
def test_what_is_not_seen_changes_no_answer_and_no_gradient(name: str, tile_px: int) -> None:
    network = build_network(name, classes=2, tile_px=tile_px, seed=0).double().to(memory_format=torch.channels_last)
    seen, batch, found = seen_px(tile_px), tiles(2, tile_px).double(), []
    for whole, px in ((True, tile_px), (False, tile_px), (False, seen)):
        network.whole = whole
        inputs = batch[:, :, :px, :px].clone().requires_grad_()
        torch.manual_seed(0)  # of dropout
        logits = network(inputs)
        loss = functional.cross_entropy(logits, torch.tensor([0, 1]))
        of_tiles, *gradients = torch.autograd.grad(loss, [inputs, *network.parameters()])
        found.append([logits.detach(), of_tiles[:, :, :seen, :seen], *gradients])
        assert not of_tiles[:, :, seen:].any() and not of_tiles[:, :, :, seen:].any()
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found[2], found[1], rtol=0, atol=0)
    # The last row and column are looked at: one less would not do.
    assert found[0][1][:, :, -1].any() and found[0][1][:, :, :, -1].any()


def test_tiles_of_another_size_are_no_silent_answer() -> None:
    network = build_network("given", classes=2, tile_px=257, seed=0)
    with pytest.raises(ValueError, match=r"\(256, 256\) px for a network of 257 px"):
        network(tiles(1, 256))


def test_smallest_tile() -> None:
    assert smallest_tile_px() == 127


def test_too_small_a_tile_is_refused_in_one_line_with_the_way_out() -> None:
    with pytest.raises(InputError, match=r"tile_px is 126\b.*needs 127 px or more.*tiles\.tile_px") as refusal:
        build_network("given", classes=2, tile_px=126, seed=0)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("tile_px", [0, -5])
def test_no_tile_at_all_is_refused(tile_px: int) -> None:
    with pytest.raises(InputError, match=re.escape(f"tile_px is {tile_px}")):
        build_network("given", classes=2, tile_px=tile_px, seed=0)


def test_unknown_network_names_the_nearest() -> None:
    with pytest.raises(InputError, match="no network is called 'modifed'; did you mean 'modified'"):
        build_network("modifed", classes=2, tile_px=257, seed=0)


def test_one_class_is_refused() -> None:
    with pytest.raises(InputError, match="2 classes or more, got 1"):
        build_network("given", classes=1, tile_px=257, seed=0)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("classes", "tile_px"), [(2, 127), (3, 257), (9, 330)])
def test_any_classes_and_any_tile_size_train(name: str, classes: int, tile_px: int) -> None:
    network = build_network(name, classes=classes, tile_px=tile_px, seed=1)
    logits = network(tiles(2, tile_px))
    assert logits.shape == (2, classes)
    loss = functional.cross_entropy(logits, torch.tensor([0, classes - 1]))
    for gradient in torch.autograd.grad(loss, list(network.parameters())):
        assert gradient.isfinite().all()
        assert gradient.count_nonzero() > 0


def test_same_seed_same_weights_another_seed_others() -> None:
    first, again, other = (build_network("given", classes=2, tile_px=257, seed=seed) for seed in (3, 3, 4))
    for (name, a), b, c in zip(first.named_parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert name.endswith("bias") or not torch.equal(a, c)


def test_building_leaves_torch_s_own_generator_alone_and_does_not_read_it() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = build_network("given", classes=2, tile_px=257, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(1)
    again = build_network("given", classes=2, tile_px=257, seed=3)
    assert torch.equal(first.output.weight, again.output.weight)


# Glorot: uniform in ±sqrt(6 / (fan in + fan out)), so its variance is 2 / (fan in + fan out).
def test_weights_are_glorot_uniform_and_biases_zero() -> None:
    network = build_network("modified", classes=2, tile_px=257, seed=0)
    fans = [(27, 432), *[(432, 432)] * 4, (48, 1000), (1000, 1000), (1000, 2)]
    layers = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    for layer, (fan_in, fan_out) in zip(layers, fans, strict=True):
        limit = math.sqrt(6 / (fan_in + fan_out))
        assert 0.98 * limit < layer.weight.abs().max() <= limit
        assert layer.weight.var().item() == pytest.approx(2 / (fan_in + fan_out), rel=0.15)
        assert not layer.state_dict()["bias"].any()


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), rows=st.integers(2, 9), zeros=st.booleans())
def test_pooling_before_relu_is_relu_before_pooling(seed: int, rows: int, zeros: bool) -> None:
    start = torch.randn(2, 3, rows, 7, generator=torch.Generator().manual_seed(seed))
    if zeros:  # ties, and the corner of ReLU itself
        start = start.round()
    maps = [start.clone().requires_grad_(), start.clone().requires_grad_()]
    outputs = [functional.relu(functional.max_pool2d(maps[0], 2)), functional.max_pool2d(functional.relu(maps[1]), 2)]
    assert torch.equal(outputs[0], outputs[1])
    weight = torch.randn(outputs[0].shape, generator=torch.Generator().manual_seed(seed + 1))
    gradients = [
        torch.autograd.grad((output * weight).sum(), map_)[0] for output, map_ in zip(outputs, maps, strict=True)
    ]
    assert torch.equal(gradients[0], gradients[1])


def test_whole_network_equals_relu_before_pooling() -> None:
    network = build_network("given", classes=2, tile_px=128, seed=0).eval()
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))
    maps = batch = tiles(3, 128)
    for convolution, stride in zip(convolutions(network), STRIDES, strict=True):
        before, after = same_padding(maps.shape[2], stride)
        padded = functional.pad(maps, (before, after, before, after))
        maps = functional.max_pool2d(
            functional.relu(functional.conv2d(padded, convolution.weight, convolution.bias, stride)), 2
        )
    logits = network.output(functional.relu(network.dense[0](maps.flatten(1))))
    torch.testing.assert_close(network(batch), logits, atol=1e-6, rtol=1e-5)


# With p and 1 - p on two softmax units and a one-hot label, both terms of the binary cross-entropy are -log p(label),
# so their mean over the units is the cross-entropy. (Only 1e-6: where p is near 1, 1 - p has few digits left.)
@settings(max_examples=50)
@given(seed=st.integers(0, 2**31), scale=st.sampled_from([0.1, 1.0, 5.0]), rows=st.integers(1, 40))
def test_binary_cross_entropy_on_two_softmax_units_is_cross_entropy(seed: int, scale: float, rows: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    start = scale * torch.randn(rows, 2, generator=generator, dtype=torch.float64)
    label = torch.randint(2, (rows,), generator=generator)
    logits = [start.clone().requires_grad_(), start.clone().requires_grad_()]
    one_hot = functional.one_hot(label, 2).double()
    losses = [
        functional.cross_entropy(logits[0], label),
        functional.binary_cross_entropy(functional.softmax(logits[1], 1), one_hot),
    ]
    torch.testing.assert_close(losses[0], losses[1], atol=1e-6, rtol=1e-6)
    gradients = [torch.autograd.grad(loss, logit)[0] for loss, logit in zip(losses, logits, strict=True)]
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=1e-6)


# With three classes the two differ: the identity is of two units alone. Probabilities (0.5, 0.25, 0.25), label 0:
# cross-entropy log 2; binary (log 2 + 2·log(4/3)) / 3.
def test_with_three_classes_they_are_not_the_same() -> None:
    logits = torch.tensor([[2.0, 1.0, 1.0]], dtype=torch.float64) * math.log(2)
    binary = functional.binary_cross_entropy(functional.softmax(logits, 1), torch.tensor([[1.0, 0.0, 0.0]]).double())
    assert functional.cross_entropy(logits, torch.tensor([0])).item() == pytest.approx(math.log(2))
    assert binary.item() == pytest.approx((math.log(2) + 2 * math.log(4 / 3)) / 3)


def test_dropout_is_half_after_each_dense_layer_in_training_only() -> None:
    network = build_network("modified", classes=2, tile_px=128, seed=0)
    seen: list[float] = []
    network.dropout.register_forward_hook(
        lambda _layer, inputs, output: seen.append((output[inputs[0] > 0] == 0).double().mean().item())
    )
    batch = tiles(8, 128)
    network(batch)
    assert len(seen) == 2
    assert seen == pytest.approx([0.5, 0.5], abs=0.05)
    network.eval()
    assert torch.equal(network(batch), network(batch))
    assert seen[2:] == [0.0] * 4


def test_tiles_become_floats_in_0_1_with_their_channels_and_memory_in_order() -> None:
    stored = np.zeros((2, 4, 5, 3), np.uint8)
    stored[1, 2, 3] = (255, 51, 0)
    batch = to_tensor(stored, scale="0..1")
    assert batch.shape == (2, 3, 4, 5)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert batch[1, :, 2, 3].tolist() == pytest.approx([1.0, 0.2, 0.0])
    assert batch.sum().item() == pytest.approx(1.2)
    assert batch.max().item() <= 1.0
    assert stored[1, 2, 3].tolist() == [255, 51, 0]  # the store is not written to


def test_centred_scale_by_hand_and_an_unknown_one_refused() -> None:
    stored = np.array([0, 51, 255], np.uint8).reshape(1, 1, 1, 3)
    assert to_tensor(stored, scale="-1..1").flatten().tolist() == pytest.approx([-1.0, -0.6, 1.0])
    with pytest.raises(InputError, match=r"scale is '0\.\.255'"):
        to_tensor(stored, scale="0..255")
