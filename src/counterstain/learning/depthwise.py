"""Depthwise convolutions whose gradients are computed by the fast kernels where torch's own are slow.

In bfloat16 on a processor, torch's gradient of a depthwise convolution takes up to 50 times as long as the convolution:
towards the input at stride 2, and towards the weights of kernels above 3×3. The first is a depthwise convolution too,
of the gradient with zeros between, by the kernel turned round; the second is put together of 3×3 ones. The sums are the
same ones.
"""

import functools
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["quicken"]


class _Depthwise(torch.autograd.Function):
    """conv2d with a group a channel, stride `stride` and zero padding `padding`, both the same for both axes."""

    @staticmethod
    def forward(ctx: Any, tiles: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(tiles, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(tiles, weight, None, stride, padding, 1, tiles.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (gradient,) = gradients
        tiles, weight = ctx.saved_tensors
        stride, padding = ctx.stride, ctx.padding
        of_tiles = of_weight = None
        if ctx.needs_input_grad[0]:
            of_tiles = _towards_tiles(gradient, weight, tiles.shape[2:], stride, padding)
        if ctx.needs_input_grad[1]:
            of_weight = _towards_weight(gradient, tiles, weight, stride, padding)
        return of_tiles, of_weight, None, None


def _towards_tiles(gradient: Tensor, weight: Tensor, size: torch.Size, stride: int, padding: int) -> Tensor:
    kernel = weight.shape[-1]
    if stride > 1:
        batch, channels, height, width = gradient.shape
        spread = gradient.new_zeros((batch, channels, *(side + 2 * padding - kernel + 1 for side in size))).contiguous(
            memory_format=torch.channels_last
        )
        spread[:, :, : stride * height : stride, : stride * width : stride] = gradient
        gradient = spread
    return functional.conv2d(gradient, torch.flip(weight, (2, 3)), None, 1, kernel - 1 - padding, 1, gradient.shape[1])


def _towards_weight(gradient: Tensor, tiles: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    kernel = weight.shape[-1]
    if kernel <= 3:
        return _weight_kernel(gradient, tiles, weight, stride, padding)
    # Windows of 3×3 that together cover the kernel; where two overlap they say the same.
    padded = functional.pad(tiles, (padding,) * 4)
    reach = [stride * (side - 1) + 3 for side in gradient.shape[2:]]
    of_weight = torch.empty_like(weight)
    corner = weight[:, :, :3, :3]
    for down in _starts(kernel):
        for right in _starts(kernel):
            part = padded[:, :, down : down + reach[0], right : right + reach[1]]
            part = part.contiguous(memory_format=torch.channels_last)
            of_weight[:, :, down : down + 3, right : right + 3] = _weight_kernel(gradient, part, corner, stride, 0)
    return of_weight


def _starts(kernel: int) -> list[int]:
    """Where windows of 3 begin so that they cover the kernel."""
    return [*range(0, kernel - 3, 3), kernel - 3]


def _weight_kernel(gradient: Tensor, tiles: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    _, of_weight, _ = torch.ops.aten.convolution_backward(
        gradient, tiles, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], tiles.shape[1],
        [False, True, False],
    )  # fmt: skip
    return cast(Tensor, of_weight)


class _Quick(nn.Conv2d):
    """A depthwise nn.Conv2d; where nothing is learned, or not in bfloat16 on a processor, just that."""

    def _plain(self, tiles: Tensor) -> Tensor:
        return nn.Conv2d.forward(self, tiles)

    def _pad(self, tiles: Tensor) -> tuple[Tensor, int]:
        return tiles, int(self.padding[0])

    def forward(self, tiles: Tensor) -> Tensor:
        """As nn.Conv2d."""
        learns = torch.is_grad_enabled() and tiles.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        if not learns or torch.compiler.is_compiling():
            return self._plain(tiles)
        padded, padding = self._pad(tiles.to(torch.bfloat16))
        # Outside of autocast, which would otherwise change types within.
        with torch.autocast("cpu", enabled=False):
            maps: Tensor = _Depthwise.apply(padded, self.weight.to(torch.bfloat16), int(self.stride[0]), padding)
            return maps if self.bias is None else maps + self.bias.to(maps.dtype)[:, None, None]


@functools.cache
def _same_padded() -> type[_Quick]:
    """The same of timm's convolution that pads as TensorFlow does; made late, for timm takes seconds to import."""
    from timm.layers.conv2d_same import Conv2dSame
    from timm.layers.padding import pad_same

    class QuickSame(_Quick):
        def _plain(self, tiles: Tensor) -> Tensor:
            maps: Tensor = Conv2dSame.forward(self, tiles)  # type: ignore[arg-type, no-untyped-call]
            return maps

        def _pad(self, tiles: Tensor) -> tuple[Tensor, int]:
            return pad_same(tiles, list(self.kernel_size), list(self.stride), list(self.dilation)), 0

    return QuickSame


def quicken(body: nn.Module) -> None:
    """Make the depthwise convolutions of a network learn quickly; weights, names and answers stay as they are."""
    from timm.layers.conv2d_same import Conv2dSame

    for module in body.modules():
        if type(module) not in (nn.Conv2d, Conv2dSame) or not isinstance(module, nn.Conv2d):
            continue
        depthwise = module.groups == module.in_channels == module.out_channels > 1
        square = len({*module.kernel_size}) == len({*module.stride}) == 1 and set(module.dilation) == {1}
        plain = isinstance(module, Conv2dSame) or len({*module.padding}) == 1
        if depthwise and square and plain and module.padding_mode == "zeros" and not isinstance(module.padding, str):
            module.__class__ = _same_padded() if isinstance(module, Conv2dSame) else _Quick
