"""Convolution, pooling and ReLU in one operation: the numbers of the three, wherever it is used and wherever not."""

import math
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from counterstain.learning import pooling
from counterstain.learning.device import prepare_device
from counterstain.learning.networks import build_network, same_padding
from counterstain.learning.pooling import convolve_and_pool, has_kernels

pytestmark = pytest.mark.skipif(not has_kernels(), reason="pooling is not compiled here")

KINDS = (torch.float32, torch.bfloat16)


@pytest.fixture(autouse=True)
def threads() -> Iterator[int]:
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


def pooled(maps: Tensor, gradient: Callable[[Tensor], Tensor] = torch.ones_like) -> tuple[Tensor, Tensor, Tensor]:
    """By the kernels: the pooled maps, the gradient of the maps, and its sums."""
    found, place = pooling._output_memory(maps.shape, maps.dtype)
    pooling._keep_largest(maps, found, place)
    return (found, *pooling._put_back(gradient(found), place, maps.shape))


def of_torch(maps: Tensor, gradient: Callable[[Tensor], Tensor] = torch.ones_like) -> tuple[Tensor, Tensor]:
    maps = maps.clone().requires_grad_()
    found = functional.relu(functional.max_pool2d(maps, 2))
    found.backward(gradient(found))  # type: ignore[no-untyped-call]
    assert maps.grad is not None
    return found.detach(), maps.grad


def random_maps(size: tuple[int, int, int, int], kind: torch.dtype, *, levels: int | None = None) -> Tensor:
    drawn = torch.randn(size, generator=torch.Generator().manual_seed(sum(size)))
    if levels is not None:  # few different values, so that many are equal
        drawn = (drawn * levels).round() / levels
    return drawn.to(kind).to(memory_format=torch.channels_last)


# ------------------------------------------------------------------------------------------------------------ kernels


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(
    size=st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(2, 9), st.integers(2, 9)),
    levels=st.sampled_from([1, 2, None]),
)
def test_kernels_give_the_bits_of_torch(kind: torch.dtype, size: tuple[int, int, int, int], levels: int | None) -> None:
    maps = random_maps(size, kind, levels=levels)

    def gradient(like: Tensor) -> Tensor:
        return random_maps(tuple(like.shape), kind)  # type: ignore[arg-type]

    (found, whole, sums), (expected, expected_whole) = pooled(maps, gradient), of_torch(maps, gradient)
    assert torch.equal(found, expected)
    assert torch.equal(whole, expected_whole)
    assert sums.dtype == torch.float32
    torch.testing.assert_close(sums.double(), expected_whole.double().sum((0, 2, 3)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_of_equal_ones_learns_and_nothing_at_or_below_zero(kind: torch.dtype) -> None:
    maps = torch.tensor([[1.0, 1.0], [1.0, 0.5]], dtype=kind)[None, None]
    assert pooled(maps)[1][0, 0].tolist() == [[1, 0], [0, 0]]
    for largest in (0.0, -0.0, -1.0):
        found, whole, sums = pooled(torch.full((1, 1, 2, 2), largest, dtype=kind))
        assert found.tolist() == [[[[0.0]]]] and not whole.any() and sums.tolist() == [0.0]


# Training ends with a clear line when the loss is no number: it must not get lost here.
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [math.nan, -math.nan, math.inf])
def test_what_is_no_number_is_kept(kind: torch.dtype, value: float) -> None:
    maps = torch.tensor([[9.0, -math.inf], [value, math.inf if math.isnan(value) else 1.0]], dtype=kind)[None, None]
    if math.copysign(1, value) < 0:  # the sign of the bits, which arithmetic on this processor sets
        bits = maps.view(pooling._BITS[kind][0])
        bits[0, 0, 1, 0] |= torch.iinfo(bits.dtype).min
    found, whole, _ = pooled(maps)
    assert torch.equal(found, of_torch(maps)[0]) or (found.isnan().all() and of_torch(maps)[0].isnan().all())
    assert whole[0, 0].tolist() == [[0, 0], [1, 0]]


# ---------------------------------------------------------------------------------------------------- convolve_and_pool


def made(size: int, stride: int, channels: int = 3) -> tuple[nn.Conv2d, Tensor, tuple[int, int, int, int]]:
    torch.manual_seed(size * 10 + stride)
    convolution = nn.Conv2d(channels, 16, 3, stride=stride).to(memory_format=torch.channels_last)
    sides = same_padding(size, stride) * 2
    return convolution, random_maps((4, channels, size, size), torch.float32), sides


def gradients(
    convolution: nn.Conv2d, maps: Tensor, sides: tuple[int, int, int, int], *, learns: bool
) -> dict[str, Tensor]:
    convolution.zero_grad()
    maps = maps.clone().requires_grad_()
    found = convolve_and_pool(maps, convolution, sides, learns=learns)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1)).to(found.dtype)
    (found * weights).sum().backward()  # type: ignore[no-untyped-call]
    of_all = {"maps": maps.grad, "weight": convolution.weight.grad, "bias": convolution.bias.grad}  # type: ignore[union-attr]
    return {"output": found.detach()} | {name: value.clone() for name, value in of_all.items() if value is not None}


