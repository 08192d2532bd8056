"""Picking and masking as arithmetic: `where` and scattering leave the delegate."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fedvoice.model_export.graphs.ops import one_hot
from fedvoice.model_export.traced.forms import basic
from fedvoice.model_export.traced.rewriting import Rewriting, replaces

MOST_ROWS = 1024
"""Of an embedding by products with ones and zeros; a larger one would cost more than scattering."""
LARGEST_FILL = 1e30
"""Beyond it a value in a mask's arithmetic would not stay finite."""


@replaces(torch.embedding)
def embedding(
    mode: Rewriting,
    weight: Tensor,
    ids: Tensor,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    """weight [V, E], ids [...] -> [..., E]."""
    rows, size = weight.shape
    if rows > MOST_ROWS or scale_grad_by_freq:
        return NotImplemented
    hot = one_hot(ids.reshape(-1), rows).to(weight.dtype)
    learning = hot
    if padding_idx >= 0:
        learning = hot * (torch.arange(rows) != padding_idx).to(weight.dtype)
    return basic.embedding(weight, hot, learning).reshape(*ids.shape, size)


def _fits(x: Tensor, value: object) -> bool:
    """Whether a fill of this value is arithmetic."""
    is_number = isinstance(value, int | float) and abs(value) <= LARGEST_FILL
    return x.is_floating_point() and is_number


@replaces(Tensor.masked_fill, torch.masked_fill)
def masked_fill(mode: Rewriting, x: Tensor, mask: Tensor, value: float | Tensor) -> Any:
    """x (1 - mask) + mask value, where the value is finite."""
    if not _fits(x, value):
        return NotImplemented
    inside = mask.to(x.dtype)
    kept = x * (1 - inside)
    return kept + inside * value if value else kept


@replaces(Tensor.masked_fill_, name="masked_fill")
def masked_fill_in_place(mode: Rewriting, x: Tensor, mask: Tensor, value: float | Tensor) -> Tensor:
    """As out of place."""
    return mode.write(x, filled(mode, x, mask, value))


def filled(mode: Rewriting, x: Tensor, mask: Tensor, value: float | Tensor) -> Tensor:
    """As arithmetic where that can be, else as it is."""
    found: Any = masked_fill(mode, x, mask, value)
    return torch.masked_fill(x, mask, value) if found is NotImplemented else found
