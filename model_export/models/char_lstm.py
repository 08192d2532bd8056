"""The character LSTM of McMahan et al. 2016 (arXiv 1602.05629, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fedvoice.model_export.kinds.char_lstm import CharLstmConfig
from fedvoice.model_export.models.labeller import FrameLabeller
from fedvoice.model_export.models.lstm import SingleBiasLSTM
from fedvoice.protocol.errors import ErrorCode, FedvoiceError


class CharLstmModel(FrameLabeller):
    """Embedding, stacked LSTM, softmax over the characters; a frame is one character's id.

    Parameters for C characters with embedding 8 and 2 x 256: 796,672 + 265 C (one bias a layer);
    816,812 for the 76 of `data.shakespeare`. Id 0 stands for no character: its
    embedding is zero and no parameter.
    """

    def __init__(self, config: CharLstmConfig, input_size: int, vocabulary_size: int) -> None:
        super().__init__(vocabulary_size)
        if input_size != 1:
            raise FedvoiceError(
                ErrorCode.BAD_CONFIG,
                where="features of a char-lstm",
                got=f"{input_size} values a frame",
                wanted="1: the id of a character",
                next_step="Set mel_bins = 1 and stack = 1.",
            )
        self.embedding = nn.Embedding(self.classes, config.embedding_size)
        self.lstm = SingleBiasLSTM(config.embedding_size, config.hidden_size, config.layers)
        self.output = nn.Linear(config.hidden_size, self.classes)

    def forward(self, x: Tensor) -> Tensor:
        """See `FrameLabeller`: x [B, T, 1] holds ids 0..C as floats."""
        no_character = self.embedding.weight.new_zeros(1, self.embedding.embedding_dim)
        table = torch.cat([no_character, self.embedding.weight])
        embedded = nn.functional.embedding(x.squeeze(2).to(torch.int64), table)
        logits: Tensor = self.output(self.lstm(embedded)[0])
        return logits

    def random_inputs(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """See `TaskModel`: ids 0..C."""
        ids = torch.randint(0, self.vocabulary_size, shape, generator=generator)
        return ids.to(torch.float32)
