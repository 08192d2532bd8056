"""A batch as tensors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class TensorBatch(NamedTuple):
    """`protocol.engine.Batch` as tensors, its features stacked. Where many clients train at once
    every tensor has one axis more, [K, ...].

    features: float32 [B, T, I], zero beyond each row's length; a program's own inputs are
        unstacked, [B, T * stack, bins].
    targets: int64 [B, U] token ids, 0 beyond each row's count.
    frame_counts: int64 [B] stacked frames, 1 in rows that only fill up.
    target_counts: int64 [B], 0 in rows that only fill up.
    example_weights: float32 [B], 0 in rows that only fill up.
    """

    features: Tensor
    targets: Tensor
    frame_counts: Tensor
    target_counts: Tensor
    example_weights: Tensor

    def of(self, chosen: int | slice | Tensor) -> TensorBatch:
        """These rows of every tensor; of a batch of many clients, these clients."""
        return TensorBatch(*(tensor[chosen] for tensor in self))

    @classmethod
    def to_transcribe(cls, features: Tensor, frame_counts: Tensor) -> TensorBatch:
        """Rows without targets."""
        rows = len(features)
        none = torch.zeros(rows, dtype=torch.int64)
        return cls(features, none[:, None], frame_counts, none, torch.zeros(rows))
