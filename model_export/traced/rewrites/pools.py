"""Pooling, on images and on rows of time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fedvoice.model_export.traced.forms import basic, pooling
from fedvoice.model_export.traced.forms.pooling import Pair, Windows
from fedvoice.model_export.traced.rewrites.convolutions import Size, one, pair
from fedvoice.model_export.traced.rewriting import Rewriting, replaces

C = torch._C._nn
LOWEST = -1e30
"""Padding that no maximum takes, finite in float32."""


class _Pooling:
    """Windows over x [..., H, W], or [..., T] as one row, and the padding that they need."""

    def __init__(
        self,
        x: Tensor,
        rows: bool,
        kernel: Size,
        stride: Size | None,
        padding: Size,
        dilation: Size,
        ceil_mode: bool,
    ) -> None:
        def both(value: Size, for_rows: int) -> Pair:
            return (for_rows, one(value)) if rows else pair(value)

        # An empty list is how torch passes "as the kernel".
        stride = kernel if stride is None or stride == [] or stride == () else stride
        self.windows = Windows(both(kernel, 1), both(stride, 1), both(dilation, 1))
        self.padding = both(padding, 0)
        self.lead = x.shape[: -1 if rows else -2]
        self.rows = rows
        self.sizes = (1, x.shape[-1]) if rows else (x.shape[-2], x.shape[-1])
        self.extra = [0, 0]
        if ceil_mode:
            self.extra = [self._beyond(axis) for axis in (0, 1)]

    def _beyond(self, axis: int) -> int:
        """Places after the padded image that a last, partial window reads."""
        stride, pad, size = self.windows.stride[axis], self.padding[axis], self.sizes[axis]
        reach = self.windows.dilation[axis] * (self.windows.kernel[axis] - 1) + 1
        count = math.ceil((size + 2 * pad - reach) / stride) + 1
        if (count - 1) * stride >= size + pad:  # it would begin outside
            count -= 1
        return max(0, (count - 1) * stride + reach - size - 2 * pad)

    def padded(self, x: Tensor, fill: float) -> Tensor:
        """x as [N, H, W] with `fill` around."""
        (top, left), (below, beyond) = self.padding, self.extra
        around = (left, left + beyond, top, top + below)
        x = x.reshape(-1, *self.sizes)
        return functional.pad(x, around, value=fill) if any(around) else x

    def shaped(self, y: Tensor) -> Tensor:
        """[N, H', W'] -> as x was."""
        return y.reshape(*self.lead, *y.shape[2 if self.rows else 1 :])

    def read(self, axis: int, counts_padding: bool) -> list[int]:
        """How many places of the image each window sees along an axis."""
        size, pad = self.sizes[axis], self.padding[axis]
        low, high = (-pad, size + pad) if counts_padding else (0, size)
        kernel, stride = self.windows.kernel[axis], self.windows.stride[axis]
        count = (size + 2 * pad + self.extra[axis] - kernel) // stride + 1
        firsts = [n * stride - pad for n in range(count)]
        return [min(first + kernel, high) - max(first, low) for first in firsts]


def _max_pool(
    x: Tensor,
    rows: bool,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Tensor:
    pool = _Pooling(x, rows, kernel_size, stride, padding, dilation, ceil_mode)
    return pool.shaped(pooling.max_pool(pool.padded(x, LOWEST), pool.windows))


@replaces(torch.max_pool1d, name="max_pool")
def max_pool1d(
    mode: Rewriting,
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """The largest of shifted slices."""
    return _max_pool(x, True, kernel_size, stride, padding, dilation, ceil_mode)


@replaces(torch.max_pool2d, name="max_pool")
def max_pool2d(
    mode: Rewriting,
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """The largest of shifted slices."""
    return _max_pool(x, False, kernel_size, stride, padding, dilation, ceil_mode)


def _avg_pool(
    x: Tensor,
    rows: bool,
    kernel_size: Size,
    stride: Size | None,
    padding: Size,
    ceil_mode: bool,
    counts_padding: bool,
    divisor: int | None = None,
) -> Tensor:
    pool = _Pooling(x, rows, kernel_size, stride, padding, 1, ceil_mode)
    sums = pooling.sum_pool(pool.padded(x, 0.0), pool.windows)
    high, wide = (pool.read(axis, counts_padding) for axis in (0, 1))
    if divisor is not None or len({*high}) == len({*wide}) == 1:
        return pool.shaped(sums * (1 / (divisor or high[0] * wide[0])))
    shares = [[1 / (h * w) for w in wide] for h in high]
    return pool.shaped(sums * torch.tensor(shares, dtype=x.dtype))


@replaces(torch.avg_pool1d, name="avg_pool")
def avg_pool1d(
    mode: Rewriting,
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The sum of shifted slices."""
    return _avg_pool(x, True, kernel_size, stride, padding, ceil_mode, count_include_pad)


@replaces(C.avg_pool2d, name="avg_pool")
def avg_pool2d(
    mode: Rewriting,
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The sum of shifted slices."""
    rest = (padding, ceil_mode, count_include_pad, divisor_override)
    return _avg_pool(x, False, kernel_size, stride, *rest)


def _averages(x: Tensor, count: int) -> Tensor:
    """x [..., N] -> means of `count` stretches [..., count], as a product with a constant."""
    size = x.shape[-1]
    stretches = [(n * size // count, -(-(n + 1) * size // count)) for n in range(count)]
    shares = [
        [1 / (last - first) if first <= i < last else 0.0 for i in range(size)]
        for first, last in stretches
    ]
    return basic.affine(x, torch.tensor(shares, dtype=x.dtype), None)


@replaces(torch.adaptive_avg_pool1d, name="adaptive_avg_pool")
def adaptive_avg_pool1d(mode: Rewriting, x: Tensor, output_size: Size) -> Tensor:
    """A product with a constant."""
    return _averages(x, one(output_size))


@replaces(C.adaptive_avg_pool2d, name="adaptive_avg_pool")
def adaptive_avg_pool2d(mode: Rewriting, x: Tensor, output_size: Sequence[int] | int) -> Tensor:
    """A product with a constant for each axis."""
    high, wide = pair(output_size)
    return _averages(_averages(x, wide).transpose(-1, -2), high).transpose(-1, -2)
