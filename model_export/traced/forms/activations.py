"""Activations whose gradients need no comparison, `where` or erf: those leave the delegate."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from fedvoice.model_export.traced.forms.basic import (
    Backward,
    Gradients,
    Needs,
    positive,
    taught,
    total,
)

DENSITY_AT_0 = 1 / math.sqrt(2 * math.pi)
"""Of the normal distribution."""


@taught
def silu(needs: Needs, x: Tensor) -> tuple[Tensor, Backward]:
    """x sigmoid(x)."""
    s = torch.sigmoid(x)
    y = x * s
    return y, lambda grad: grad * (s + y * (1 - s))


@taught
def relu(needs: Needs, x: Tensor) -> tuple[Tensor, Backward]:
    """max(x, 0)."""
    y = torch.relu(x)
    return y, lambda grad: grad * positive(y)


@taught
def hardtanh(needs: Needs, x: Tensor, low: float, high: float) -> tuple[Tensor, Backward]:
    """x between low and high."""
    y = torch.clamp(x, low, high)
    return y, lambda grad: grad * positive(y - low) * positive(high - y)


@taught
def gelu(needs: Needs, x: Tensor) -> tuple[Tensor, Backward]:
    """x Phi(x), the exact one. Its gradient takes Phi(x) as gelu(x)/x, and its series near 0."""
    y = functional.gelu(x)

    def backward(grad: Tensor) -> Gradients:
        far, near = positive(x * x - 0.0625), torch.clamp(x, -0.25, 0.25)
        q = near * near
        c = DENSITY_AT_0
        # Phi(x) = 1/2 + (x - x^3/6 + x^5/40 - x^7/336 + ...) / sqrt(2 pi)
        series = 0.5 + near * (c + q * (-c / 6 + q * (c / 40 - q * (c / 336))))
        phi = series + far * (y / (x * far + (1 - far)) - series)
        return grad * (phi + x * c * torch.exp(x * x * -0.5))

    return y, backward


@taught
def log_add_exp(needs: Needs, a: Tensor, b: Tensor) -> tuple[Tensor, Backward]:
    """log(exp(a) + exp(b)) of equal shapes."""
    y = torch.maximum(a, b) + torch.log(1 + torch.exp(-torch.abs(a - b)))

    def backward(grad: Tensor) -> Gradients:
        share = torch.sigmoid(a - b)
        return grad * share, grad * (1 - share)

    return y, backward


@taught
def softplus(needs: Needs, x: Tensor, beta: float) -> tuple[Tensor, Backward]:
    """log(1 + exp(beta x)) / beta."""
    scaled = x * beta
    y = torch.relu(scaled) + torch.log(1 + torch.exp(-torch.abs(scaled)))
    return y * (1 / beta), lambda grad: grad * torch.sigmoid(scaled)


@taught
def softmax(needs: Needs, x: Tensor) -> tuple[Tensor, Backward]:
    """Over the last axis."""
    p: Tensor = torch.ops.aten._softmax.default(x, x.dim() - 1, False)

    def backward(grad: Tensor) -> Gradients:
        weighted = grad * p
        return weighted - p * total(weighted, [-1], keep=True)

    return p, backward


@taught
def huber(needs: Needs, difference: Tensor, delta: float) -> tuple[Tensor, Backward]:
    """difference^2 / 2 up to delta, a line beyond it."""
    size = torch.abs(difference)
    inside = torch.clamp(size, max=delta)
    y = inside * (size - inside * 0.5)
    return y, lambda grad: grad * torch.clamp(difference, -delta, delta)
