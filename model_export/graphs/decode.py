"""Greedy decoding as one call, so that hosts need no decoder loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fedvoice.model_export.graphs.encoder import EncoderGraph, lstm_weights
from fedvoice.model_export.graphs.ops import Tensors, linear, one_hot, scan
from fedvoice.model_export.kinds.ctc import CtcConfig
from fedvoice.model_export.kinds.rnnt import RnntConfig
from fedvoice.protocol.parameters import ParameterTable


class DecodeGraph(nn.Module, ABC):
    """forward(parameters, x, x_lens) -> tokens int64 [N, B], counts int64 [B].

    x float32 [B, T*stack, n_mels], x_lens int64 [B] in stacked frames. Tokens stand in order of
    time, 0 where nothing was emitted; counts are the non-zero ones of each column.
    """

    def __init__(self, table: ParameterTable, frames: int, batch: int) -> None:
        super().__init__()
        self.table, self.frames, self.batch = table, frames, batch

    def forward(
        self, parameters: tuple[Tensor, ...], x: Tensor, x_lens: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See the class."""
        named = {s.name: p for s, p in zip(self.table.parameters, parameters, strict=True)}
        tokens = self.tokens(named, x, x_lens)
        return tokens, (tokens != 0).to(torch.int64).sum(0)

    @abstractmethod
    def tokens(self, parameters: Mapping[str, Tensor], x: Tensor, x_lens: Tensor) -> Tensor:
        """Emitted tokens int64 [N, B]."""


class RnntDecode(DecodeGraph):
    """N = T * max_symbols_per_frame micro-steps: emit a label and stay, or go to the next frame.

    Each micro-step evaluates the joint for its frame; a row that has chosen blank stays silent
    until the next frame begins.
    """

    def __init__(self, config: RnntConfig, table: ParameterTable, frames: int, batch: int) -> None:
        super().__init__(table, frames, batch)
        self.encoder = EncoderGraph(config.encoder, frames, batch)
        self.symbols = config.max_symbols_per_frame

    def tokens(self, parameters: Mapping[str, Tensor], x: Tensor, x_lens: Tensor) -> Tensor:
        """See `DecodeGraph`."""
        rows = self.encoder.forward(parameters, x, x_lens).output()
        batch, steps = self.batch, self.frames * self.symbols
        joint = linear(rows, parameters["joint_encoder.weight"]) + parameters["joint_encoder.bias"]
        by_frame = joint.reshape(self.frames, batch, -1)
        joint_size = by_frame.shape[2]
        predictor = lstm_weights(parameters, "predictor", 0)
        size = predictor.hidden_size
        # Input part of the predictor's gates for every token, once: [V, 4H].
        table = linear(parameters["embedding.weight"], predictor.weight_ih) + predictor.bias
        vocabulary = table.shape[0]

        def predict(
            token: Tensor, hidden: Tensor, cell: Tensor, table: Tensor, weight_hh: Tensor
        ) -> tuple[Tensor, Tensor]:
            """token one-hot [B, V], hidden and cell [B, H] -> the next two."""
            gates = token.mm(table) + linear(hidden, weight_hh)
            i, f = torch.sigmoid(gates[:, :size]), torch.sigmoid(gates[:, size : 2 * size])
            g, o = torch.tanh(gates[:, 2 * size : 3 * size]), torch.sigmoid(gates[:, 3 * size :])
            cell = f * cell + i * g
            return o * torch.tanh(cell), cell

        def body(carry: Tensors, xs: Tensors, captured: Tensors) -> tuple[Tensors, Tensors]:
            hidden, cell, awake = carry
            t, begin = xs
            frames_in, lengths, table, weight_hh, to_joint, to_logits, bias = captured
            awake = torch.maximum(awake, begin.reshape(1, 1).expand(batch, 1))
            encoded = frames_in.index_select(0, t).reshape(batch, joint_size)
            logits = linear(torch.tanh(encoded + linear(hidden, to_joint)), to_logits) + bias
            token = logits.argmax(1, keepdim=True)
            awake = awake * (t.reshape(1, 1) < lengths).to(torch.float32)
            emits = (token != 0).to(torch.float32) * awake
            chosen = (token == torch.arange(vocabulary).reshape(1, vocabulary)).to(torch.float32)
            next_hidden, next_cell = predict(chosen, hidden, cell, table, weight_hh)
            hidden = hidden + (next_hidden - hidden) * emits
            cell = cell + (next_cell - cell) * emits
            return (hidden, cell, emits.clone()), ((token * emits.to(torch.int64)).clone(),)

        empty = torch.zeros(batch, size)
        blank = one_hot(torch.zeros(batch, dtype=torch.int64), vocabulary)
        hidden, cell = predict(blank, empty, empty, table, predictor.weight_hh)
        frame = torch.arange(self.frames).repeat_interleave(self.symbols).reshape(steps, 1)
        begins = (torch.arange(steps) % self.symbols == 0).to(torch.float32).reshape(steps, 1)
        captured = (
            by_frame,
            (x_lens * 1).reshape(batch, 1),
            table,
            predictor.weight_hh,
            parameters["joint_predictor.weight"],
            parameters["output.weight"],
            parameters["output.bias"],
        )
        start = (hidden, cell, torch.ones(batch, 1))
        _, (tokens,) = scan(body, start, (frame, begins), captured)
        return (tokens * 1).reshape(steps, batch)


class CtcDecode(DecodeGraph):
    """Best path with repeats and blanks removed; N = T."""

    def __init__(self, config: CtcConfig, table: ParameterTable, frames: int, batch: int) -> None:
        super().__init__(table, frames, batch)
        self.encoder = EncoderGraph(config.encoder, frames, batch)

    def tokens(self, parameters: Mapping[str, Tensor], x: Tensor, x_lens: Tensor) -> Tensor:
        """See `DecodeGraph`."""
        rows = self.encoder.forward(parameters, x, x_lens).output()
        logits = linear(rows, parameters["output.weight"]) + parameters["output.bias"]
        best = logits.argmax(1).reshape(self.frames, self.batch)
        before = torch.cat([torch.zeros(1, self.batch, dtype=torch.int64), best[:-1]], 0)
        inside = torch.arange(self.frames).reshape(-1, 1) < (x_lens * 1).reshape(1, -1)
        return best * ((best != before) & inside).to(torch.int64)
