"""The few operators that graphs are built from, in the forms that the XNNPACK delegate runs fast.

Activations are feature-major ([F, T*B], T*B columns with batch innermost), so that no weight or
activation has to be transposed for a product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan_op
from torch.nn import functional

from fedvoice.model_export.graphs.low_rank import LowRank, Outer, factors, undivided

LOG_ZERO = -1e30
"""Stands for log 0: large enough to vanish in a sum, small enough to stay finite in float32."""

SMALLEST_PROBABILITY = 1e-30


def permute(a: Tensor, *dims: int) -> Tensor:
    """`a.permute(dims)` as one copy that the delegate can run."""
    result: Tensor = torch.ops.aten.permute_copy.default(a, list(dims))
    known = factors()
    parts = None if known is None else known.sum_of(a)
    if known is None or parts is None:
        return result
    turned = [permute(part, 1, 0) for part in parts]
    return known.note_sum(result, LowRank(turned[0], a=turned[2], b=turned[1]))


def linear(a: Tensor, w: Tensor) -> Tensor:
    """a [N, K], w [M, K] -> a w^T [N, M]."""
    known = factors()
    parts = None if known is None else known.sum_of(w)
    if parts is not None:
        return linear(a, parts.base) + linear(linear(a, parts.a), parts.b)
    result = functional.linear(a, w)
    return result if known is None else known.note_outer(result, Outer(a, w))


def product(a: Tensor, b: Tensor) -> Tensor:
    """a [N, K], b [K, M] -> a b [N, M], as a batch product of one (no transposition inside)."""
    known = factors()
    left, right = (None, None) if known is None else (known.sum_of(a), known.sum_of(b))
    if left is not None:
        return product(left.base, b) + product(left.b, product(left.a, b))
    if right is not None:
        return product(a, right.base) + product(product(a, right.b), right.a)
    stacked = a.reshape(1, *a.shape).bmm(b.reshape(1, *b.shape))
    result = stacked.reshape(a.shape[0], b.shape[1])
    return result if known is None else known.note_outer(result, Outer(a, permute(b, 1, 0)))


def row_sums(a: Tensor) -> Tensor:
    """a [N, M] -> [N]; a product with ones, because portable reductions are 3-22x slower."""
    return linear(a, torch.ones(1, a.shape[1])).reshape(a.shape[0])


def reversal(n: int) -> Tensor:
    """Indices n-1 .. 0, int64 [n]."""
    return torch.arange(n - 1, -1, -1)


def reverse_time(a: Tensor) -> Tensor:
    """a [T, ...] with the first axis turned round."""
    return a.index_select(0, reversal(a.shape[0]))


def one_hot(ids: Tensor, size: int) -> Tensor:
    """ids int64 [...] -> float [..., size]."""
    return (ids.unsqueeze(-1) == torch.arange(size)).to(torch.float32)


def log_sum_exp(*terms: Tensor) -> Tensor:
    """Element-wise log of the sum of exponentials of equally shaped tensors."""
    top = terms[0]
    for term in terms[1:]:
        top = torch.maximum(top, term)
    total = torch.exp(terms[0] - top)
    for term in terms[1:]:
        total = total + torch.exp(term - top)
    return top + torch.log(total)


def shift_right(a: Tensor, by: int, fill: float) -> Tensor:
    """a [N, M] with its columns moved right by `by`, `fill` moving in."""
    return functional.pad(a[:, :-by], (by, 0), value=fill)


Tensors = tuple[Tensor, ...]


Body = Callable[[Tensors, Tensors, Tensors], tuple[Tensors, Tensors]]


def scan(
    body: Body, carry: Tensors, xs: Tensors, captured: Tensors = ()
) -> tuple[Tensors, Tensors]:
    """Loop `body(carry, x[t], captured) -> carry, y[t]` over the first axis of `xs`.

    Returns the last carry and the stacked ys; lowered to a loop of the runtime.

    What a body reads from outside goes through `captured`: then the loop can be traced as it
    is, without a compiler's analysis of its closure, which takes half of the tracing time.
    A body MUST NOT view (reshape) a captured graph input: the runtime would read other memory.
    Take the view outside and capture that. A body MUST NOT return what it was given: clone it.
    """

    def flat_body(*tensors: Tensor) -> list[Tensor]:
        inputs, rest = tensors[: len(carry)], tensors[len(carry) :]
        with undivided():
            new_carry, ys = body(inputs, rest[: len(xs)], rest[len(xs) :])
        return [*new_carry, *ys]

    results: Any = scan_op(flat_body, list(carry), list(xs), captured)
    return tuple(results[: len(carry)]), tuple(results[len(carry) :])


def settled(a: Tensor) -> Tensor:
    """A copy of a loop's result that may be viewed."""
    return a * 1.0
