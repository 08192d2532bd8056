"""LSTM transducer (Graves 2012, arXiv 1211.3711), blank = 0."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.kinds.rnnt import RnntConfig
from fedvoice.model_export.models.base import TaskModel
from fedvoice.model_export.models.batched import Losses, Parameters, encode, linear, lstm
from fedvoice.model_export.models.batched_layers import affine
from fedvoice.model_export.models.greedy import Hypothesis, State, greedy_rnnt
from fedvoice.model_export.models.loss import cut, rnnt_nll
from fedvoice.model_export.models.lstm import SingleBiasLSTM
from fedvoice.protocol.vocabulary import BLANK

BLANK_PRIOR = 0.8
"""Probability of the blank under an untrained model."""


class RnntModel(TaskModel):
    """Encoder LSTM, prediction LSTM over the labels so far, joint `W tanh(E e + P p)`.

    The predictor starts from the embedding of the blank.
    """

    def __init__(self, config: RnntConfig, input_size: int, vocabulary_size: int) -> None:
        super().__init__(vocabulary_size)
        encoder = config.encoder
        self.config = config
        self.encoder = SingleBiasLSTM(
            input_size, encoder.hidden_size, encoder.layers, bidirectional=encoder.bidirectional
        )
        self.embedding = nn.Embedding(vocabulary_size, config.embedding_size)
        self.predictor = SingleBiasLSTM(config.embedding_size, config.predictor_size)
        self.joint_encoder = nn.Linear(encoder.output_size, config.joint_size)
        self.joint_predictor = nn.Linear(config.predictor_size, config.joint_size, bias=False)
        self.output = nn.Linear(config.joint_size, vocabulary_size)
        # Most steps of an alignment are blanks. A model that starts with that prior need not
        # learn it in its first rounds (and emit a token a frame until then).
        with torch.no_grad():
            self.output.bias[BLANK] += math.log(
                BLANK_PRIOR / (1 - BLANK_PRIOR) * (vocabulary_size - 1)
            )

    def forward(self, x: Tensor, y: Tensor, x_lens: Tensor) -> Tensor:
        """Logits [B, T, U+1, V] for stacked features x [B, T, I], labels y int64 [B, U]."""
        encoded, predicted = self.frame_outputs(x, x_lens), self.predictions(y)
        return self.join(encoded[:, :, None], predicted[:, None])

    def frame_outputs(self, x: Tensor, x_lens: Tensor) -> Tensor:
        """See `TaskModel`: the encoder's part of the joint [B, T, J]."""
        encoded: Tensor = self.joint_encoder(self.encoder.encode(x, x_lens))
        return encoded

    def predictions(self, y: Tensor) -> Tensor:
        """The predictor's part of the joint [B, U+1, J], before and after labels y int64 [B, U]."""
        history = self.predictor(self.embedding(nn.functional.pad(y, (1, 0))))[0]
        predicted: Tensor = self.joint_predictor(history)
        return predicted

    def join(self, encoded: Tensor, predicted: Tensor) -> Tensor:
        """Logits [..., V] of both parts [..., J]."""
        logits: Tensor = self.output(torch.tanh(encoded + predicted))
        return logits

    def nll(self, batch: TensorBatch) -> Tensor:
        """See `TaskModel`: torchaudio's transducer loss."""
        x, y, x_lens, y_lens, _ = cut(batch)
        return rnnt_nll(self(x, y, x_lens), y, x_lens, y_lens)

    @torch.no_grad()
    def greedy(self, x: Tensor, x_lens: Tensor) -> list[Hypothesis]:
        """Greedy transcripts of stacked features x [B, T, I], x_lens int64 [B]."""
        encoded = self.frame_outputs(x, x_lens)
        symbols = self.config.max_symbols_per_frame
        return greedy_rnnt(encoded, x_lens, self._predict, self.join, symbols)

    def make_restless(self) -> None:
        """See `TaskModel`; several tokens a frame may come."""
        super().make_restless()
        self.output.bias[BLANK] = math.log(len(self.output.bias))

    def _predict(self, tokens: Tensor, state: State | None) -> tuple[Tensor, State]:
        outputs, state = self.predictor(self.embedding(tokens[:, None]), state)
        return self.joint_predictor(outputs[:, 0]), state


def many_losses(config: RnntConfig) -> Losses:
    """`RnntModel.nll` for many clients."""

    def losses(p: Parameters, batch: TensorBatch) -> Tensor:
        x, y, x_lens, y_lens, _ = batch
        clients, rows, frames, _ = x.shape
        encoder = config.encoder
        encoded = encode(p, encoder.layers, encoder.bidirectional, x, x_lens)
        history = nn.functional.pad(y, (1, 0))
        # A product instead of an index: its gradient is a product, too.
        vocabulary = p["output.weight"].value.shape[1]
        tokens = nn.functional.one_hot(history, vocabulary).to(x.dtype)
        embedded = affine(tokens.flatten(1, 2), p["embedding.weight"].turned)
        embedded = embedded.view(clients, rows, history.shape[2], -1)
        predicted = lstm(p, "predictor", "l0", embedded)
        left = linear(p, "joint_encoder", encoded.flatten(1, 2)).view(clients, rows, frames, 1, -1)
        right = linear(p, "joint_predictor", predicted.flatten(1, 2))
        joined = torch.tanh(left + right.view(clients, rows, 1, history.shape[2], -1))
        logits = linear(p, "output", joined.flatten(1, 3))
        lattice = logits.view(clients * rows, frames, history.shape[2], -1)
        nll = rnnt_nll(lattice, y.flatten(0, 1), x_lens.flatten(), y_lens.flatten())
        return nll.view(clients, rows)

    return losses
