"""How operators of a traced graph are taken apart: core ATen's way, and our own where the delegate
or the runtime asks for another form."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions
from torch._ops import OpOverload

from fedvoice.model_export.traced.forms.basic import positive, spread, total

aten = torch.ops.aten
Table = dict[OpOverload, Callable[..., Any]]
_OURS: Table = {}

KEPT_WHOLE = (aten._log_softmax.default, aten._softmax.default, aten.gelu.default)
"""The delegate or the runtime has them as they are."""


@functools.cache
def decompositions() -> Table:
    """By operator, for `make_fx`."""
    core = dict(core_aten_decompositions())
    core = {op: f for op, f in core.items() if op not in KEPT_WHOLE}
    return core | _OURS


def _for(*operators: OpOverload) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def put(function: Callable[..., Any]) -> Callable[..., Any]:
        _OURS.update(dict.fromkeys(operators, function))
        return function

    return put


@_for(aten.sum.dim_IntList, aten.sum.default)
def _sum(
    x: Tensor, dims: Sequence[int] | None = None, keepdim: bool = False, dtype: Any = None
) -> Tensor:
    """As products with ones: portable reductions are 3-22 times slower."""
    return total(x, list(dims or []), keepdim) if x.is_floating_point() else NotImplemented


@_for(aten.mean.dim, aten.mean.default)
def _mean(
    x: Tensor, dims: Sequence[int] | None = None, keepdim: bool = False, dtype: Any = None
) -> Tensor:
    count = math.prod(x.shape[d] for d in dims) if dims else x.numel()
    return total(x, list(dims or []), keepdim) * (1 / count)


@_for(aten.slice_backward.default)
def _slice_backward(
    g: Tensor, sizes: Sequence[int], dim: int, start: int, end: int, step: int
) -> Tensor:
    axis = dim % len(sizes)
    return spread(g, axis, start if start >= 0 else start + sizes[axis], step, sizes[axis])


@_for(aten.select_backward.default)
def _select_backward(g: Tensor, sizes: Sequence[int], dim: int, index: int) -> Tensor:
    axis = dim % len(sizes)
    return spread(g.unsqueeze(axis), axis, index % sizes[axis], 1, sizes[axis])


@_for(aten.split.Tensor, aten.split_with_sizes.default)
def _split(x: Tensor, sizes: int | Sequence[int], dim: int = 0) -> list[Tensor]:
    if isinstance(sizes, int):
        size, length = sizes, x.shape[dim]
        sizes = [min(size, length - start) for start in range(0, length, size)]
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return [
        aten.slice.Tensor(x, dim, end - size, end) for size, end in zip(sizes, ends, strict=True)
    ]


@_for(aten.unbind.int)
def _unbind(x: Tensor, dim: int = 0) -> list[Tensor]:
    return [aten.select.int(x, dim, i) for i in range(x.shape[dim])]


@_for(aten.constant_pad_nd.default)
def _pad(x: Tensor, pads: Sequence[int], value: float = 0.0) -> Tensor:
    """The gradient of a padding pads by negative numbers, which the runtime refuses."""
    if min(pads) >= 0:
        return x.clone() if max(pads) == 0 else NotImplemented
    for i in range(len(pads) // 2):
        axis = x.dim() - 1 - i
        before, after = max(0, -pads[2 * i]), max(0, -pads[2 * i + 1])
        x = aten.slice.Tensor(x, axis, before, x.shape[axis] - after)
    return torch.constant_pad_nd(x, [max(0, p) for p in pads], value)


@_for(aten._softmax_backward_data.default)
def _softmax_backward(g: Tensor, p: Tensor, dim: int, dtype: Any) -> Tensor:
    return g * p - p * total(g * p, [dim], True)


@_for(aten._log_softmax_backward_data.default)
def _log_softmax_backward(g: Tensor, y: Tensor, dim: int, dtype: Any) -> Tensor:
    return g - torch.exp(y) * total(g, [dim], True)


@_for(aten.threshold_backward.default)
def _threshold_backward(g: Tensor, x: Tensor, threshold: float) -> Tensor:
    return g * positive(x - threshold)
