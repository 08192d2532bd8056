"""Convolution as gathered taps and one product, with its gradients.

Channels come first inside ([C, B*H*W]): forward is `product(w, taps)`, the gradient of w
`linear(g, taps)` and that of x `product(w^T, taps of g)`, so no activation is transposed for a
product. A stride is undone by splitting the image into phases, so that taps are whole rows. Taps
are gathered anew in backward: K times less is kept in memory.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fedvoice.model_export.traced.forms.basic import (
    Backward,
    Gradients,
    Needs,
    linear,
    permute,
    product,
    taught,
)

Pair = tuple[int, int]
"""Of height and width."""
pad = torch.constant_pad_nd


class Geometry(NamedTuple):
    """How a kernel moves over an image."""

    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    def result_size(self, sizes: tuple[int, ...], kernel: tuple[int, ...]) -> Pair:
        """Height and width of the result for those of the image."""
        high, wide = (
            (sizes[i] + 2 * self.padding[i] - self.dilation[i] * (kernel[i] - 1) - 1)
            // self.stride[i]
            + 1
            for i in (0, 1)
        )
        return high, wide

    def places(self, kernel: tuple[int, ...]) -> list[Pair]:
        """Where each tap of the kernel reads, from its first one."""
        down, right = self.dilation
        return [(i * down, j * right) for i in range(kernel[0]) for j in range(kernel[1])]


@taught
def convolve(needs: Needs, x: Tensor, w: Tensor, geometry: Geometry) -> tuple[Tensor, Backward]:
    """x [B, C, H, W], w [O, C/G, KH, KW] -> [B, O, H', W']."""
    outputs, kernel = w.shape[0], tuple(w.shape[2:])
    size = geometry.result_size(tuple(x.shape[2:]), kernel)
    phases = split_phases(x, geometry)
    y = _by_groups(w.reshape(outputs, -1), _taps(phases, kernel, geometry, size), geometry.groups)

    def backward(grad: Tensor) -> Gradients:
        by_channel = permute(grad, 1, 0, 2, 3)
        return (
            input_gradient(by_channel, w, tuple(x.shape), geometry) if needs[0] else None,
            weight_gradient(phases, by_channel, tuple(w.shape), geometry) if needs[1] else None,
        )

    return permute(y.reshape(outputs, x.shape[0], *size), 1, 0, 2, 3), backward


@taught
def convolve_transposed(
    needs: Needs, x: Tensor, w: Tensor, geometry: Geometry, size: Pair
) -> tuple[Tensor, Backward]:
    """The adjoint of `convolve` by its image.

    x [B, O, H', W'], w [O, C/G, KH, KW] -> [B, C, *size].
    """
    batch, outputs = x.shape[:2]
    kernel, channels = tuple(w.shape[2:]), w.shape[1] * geometry.groups
    by_channel = permute(x, 1, 0, 2, 3)
    y = input_gradient(by_channel, w, (batch, channels, *size), geometry)

    def backward(grad: Tensor) -> Gradients:
        phases = split_phases(grad, geometry)
        by_input = by_weight = None
        if needs[0]:
            taps = _taps(phases, kernel, geometry, (x.shape[2], x.shape[3]))
            rows = _by_groups(w.reshape(outputs, -1), taps, geometry.groups)
            by_input = permute(rows.reshape(outputs, batch, *x.shape[2:]), 1, 0, 2, 3)
        if needs[1]:
            by_weight = weight_gradient(phases, by_channel, tuple(w.shape), geometry)
        return by_input, by_weight

    return y, backward


def split_phases(x: Tensor, geometry: Geometry) -> Tensor:
    """[B, C, H, W] -> [SH, SW, C, B, H'', W''] after padding; SH, SW are the strides."""
    down, right = geometry.stride
    top, left = geometry.padding
    below, beyond = -(x.shape[2] + 2 * top) % down, -(x.shape[3] + 2 * left) % right
    pads = [left, left + beyond, top, top + below]
    x = permute(pad(x, pads, 0.0) if any(pads) else x, 1, 0, 2, 3)
    c, b, h, w = x.shape
    if (down, right) == (1, 1):
        return x.reshape(1, 1, c, b, h, w)
    if down == 1:
        columns = permute(x.reshape(-1, w // right, right), 2, 0, 1)
        return columns.reshape(1, right, c, b, h, -1)
    blocks = x.reshape(c, b, h // down, down, w // right, right)
    return permute(blocks, 3, 5, 0, 1, 2, 4)


def _taps(phases: Tensor, kernel: tuple[int, ...], geometry: Geometry, size: Pair) -> Tensor:
    """[SH, SW, C, B, H'', W''] -> what each tap sees [C*K, B*H'*W']."""
    (down, right), (high, wide) = geometry.stride, size
    parts = []
    for i, j in geometry.places(kernel):
        phase = phases[i % down, j % right]
        seen = phase[:, :, i // down :, j // right :][:, :, :high, :wide]
        parts.append(seen.reshape(phases.shape[2], 1, -1))
    return _stack(parts)


def _stack(parts: list[Tensor]) -> Tensor:
    """K parts [C, 1, N] -> [C*K, N]."""
    stacked = torch.cat(parts, 1) if len(parts) > 1 else parts[0]
    return stacked.reshape(parts[0].shape[0] * len(parts), -1)


def _by_groups(w: Tensor, taps: Tensor, groups: int) -> Tensor:
    """w [O, C*K/G] times taps [C*K, N] -> [O, N], each group for itself."""
    if groups == 1:
        return product(w, taps)
    w = w.reshape(groups, -1, w.shape[1])
    found = torch.bmm(w, taps.reshape(groups, w.shape[2], -1))
    return found.reshape(groups * w.shape[1], -1)


def weight_gradient(
    phases: Tensor, grad: Tensor, shape: tuple[int, ...], geometry: Geometry
) -> Tensor:
    """The gradient of w [O, C/G, KH, KW] from that of the result [O, B, H', W']."""
    outputs, inputs, groups = shape[0], shape[1], geometry.groups
    size = (grad.shape[2], grad.shape[3])
    taps = _taps(phases, shape[2:], geometry, size)
    rows = grad.reshape(outputs, -1)
    if groups == 1:
        return linear(rows, taps).reshape(shape)
    by_group = taps.reshape(groups, inputs * shape[2] * shape[3], -1)
    if outputs == groups:  # one row a group: the other way round packs it, not the taps
        return torch.bmm(by_group, rows.reshape(outputs, -1, 1)).reshape(shape)
    grouped = rows.reshape(groups, outputs // groups, -1)
    return torch.bmm(grouped, permute(by_group, 0, 2, 1)).reshape(shape)


def input_gradient(grad: Tensor, w: Tensor, shape: tuple[int, ...], geometry: Geometry) -> Tensor:
    """The gradient of x (shape [B, C, H, W]) from that of the result [O, B, H', W'].

    For each phase of the image a convolution with the taps that read it, channels turned.
    """
    (outputs, inputs, *kernel), (batch, channels, h, width) = w.shape, shape
    (down, right), (top, left), groups = geometry.stride, geometry.padding, geometry.groups
    high, wide = -(-(h + 2 * top) // down), -(-(width + 2 * left) // right)
    taps = kernel[0] * kernel[1]
    turned = permute(w.reshape(groups, outputs // groups, inputs, taps), 0, 2, 1, 3)
    places = geometry.places(tuple(kernel))
    rows = []
    for phase in ((i, j) for i in range(down) for j in range(right)):
        mine = [n for n, (i, j) in enumerate(places) if (i % down, j % right) == phase]
        if not mine:
            rows.append(grad.new_zeros(channels, batch, high, wide))
            continue
        shifts = [(places[n][0] // down, places[n][1] // right) for n in mine]
        seen = _shifted(grad, shifts, (high, wide))
        chosen = turned
        if len(mine) < taps:
            chosen = torch.cat([turned[..., n : n + 1] for n in mine], -1)
        found = _by_groups(chosen.reshape(channels, -1), seen, groups)
        rows.append(found.reshape(channels, batch, high, wide))
    x = _join_phases(rows, geometry.stride)
    return permute(x[:, :, top : top + h, left : left + width], 1, 0, 2, 3)


def _shifted(grad: Tensor, shifts: list[Pair], size: Pair) -> Tensor:
    """grad [O, B, H', W'] moved down and right by each shift: [O*K, B*size], zeros moving in."""
    (high, wide), (top, left) = size, (max(s[0] for s in shifts), max(s[1] for s in shifts))
    pads = [left, max(0, wide - grad.shape[3]), top, max(0, high - grad.shape[2])]
    around = pad(grad, pads, 0.0) if any(pads) else grad
    parts = [around[:, :, top - i : top - i + high, left - j : left - j + wide] for i, j in shifts]
    return _stack([part.reshape(grad.shape[0], 1, -1) for part in parts])


def _join_phases(rows: list[Tensor], stride: Pair) -> Tensor:
    """The adjoint of `split_phases`: SH*SW of [C, B, H'', W''] -> [C, B, H, W], padding kept."""
    (down, right), (c, b, high, wide) = stride, rows[0].shape
    if len(rows) == 1:
        return rows[0]
    stacked = torch.stack(rows)
    if down == 1:
        x = permute(stacked.reshape(right, -1, wide), 1, 2, 0)
    else:
        x = permute(stacked.reshape(down, right, c, b, high, wide), 2, 3, 4, 0, 5, 1)
    return x.reshape(c, b, high * down, wide * right)
