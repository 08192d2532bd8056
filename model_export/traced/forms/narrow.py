"""Depthwise convolution of narrow images with stride 1 as one product a channel.

A band [KH * W, W'] of the kernel's rows, side by side, makes a whole row of the result from KH rows
of the image; padding of the width is what the band leaves out. The gradient's rows are gathered
once for both gradients, and the image itself is all that is kept for them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fedvoice.model_export.traced.forms.basic import (
    Backward,
    Gradients,
    Needs,
    permute,
    taught,
    total,
)

WIDEST = 32
"""Of images: products grow with the width, gathering does not."""
Pair = tuple[int, int]
pad = torch.constant_pad_nd


class _Band(NamedTuple):
    """How a kernel [KH, KW] lies over rows of W places."""

    wide: int
    kernel: Pair
    padding: Pair

    @property
    def places(self) -> int:
        """W': places of a row of the result."""
        return self.wide + 2 * self.padding[1] - self.kernel[1] + 1

    def of(self, w: Tensor) -> Tensor:
        """w [C, KH, KW] -> [C, KH, W', W]: what a place of the result takes from each of a row.

        Without a gather: a row of S+1 repeated W' times and cut into rows of S moves right by one
        in each; S are the places with padding.
        """
        c, (kh, kw), left = w.shape[0], self.kernel, self.padding[1]
        s = self.wide + 2 * left
        longer = torch.cat([w, w.new_zeros(c, kh, s + 1 - kw)], 2).reshape(c * kh, 1, s + 1)
        cut = (longer * w.new_ones(1, self.places, 1)).reshape(c * kh, -1)[:, : self.places * s]
        return cut.reshape(c, kh, self.places, s)[..., left : left + self.wide]

    def adjoint(self, bands: Tensor) -> Tensor:
        """That of `of`, from [C, KH, W', W]."""
        c, (kh, kw), left = bands.shape[0], self.kernel, self.padding[1]
        s = self.wide + 2 * left
        around = pad(bands, [left, left], 0.0) if left else bands
        flat = pad(around.reshape(c * kh, -1), [0, self.places], 0.0)
        return total(flat.reshape(c * kh, self.places, s + 1), [1])[:, :kw].reshape(c, kh, kw)


def _rows(x: Tensor, above: int, count: int) -> Tensor:
    """x [C, M, H, W] -> `count` rows from each on, zeros around: [C, M*H', count*W]."""
    c, m, h, wide = x.shape
    high = h + 2 * above - count + 1
    around = pad(x, [0, 0, above, above], 0.0) if above else x
    if count > 1:
        around = torch.cat([around[:, :, i : i + high] for i in range(count)], 3)
    return around.reshape(c, m * high, count * wide)


def _turned(w: Tensor) -> Tensor:
    """w [C, KH, ...] with the rows of the kernel turned round."""
    kh = w.shape[1]
    return torch.cat([w[:, i : i + 1] for i in reversed(range(kh))], 1) if kh > 1 else w


@taught
def depthwise_narrow(needs: Needs, x: Tensor, w: Tensor, padding: Pair) -> tuple[Tensor, Backward]:
    """x [C, M, H, W], w [C, KH, KW] -> [C, M, H', W']; padding below the kernel's sizes."""
    (c, m, h, wide), (kh, kw), top = x.shape, w.shape[1:], padding[0]
    band = _Band(wide, (kh, kw), padding)
    high = h + 2 * top - kh + 1
    by_rows = permute(band.of(w), 0, 1, 3, 2).reshape(c, kh * wide, band.places)
    y = torch.bmm(_rows(x, top, kh), by_rows)

    def backward(grad: Tensor) -> Gradients:
        by_input = by_weight = None
        rows = _rows(grad, kh - 1 - top, kh)
        if needs[0]:
            turned = band.of(_turned(w)).reshape(c, kh * band.places, wide)
            by_input = torch.bmm(rows, turned).reshape(x.shape)
        if needs[1]:
            found = torch.bmm(permute(rows, 0, 2, 1), x.reshape(c, m * h, wide))
            by_weight = _turned(band.adjoint(found.reshape(c, kh, band.places, wide)))
        return by_input, by_weight

    return y.reshape(c, m, high, band.places), backward
