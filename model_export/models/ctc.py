"""LSTM CTC model (Graves et al. 2006), blank = 0."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.kinds.ctc import CtcConfig
from fedvoice.model_export.models.base import TaskModel
from fedvoice.model_export.models.batched import Losses, Parameters, encode, linear
from fedvoice.model_export.models.greedy import Hypothesis, greedy_ctc
from fedvoice.model_export.models.loss import cut
from fedvoice.model_export.models.lstm import SingleBiasLSTM
from fedvoice.protocol.vocabulary import BLANK


class CtcModel(TaskModel):
    """Encoder LSTM and one linear layer."""

    def __init__(self, config: CtcConfig, input_size: int, vocabulary_size: int) -> None:
        super().__init__(vocabulary_size)
        encoder = config.encoder
        self.config = config
        self.encoder = SingleBiasLSTM(
            input_size, encoder.hidden_size, encoder.layers, bidirectional=encoder.bidirectional
        )
        self.output = nn.Linear(encoder.output_size, vocabulary_size)

    def forward(self, x: Tensor, x_lens: Tensor) -> Tensor:
        """Logits [B, T, V] for stacked features x [B, T, I] with x_lens int64 [B] frames."""
        logits: Tensor = self.output(self.encoder.encode(x, x_lens))
        return logits

    def nll(self, batch: TensorBatch) -> Tensor:
        """See `TaskModel`: PyTorch's CTC loss, 0 where the labels do not fit."""
        x, y, x_lens, y_lens, _ = cut(batch)
        log_p = torch.log_softmax(self(x, x_lens), -1).transpose(0, 1)
        loss: Tensor = nn.functional.ctc_loss(
            log_p, y, x_lens, y_lens, blank=BLANK, reduction="none", zero_infinity=True
        )
        return loss

    def frame_outputs(self, x: Tensor, x_lens: Tensor) -> Tensor:
        """See `TaskModel`: logits."""
        return self(x, x_lens)  # type: ignore[no-any-return]

    @torch.no_grad()
    def greedy(self, x: Tensor, x_lens: Tensor) -> list[Hypothesis]:
        """Greedy transcripts of stacked features x [B, T, I], x_lens int64 [B]."""
        return greedy_ctc(self(x, x_lens), x_lens)

    def most_labels(self, x_lens: Tensor) -> Tensor:
        """See `TaskModel`: half as many as frames leave room for a blank between equal ones."""
        return x_lens // 2


def many_losses(config: CtcConfig) -> Losses:
    """`CtcModel.nll` for many clients."""

    def losses(p: Parameters, batch: TensorBatch) -> Tensor:
        x, y, x_lens, y_lens, _ = batch
        clients, rows, frames, _ = x.shape
        encoder = config.encoder
        encoded = encode(p, encoder.layers, encoder.bidirectional, x, x_lens)
        logits = linear(p, "output", encoded.flatten(1, 2)).view(clients * rows, frames, -1)
        nll = nn.functional.ctc_loss(
            torch.log_softmax(logits, -1).transpose(0, 1),
            y.flatten(0, 1),
            x_lens.flatten(),
            y_lens.flatten(),
            blank=BLANK,
            reduction="none",
            zero_infinity=True,
        )
        return nll.view(clients, rows)

    return losses
