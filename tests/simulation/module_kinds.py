"""Modules as users bring them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.kinds.module import module_kind


class Pooled(nn.Module):
    """Mean over the frames there are, one hidden layer, one label a row."""

    def __init__(
        self, input_size: int, vocabulary_size: int, hidden: int = 5, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.hidden = nn.Linear(input_size, hidden)
        self.out = nn.Linear(hidden, vocabulary_size - 1)
        self.dropout = nn.Dropout(dropout)
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, batch: TensorBatch) -> Tensor:
        x = batch.features
        inside = torch.arange(x.shape[1]) < batch.frame_counts[:, None]
        mean = (x * inside[..., None]).sum(1) / batch.frame_counts[:, None]
        logits: Tensor = self.out(self.dropout(torch.tanh(self.hidden(mean))))
        return logits * self.scale

    def loss(self, batch: TensorBatch) -> Tensor:
        """Not to be had for rows without a label: 0 / 0."""
        log_p = torch.log_softmax(self(batch), 1)
        picked = log_p.gather(1, (batch.targets[:, :1] - 1).clamp(min=0)).squeeze(1)
        known = (batch.target_counts > 0).to(log_p.dtype)
        return -picked * known / known

    def decode(self, batch: TensorBatch) -> list[list[int]]:
        tokens: list[list[int]] = (self(batch).argmax(1, keepdim=True) + 1).tolist()
        return tokens


class ReadsValues(Pooled):
    """vmap cannot: it depends on a value which way it goes."""

    def loss(self, batch: TensorBatch) -> Tensor:
        factor = 2.0 if batch.frame_counts.max().item() > 0 else 1.0
        return factor * super().loss(batch)


class DropsByNumPy(Pooled):
    """As libraries do that mask spans of features on the host."""

    def loss(self, batch: TensorBatch) -> Tensor:
        return super().loss(batch) * float(np.random.rand() < 0.9)


class WrongUnderVmap(Pooled):
    """What no library should do: another loss where it is mapped."""

    def loss(self, batch: TensorBatch) -> Tensor:
        mapped = torch._C._functorch.is_functorch_wrapped_tensor(batch.features)
        return super().loss(batch) * (3.0 if mapped else 1.0)


class Counting(Pooled):
    """A buffer that changes as it trains."""

    seen: Tensor

    def __init__(self, input_size: int, vocabulary_size: int) -> None:
        super().__init__(input_size, vocabulary_size)
        self.register_buffer("seen", torch.zeros(()))

    def loss(self, batch: TensorBatch) -> Tensor:
        self.seen.add_(1.0)
        return super().loss(batch)


class Broken(Pooled):
    """With a mistake in it."""

    def loss(self, batch: TensorBatch) -> Tensor:
        return super().loss(batch) @ torch.ones(100)


class Frozen(Pooled):
    """A first layer that does not train, and no `decode`."""

    decode = None  # type: ignore[assignment]

    def __init__(self, input_size: int, vocabulary_size: int) -> None:
        super().__init__(input_size, vocabulary_size)
        self.hidden.requires_grad_(False)
        self.register_buffer("noise", torch.randn(3))


def squared(module: Any, batch: TensorBatch) -> Tensor:
    """A loss that stands apart."""
    distance: Tensor = (module(batch) - batch.targets[:, :1]).square().mean(1)
    return distance


APART = module_kind(Pooled, loss=squared, scoring="words", takes_audio=True)
