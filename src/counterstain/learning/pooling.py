"""Convolution, 2×2 max-pooling and ReLU as one operation that learns faster than the three, by the same numbers.

Most of what torch's max-pooling moves is where every kept pixel was, a number of 8 bytes; here it is one of five, in a
byte. And since only kept pixels learn, the gradient of the bias is a sum over these, not over the whole map.
"""

import functools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["convolve_and_pool", "has_kernels"]

# The integers of a float's width, for torch and for NumPy; the bits of infinity; how many bits a float32 has more.
_BITS: dict[torch.dtype, tuple[torch.dtype, Any, int, int]] = {
    torch.float32: (torch.int32, np.int32, 0x7F800000, 0),
    torch.bfloat16: (torch.int16, np.int16, 0x7F80, 16),
}
_FEW = 16  # tiles


def convolve_and_pool(
    maps: Tensor, convolution: nn.Conv2d, sides: tuple[int, int, int, int], *, learns: bool
) -> Tensor:
    """(B, C, H, W) to (B, filters, H' // 2, W' // 2): max-pooling of the convolution, then ReLU.

    Pooling before ReLU is the same function as after it (both only ever keep the larger value) on a quarter of the map.

    Args:
        maps: what to convolve.
        convolution: with the same stride for both axes, and without padding of its own.
        sides: zeros to pad left, right, above and below.
        learns: whether gradients will be asked for; then they are computed as this module says, where it can be.
            Without any gradients, only pooling is compiled.
    """
    if learns and torch.is_grad_enabled():
        kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else maps.dtype
        if _is_for_kernels(maps, kind):
            # Outside of autocast, which would otherwise change types within.
            with torch.autocast("cpu", enabled=False):
                stride = convolution.stride[0]
                maps, padding = _padded(maps.to(kind), sides, stride, convolution.kernel_size[0])
                weight = convolution.weight.to(kind)
                return cast(Tensor, _ConvolvedAndPooled.apply(maps, weight, convolution.bias, stride, padding))
    if len({*sides}) == 1:
        stride = convolution.stride[0]
        convolved = functional.conv2d(maps, convolution.weight, convolution.bias, stride=stride, padding=sides[0])
    else:
        convolved = convolution(functional.pad(maps, sides))
    # In prediction the bits are torch's, whichever pools: what a few tiles gain is less than Numba's import takes.
    if torch.is_grad_enabled() or len(convolved) < _FEW or not _is_for_kernels(convolved, convolved.dtype):
        return functional.relu(functional.max_pool2d(convolved, 2))
    pooled, place = _output_memory(convolved.shape, convolved.dtype)
    _keep_largest(convolved, pooled, place)
    return pooled


def _is_for_kernels(maps: Tensor, kind: torch.dtype) -> bool:
    """Whether these are numbers in the processor's memory, not a tracer's, of a kind that kernels are there for."""
    tracing = torch.jit.is_tracing()  # type: ignore[no-untyped-call, attr-defined]
    traced = type(maps) is not Tensor or torch.compiler.is_compiling() or tracing
    return not traced and maps.device.type == "cpu" and kind in _BITS and has_kernels()


