"""Losses whose stock gradients hold a symbolic number as soon as the batch's size is dynamic."""

from __future__ import annotations

import torch
from torch import Tensor

from fedvoice.model_export.traced.forms import activations
from fedvoice.model_export.traced.rewriting import Rewriting, replaces

C = torch._C._nn
NONE, MEAN = 0, 1
"""Reductions, as torch codes them; 2 is the sum."""


def reduced(losses: Tensor, reduction: int) -> Tensor:
    """By torch's code of a reduction."""
    if reduction == NONE:
        return losses
    return losses.mean() if reduction == MEAN else losses.sum()


@replaces(C.mse_loss)
def mse_loss(mode: Rewriting, a: Tensor, b: Tensor, reduction: int = MEAN) -> Tensor:
    """The square of the difference."""
    difference = a - b
    return reduced(difference * difference, reduction)


@replaces(C.smooth_l1_loss)
def smooth_l1_loss(
    mode: Rewriting, a: Tensor, b: Tensor, reduction: int = MEAN, beta: float = 1.0
) -> Tensor:
    """Huber's loss over beta."""
    return reduced(activations.huber(a - b, beta) * (1 / beta), reduction)


@replaces(C.huber_loss)
def huber_loss(
    mode: Rewriting, a: Tensor, b: Tensor, reduction: int = MEAN, delta: float = 1.0
) -> Tensor:
    """A square and a line without comparison."""
    return reduced(activations.huber(a - b, delta), reduction)
