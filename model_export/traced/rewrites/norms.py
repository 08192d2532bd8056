"""Normalisation, deviations, weight norm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fedvoice.model_export.traced.forms import norms
from fedvoice.model_export.traced.rewrites.refusals import refuse
from fedvoice.model_export.traced.rewriting import Rewriting, replaces


def scaled(y: Tensor, weight: Tensor | None, bias: Tensor | None, shape: Sequence[int]) -> Tensor:
    """y weight + bias, both viewed as `shape`."""
    y = y if weight is None else y * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


def _channels(x: Tensor) -> list[int]:
    """The shape by which one value a channel fits x [B, C, ...]."""
    return [-1] + [1] * (x.dim() - 2)


@replaces(torch.layer_norm)
def layer_norm(
    mode: Rewriting,
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    """Means as products with ones."""
    unit = norms.normal(x.reshape(-1, math.prod(normalized_shape)), eps)
    return scaled(unit, weight, bias, [-1]).reshape(x.shape)


@replaces(torch.rms_norm)
def rms_norm(
    mode: Rewriting,
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """The mean square as a product with ones."""
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    unit = norms.unit_power(x.reshape(-1, math.prod(normalized_shape)), eps)
    return scaled(unit, weight, None, [-1]).reshape(x.shape)


@replaces(torch.group_norm)
def group_norm(
    mode: Rewriting,
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Tensor:
    """Means as products with ones."""
    unit = norms.normal(x.reshape(x.shape[0] * num_groups, -1), eps).reshape(x.shape)
    return scaled(unit, weight, bias, _channels(x))


@replaces(torch.batch_norm)
def batch_norm(
    mode: Rewriting,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = True,
) -> Tensor:
    """Frozen: the running statistics, whatever mode the module is in."""
    if running_mean is None or running_var is None:
        refuse(mode, "batch_norm", "batch norm without running statistics")
    gain = torch.rsqrt(running_var + eps)
    gain = gain if weight is None else gain * weight
    shift = -running_mean * gain if bias is None else bias - running_mean * gain
    return scaled(x, gain, shift, _channels(x))


@replaces(torch.instance_norm)
def instance_norm(
    mode: Rewriting,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = True,
) -> Tensor:
    """A group for each channel, or the running statistics."""
    if use_input_stats:
        return group_norm(mode, x, x.shape[1], weight, bias, eps)
    return batch_norm(mode, x, weight, bias, running_mean, running_var, False, momentum, eps)


def _variance(
    x: Tensor,
    dim: int | Sequence[int] | bool | None,
    unbiased: bool,
    keepdim: bool,
    correction: float | None,
) -> tuple[Tensor, Tensor]:
    """Variance and mean; the second argument of `std` is `dim` or `unbiased`."""
    if isinstance(dim, bool):
        dims, unbiased = [], dim
    else:
        dims = [] if dim is None else [dim] if isinstance(dim, int) else list(dim)
    dims = dims or list(range(x.dim()))
    mean = x.mean(dims, keepdim=True)
    centred = x - mean
    lost = int(unbiased) if correction is None else correction
    share = 1 / (math.prod(x.shape[d] for d in dims) - lost)
    variance = (centred * centred).sum(dims, keepdim=keepdim) * share
    return variance, mean if keepdim else mean.reshape(variance.shape)


Dims = int | Sequence[int] | bool | None


@replaces(torch.var, Tensor.var)
def var(
    mode: Rewriting,
    x: Tensor,
    dim: Dims = None,
    unbiased: bool = True,
    keepdim: bool = False,
    correction: float | None = None,
) -> Tensor:
    """As its definition: the stock backward holds a symbolic number."""
    return _variance(x, dim, unbiased, keepdim, correction)[0]


@replaces(torch.std, Tensor.std)
def std(mode: Rewriting, *args: Any, **kwargs: Any) -> Tensor:
    """The root of `var`, with gradient 0 where it is 0."""
    return norms.root(var(mode, *args, **kwargs))


@replaces(torch.var_mean)
def var_mean(
    mode: Rewriting,
    x: Tensor,
    dim: Dims = None,
    unbiased: bool = True,
    keepdim: bool = False,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """As `var`."""
    return _variance(x, dim, unbiased, keepdim, correction)


@replaces(torch.std_mean)
def std_mean(mode: Rewriting, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """As `std`."""
    variance, mean = var_mean(mode, *args, **kwargs)
    return norms.root(variance), mean


@replaces(torch._weight_norm)
def weight_norm(mode: Rewriting, v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """g v / |v|, the norm over all axes but `dim` (-1: over all)."""
    dims = [d for d in range(v.dim()) if dim == -1 or d != dim % v.dim()]
    return v * (g * torch.rsqrt((v * v).sum(dims, keepdim=True)))
