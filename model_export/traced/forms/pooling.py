"""Pooling as the largest or the sum of shifted slices.

The runtime's own gradient of max pooling adds to memory that nobody cleared.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from fedvoice.model_export.traced.forms.basic import (
    Backward,
    Gradients,
    Needs,
    permute,
    positive,
    spread,
    taught,
)

Pair = tuple[int, int]
"""Of height and width."""


class Windows(NamedTuple):
    """Windows of an image that needs no more padding."""

    kernel: Pair
    stride: Pair
    dilation: Pair = (1, 1)

    def places(self) -> Iterator[Pair]:
        """Where each tap of the kernel stands in its window."""
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                yield i * self.dilation[0], j * self.dilation[1]

    def result_size(self, sizes: tuple[int, ...]) -> Pair:
        """How many windows an image of these sizes has."""
        high, wide = (
            (size - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, dilation in zip(
                sizes, self.kernel, self.stride, self.dilation, strict=True
            )
        )
        return high, wide

    def slices(self, x: Tensor) -> list[Tensor]:
        """x [N, H, W] -> for each tap what all windows see of it [N, H', W']."""
        (high, wide), (down, right) = self.result_size(tuple(x.shape[1:])), self.stride
        return [
            x[:, i : i + (high - 1) * down + 1 : down][:, :, j : j + (wide - 1) * right + 1 : right]
            for i, j in self.places()
        ]

    def unslice(self, parts: list[Tensor], shape: tuple[int, ...]) -> Tensor:
        """The adjoint of `slices`."""
        if self.dilation == (1, 1) and self.stride == self.kernel:
            return self._joined(parts, shape)
        whole = [
            spread(spread(part, 1, i, self.stride[0], shape[1]), 2, j, self.stride[1], shape[2])
            for part, (i, j) in zip(parts, self.places(), strict=True)
        ]
        return functools.reduce(torch.add, whole)

    def _joined(self, parts: list[Tensor], shape: tuple[int, ...]) -> Tensor:
        """The adjoint where windows are tiles: one copy, not a sum of images with gaps."""
        (down, right), (n, high, wide) = self.kernel, parts[0].shape
        stacked = torch.cat([part.unsqueeze(0) for part in parts]) if len(parts) > 1 else parts[0]
        tiles = permute(stacked.reshape(down, right, n, high, wide), 2, 3, 0, 4, 1)
        joined = tiles.reshape(n, high * down, wide * right)
        beyond = [0, shape[2] - joined.shape[2], 0, shape[1] - joined.shape[1]]
        return torch.constant_pad_nd(joined, beyond, 0.0) if any(beyond) else joined


@taught
def max_pool(needs: Needs, x: Tensor, windows: Windows) -> tuple[Tensor, Backward]:
    """x [N, H, W] -> [N, H', W']; the gradient goes to the first of equals, as PyTorch's does."""
    parts = [part.clone() for part in windows.slices(x)]
    y = functools.reduce(torch.maximum, parts)

    def backward(grad: Tensor) -> Gradients:
        shares, left = [], grad
        for part in parts:
            share = left * (1 - positive((y - part) * 1e8))
            shares.append(share)
            left = left - share
        return windows.unslice(shares, tuple(x.shape))

    return y, backward


@taught
def sum_pool(needs: Needs, x: Tensor, windows: Windows) -> tuple[Tensor, Backward]:
    """x [N, H, W] -> sums of its windows [N, H', W']."""
    y = functools.reduce(torch.add, windows.slices(x))
    taps = windows.kernel[0] * windows.kernel[1]
    return y, lambda grad: windows.unslice([grad] * taps, tuple(x.shape))
