"""One LSTM direction and its gradient as scan loops, feature-major.

Everything here is in *scan order*: step 0 is the first frame for the forward direction and the
last frame for the reverse direction. Gradients walk the scan backwards, so their inputs are in
*reverse scan order*, which for the reverse direction is the natural order of time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from fedvoice.model_export.graphs.ops import (
    Tensors,
    linear,
    permute,
    product,
    reversal,
    reverse_time,
    row_sums,
    scan,
)


class LstmWeights(NamedTuple):
    """weight_ih [4H, I], weight_hh [4H, H], bias [4H]; gate order input, forget, cell, output."""

    weight_ih: Tensor
    weight_hh: Tensor
    bias: Tensor

    @property
    def hidden_size(self) -> int:
        return int(self.weight_hh.shape[1])


class LstmTrace(NamedTuple):
    """The values saved for the gradient, in scan order.

    hidden [T, H, B] after each step; cell_before [T, H, B] before it (the cell after it is two
    products away); gates [T, 4H, B].
    """

    hidden: Tensor
    cell_before: Tensor
    gates: Tensor


class LstmGradients(NamedTuple):
    """Gradients of the weights, and of the inputs [I, T*B] in reverse scan order if asked for."""

    weight_ih: Tensor
    weight_hh: Tensor
    bias: Tensor
    inputs: Tensor | None


def lstm_cell(gates: Tensor, cell: Tensor, hidden_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """gates [4H, B] before the non-linearities, cell [H, B] -> hidden, cell, activated gates."""
    h = hidden_size
    i, f = torch.sigmoid(gates[:h]), torch.sigmoid(gates[h : 2 * h])
    g, o = torch.tanh(gates[2 * h : 3 * h]), torch.sigmoid(gates[3 * h :])
    new_cell = f * cell + i * g
    return o * torch.tanh(new_cell), new_cell, torch.cat([i, f, g, o], 0)


def lstm_forward(
    inputs: Tensor, weights: LstmWeights, batch: int, reverse_valid: Tensor | None = None
) -> LstmTrace:
    """Run one direction over inputs [I, T*B] (natural order of time).

    Args:
        reverse_valid: None for the forward direction. For the reverse direction the validity
            [T, 1, B] (1 inside, 0 past the length) in scan order: multiplying the state by it
            keeps the state zero until a row's last frame, which equals a packed LSTM.
    """
    h = weights.hidden_size
    frames = inputs.shape[1] // batch
    projected = product(weights.weight_ih, inputs) + weights.bias.reshape(4 * h, 1)
    by_frame = permute(projected.reshape(4 * h, frames, batch), 1, 0, 2)

    def forward(carry: Tensors, xs: Tensors, captured: Tensors) -> tuple[Tensors, Tensors]:
        hidden, before = carry
        (weight_hh,) = captured
        hidden, cell, gates = lstm_cell(xs[0] + weight_hh.mm(hidden), before, h)
        return (hidden, cell), (hidden.clone(), before.clone(), gates)

    def reverse(carry: Tensors, xs: Tensors, captured: Tensors) -> tuple[Tensors, Tensors]:
        hidden, before = carry
        index, valid = xs
        weight_hh, frames_in = captured
        gates_in = frames_in.index_select(0, index).reshape(4 * h, batch)
        gates_in = gates_in + weight_hh.mm(hidden)
        hidden, cell, gates = lstm_cell(gates_in, before, h)
        hidden, cell = hidden * valid, cell * valid
        return (hidden, cell), (hidden.clone(), before.clone(), gates)

    start = torch.zeros(h, batch)
    if reverse_valid is None:
        _, traced = scan(forward, (start, start.clone()), (by_frame,), (weights.weight_hh,))
    else:
        order = reversal(frames).reshape(frames, 1)
        captured = (weights.weight_hh, by_frame)
        _, traced = scan(reverse, (start, start.clone()), (order, reverse_valid), captured)
    hidden, cell_before, gates = traced
    return LstmTrace(hidden, cell_before, gates)


def lstm_backward(
    grad_hidden: Tensor,
    inputs: Callable[[], Tensor],
    weights: LstmWeights,
    trace: LstmTrace,
    *,
    valid: Tensor | None = None,
    need_inputs: bool = True,
) -> LstmGradients:
    """Gradients of one direction.

    Saved gates and cells are read by index inside the loop, never reversed as a whole.

    Args:
        grad_hidden: gradient of the outputs [T, H, B], reverse scan order.
        inputs: makes the inputs [I, T*B], reverse scan order, when they are needed: after the
            loop, so that they do not lie in memory during it.
        valid: validity [T, 1, B] in reverse scan order, for the reverse direction only.
    """
    frames, h, batch = trace.hidden.shape

    def backward(carry: Tensors, xs: Tensors, captured: Tensors) -> tuple[Tensors, Tensors]:
        grad_h, grad_c = carry
        cells_before, gates, weight_t = captured
        grad_y, index = xs[:2]
        activated = gates.index_select(0, index).reshape(4 * h, batch)
        before = cells_before.index_select(0, index).reshape(h, batch)
        i, f = activated[:h], activated[h : 2 * h]
        g, o = activated[2 * h : 3 * h], activated[3 * h :]
        grad_h = grad_h + grad_y
        if valid is not None:
            grad_h, grad_c = grad_h * xs[2], grad_c * xs[2]
        squashed = torch.tanh(f * before + i * g)
        grad_c = grad_c + grad_h * o * (1 - squashed * squashed)
        grad_gates = torch.cat(
            [
                grad_c * g * i * (1 - i),
                grad_c * before * f * (1 - f),
                grad_c * i * (1 - g * g),
                grad_h * squashed * o * (1 - o),
            ],
            0,
        )
        return (weight_t.mm(grad_gates), grad_c * f), (grad_gates.clone(),)

    xs: Tensors = (grad_hidden, reversal(frames).reshape(frames, 1))
    if valid is not None:
        xs = (*xs, valid)
    end = torch.zeros(h, batch)
    captured = (trace.cell_before, trace.gates, permute(weights.weight_hh, 1, 0))
    _, (stacked,) = scan(backward, (end, end.clone()), xs, captured)
    grad_gates = permute(stacked, 1, 0, 2).reshape(4 * h, frames * batch)
    start = torch.zeros(1, h, batch)
    previous = reverse_time(torch.cat([start, trace.hidden[:-1]], 0))
    previous = permute(previous, 1, 0, 2).reshape(h, frames * batch)
    return LstmGradients(
        weight_ih=linear(grad_gates, inputs()),
        weight_hh=linear(grad_gates, previous),
        bias=row_sums(grad_gates),
        inputs=product(permute(weights.weight_ih, 1, 0), grad_gates) if need_inputs else None,
    )
