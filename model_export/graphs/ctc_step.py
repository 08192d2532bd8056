"""Training step of the LSTM CTC model."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.graphs.ctc_loss import ctc_loss_gradient
from fedvoice.model_export.graphs.encoder import EncoderGraph
from fedvoice.model_export.graphs.ops import linear, permute, product, row_sums
from fedvoice.model_export.graphs.step import StepGraph
from fedvoice.model_export.kinds.ctc import CtcConfig
from fedvoice.protocol.parameters import ParameterTable


class CtcStep(StepGraph):
    """Step at fixed T and B; U comes with the labels."""

    def __init__(self, config: CtcConfig, table: ParameterTable, frames: int, batch: int) -> None:
        super().__init__(table)
        self.encoder = EncoderGraph(config.encoder, frames, batch)

    def gradients(
        self, parameters: Mapping[str, Tensor], batch: TensorBatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `StepGraph`."""
        x, y, x_lens, y_lens, example_weights = batch
        frames, count = self.encoder.frames, self.encoder.batch
        encoder = self.encoder.forward(parameters, x, x_lens)
        rows = encoder.output()
        logits = linear(rows, parameters["output.weight"]) + parameters["output.bias"]
        by_row = permute(logits.reshape(frames, count, -1), 1, 0, 2)
        nll, by_logits = ctc_loss_gradient(by_row, y, x_lens, y_lens, example_weights)
        grad = permute(by_logits, 1, 0, 2).reshape(frames * count, -1)
        grad_t = permute(grad, 1, 0)
        gradients = {
            "output.weight": product(grad_t, rows),
            "output.bias": row_sums(grad_t),
        }
        gradients |= encoder.backward(linear(grad, permute(parameters["output.weight"], 1, 0)))
        return nll, gradients
