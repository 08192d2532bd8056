"""A Zipformer-like block with CTC, written from the paper."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.zoo.losses import ctc

QUERY = 16
"""Values of a head's query."""


def swoosh(x: Tensor, shift: float, slope: float) -> Tensor:
    """SwooshL with shift 4 and slope 0.08, SwooshR with 1 and 0.313 (but for a constant)."""
    return torch.logaddexp(torch.zeros_like(x), x - shift) - slope * x - 0.035


class FeedForward(nn.Module):
    """x and what two layers add to it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        added: Tensor = self.out(swoosh(self.into(x), 4.0, 0.08))
        return x + added


class ZipformerBlock(nn.Module):
    """Yao et al. 2023: attention weights used three times, non-linear attention, BiasNorm, bypass.

    Both convolution modules share their weights here, and so do both self-attentions' inputs.
    """

    def __init__(self, dim: int, heads: int, kernel: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries = nn.Linear(dim, 2 * QUERY * heads)
        self.values = nn.ModuleList(nn.Linear(dim, dim // 2) for _ in range(2))
        self.attended = nn.ModuleList(nn.Linear(dim // 2, dim) for _ in range(2))
        self.mix_in, self.mix_out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.conv_in, self.conv_out = nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.feed = nn.ModuleList(FeedForward(dim) for _ in range(3))
        self.bias, self.log_scale = (
            nn.Parameter(torch.zeros(dim)),
            nn.Parameter(torch.tensor([0.5])),
        )
        self.bypass = nn.Parameter(torch.full((dim,), 0.5))
        self.middle = nn.Parameter(torch.full((dim,), 0.5))

    def attention_weights(self, x: Tensor, padding: Tensor) -> Tensor:
        """[B, heads, T, T]."""
        rows, frames, _ = x.shape
        queries = self.queries(x).reshape(rows, frames, self.heads, 2 * QUERY).transpose(1, 2)
        query, key = queries.chunk(2, -1)
        scores = torch.matmul(query, key.transpose(-1, -2)) * QUERY**-0.5
        return scores.masked_fill(padding[:, None, None], -1e4).softmax(-1)

    def attend(self, i: int, weights: Tensor, x: Tensor) -> Tensor:
        """What the i-th self-attention adds."""
        rows, frames, _ = x.shape
        values = self.values[i](x).reshape(rows, frames, self.heads, -1).transpose(1, 2)
        found = torch.matmul(weights, values).transpose(1, 2).reshape(rows, frames, -1)
        added: Tensor = self.attended[i](found)
        return added

    def convolve(self, x: Tensor, padding: Tensor) -> Tensor:
        """What a convolution module adds."""
        value, gate = self.conv_in(x).chunk(2, -1)
        gated = (value * torch.sigmoid(gate)).masked_fill(padding[..., None], 0.0)
        found = self.depthwise(gated.transpose(1, 2)).transpose(1, 2)
        added: Tensor = self.conv_out(swoosh(found, 1.0, 0.313))
        return added

    def mix(self, weights: Tensor, x: Tensor) -> Tensor:
        """What non-linear attention adds, by the first head's weights."""
        scale, value, gate = self.mix_in(x).chunk(3, -1)
        added: Tensor = self.mix_out(torch.matmul(weights[:, 0], torch.tanh(scale) * value) * gate)
        return added

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        """x [B, T, D], padding bool [B, T]: true beyond a row's length."""
        start, weights = x, self.attention_weights(x, padding)
        x = self.feed[0](x)
        x = x + self.mix(weights, x)
        x = x + self.attend(0, weights, x)
        x = x + self.convolve(x, padding)
        x = start + (self.feed[1](x) - start) * self.middle
        x = x + self.attend(1, weights, x)
        x = self.feed[2](x + self.convolve(x, padding))
        x = x * ((x - self.bias) ** 2).mean(-1, keepdim=True) ** -0.5 * self.log_scale.exp()
        return start + (x - start) * self.bypass


class ZipformerCtc(nn.Module):
    """Two convolutions that halve the frames, one block, a CTC head."""

    predicts = "ctc"

    def __init__(
        self, input_size: int, vocabulary_size: int, dim: int = 96, heads: int = 4, kernel: int = 15
    ) -> None:
        super().__init__()
        self.front = nn.Sequential(
            nn.Conv2d(1, 8, 3, (1, 2), (1, 0)), nn.SiLU(), nn.Conv2d(8, 32, 3, 2, (1, 0)), nn.SiLU()
        )
        bins = ((input_size - 3) // 2 - 2) // 2 + 1
        self.into, self.head = nn.Linear(32 * bins, dim), nn.Linear(dim, vocabulary_size)
        self.block = ZipformerBlock(dim, heads, kernel)

    def predict(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of every second frame, and their counts."""
        hidden = self.into(self.front(features[:, None]).transpose(1, 2).flatten(2))
        counts = (lengths + 1) // 2
        padding = torch.arange(hidden.shape[1]) >= counts[:, None]
        return self.head(self.block(hidden, padding)), counts

    def forward(
        self, features: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor
    ) -> Tensor:
        """Loss of each row."""
        return ctc(*self.predict(features, lengths), targets, target_lengths)
