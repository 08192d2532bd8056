"""Products with adapted matrices, without the matrices: W + B A applied as W x + B (A x).

While a `Factors` is active, `ops.linear`, `ops.product` and `ops.permute` ask it first. It knows
which tensors are adapted matrices, and of which two factors each product was made: a gradient
dW = g x^T is then projected on the adapters as (B^T g) x^T and g (A x)^T. The matrices themselves
become dead code, which lowering drops.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from torch import Tensor


class LowRank(NamedTuple):
    """base + b a: base [M, N], a [r, N], b [M, r]."""

    base: Tensor
    a: Tensor
    b: Tensor


class Outer(NamedTuple):
    """left right^T: left [M, K], right [N, K]."""

    left: Tensor
    right: Tensor


class Factors:
    """What is known of tensors, by identity; each is kept alive, so that none takes another's."""

    def __init__(self) -> None:
        self._sums: dict[int, tuple[Tensor, LowRank]] = {}
        self._outer: dict[int, tuple[Tensor, Outer]] = {}

    def note_sum(self, whole: Tensor, parts: LowRank) -> Tensor:
        """`whole` is the sum of `parts`; `whole` again."""
        self._sums[id(whole)] = whole, parts
        return whole

    def note_outer(self, whole: Tensor, parts: Outer) -> Tensor:
        """`whole` is the product of `parts`; `whole` again."""
        self._outer[id(whole)] = whole, parts
        return whole

    def sum_of(self, whole: Tensor) -> LowRank | None:
        """The parts of an adapted matrix; None for another tensor."""
        found = self._sums.get(id(whole))
        return None if found is None else found[1]

    def outer_of(self, whole: Tensor) -> Outer | None:
        """The factors of a product; None for a tensor that is none."""
        found = self._outer.get(id(whole))
        return None if found is None else found[1]


_ACTIVE: ContextVar[Factors | None] = ContextVar("factors", default=None)


def factors() -> Factors | None:
    """The active one."""
    return _ACTIVE.get()


@contextmanager
def factoring() -> Iterator[Factors]:
    """Where adapted matrices are applied by their parts."""
    found = Factors()
    token = _ACTIVE.set(found)
    try:
        yield found
    finally:
        _ACTIVE.reset(token)


@contextmanager
def undivided() -> Iterator[None]:
    """Where every tensor stands for itself, as in the body of a loop, which cannot read the parts
    of what it captured."""
    token = _ACTIVE.set(None)
    try:
        yield
    finally:
        _ACTIVE.reset(token)
