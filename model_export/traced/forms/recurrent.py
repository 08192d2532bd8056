"""Recurrent layers in one direction as two scans, with gradients by hand; features first inside.

Bodies of scans hold no plain numbers: those would be 0-d tensors, which leave the delegate. A
tensor of one 1 is captured instead.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fedvoice.model_export.graphs.lstm import lstm_cell
from fedvoice.model_export.graphs.ops import Body, Tensors, reversal, scan
from fedvoice.model_export.traced.forms.basic import (
    Backward,
    Gradients,
    Needs,
    linear,
    permute,
    positive,
    product,
    taught,
    total,
)


class _Layer(NamedTuple):
    """One direction: inputs [I, T*B], gates from them [T, G*H, B], first hidden state [H, B]."""

    inputs: Tensor
    gates: Tensor
    start: Tensor
    weight_ih: Tensor

    @classmethod
    def of(cls, x: Tensor, h0: Tensor, weight_ih: Tensor, bias: Tensor) -> _Layer:
        """x [T, B, I], h0 [B, H], weight_ih [G*H, I], bias [G*H]."""
        frames, batch, _ = x.shape
        inputs = permute(x, 2, 0, 1).reshape(-1, frames * batch)
        projected = product(weight_ih, inputs) + bias.reshape(-1, 1)
        gates = permute(projected.reshape(-1, frames, batch), 1, 0, 2)
        return cls(inputs, gates, permute(h0, 1, 0), weight_ih)

    def before(self, hidden: Tensor) -> Tensor:
        """Hidden states [T, H, B] after each step -> those before it [H, T*B]."""
        earlier = torch.cat([self.start.unsqueeze(0), hidden[:-1]], 0)
        return permute(earlier, 1, 0, 2).reshape(hidden.shape[1], -1)

    def input_gradient(self, gates: Tensor) -> Tensor:
        """Gradients of the gates [G*H, T*B] -> those of x [T, B, I]."""
        found = product(permute(self.weight_ih, 1, 0), gates)
        frames, _, batch = self.gates.shape
        return permute(found.reshape(-1, frames, batch), 1, 2, 0)


def _scan_back(
    body: Body, start: Tensors, grad: Tensor, captured: Tensors
) -> tuple[Tensors, Tensor]:
    """From the last step to the first over the gradient of the result [T, B, H].

    Returns the gradients of the first states, and those of the gates [G*H, T*B].
    """
    order = reversal(grad.shape[0])
    reversed_grad = permute(grad, 0, 2, 1).index_select(0, order)
    carry, (gates,) = scan(body, start, (reversed_grad, order.reshape(-1, 1)), captured)
    return carry, permute(gates.index_select(0, order), 1, 0, 2).reshape(gates.shape[1], -1)


@taught
def lstm(
    needs: Needs,
    x: Tensor,
    h0: Tensor,
    c0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor,
) -> tuple[Tensors, Backward]:
    """x [T, B, I], states [B, H] -> hidden [T, B, H], last hidden and cell state [B, H]."""
    layer = _Layer.of(x, h0, weight_ih, bias)
    h, batch = layer.start.shape

    def step(carry: Tensors, xs: Tensors, captured: Tensors) -> tuple[Tensors, Tensors]:
        gates = xs[0] + captured[0].mm(carry[0])
        hidden, cell, activated = lstm_cell(gates, carry[1], h)
        return (hidden, cell), (hidden.clone(), carry[1].clone(), activated)

    states = (layer.start, permute(c0, 1, 0))
    (last, last_cell), traced = scan(step, states, (layer.gates,), (weight_hh,))
    hidden, cells_before, activated = traced

    def back(carry: Tensors, xs: Tensors, captured: Tensors) -> tuple[Tensors, Tensors]:
        activated, cells_before, turned, one = captured
        gates = activated.index_select(0, xs[1]).reshape(4 * h, batch)
        cell = cells_before.index_select(0, xs[1]).reshape(h, batch)
        i, f, g, o = gates[:h], gates[h : 2 * h], gates[2 * h : 3 * h], gates[3 * h :]
        by_hidden, squashed = carry[0] + xs[0], torch.tanh(f * cell + i * g)
        by_cell = carry[1] + by_hidden * o * (one - squashed * squashed)
        by_gates = torch.cat(
            [
                by_cell * g * i * (one - i),
                by_cell * cell * f * (one - f),
                by_cell * i * (one - g * g),
                by_hidden * squashed * o * (one - o),
            ],
            0,
        )
        return (turned.mm(by_gates), by_cell * f), (by_gates.clone(),)

    def backward(grad: Tensor, by_last: Tensor, by_last_cell: Tensor) -> Gradients:
        captured = (activated, cells_before, permute(weight_hh, 1, 0), x.new_ones(1))
        ends = (permute(by_last, 1, 0), permute(by_last_cell, 1, 0))
        (by_h0, by_c0), gates = _scan_back(back, ends, grad, captured)
        return (
            layer.input_gradient(gates) if needs[0] else None,
            permute(by_h0, 1, 0),
            permute(by_c0, 1, 0),
            linear(gates, layer.inputs),
            linear(gates, layer.before(hidden)),
            total(gates, [1]),
        )

    found = (permute(hidden, 0, 2, 1), permute(last, 1, 0), permute(last_cell, 1, 0))
    return found, backward


@taught
def gru(
    needs: Needs,
    x: Tensor,
    h0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
) -> tuple[Tensors, Backward]:
    """x [T, B, I], state [B, H] -> hidden [T, B, H], last hidden state [B, H]."""
    layer = _Layer.of(x, h0, weight_ih, bias_ih)
    h, batch = layer.start.shape

    def step(carry: Tensors, xs: Tensors, captured: Tensors) -> tuple[Tensors, Tensors]:
        weight, bias = captured
        recurrent = weight.mm(carry[0]) + bias
        both = torch.sigmoid(xs[0][: 2 * h] + recurrent[: 2 * h])
        reset, keep = both[:h], both[h:]
        new = torch.tanh(xs[0][2 * h :] + reset * recurrent[2 * h :])
        hidden = new + keep * (carry[0] - new)
        saved = torch.cat([both, new, recurrent[2 * h :], carry[0]], 0)
        return (hidden,), (hidden.clone(), saved)

    # A body must not view what it captures, and the view must be memory of its own.
    captured = (weight_hh, bias_hh.reshape(-1, 1) * 1.0)
    (last,), (hidden, saved) = scan(step, (layer.start,), (layer.gates,), captured)

    def back(carry: Tensors, xs: Tensors, captured: Tensors) -> tuple[Tensors, Tensors]:
        saved, turned, one = captured
        rows, grad = saved.index_select(0, xs[1]).reshape(5 * h, batch), carry[0] + xs[0]
        reset, keep, new, recurrent, before = (rows[k * h : (k + 1) * h] for k in range(5))
        by_new = grad * (one - keep) * (one - new * new)
        by_reset = by_new * recurrent * reset * (one - reset)
        by_keep = grad * (before - new) * keep * (one - keep)
        by_recurrent = torch.cat([by_reset, by_keep, by_new * reset], 0)
        carried = grad * keep + turned.mm(by_recurrent)
        return (carried,), (torch.cat([by_recurrent, by_new], 0),)

    def backward(grad: Tensor, by_last: Tensor) -> Gradients:
        captured = (saved, permute(weight_hh, 1, 0), x.new_ones(1))
        (by_h0,), found = _scan_back(back, (permute(by_last, 1, 0),), grad, captured)
        by_inputs = torch.cat([found[: 2 * h], found[3 * h :]], 0)
        by_recurrent = found[: 3 * h]
        return (
            layer.input_gradient(by_inputs) if needs[0] else None,
            permute(by_h0, 1, 0),
            linear(by_inputs, layer.inputs),
            linear(by_recurrent, layer.before(hidden)),
            total(by_inputs, [1]),
            total(by_recurrent, [1]),
        )

    return (permute(hidden, 0, 2, 1), permute(last, 1, 0)), backward


@taught
def rnn(
    needs: Needs,
    x: Tensor,
    h0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor,
    squashes: bool,
) -> tuple[Tensors, Backward]:
    """The plain recurrence, tanh or else ReLU: x [T, B, I], state [B, H] -> [T, B, H], [B, H]."""
    layer = _Layer.of(x, h0, weight_ih, bias)
    activation = torch.tanh if squashes else torch.relu

    def step(carry: Tensors, xs: Tensors, captured: Tensors) -> tuple[Tensors, Tensors]:
        hidden = activation(xs[0] + captured[0].mm(carry[0]))
        return (hidden,), (hidden.clone(),)

    (last,), (hidden,) = scan(step, (layer.start,), (layer.gates,), (weight_hh,))

    def back(carry: Tensors, xs: Tensors, captured: Tensors) -> tuple[Tensors, Tensors]:
        slopes, turned = captured
        slope = slopes.index_select(0, xs[1]).reshape(layer.start.shape)
        by_gates = (carry[0] + xs[0]) * slope
        return (turned.mm(by_gates),), (by_gates.clone(),)

    def backward(grad: Tensor, by_last: Tensor) -> Gradients:
        slopes = 1 - hidden * hidden if squashes else positive(hidden)
        captured = (slopes, permute(weight_hh, 1, 0))
        (by_h0,), gates = _scan_back(back, (permute(by_last, 1, 0),), grad, captured)
        return (
            layer.input_gradient(gates) if needs[0] else None,
            permute(by_h0, 1, 0),
            linear(gates, layer.inputs),
            linear(gates, layer.before(hidden)),
            total(gates, [1]),
        )

    return (permute(hidden, 0, 2, 1), permute(last, 1, 0)), backward


@taught
def recurrence(needs: Needs, a: Tensor, u: Tensor) -> tuple[Tensor, Backward]:
    """h[t] = a[t] h[t-1] + u[t] over the first axis, from 0: two element-wise loops."""

    def step(carry: Tensors, xs: Tensors, captured: Tensors) -> tuple[Tensors, Tensors]:
        state = xs[0] * carry[0] + xs[1]
        return (state,), (state.clone(),)

    _, (states,) = scan(step, (torch.zeros_like(u[0]),), (a, u))

    def back(carry: Tensors, xs: Tensors, captured: Tensors) -> tuple[Tensors, Tensors]:
        by_state = carry[0] + xs[0]
        factor = captured[0].index_select(0, xs[1]).reshape(by_state.shape)
        return (factor * by_state,), (by_state.clone(),)

    def backward(grad: Tensor) -> Gradients:
        order = reversal(a.shape[0])
        xs = (grad.index_select(0, order), order.reshape(-1, 1))
        _, (found,) = scan(back, (torch.zeros_like(grad[0]),), xs, (a,))
        by_input = found.index_select(0, order)
        earlier = torch.cat([torch.zeros_like(states[:1]), states[:-1]], 0)
        return by_input * earlier, by_input

    return states, backward
