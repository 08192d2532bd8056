"""Convolution and max-pooling as gathers and products, with their gradients.

The stock kernels' gradient of a convolution is slow and that of max-pooling wrong, so both are
expressed by gathers of rows and matrix products. Activations are [channels, places, images]: a
gather moves whole rows of images, and its result is already a matrix. Places of an image to be
pooled are ordered window by window (`pool_order`), so that pooling is the maximum of four blocks.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fedvoice.model_export.graphs.ops import linear, permute, product, row_sums

WINDOW = 4
"""Places of a 2x2 pooling window."""


class ConvolutionTables(NamedTuple):
    """int64 tables of a "same" convolution on side x side images, K = kernel^2, P = side^2.

    from_input [K*P]: for each tap and each place of the result (in `pool_order`) the place of the
    input (row by row) that it reads; P, a place of zeros, outside the image.
    from_result [K*P]: the reverse: for each tap and each place of the input the place of the
    result that reads it by this tap.
    """

    from_input: Tensor
    from_result: Tensor


def pool_order(side: int) -> Tensor:
    """Places row by row, int64 [side^2], window offset outermost: 4 blocks of side^2 / 4."""
    rows = torch.arange(side * side).reshape(side // 2, 2, side // 2, 2)
    return rows.permute(1, 3, 0, 2).reshape(-1)


def convolution_tables(side: int, kernel: int) -> ConvolutionTables:
    """See `ConvolutionTables`; kernel is odd."""
    places, reach = side * side, kernel // 2
    row, column = torch.arange(places) // side, torch.arange(places) % side
    tap = torch.arange(kernel * kernel)
    down, right = tap // kernel - reach, tap % kernel - reach

    def shifted(sign: int) -> Tensor:
        """[K, P]: each place moved by each tap; P outside the image."""
        r = row[None] + sign * down[:, None]
        c = column[None] + sign * right[:, None]
        inside = (r >= 0) & (r < side) & (c >= 0) & (c < side)
        return torch.where(inside, r * side + c, torch.full_like(r, places))

    order = pool_order(side)
    place_in_order = torch.cat([torch.argsort(order), torch.tensor([places])])
    return ConvolutionTables(
        from_input=shifted(1)[:, order].reshape(-1),
        from_result=place_in_order[shifted(-1)].reshape(-1),
    )


def gather_taps(images: Tensor, table: Tensor) -> Tensor:
    """images [I, P, N], table int64 [K*P] -> [I*K, P*N], zeros where a tap leaves the image."""
    channels, places, count = images.shape
    padded = torch.cat([images, torch.zeros(channels, 1, count)], 1)
    taps = table.shape[0] // places
    return padded.index_select(1, table).reshape(channels * taps, places * count)


def input_gradient(grad: Tensor, weight: Tensor, table: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The gradient of a convolution's input: a convolution with transposed channels.

    Args:
        grad: of the result [O, P*N], places in `pool_order`. weight: [O, I, K].
        table: `from_result`. shape: the input's, (I, P, N).
    """
    outputs, inputs, taps = weight.shape
    gathered = gather_taps(grad.reshape(outputs, *shape[1:]), table)
    by_input = permute(weight, 1, 0, 2).reshape(inputs, outputs * taps)
    return product(by_input, gathered).reshape(shape)


class Pooled(NamedTuple):
    """Result of one block of layers.

    values: [O, P/4, N]. columns: its gathered input [I*K, P*N]. blocks: convolution before the
    ReLU, four of [O, P/4 * N].
    """

    values: Tensor
    columns: Tensor
    blocks: tuple[Tensor, ...]


def convolve_and_pool(images: Tensor, weight: Tensor, bias: Tensor, table: Tensor) -> Pooled:
    """2x2 max-pooling of ReLU of a "same" convolution; pooling before the ReLU, which commutes.

    Args:
        images: [I, P, N], places row by row. weight: [O, I, K]. bias: [O].
        table: `from_input`.
    """
    outputs, count = weight.shape[0], images.shape[2]
    columns = gather_taps(images, table)
    rows = product(weight.reshape(outputs, -1), columns) + bias.reshape(outputs, 1)
    width = rows.shape[1] // WINDOW
    blocks = tuple(rows[:, k * width : (k + 1) * width] for k in range(WINDOW))
    top = blocks[0]
    for block in blocks[1:]:
        top = torch.maximum(top, block)
    values = torch.relu(top).reshape(outputs, -1, count)
    return Pooled(values, columns, blocks)


def unpool(pooled: Pooled, grad: Tensor) -> Tensor:
    """Gradient of the convolution's result [O, P*N] from that of the pooled values [O, P/4, N].

    Each goes to the first place in its window that has the largest value, as PyTorch's does:
    equal values are common where an image is blank.
    """
    top = pooled.values.reshape(pooled.values.shape[0], -1)
    left = grad.reshape(top.shape) * (top > 0).to(torch.float32)
    given = []
    for block in pooled.blocks:
        share = left * (block == top).to(torch.float32)
        given.append(share)
        left = left - share
    return torch.cat(given, 1)


def weight_gradients(grad: Tensor, pooled: Pooled) -> tuple[Tensor, Tensor]:
    """Gradients of weight [O, I*K] and bias [O] from that of the convolution's result [O, P*N]."""
    return linear(grad, pooled.columns), row_sums(grad)
