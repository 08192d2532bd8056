"""`nn.LSTM`, `nn.GRU` and `nn.RNN` in forms that the ONNX exporter takes for any length.

Of a recurrent layer's output the exporter fixes the number of frames at the example's (PyTorch
2.14), so outputs are read by indices that were made of the input. Packed sequences are padded rows
with their lengths: a packed sequence's data are then [B, T, ...], its row counts the lengths [B].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from fedvoice.protocol.errors import ErrorCode, FedvoiceError

SHUT = 1e4
"""What a gate is moved by to be shut or open: its sigmoid is 0 or 1 exactly."""
FUNCTIONS = {"LSTM": "lstm", "GRU": "gru", "RNN_TANH": "rnn_tanh", "RNN_RELU": "rnn_relu"}
"""By a module's `mode`."""


@contextmanager
def exportable_recurrence() -> Iterator[None]:
    """Within, recurrent layers and packing compute the same in these forms; evaluation only."""
    classes = (nn.LSTM, nn.GRU, nn.RNN)
    before = [(one, one.forward) for one in classes]
    functions: Any = torch._VF  # looks names up in torch's own, unless it has them itself
    functions._pack_padded_sequence, functions._pad_packed_sequence = _pack, _unpack
    for one, forward in before:
        one.forward = _instead_of(forward)  # type: ignore[method-assign]
    try:
        yield
    finally:
        del functions._pack_padded_sequence, functions._pad_packed_sequence
        for one, forward in before:
            one.forward = forward  # type: ignore[method-assign]


def ordered(x: Tensor, places: Tensor) -> Tensor:
    """Frames of each row of x [B, T, N] by places int64 [B, T']."""
    return torch.gather(x, 1, places[:, :, None].expand(-1, -1, x.shape[2]))


def _pack(x: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
    """[B, T, ...], and the lengths [B]."""
    return x if batch_first else x.transpose(0, 1), lengths


def _unpack(
    x: Tensor, lengths: Tensor, batch_first: bool, padding_value: float, total_length: int
) -> tuple[Tensor, Tensor]:
    """x [B, T, ...] with its padding filled, T as it was before, and the lengths."""
    inside = _inside(x, lengths).reshape(*x.shape[:2], *[1] * (x.dim() - 2))
    x = torch.where(inside, x, padding_value)
    return x if batch_first else x.transpose(0, 1), lengths


def _instead_of(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(module: nn.RNNBase, x: Any, hx: Any = None) -> Any:
        if isinstance(x, PackedSequence):
            return _packed(module, x, hx)
        if x.dim() != 3 or module.proj_size:
            return forward(module, x, hx)
        rows = x if module.batch_first else x.transpose(0, 1)
        output, states = _layers(module, rows, None, _states(module, hx))
        return output if module.batch_first else output.transpose(0, 1), _as_given(module, states)

    return run


def _packed(module: nn.RNNBase, rows: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
    if module.proj_size:
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where="release, format onnx",
            got="an LSTM with projections (proj_size) over packed sequences",
            wanted="one without, or rows that are not packed",
            next_step="Leave out this format.",
        )
    data, lengths, there, back = rows
    given = _states(module, hx)
    given = given if there is None else [h[:, there] for h in given]
    output, states = _layers(module, data, lengths, given)
    states = states if back is None else [h[:, back] for h in states]
    return PackedSequence(output, lengths, there, back), _as_given(module, states)


def _states(module: nn.RNNBase, hx: Any) -> list[Tensor]:
    """Hidden and cell states [layers * ways, B, H] as they are given, none: zeros."""
    if hx is None:
        return []
    return list(hx) if isinstance(module, nn.LSTM) else [hx]


def _as_given(module: nn.RNNBase, states: list[Tensor]) -> Any:
    return tuple(states) if isinstance(module, nn.LSTM) else states[0]


def _layers(
    module: nn.RNNBase, x: Tensor, lengths: Tensor | None, given: list[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """All layers and directions over x [B, T, I]; the last states."""
    ways = 2 if module.bidirectional else 1
    if not given:
        empty = x.new_zeros(module.num_layers * ways, x.shape[0], module.hidden_size)
        given = [empty] * (2 if isinstance(module, nn.LSTM) else 1)
    last: list[tuple[Tensor, ...]] = []
    for layer in range(module.num_layers):
        found = []
        for way in range(ways):
            k = layer * ways + way
            own = [h[k : k + 1] for h in given]
            hidden, *ends = _one_way(module, x, lengths, own, k, backwards=way == 1)
            found.append(hidden)
            last.append(tuple(ends))
        x = torch.cat(found, 2) if module.bidirectional else found[0]
    return x, [torch.cat(parts) for parts in zip(*last, strict=True)]


def _one_way(
    module: nn.RNNBase,
    x: Tensor,
    lengths: Tensor | None,
    states: list[Tensor],
    k: int,
    *,
    backwards: bool,
) -> tuple[Tensor, ...]:
    """One direction of a layer over x [B, T, I], states [1, B, H] -> [B, T, H] and its last.

    Forwards, padding changes nothing before it; backwards each row is turned round up to its
    length. An LSTM's last cell state is held in the padding by an input that is 1 there: it shuts
    the input gate and opens the forget gate.
    """
    weights: list[Tensor] = [*module.all_weights[k]]
    lstm = isinstance(module, nn.LSTM)
    ends = x.new_full((x.shape[0],), x.shape[1], dtype=torch.int64) if lengths is None else lengths
    ends = ends[:, None]
    frames = torch.arange(x.shape[1])[None, :].expand(x.shape[0], -1)
    places = torch.where(frames < ends, ends - 1 - frames, frames) if backwards else frames
    x = ordered(x, places) if backwards else x
    if lstm and lengths is not None:
        outside = (~_inside(x, lengths)).to(x.dtype)[..., None]
        moves = torch.tensor([-SHUT, SHUT, 0.0, 0.0], dtype=x.dtype)
        column = moves.repeat_interleave(module.hidden_size)[:, None]
        x, weights[0] = torch.cat([x, outside], 2), torch.cat([weights[0], column], 1)
    once = (1, 0.0, False, False, True)  # no dropout, not training, one direction, rows first
    run = getattr(torch._VF, FUNCTIONS[module.mode])
    given = states if lstm else states[0]
    output, hidden, *cell = run(x, given, weights, module.bias, *once)
    if lengths is not None:
        hidden = ordered(output, ends - 1).transpose(0, 1)
    return ordered(output, places), hidden, *cell


def _inside(x: Tensor, lengths: Tensor) -> Tensor:
    """x [B, T, ...] -> bool [B, T], true up to each row's length."""
    return torch.arange(x.shape[1])[None, :] < lengths[:, None]
