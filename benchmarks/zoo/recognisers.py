"""Older recognisers of torchaudio with CTC: DeepSpeech and Wav2Letter."""

from __future__ import annotations

import torchaudio
from torch import Tensor, nn

from benchmarks.zoo.losses import ctc


class DeepSpeechCtc(nn.Module):
    """Hannun et al. 2014: dense layers around one bidirectional recurrent layer."""

    predicts = "ctc"

    def __init__(
        self, input_size: int, vocabulary_size: int, hidden: int = 256, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.model = torchaudio.models.DeepSpeech(input_size, hidden, vocabulary_size, dropout)

    def predict(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and their counts."""
        return self.model(features[:, None]), lengths

    def forward(
        self, features: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor
    ) -> Tensor:
        """Loss of each row."""
        return ctc(*self.predict(features, lengths), targets, target_lengths)


class Wav2LetterCtc(nn.Module):
    """Collobert et al. 2016: convolutions alone; the library fixes its size, 23 million weights."""

    predicts = "ctc"

    def __init__(self, input_size: int, vocabulary_size: int) -> None:
        super().__init__()
        self.model = torchaudio.models.Wav2Letter(vocabulary_size, "mfcc", input_size)

    def predict(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of every second frame, and their counts."""
        logits = self.model(features.transpose(1, 2)).transpose(1, 2)
        return logits, (lengths // 2).clamp(min=1)

    def forward(
        self, features: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor
    ) -> Tensor:
        """Loss of each row."""
        return ctc(*self.predict(features, lengths), targets, target_lengths)
