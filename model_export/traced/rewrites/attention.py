"""Attention written out; `F.multi_head_attention_forward` is met by its parts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fedvoice.model_export.traced.forms.activations import softmax
from fedvoice.model_export.traced.rewrites.draws import dropped
from fedvoice.model_export.traced.rewriting import Rewriting, replaces

MASKED = -1e9
"""Score of what is not attended to: a row of -inf would be NaN."""


@replaces(functional.scaled_dot_product_attention, name="attention")
def attention(
    mode: Rewriting,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """query [..., L, E], key [..., S, E], value [..., S, D] -> [..., L, D]."""
    if mode.draws_only and not dropout_p:
        return NotImplemented
    if enable_gqa and query.shape[-3] != key.shape[-3]:
        repeats = query.shape[-3] // key.shape[-3]
        key, value = (t.repeat_interleave(repeats, -3) for t in (key, value))
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    scores = torch.matmul(query * factor, key.transpose(-1, -2))
    if is_causal:
        scores = scores + torch.full(scores.shape[-2:], MASKED, dtype=scores.dtype).triu(1)
    if attn_mask is not None:
        added = attn_mask
        if added.dtype == torch.bool:
            added = (1 - added.to(query.dtype)) * MASKED
        scores = scores + torch.clamp(added, min=MASKED)
    shares = softmax(scores)
    shares = dropped(mode, shares, dropout_p) if dropout_p else shares
    return torch.matmul(shares, value)
