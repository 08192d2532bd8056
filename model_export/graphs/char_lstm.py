"""The character LSTM and its gradient, feature-major as `graphs.lstm`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from fedvoice.model_export.graphs.encoder import lstm_weights, named_gradients
from fedvoice.model_export.graphs.labeller import LabellerNet, LabellerRun
from fedvoice.model_export.graphs.lstm import LstmTrace, lstm_backward, lstm_forward
from fedvoice.model_export.graphs.ops import linear, permute, product, reverse_time, row_sums
from fedvoice.model_export.kinds.char_lstm import CharLstmConfig


class CharLstmNet(LabellerNet):
    """Ids [B, T, 1] -> embedding -> L LSTM layers -> C."""

    def __init__(self, config: CharLstmConfig, frames: int, batch: int) -> None:
        super().__init__(frames, batch)
        self.layers = config.layers

    def run(self, parameters: Mapping[str, Tensor], x: Tensor) -> LabellerRun:
        """See `LabellerNet`."""
        p = parameters
        # [C, T*B]: one-hot columns; the id 0 of no character has none.
        ids = permute(x.reshape(self.batch, self.frames), 1, 0).reshape(1, -1)
        codes = torch.arange(1, p["embedding.weight"].shape[0] + 1).to(torch.float32)
        characters = (ids == codes.reshape(-1, 1)).to(torch.float32)
        inputs = [product(permute(p["embedding.weight"], 1, 0), characters)]
        traces: list[LstmTrace] = []
        for layer in range(self.layers):
            traces.append(lstm_forward(inputs[-1], lstm_weights(p, "lstm", layer), self.batch))
            inputs.append(self._columns(traces[-1].hidden))
        rows = permute(traces[-1].hidden, 0, 2, 1).reshape(self.frames * self.batch, -1)
        logits = linear(rows, p["output.weight"]) + p["output.bias"]
        by_row = permute(logits.reshape(self.frames, self.batch, -1), 1, 0, 2)

        def backward(grad_logits: Tensor) -> dict[str, Tensor]:
            grad = permute(grad_logits, 1, 0, 2).reshape(self.frames * self.batch, -1)
            grad_t = permute(grad, 1, 0)
            gradients = {
                "output.weight": product(grad_t, rows),
                "output.bias": row_sums(grad_t),
            }
            # Gradients [H, T*B] of a layer's outputs, from here on in reversed time.
            columns = self._reversed(product(permute(p["output.weight"], 1, 0), grad_t))
            for layer in reversed(range(self.layers)):
                found = lstm_backward(
                    permute(columns.reshape(-1, self.frames, self.batch), 1, 0, 2),
                    partial(self._reversed, inputs[layer]),
                    lstm_weights(p, "lstm", layer),
                    traces[layer],
                )
                assert found.inputs is not None
                gradients |= named_gradients(found, "lstm", layer)
                columns = found.inputs
            gradients["embedding.weight"] = linear(self._reversed(characters), columns)
            return gradients

        return LabellerRun(by_row, backward)

    def _columns(self, by_frame: Tensor) -> Tensor:
        """[T, H, B] -> [H, T*B]."""
        return permute(by_frame, 1, 0, 2).reshape(-1, self.frames * self.batch)

    def _reversed(self, columns: Tensor) -> Tensor:
        """[I, T*B] with time turned round."""
        by_frame = permute(columns.reshape(-1, self.frames, self.batch), 1, 0, 2)
        return self._columns(reverse_time(by_frame))
