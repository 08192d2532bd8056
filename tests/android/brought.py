"""Modules as people bring them, for the Kotlin phone: `predict` gives logits, `forward` losses."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import rnn


class Spotter(nn.Module):
    """A keyword spotter: a depthwise separable convolution, batch norm, dropout, a mean."""

    predicts = "label"
    takes_audio = True

    def __init__(self, input_size: int, vocabulary_size: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv1d(input_size, input_size, 3, padding=1, groups=input_size),
            nn.Conv1d(input_size, 8, 1),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.Dropout(0.3),
        )
        self.output = nn.Linear(8, vocabulary_size)

    def predict(self, features: Tensor, mask: Tensor) -> Tensor:
        inside = mask.unsqueeze(1).to(features.dtype)
        hidden = self.encoder(features.transpose(1, 2)) * inside
        found: Tensor = self.output(hidden.sum(2) / inside.sum(2))
        return found

    def forward(self, features: Tensor, mask: Tensor, label: Tensor) -> Tensor:
        return functional.cross_entropy(self.predict(features, mask), label, reduction="none")


class Ear(nn.Module):
    """Strided convolutions over samples, CTC on what they give."""

    predicts = "ctc"
    features: ClassVar[dict[str, str]] = {"normalise": "utterance"}

    def __init__(self, vocabulary_size: int, hidden_size: int = 8) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv1d(1, hidden_size, 80, 40),
            nn.ReLU(),
            nn.Conv1d(hidden_size, hidden_size, 6, 3),
            nn.ReLU(),
        )
        self.output = nn.Linear(hidden_size, vocabulary_size)

    def predict(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.encoder(waveform.unsqueeze(1)).transpose(1, 2)
        counts = ((lengths - 80) // 40 - 5) // 3 + 1
        return self.output(hidden), counts.clamp(min=1)  # rows that fill up are one sample long

    def forward(
        self, waveform: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor
    ) -> Tensor:
        logits, counts = self.predict(waveform, lengths)
        log_probs = torch.log_softmax(logits, -1).transpose(0, 1)
        return functional.ctc_loss(log_probs, targets, counts, target_lengths, reduction="none")


class Listener(nn.Module):
    """Packed bidirectional recurrent layers with dropout between, CTC on their outputs."""

    predicts = "ctc"
    takes_audio = True
    scoring = "words"

    def __init__(self, input_size: int, vocabulary_size: int, hidden_size: int) -> None:
        super().__init__()
        self.encoder = nn.LSTM(
            input_size, hidden_size, 2, dropout=0.2, bidirectional=True, batch_first=True
        )
        self.output = nn.Linear(2 * hidden_size, vocabulary_size)

    def predict(self, features: Tensor, lengths: Tensor) -> Tensor:
        packed = rnn.pack_padded_sequence(features, lengths, batch_first=True, enforce_sorted=False)
        hidden, _ = rnn.pad_packed_sequence(
            self.encoder(packed)[0], batch_first=True, total_length=features.shape[1]
        )
        found: Tensor = self.output(hidden)
        return found

    def forward(
        self, features: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor
    ) -> Tensor:
        log_probs = torch.log_softmax(self.predict(features, lengths), -1).transpose(0, 1)
        return functional.ctc_loss(
            log_probs, targets, lengths, target_lengths, reduction="none", zero_infinity=True
        )
