"""Training step of the LSTM transducer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import Tensor
from torch.nn import functional

from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.graphs.chunks import chunk_frames
from fedvoice.model_export.graphs.encoder import EncoderGraph, lstm_weights, named_gradients
from fedvoice.model_export.graphs.joint import Joint, JointSize
from fedvoice.model_export.graphs.lstm import LstmTrace, lstm_backward, lstm_forward
from fedvoice.model_export.graphs.ops import (
    linear,
    one_hot,
    permute,
    product,
    reverse_time,
    row_sums,
)
from fedvoice.model_export.graphs.rnnt_loss import LatticeTables, lattice_posteriors
from fedvoice.model_export.graphs.step import StepGraph
from fedvoice.model_export.kinds.rnnt import RnntConfig
from fedvoice.protocol.parameters import ParameterTable


class RnntStep(StepGraph):
    """Step at fixed T (best one of `padded_frames`), U and B."""

    def __init__(
        self, config: RnntConfig, table: ParameterTable, frames: int, labels: int, batch: int
    ) -> None:
        super().__init__(table)
        self.encoder = EncoderGraph(config.encoder, frames, batch)
        self.tables = LatticeTables(frames, labels + 1)
        shapes = {spec.name: spec.shape for spec in table.parameters}
        self.size = JointSize(
            frames, batch, labels + 1, shapes["output.weight"][0], chunk_frames(frames)
        )

    def gradients(
        self, parameters: Mapping[str, Tensor], batch: TensorBatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `StepGraph`."""
        x, y, x_lens, y_lens, example_weights = batch
        encoder = self.encoder.forward(parameters, x, x_lens)
        predictor = PredictorRun(parameters, y, self.size)
        encoder_rows, predictor_rows = encoder.output(), predictor.output()
        encoded = linear(encoder_rows, parameters["joint_encoder.weight"])
        encoded = encoded + parameters["joint_encoder.bias"]
        predicted = linear(predictor_rows, parameters["joint_predictor.weight"])
        joint = Joint(self.size, parameters, encoded, predicted, y)
        log_blank, log_emit, softmax = joint.log_probabilities()
        posteriors = lattice_posteriors(log_blank, log_emit, x_lens, y_lens, self.tables)
        found = joint.gradients(posteriors, example_weights, softmax)
        encoded_t = permute(found.encoded, 1, 0)
        gradients = {
            "output.weight": found.weight,
            "output.bias": found.bias,
            "joint_encoder.weight": product(encoded_t, encoder_rows),
            "joint_predictor.weight": product(permute(found.predicted, 1, 0), predictor_rows),
            "joint_encoder.bias": row_sums(encoded_t),
        }
        # The encoder's gradient is prepared before the predictor's loop, and its loop comes
        # last: this order gives the shortest lifetimes.
        to_encoder = linear(found.encoded, permute(parameters["joint_encoder.weight"], 1, 0))
        gradients |= predictor.backward(
            product(found.predicted, parameters["joint_predictor.weight"])
        )
        gradients |= encoder.backward(to_encoder)
        return posteriors.nll, gradients


class PredictorRun:
    """Embedding and prediction LSTM over blank, y[0], ..., y[U-1], and their gradient."""

    trace: LstmTrace

    def __init__(self, parameters: Mapping[str, Tensor], y: Tensor, size: JointSize) -> None:
        self.size = size
        self.weights = lstm_weights(parameters, "predictor", 0)
        history = functional.pad(y, (1, 0)).transpose(0, 1).reshape(-1)
        self.tokens = permute(one_hot(history, size.vocabulary), 1, 0)  # [V, U1*B]
        self.inputs = product(permute(parameters["embedding.weight"], 1, 0), self.tokens)
        self.trace = lstm_forward(self.inputs, self.weights, size.batch)

    def output(self) -> Tensor:
        """Rows [B*U1, H]."""
        rows = self.size.batch * self.size.states
        return permute(self.trace.hidden, 2, 0, 1).reshape(rows, self.weights.hidden_size)

    def backward(self, grad_rows: Tensor) -> dict[str, Tensor]:
        """Gradients from that of `output()`."""
        s = self.size
        grad = permute(grad_rows.reshape(s.batch, s.states, -1), 1, 2, 0)
        found = lstm_backward(
            reverse_time(grad), partial(self._reversed, self.inputs), self.weights, self.trace
        )
        assert found.inputs is not None
        return named_gradients(found, "predictor", 0) | {
            "embedding.weight": linear(self._reversed(self.tokens), found.inputs)
        }

    def _reversed(self, columns: Tensor) -> Tensor:
        """[I, U1*B] with the label axis turned round."""
        s = self.size
        by_label = permute(columns.reshape(-1, s.states, s.batch), 1, 0, 2)
        return permute(reverse_time(by_label), 1, 0, 2).reshape(-1, s.states * s.batch)
