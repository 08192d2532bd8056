"""The encoder: stacked features through L uni- or bidirectional LSTM layers, and its gradient.

x is the graph input [B, T*stack, n_mels]; [B, T, stack*n_mels] is a view of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from fedvoice.model_export.graphs.lstm import (
    LstmGradients,
    LstmTrace,
    LstmWeights,
    lstm_backward,
    lstm_forward,
)
from fedvoice.model_export.graphs.ops import permute, reversal, reverse_time
from fedvoice.model_export.kinds.encoder import EncoderConfig

Parameters = Mapping[str, Tensor]


def lstm_weights(parameters: Parameters, prefix: str, layer: int, suffix: str = "") -> LstmWeights:
    """The weights of one direction, by PyTorch's names."""
    return LstmWeights(
        parameters[f"{prefix}.weight_ih_l{layer}{suffix}"],
        parameters[f"{prefix}.weight_hh_l{layer}{suffix}"],
        parameters[f"{prefix}.bias_ih_l{layer}{suffix}"],
    )


def named_gradients(
    gradients: LstmGradients, prefix: str, layer: int, suffix: str = ""
) -> dict[str, Tensor]:
    """The inverse of `lstm_weights` for gradients."""
    return {
        f"{prefix}.weight_ih_l{layer}{suffix}": gradients.weight_ih,
        f"{prefix}.weight_hh_l{layer}{suffix}": gradients.weight_hh,
        f"{prefix}.bias_ih_l{layer}{suffix}": gradients.bias,
    }


def validity(x_lens: Tensor, frames: int) -> Tensor:
    """[T, 1, B] float: 1 inside a row's length, 0 past it."""
    lengths = (x_lens * 1).reshape(1, 1, -1)
    return (torch.arange(frames).reshape(frames, 1, 1) < lengths).to(torch.float32)


@dataclass(frozen=True)
class EncoderGraph:
    """The encoder of a config at fixed T and B."""

    config: EncoderConfig
    frames: int
    batch: int

    def forward(self, parameters: Parameters, x: Tensor, x_lens: Tensor) -> EncoderRun:
        """x [B, T*stack, n_mels] float32, x_lens int64 [B] (stacked frames)."""
        stacked = x.reshape(self.batch, self.frames, -1)
        valid = validity(x_lens, self.frames) if self.config.bidirectional else None
        run = EncoderRun(self, parameters, stacked, valid, [], [])
        for layer in range(self.config.layers):
            run.add_layer(layer)
        return run


@dataclass
class EncoderRun:
    """One pass through the encoder and what its gradient needs.

    Attributes:
        stacked: [B, T, I].
        valid: [T, 1, B], bidirectional encoders only.
        ahead, back: traces of the layers so far (`back` stays empty for unidirectional ones).
    """

    graph: EncoderGraph
    parameters: Parameters
    stacked: Tensor
    valid: Tensor | None
    ahead: list[LstmTrace]
    back: list[LstmTrace]

    def add_layer(self, layer: int) -> None:
        """Run one more layer."""
        inputs = self._inputs(layer)
        batch = self.graph.batch
        self.ahead.append(
            lstm_forward(inputs, lstm_weights(self.parameters, "encoder", layer), batch)
        )
        if self.valid is not None:
            weights = lstm_weights(self.parameters, "encoder", layer, "_reverse")
            self.back.append(lstm_forward(inputs, weights, batch, reverse_time(self.valid)))

    def output(self) -> Tensor:
        """Outputs of the last layer as rows [T*B, D]."""
        hidden = self._hidden(self.graph.config.layers - 1)
        return permute(hidden, 0, 2, 1).reshape(self.graph.frames * self.graph.batch, -1)

    def backward(self, grad_output: Tensor) -> dict[str, Tensor]:
        """Gradients of the encoder's parameters from that of `output()` [T*B, D]."""
        by_frame = grad_output.reshape(self.graph.frames, self.graph.batch, -1)
        grad = permute(by_frame, 0, 2, 1)
        if self.valid is None:
            return self._backward_ahead(reverse_time(grad))
        return self._backward_both(grad, self.valid)

    def _backward_ahead(self, grad: Tensor) -> dict[str, Tensor]:
        """`grad` [T, H, B] stays in reversed time from layer to layer."""
        gradients: dict[str, Tensor] = {}
        for layer in reversed(range(self.graph.config.layers)):
            found = self._direction_ahead(layer, grad)
            gradients |= named_gradients(found, "encoder", layer)
            if found.inputs is not None:
                grad = self._time_major(found.inputs)
        return gradients

    def _backward_both(self, grad: Tensor, valid: Tensor) -> dict[str, Tensor]:
        """`grad` [T, 2H, B] in natural time."""
        h = self.graph.config.hidden_size
        gradients: dict[str, Tensor] = {}
        for layer in reversed(range(self.graph.config.layers)):
            ahead = self._direction_ahead(layer, reverse_time(grad[:, :h]))
            back = lstm_backward(
                grad[:, h:],
                partial(self._inputs, layer),
                lstm_weights(self.parameters, "encoder", layer, "_reverse"),
                self.back[layer],
                valid=valid,
                need_inputs=layer > 0,
            )
            gradients |= named_gradients(ahead, "encoder", layer)
            gradients |= named_gradients(back, "encoder", layer, "_reverse")
            if ahead.inputs is not None and back.inputs is not None:
                ahead_grad = reverse_time(self._time_major(ahead.inputs))
                grad = ahead_grad + self._time_major(back.inputs)
        return gradients

    def _direction_ahead(self, layer: int, reversed_grad: Tensor) -> LstmGradients:
        return lstm_backward(
            reversed_grad,
            partial(self._inputs, layer, reverse=True),
            lstm_weights(self.parameters, "encoder", layer),
            self.ahead[layer],
            need_inputs=layer > 0,
        )

    def _hidden(self, layer: int) -> Tensor:
        """Outputs of a layer [T, D, B] in natural time."""
        ahead = self.ahead[layer].hidden
        return torch.cat([ahead, reverse_time(self.back[layer].hidden)], 1) if self.back else ahead

    def _inputs(self, layer: int, *, reverse: bool = False) -> Tensor:
        """Inputs of a layer [I, T*B]; made again for the gradient rather than kept alive."""
        columns = self.graph.frames * self.graph.batch
        if layer == 0:
            x = self.stacked
            if reverse:
                x = x.index_select(1, reversal(self.graph.frames))
            return permute(x, 2, 1, 0).reshape(-1, columns)
        hidden = self._hidden(layer - 1)
        if reverse:
            hidden = reverse_time(hidden)
        return permute(hidden, 1, 0, 2).reshape(-1, columns)

    def _time_major(self, columns: Tensor) -> Tensor:
        """[I, T*B] -> [T, I, B]."""
        return permute(columns.reshape(-1, self.graph.frames, self.graph.batch), 1, 0, 2)
