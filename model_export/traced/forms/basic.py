"""What all forms are built from: functions with their own gradients, and sums as products.

Everything is plain ATen, so a graph traced through a form holds nothing else.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

from fedvoice.model_export.graphs.ops import permute as permute_copy
from fedvoice.model_export.graphs.ops import product as product
from fedvoice.model_export.graphs.ops import reverse_time

Needs = tuple[bool, ...]
"""Of each argument of a form, whether its gradient is wanted."""

Gradients = Tensor | None | tuple[Tensor | None, ...]
Backward = Callable[..., Gradients]
P = ParamSpec("P")
R = TypeVar("R", Tensor, tuple[Tensor, ...])

_LIBRARY: Any = torch.library.Library("fedvoice", "DEF")  # type: ignore[no-untyped-call]
_LIBRARY.define("linear(Tensor a, Tensor w) -> Tensor")
_LIBRARY.impl("linear", lambda a, w: torch.matmul(a, w.t()), "CompositeExplicitAutograd")
LINEAR = torch.ops.fedvoice.linear.default
"""What `linear` is while tracing."""


class _Taught(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, form: Callable[..., tuple[Any, Backward]], *args: Any) -> Any:
        # Below autograd: a scan would otherwise look for a gradient of its own.
        with torch._C._AutoDispatchBelowAutograd():
            result, ctx.gradients = form(ctx.needs_input_grad[1:], *args)
            ctx.arguments = len(args)
            # A copy, because the gradient may read the result, and callers may write into theirs.
            # Where nobody does, tidying drops it.
            if isinstance(result, tuple):
                return tuple(part.clone() for part in result)
            return result.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        with torch._C._AutoDispatchBelowAutograd():
            found = ctx.gradients(*grads)
        found = found if isinstance(found, tuple) else (found,)
        return (None, *found, *[None] * (ctx.arguments - len(found)))


def taught(form: Callable[Concatenate[Needs, P], tuple[R, Backward]]) -> Callable[P, R]:
    """A differentiable function of `form(needs, *args) -> result, backward`.

    `backward` takes the gradients of the results and gives those of the first arguments; the rest
    have none. Tracing follows it, where `torch.export` drops the backward of such a function.
    """

    @functools.wraps(form)
    def apply(*args: P.args, **kwargs: P.kwargs) -> R:
        result: R = _Taught.apply(form, *args)
        return result

    return apply


def permute(a: Tensor, *dims: int) -> Tensor:
    """`a.permute(dims)` as one copy that the delegate can run; nothing where order stays."""
    return a if list(dims) == sorted(dims) else permute_copy(a, *dims)


def linear(a: Tensor, w: Tensor) -> Tensor:
    """a [..., K], w [M, K] -> a w^T [..., M]. One node while tracing, not a view, a turn and mm."""
    result: Tensor = LINEAR(a, w)
    return result


def of_one_shape(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """a and b, broadcast."""
    a, b = torch.broadcast_tensors(a, b)  # type: ignore[no-untyped-call]
    return a, b


def positive(x: Tensor) -> Tensor:
    """1 where x > 0, else 0, as arithmetic: comparisons leave the delegate."""
    return torch.clamp(x * 1e30, 0.0, 1.0)


def total(x: Tensor, dims: Sequence[int] = (), keep: bool = False) -> Tensor:
    """Sum over dims (none: all) as products with ones; portable reductions are 3-22x slower."""
    shape = list(x.shape)
    summed = sorted(d % x.dim() for d in dims) if dims else list(range(x.dim()))
    wanted = [1 if i in summed else n for i, n in enumerate(shape) if keep or i not in summed]
    left = [d for d in summed if shape[d] != 1]
    x, shape = _sum_last(x, left, shape)
    x, shape = _sum_first(x, left, shape)
    for d in reversed(left):  # axes in the middle
        before, after = math.prod(shape[:d]), math.prod(shape[d + 1 :])
        x = torch.bmm(x.new_ones(before, 1, shape[d]), x.reshape(before, shape[d], after))
        shape[d] = 1
    return x if list(x.shape) == wanted else x.reshape(wanted)


def _sum_last(x: Tensor, left: list[int], shape: list[int]) -> tuple[Tensor, list[int]]:
    """Sums the last axes that stand in `left`, which it takes from there."""
    size = 1
    while left and math.prod(shape[left[-1] + 1 :]) == 1:
        size *= math.prod(shape[left[-1] :])
        shape = shape[: left.pop()]
    if size > 1:
        # Without a view around it where there is one axis: a linear takes any rank.
        rows = x if size == x.shape[-1] else x.reshape(*shape, size)
        x = linear(rows, x.new_ones(1, size))
    return x, shape


def _sum_first(x: Tensor, left: list[int], shape: list[int]) -> tuple[Tensor, list[int]]:
    """Sums the first axes that stand in `left`, which it takes from there."""
    count = 0
    while count < len(left):
        before = math.prod(shape[: left[count]])
        if before != math.prod(shape[i] for i in left[:count]):
            break
        count += 1
    if count:
        size = math.prod(shape[: left[count - 1] + 1])
        x = product(x.new_ones(1, size), x.reshape(size, -1))
        shape = [1 if d in left[:count] else n for d, n in enumerate(shape)]
        del left[:count]
    return x, shape


def spread(g: Tensor, dim: int, start: int, step: int, size: int) -> Tensor:
    """The adjoint of `x[start::step]` along dim: zeros between and around, by cat and reshape."""

    def zeros(count: int) -> Tensor:
        return g.new_zeros([count if d == dim else n for d, n in enumerate(g.shape)])

    if step > 1:
        gap = g.new_zeros([*g.shape[: dim + 1], step - 1, *g.shape[dim + 1 :]])
        g = torch.cat([g.unsqueeze(dim + 1), gap], dim + 1).flatten(dim, dim + 1)
        g = g.narrow(dim, 0, min(g.shape[dim], size - start))
    after = size - start - g.shape[dim]
    parts = [*[zeros(start)] * (start > 0), g, *[zeros(after)] * (after > 0)]
    return torch.cat(parts, dim)


@taught
def affine(needs: Needs, x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Backward]:
    """x [..., I], weight [O, I], bias [O] -> x weight^T + bias [..., O]."""
    y = linear(x, weight)

    def backward(grad: Tensor) -> Gradients:
        rows, inputs = grad.reshape(-1, weight.shape[0]), x.reshape(-1, weight.shape[1])
        # Turned once for both: a product with a single row would pack all of the gradient.
        turned = permute(rows, 1, 0)
        return (
            product(rows, weight).reshape(x.shape) if needs[0] else None,
            product(turned, inputs) if needs[1] else None,
            total(turned, [1]) if bias is not None and needs[2] else None,
        )

    return (y if bias is None else y + bias), backward


@taught
def embedding(
    needs: Needs, weight: Tensor, hot: Tensor, learning: Tensor
) -> tuple[Tensor, Backward]:
    """Rows of weight [V, E] picked by hot [N, V]; `learning` is `hot` without rows that stay."""
    return product(hot, weight), lambda grad: product(permute(learning, 1, 0), grad)


@taught
def flip(needs: Needs, x: Tensor) -> tuple[Tensor, Backward]:
    """x [T, ...] with the first axis turned round."""
    return reverse_time(x), reverse_time
