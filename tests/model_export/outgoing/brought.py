"""A module as somebody brings it: with a buffer, a norm's statistics and a frozen parameter."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Brought(nn.Module):
    predicts = "ctc"
    takes_audio, scoring = True, "words"

    def __init__(self, input_size: int, vocabulary_size: int, hidden: int = 16) -> None:
        super().__init__()
        self.encode = nn.GRU(input_size, hidden, batch_first=True)
        self.norm = nn.BatchNorm1d(hidden)
        self.head = nn.Linear(hidden, vocabulary_size)
        self.scale = nn.Parameter(torch.rand(hidden) + 0.5, requires_grad=False)
        self.register_buffer("shift", torch.rand(hidden))

    def predict(self, features: Tensor) -> Tensor:
        hidden = self.encode(features)[0] * self.scale + self.shift
        logits: Tensor = self.head(self.norm(hidden.transpose(1, 2)).transpose(1, 2))
        return logits

    def forward(
        self, features: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor
    ) -> Tensor:
        log_probs = self.predict(features).log_softmax(-1).transpose(0, 1)
        return F.ctc_loss(log_probs, targets, lengths, target_lengths, reduction="none")
