"""Packed sequences: padded rows with their lengths, which are masks.

Rows stay in the user's order and keep their padding. The data is then [T*B, ...] with the frames of
the padding: what works on each frame by itself may stand between packing and unpacking.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import rnn

from fedvoice.model_export.traced.forms.basic import Backward, Needs, taught
from fedvoice.model_export.traced.rewrites.refusals import refuse
from fedvoice.model_export.traced.rewrites.stacks import Cell, Direction
from fedvoice.model_export.traced.rewriting import Rewriting, replaces

SHUT = 1e4
"""What a gate is moved by to be shut or open: its sigmoid is 0 or 1 exactly."""


@replaces(torch.sort, name="sort")
def sort(mode: Rewriting, x: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """Of lengths before they are packed: not needed, rows stay in order. Else refused."""
    frame = sys._getframe()
    for _ in range(4):
        frame = frame.f_back or frame
        if frame.f_code is rnn.pack_padded_sequence.__code__:
            return x, torch.arange(x.shape[0])
    return refuse(mode, "sort")


@replaces(torch._VF._pack_padded_sequence, name="packed_sequence")
def pack(mode: Rewriting, x: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
    """x [T, B, ...] -> frames up to the longest length [T'*B, ...], a stand-in for row counts."""
    x = x.transpose(0, 1) if batch_first else x
    frames = mode.number(lambda: int(lengths.max()))
    x = x if frames == x.shape[0] else x[:frames]
    counts = torch.full((frames,), x.shape[1], dtype=torch.int64)
    mode.stands_for[counts] = (lengths,)
    return x.reshape(-1, *x.shape[2:]), counts


@replaces(torch._VF._pad_packed_sequence, name="packed_sequence")
def unpack(
    mode: Rewriting,
    x: Tensor,
    counts: Tensor,
    batch_first: bool,
    padding_value: float,
    total_length: int,
) -> tuple[Tensor, Tensor]:
    """x [T*B, ...] -> [T, B, ...] with its padding filled, and the lengths."""
    if counts not in mode.stands_for:
        refuse(mode, "packed_sequence", "a packed sequence made by hand")
    (lengths,) = mode.stands_for[counts]
    x = x.reshape(counts.shape[0], -1, *x.shape[1:])
    inside = _inside(x, lengths).reshape(*x.shape[:2], *[1] * (x.dim() - 2))
    x = x * inside + (1 - inside) * padding_value if padding_value else x * inside
    if total_length > x.shape[0]:
        more = torch.full((total_length - x.shape[0], *x.shape[1:]), float(padding_value))
        x = torch.cat([x, more.to(x.dtype)], 0)
    return x.transpose(0, 1) if batch_first else x, lengths


def _inside(x: Tensor, lengths: Tensor) -> Tensor:
    """x [T, B, ...] -> 1 up to each row's length, else 0 [T, B, 1]."""
    inside = torch.arange(x.shape[0]).unsqueeze(1) < lengths.unsqueeze(0)
    return inside.to(x.dtype).unsqueeze(2)


@taught
def turned_rows(needs: Needs, x: Tensor, lengths: Tensor) -> tuple[Tensor, Backward]:
    """x [T, B, F], each row turned round up to its length; its own inverse and adjoint."""
    frames, batch, _ = x.shape
    t = torch.arange(frames).unsqueeze(1)
    before_end = lengths.unsqueeze(0) - 1 - t
    source = torch.where(before_end >= 0, before_end, t) * batch + torch.arange(batch)

    def turn(a: Tensor) -> Tensor:
        rows = a.reshape(frames * batch, -1).index_select(0, source.reshape(-1))
        return rows.reshape(a.shape)

    return turn(x), turn


def packed(cell: Cell, lengths: Tensor, has_cell_state: bool) -> Direction:
    """A direction over rows of their own lengths.

    Forwards, padding changes nothing before it; backwards, each row is turned round first. The
    last hidden state is picked at each row's end. A cell state (of an LSTM) is held there: an
    input that is 1 in the padding shuts the input gate and opens the forget gate.
    """

    def run(
        x: Tensor, states: list[Tensor], weights: list[Tensor], backwards: bool
    ) -> tuple[Tensor, ...]:
        inside = _inside(x, lengths)
        x = turned_rows(x, lengths) if backwards else x
        if has_cell_state:
            h = weights[1].shape[1]
            moves = [[-SHUT]] * h + [[SHUT]] * h + [[0.0]] * (2 * h)
            x = torch.cat([x, 1 - inside], 2)
            weights = [torch.cat([weights[0], torch.tensor(moves, dtype=x.dtype)], 1), *weights[1:]]
        hidden, _, *cells = cell(x, states, weights)
        hidden = hidden * inside
        at_end = inside - torch.cat([inside[1:], torch.zeros_like(inside[:1])], 0)
        last = (hidden * at_end).sum(0)
        return turned_rows(hidden, lengths) if backwards else hidden, last, *cells

    return run
