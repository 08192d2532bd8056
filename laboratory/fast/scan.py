"""An LSTM's recurrence for many clients at once, each with weights of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_sigmoid_slope = torch.ops.aten.sigmoid_backward
"""(x, s) -> x s (1 - s), in one pass."""
_tanh_slope = torch.ops.aten.tanh_backward
"""(x, t) -> x (1 - t^2)."""


class LstmScan(torch.autograd.Function):
    """hidden [K, T, B, H] from projected inputs [K, T, B, 4H] and recurrent weights [K, 4H, H].

    Gates in PyTorch's order: input, forget, cell, output. The gradient is written by hand: the
    gates' derivatives are worked out for all T at once, and the weights' gradient is one product
    a client instead of one a frame. Frames come after clients, so that this product reads the
    gates where they lie.
    """

    @staticmethod
    def forward(ctx: Any, projected: Tensor, recurrent: Tensor) -> Tensor:
        """Run the frames in order, from a zero state."""
        clients, frames, batch, four = projected.shape
        hidden_size = four // 4
        turned = recurrent.transpose(1, 2).contiguous()  # T products are the faster for it
        gates = torch.empty_like(projected, memory_format=torch.contiguous_format)
        cells = projected.new_empty(clients, frames, batch, hidden_size)
        tanh_cells = torch.empty_like(cells)
        hidden = torch.empty_like(cells)
        h = projected.new_zeros(clients, batch, hidden_size)
        c = torch.zeros_like(h)
        cell_gate = slice(2 * hidden_size, 3 * hidden_size)
        for t in range(frames):
            raw = torch.baddbmm(projected[:, t], h, turned)
            gate = torch.sigmoid(raw, out=gates[:, t])
            torch.tanh(raw[..., cell_gate], out=gate[..., cell_gate])
            i, f, g, o = gate.view(clients, batch, 4, hidden_size).unbind(2)
            c = torch.addcmul(f * c, i, g, out=cells[:, t])
            torch.tanh(c, out=tanh_cells[:, t])
            h = torch.mul(o, tanh_cells[:, t], out=hidden[:, t])
        ctx.save_for_backward(recurrent, gates, cells, tanh_cells, hidden)
        return hidden

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        """Frames in reversed order; one product for the recurrent weights."""
        (grad_hidden,) = grads
        recurrent, gates, cells, tanh_cells, hidden = ctx.saved_tensors
        clients, frames, batch, hidden_size = hidden.shape
        i, f, g, o = gates.view(clients, frames, batch, 4, hidden_size).unbind(3)
        before = _one_later(cells)
        # d(gate input) = d(cell) * by_cell for the first three gates, d(hidden) * by_hidden for o.
        by_cell = gates.new_empty(clients, frames, batch, 3, hidden_size)
        _sigmoid_slope.grad_input(g, i, grad_input=by_cell[..., 0, :])
        _sigmoid_slope.grad_input(before, f, grad_input=by_cell[..., 1, :])
        _tanh_slope.grad_input(i, g, grad_input=by_cell[..., 2, :])
        by_hidden = _sigmoid_slope(tanh_cells, o)
        through = _tanh_slope(o, tanh_cells)
        grad_gates = gates.new_empty(clients, frames, batch, 4, hidden_size)
        grad_projected = grad_gates.flatten(3)
        grad_h = grad_hidden[:, frames - 1]
        grad_c = torch.zeros_like(grad_h)
        for t in range(frames - 1, -1, -1):
            grad_c = torch.addcmul(grad_c, grad_h, through[:, t])
            torch.mul(grad_c[:, :, None], by_cell[:, t], out=grad_gates[:, t, :, :3])
            torch.mul(grad_h, by_hidden[:, t], out=grad_gates[:, t, :, 3])
            if t:
                grad_c = grad_c * f[:, t]
                grad_h = torch.baddbmm(grad_hidden[:, t - 1], grad_projected[:, t], recurrent)
        # [K, 4H, T*B] x [K, T*B, H]
        columns = grad_projected.flatten(1, 2).transpose(1, 2)
        return grad_projected, torch.bmm(columns, _one_later(hidden).flatten(1, 2))


def _one_later(frames: Tensor) -> Tensor:
    """[K, T, B, H]: at each frame what was at the one before, zeros at the first."""
    return torch.cat([torch.zeros_like(frames[:, :1]), frames[:, :-1]], 1)


def lstm_scan(projected: Tensor, recurrent: Tensor) -> Tensor:
    """See `LstmScan`."""
    found: Tensor = LstmScan.apply(projected, recurrent)
    return found