def _padded(maps: Tensor, sides: tuple[int, int, int, int], stride: int, kernel: int) -> tuple[Tensor, int]:
    """The maps, and what the convolution has yet to pad.

    A strided convolution learns a third faster from maps that are padded already. Since that takes a copy, only what
    reaches the rows and columns that pooling keeps is copied.
    """
    left, right, top, bottom = sides
    if stride == 1 and len({*sides}) == 1:
        return maps, left
    height, width = (
        (((size + before + after - kernel) // stride + 1) // 2 * 2 - 1) * stride + kernel - before
        for size, before, after in zip(maps.shape[2:], (top, left), (bottom, right), strict=True)
    )
    below, beyond = max(0, height - maps.shape[2]), max(0, width - maps.shape[3])
    return functional.pad(maps[:, :, :height, :width], (left, beyond, top, below)), 0


@functools.cache
def has_kernels() -> bool:
    """Whether the compiled pooling works here: with Numba, on Linux, in PyTorch's own threads.

    Where COUNTERSTAIN_POOLING is "torch", torch's is taken.
    """
    if sys.platform != "linux" or os.environ.get("COUNTERSTAIN_POOLING") == "torch":
        return False
    threads, layer = torch.get_num_threads(), ""
    try:
        import numba

        layer = numba.config.THREADING_LAYER  # type: ignore[attr-defined]
        # PyTorch's own threads: a second set would fight the first for the cores. Read when the first kernel starts.
        numba.config.THREADING_LAYER = "omp"  # type: ignore[attr-defined]
        _keep_largest(torch.zeros(1, 1, 2, 2), *_output_memory(torch.Size((1, 1, 2, 2)), torch.float32))
    except (ImportError, AttributeError, RuntimeError, ValueError):
        # No Numba, or another module of the name of one that it looks for; nowhere to keep what is compiled; no OpenMP.
        return False
    finally:
        torch.set_num_threads(threads)  # starting the threads, Numba takes all cores for PyTorch, too
        if layer:
            numba.config.THREADING_LAYER = layer  # type: ignore[attr-defined]
    return bool(numba.threading_layer() == "omp")  # type: ignore[attr-defined]


class _ConvolvedAndPooled(torch.autograd.Function):
    """The three operations, with gradients towards maps, weight and bias."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor:
        side = weight.shape[2]
        height, width = ((size + 2 * padding - side) // stride + 1 for size in maps.shape[2:])
        # What stays is asked for before what goes, so that no hole is left between: the heap stops growing sooner.
        pooled, place = _output_memory(torch.Size((len(maps), len(weight), height, width)), maps.dtype)
        convolved = functional.conv2d(maps, weight, bias.to(maps.dtype), stride, padding)
        _keep_largest(convolved, pooled, place)
        ctx.save_for_backward(maps, weight, place)
        ctx.stride, ctx.padding, ctx.shape = stride, padding, convolved.shape
        return pooled

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None, None]:
        maps, weight, place = ctx.saved_tensors
        unpooled, of_bias = _put_back(gradients[0], place, ctx.shape)
        of_maps, of_weight, _ = torch.ops.aten.convolution_backward(
            unpooled, maps, weight, None, [ctx.stride] * 2, [ctx.padding] * 2, [1, 1],
            False, [0, 0], 1, [ctx.needs_input_grad[0], True, False],
        )  # fmt: skip
        return of_maps, of_weight, of_bias, None, None


def _output_memory(shape: torch.Size, kind: torch.dtype) -> tuple[Tensor, Tensor]:
    """Memory for the pooled maps of maps of this shape, and for their pixels' places: (B, H // 2, W // 2, C) bytes."""
    batch, channels, height, width = shape[0], shape[1], shape[2] // 2, shape[3] // 2
    pooled = torch.empty((batch, channels, height, width), dtype=kind, memory_format=torch.channels_last)
    return pooled, torch.empty((batch, height, width, channels), dtype=torch.uint8)


def _keep_largest(maps: Tensor, pooled: Tensor, place: Tensor) -> None:
    _, number, infinity, _ = _BITS[maps.dtype]
    nan = np.iinfo(number).max  # all bits but the sign
    with _kernels() as kernels:
        kernels.keep_largest(_bits(maps), _bits(pooled), place.numpy(), number(infinity), number(nan))


def _put_back(gradient: Tensor, place: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """The gradient of maps of this shape from that of the pooled ones, and its sum over all but the channels."""
    batch, height, _, channels = place.shape
    unpooled = torch.empty(shape, dtype=gradient.dtype, memory_format=torch.channels_last)
    sums = torch.empty(batch * height, channels)
    _, number, _, shift = _BITS[gradient.dtype]
    with _kernels() as kernels:
        kernels.put_back(_bits(gradient), place.numpy(), _bits(unpooled), sums.numpy(), number(0), shift)
    return unpooled, sums.sum(0)


def _bits(maps: Tensor) -> Any:
    """(B, C, H, W) floats to (B, H, W, C) integers of their bits, in the same memory where it is channels last."""
    last = maps.detach().contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
    return last.view(_BITS[maps.dtype][0]).numpy()


@contextmanager
def _kernels() -> Iterator[Any]:
    """The compiled kernels, on as many threads as PyTorch has; Numba's own number is put back."""
    import numba

    from counterstain.learning import pooling_kernels

    before, most = numba.get_num_threads(), int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    numba.set_num_threads(min(torch.get_num_threads(), most))
    try:
        yield pooling_kernels
    finally:
        numba.set_num_threads(before)
