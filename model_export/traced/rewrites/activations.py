"""Activations and linear layers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from fedvoice.model_export.traced.forms import activations, basic
from fedvoice.model_export.traced.rewriting import Rewriting, replaces

C = torch._C._nn
SQRT_2_OVER_PI = math.sqrt(2 / math.pi)


@replaces(C.linear)
def linear(mode: Rewriting, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As a product that the delegate takes with weights that change."""
    return basic.affine(x, weight, bias)


@replaces(C.silu)
def silu(mode: Rewriting, x: Tensor) -> Tensor:
    """With a gradient of sigmoids."""
    return activations.silu(x)


@replaces(C.silu_, name="silu")
def silu_in_place(mode: Rewriting, x: Tensor) -> Tensor:
    """As out of place."""
    return mode.write(x, activations.silu(x))


@replaces(torch.relu, Tensor.relu)
def relu(mode: Rewriting, x: Tensor) -> Tensor:
    """With a gradient without comparison."""
    return activations.relu(x)


@replaces(torch.relu_, Tensor.relu_, name="relu")
def relu_in_place(mode: Rewriting, x: Tensor) -> Tensor:
    """As out of place."""
    return mode.write(x, activations.relu(x))


@replaces(C.hardtanh)
def hardtanh(mode: Rewriting, x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """With a gradient without comparison."""
    return activations.hardtanh(x, min_val, max_val)


@replaces(C.hardtanh_, name="hardtanh")
def hardtanh_in_place(
    mode: Rewriting, x: Tensor, min_val: float = -1.0, max_val: float = 1.0
) -> Tensor:
    """As out of place."""
    return mode.write(x, activations.hardtanh(x, min_val, max_val))


@replaces(C.relu6, name="hardtanh")
def relu6(mode: Rewriting, x: Tensor) -> Tensor:
    """Between 0 and 6."""
    return activations.hardtanh(x, 0.0, 6.0)


@replaces(C.relu6_, name="hardtanh")
def relu6_in_place(mode: Rewriting, x: Tensor) -> Tensor:
    """As out of place."""
    return mode.write(x, activations.hardtanh(x, 0.0, 6.0))


@replaces(C.gelu)
def gelu(mode: Rewriting, x: Tensor, *, approximate: str = "none") -> Tensor:
    """Without erf in the gradient; the approximation by its tanh."""
    if approximate == "none":
        return activations.gelu(x)
    return x * 0.5 * (1 + torch.tanh(SQRT_2_OVER_PI * (x + 0.044715 * x * x * x)))


@replaces(C.glu)
def glu(mode: Rewriting, x: Tensor, dim: int = -1) -> Tensor:
    """As its definition."""
    values, gates = x.chunk(2, dim)
    return values * torch.sigmoid(gates)


@replaces(C.softplus)
def softplus(mode: Rewriting, x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Exact everywhere: beyond the threshold PyTorch takes the line that it is up to rounding."""
    return activations.softplus(x, float(beta))


@replaces(C.mish)
def mish(mode: Rewriting, x: Tensor) -> Tensor:
    """As its definition."""
    return x * torch.tanh(activations.softplus(x, 1.0))


@replaces(C.mish_, name="mish")
def mish_in_place(mode: Rewriting, x: Tensor) -> Tensor:
    """As out of place."""
    return mode.write(x, mish(mode, x))


@replaces(torch.logaddexp, Tensor.logaddexp)
def logaddexp(mode: Rewriting, a: Tensor, b: Tensor) -> Tensor:
    """With a gradient of sigmoids."""
    return activations.log_add_exp(*basic.of_one_shape(a, b))


@replaces(torch.softmax, Tensor.softmax)
def softmax(mode: Rewriting, x: Tensor, dim: int = -1, dtype: torch.dtype | None = None) -> Any:
    """Over the last axis with its gradient's sums as products."""
    if not 0 < x.dim() - 1 == dim % x.dim():
        return NotImplemented
    return activations.softmax(x if dtype is None else x.to(dtype))
