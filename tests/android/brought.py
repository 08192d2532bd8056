"""Modules as people bring them, for the Kotlin phone: `predict` gives logits, `forward` losses."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.zoo.classifiers import KeywordSpotter
from benchmarks.zoo.recurrent import RecurrentCtc


class Spotter(KeywordSpotter):
    """The zoo's keyword spotter, of recordings: depthwise convolutions, batch norm, dropout."""

    takes_audio = True


class Listener(RecurrentCtc):
    """The zoo's packed bidirectional LSTM with dropout between its layers, of recordings."""

    takes_audio = True
    scoring = "words"


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
