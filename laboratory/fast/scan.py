"""An LSTM's recurrence for many clients at once, each with weights of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class LstmScan(torch.autograd.Function):
    """hidden [T, K, B, H] from projected inputs [T, K, B, 4H] and recurrent weights [K, 4H, H].

    Gates in PyTorch's order: input, forget, cell, output. The gradient is written by hand: the
    gates' derivatives are worked out for all T at once, and the weights' gradient is one product
    a client instead of one a frame.
    """

    @staticmethod
    def forward(ctx: Any, projected: Tensor, recurrent: Tensor) -> Tensor:
        """Run the frames in order, from a zero state."""
        frames, clients, batch, four = projected.shape
        hidden_size = four // 4
        turned = recurrent.transpose(1, 2)
        gates = torch.empty_like(projected)
        cells = projected.new_empty(frames, clients, batch, hidden_size)
        tanh_cells = torch.empty_like(cells)
        hidden = torch.empty_like(cells)
        h = projected.new_zeros(clients, batch, hidden_size)
        c = torch.zeros_like(h)
        cell_gate = slice(2 * hidden_size, 3 * hidden_size)
        for t in range(frames):
            raw = torch.baddbmm(projected[t], h, turned)
            gate = torch.sigmoid(raw, out=gates[t])
            torch.tanh(raw[..., cell_gate], out=gate[..., cell_gate])
            i, f, g, o = gate.view(clients, batch, 4, hidden_size).unbind(2)
            c = torch.addcmul(f * c, i, g, out=cells[t])
            torch.tanh(c, out=tanh_cells[t])
            h = torch.mul(o, tanh_cells[t], out=hidden[t])
        ctx.save_for_backward(recurrent, gates, cells, tanh_cells, hidden)
        return hidden

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        """Frames in reversed order; one product for the recurrent weights."""
        (grad_hidden,) = grads
        recurrent, gates, cells, tanh_cells, hidden = ctx.saved_tensors
        frames, clients, batch, hidden_size = hidden.shape
        i, f, g, o = gates.view(frames, clients, batch, 4, hidden_size).unbind(3)
        before = torch.cat([torch.zeros_like(cells[:1]), cells[:-1]])
        # d(gate input) = d(cell) * by_cell for the first three gates, d(hidden) * by_hidden for o.
        by_cell = torch.stack([i * (1 - i) * g, f * (1 - f) * before, (1 - g * g) * i], 3)
        by_hidden = o * (1 - o) * tanh_cells
        through = o * (1 - tanh_cells * tanh_cells)
        grad_gates = gates.new_empty(frames, clients, batch, 4, hidden_size)
        grad_h = grad_hidden[frames - 1]
        grad_c = torch.zeros_like(grad_h)
        for t in range(frames - 1, -1, -1):
            grad_c = torch.addcmul(grad_c, grad_h, through[t])
            torch.mul(grad_c[:, :, None], by_cell[t], out=grad_gates[t, :, :, :3])
            torch.mul(grad_h, by_hidden[t], out=grad_gates[t, :, :, 3])
            if t:
                grad_c = grad_c * f[t]
                flat = grad_gates[t].flatten(2)
                grad_h = torch.baddbmm(grad_hidden[t - 1], flat, recurrent)
        grad_projected = grad_gates.flatten(3)
        earlier = torch.cat([torch.zeros_like(hidden[:1]), hidden[:-1]])
        # [K, 4H, T*B] x [K, T*B, H]
        columns = grad_projected.permute(1, 3, 0, 2).flatten(2)
        rows = earlier.transpose(0, 1).flatten(1, 2)
        return grad_projected, torch.bmm(columns, rows)


def lstm_scan(projected: Tensor, recurrent: Tensor) -> Tensor:
    """See `LstmScan`."""
    found: Tensor = LstmScan.apply(projected, recurrent)
    return found
