"""A Mamba-like block with CTC, written from the paper."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.zoo.losses import ctc
from fedvoice.model_export.traced.rewrites.recurrent import recurrence


class MambaCtc(nn.Module):
    """Selective state space (Gu and Dao 2023): gate, short causal convolution, recurrence."""

    predicts = "ctc"

    def __init__(
        self,
        input_size: int,
        vocabulary_size: int,
        dim: int = 64,
        inner: int = 128,
        states: int = 8,
        rank: int = 8,
    ) -> None:
        super().__init__()
        self.front, self.head = nn.Linear(input_size, dim), nn.Linear(dim, vocabulary_size)
        self.norm = nn.LayerNorm(dim)
        self.into = nn.Linear(dim, 2 * inner, bias=False)
        self.out = nn.Linear(inner, dim, bias=False)
        self.convolution = nn.Conv1d(inner, inner, 4, padding=3, groups=inner)
        self.select = nn.Linear(inner, rank + 2 * states, bias=False)
        self.step = nn.Linear(rank, inner)
        decay = torch.log(torch.arange(1.0, states + 1)).repeat(inner, 1)
        self.log_decay = nn.Parameter(decay)
        self.skip = nn.Parameter(torch.ones(inner))
        self.sizes = [rank, states, states]

    def block(self, x: Tensor) -> Tensor:
        """x [B, T, D] and what the state space adds to it."""
        values, gate = self.into(self.norm(x)).chunk(2, -1)
        values = self.convolution(values.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2)
        values = functional.silu(values)
        step, into, out = self.select(values).split(self.sizes, -1)
        step = functional.softplus(self.step(step)).transpose(0, 1).unsqueeze(-1)
        decay = torch.exp(step * -torch.exp(self.log_decay))  # [T, B, inner, states]
        given = into.transpose(0, 1).unsqueeze(2) * values.transpose(0, 1).unsqueeze(-1)
        state = recurrence(decay, step * given)
        found = (state * out.transpose(0, 1).unsqueeze(2)).sum(-1).transpose(0, 1)
        found = found + values * self.skip
        return x + self.out(found * functional.silu(gate))

    def predict(self, features: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.head(self.block(self.front(features)))
        return logits

    def forward(
        self, features: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor
    ) -> Tensor:
        """Loss of each row."""
        return ctc(self.predict(features), lengths, targets, target_lengths)
