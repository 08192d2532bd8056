"""Layers for many clients at once, each with weights of its own.

Weights are leaves [K, *shape] with a `grad`. What a backward pass finds is added to that `grad` by
the product that finds it: gradients that autograd hands on are copied once more, which is a tenth
of a step's time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_sigmoid_slope = torch.ops.aten.sigmoid_backward
"""(x, s) -> x s (1 - s), in one pass."""
_tanh_slope = torch.ops.aten.tanh_backward
"""(x, t) -> x (1 - t^2)."""


class LstmLayer(torch.autograd.Function):
    """Hidden states [K, B, T, H] of x [K, B, T, I], from a zero state.

    Weights as PyTorch has them, with a leading axis for the clients: [K, 4H, I], [K, 4H, H] and
    one bias [K, 4H]; gates in the order input, forget, cell, output. The gradient is written by
    hand: the gates' derivatives are worked out for all T at once, and a weight's gradient is one
    product a client instead of one a frame.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, recurrent: Tensor, bias: Tensor) -> Tensor:
        """Project all frames by one product; then run them in order."""
        clients, batch, frames, _ = x.shape
        hidden_size = recurrent.shape[2]
        projected = torch.baddbmm(bias[:, None], x.flatten(1, 2), weight.transpose(1, 2))
        # The gates take their inputs' place.
        gates = projected.view(clients, batch, frames, 4, hidden_size)
        i, f, g, o = (gate.unbind(2) for gate in gates.unbind(3))
        inputs = projected.view(clients, batch, frames, -1).unbind(2)
        cells, tanh_cells, hidden = x.new_empty(3, clients, batch, frames, hidden_size).unbind(0)
        c_at, tanh_at, h_at = cells.unbind(2), tanh_cells.unbind(2), hidden.unbind(2)
        turned = recurrent.transpose(1, 2).contiguous()  # T products are the faster for it
        cell_gate = slice(2 * hidden_size, 3 * hidden_size)
        for t in range(frames):
            raw = torch.baddbmm(inputs[t], h_at[t - 1], turned) if t else inputs[0].clone()
            torch.sigmoid(raw, out=inputs[t])
            torch.tanh(raw[..., cell_gate], out=g[t])
            torch.mul(i[t], g[t], out=c_at[t])
            if t:
                c_at[t].addcmul_(f[t], c_at[t - 1])
            torch.tanh(c_at[t], out=tanh_at[t])
            torch.mul(o[t], tanh_at[t], out=h_at[t])
        ctx.save_for_backward(x, weight, recurrent, gates, cells, tanh_cells, hidden)
        ctx.sinks = weight.grad, recurrent.grad, bias.grad
        return hidden

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None, None]:
        """Frames in reversed order; one product for each of the weights."""
        (grad_hidden,) = grads
        x, weight, recurrent, gates, cells, tanh_cells, hidden = ctx.saved_tensors
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
                grad_h = torch.baddbmm(grad_at[t - 1], projected_at[t], recurrent)
                grad_c.mul_(forget[t]).addcmul_(grad_h, through[t - 1])
        rows = projected.flatten(1, 2)
        columns = rows.transpose(1, 2)
        to_weight, to_recurrent, to_bias = ctx.sinks
        to_weight.baddbmm_(columns, x.flatten(1, 2))
        to_recurrent.baddbmm_(columns, _one_later(hidden).flatten(1, 2))
        to_bias.add_(rows.sum(1))
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        return torch.bmm(rows, weight).view_as(x), None, None, None


def _one_later(frames: Tensor) -> Tensor:
    """[K, B, T, H]: at each frame what was at the one before, zeros at the first."""
    return torch.cat([torch.zeros_like(frames[:, :, :1]), frames[:, :, :-1]], 2)


class Affine(torch.autograd.Function):
    """x [K, N, I], weight [K, O, I], bias [K, O] or None -> [K, N, O]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """One product a client."""
        ctx.save_for_backward(x, weight)
        ctx.sinks = weight.grad, None if bias is None else bias.grad
        turned = weight.transpose(1, 2)
        return torch.bmm(x, turned) if bias is None else torch.baddbmm(bias[:, None], x, turned)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None]:
        """Two products a client, one where nothing depends on x's gradient."""
        (grad,) = grads
        x, weight = ctx.saved_tensors
        to_weight, to_bias = ctx.sinks
        to_weight.baddbmm_(grad.transpose(1, 2), x)
        if to_bias is not None:
            to_bias.add_(grad.sum(1))
        return torch.bmm(grad, weight) if ctx.needs_input_grad[0] else None, None, None


def lstm_layer(x: Tensor, weight: Tensor, recurrent: Tensor, bias: Tensor) -> Tensor:
    """See `LstmLayer`."""
    found: Tensor = LstmLayer.apply(x, weight, recurrent, bias)
    return found


def affine(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """See `Affine`."""
    found: Tensor = Affine.apply(x, weight, bias)
    return found


def turned(weight: Tensor) -> Tensor:
    """[K, I, O] of the same numbers, and of the same gradient, as the leaf `weight` [K, O, I]."""
    leaf = weight.detach().transpose(1, 2).requires_grad_()
    leaf.grad = None if weight.grad is None else weight.grad.transpose(1, 2)
    return leaf