@settings(max_examples=30)
@given(size=st.integers(6, 40), stride=st.integers(1, 3))
def test_outputs_and_gradients_are_those_of_the_three_operations(size: int, stride: int) -> None:
    convolution, maps, sides = made(size, stride)
    quick, plain = (gradients(convolution, maps, sides, learns=learns) for learns in (True, False))
    assert len(quick) == len(plain) == 4
    torch.testing.assert_close(quick, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("size", "stride"), [(33, 2), (32, 1), (17, 3)])
def test_bfloat16_is_no_further_from_exact_numbers_than_torch(size: int, stride: int) -> None:
    convolution, maps, sides = made(size, stride, channels=16)
    exact = gradients(convolution.double(), maps.double(), sides, learns=True)  # doubles are torch's
    convolution.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        quick, plain = (gradients(convolution, maps, sides, learns=learns) for learns in (True, False))
    assert quick["output"].dtype == torch.bfloat16
    assert torch.equal(quick["output"], plain["output"])
    for name, value in exact.items():
        off_quick, off_plain = (float((one[name].double() - value).norm()) for one in (quick, plain))
        assert 0 < off_quick <= 1.05 * off_plain, name


def test_it_is_used_in_training_and_only_there(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[bool] = []
    real = pooling._ConvolvedAndPooled.apply
    monkeypatch.setattr(pooling._ConvolvedAndPooled, "apply", lambda *given: used.append(True) or real(*given))
    network = build_network("given", classes=2, tile_px=127, seed=0)
    tiles = random_maps((2, 3, 127, 127), torch.float32)
    network.eval()(tiles)
    with torch.no_grad():
        network.train()(tiles)
    assert not used
    network(tiles)
    assert len(used) == 5


def test_whole_network_learns_the_same_with_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_network("given", classes=2, tile_px=257, seed=0).to(memory_format=torch.channels_last)
    tiles = random_maps((3, 3, 257, 257), torch.float32)
    found = []
    for kernels in (True, False):
        monkeypatch.setattr(pooling, "has_kernels", lambda kernels=kernels: kernels)
        network.zero_grad()
        torch.manual_seed(0)
        functional.cross_entropy(network(tiles), torch.tensor([0, 1, 1])).backward()  # type: ignore[no-untyped-call]
        found.append({name: value.grad.clone() for name, value in network.named_parameters() if value.grad is not None})
    assert len(found[0]) == 14
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


# ------------------------------------------------------------------------------------------------------------- threads


def test_threads_change_nothing_and_are_left_as_they_were() -> None:
    convolution, maps, sides = made(40, 1)
    found = []
    for count in (1, 2):
        torch.set_num_threads(count)
        found.append(pooled(convolution(functional.pad(maps, sides)).detach()))
        assert torch.get_num_threads() == count
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


# Numba asks OpenMP, which PyTorch shares, for all cores when it starts. In a process of its own, for it starts once.
def test_starting_leaves_the_number_of_threads() -> None:
    code = """
import torch
torch.set_num_threads(1)
from counterstain.learning.pooling import has_kernels
print(has_kernels(), torch.get_num_threads())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "1"]


@pytest.mark.parametrize("why", ["switched off", "no Numba", "a file called coverage.py"])
def test_without_kernels_torch_pools(why: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("coverage") if why == "a file called coverage.py" else None
    code = f"""
import os, sys
if {why!r} == "switched off":
    os.environ["COUNTERSTAIN_POOLING"] = "torch"
elif {why!r} == "no Numba":
    sys.modules["numba"] = None
else:
    sys.path.insert(0, {str(folder)!r})
    open({str(folder)!r} + "/coverage.py", "w").close()
from counterstain.learning.device import prepare_device
print(prepare_device(device="cpu", network="given").pooling)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["torch"]


def test_the_machine_says_how_it_pools() -> None:
    assert prepare_device(device="cpu", network="given").pooling == "compiled"
    assert prepare_device(device="cpu", network="timm/resnet18").pooling == "torch"
    assert prepare_device(device="cpu").pooling == "torch"


# -------------------------------------------------------------------------------------------------------- in prediction


@pytest.mark.parametrize("kind", KINDS)
def test_prediction_has_the_same_bits_whichever_pools(kind: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_network("given", classes=2, tile_px=127, seed=0).to(memory_format=torch.channels_last).eval()
    tiles = random_maps((16, 3, 127, 127), torch.float32)
    used: list[int] = []
    real = pooling._keep_largest
    monkeypatch.setattr(pooling, "_keep_largest", lambda *given: used.append(len(given[0])) or real(*given))
    found = []
    for kernels in (True, False):
        monkeypatch.setattr(pooling, "has_kernels", lambda kernels=kernels: kernels)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=kind == torch.bfloat16):
            found.append(network(tiles))
    assert used == [16] * 5
    assert torch.equal(*found)


@pytest.mark.filterwarnings("ignore")  # of TorchScript: that it goes, and that sizes are fixed
def test_a_traced_network_pools_with_torch() -> None:
    network = build_network("given", classes=2, tile_px=127, seed=0).eval()
    tiles = random_maps((16, 3, 127, 127), torch.float32)
    with torch.no_grad():
        traced = torch.jit.trace(network, (tiles,))  # type: ignore[no-untyped-call]
        exported = torch.export.export(network, (tiles,)).module()
        assert "max_pool2d" in str(traced.inlined_graph)
        assert "max_pool2d" in exported.code  # type: ignore[operator]
        other = random_maps((16, 3, 127, 127), torch.float32).flip(0)
        for one in (traced, exported):
            torch.testing.assert_close(one(other), network(other))
