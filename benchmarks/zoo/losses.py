"""Losses of a row, and greedy decoding of encoder-decoder models."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

START, END = 1, 2
"""Token ids of encoder-decoder tasks: before the first token, and after the last."""


def ctc(logits: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
    """CTC loss of each row [B] of logits [B, T, V]; the blank is 0."""
    log_probs = logits.log_softmax(-1).transpose(0, 1)
    return functional.ctc_loss(log_probs, targets, lengths, target_lengths, reduction="none")


def with_start(targets: Tensor) -> Tensor:
    """What a decoder is given to predict `targets` and their end: int64 [B, U + 1]."""
    return functional.pad(targets, (1, 0), value=START)


def sequence_loss(logits: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
    """Cross entropy of each row [B], summed over its tokens and the end after them.

    logits: [B, U + 1, V] for `with_start(targets)`.
    """
    places = torch.arange(logits.shape[1])
    wanted = functional.pad(targets, (0, 1))
    wanted = torch.where(places == target_lengths[:, None], END, wanted)
    found = functional.cross_entropy(logits.transpose(1, 2), wanted, reduction="none")
    return (found * (places <= target_lengths[:, None])).sum(1)


def greedy(
    decode: Callable[[Tensor], Tensor], rows: int, most_tokens: int
) -> tuple[Tensor, Tensor]:
    """Logits [B, most_tokens, V] of the likeliest tokens in turn, and how many come before the end.

    Args:
        decode: tokens so far int64 [B, N] -> logits [B, N, V].
    """
    tokens = torch.full((rows, 1), START)
    for _ in range(most_tokens):
        logits = decode(tokens)
        tokens = torch.cat([tokens, logits[:, -1].argmax(1, keepdim=True)], 1)
    ended = (tokens[:, 1:] == END).to(torch.int64).cumsum(1)
    return logits, (ended == 0).sum(1)
