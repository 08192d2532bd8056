"""Recognition chunk by chunk: an encoder with its state in and out, and a transducer's predictor
and joint for some hypotheses at once. Shapes as in `protocol.task.Streaming`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedvoice.model_export.graphs.encoder import lstm_weights
from fedvoice.model_export.graphs.lstm import LstmWeights
from fedvoice.model_export.graphs.ops import Tensors, linear, one_hot, scan, settled
from fedvoice.model_export.kinds.ctc import CtcConfig
from fedvoice.model_export.kinds.encoder import EncoderConfig
from fedvoice.model_export.kinds.rnnt import RnntConfig
from fedvoice.protocol.parameters import ParameterTable
from fedvoice.protocol.task import Streaming


@dataclass(frozen=True)
class StreamingGraphs:
    """What a task's streaming methods are: their sizes, and graphs by method name."""

    sizes: Streaming
    graphs: dict[str, nn.Module]


def rnnt_streaming(
    config: RnntConfig, table: ParameterTable, frames: int, rows: int
) -> StreamingGraphs:
    """A transducer's three methods."""
    sizes = Streaming(
        frames=frames,
        rows=rows,
        outputs=config.joint_size,
        encoder_state=state_size(config.encoder),
        predictor_state=2 * config.predictor_size,
        max_symbols_per_frame=config.max_symbols_per_frame,
    )
    stream = StreamGraph(table, config.encoder, frames, "joint_encoder")
    graphs = (stream, PredictGraph(table), JoinGraph(table))
    return StreamingGraphs(sizes, dict(zip(sizes.methods, graphs, strict=True)))


def ctc_streaming(
    config: CtcConfig, table: ParameterTable, frames: int, rows: int
) -> StreamingGraphs:
    """A CTC model's one method."""
    shapes = {spec.name: spec.shape for spec in table.parameters}
    sizes = Streaming(
        frames=frames,
        rows=rows,
        outputs=shapes["output.weight"][0],
        encoder_state=state_size(config.encoder),
    )
    stream = StreamGraph(table, config.encoder, frames, "output")
    return StreamingGraphs(sizes, {sizes.stream_method: stream})


def state_size(config: EncoderConfig) -> int:
    """S: hidden and cell of every layer."""
    return 2 * config.layers * config.hidden_size


class _Graph(nn.Module):
    """A graph over named parameters."""

    def __init__(self, table: ParameterTable) -> None:
        super().__init__()
        self.table = table

    def named(self, parameters: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Parameters by name."""
        return {s.name: p for s, p in zip(self.table.parameters, parameters, strict=True)}


class StreamGraph(_Graph):
    """forward(parameters, features [1, C * stack, mel_bins], state [S]) -> [C, O], [S]."""

    def __init__(
        self, table: ParameterTable, encoder: EncoderConfig, frames: int, last: str
    ) -> None:
        super().__init__(table)
        self.encoder, self.frames, self.last = encoder, frames, last

    def forward(
        self, parameters: tuple[Tensor, ...], features: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See the class."""
        named = self.named(parameters)
        rows = features.reshape(self.frames, -1)
        carried = settled(state).reshape(2 * self.encoder.layers, self.encoder.hidden_size)
        after = []
        for layer in range(self.encoder.layers):
            hidden, cell = (
                carried[2 * layer : 2 * layer + 1],
                carried[2 * layer + 1 : 2 * layer + 2],
            )
            weights = lstm_weights(named, "encoder", layer)
            rows, hidden, cell = lstm_chunk(rows, weights, hidden, cell)
            after += [hidden, cell]
        outputs = linear(rows, named[f"{self.last}.weight"]) + named[f"{self.last}.bias"]
        return outputs, torch.cat(after).reshape(-1)


class PredictGraph(_Graph):
    """forward(parameters, tokens int64 [R], states [R, 2H]) -> [R, J], [R, 2H]."""

    def forward(
        self, parameters: tuple[Tensor, ...], tokens: Tensor, states: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See the class."""
        named = self.named(parameters)
        weights = lstm_weights(named, "predictor", 0)
        h = weights.hidden_size
        embedding = named["embedding.weight"]
        embedded = one_hot(tokens, embedding.shape[0]).mm(embedding)
        gates = linear(embedded, weights.weight_ih) + weights.bias
        hidden, cell = cell_by_rows(gates, weights.weight_hh, states[:, :h], states[:, h:])
        return linear(hidden, named["joint_predictor.weight"]), torch.cat([hidden, cell], 1)


class JoinGraph(_Graph):
    """forward(parameters, outputs [R, J], predictions [R, J]) -> logits [R, V]."""

    def forward(
        self, parameters: tuple[Tensor, ...], outputs: Tensor, predictions: Tensor
    ) -> Tensor:
        """See the class."""
        named = self.named(parameters)
        joined = torch.tanh(outputs + predictions)
        return linear(joined, named["output.weight"]) + named["output.bias"]


def lstm_chunk(
    rows: Tensor, weights: LstmWeights, hidden: Tensor, cell: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """rows [C, I] in order of time, hidden and cell [1, H] -> outputs [C, H], hidden, cell."""
    frames, size = rows.shape[0], weights.hidden_size
    gates = linear(rows, weights.weight_ih) + weights.bias

    def body(carry: Tensors, xs: Tensors, captured: Tensors) -> tuple[Tensors, Tensors]:
        hidden, cell = cell_by_rows(xs[0], captured[0], *carry)
        return (hidden, cell), (hidden.clone(),)

    start = (settled(hidden), settled(cell))
    xs = (gates.reshape(frames, 1, 4 * size),)
    (hidden, cell), (outputs,) = scan(body, start, xs, (weights.weight_hh,))
    return settled(outputs).reshape(frames, size), settled(hidden), settled(cell)


def cell_by_rows(
    gates: Tensor, weight_hh: Tensor, hidden: Tensor, cell: Tensor
) -> tuple[Tensor, Tensor]:
    """The next hidden and cell [N, H], from the inputs' part of the gates [N, 4H]."""
    h = weight_hh.shape[1]
    gates = gates + linear(hidden, weight_hh)
    i, f = torch.sigmoid(gates[:, :h]), torch.sigmoid(gates[:, h : 2 * h])
    g, o = torch.tanh(gates[:, 2 * h : 3 * h]), torch.sigmoid(gates[:, 3 * h :])
    cell = f * cell + i * g
    return o * torch.tanh(cell), cell
