"""Greedy decoding on the host: the reference of the programs' decoders."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Hypothesis(NamedTuple):
    """tokens: ids without blanks. margin: the smallest gap between the best and second logit.

    Two correct decoders may differ where the margin is of the size of rounding errors.
    """

    tokens: list[int]
    margin: float


def margins(logits: Tensor) -> Tensor:
    """[..., V] -> [...]: best minus second best."""
    best = logits.topk(min(2, logits.shape[-1]), -1).values
    return best[..., 0] - best[..., -1]


def greedy_ctc(logits: Tensor, x_lens: Tensor) -> list[Hypothesis]:
    """Best path of logits [B, T, V], repeats and blanks removed; x_lens int64 [B]."""
    found = []
    for row, gaps, frames in zip(logits.argmax(-1), margins(logits), x_lens.tolist(), strict=True):
        path = torch.unique_consecutive(row[:frames]).tolist()
        found.append(Hypothesis([token for token in path if token], float(gaps[:frames].min())))
    return found


State = tuple[Tensor, Tensor]


def greedy_rnnt(
    encoded: Tensor,
    x_lens: Tensor,
    predict: Callable[[Tensor, State | None], tuple[Tensor, State]],
    joint: Callable[[Tensor, Tensor], Tensor],
    symbols: int,
) -> list[Hypothesis]:
    """All rows of encoded [B, T, J] together, at most `symbols` a frame.

    Args:
        predict: tokens int64 [B] and the state after those before -> [B, J] and the new state,
            h and c [1, B, H] each.
        joint: encoded frame [B, J] and prediction [B, J] -> logits [B, V].
    """
    batch, frames, _ = encoded.shape
    tokens: list[list[int]] = [[] for _ in range(batch)]
    margin = torch.full((batch,), math.inf)
    predicted, state = predict(torch.zeros(batch, dtype=torch.int64), None)
    for t in range(frames):
        awake = x_lens > t
        for _ in range(symbols):
            logits = joint(encoded[:, t], predicted)
            margin = torch.where(awake, torch.minimum(margin, margins(logits)), margin)
            best = logits.argmax(-1)
            awake = awake & (best != 0)
            if not bool(awake.any()):
                break
            for row in awake.nonzero().flatten().tolist():
                tokens[row].append(int(best[row]))
            next_predicted, next_state = predict(best, state)
            keep = awake[:, None]
            predicted = torch.where(keep, next_predicted, predicted)
            hidden, cell = (torch.where(keep, n, o) for n, o in zip(next_state, state, strict=True))
            state = (hidden, cell)
    return [Hypothesis(t, float(m)) for t, m in zip(tokens, margin, strict=True)]
