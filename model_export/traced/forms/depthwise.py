"""Depthwise convolution with stride 1 as products of windows with a banded matrix.

A block of L places along W reads L + KW - 1 = S places, so windows [C, N, S] times a band
[C, S, L] are C products of one batch. Rows of the kernel are summed, not put side by side:
concatenating short rows costs more than the products.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from fedvoice.model_export.graphs.ops import reversal
from fedvoice.model_export.traced.forms.basic import (
    Backward,
    Gradients,
    Needs,
    permute,
    taught,
    total,
)

SMALLEST_BLOCK = 16
"""Places along W that one product makes, unless the result is narrower."""
pad = torch.constant_pad_nd


class _Blocked(NamedTuple):
    """Rows of results cut into `blocks` of `places` each, for a kernel [KH, KW]."""

    blocks: int
    places: int
    kernel: tuple[int, int]

    @property
    def reach(self) -> int:
        """S: places that a block reads."""
        return self.places + self.kernel[1] - 1

    def windows(self, x: Tensor) -> list[Tensor]:
        """x [C, M, H, W] -> for each row of the kernel [C, M*H'*blocks, S]."""
        (kh, kw), high = self.kernel, x.shape[2] - self.kernel[0] + 1
        wide = x.unsqueeze(3)
        if self.blocks > 1:  # a block and the head of the next one
            missing = max(0, (self.blocks + 1) * self.places - x.shape[3])
            more = pad(x, [0, missing], 0.0)
            here, following = (
                more[..., i * self.places : (self.blocks + i) * self.places].reshape(
                    *x.shape[:3], self.blocks, self.places
                )
                for i in (0, 1)
            )
            wide = torch.cat([here, following[..., : kw - 1]], 4) if kw > 1 else here
        rows = [wide[:, :, i : i + high] if kh > 1 else wide for i in range(kh)]
        return [row.reshape(x.shape[0], -1, self.reach) for row in rows]

    def bands(self, w: Tensor) -> Tensor:
        """w [C, KH, KW] -> [KH, C, S, L].

        Without a gather: a row of S+1 repeated L times and cut into rows of S moves right by one
        in each.
        """
        c, (kh, kw), s = w.shape[0], self.kernel, self.reach
        longer = torch.cat([w, w.new_zeros(c, kh, s + 1 - kw)], 2)
        rows = longer.reshape(c * kh, 1, s + 1) * w.new_ones(1, self.places, 1)
        cut = rows.reshape(c * kh, -1)[:, : self.places * s]
        return permute(cut.reshape(c, kh, self.places, s), 1, 0, 3, 2)

    def unband(self, bands: Tensor) -> Tensor:
        """The adjoint of `bands`, from [C, KH, L*S]."""
        c, (kh, kw) = bands.shape[0], self.kernel
        longer = torch.cat([bands, bands.new_zeros(c, kh, self.places)], 2)
        rows = longer.reshape(c * kh, self.places, self.reach + 1)
        return total(rows, [1])[:, :kw].reshape(c, kh, kw)


@taught
def depthwise(needs: Needs, x: Tensor, w: Tensor) -> tuple[Tensor, Backward]:
    """x [C, M, H, W] padded already, w [C, KH, KW] -> [C, M, H-KH+1, W-KW+1]."""
    c, kh, kw = w.shape
    high, wide = x.shape[2] - kh + 1, x.shape[3] - kw + 1
    places = min(wide, max(kw - 1, SMALLEST_BLOCK))
    cut = _Blocked(-(-wide // places), places, (kh, kw))
    bands = cut.bands(w)
    by_row = [torch.bmm(seen, bands[i]) for i, seen in enumerate(cut.windows(x))]
    y = functools.reduce(torch.add, by_row)

    def backward(grad: Tensor) -> Gradients:
        by_input = by_weight = None
        if needs[0]:
            order = reversal(kh * kw)
            turned = w.reshape(c, -1).index_select(1, order).reshape(w.shape)
            around = pad(grad, [kw - 1, kw - 1, kh - 1, kh - 1], 0.0)
            by_input = depthwise(around, turned)
        if needs[1]:
            full = pad(grad, [0, cut.blocks * places - wide], 0.0)
            turned = permute(full.reshape(c, -1, places), 0, 2, 1)
            found = [torch.bmm(turned, seen) for seen in cut.windows(x)]
            by_weight = cut.unband(torch.stack(found, 1).reshape(c, kh, -1))
        return by_input, by_weight

    return y.reshape(*x.shape[:2], high, -1)[..., :wide], backward
