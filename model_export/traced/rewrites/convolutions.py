"""Convolutions: of one row for time, by depthwise bands where those win, transposed ones too."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fedvoice.model_export.traced.forms.convolution import (
    Geometry,
    Pair,
    convolve,
    convolve_transposed,
)
from fedvoice.model_export.traced.forms.depthwise import depthwise
from fedvoice.model_export.traced.forms.narrow import WIDEST, depthwise_narrow
from fedvoice.model_export.traced.rewrites.norms import scaled
from fedvoice.model_export.traced.rewriting import Rewriting, replaces

Size = int | Sequence[int]


def pair(value: Size) -> Pair:
    """A number for both axes, or one for each."""
    if isinstance(value, int):
        return value, value
    return value[0], value[-1]


def one(value: Size) -> int:
    """A number, or a list of one."""
    return value if isinstance(value, int) else value[0]


@replaces(torch.conv1d)
def conv1d(
    mode: Rewriting,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """x [B, C, T] or [C, T], weight [O, C/G, K], as an image of one row."""
    y = conv2d(
        mode,
        x.unsqueeze(-2),
        weight.unsqueeze(2),
        bias,
        (1, one(stride)),
        padding if isinstance(padding, str) else (0, one(padding)),
        (1, one(dilation)),
        groups,
    )
    return y.squeeze(-2)


@replaces(torch.conv2d)
def conv2d(
    mode: Rewriting,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """x [B, C, H, W] or [C, H, W], weight [O, C/G, KH, KW]."""
    if x.dim() == 3:
        whole = conv2d(mode, x.unsqueeze(0), weight, bias, stride, padding, dilation, groups)
        return whole.squeeze(0)
    down_right, apart = pair(stride), pair(dilation)
    if padding == "same":
        high, wide = (d * (k - 1) for d, k in zip(apart, weight.shape[2:], strict=True))
        around = (wide // 2, wide - wide // 2, high // 2, high - high // 2)
        x = functional.pad(x, around)
    top_left = (0, 0) if isinstance(padding, str) else pair(padding)
    geometry = Geometry(down_right, top_left, apart, groups)
    if min(geometry.result_size(tuple(x.shape[2:]), tuple(weight.shape[2:]))) < 1:
        mode.refuse(
            f"a convolution of {list(x.shape[2:])} places by a kernel of {list(weight.shape[2:])}",
            "an input at least as large as the kernel",
            "Give the bucket more frames, or the convolution some padding.",
        )
    single = groups == x.shape[1] == weight.shape[0]
    if single and down_right == apart == (1, 1) and weight.shape[2:].numel() > 1:
        (top, left), by_channel = top_left, x.transpose(0, 1)
        if x.shape[3] <= WIDEST and top < weight.shape[2] and left < weight.shape[3]:
            y = depthwise_narrow(by_channel, weight.squeeze(1), top_left).transpose(0, 1)
        else:
            padded = functional.pad(by_channel, (left, left, top, top))
            y = depthwise(padded, weight.squeeze(1)).transpose(0, 1)
    else:
        y = convolve(x, weight, geometry)
    return scaled(y, None, bias, [-1, 1, 1])


@replaces(torch.conv_transpose1d)
def conv_transpose1d(
    mode: Rewriting,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """x [B, C, T] or [C, T], weight [C, O/G, K], as an image of one row."""
    y = conv_transpose2d(
        mode,
        x.unsqueeze(-2),
        weight.unsqueeze(2),
        bias,
        (1, one(stride)),
        (0, one(padding)),
        (0, one(output_padding)),
        groups,
        (1, one(dilation)),
    )
    return y.squeeze(-2)


@replaces(torch.conv_transpose2d)
def conv_transpose2d(
    mode: Rewriting,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """x [B, C, H, W] or [C, H, W], weight [C, O/G, KH, KW]: the gradient of a convolution."""
    if x.dim() == 3:
        options = (stride, padding, output_padding, groups, dilation)
        return conv_transpose2d(mode, x.unsqueeze(0), weight, bias, *options).squeeze(0)
    geometry = Geometry(pair(stride), pair(padding), pair(dilation), groups)
    high, wide = (
        (x.shape[i + 2] - 1) * geometry.stride[i]
        - 2 * geometry.padding[i]
        + geometry.dilation[i] * (weight.shape[i + 2] - 1)
        + pair(output_padding)[i]
        + 1
        for i in (0, 1)
    )
    return scaled(convolve_transposed(x, weight, geometry, (high, wide)), None, bias, [-1, 1, 1])
