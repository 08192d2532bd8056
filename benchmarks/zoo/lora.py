"""Low-rank adapters on a frozen int8 base, with CTC."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.zoo.losses import ctc


class LoraLinear(nn.Module):
    """Hu et al. 2021: W x + B A x. W is frozen, int8 with one scale a row; A and B are trained."""

    weight: Tensor
    scale: Tensor

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        base = nn.Linear(inputs, outputs, bias=False).weight.detach()
        scale = base.abs().amax(1, keepdim=True) / 127
        self.register_buffer("weight", torch.round(base / scale).to(torch.int8))
        self.register_buffer("scale", scale)
        self.down = nn.Parameter(torch.randn(rank, inputs) * inputs**-0.5)
        # Not 0, as in training from scratch: `down` would then have no gradient yet.
        self.up = nn.Parameter(torch.randn(outputs, rank) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        base = nn.functional.linear(x, self.weight.float() * self.scale)
        return base + nn.functional.linear(nn.functional.linear(x, self.down), self.up)


class LoraCtc(nn.Module):
    """Dense layers with a residual each, of which the adapters and the head are trained."""

    predicts = "ctc"

    def __init__(
        self,
        input_size: int,
        vocabulary_size: int,
        dim: int = 256,
        layers: int = 3,
        rank: int = 4,
    ) -> None:
        super().__init__()
        self.front = LoraLinear(input_size, dim, rank)
        self.layers = nn.ModuleList(LoraLinear(dim, dim, rank) for _ in range(layers))
        self.head = nn.Linear(dim, vocabulary_size)

    def predict(self, features: Tensor) -> Tensor:
        """Logits."""
        hidden = self.front(features)
        for layer in self.layers:
            hidden = hidden + torch.relu(layer(hidden))
        logits: Tensor = self.head(hidden)
        return logits

    def forward(
        self, features: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor
    ) -> Tensor:
        """Loss of each row."""
        return ctc(self.predict(features), lengths, targets, target_lengths)
