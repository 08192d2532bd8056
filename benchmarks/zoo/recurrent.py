"""Stacks of PyTorch's recurrent layers with CTC."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.zoo.losses import ctc


class RecurrentCtc(nn.Module):
    """`nn.GRU` or `nn.LSTM` over packed rows."""

    predicts = "ctc"

    def __init__(
        self,
        input_size: int,
        vocabulary_size: int,
        cell: str = "lstm",
        hidden: int = 128,
        layers: int = 2,
        bidirectional: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.body = {"gru": nn.GRU, "lstm": nn.LSTM}[cell](
            input_size,
            hidden,
            layers,
            batch_first=True,
            dropout=dropout,
            bidirectional=bidirectional,
        )
        self.head = nn.Linear(hidden * (2 if bidirectional else 1), vocabulary_size)

    def predict(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and their counts."""
        packed = pack_padded_sequence(features, lengths, batch_first=True, enforce_sorted=False)
        hidden, counts = pad_packed_sequence(self.body(packed)[0], batch_first=True)
        return self.head(hidden), counts

    def forward(
        self, features: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor
    ) -> Tensor:
        """Loss of each row."""
        return ctc(*self.predict(features, lengths), targets, target_lengths)
