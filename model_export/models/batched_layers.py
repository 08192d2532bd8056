"""Layers for many clients at once, each with weights of its own.

The product that computes a weight's gradient writes it directly to its place in the flat gradient:
autograd would copy it once more, a tenth of a step's time. So no weight may be used twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_sigmoid_slope = torch.ops.aten.sigmoid_backward
"""(x, s) -> x s (1 - s), in one pass."""
_tanh_slope = torch.ops.aten.tanh_backward
"""(x, t) -> x (1 - t^2)."""


@dataclass(frozen=True)
class Weight:
    """A parameter of K clients. value, gradient: [K, *shape]. add: to the content of
    `gradient`, which is overwritten otherwise."""

    value: Tensor
    gradient: Tensor
    add: bool

    def put(self, left: Tensor, right: Tensor) -> None:
        """The gradient is left [K, O, N] times right [K, N, I]."""
        self.gradient.baddbmm_(left, right, beta=float(self.add))

    def put_rows(self, rows: Tensor) -> None:
        """The gradient is the sum of rows [K, N, O] over N."""
        if self.add:
            self.gradient.add_(rows.sum(1))
        else:
            torch.sum(rows, 1, out=self.gradient)

    @property
    def turned(self) -> Weight:
        """This parameter [K, O, I] transposed to [K, I, O]."""
        return Weight(self.value.transpose(1, 2), self.gradient.transpose(1, 2), self.add)


class LstmLayer(torch.autograd.Function):
    """Hidden states [K, B, T, H] of x [K, B, T, I], from a zero state.

    Weights as PyTorch has them, with a leading axis for the clients: [K, 4H, I], [K, 4H, H] and
    one bias [K, 4H]; gates in the order input, forget, cell, output. The gradient is written by
    hand: the gates' derivatives are worked out for all T at once, and a weight's gradient is one
    product a client instead of one a frame.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, anchor: Tensor, inputs: Weight, recurrent: Weight, bias: Weight
    ) -> Tensor:
        """Project all frames by one product; then run them in order."""
        clients, batch, frames, _ = x.shape
        hidden_size = recurrent.value.shape[2]
        rows, turned = x.flatten(1, 2), inputs.value.transpose(1, 2)
        projected = torch.baddbmm(bias.value[:, None], rows, turned)
        # The gates take their inputs' place.
        gates = projected.view(clients, batch, frames, 4, hidden_size)
        i, f, g, o = (gate.unbind(2) for gate in gates.unbind(3))
        raw_at = projected.view(clients, batch, frames, -1).unbind(2)
        cells, tanh_cells, hidden = x.new_empty(3, clients, batch, frames, hidden_size).unbind(0)
        c_at, tanh_at, h_at = cells.unbind(2), tanh_cells.unbind(2), hidden.unbind(2)
        turned = recurrent.value.transpose(1, 2).contiguous()  # makes the T products faster
        cell_gate = slice(2 * hidden_size, 3 * hidden_size)
        for t in range(frames):
            raw = torch.baddbmm(raw_at[t], h_at[t - 1], turned) if t else raw_at[0].clone()
            torch.sigmoid(raw, out=raw_at[t])
            torch.tanh(raw[..., cell_gate], out=g[t])
            torch.mul(i[t], g[t], out=c_at[t])
            if t:
                c_at[t].addcmul_(f[t], c_at[t - 1])
            torch.tanh(c_at[t], out=tanh_at[t])
            torch.mul(o[t], tanh_at[t], out=h_at[t])
        ctx.save_for_backward(x, gates, cells, tanh_cells, hidden)
        ctx.weights = inputs, recurrent, bias
        return hidden

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None, None, None]:
        """Frames in reversed order; one product for each of the weights."""
        (grad_hidden,) = grads
        x, gates, cells, tanh_cells, hidden = ctx.saved_tensors
        inputs, recurrent, bias = ctx.weights
        frames = x.shape[2]
        i, f, g, o = gates.unbind(3)
        # What d(cell), at the output gate d(hidden), is multiplied by; the products take its place.
        slopes = torch.empty_like(gates)
        _sigmoid_slope.grad_input(g, i, grad_input=slopes[..., 0, :])
        _sigmoid_slope.grad_input(_one_later(cells), f, grad_input=slopes[..., 1, :])
        _tanh_slope.grad_input(i, g, grad_input=slopes[..., 2, :])
        _sigmoid_slope.grad_input(tanh_cells, o, grad_input=slopes[..., 3, :])
        through = _tanh_slope(o, tanh_cells).unbind(2)
        by_cell, by_hidden = slopes[..., :3, :].unbind(2), slopes[..., 3, :].unbind(2)
        projected = slopes.flatten(3)
        grad_at, projected_at, forget = grad_hidden.unbind(2), projected.unbind(2), f.unbind(2)
        grad_h = grad_at[frames - 1]
        grad_c = grad_h * through[frames - 1]
        for t in range(frames - 1, -1, -1):
            by_cell[t].mul_(grad_c[:, :, None])
            by_hidden[t].mul_(grad_h)
            if t:
                grad_h = torch.baddbmm(grad_at[t - 1], projected_at[t], recurrent.value)
                grad_c.mul_(forget[t]).addcmul_(grad_h, through[t - 1])
        rows = projected.flatten(1, 2)
        columns = rows.transpose(1, 2)
        inputs.put(columns, x.flatten(1, 2))
        recurrent.put(columns, _one_later(hidden).flatten(1, 2))
        bias.put_rows(rows)
        to_x = torch.bmm(rows, inputs.value).view_as(x) if ctx.needs_input_grad[0] else None
        return to_x, None, None, None, None


def _one_later(frames: Tensor) -> Tensor:
    """[K, B, T, H] shifted one frame later, zeros at the first."""
    return torch.cat([torch.zeros_like(frames[:, :, :1]), frames[:, :, :-1]], 2)


class Affine(torch.autograd.Function):
    """x [K, N, I], weight [K, O, I], bias [K, O] or None -> [K, N, O]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, anchor: Tensor, weight: Weight, bias: Weight | None) -> Tensor:
        """One product a client."""
        ctx.save_for_backward(x)
        ctx.weights = weight, bias
        turned = weight.value.transpose(1, 2)
        if bias is None:
            return torch.bmm(x, turned)
        return torch.baddbmm(bias.value[:, None], x, turned)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None, None]:
        """Two products a client, one where nothing depends on x's gradient."""
        (grad,) = grads
        (x,) = ctx.saved_tensors
        weight, bias = ctx.weights
        weight.put(grad.transpose(1, 2), x)
        if bias is not None:
            bias.put_rows(grad)
        to_x = torch.bmm(grad, weight.value) if ctx.needs_input_grad[0] else None
        return to_x, None, None, None


_ANCHOR = torch.zeros((), requires_grad=True)
"""A tensor that makes autograd run the backward passes; weights get no gradient by autograd."""


def lstm_layer(x: Tensor, inputs: Weight, recurrent: Weight, bias: Weight) -> Tensor:
    """See `LstmLayer`."""
    found: Tensor = LstmLayer.apply(x, _ANCHOR, inputs, recurrent, bias)
    return found


def affine(x: Tensor, weight: Weight, bias: Weight | None = None) -> Tensor:
    """See `Affine`."""
    found: Tensor = Affine.apply(x, _ANCHOR, weight, bias)
    return found
