"""`nn.LSTM`, `nn.GRU` and `nn.RNN` as scans; a public recurrence for state spaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from fedvoice.model_export.traced.forms import recurrent
from fedvoice.model_export.traced.forms.basic import of_one_shape
from fedvoice.model_export.traced.rewrites.packed import packed
from fedvoice.model_export.traced.rewrites.stacks import Cell, Settings, stacked, whole
from fedvoice.model_export.traced.rewriting import Rewriting, replaces


def lstm_cell(x: Tensor, states: list[Tensor], weights: list[Tensor]) -> tuple[Tensor, ...]:
    """weights: ih [4H, I], hh [4H, H], and two biases, which are one."""
    hidden, cell = states
    w_ih, w_hh, b_ih, b_hh = weights
    return recurrent.lstm(x, hidden, cell, w_ih, w_hh, b_ih + b_hh)


def gru_cell(x: Tensor, states: list[Tensor], weights: list[Tensor]) -> tuple[Tensor, ...]:
    """weights: ih [3H, I], hh [3H, H], and their biases."""
    w_ih, w_hh, b_ih, b_hh = weights
    return recurrent.gru(x, states[0], w_ih, w_hh, b_ih, b_hh)


def _rnn_cell(squashes: bool) -> Cell:
    def cell(x: Tensor, states: list[Tensor], weights: list[Tensor]) -> tuple[Tensor, ...]:
        w_ih, w_hh, b_ih, b_hh = weights
        return recurrent.rnn(x, states[0], w_ih, w_hh, b_ih + b_hh, squashes)

    return cell


rnn_tanh_cell, rnn_relu_cell = _rnn_cell(True), _rnn_cell(False)


def _unpacked(
    mode: Rewriting,
    cell: Cell,
    x: Tensor,
    states: Sequence[Tensor],
    weights: Sequence[Tensor],
    settings: Settings,
    batch_first: bool,
) -> tuple[Tensor, ...]:
    x = x.transpose(0, 1) if batch_first else x
    hidden, *last = stacked(mode, whole(cell), x, states, weights, settings)
    return hidden.transpose(0, 1) if batch_first else hidden, *last


def _register(function: Callable[..., Any], name: str, cell: Cell) -> None:
    def run(mode: Rewriting, x: Tensor, second: Any, *rest: Any) -> Any:
        lstm = name == "lstm"
        if isinstance(second, Tensor) and second in mode.stands_for:
            states, weights, *settings = rest
            (lengths,) = mode.stands_for[second]
            states = states if lstm else (states,)
            direction = packed(cell, lengths, lstm)
            x = x.reshape(second.shape[0], -1, x.shape[1])
            hidden, *last = stacked(mode, direction, x, states, weights, Settings(*settings))
            return hidden.reshape(-1, hidden.shape[2]), *last
        weights, *settings, batch_first = rest
        found = Settings(*settings)
        if mode.draws_only and not (found.dropout and found.training):
            return NotImplemented
        return _unpacked(mode, cell, x, second if lstm else (second,), weights, found, batch_first)

    replaces(function, name=name)(run)


_register(torch._VF.lstm, "lstm", lstm_cell)
_register(torch._VF.gru, "gru", gru_cell)
_register(torch._VF.rnn_tanh, "rnn", rnn_tanh_cell)
_register(torch._VF.rnn_relu, "rnn", rnn_relu_cell)


def recurrence(a: Tensor, u: Tensor) -> Tensor:
    """h[t] = a[t] h[t-1] + u[t] over the first axis, from 0: of state spaces, for users' modules.

    A loop where it runs eagerly; one scan in a training program.
    """
    if has_torch_function((a, u)):
        found: Tensor = handle_torch_function(recurrence, (a, u), a, u)
        return found
    state, states = torch.zeros_like(u[0]), []
    for factor, added in zip(a, u, strict=True):
        state = factor * state + added
        states.append(state)
    return torch.stack(states)


@replaces(recurrence, name="recurrence")
def recurrence_by_scan(mode: Rewriting, a: Tensor, u: Tensor) -> Tensor:
    """Two element-wise loops; a and u are brought to one shape."""
    a, u = of_one_shape(a, u)
    return recurrent.recurrence(a.contiguous(), u.contiguous())
