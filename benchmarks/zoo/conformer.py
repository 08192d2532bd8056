"""torchaudio's Conformer with a CTC head."""

from __future__ import annotations

import torchaudio
from torch import Tensor, nn

from benchmarks.zoo.losses import ctc


class ConformerCtc(nn.Module):
    """Gulati et al. 2020. Its convolution modules normalise by batch unless `group_norm`."""

    predicts = "ctc"

    def __init__(
        self,
        input_size: int,
        vocabulary_size: int,
        dim: int = 144,
        heads: int = 4,
        layers: int = 1,
        kernel: int = 31,
        dropout: float = 0.0,
        group_norm: bool = False,
    ) -> None:
        super().__init__()
        self.front = nn.Linear(input_size, dim)
        self.encoder = torchaudio.models.Conformer(
            dim, heads, 4 * dim, layers, kernel, dropout, use_group_norm=group_norm
        )
        self.head = nn.Linear(dim, vocabulary_size)

    def predict(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and their counts."""
        hidden, counts = self.encoder(self.front(features), lengths)
        return self.head(hidden), counts

    def forward(
        self, features: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor
    ) -> Tensor:
        """Loss of each row."""
        return ctc(*self.predict(features, lengths), targets, target_lengths)
