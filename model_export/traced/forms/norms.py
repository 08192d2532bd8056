"""Normalisation and roots."""

from __future__ import annotations

import torch
from torch import Tensor

from fedvoice.model_export.traced.forms.basic import (
    Backward,
    Gradients,
    Needs,
    positive,
    taught,
    total,
)


@taught
def normal(needs: Needs, x: Tensor, eps: float) -> tuple[Tensor, Backward]:
    """x [..., K] with mean 0 and deviation 1 over the last axis, without gain and shift."""
    k = 1 / x.shape[-1]
    centred = x - total(x, [-1], keep=True) * k
    scale = torch.rsqrt(total(centred * centred, [-1], keep=True) * k + eps)
    unit = centred * scale

    def backward(grad: Tensor) -> Gradients:
        mean = total(grad, [-1], keep=True) * k
        along = total(grad * unit, [-1], keep=True) * k
        return (grad - mean - unit * along) * scale

    return unit, backward


@taught
def unit_power(needs: Needs, x: Tensor, eps: float) -> tuple[Tensor, Backward]:
    """x [..., K] with mean square 1 over the last axis (RMSNorm without gain)."""
    k = 1 / x.shape[-1]
    scale = torch.rsqrt(total(x * x, [-1], keep=True) * k + eps)
    unit = x * scale
    return unit, lambda grad: (grad - unit * (total(grad * unit, [-1], keep=True) * k)) * scale


@taught
def root(needs: Needs, x: Tensor) -> tuple[Tensor, Backward]:
    """Square root whose gradient is 0 at 0, as that of `torch.std`."""
    y = torch.sqrt(x)

    def backward(grad: Tensor) -> Gradients:
        alive = positive(y)
        return grad * alive * 0.5 / (y + (1 - alive))

    return y, backward
